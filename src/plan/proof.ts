import { ANY, formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import type { HostFacts, RouteFacts } from "../model/facts.ts";
import { alike } from "./alike.ts";
import { type Change, effect, undoAll } from "./change.ts";
import { equal } from "./equal.ts";
import type { World } from "./host.ts";
import type { Answer, Kernel, KernelView, PacketQuestion } from "./kernel.ts";
import { host32 } from "./kinds/route.ts";
import { FAR_CLIENT, type LanLink, lanLinks } from "./lan.ts";

/** What the laws are asked about: these addresses, on these links. */
export interface Goal {
  /** Must be silent on ARP and taken in: VIPs, or the addresses of an interface that is to be hidden. */
  readonly vips: readonly string[];
  readonly forwarding: "dr" | "tun";
  /** Links whose wire must not see the addresses; absent: every link that speaks ARP. */
  readonly lanLinks?: readonly string[];
  /** An interface that may answer for its own addresses: `hide IFACE` (A-2.2h-05). */
  readonly exceptLink?: string;
  /** Asked for each VIP; none: any TCP port. */
  readonly services: readonly Service[];
}

export const nothingWanted: Goal = { vips: [], forwarding: "dr", services: [] };

export interface Service {
  /** Absent: every VIP. */
  readonly vip?: string;
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly ports: readonly (readonly [low: number, high: number])[];
}

/** One question to the model and its answer. */
export interface Witness {
  readonly asked: string;
  readonly answer: string;
  readonly rule: string;
}

export interface LawProof {
  readonly law: 1 | 2 | 3 | 4 | 5;
  readonly title: string;
  readonly holds: boolean;
  /** How many questions were asked. */
  readonly asked: number;
  /** The rules that decided. */
  readonly rules: readonly string[];
  /** One question of many, to show what was asked. */
  readonly example?: Witness;
  /** At most LIMIT of those that broke it; `brokenCount` is all of them. */
  readonly broken: readonly Witness[];
  readonly brokenCount: number;
  /** It holds, but: what a person must know. */
  readonly caveats: readonly string[];
}

export interface Proof {
  readonly holds: boolean;
  readonly laws: readonly LawProof[];
  /** So many VIPs are like others in all that the kernel looks at, and were not asked about one by one (alike.ts). */
  readonly alike?: number;
}

const LIMIT = 10;

const titles = {
  1: "one owner: silent for the VIPs",
  2: "acceptance: packets for the VIPs are taken in",
  3: "no leak: no ARP request carries a VIP",
  4: "no harm: own addresses, routes and neighbours as before",
  5: "reversible: undo gives back the facts",
} as const;

/** Gathers one law's questions; the sentences are only made for those that are kept. */
class Case {
  readonly law: LawProof["law"];
  #asked = 0;
  #brokenCount = 0;
  readonly #broken: Witness[] = [];
  readonly #rules = new Set<string>();
  readonly #caveats = new Set<string>();
  #example: Witness | undefined;

  constructor(law: LawProof["law"]) {
    this.law = law;
  }

  put(holds: boolean, rule: string, asked: () => string, answer: () => string, uncertain?: string): void {
    this.#asked++;
    if (rule !== "") this.#rules.add(rule);
    if (uncertain !== undefined) this.caveat(uncertain);
    if (holds) this.#example ??= { asked: asked(), answer: answer(), rule };
    else if (this.#brokenCount++ < LIMIT) this.#broken.push({ asked: asked(), answer: answer(), rule });
  }

  caveat(sentence: string): void {
    this.#caveats.add(sentence);
  }

  verdict(): LawProof {
    return {
      law: this.law,
      title: titles[this.law],
      holds: this.#brokenCount === 0,
      asked: this.#asked,
      rules: [...this.#rules].sort(),
      ...(this.#example === undefined ? {} : { example: this.#example }),
      broken: this.#broken,
      brokenCount: this.#brokenCount,
      caveats: [...this.#caveats],
    };
  }
}

const frames = [
  { name: "broadcast", unicast: false, probe: false },
  { name: "unicast", unicast: true, probe: false },
  { name: "probe from 0.0.0.0", unicast: false, probe: true },
] as const;

const addressesOf = (texts: readonly string[]): Ipv4[] => texts.flatMap((t) => parseIpv4(t) ?? []);

/** Where law 1 listens: each link with a believable asker. An unnumbered link is asked from afar. */
const askers = (link: LanLink): Ipv4[] =>
  link.neighbours.length === 0 ? [FAR_CLIENT] : link.neighbours.map((n) => n.ip);

const answerText = (a: Answer, yes: string, no: string): string => `${a.yes ? yes : no}: ${a.because}`;

/**
 * Law 1. A neighbour that never learned this host's MAC never asks it by unicast, so a kernel that is silent to
 * broadcasts and answers unicast (the hidden flag, A-2.2h-04) keeps the law with a caveat.
 */
function oneOwner(view: KernelView, vips: readonly Ipv4[], lan: readonly LanLink[]): LawProof {
  const law = new Case(1);
  for (const link of lan)
    for (const vip of vips)
      for (const asker of askers(link)) {
        let broadcastAnswered = false;
        for (const frame of frames) {
          const sender = frame.probe ? ANY : asker;
          const a = view.answers({ link: link.name, sender, target: vip, unicast: frame.unicast });
          if (frame.name === "broadcast") broadcastAnswered = a.yes;
          const unicastOnly = frame.unicast && a.yes && !broadcastAnswered;
          if (unicastOnly)
            law.caveat(
              `a request in a unicast frame is still answered (${a.rule}): a neighbour that learned this host's MAC for ` +
                "a VIP earlier keeps it until its entry is flushed there",
            );
          law.put(
            !a.yes || unicastOnly,
            a.rule,
            () => `who has ${formatIpv4(vip)}, tell ${formatIpv4(sender)}, ${frame.name}, heard on ${link.name}`,
            () => answerText(a, "answered", "silent"),
            a.uncertain,
          );
        }
      }
  return law.verdict();
}

/** One packet for each VIP, service and way in. */
function* packets(goal: Goal, vips: readonly string[], lan: readonly LanLink[]): Generator<PacketQuestion> {
  for (const vipText of vips) {
    const destination = parseIpv4(vipText);
    if (destination === undefined) continue;
    const services = goal.services.filter((s) => s.vip === undefined || s.vip === vipText);
    const asked: { protocol: Service["protocol"]; port: number }[] = services.flatMap((s) =>
      (s.ports.length === 0 ? [[80, 80] as const] : s.ports).map(([port]) => ({ protocol: s.protocol, port })),
    );
    if (asked.length === 0) asked.push({ protocol: "tcp", port: 80 });
    for (const link of lan) {
      const clients = link.neighbours.map((n) => n.ip);
      if (link.isDefault) clients.push(FAR_CLIENT);
      const director = link.neighbours[0];
      for (const source of clients)
        for (const { protocol, port } of asked) {
          const packet: PacketQuestion = { link: link.name, source, destination, protocol, port };
          if (goal.forwarding === "dr") yield packet;
          else if (director !== undefined)
            yield { ...packet, outer: { source: director.ip, destination: director.seenFrom } };
        }
    }
  }
}

function acceptance(view: KernelView, goal: Goal, vips: readonly string[], lan: readonly LanLink[]): LawProof {
  const law = new Case(2);
  for (const packet of packets(goal, vips, lan)) {
    const a = view.receives(packet);
    law.put(
      a.yes,
      a.rule,
      () =>
        `${packet.protocol} ${formatIpv4(packet.source)} to ${formatIpv4(packet.destination)}:${packet.port} in on ` +
        `${packet.link}${packet.outer ? ` inside IPIP to ${formatIpv4(packet.outer.destination)}` : ""}`,
      () => answerText(a, "delivered", "refused"),
      a.uncertain,
    );
  }
  if (goal.vips.length > 0 && lan.every((l) => l.neighbours.length === 0))
    law.put(
      false,
      "",
      () => "a packet of some client on some link",
      () => "no link that speaks ARP has an address: nothing can come in",
    );
  return law.verdict();
}

function noLeak(
  view: KernelView,
  vips: readonly Ipv4[],
  secret: ReadonlySet<Ipv4>,
  own: ReadonlySet<Ipv4>,
  lan: readonly LanLink[],
): LawProof {
  const law = new Case(3);
  for (const link of lan)
    for (const { ip: target } of link.neighbours)
      for (const vip of vips) {
        const a = view.announces({ link: link.name, source: vip, target });
        law.put(
          a.sender !== undefined && a.sender !== ANY && !secret.has(a.sender) && own.has(a.sender),
          a.rule,
          () => `own request for ${formatIpv4(target)} on ${link.name}, for an answer from ${formatIpv4(vip)}`,
          () => (a.sender === undefined ? `not sent: ${a.because}` : `sent as ${formatIpv4(a.sender)}: ${a.because}`),
          a.uncertain,
        );
      }
  return law.verdict();
}

/** The very same objects in the same order. */
const theSame = (left: readonly unknown[], right: readonly unknown[]): boolean =>
  left.length === right.length && left.every((value, i) => value === right[i]);

const routeKey = (r: RouteFacts): string =>
  `${host32(r.dst)} ${r.type} ${r.table} ${r.via} ${r.dev} ${r.scope} ${r.prefsrc} ${r.metric} ${r.tos} ${r.protocol} ` +
  `${r.onlink} ${r.advmss} ${r.nexthops === undefined ? "" : JSON.stringify(r.nexthops)}`;

/** What only one of two lists of routes has. Changes keep the objects that they do not touch, which makes this cheap. */
function apart(left: readonly RouteFacts[], right: readonly RouteFacts[]): readonly [RouteFacts[], RouteFacts[]] {
  if (theSame(left, right)) return [[], []];
  const [isLeft, isRight] = [new Set(left), new Set(right)];
  const [onlyLeft, onlyRight] = [left.filter((r) => !isRight.has(r)), right.filter((r) => !isLeft.has(r))];
  if (onlyLeft.length === 0 || onlyRight.length === 0) return [onlyLeft, onlyRight];
  const [leftKeys, rightKeys] = [new Set(onlyLeft.map(routeKey)), new Set(onlyRight.map(routeKey))];
  return [onlyLeft.filter((r) => !rightKeys.has(routeKey(r))), onlyRight.filter((r) => !leftKeys.has(routeKey(r)))];
}

/** Whatever worked for the host's own addresses before must work after. */
function noHarm(
  before: World,
  after: World,
  was: KernelView,
  is: KernelView,
  secret: ReadonlySet<Ipv4>,
  changes: readonly Change[],
): LawProof {
  const law = new Case(4);
  for (const link of lanLinks(before.facts, secret)) {
    for (const own of link.own)
      for (const { ip: neighbour } of link.neighbours) {
        for (const sender of [neighbour, ANY]) {
          const q = { link: link.name, sender, target: own, unicast: false };
          const now = is.answers(q);
          law.put(
            now.yes || !was.answers(q).yes,
            now.rule,
            () => `who has ${formatIpv4(own)}, tell ${formatIpv4(sender)}, heard on ${link.name}`,
            () => answerText(now, "answered", "no longer answered"),
          );
        }
        const packet: PacketQuestion = {
          link: link.name,
          source: neighbour,
          destination: own,
          protocol: "tcp",
          port: 22,
        };
        const taken = is.receives(packet);
        law.put(
          taken.yes || !was.receives(packet).yes,
          taken.rule,
          () => `tcp ${formatIpv4(neighbour)} to ${formatIpv4(own)}:22 in on ${link.name}`,
          () => answerText(taken, "delivered", "no longer delivered"),
        );
        const q = { link: link.name, source: own, target: neighbour };
        const usable = (sender: Ipv4 | undefined): boolean =>
          sender !== undefined && sender !== ANY && !secret.has(sender);
        const now = is.announces(q);
        law.put(
          usable(now.sender) || !usable(was.announces(q).sender),
          now.rule,
          () => `own request for ${formatIpv4(neighbour)} on ${link.name}, for a packet from ${formatIpv4(own)}`,
          () => (now.sender === undefined ? `not sent: ${now.because}` : `sent as ${formatIpv4(now.sender)}`),
        );
      }
  }
  othersKept(law, before.facts, after.facts, changes);
  return law.verdict();
}

function othersKept(law: Case, before: HostFacts, after: HostFacts, changes: readonly Change[]): void {
  const ours = new Set(changes.flatMap((c) => (c.kind === "address" ? [`${c.link} ${c.ip}`] : [])));
  const left = new Set(after.addresses.map((a) => `${a.link} ${a.ip}`));
  for (const a of before.addresses) {
    const key = `${a.link} ${a.ip}`;
    law.put(
      left.has(key) || ours.has(key),
      "",
      () => `the address ${a.ip} of ${a.link}`,
      () => (left.has(key) ? "stays" : "is gone"),
    );
  }
  const gone = apart(before.routes, after.routes)[0];
  const taken = { sources: new Set<string>(), routes: new Set<string>(), links: new Set<string>(), module: false };
  for (const c of changes) {
    if (c.kind === "address" && c.after === null) taken.sources.add(c.ip);
    if (c.kind === "route" && !c.after) taken.routes.add(host32(c.route.dst));
    if (c.kind === "link" && c.after === null) taken.links.add(c.name);
    if (c.kind === "module" && !c.after) taken.module = true;
  }
  for (const r of gone) {
    const own =
      taken.module ||
      (r.prefsrc !== undefined && taken.sources.has(r.prefsrc)) ||
      taken.routes.has(host32(r.dst)) ||
      (r.dev !== undefined && taken.links.has(r.dev));
    law.put(
      own,
      "",
      () => `the route to ${r.dst}`,
      () => (own ? "went with what vipward takes away" : "is gone"),
    );
  }
}

function reversible(before: World, after: World, changes: readonly Change[]): LawProof {
  const law = new Case(5);
  const back = changes.length === 0 ? before : effect(after, undoAll(changes));
  // An own /32 that is taken away and put back comes to stand behind its like: the same set, others in the same order.
  const ours = new Set(changes.flatMap((c) => (c.kind === "address" ? [`${c.link} ${c.ip}`] : [])));
  const addresses = (facts: HostFacts) => {
    const touched = (a: HostFacts["addresses"][number]) => ours.has(`${a.link} ${a.ip}`);
    const set = facts.addresses.filter(touched).map((a) => JSON.stringify(a));
    return [facts.addresses.filter((a) => !touched(a)), set.sort()];
  };
  const gone = apart(before.facts.routes, back.facts.routes)[0][0];
  const lost =
    gone === undefined
      ? "compared with those before"
      : `the route to ${gone.dst} by ${gone.dev ?? "no interface"} would be gone: an interface's last address takes its routes along`;
  const same = {
    addresses:
      theSame(back.facts.addresses, before.facts.addresses) || equal(addresses(back.facts), addresses(before.facts)),
    routes:
      back.facts.routes.length === before.facts.routes.length &&
      apart(back.facts.routes, before.facts.routes).every((only) => only.length === 0),
  };
  for (const part of ["links", "addresses", "routes", "sysctls", "neighbours", "filters", "modules"] as const)
    law.put(
      part === "addresses" || part === "routes" ? same[part] : equal(back.facts[part], before.facts[part]),
      "",
      () => `the ${part} after undo`,
      () => (part === "routes" ? lost : "compared with those before"),
    );
  return law.verdict();
}

export interface ProveOptions {
  /** Facts at each border between two phases, the end left out. */
  readonly moments?: readonly (readonly Change[])[];
  /** Ask for every single VIP, also for those that are alike. */
  readonly every?: boolean;
}

/**
 * Puts the five laws to the model: before and after the changes, and at every moment between two phases, when no VIP may
 * be answered or leaked that was not so already. Pure; cost grows with kinds of VIPs times links.
 */
export function prove(
  before: World,
  changes: readonly Change[],
  goal: Goal,
  kernel: Kernel,
  { moments = [], every = false }: ProveOptions = {},
): Proof {
  const secret = new Set(addressesOf(goal.vips));
  const after = changes.length === 0 ? before : effect(before, changes);
  const worlds = changes.length === 0 ? [before.facts] : [before.facts, after.facts];
  const servedAlike = (vip: string): string => JSON.stringify(goal.services.filter((s) => s.vip === vip).map(unnamed));
  const { asked, thin } = every
    ? { asked: goal.vips, thin: (facts: HostFacts) => facts }
    : alike(worlds, goal.vips, servedAlike);
  const vips = addressesOf(asked);
  const was = kernel(thin(before.facts));
  const is = changes.length === 0 ? was : kernel(thin(after.facts));
  const all = lanLinks(after.facts, secret, goal.lanLinks);
  const lan = all.filter((l) => l.name !== goal.exceptLink);
  const own = new Set(addressesOf(after.facts.addresses.map((a) => a.ip)));
  const end = oneOwner(is, vips, lan);
  const laws = [
    moments.length === 0 ? end : atEveryMoment(end, { before, was, thin, vips, secret, goal, kernel }, moments),
    acceptance(is, goal, asked, all),
    noLeak(is, vips, secret, own, lan),
    noHarm(before, after, was, is, secret, changes),
    reversible(before, after, changes),
  ];
  const unread = after.facts.unread.map(({ what, why }) => `${what} could not be read, and may say otherwise: ${why}`);
  if (unread.length > 0 && secret.size > 0)
    for (const [i, law] of laws.entries()) if (law.law <= 3) laws[i] = { ...law, caveats: [...law.caveats, ...unread] };
  const left = secret.size - new Set(vips).size;
  return { holds: laws.every((l) => l.holds), laws, ...(left > 0 ? { alike: left } : {}) };
}

const unnamed = ({ protocol, ports }: Service) => ({ protocol, ports });

interface OnTheWay {
  readonly before: World;
  readonly was: KernelView;
  readonly thin: (facts: HostFacts) => HostFacts;
  readonly vips: readonly Ipv4[];
  readonly secret: ReadonlySet<Ipv4>;
  readonly goal: Goal;
  readonly kernel: Kernel;
}

/** Law 1 on the way: `moments` are the changes made up to each border between two phases. */
function atEveryMoment(law: LawProof, way: OnTheWay, moments: readonly (readonly Change[])[]): LawProof {
  const { before, was, thin, vips, secret, goal, kernel } = way;
  const broken: Witness[] = [];
  let asked = 0;
  for (const made of moments) {
    const { facts } = effect(before, made);
    const view = kernel(thin(facts));
    for (const link of lanLinks(facts, secret, goal.lanLinks)) {
      if (link.name === goal.exceptLink) continue;
      const sender = askers(link)[0] ?? FAR_CLIENT;
      for (const target of vips) {
        const q = { link: link.name, sender, target, unicast: false };
        asked++;
        const a = view.answers(q);
        if (!a.yes || was.answers(q).yes) continue;
        broken.push({
          asked: `who has ${formatIpv4(target)} on ${link.name}, after ${made.length} of the changes`,
          answer: `answered: ${a.because}`,
          rule: a.rule,
        });
      }
    }
  }
  const brokenCount = law.brokenCount + broken.length;
  return {
    ...law,
    asked: law.asked + asked,
    holds: brokenCount === 0,
    broken: [...law.broken, ...broken].slice(0, LIMIT),
    brokenCount,
  };
}
