import type {
  AddressMatchFacts,
  FilterChainFacts,
  FilterRuleFacts,
  FilterVerdictFacts,
  NameMatchFacts,
  NumberMatchFacts,
} from "../model/facts.ts";

/** Chains in the facts' own words, as commands of libnftables-json(5). */

type Json = Readonly<Record<string, unknown>>;

const payload = (protocol: string, field: string): Json => ({ payload: { protocol, field } });
const match = (left: unknown, right: unknown, not: boolean | undefined): Json => ({
  match: { op: not === true ? "!=" : "==", left, right },
});
const oneOrSet = (values: readonly unknown[]): unknown => (values.length === 1 ? values[0] : { set: values });

function addressElement(text: string): unknown {
  const [ip, length] = text.split("/");
  if (length !== undefined) return { prefix: { addr: ip, len: Number(length) } };
  const [low, high] = text.split("-");
  return high === undefined ? text : { range: [low, high] };
}

/** Lists of addresses become named sets, one for each list: a look-up, however many VIPs. */
class Sets {
  readonly byContent = new Map<string, { name: string; elements: readonly string[] }>();
  reference(m: AddressMatchFacts): unknown {
    if (m.any.length === 1) return addressElement(m.any[0] ?? "");
    const key = m.any.join(" ");
    let set = this.byContent.get(key);
    if (set === undefined) {
      const count = this.byContent.size;
      set = { name: count === 0 ? "vips" : `vips${count + 1}`, elements: m.any };
      this.byContent.set(key, set);
    }
    return `@${set.name}`;
  }
}

const names = (m: NameMatchFacts): unknown => oneOrSet(m.any.map((n) => n.replace(/\+$/, "*")));
const numbers = (m: NumberMatchFacts): unknown =>
  oneOrSet(m.any.map(([low, high]) => (low === high ? low : { range: [low, high] })));
const operationName: Readonly<Record<number, string>> = { 1: "request", 2: "reply" };

function matches(family: "arp" | "ip", rule: FilterRuleFacts, sets: Sets): Json[] {
  const m = rule.match;
  const all: Json[] = [];
  const source = family === "arp" ? payload("arp", "saddr ip") : payload("ip", "saddr");
  const target = family === "arp" ? payload("arp", "daddr ip") : payload("ip", "daddr");
  if (m.in) all.push(match({ meta: { key: "iifname" } }, names(m.in), m.in.not));
  if (m.out) all.push(match({ meta: { key: "oifname" } }, names(m.out), m.out.not));
  if (m.arpOperation) {
    const values = m.arpOperation.any.map(([low]) => operationName[low] ?? low);
    all.push(match(payload("arp", "operation"), oneOrSet(values), m.arpOperation.not));
  }
  if (m.source) all.push(match(source, sets.reference(m.source), m.source.not));
  if (m.target) all.push(match(target, sets.reference(m.target), m.target.not));
  if (m.protocol && !m.targetPort) all.push(match({ meta: { key: "l4proto" } }, names(m.protocol), m.protocol.not));
  if (m.targetPort) {
    const protocol = m.protocol?.any[0];
    if (protocol === undefined) throw new RangeError("a port needs its protocol");
    all.push(match(payload(protocol, "dport"), numbers(m.targetPort), m.targetPort.not));
  }
  return all;
}

function verdict(v: FilterVerdictFacts): Json[] {
  switch (v.kind) {
    case "accept":
    case "drop":
    case "return":
    case "continue":
      return [{ [v.kind]: null }];
    case "redirect":
      return [{ redirect: v.port === undefined ? null : { port: v.port } }];
    case "mangle": {
      if (v.senderIp === undefined) break;
      const set = { mangle: { key: payload("arp", "saddr ip"), value: v.senderIp } };
      return v.next === "continue" ? [set] : [set, { [v.next]: null }];
    }
    default:
  }
  throw new RangeError(`nft tables of vipward have no verdict ${v.kind}`);
}

/** Makes the table hold exactly `chains`, whatever it held, in one transaction; null takes it away. */
export function nftCommands(
  family: "arp" | "ip",
  table: string,
  chains: readonly FilterChainFacts[] | null,
): readonly Json[] {
  const named = { family, table };
  // Adding first makes the deletion succeed where there is no such table yet.
  const commands: Json[] = [
    { add: { table: { family, name: table } } },
    { delete: { table: { family, name: table } } },
  ];
  if (chains === null) return commands;
  commands.push({ add: { table: { family, name: table } } });
  const sets = new Sets();
  const chainCommands: Json[] = [];
  const ruleCommands: Json[] = [];
  for (const chain of chains) {
    const { type = "filter", hook, priority = 0, policy = "accept" } = chain;
    const name = chain.chain ?? hook;
    chainCommands.push({ add: { chain: { ...named, name, type, hook, prio: priority, policy } } });
    for (const rule of chain.rules) {
      if ("notUnderstood" in rule)
        throw new RangeError(`cannot write a rule that was not understood: ${rule.notUnderstood}`);
      const expr = [...matches(family, rule, sets), ...verdict(rule.verdict)];
      ruleCommands.push({ add: { rule: { ...named, chain: name, expr } } });
    }
  }
  for (const { name, elements } of sets.byContent.values()) {
    const interval = elements.some((e) => /[/-]/.test(e)) ? { flags: ["interval"] } : {};
    commands.push({
      add: { set: { ...named, name, type: "ipv4_addr", ...interval, elem: elements.map(addressElement) } },
    });
  }
  return [...commands, ...chainCommands, ...ruleCommands];
}
