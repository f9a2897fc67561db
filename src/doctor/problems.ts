import type { ArpReply } from "../model/answerArp.ts";
import type { Link } from "../model/link.ts";
import { isLocal } from "../model/localTable.ts";
import type { RuleId } from "../model/rules.ts";
import type { Context, Vip } from "./context.ts";
import { list, setConf, theVips } from "./text.ts";

/** A host that must be silent is not, by the model's word. Which entry it becomes, the first fitting cause decides. */
export interface Answer {
  readonly vip: Vip;
  readonly link: Link;
  readonly reply: ArpReply;
}
export interface Leaks {
  readonly vip: Vip;
  readonly link: Link;
  readonly rule: RuleId;
  readonly because: string;
  /** False: no packet's source, the kernel itself selects the VIP. */
  readonly fromPacket: boolean;
}

export type Cause =
  | "proxy"
  | "on-nic"
  | "wide-prefix"
  | "kube"
  | "value"
  | "ignore-3"
  | "hidden"
  | "dotted"
  | "forgotten"
  | "carrier-only"
  | "default-only"
  | "arp-filter"
  | "noarp"
  | "half-filtered"
  | "selected"
  | "announce-1"
  | "plain";

export interface Problems {
  readonly answers: ReadonlyMap<Cause, readonly Answer[]>;
  readonly leaks: ReadonlyMap<Cause, readonly Leaks[]>;
}

const cache = new WeakMap<Context, Problems>();

/** All answers and leaks of the host, sorted by cause. Asked once for a check. */
export function problemsOf(context: Context): Problems {
  const before = cache.get(context);
  if (before) return before;
  const answering = new Map<Vip, Answer[]>();
  const leaking = new Map<Vip, Leaks[]>();
  for (const vip of context.silent) {
    const answers = context.ask.answers(vip.ip).flatMap((reply) => {
      const link = context.host.linkByName.get(reply.via);
      return link ? [{ vip, link, reply }] : [];
    });
    if (answers.length > 0) answering.set(vip, answers);
    const leaks = context.ask.leaks(vip.ip).map(({ link, verdict }) => ({
      vip,
      link,
      rule: verdict.rule,
      because: verdict.because,
      fromPacket: verdict.fromPacket,
    }));
    if (leaks.length > 0) leaking.set(vip, leaks);
  }
  const answers = new Map<Cause, Answer[]>();
  for (const all of answering.values())
    for (const a of all)
      push(
        answers,
        causeOfAnswer(
          context,
          a,
          all.map((x) => x.link),
        ),
        a,
      );
  const leaks = new Map<Cause, Leaks[]>();
  for (const all of leaking.values())
    for (const l of all)
      push(
        leaks,
        causeOfLeak(
          context,
          l,
          all.map((x) => x.link),
        ),
        l,
      );
  const problems = { answers, leaks };
  cache.set(context, problems);
  return problems;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const there = map.get(key);
  if (there) there.push(value);
  else map.set(key, [value]);
}

const carriersOf = (context: Context, vip: Vip): Link[] => context.held(vip).map((a) => a.link);

/** Other LAN interfaces are silent where this one is not. */
const othersAreRight = (context: Context, wrong: readonly Link[]): boolean =>
  context.lan.some((l) => !wrong.includes(l) && l.addresses.length > 0);

/** Most telling first: each says more than those below it. */
function causeOfAnswer(context: Context, { vip, link, reply }: Answer, wrong: readonly Link[]): Cause {
  const carriers = carriersOf(context, vip);
  const sysctl = context.sysctl;
  const mode = link.conf.arpIgnore;
  if (!isLocal(context.host, vip.ip, link)) return "proxy";
  if (/^A-2\.2-09$|^A-2\.6-1[67]$/.test(reply.rule)) return "proxy";
  if (carriers.includes(link)) return "on-nic";
  if (carriers.length === 0 && coveredByWide(context, vip)) return "wide-prefix";
  if (context.host.switches.hiddenFlag && hiddenHalfSet(context, carriers)) return "hidden";
  if (context.host.switches.arpIgnoreAnnounce) {
    if (mode > 3 || mode < 0) return "value";
    if (mode === 3) return "ignore-3";
    if (carriers.some(isKubeDevice)) return "kube";
    if (othersAreRight(context, wrong)) return link.name.includes(".") ? "dotted" : "forgotten";
    if (carriers.some((c) => (sysctl(`${c.name}.arp_ignore`) ?? 0) > 0)) return "carrier-only";
    if ((sysctl("default.arp_ignore") ?? 0) > 0) return "default-only";
  }
  if (link.conf.arpFilter) return "arp-filter";
  if (arpRulesExist(context, "input")) return "half-filtered";
  if (carriers.some((c) => c.noArp && !c.loopback)) return "noarp";
  return "plain";
}

