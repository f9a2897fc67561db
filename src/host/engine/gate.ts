/**
 * What becomes of packets for the VIPs that IPVS does not take: one nft table of ours, replaced as a whole. IPVS sits in
 * the input hook at 98 and 99 (ip_vs_core.c, NF_IP_PRI_NAT_SRC - 2 and - 1) and takes what is its own out of it, so a
 * chain behind sees the rest and nothing else.
 */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { GateWish } from "../../ports/engine.ts";
import type { Namespace } from "../namespace.ts";
import { family, replaceTable } from "./ownTable.ts";

export const gateTable = "vipward_gate";
const table = gateTable;
const chain = "input";
const behindIpvs = 150;
const protocols: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp", 132: "sctp" };

const match = (left: unknown, op: "==" | "!=" | ">", right: unknown): unknown => ({ match: { op, left, right } });
const field = (protocol: string, name: string): unknown => ({ payload: { protocol, field: name } });
const rule = (...expr: unknown[]): unknown => ({ add: { rule: { family, table, chain, expr } } });
const drop = { drop: null };

/** VIPs whose unknown TCP goes to this director now; its elements end by themselves, so nobody need take them out. */
export const relaySet = (to: Ipv4): string => `relay_${formatIpv4(to)}`;

function relayCommands(to: Ipv4): unknown[] {
  const name = relaySet(to);
  const isSyn = { "&": [field("tcp", "flags"), "syn"] };
  const isRelayed = [match(field("ip", "daddr"), "==", `@${name}`), match(isSyn, "!=", "syn")];
  return [
    { add: { set: { family, table, name, type: "ipv4_addr", flags: ["timeout"] } } },
    // The copy has one hop less, but dup does not look whether any was left (nf_dup_ipv4): 0 would be followed by 255.
    rule(...isRelayed, match(field("ip", "ttl"), ">", 1), { dup: { addr: formatIpv4(to) } }),
    rule(...isRelayed, drop),
  ];
}

function closedCommands({ closed, open }: GateWish): unknown[] {
  if (closed.length === 0) return [];
  return [
    { add: { set: { family, table, name: "closed", type: "ipv4_addr", elem: closed.map(formatIpv4) } } },
    ...open.map(({ vip, protocol, first, last }) =>
      rule(
        match(field("ip", "daddr"), "==", formatIpv4(vip)),
        match(field(protocols[protocol] ?? "tcp", "dport"), "==", first === last ? first : { range: [first, last] }),
        { accept: null },
      ),
    ),
    // What this host says to itself is no packet that was sent to the virtual router.
    rule(match({ meta: { key: "iifname" } }, "!=", "lo"), match(field("ip", "daddr"), "==", "@closed"), drop),
  ];
}

function replace(wish: GateWish): void {
  const hook = { type: "filter", hook: "input", prio: behindIpvs, policy: "accept" };
  const isEmpty = wish.closed.length + wish.peers.length === 0;
  const fresh = [
    { add: { table: { family, name: table } } },
    { add: { chain: { family, table, name: chain, ...hook } } },
    ...wish.peers.flatMap(relayCommands),
    ...closedCommands(wish),
  ];
  replaceTable(table, isEmpty ? [] : fresh);
}

/** Errors: those of nft.ts. */
export function setGate(wish: GateWish, namespace: Namespace | undefined): void {
  if (namespace === undefined) replace(wish);
  else namespace.run(() => replace(wish));
}
