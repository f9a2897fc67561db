import type { Step } from "../plan/plan.ts";
import { arptablesRules } from "./arpFilter.ts";
import { carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { hasArptables, no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

export const arptablesSteps = (s: Situation): Step[] =>
  arptablesRules(s, s.wish.vips).map(({ chain, rule }) => ({
    change: { kind: "arptables", table: "filter", chain, rule, before: false, after: true },
    why:
      chain === "INPUT"
        ? "drops requests for the VIP before the kernel answers"
        : "keeps the VIP from being the sender of this host's ARP packets",
    rules: ["A-2.6-20"],
  }));

export const arptables: Policy = {
  name: "arptables",
  summary: "arptables: requests for the VIPs dropped, a VIP as sender rewritten",
  where: "2.4.22 and later, with the arptables program",
  suits: (s) => {
    if (!hasArptables(s))
      return no(
        s.wish.programs?.arptables === false
          ? "the program arptables is not here: install the package arptables"
          : `kernel ${s.facts.kernel.release} has no arptables with mangle (A-2.6-20)`,
      );
    const [problem] = vipProblems(s, true);
    if (problem !== undefined) return no(problem);
    return yes(30, "several rules a VIP, not one transaction: nft-arp does the same with a set", ...tunnelNotes(s));
  },
  steps: (s) => [
    ...carrierSteps(s),
    ...tunnelReception(s, s.wish.carrier === "tunl0"),
    ...arptablesSteps(s),
    ...vipSteps(s),
  ],
};
