import { type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { type Mac, parseMac } from "../base/mac.ts";
import { maskOf, parsePrefix } from "../base/prefix.ts";
import type {
  AddressMatchFacts,
  FilterChainFacts,
  FilterMatchFacts,
  FilterVerdictFacts,
  NameMatchFacts,
  NumberMatchFacts,
} from "./facts.ts";
import { protocolNumber } from "./protocols.ts";

/** A packet as hooks see it. ARP: addresses of the ARP body, MACs of the body; IP: 0 and "" for what is not there. */
export interface HookPacket {
  readonly in: string;
  readonly out: string;
  readonly source: Ipv4;
  readonly target: Ipv4;
  readonly sourceMac: string;
  readonly targetMac: string;
  readonly arpOperation: number;
  readonly protocol: string;
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly mark: number;
}

type Test = (packet: HookPacket) => boolean;

export interface FilterRule {
  readonly test: Test;
  readonly verdict: FilterVerdictFacts;
}

export interface FilterChain {
  readonly priority: number;
  readonly tool: FilterChainFacts["tool"];
  readonly type: "filter" | "nat" | "route";
  readonly policy: "accept" | "drop";
  /** undefined: a rule that was not understood, with its text. */
  readonly rules: readonly (FilterRule | string)[];
}

export interface Filters {
  readonly arpInput: readonly FilterChain[];
  readonly arpOutput: readonly FilterChain[];
  readonly prerouting: readonly FilterChain[];
  readonly input: readonly FilterChain[];
  readonly forward: readonly FilterChain[];
}

export function compileFilters(facts: readonly FilterChainFacts[]): Filters {
  if (facts.length === 0) return none;
  const arp = (hook: string) => (c: FilterChainFacts) => c.family === "arp" && c.hook === hook;
  const ip = (hook: string) => (c: FilterChainFacts) => (c.family === "ip" || c.family === "inet") && c.hook === hook;
  const at = (wanted: (c: FilterChainFacts) => boolean): FilterChain[] =>
    facts
      .filter(wanted)
      .map(compileChain)
      .sort((a, b) => a.priority - b.priority);
  return {
    arpInput: at(arp("input")),
    arpOutput: at(arp("output")),
    prerouting: at(ip("prerouting")),
    input: at(ip("input")),
    forward: at(ip("forward")),
  };
}

const none: Filters = { arpInput: [], arpOutput: [], prerouting: [], input: [], forward: [] };

/** Where a table's chains run when nothing says it: iptables by table (netfilter_ipv4.h), nat chains at dstnat. */
function defaultPriority(chain: FilterChainFacts): number {
  if (chain.type === "nat" || chain.table === "nat") return -100;
  if (chain.tool === "nft") return 0;
  return { raw: -300, mangle: -150, security: 50 }[chain.table ?? ""] ?? 0;
}

function compileChain(chain: FilterChainFacts): FilterChain {
  return {
    priority: chain.priority ?? defaultPriority(chain),
    tool: chain.tool,
    type: chain.type ?? (chain.table === "nat" ? "nat" : "filter"),
    policy: chain.policy ?? "accept",
    rules: chain.rules.map((rule) =>
      "notUnderstood" in rule ? rule.notUnderstood : { test: compileMatch(rule.match), verdict: rule.verdict },
    ),
  };
}

function compileMatch(match: FilterMatchFacts): Test {
  const tests: Test[] = [];
  const add = <T>(part: T | undefined, make: (part: T) => Test): void => {
    if (part !== undefined) tests.push(make(part));
  };
  add(match.in, (m) => names(m, (p) => p.in));
  add(match.out, (m) => names(m, (p) => p.out));
  add(match.source, (m) => addresses(m, (p) => p.source));
  add(match.target, (m) => addresses(m, (p) => p.target));
  add(match.sourceMac, (m) => macs(m, (p) => p.sourceMac));
  add(match.targetMac, (m) => macs(m, (p) => p.targetMac));
  add(match.arpOperation, (m) => numbers(m, (p) => p.arpOperation));
  add(match.protocol, protocols);
  add(match.sourcePort, (m) => numbers(m, (p) => p.sourcePort));
  add(match.targetPort, (m) => numbers(m, (p) => p.targetPort));
  add(match.mark, (m) => {
    const mask = m.mask ?? 0xffffffff;
    return (p) => (((p.mark ^ m.value) & mask) === 0) !== (m.not === true);
  });
  const [only] = tests;
  if (tests.length === 1 && only) return only;
  return (packet) => tests.every((test) => test(packet));
}

function names(match: NameMatchFacts, pick: (p: HookPacket) => string): Test {
  const exact = new Set(match.any.filter((n) => !/[+*]$/.test(n)));
  const starts = match.any.filter((n) => /[+*]$/.test(n)).map((n) => n.slice(0, -1));
  return (p) => {
    const name = pick(p);
    return (exact.has(name) || starts.some((s) => name.startsWith(s))) !== (match.not === true);
  };
}

/** By name or by number, whichever the rule has and the packet. */
function protocols(match: NameMatchFacts): Test {
  const words = new Set(match.any);
  const numbers = new Set(match.any.map(protocolNumber).filter((n) => n > 0));
  return (p) => (words.has(p.protocol) || numbers.has(protocolNumber(p.protocol))) !== (match.not === true);
}

function macs(match: NameMatchFacts, pick: (p: HookPacket) => string): Test {
  const wanted = new Set(match.any.map((m) => parseMac(m) ?? m));
  return (p) => wanted.has(pick(p) as Mac) !== (match.not === true);
}

/** Single addresses in a set, so that 4,096 of them cost what one costs. */
function addresses(match: AddressMatchFacts, pick: (p: HookPacket) => Ipv4): Test {
  const single = new Set<number>();
  const ranges: [number, number][] = [];
  for (const text of match.any) {
    const [low, high] = text.split("-").map((end) => parseIpv4(end));
    if (low !== undefined && high !== undefined) ranges.push([low, high]);
    const prefix = parsePrefix(text);
    if (prefix?.length === 32) single.add(prefix.address);
    else if (prefix) {
      const first = (prefix.address & maskOf(prefix.length)) >>> 0;
      ranges.push([first, (first | ~maskOf(prefix.length)) >>> 0]);
    }
  }
  return (p) => {
    const address = pick(p);
    const found = single.has(address) || ranges.some(([low, high]) => address >= low && address <= high);
    return found !== (match.not === true);
  };
}

function numbers(match: NumberMatchFacts, pick: (p: HookPacket) => number): Test {
  return (p) => {
    const value = pick(p);
    return match.any.some(([low, high]) => value >= low && value <= high) !== (match.not === true);
  };
}

/** What the chains of one hook make of a packet. `notUnderstood`: a rule on the way that could change it. */
export interface HookOutcome {
  readonly verdict: "accept" | "drop";
  readonly packet: HookPacket;
  /** Destination changes asked for, the first that applies: redirect, dnat or tproxy. */
  readonly divert: Extract<FilterVerdictFacts, { kind: "redirect" | "dnat" | "tproxy" }> | undefined;
  readonly divertTool: FilterChainFacts["tool"] | undefined;
  readonly notUnderstood: readonly string[];
}

/** Walks base chains by priority: accept ends a chain, drop ends everything (nf_hook_slow). */
export function runHook(chains: readonly FilterChain[], given: HookPacket): HookOutcome {
  let packet = given;
  let divert: HookOutcome["divert"];
  let divertTool: HookOutcome["divertTool"];
  const notUnderstood: string[] = [];
  const outcome = (verdict: "accept" | "drop"): HookOutcome => ({ verdict, packet, divert, divertTool, notUnderstood });
  for (const chain of chains) {
    let ended = false;
    for (const rule of chain.rules) {
      if (typeof rule === "string") {
        notUnderstood.push(rule);
        continue;
      }
      if (!rule.test(packet)) continue;
      const verdict = rule.verdict;
      switch (verdict.kind) {
        case "continue":
          continue;
        case "drop":
        case "reject":
          return outcome("drop");
        case "accept":
          ended = true;
          break;
        case "return":
          if (chain.policy === "drop") return outcome("drop");
          ended = true;
          break;
        case "mark":
          packet = { ...packet, mark: ((packet.mark & ~(verdict.mask ?? 0xffffffff)) | verdict.value) >>> 0 };
          continue;
        case "mangle":
          packet = {
            ...packet,
            source: (verdict.senderIp === undefined ? undefined : parseIpv4(verdict.senderIp)) ?? packet.source,
            target: (verdict.targetIp === undefined ? undefined : parseIpv4(verdict.targetIp)) ?? packet.target,
            sourceMac: verdict.senderMac ?? packet.sourceMac,
            targetMac: verdict.targetMac ?? packet.targetMac,
          };
          if (verdict.next === "drop") return outcome("drop");
          if (verdict.next === "continue") continue;
          ended = true;
          break;
        case "redirect":
        case "dnat":
        case "tproxy":
          if (!divert) {
            divert = verdict;
            divertTool = chain.tool;
          }
          if (verdict.kind === "tproxy" && verdict.mark !== undefined) packet = { ...packet, mark: verdict.mark };
          ended = true;
          break;
      }
      if (ended) break;
    }
    if (!ended && chain.policy === "drop") return outcome("drop");
  }
  return outcome("accept");
}
