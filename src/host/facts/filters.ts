/** `nft -j list ruleset` as chains of the facts: what can be said in their words is, the rest is named as text. */
import type {
  AddressMatchFacts,
  FilterChainFacts,
  FilterMatchFacts,
  FilterRuleFacts,
  FilterVerdictFacts,
  NameMatchFacts,
  NotUnderstoodFacts,
  NumberMatchFacts,
} from "../../model/facts.ts";
import { isProtocol } from "../../model/protocols.ts";

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** Thrown inside one rule; the rule then is not understood. */
class Unknown extends Error {}
const unknown = (): never => {
  throw new Unknown();
};

const families = new Set(["arp", "ip", "inet", "bridge", "netdev"]);
const hooks = new Set(["ingress", "prerouting", "input", "forward", "output", "postrouting"]);
/** No base chain in a family that can touch ARP or IPv4 is left out; ip6 cannot. */
const relevant = (chain: Json): boolean =>
  families.has(textOf(chain.family) ?? "") && hooks.has(textOf(chain.hook) ?? "");

export function filterChains(ruleset: readonly Json[]): FilterChainFacts[] {
  const chains = new Map<string, FilterChainFacts & { rules: (FilterRuleFacts | NotUnderstoodFacts)[] }>();
  const sets = new Map<string, unknown>();
  const key = (family: unknown, table: unknown, chain: unknown): string => JSON.stringify([family, table, chain]);
  for (const item of ruleset) {
    if (isObject(item.set)) sets.set(key(item.set.family, item.set.table, item.set.name), item.set.elem ?? []);
    const { chain } = item;
    if (!isObject(chain) || !relevant(chain)) continue;
    chains.set(key(chain.family, chain.table, chain.name), {
      tool: "nft",
      family: chain.family as FilterChainFacts["family"],
      table: String(chain.table),
      chain: String(chain.name),
      type: chain.type === "nat" || chain.type === "route" ? chain.type : "filter",
      hook: chain.hook as FilterChainFacts["hook"],
      ...(typeof chain.prio === "number" ? { priority: chain.prio } : {}),
      policy: chain.policy === "drop" ? "drop" : "accept",
      rules: [],
    });
  }
  for (const { rule } of ruleset) {
    if (!isObject(rule)) continue;
    const chain = chains.get(key(rule.family, rule.table, rule.chain));
    const named = (name: string): unknown => sets.get(key(rule.family, rule.table, name));
    if (chain !== undefined) chain.rules.push(readRule(rule, named));
  }
  return [...chains.values()];
}

function readRule(rule: Json, named: (set: string) => unknown): FilterRuleFacts | NotUnderstoodFacts {
  const expressions = Array.isArray(rule.expr) ? rule.expr.filter(isObject) : [];
  const text = JSON.stringify(expressions);
  try {
    return { ...understood(expressions, named), text };
  } catch (error) {
    if (!(error instanceof Unknown)) throw error;
    return { notUnderstood: `${String(rule.family)} ${String(rule.table)} ${String(rule.chain)}: ${text}` };
  }
}

type MutableMatch = { -readonly [Key in keyof FilterMatchFacts]: FilterMatchFacts[Key] };
type Mangle = {
  -readonly [Key in keyof Extract<FilterVerdictFacts, { kind: "mangle" }>]: Extract<
    FilterVerdictFacts,
    { kind: "mangle" }
  >[Key];
};

/** Matches, then at most one change of the packet, then at most one verdict: all that facts can say. */
function understood(expressions: readonly Json[], named: (set: string) => unknown): FilterRuleFacts {
  const match: MutableMatch = {};
  let verdict: FilterVerdictFacts | undefined;
  let mangle: Mangle | undefined;
  for (const expression of expressions) {
    const [kind, content] = Object.entries(expression)[0] ?? unknown();
    if (kind === "counter" || kind === "log" || kind === "comment") continue;
    if (verdict !== undefined) unknown();
    if (kind === "match") {
      if (mangle !== undefined) unknown();
      addMatch(match, content, named);
    } else if (kind === "mangle") {
      const change = readMangle(content);
      if (change.kind === "mark") verdict = change;
      else mangle = { ...mangle, ...change };
    } else verdict = readVerdict(kind, content);
  }
  if (mangle === undefined) return { match, verdict: verdict ?? { kind: "continue" } };
  const next = verdict?.kind ?? "continue";
  if (next !== "accept" && next !== "drop" && next !== "continue") unknown();
  return { match, verdict: { ...mangle, next: next as Mangle["next"] } };
}

function readVerdict(kind: string, content: unknown): FilterVerdictFacts {
  switch (kind) {
    case "accept":
    case "drop":
    case "reject":
    case "return":
    case "continue":
      return { kind };
    case "redirect": {
      const port = isObject(content) ? content.port : undefined;
      if (port !== undefined && typeof port !== "number") unknown();
      return { kind, ...(typeof port === "number" ? { port } : {}) };
    }
    case "dnat":
    case "tproxy": {
      if (!isObject(content)) return unknown();
      const to = textOf(content.addr);
      const port = content.port;
      if (port !== undefined && typeof port !== "number") unknown();
      const rest = typeof port === "number" ? { port } : {};
      if (kind === "tproxy") return { kind, ...(to === undefined ? {} : { to }), ...rest };
      return to === undefined || !/^\d+(\.\d+){3}$/.test(to) ? unknown() : { kind, to, ...rest };
    }
    default:
      return unknown();
  }
}

