import type {
  FilterChainFacts,
  FilterMatchFacts,
  FilterRuleFacts,
  FilterVerdictFacts,
  NotUnderstoodFacts,
} from "../model/facts.ts";

/** What `iptables -t TABLE -S` and `arptables -n -L` print, back to facts; a line in other words is not understood. */

const hooks: Readonly<Record<string, FilterChainFacts["hook"]>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
  OUTPUT: "output",
  POSTROUTING: "postrouting",
};

const bare = (address: string): string => address.replace(/\/32$/, "");

function portRange(text: string): readonly [number, number] | undefined {
  const [low, high = low] = text.split(":");
  const range = [Number(low), Number(high)] as const;
  return range.every((n) => Number.isInteger(n)) ? range : undefined;
}

type Not = { readonly not?: true };

/** Options that take a value, and what they add to the match; undefined: not in our words. */
const matchers: Readonly<Record<string, (value: string, not: Not) => FilterMatchFacts | undefined>> = {
  "-i": (v, not) => ({ in: { any: [v], ...not } }),
  "-o": (v, not) => ({ out: { any: [v], ...not } }),
  "-s": (v, not) => ({ source: { any: [bare(v)], ...not } }),
  "-d": (v, not) => ({ target: { any: [bare(v)], ...not } }),
  "-p": (v, not) => ({ protocol: { any: [v], ...not } }),
  // Loads a match; the words that matter follow with their own options.
  "-m": (v) => (["tcp", "udp", "sctp", "comment"].includes(v) ? {} : undefined),
  "--comment": () => ({}),
  "--opcode": (v, not) => {
    const n = v === "Request" ? 1 : v === "Reply" ? 2 : Number(v);
    return Number.isInteger(n) ? { arpOperation: { any: [[n, n]], ...not } } : undefined;
  },
  "--dport": (v, not) => {
    const range = portRange(v);
    return range === undefined ? undefined : { targetPort: { any: [range], ...not } };
  },
};

function readLine(words: readonly string[]): FilterRuleFacts | undefined {
  let match: FilterMatchFacts = {};
  let target: string | undefined;
  let port: number | undefined;
  let senderIp: string | undefined;
  let next: "accept" | "drop" | "continue" = "accept";
  let not: Not = {};
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? "";
    if (word === "!") {
      not = { not: true };
      continue;
    }
    const value = words[++i];
    if (value === undefined) return undefined;
    if (word === "-j") target = value;
    else if (word === "--to-ports") port = Number(value);
    else if (word === "--mangle-ip-s") senderIp = bare(value);
    else if (word === "--mangle-target") next = value.toLowerCase() as typeof next;
    else {
      const added = matchers[word]?.(value, not);
      if (added === undefined) return undefined;
      match = { ...match, ...added };
    }
    not = {};
  }
  const verdict = verdictOf(target, port, senderIp, next);
  return verdict === undefined ? undefined : { match, verdict };
}

function verdictOf(
  target: string | undefined,
  port: number | undefined,
  senderIp: string | undefined,
  next: "accept" | "drop" | "continue",
): FilterVerdictFacts | undefined {
  switch (target) {
    case "DROP":
      return { kind: "drop" };
    case "ACCEPT":
      return { kind: "accept" };
    case "REDIRECT":
      return port === undefined ? { kind: "redirect" } : { kind: "redirect", port };
    case "mangle":
      return senderIp === undefined ? undefined : { kind: "mangle", senderIp, next };
    default:
      return undefined;
  }
}

/** Chains without rules and with policy accept decide nothing and are left out. */
export function readRules(tool: "iptables" | "arptables", table: string, text: string): FilterChainFacts[] {
  const chains = new Map<string, { policy: "accept" | "drop"; rules: (FilterRuleFacts | NotUnderstoodFacts)[] }>();
  let listed = "";
  for (const raw of text.split("\n")) {
    const header = /^Chain (\S+) \(policy (\w+)/.exec(raw);
    if (header !== null) listed = header[1] ?? "";
    const line = header === null ? (listed === "" ? raw : `-A ${listed} ${raw}`) : `-P ${listed} ${header[2]}`;
    if (raw.trim() === "") continue;
    const [verb, chain, ...words] = line.trim().split(/ +/);
    if (chain === undefined) continue;
    const entry = chains.get(chain) ?? { policy: "accept", rules: [] };
    if (verb === "-P") entry.policy = words[0] === "DROP" ? "drop" : "accept";
    else if (verb === "-A") entry.rules.push(readLine(words) ?? { notUnderstood: `${tool}: ${line.trim()}` });
    else continue;
    chains.set(chain, entry);
  }
  return [...chains].flatMap(([chain, { policy, rules }]): FilterChainFacts[] => {
    const hook = hooks[chain];
    if (hook === undefined || (rules.length === 0 && policy === "accept")) return [];
    const type = table === "nat" ? "nat" : "filter";
    return [{ tool, family: tool === "arptables" ? "arp" : "ip", table, chain, type, hook, policy, rules }];
  });
}
