/** Port ranges as firewall marks: one nft table of ours, replaced as a whole. */
import { formatIpv4 } from "../../base/ipv4.ts";
import type { MarkRule } from "../../machine/table.ts";
import type { Namespace } from "../namespace.ts";
import { family, replaceTable } from "./ownTable.ts";

export const marksTable = "vipward_marks";
const table = marksTable;
const protocols: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp", 132: "sctp" };

const equals = (left: unknown, right: unknown): unknown => ({ match: { op: "==", left, right } });
const field = (protocol: string, name: string): unknown => ({ payload: { protocol, field: name } });

function ruleOf({ vip, protocol, first, last, fwmark }: MarkRule, chain: string): unknown {
  const expr = [
    equals(field("ip", "daddr"), formatIpv4(vip)),
    equals(field(protocols[protocol] ?? "tcp", "dport"), first === last ? first : { range: [first, last] }),
    { mangle: { key: { meta: { key: "mark" } }, value: fwmark } },
  ];
  return { add: { rule: { family, table, chain, expr } } };
}

/** Marked before routing, and what this host itself sends to the VIP on its way out. */
function replace(rules: readonly MarkRule[]): void {
  const chains = [
    { name: "prerouting", type: "filter", hook: "prerouting" },
    { name: "output", type: "route", hook: "output" },
  ];
  const fresh = [
    { add: { table: { family, name: table } } },
    ...chains.flatMap((chain) => [
      { add: { chain: { family, table, ...chain, prio: -150, policy: "accept" } } },
      ...rules.map((rule) => ruleOf(rule, chain.name)),
    ]),
  ];
  replaceTable(table, rules.length === 0 ? [] : fresh);
}

/** Errors: those of nft.ts. */
export function markPackets(rules: readonly MarkRule[], namespace: Namespace | undefined): void {
  if (namespace === undefined) replace(rules);
  else namespace.run(() => replace(rules));
}
