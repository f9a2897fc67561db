import type { Step } from "../plan/plan.ts";
import { arpTable, TABLE } from "./arpFilter.ts";
import { carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { hasNft, no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

/** The silence alone, for policies that hold the VIP another way. */
export const nftArpSteps = (s: Situation): Step[] => [
  {
    change: { kind: "nftTable", family: "arp", table: TABLE, before: null, after: arpTable(s, s.wish.vips) },
    why: "drops requests for the VIPs before the kernel answers or learns, and takes the VIPs out of its own requests",
    rules: ["A-2.6-20"],
  },
];

export const nftArp: Policy = {
  name: "nft-arp",
  summary: "an nft table of family arp: requests for the VIPs dropped, a VIP as sender rewritten",
  where: "kernels with the nft arp family (3.14 and later), with the nft program",
  suits: (s) => {
    if (!hasNft(s))
      return no(
        s.wish.programs?.nft === false
          ? "the program nft is not here: install the package nftables"
          : `kernel ${s.facts.kernel.release} has no nft family arp`,
      );
    const [problem] = vipProblems(s, true);
    if (problem !== undefined) return no(problem);
    return yes(
      20,
      "`nft flush ruleset` takes the silence away: keep other firewall scripts from it",
      ...tunnelNotes(s),
    );
  },
  steps: (s) => [
    ...carrierSteps(s),
    ...tunnelReception(s, s.wish.carrier === "tunl0"),
    ...nftArpSteps(s),
    ...vipSteps(s),
  ],
};
