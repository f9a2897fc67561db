import { has } from "../model/generation.ts";
import type { Step } from "../plan/plan.ts";
import { arpSysctlSteps } from "./arpSysctl.ts";
import { carrierName, carrierSteps, vipProblems } from "./carrier.ts";
import { nftArpSteps } from "./nftArp.ts";
import { hasNft, no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

const routeSteps = (s: Situation): Step[] =>
  [...new Set(s.wish.vips)].map((vip) => ({
    change: {
      kind: "route",
      route: { dst: vip, type: "local", table: 255, dev: carrierName(s), scope: 254, protocol: "static" },
      before: false,
      after: true,
    },
    why: "makes the VIP local without an address on any interface",
    rules: ["C-ALL-02", "A-2.6-18"],
  }));

const bySysctl = (s: Situation): boolean => s.switches.arpIgnoreAnnounce && s.wish.programs?.sysctls !== false;

export const localRoute: Policy = {
  name: "local-route",
  summary: "no address: a local route for each VIP, with the ARP settings that this needs",
  where: "2.6 and later",
  suits: (s) => {
    if (!has(s.release, "2.6.0")) return no("local routes for foreign addresses were not read for kernels before 2.6");
    if (!bySysctl(s) && !hasNft(s))
      return no("a local route is answered for and leaked like an address (A-2.6-18), and nothing here can silence it");
    const [problem] = vipProblems(s, false, true);
    if (problem !== undefined) return no(problem);
    return yes(
      40,
      "`ip address` does not show the VIP: colleagues will look for it",
      "a local route turns on the full source check of ARP requests (A-2.6-13)",
      ...tunnelNotes(s),
    );
  },
  steps: (s) => [
    ...carrierSteps(s),
    ...tunnelReception(s, false),
    ...(bySysctl(s) ? arpSysctlSteps(s) : nftArpSteps(s)),
    ...routeSteps(s),
  ],
};