const arpFields: Readonly<Record<string, "senderIp" | "senderMac" | "targetIp" | "targetMac">> = {
  "saddr ip": "senderIp",
  "saddr ether": "senderMac",
  "daddr ip": "targetIp",
  "daddr ether": "targetMac",
};

function readMangle(content: unknown): Mangle | Extract<FilterVerdictFacts, { kind: "mark" }> {
  if (!isObject(content) || !isObject(content.key)) return unknown();
  const { payload, meta } = content.key;
  if (isObject(meta) && meta.key === "mark" && typeof content.value === "number")
    return { kind: "mark", value: content.value };
  const field = isObject(payload) && payload.protocol === "arp" ? arpFields[textOf(payload.field) ?? ""] : undefined;
  const value = textOf(content.value);
  if (field === undefined || value === undefined) return unknown();
  return { kind: "mangle", next: "continue", [field]: value };
}

/** What the left side of a match asks, in the words of the facts; a field may stand in one match only. */
function addMatch(match: MutableMatch, content: unknown, named: (set: string) => unknown): true {
  if (!isObject(content)) return unknown();
  const { left, op } = content;
  if (op !== "==" && op !== "!=" && op !== "in") return unknown();
  const not = op === "!=" ? { not: true } : {};
  const values = valuesOf(content.right, named);
  const put = <Key extends keyof MutableMatch>(key: Key, value: MutableMatch[Key]): true => {
    if (match[key] !== undefined) unknown();
    match[key] = value;
    return true;
  };
  const names = (): NameMatchFacts => ({ any: values.map((v) => (typeof v === "string" ? v : unknown())), ...not });
  const addresses = (): AddressMatchFacts => ({ any: values.map(addressText), ...not });
  const numbers = (words: Readonly<Record<string, number>> = {}): NumberMatchFacts => ({
    any: values.map((v) => numberRange(v, words)),
    ...not,
  });
  if (!isObject(left)) return unknown();
  if (isObject(left.meta)) {
    switch (left.meta.key) {
      case "iifname":
      case "iif":
        return put("in", names());
      case "oifname":
      case "oif":
        return put("out", names());
      case "l4proto":
        return put("protocol", { any: values.map(protocolWord), ...not });
      case "mark": {
        const [value] = values;
        if (values.length !== 1 || typeof value !== "number") return unknown();
        return put("mark", { value, ...not });
      }
      default:
        return unknown();
    }
  }
  if (!isObject(left.payload)) return unknown();
  switch (`${textOf(left.payload.protocol)} ${textOf(left.payload.field)}`) {
    case "arp operation":
      return put("arpOperation", numbers({ request: 1, reply: 2 }));
    case "arp saddr ip":
    case "ip saddr":
      return put("source", addresses());
    case "arp daddr ip":
    case "ip daddr":
      return put("target", addresses());
    case "arp saddr ether":
      return put("sourceMac", names());
    case "arp daddr ether":
      return put("targetMac", names());
    case "ip protocol":
      return put("protocol", { any: values.map(protocolWord), ...not });
    case "tcp dport":
    case "udp dport":
      return withProtocol(match, left.payload.protocol as string, () => put("targetPort", numbers()));
    case "tcp sport":
    case "udp sport":
      return withProtocol(match, left.payload.protocol as string, () => put("sourcePort", numbers()));
    default:
      return unknown();
  }
}

/** nft takes its names from /etc/protocols, where 4 is ipencap and ipip another one, 94. */
function protocolWord(value: unknown): string {
  const word = value === "ipip" ? "94" : value === "ipencap" ? "ipip" : String(value);
  return isProtocol(word) ? word : unknown();
}

/** `tcp dport 80` says the protocol, too. */
function withProtocol(match: MutableMatch, protocol: string, then: () => true): true {
  const { any, not } = match.protocol ?? { any: [protocol] };
  if (not || any.length !== 1 || any[0] !== protocol) unknown();
  match.protocol = { any: [protocol] };
  return then();
}

function valuesOf(right: unknown, named: (set: string) => unknown): unknown[] {
  if (typeof right === "string" && right.startsWith("@")) {
    const elements = named(right.slice(1));
    return Array.isArray(elements) ? elements.map(plainElement) : unknown();
  }
  if (isObject(right) && "set" in right)
    return Array.isArray(right.set) ? right.set.map(plainElement) : [plainElement(right.set)];
  return Array.isArray(right) ? unknown() : [right];
}

/** Elements with a counter or time-out are wrapped. */
const plainElement = (element: unknown): unknown =>
  isObject(element) && isObject(element.elem) ? element.elem.val : element;

function addressText(value: unknown): string {
  if (typeof value === "string" && /^\d+(\.\d+){3}$/.test(value)) return value;
  if (!isObject(value)) return unknown();
  if (isObject(value.prefix)) return `${textOf(value.prefix.addr) ?? unknown()}/${Number(value.prefix.len)}`;
  if (Array.isArray(value.range)) return value.range.map((end) => textOf(end) ?? unknown()).join("-");
  return unknown();
}

function numberRange(value: unknown, words: Readonly<Record<string, number>>): readonly [number, number] {
  if (typeof value === "number") return [value, value];
  const word = typeof value === "string" ? words[value] : undefined;
  if (word !== undefined) return [word, word];
  if (!isObject(value) || !Array.isArray(value.range)) return unknown();
  const [low, high] = value.range;
  return typeof low === "number" && typeof high === "number" ? [low, high] : unknown();
}
