/** Port ranges as firewall marks: one nft table of ours, replaced as a whole. */
import { formatIpv4 } from "../../base/ipv4.ts";
import type { MarkRule } from "../../machine/table.ts";
import type { Namespace } from "../namespace.ts";
import { applyNft, listNft } from "../nft.ts";

const family = "ip";
const table = "vipward_marks";
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

function stands(): boolean {
  return listNft(["tables"]).some((entry) => {
    const found = entry.table as { family?: string; name?: string } | undefined;
    return found?.family === family && found.name === table;
  });
}

/** Marked before routing, and what this host itself sends to the VIP on its way out. One transaction. */
function replace(rules: readonly MarkRule[]): void {
  // Most clusters have no ranges, and then nft need not be installed.
  if (rules.length === 0) {
    try {
      if (!stands()) return;
    } catch {
      return;
    }
  }
  const chains = [
    { name: "prerouting", type: "filter", hook: "prerouting" },
    { name: "output", type: "route", hook: "output" },
  ];
  const fresh =
    rules.length === 0
      ? []
      : [
          { add: { table: { family, name: table } } },
          ...chains.flatMap((chain) => [
            { add: { chain: { family, table, ...chain, prio: -150, policy: "accept" } } },
            ...rules.map((rule) => ruleOf(rule, chain.name)),
          ]),
        ];
  applyNft([{ add: { table: { family, name: table } } }, { delete: { table: { family, name: table } } }, ...fresh]);
}

/** Errors: those of nft.ts. */
export function markPackets(rules: readonly MarkRule[], namespace: Namespace | undefined): void {
  if (namespace === undefined) replace(rules);
  else namespace.run(() => replace(rules));
}
