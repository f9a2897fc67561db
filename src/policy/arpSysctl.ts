import type { Step } from "../plan/plan.ts";
import { carrierSteps, vipProblems, vipSteps } from "./carrier.ts";
import { no, type Policy, type Situation, yes } from "./policy.ts";
import { tunnelNotes, tunnelReception } from "./tunnel.ts";

/** arp_ignore values that keep a VIP silent that lives on another device than the one asked on. */
const silent = new Set([1, 2, 8]);
/** Of these the one that answers for a /32 on the device asked on: 2 wants the asker in its subnet, 8 never answers. */
const ANSWERS_ITS_OWN = 1;
const SELECT = 2;

const value = (s: Situation, name: string): number => s.facts.sysctls[name] ?? 0;

interface Want {
  readonly file: "arp_ignore" | "arp_announce";
  readonly good: (inForce: number, s: Situation) => boolean;
  readonly set: number;
  readonly why: string;
  readonly rules: readonly string[];
}

const wants: readonly Want[] = [
  {
    file: "arp_ignore",
    good: (v, s) => (s.wish.ownsAtTimes ? v === ANSWERS_ITS_OWN : silent.has(v)),
    set: 1,
    why: "answers only for addresses of the interface that was asked on",
    rules: ["A-2.6-02", "A-2.6-04"],
  },
  {
    file: "arp_announce",
    good: (v) => v === SELECT,
    set: SELECT,
    why: "asks with an address of the interface it asks on; 1 would still leak a VIP in the RIP's subnet",
    rules: ["B-2.6-01", "B-2.6-03", "B-2.6-04"],
  },
];

/**
 * On the links that ask and answer, never on the carrier, whose values nobody reads (A-2.6-02). The larger of `all` and
 * the link's own counts, so a number above the good one must come down first (A-2.6-08, B-2.6-05).
 */
export function arpSysctlSteps(s: Situation): Step[] {
  const steps: Step[] = [];
  const scope = s.wish.options?.sysctlScope ?? "links";
  const put = (name: string, after: number, why: string, rules: readonly string[]): void => {
    if (value(s, name) !== after)
      steps.push({ change: { kind: "sysctl", name, before: s.facts.sysctls[name] ?? null, after }, why, rules });
  };
  for (const want of wants) {
    const name = `all.${want.file}`;
    let all = value(s, name);
    const hopeless = s.lan.some(
      (l) =>
        !want.good(Math.max(all, want.set, 0), s) && !want.good(Math.max(all, value(s, `${l.name}.${want.file}`)), s),
    );
    if (scope === "all" || hopeless) {
      const why = hopeless ? `${want.why}; ${all} in conf/all would override every link (A-2.6-08)` : want.why;
      if (!want.good(all, s)) {
        put(name, want.set, why, want.rules);
        all = want.set;
      }
    }
    for (const link of s.lan) {
      const own = `${link.name}.${want.file}`;
      if (!want.good(Math.max(all, value(s, own)), s)) put(own, want.set, want.why, want.rules);
    }
  }
  return steps;
}

export const arpSysctl: Policy = {
  name: "arp-sysctl",
  summary: "arp_ignore 1 and arp_announce 2 on the interfaces that speak ARP",
  where: "2.4.26 and later, 2.6.4 and later",
  letsOwnersAnswer: true,
  suits: (s) => {
    if (!s.switches.arpIgnoreAnnounce)
      return no(
        `kernel ${s.facts.kernel.release} has no arp_ignore and arp_announce (they came with 2.4.26 and 2.6.4)`,
      );
    const [problem] = vipProblems(s, true);
    if (problem !== undefined) return no(problem);
    if (s.wish.programs?.sysctls === false && arpSysctlSteps(s).length > 0)
      return no("/proc/sys is read-only here, as in most containers: set arp_ignore and arp_announce on the host");
    const later =
      s.wish.options?.sysctlScope === "all"
        ? "conf/all silences every interface for addresses of another one"
        : "an interface that is added later is not silent by itself; --sysctl-scope all covers it";
    return yes(10, later, ...tunnelNotes(s));
  },
  steps: (s) => [
    ...carrierSteps(s),
    ...tunnelReception(s, s.wish.carrier === "tunl0"),
    ...arpSysctlSteps(s),
    ...vipSteps(s),
  ],
};
