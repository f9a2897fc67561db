import type {
  AddressMatchFacts,
  FilterChainFacts,
  FilterMatchFacts,
  FilterRuleFacts,
  FilterVerdictFacts,
  NotUnderstoodFacts,
} from "../model/facts.ts";

/**
 * Own tables as `nft -j list table` prints them, back to chains in the form that nftCommands writes, so that what is
 * there compares with what was wanted. A rule in other words is not understood, and then the table is not ours any more.
 */

type Json = Readonly<Record<string, unknown>>;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const record = (value: unknown): Json => (typeof value === "object" && value !== null ? (value as Json) : {});
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function addressText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const { prefix, range } = record(value);
  if (prefix !== undefined) return `${String(record(prefix).addr)}/${String(record(prefix).len)}`;
  const [low, high] = list(range);
  return low === undefined ? undefined : `${String(low)}-${String(high)}`;
}

function addresses(value: unknown, sets: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  if (typeof value === "string" && value.startsWith("@")) return sets.get(value.slice(1));
  const { set } = record(value);
  const found = (set === undefined ? [value] : list(set)).map(addressText);
  return found.every((t) => t !== undefined) ? found : undefined;
}

const strings = (value: unknown): string[] | undefined => {
  const { set } = record(value);
  const all = set === undefined ? [value] : list(set);
  return all.every((v) => typeof v === "string") ? (all as string[]) : undefined;
};

function numbers(value: unknown): (readonly [number, number])[] | undefined {
  const { set } = record(value);
  const all = (set === undefined ? [value] : list(set)).map((v): readonly [number, number] | undefined => {
    const n = v === "request" ? 1 : v === "reply" ? 2 : v;
    if (typeof n === "number") return [n, n];
    const [low, high] = list(record(v).range);
    return typeof low === "number" && typeof high === "number" ? [low, high] : undefined;
  });
  return all.every((r) => r !== undefined) ? all : undefined;
}

const lengths: Readonly<Record<string, unknown>> = { htype: 1, ptype: "ip", hlen: 6, plen: 4 };

/** Reads one match into `into`; false: not in our words. */
function readMatch(
  m: Json,
  family: string,
  into: Mutable<FilterMatchFacts>,
  sets: ReadonlyMap<string, readonly string[]>,
): boolean {
  const not = m.op === "!=" ? { not: true } : {};
  const { meta, payload } = record(m.left);
  const key = meta === undefined ? "" : String(record(meta).key);
  const { protocol, field } = record(payload);
  const put = <T>(any: T | undefined, set: (any: T) => void): boolean => {
    if (any === undefined) return false;
    set(any);
    return true;
  };
  if (key === "iifname") return put(strings(m.right), (any) => (into.in = { any, ...not }));
  if (key === "oifname") return put(strings(m.right), (any) => (into.out = { any, ...not }));
  if (key === "l4proto") return put(strings(m.right), (any) => (into.protocol = { any, ...not }));
  const name = `${String(protocol)} ${String(field)}`;
  const address = (set: (m: AddressMatchFacts) => void): boolean =>
    put(addresses(m.right, sets), (any) => set({ any, ...not }));
  // What arptables writes before each rule; every ARP packet that the kernel handles has it.
  if (/^arp (htype|ptype|hlen|plen)$/.test(name)) return m.op === "==" && m.right === lengths[String(field)];
  if (name === "arp operation") return put(numbers(m.right), (any) => (into.arpOperation = { any, ...not }));
  if (name === (family === "arp" ? "arp saddr ip" : "ip saddr")) return address((a) => (into.source = a));
  if (name === (family === "arp" ? "arp daddr ip" : "ip daddr")) return address((a) => (into.target = a));
  if (field === "dport" && typeof protocol === "string")
    return put(numbers(m.right), (any) => {
      into.protocol = { any: [protocol] };
      into.targetPort = { any, ...not };
    });
  return false;
}

function readRule(
  expr: readonly unknown[],
  family: string,
  sets: ReadonlyMap<string, readonly string[]>,
): FilterRuleFacts | NotUnderstoodFacts {
  const match: Mutable<FilterMatchFacts> = {};
  let verdict: FilterVerdictFacts | undefined;
  for (const part of expr.map(record)) {
    if ("counter" in part) continue;
    if (part.match !== undefined && verdict === undefined && readMatch(record(part.match), family, match, sets))
      continue;
    const found = readVerdict(part, verdict);
    if (found === undefined) return { notUnderstood: JSON.stringify(part) };
    verdict = found;
  }
  return verdict === undefined ? { notUnderstood: "a rule without a verdict" } : { match, verdict };
}

function readVerdict(part: Json, before: FilterVerdictFacts | undefined): FilterVerdictFacts | undefined {
  for (const kind of ["accept", "drop", "return", "continue"] as const)
    if (kind in part) {
      if (before === undefined) return { kind };
      if (before.kind === "mangle" && kind !== "return") return { ...before, next: kind };
    }
  if ("redirect" in part && before === undefined) {
    const { port } = record(part.redirect);
    return typeof port === "number" ? { kind: "redirect", port } : { kind: "redirect" };
  }
  if ("mangle" in part && before === undefined) {
    const { key, value } = record(part.mangle);
    if (record(record(key).payload).field === "saddr ip" && typeof value === "string")
      return { kind: "mangle", senderIp: value, next: "continue" };
  }
  return undefined;
}

/** Objects of `nft -j list table FAMILY NAME`; [] where there is no such table. */
export function readNftTable(family: "arp" | "ip", table: string, objects: readonly unknown[]): FilterChainFacts[] {
  const sets = new Map<string, readonly string[]>();
  const chains: Mutable<FilterChainFacts & { rules: (FilterRuleFacts | NotUnderstoodFacts)[] }>[] = [];
  for (const object of objects.map(record)) {
    const set = record(object.set);
    if (set.table === table && set.family === family)
      sets.set(String(set.name), addresses({ set: set.elem ?? [] }, sets) ?? []);
    const chain = record(object.chain);
    if (chain.table === table && chain.family === family && typeof chain.hook === "string")
      chains.push({
        tool: "nft",
        family,
        table,
        chain: String(chain.name),
        type: chain.type === "nat" ? "nat" : "filter",
        hook: chain.hook as FilterChainFacts["hook"],
        priority: Number(chain.prio ?? 0),
        policy: chain.policy === "drop" ? "drop" : "accept",
        rules: [],
      });
    const rule = record(object.rule);
    if (rule.table === table && rule.family === family)
      chains.find((c) => c.chain === rule.chain)?.rules.push(readRule(list(rule.expr), family, sets));
  }
  return chains;
}
