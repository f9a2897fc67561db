import type { FilterChainFacts, FilterRuleFacts } from "../../model/facts.ts";
import { equal } from "../equal.ts";
import type { HostDraft } from "../host.ts";
import type { ChangeKind, ChangeShape } from "../kind.ts";
import { ruleArguments } from "../ruleArguments.ts";

/** One rule at the end of a chain of ipchains, iptables or arptables, found again by its words. */
interface RuleShape<Name extends string> extends ChangeShape {
  readonly kind: Name;
  readonly table: string;
  readonly chain: string;
  readonly rule: FilterRuleFacts;
  /** True: the rule is there. */
  readonly before: boolean;
  readonly after: boolean;
}
export type IptablesChange = RuleShape<"iptables">;
export type ArptablesChange = RuleShape<"arptables">;
/** For plans and the shell form: no kernel with ipchains runs this program. */
export type IpchainsChange = RuleShape<"ipchains">;

const hooks: Readonly<Record<string, FilterChainFacts["hook"]>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
  OUTPUT: "output",
  POSTROUTING: "postrouting",
  input: "input",
};

function rules<Name extends "iptables" | "arptables" | "ipchains">(tool: Name): ChangeKind<RuleShape<Name>> {
  type C = RuleShape<Name>;
  const family = tool === "arptables" ? "arp" : "ip";
  const own = (c: C) => (f: FilterChainFacts) =>
    f.tool === tool && f.family === family && (f.table ?? "filter") === c.table && f.chain === c.chain;
  const same = (c: C) => (r: FilterChainFacts["rules"][number]) =>
    "match" in r && equal(r.match, c.rule.match) && equal(r.verdict, c.rule.verdict);
  const spec = (c: C): readonly string[] => ruleArguments(tool, c.rule);
  const type = (c: C) => (c.table === "nat" ? "nat" : "filter");
  return {
    key: (c) => `${tool} ${c.table} ${c.chain} ${spec(c).join(" ")}`,
    describe: (c) => `${c.after ? "append" : "delete"} in ${tool} ${c.table} ${c.chain}: ${spec(c).join(" ")}`,
    phase: (c) => (c.after ? "silence" : "lift"),
    operations: (c) => [
      { op: "rule", action: c.after ? "add" : "remove", program: tool, table: c.table, chain: c.chain, spec: spec(c) },
    ],
    current: (c, host) => host.filters.some((f) => own(c)(f) && f.rules.some(same(c))),
    effect: (c, host: HostDraft) => {
      const chain = host.filters.find(own(c));
      if (c.after) {
        if (chain !== undefined)
          host.filters = host.filters.map((f) => (f === chain ? { ...f, rules: [...f.rules, c.rule] } : f));
        else {
          const hook = hooks[c.chain] ?? "input";
          // No `policy`: marks a chain that the facts did not list, and that goes with its last rule.
          host.filters.push({ tool, family, table: c.table, chain: c.chain, type: type(c), hook, rules: [c.rule] });
        }
        return;
      }
      if (chain === undefined) return;
      const at = chain.rules.findLastIndex(same(c));
      const left = chain.rules.filter((_, i) => i !== at);
      host.filters =
        left.length === 0 && chain.policy === undefined
          ? host.filters.filter((f) => f !== chain)
          : host.filters.map((f) => (f === chain ? { ...f, rules: left } : f));
    },
    conflicts: () => [],
    lasting: false,
  };
}

export const iptables = rules("iptables");
export const arptables = rules("arptables");
export const ipchains = rules("ipchains");
