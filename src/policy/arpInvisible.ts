import { vipProblems } from "./carrier.ts";
import { carrierFlagSteps } from "./carrierFlag.ts";
import { no, type Policy, yes } from "./policy.ts";
import { tunnelNotes } from "./tunnel.ts";

export const arpInvisible: Policy = {
  name: "arp-invisible",
  summary: "conf/all/arp_invisible and conf/CARRIER/arp_invisible",
  where: "2.2.13 with the arp_invisible patch",
  suits: (s) => {
    if (!s.switches.arpInvisible) return no("this kernel does not carry the arp_invisible patch for 2.2.13");
    const [problem] = vipProblems(s, true);
    return problem === undefined
      ? yes(16, "the patch's text could not be read; what it does is inferred (A-2.2inv-01)", ...tunnelNotes(s))
      : no(problem);
  },
  steps: (s) => carrierFlagSteps(s, "arp_invisible", ["A-2.2inv-01", "A-2.2inv-02", "A-2.2inv-03"]),
};
