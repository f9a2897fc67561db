import { carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { no, type Policy, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

export const nature20: Policy = {
  name: "nature-2.0",
  summary: "nothing to silence: a 2.0 kernel answers only for the address of the device asked on",
  where: "2.0 kernels",
  suits: (s) => {
    if (s.switches.arpScope !== "device")
      return no("from 2.2 on an address belongs to the host and is answered for on every interface (A-2.2-04)");
    const [problem] = vipProblems(s, true);
    return problem === undefined
      ? yes(0, "a VIP on lo or dummy is neither answered for nor leaked (A-2.0-02, B-2.0-01)", ...tunnelNotes(s))
      : no(problem);
  },
  steps: (s) => [...carrierSteps(s), ...tunnelReception(s, s.wish.carrier === "tunl0"), ...vipSteps(s)],
};
