import type { FilterChainFacts } from "../../model/facts.ts";
import type { ChangeKind } from "../kind.ts";
import { nftCommands } from "../nftJson.ts";
import { plainChain } from "./filterChain.ts";

/** A whole nft table of our own: replaced in one transaction, so that no moment has half of it. */
export interface NftTableChange {
  readonly kind: "nftTable";
  readonly family: "arp" | "ip";
  readonly table: string;
  readonly before: readonly FilterChainFacts[] | null;
  readonly after: readonly FilterChainFacts[] | null;
}

export const nftTable: ChangeKind<NftTableChange> = {
  key: (c) => `nft ${c.family} ${c.table}`,
  describe: (c) => {
    const name = `the nft table ${c.family} ${c.table}`;
    if (c.after === null) return `remove ${name}`;
    const rules = c.after.reduce((sum, chain) => sum + chain.rules.length, 0);
    return `${c.before === null ? "add" : "replace"} ${name} (${rules} ${rules === 1 ? "rule" : "rules"})`;
  },
  phase: (c) => (c.after === null ? "lift" : "silence"),
  operations: (c) => [{ op: "nft", commands: nftCommands(c.family, c.table, c.after) }],
  current: (c, host) => {
    const chains = host.filters.filter((f) => f.tool === "nft" && f.family === c.family && f.table === c.table);
    return chains.length === 0 ? null : chains.map(plainChain);
  },
  effect: (c, host) => {
    const own = (f: FilterChainFacts) => f.tool === "nft" && f.family === c.family && f.table === c.table;
    const at = host.filters.findIndex(own);
    const before = host.filters.slice(0, at < 0 ? undefined : at);
    const behind = at < 0 ? [] : host.filters.slice(at).filter((f) => !own(f));
    host.filters = [...before, ...(c.after ?? []), ...behind];
  },
  conflicts: () => [],
  lasting: false,
};
