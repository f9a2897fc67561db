import { isLoopback, parseIpv4 } from "../base/ipv4.ts";
import type { Change } from "../plan/change.ts";
import type { World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import { speaksArp } from "../plan/lan.ts";
import { baseOf, makePlan, type Plan, type Step } from "../plan/plan.ts";
import { type Goal, nothingWanted } from "../plan/proof.ts";
import { arpTable } from "./arpFilter.ts";
import { arpSysctlSteps } from "./arpSysctl.ts";
import { hasNft, type Situation, situationOf } from "./policy.ts";
import type { Programs } from "./wish.ts";

/** The old flag's meaning on any kernel: all addresses of one interface out of ARP, but on that interface itself. */
export interface HideRequest {
  readonly world: World;
  /** What earlier `hide` runs made for this interface. */
  readonly owned: readonly Change[];
  readonly link: string;
  readonly kernel: Kernel;
  readonly programs?: Programs;
}

export type HideChoice =
  | { readonly ok: true; readonly way: string; readonly plan: Plan; readonly notes: readonly string[] }
  | { readonly ok: false; readonly why: string };

/** Marks the changes that belong to one hidden interface, so that apply and hide leave each other's alone. */
export const hidePurpose = (link: string): string => `hide ${link}`;
export const purposeOf = (c: Change): string => (c as { readonly purpose?: string }).purpose ?? "vips";
function marked(step: Step, link: string): Step {
  const change: Change & { readonly purpose?: string } = { ...step.change, ...{ purpose: hidePurpose(link) } };
  return { ...step, change };
}

/** nft's names are letters, digits and underscores. */
const tableOf = (link: string): string => `vipward_hide_${link.replace(/\W/g, "_")}`;

function ways(
  s: Situation,
  link: string,
  vips: readonly string[],
): { way: string; steps: Step[]; notes: string[] } | undefined {
  const set = (name: string): Step => ({
    change: { kind: "sysctl", name, before: s.facts.sysctls[name] ?? null, after: 1 },
    why: `keeps the addresses of ${link} out of ARP`,
    rules: ["A-2.2h-01", "A-2.2h-03"],
  });
  if (s.switches.hiddenFlag)
    return {
      way: "hidden",
      steps: [set(`${link}.hidden`), set("all.hidden")],
      notes: ["requests in unicast frames are still answered (A-2.2h-04)"],
    };
  const bySysctl = {
    way: "arp-sysctl",
    steps: arpSysctlSteps({ ...s, lan: s.lan.filter((l) => l.name !== link) }),
    notes: ["the other interfaces then answer for their own addresses only, whatever interface holds them"],
  };
  const canSysctl = s.switches.arpIgnoreAnnounce && s.wish.programs?.sysctls !== false;
  // As the flag did: what is added to the interface later is hidden as well.
  if (canSysctl && hidesNoOther(s, link)) return bySysctl;
  const later =
    `an address that is added to ${link} later is not hidden by itself: run \`vipward hide ${link}\` again, or leave ` +
    "`vipward guard --heal` running";
  if (hasNft(s)) {
    const table = tableOf(link);
    const after = arpTable(s, vips, link).map((c) => ({ ...c, table }));
    return {
      way: "nft-arp",
      steps: [
        {
          change: { kind: "nftTable", family: "arp", table, before: null, after },
          why: `drops requests for the addresses of ${link} that come in elsewhere, and takes them out of own requests`,
          rules: ["A-2.6-20"],
        },
      ],
      notes: [later],
    };
  }
  return canSysctl ? bySysctl : undefined;
}

/** Would arp_ignore hide just this interface's addresses? Not where a third one's are answered for today. */
function hidesNoOther(s: Situation, link: string): boolean {
  const others = new Set(
    s.facts.addresses.flatMap((a) => {
      const ip = parseIpv4(a.ip);
      return a.link === link || ip === undefined || isLoopback(ip) ? [] : [a.link];
    }),
  );
  return others.size <= 1;
}

/** The interfaces that earlier runs hid. */
export const hiddenLinks = (owned: readonly Change[]): string[] => [
  ...new Set(owned.flatMap((c) => /^hide (.+)$/.exec(purposeOf(c))?.[1] ?? [])),
];

export function planHide(r: HideRequest): HideChoice {
  const base = baseOf(r.world, r.owned);
  const { facts } = base;
  const found = facts.links.find((l) => l.name === r.link);
  if (found === undefined) return { ok: false, why: `there is no interface ${r.link}` };
  const vips = facts.addresses
    .filter((a) => a.link === r.link)
    .map((a) => a.ip)
    .filter((ip) => !isLoopback(parseIpv4(ip) ?? (0 as never)));
  if (vips.length === 0) return { ok: false, why: `${r.link} has no address to hide` };
  const wish = {
    vips,
    forwarding: "dr",
    carrier: "lo",
    services: [],
    ...(r.programs ? { programs: r.programs } : {}),
  } as const;
  const s = situationOf(base, wish, r.kernel);
  const others = s.lan.filter((l) => l.name !== r.link);
  if (others.length === 0)
    return {
      ok: false,
      why: speaksArp(found, facts)
        ? `requests heard on ${r.link} itself are always answered (A-2.2h-05), and no other interface speaks ARP: hiding it would change nothing`
        : "no interface of this host speaks ARP",
    };
  const way = ways(s, r.link, vips);
  if (way === undefined)
    return { ok: false, why: `kernel ${facts.kernel.release} has neither hidden, arp_ignore nor nft's arp family` };
  const goal: Goal = {
    vips,
    forwarding: "dr",
    services: [],
    exceptLink: r.link,
    lanLinks: others.map((l) => l.name),
  };
  const wanted = way.steps.map((step) => marked(step, r.link));
  const plan = makePlan({ world: r.world, owned: r.owned, wanted, goal, kernel: r.kernel });
  return { ok: true, way: way.way, plan, notes: way.notes };
}

/** Takes away what `hide` made for this interface. */
export const planReveal = (r: HideRequest): Plan =>
  makePlan({ world: r.world, owned: r.owned, wanted: [], goal: nothingWanted, kernel: r.kernel });