function causeOfLeak(context: Context, leak: Leaks, wrong: readonly Link[]): Cause {
  const carriers = carriersOf(context, leak.vip);
  const { link } = leak;
  if (!leak.fromPacket) return "selected";
  if (carriers.length === 0 && coveredByWide(context, leak.vip)) return "wide-prefix";
  if (context.host.switches.hiddenFlag && hiddenHalfSet(context, carriers)) return "hidden";
  if (context.host.switches.arpIgnoreAnnounce) {
    const mode = link.conf.arpAnnounce;
    if (mode > 2 || mode < 0) return "value";
    if (mode === 1) return "announce-1";
    if (arpRulesExist(context, "input") || arpRulesExist(context, "output")) return "half-filtered";
    if (carriers.some(isKubeDevice)) return "kube";
    if (othersAreRight(context, wrong)) return link.name.includes(".") ? "dotted" : "forgotten";
    if (carriers.some((c) => (context.sysctl(`${c.name}.arp_announce`) ?? 0) > 0)) return "carrier-only";
    if ((context.sysctl("default.arp_announce") ?? 0) > 0) return "default-only";
  }
  return "plain";
}

export const isKubeDevice = (link: Link): boolean => link.name === "kube-ipvs0";

/** The VIP is local only because a shorter prefix on a loopback makes its whole subnet local (A-2.2-05). */
const coveredByWide = (context: Context, vip: Vip): boolean =>
  context.host.links.some(
    (l) =>
      l.loopback &&
      l.addresses.some(
        (a) => a.prefixLength < 32 && a.ip >>> 24 !== 127 && ((a.prefixAddress ^ vip.ip) & a.mask) === 0,
      ),
  );

const hiddenHalfSet = (context: Context, carriers: readonly Link[]): boolean =>
  (context.sysctl("all.hidden") ?? 0) > 0 || carriers.some((c) => (context.sysctl(`${c.name}.hidden`) ?? 0) > 0);

export const arpRulesExist = (context: Context, hook: "input" | "output"): boolean =>
  context.facts.filters.some(
    (c) => c.family === "arp" && c.hook === hook && (c.rules.length > 0 || c.policy === "drop"),
  );

export const vipsOf = (problems: readonly { readonly vip: Vip }[]): string[] => [
  ...new Set(problems.map((p) => p.vip.text)),
];
export const linksOf = (problems: readonly { readonly link: Link }[]): string[] => [
  ...new Set(problems.map((p) => p.link.name)),
];

/** "eth0 answers ARP for the VIP 10.0.0.100, which lo holds". */
export function answersText(context: Context, answers: readonly Answer[]): string {
  const holders = new Set<string>();
  for (const a of answers) for (const h of context.held(a.vip)) holders.add(h.link.name);
  const who = holders.size > 0 ? `, held on ${list([...holders])}` : "";
  const links = linksOf(answers);
  return `${list(links)} ${links.length > 1 ? "answer" : "answers"} ARP requests for ${theVips(vipsOf(answers))}${who}`;
}

export function leaksText(leaks: readonly Leaks[]): string {
  return `ARP requests that leave by ${list(linksOf(leaks))} carry ${theVips(vipsOf(leaks))} as their sender`;
}

/**
 * The two settings that make an interface silent, on kernels that have them. The larger of all and the interface is
 * in force, so a value in all that undoes them goes as well (A-2.6-08, B-2.6-05).
 */
export const silenceLines = (context: Context, links: readonly string[]): string[] => [
  ...links.flatMap((l) => [setConf(l, "arp_ignore", 1), setConf(l, "arp_announce", 2)]),
  ...((context.sysctl("all.arp_ignore") ?? 0) > 2 ? [setConf("all", "arp_ignore", 1)] : []),
  ...announceInAll(context),
];
export const announceInAll = (context: Context): string[] =>
  (context.sysctl("all.arp_announce") ?? 0) > 2 ? [setConf("all", "arp_announce", 2)] : [];
