import { carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { no, type Policy, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

export const fullArpFix: Policy = {
  name: "fullarpfix",
  summary: "the VIPs on a loopback alias or a tunnel, which this patched kernel does not answer for",
  where: "2.2 up to 2.2.13 with sdw_fullarpfix",
  suits: (s) => {
    if (!s.switches.fullArpFix) return no("this kernel does not carry the fullarpfix patch for 2.2");
    if (s.wish.carrier === "dummy")
      return no(
        "fullarpfix covers loopback aliases and tunnels, not dummy (A-2.2sdw-02): choose --carrier lo or tunl0",
      );
    const [problem] = vipProblems(s, true);
    return problem === undefined
      ? yes(
          18,
          "the patch's text could not be read; requests sent may still carry the VIP (A-2.2sdw-02)",
          ...tunnelNotes(s),
        )
      : no(problem);
  },
  steps: (s) => [...carrierSteps(s), ...tunnelReception(s, s.wish.carrier === "tunl0"), ...vipSteps(s)],
};
