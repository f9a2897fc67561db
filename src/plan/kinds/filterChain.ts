import type { FilterChainFacts } from "../../model/facts.ts";

/** A chain without what the tool only prints: two chains that do the same compare equal. */
export const plainChain = (chain: FilterChainFacts): FilterChainFacts => ({
  ...chain,
  rules: chain.rules.map((rule) => {
    if ("notUnderstood" in rule) return rule;
    const { text: _, ...plain } = rule;
    return plain;
  }),
});
