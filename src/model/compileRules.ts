/** The rules of the policy database, from facts. */
import type { Ipv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import type { HostFacts, PolicyRuleFacts } from "./facts.ts";
import { prefix4 } from "./factText.ts";
import type { Link } from "./link.ts";
import type { Flow, PolicyRule } from "./policyRule.ts";
import { protocolNumber } from "./protocols.ts";
import { DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE } from "./routingTable.ts";

const firstRules: readonly PolicyRuleFacts[] = [
  { priority: 0, table: LOCAL_TABLE },
  { priority: 32766, table: MAIN_TABLE },
  { priority: 32767, table: DEFAULT_TABLE },
];

/** In vectors and hand-written facts only what was added is named; the first three are then there, too. */
export function compileRules(
  facts: HostFacts,
  links: readonly Link[],
  byName: ReadonlyMap<string, Link>,
): { list: readonly PolicyRule[]; custom: boolean } {
  if (facts.rules.length === 0 && !links.some((l) => l.isVrf)) return { list: plainRules, custom: false };
  const given = [...facts.rules];
  if (facts.routesGiven === "added" || given.length === 0)
    for (const rule of firstRules) if (!given.some((g) => sameRule(g, rule))) given.push(rule);
  // The kernel adds this rule with the first VRF (vrf_fib_rule).
  if (facts.routesGiven === "added" && links.some((l) => l.isVrf) && !given.some((g) => g.l3mdev))
    given.push({ priority: 1000, l3mdev: true });
  const custom = given.length !== 3 || !firstRules.every((rule) => given.some((g) => sameRule(g, rule)));
  const list = given.map((g) => compileRule(g, byName)).sort((a, b) => a.priority - b.priority);
  return { list, custom };
}

function sameRule(a: PolicyRuleFacts, b: PolicyRuleFacts): boolean {
  const plain = Object.entries(a).every(
    ([key, value]) =>
      key === "priority" || key === "table" || value === undefined || (key === "action" && value === "lookup"),
  );
  return plain && a.priority === b.priority && a.table === b.table;
}

function compileRule(given: PolicyRuleFacts, byName: ReadonlyMap<string, Link>): PolicyRule {
  const tests: ((flow: Flow) => boolean)[] = [];
  const within = (text: string | undefined, pick: (flow: Flow) => Ipv4): void => {
    if (text === undefined) return;
    const { address, length } = prefix4(text);
    const mask = maskOf(length);
    if (length > 0) tests.push((flow) => ((pick(flow) ^ address) & mask) === 0);
  };
  within(given.from, (flow) => flow.source);
  within(given.to, (flow) => flow.destination);
  // A device that is not there keeps its rule, which then matches nothing (fib_rule_match, detached).
  if (given.iif !== undefined) {
    const index = byName.get(given.iif)?.index ?? -1;
    tests.push((flow) => flow.iif === index);
  }
  if (given.oif !== undefined) {
    const index = byName.get(given.oif)?.index ?? -1;
    tests.push((flow) => flow.oif === index);
  }
  if (given.fwmark !== undefined || given.fwmask !== undefined) {
    const mark = given.fwmark ?? 0;
    const mask = given.fwmask ?? 0xffffffff;
    tests.push((flow) => ((flow.mark ^ mark) & mask) === 0);
  }
  if (given.tos) tests.push((flow) => flow.tos === given.tos);
  if (given.protocol !== undefined) {
    const protocol = protocolNumber(given.protocol);
    tests.push((flow) => flow.protocol === protocol);
  }
  const inRange = (range: readonly [number, number] | undefined, pick: (flow: Flow) => number): void => {
    if (range) tests.push((flow) => pick(flow) >= range[0] && pick(flow) <= range[1]);
  };
  inRange(given.sourcePorts, (flow) => flow.sourcePort);
  inRange(given.destinationPorts, (flow) => flow.destinationPort);
  if (given.l3mdev) tests.push((flow) => flow.vrf !== undefined);
  const inverted = given.not === true;
  return {
    priority: given.priority,
    matches: (flow) => tests.every((test) => test(flow)) !== inverted,
    action: given.action ?? "lookup",
    table: given.table ?? MAIN_TABLE,
    l3mdev: given.l3mdev ?? false,
    goto: given.goto ?? 0,
    suppressPrefixLength: given.suppressPrefixLength ?? -1,
  };
}

const plainRules: readonly PolicyRule[] = firstRules.map((rule) => compileRule(rule, new Map()));
