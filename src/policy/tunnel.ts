import type { Step } from "../plan/plan.ts";
import { carrierNotes, tunnelSteps } from "./carrier.ts";
import type { Situation } from "./policy.ts";

const value = (s: Situation, name: string): number => s.facts.sysctls[name] ?? 0;

/** tunl0's own value, also before it exists: a new device takes `default` (S-ALL-03). */
const ofTunnel = (s: Situation, file: string): number =>
  s.facts.sysctls[`tunl0.${file}`] ?? s.facts.sysctls[`default.${file}`] ?? 0;

const set = (s: Situation, name: string, after: number, why: string, rules: readonly string[]): Step => ({
  change: { kind: "sysctl", name, before: s.facts.sysctls[name] ?? null, after },
  why,
  rules,
});

/**
 * What a TUN real server needs besides silence: ipip, tunl0 up, and a source check that lets clients in, whose route
 * never leads to tunl0 (C-2.6-03). `addressed`: tunl0 will hold an address, so that loose is enough.
 */
export function tunnelReception(s: Situation, addressed: boolean): Step[] {
  if (s.wish.forwarding !== "tun") return [];
  const steps = tunnelSteps(s);
  if (s.switches.ipipReentry === "same device") return steps;
  const all = value(s, "all.rp_filter");
  const own = ofTunnel(s, "rp_filter");
  if (s.switches.rpCombine === "and") {
    if (all !== 0 && own !== 0)
      steps.push(
        set(s, "tunl0.rp_filter", 0, "clients come in through tunl0 but are routed elsewhere", [
          "C-2.2-02",
          "C-ALL-03",
        ]),
      );
    return steps;
  }
  if (addressed) {
    if (Math.max(all, own) === 1)
      steps.push(
        set(s, "tunl0.rp_filter", 2, "clients come in through tunl0 but are routed elsewhere; loose is enough", [
          "C-2.6-03",
        ]),
      );
    return steps;
  }
  const why = "tunl0 has no address, so even a loose check refuses clients there";
  if (all !== 0) {
    // The larger of all and own counts: each link gets what it had in force, then `all` may go.
    for (const link of ["default", ...s.facts.links.map((l) => l.name)]) {
      if (link === "tunl0" || value(s, `${link}.rp_filter`) >= all) continue;
      steps.push(
        set(s, `${link}.rp_filter`, all, "keeps the check in force that came from all.rp_filter", ["S-rp_filter"]),
      );
    }
    steps.push(set(s, "all.rp_filter", 0, why, ["C-2.6-03", "S-rp_filter"]));
  }
  // A write to `default` reaches links without addresses that nobody has set apart (S-ALL-03): tunl0 may be one.
  const defaultWritten = steps.some((x) => x.change.kind === "sysctl" && x.change.name === "default.rp_filter");
  if (own !== 0 || defaultWritten) steps.push(set(s, "tunl0.rp_filter", 0, why, ["C-2.6-03"]));
  return steps;
}

export const tunnelNotes = (s: Situation): string[] => [
  ...carrierNotes(s),
  ...(s.wish.forwarding === "tun"
    ? [
        "the director's tunnel takes 20 bytes: where clients' networks eat ICMP, offer an MSS of 1440 or less on the " +
          "services, else big uploads hang (C-DIR-04); tunl0's own MTU does not matter for receiving (C-2.6-05)",
      ]
    : []),
];
