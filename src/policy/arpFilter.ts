import { formatIpv4, parseIpv4 } from "../base/ipv4.ts";
import { covers, formatPrefix, networkOf, parsePrefix } from "../base/prefix.ts";
import type { FilterChainFacts, FilterRuleFacts } from "../model/facts.ts";
import type { Situation } from "./policy.ts";

/** How one host's own ARP packets must be rewritten: out of this link, towards this subnet, from this address. */
export interface Rewrite {
  readonly out: string;
  /** Absent: towards anybody. */
  readonly towards?: string;
  readonly sender: string;
}

/**
 * For each link the address that the kernel itself would show each of its subnets (B-2.2-02), the catch-all of the link
 * last. A link without an own address gets none: there the request is dropped rather than sent with a wrong sender.
 */
export function rewrites(s: Situation): Rewrite[] {
  const vips = new Set(s.wish.vips);
  return s.lan.flatMap((link) => {
    const own = s.facts.addresses.filter((a) => a.link === link.name && !vips.has(a.ip));
    const first = own[0];
    if (first === undefined) return [];
    const subnets = new Map<string, string>();
    for (const a of own) {
      const prefix = parsePrefix(`${a.peer ?? a.ip}/${a.prefixLength}`);
      if (prefix === undefined || prefix.length === 32) continue;
      const subnet = formatPrefix({ address: networkOf(prefix), length: prefix.length });
      if (!subnets.has(subnet)) subnets.set(subnet, a.ip);
    }
    const towards = [...subnets]
      .filter(([, sender]) => sender !== first.ip)
      .map(([subnet, sender]): Rewrite => ({ out: link.name, towards: subnet, sender }));
    const inFirst = [...subnets].find(([, sender]) => sender === first.ip)?.[0];
    const overlaps = inFirst !== undefined && towards.some((r) => overlap(r.towards ?? "", inFirst));
    const firstOwn: Rewrite[] = overlaps && inFirst ? [{ out: link.name, towards: inFirst, sender: first.ip }] : [];
    return [...firstOwn, ...towards, { out: link.name, sender: first.ip }];
  });
}

function overlap(a: string, b: string): boolean {
  const left = parsePrefix(a);
  const right = parsePrefix(b);
  if (left === undefined || right === undefined) return false;
  return covers(left, right.address) || covers(right, left.address);
}

const mangle = (r: Rewrite, vips: readonly string[]): FilterRuleFacts => ({
  match: {
    out: { any: [r.out] },
    source: { any: vips },
    ...(r.towards === undefined ? {} : { target: { any: [r.towards] } }),
  },
  verdict: { kind: "mangle", senderIp: r.sender, next: "accept" },
});

/** Addresses in one order, so that the same wish gives the same table. */
export const sortedVips = (vips: readonly string[]): string[] =>
  [...new Set(vips)]
    .flatMap((v) => parseIpv4(v) ?? [])
    .sort((a, b) => a - b)
    .map(formatIpv4);

/** nft: a table of two chains over a set of VIPs. `except`: an interface that may answer for its own addresses. */
export function arpTable(s: Situation, vips: readonly string[], except?: string): FilterChainFacts[] {
  const any = sortedVips(vips);
  const notIn = except === undefined ? {} : { in: { any: [except], not: true } };
  const notOut = except === undefined ? {} : { out: { any: [except], not: true } };
  const chain = (hook: "input" | "output", rules: FilterRuleFacts[]): FilterChainFacts => ({
    tool: "nft",
    family: "arp",
    table: TABLE,
    chain: hook,
    type: "filter",
    hook,
    priority: 0,
    policy: "accept",
    rules,
  });
  return [
    chain("input", [{ match: { ...notIn, target: { any } }, verdict: { kind: "drop" } }]),
    chain("output", [
      // Answers and gratuitous packets for a VIP: neither may leave, whoever made them.
      { match: { ...notOut, arpOperation: { any: [[1, 1]], not: true }, source: { any } }, verdict: { kind: "drop" } },
      { match: { ...notOut, source: { any }, target: { any } }, verdict: { kind: "drop" } },
      ...rewrites(s)
        .filter((r) => r.out !== except)
        .map((r) => mangle(r, any)),
      { match: { ...notOut, source: { any } }, verdict: { kind: "drop" } },
    ]),
  ];
}

export const TABLE = "vipward";

/** arptables has no sets: the same, a few rules a VIP. */
export function arptablesRules(s: Situation, vips: readonly string[]): { chain: string; rule: FilterRuleFacts }[] {
  const rewriting = rewrites(s);
  return sortedVips(vips).flatMap((vip) => [
    { chain: "INPUT", rule: { match: { target: { any: [vip] } }, verdict: { kind: "drop" } } },
    {
      chain: "OUTPUT",
      rule: { match: { source: { any: [vip] }, target: { any: [vip] } }, verdict: { kind: "drop" } },
    },
    ...rewriting.map((r) => ({ chain: "OUTPUT", rule: mangle(r, [vip]) })),
    { chain: "OUTPUT", rule: { match: { source: { any: [vip] } }, verdict: { kind: "drop" } } },
  ]);
}
