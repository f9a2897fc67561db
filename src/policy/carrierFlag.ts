import type { Step } from "../plan/plan.ts";
import { carrierName, carrierSteps, vipSteps } from "./carrier.ts";
import type { Situation } from "./policy.ts";
import { tunnelReception } from "./tunnel.ts";

/** hidden and arp_invisible work alike: conf/all AND conf/CARRIER, by the device that owns the address. */
export function carrierFlagSteps(s: Situation, file: "hidden" | "arp_invisible", rules: readonly string[]): Step[] {
  const set = (link: string, why: string): Step => {
    const name = `${link}.${file}`;
    return { change: { kind: "sysctl", name, before: s.facts.sysctls[name] ?? null, after: 1 }, why, rules };
  };
  return [
    ...carrierSteps(s),
    ...tunnelReception(s, s.wish.carrier === "tunl0"),
    set(carrierName(s), "keeps every address of the carrier out of ARP"),
    set("all", "without it the carrier's own flag does nothing"),
    ...vipSteps(s),
  ];
}
