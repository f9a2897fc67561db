/**
 * Where and as whom to ask for each VIP, from what a host knows of its links, addresses and routes. Pure.
 *
 * A silence proves something only when a machine that holds the VIP would have answered: so the sender must be routable
 * on the link and never an own VIP (A-2.2-07, A-2.6-14), with a probe from 0.0.0.0 as second witness (A-2.6-10).
 */
import {
  ANY,
  formatIpv4,
  type Ipv4,
  isClassE,
  isLoopback,
  isMulticast,
  isZeroNet,
  LIMITED_BROADCAST,
} from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { covers, formatPrefix, lastOf, networkOf, type Prefix } from "../base/prefix.ts";
import type { Address, Link, Neighbour, Route } from "../wire/rtnetlinkValues.ts";
import { chooseDecoys } from "./decoys.ts";
import type { DecoyWish, Vip } from "./whoHas.ts";
import type { QuestionKind } from "./whoHasReport.ts";

export interface Surroundings {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  /** All tables. */
  readonly routes: readonly Route[];
  readonly neighbours: readonly Neighbour[];
}

/** `auto`: an own address and one round of probes after the others; only probes where there is no own address. */
export type SourceChoice = "auto" | "own" | "probe" | { readonly address: Ipv4 };

export interface PlanWish {
  readonly vips: readonly Ipv4[];
  readonly interface?: string;
  readonly source: SourceChoice;
  /** Times that each VIP is asked, without the second witness. */
  readonly count: number;
  readonly unicast: boolean;
  /** Decoys for each subnet. */
  readonly decoys: number;
}

/** The questions of one interface. */
export interface LinkPlan {
  readonly link: Link;
  readonly mac: Mac;
  readonly vips: readonly Vip[];
  readonly decoys: readonly DecoyWish[];
  readonly rounds: readonly QuestionKind[];
}
export interface WhoHasPlan {
  readonly links: readonly LinkPlan[];
  /** What a person should know beside the answer. */
  readonly notes: readonly string[];
}
/** `code`: usage errors are the asker's, no-input ones this host's. */
export type PlanProblem = { readonly code: "usage" | "no-input"; readonly why: string; readonly remedy: string };

/** A subnet that this host is part of, by address or by route. */
interface Subnet {
  readonly prefix: Prefix;
  readonly linkIndex: number;
  readonly metric: number;
}

const problem = (code: PlanProblem["code"], why: string, remedy: string): PlanProblem => ({ code, why, remedy });

const onAddress = (a: Address): Prefix => ({ address: a.peer ?? a.address, length: a.prefixLength });

function subnets({ addresses, routes }: Surroundings): Subnet[] {
  const byAddress = addresses
    .filter((a) => a.prefixLength < 32)
    .map((a) => ({ prefix: onAddress(a), linkIndex: a.linkIndex, metric: 0 }));
  const byRoute = routes.flatMap((r) =>
    r.type === "unicast" && r.gateway === undefined && r.linkIndex !== undefined && r.destination.length > 0
      ? [{ prefix: r.destination, linkIndex: r.linkIndex, metric: r.metric }]
      : [],
  );
  // A host may hold thousands of addresses in one subnet.
  const different = new Map<string, Subnet>();
  for (const { prefix, linkIndex, metric } of [...byAddress, ...byRoute]) {
    const whole = { address: networkOf(prefix), length: prefix.length };
    const key = `${formatPrefix(whole)} ${linkIndex}`;
    if (!different.has(key)) different.set(key, { prefix: whole, linkIndex, metric });
  }
  return [...different.values()];
}

function unfit(link: Link): PlanProblem | undefined {
  const name = link.name;
  if (link.loopback || link.noArp || link.hardwareType !== 1 || link.mac === undefined)
    return problem(
      "usage",
      `${name} does not speak ARP (${link.loopback ? "loopback" : link.noArp ? "NOARP is set" : "it is not Ethernet"})`,
      "name the Ethernet interface that is in the VIP's LAN",
    );
  if (!link.up) return problem("no-input", `${name} is down`, `bring it up: ip link set dev ${name} up`);
  if (!link.lowerUp)
    return problem("no-input", `${name} has no carrier`, "plug in the cable, or bring the other end up");
  return undefined;
}

function notAVip(vip: Ipv4): PlanProblem | undefined {
  const text = formatIpv4(vip);
  const what = isMulticast(vip)
    ? "a multicast address"
    : isLoopback(vip)
      ? "a loopback address"
      : isZeroNet(vip)
        ? "in 0.0.0.0/8"
        : vip === LIMITED_BROADCAST
          ? "the limited broadcast address"
          : isClassE(vip)
            ? "in the reserved range 240.0.0.0/4"
            : undefined;
  return what === undefined
    ? undefined
    : problem("usage", `${text} is ${what}: nobody can own it`, "give the VIP as clients see it, such as 10.0.0.100");
}

interface Sender {
  readonly sender?: Ipv4;
}
interface Place {
  readonly link: Link;
  readonly subnet?: Prefix;
}

/** The link to ask on, and the subnet of it that the VIP lies in, if it lies in one. */
function place(
  vip: Ipv4,
  all: readonly Subnet[],
  links: readonly Link[],
  usable: ReadonlyMap<number, Link>,
  named: Link | undefined,
): Place | PlanProblem {
  const fitting = all
    .filter(
      (s) => covers(s.prefix, vip) && (named === undefined ? usable.has(s.linkIndex) : s.linkIndex === named.index),
    )
    .sort((a, b) => b.prefix.length - a.prefix.length || a.metric - b.metric || a.linkIndex - b.linkIndex);
  const best = fitting[0];
  if (named !== undefined) return best === undefined ? { link: named } : { link: named, subnet: best.prefix };
  const link = best && usable.get(best.linkIndex);
  if (best !== undefined && link !== undefined) return { link, subnet: best.prefix };
  // The right subnet on a link that is down says more than "no subnet".
  const unusable = all.filter((s) => covers(s.prefix, vip)).map((s) => links.find((l) => l.index === s.linkIndex));
  const why = unusable.map((l) => l && unfit(l)).find((p) => p?.code === "no-input");
  if (why !== undefined) return why;
  return problem(
    "no-input",
    `${formatIpv4(vip)} is in no subnet that this host is connected to, and ARP does not cross routers`,
    "ask from a machine in the VIP's LAN, or name the interface: --interface NAME",
  );
}

class Planner {
  readonly #around: Surroundings;
  readonly #wish: PlanWish;
  readonly #asked: ReadonlySet<Ipv4>;
  readonly #holders: ReadonlyMap<Ipv4, number>;
  readonly notes: string[] = [];
  constructor(around: Surroundings, wish: PlanWish) {
    this.#around = around;
    this.#wish = wish;
    this.#asked = new Set(wish.vips);
    this.#holders = new Map(around.addresses.map((a) => [a.address, a.linkIndex]));
  }

  /** An address of the link that may ask for what lies in `subnet`: of that subnet, and not asked for itself. */
  #ownSender(link: Link, subnet: Prefix | undefined): Ipv4 | undefined {
    const own = this.#around.addresses.filter((a) => a.linkIndex === link.index && !this.#asked.has(a.address));
    if (subnet === undefined) return undefined;
    // Primary addresses first; a /32 beside the subnet's own address is more likely a VIP than a machine's name.
    const fitting = own
      .filter((a) => covers(subnet, a.address))
      .sort((a, b) => Number(a.secondary) - Number(b.secondary) || a.prefixLength - b.prefixLength);
    return (fitting.find((a) => a.prefixLength < 32) ?? fitting[0])?.address;
  }

  senderFor(link: Link, subnet: Prefix | undefined, vip: Ipv4): Sender | PlanProblem {
    const { source } = this.#wish;
    if (source === "probe") return {};
    if (typeof source === "object") return { sender: source.address };
    const own = this.#ownSender(link, subnet);
    if (own !== undefined) return { sender: own };
    if (source === "auto") return {};
    return problem(
      "no-input",
      `${link.name} has no address of its own in the subnet of ${formatIpv4(vip)}`,
      "ask with --source probe, or give the interface an address in that subnet",
    );
  }

  decoysFor(found: ReadonlyMap<string, { readonly subnet: Prefix; readonly sender: Ipv4 | undefined }>): DecoyWish[] {
    const { addresses, routes, neighbours } = this.#around;
    const gateways = routes.flatMap((r) => [r.gateway, ...(r.hops ?? []).map((h) => h.gateway)]);
    const known = [
      ...this.#asked,
      ...addresses.map((a) => a.address),
      ...neighbours.map((n) => n.address),
      ...gateways,
    ];
    const taken = new Set(known.filter((a) => a !== undefined));
    const wishes: DecoyWish[] = [];
    for (const { subnet, sender } of found.values()) {
      const chosen = chooseDecoys(subnet, taken, this.#wish.decoys);
      for (const address of chosen) taken.add(address);
      if (chosen.length === 0) this.notes.push(`${formatPrefix(subnet)} has no unused address to try: no decoy asked`);
      else wishes.push({ subnet, addresses: chosen, ...(sender !== undefined && { sender }) });
    }
    return wishes;
  }

  heldHere(vip: Ipv4): string | undefined {
    const held = this.#holders.get(vip);
    return held === undefined ? undefined : this.#around.links.find((l) => l.index === held)?.name;
  }

  rounds(anySender: boolean): QuestionKind[] {
    const { source, count, unicast } = this.#wish;
    const ordinary: QuestionKind[] = Array.from({ length: count }, () => (anySender ? "own" : "probe"));
    const witness: QuestionKind[] = source === "auto" && anySender ? ["probe"] : [];
    return [...ordinary, ...witness, ...(unicast ? (["unicast"] as const) : [])];
  }
}

function checkSource(around: Surroundings, wish: PlanWish, notes: string[]): PlanProblem | undefined {
  if (typeof wish.source !== "object") return undefined;
  const { address } = wish.source;
  const text = formatIpv4(address);
  const anotherWay = "ask with --source probe, or with an address of this host that is not a VIP";
  if (wish.vips.includes(address))
    return problem("usage", `${text} is asked for and cannot ask: whoever holds it stays silent then`, anotherWay);
  if (address === ANY || notAVip(address) !== undefined)
    return problem("usage", `${text} cannot be a sender: hosts ignore its questions`, anotherWay);
  if (!around.addresses.some((a) => a.address === address))
    notes.push(`${text} is not an address of this host: every machine that answers remembers it at this host's MAC`);
  return undefined;
}

interface Group {
  readonly link: Link;
  readonly vips: Vip[];
  readonly subnets: Map<string, { readonly subnet: Prefix; readonly sender: Ipv4 | undefined }>;
}

/** Either a plan, or the first thing that stands in its way. */
export function planWhoHas(around: Surroundings, wish: PlanWish): WhoHasPlan | PlanProblem {
  const { links } = around;
  const named = wish.interface === undefined ? undefined : links.find((l) => l.name === wish.interface);
  if (wish.interface !== undefined && named === undefined) {
    const there = links.map((l) => l.name).join(", ");
    return problem("no-input", `there is no interface ${wish.interface} here`, `name one of: ${there}`);
  }
  const wrong = named && unfit(named);
  if (wrong !== undefined) return wrong;
  const planner = new Planner(around, wish);
  const refused = checkSource(around, wish, planner.notes);
  if (refused !== undefined) return refused;

  const usable = new Map(links.filter((l) => unfit(l) === undefined).map((l) => [l.index, l]));
  const all = subnets(around);
  const groups = new Map<number, Group>();
  for (const vip of new Set(wish.vips)) {
    const nobodys = notAVip(vip);
    if (nobodys !== undefined) return nobodys;
    const at = place(vip, all, links, usable, named);
    if ("remedy" in at) return at;
    const { link, subnet } = at;
    const group: Group = groups.get(link.index) ?? { link, vips: [], subnets: new Map() };
    groups.set(link.index, group);
    const key = subnet === undefined ? "" : formatPrefix(subnet);
    let sender = group.subnets.get(key)?.sender;
    if (!group.subnets.has(key)) {
      const found = planner.senderFor(link, subnet, vip);
      if ("remedy" in found) return found;
      sender = found.sender;
      if (subnet !== undefined) group.subnets.set(key, { subnet, sender });
    }
    if (subnet !== undefined && subnet.length < 31 && (vip === networkOf(subnet) || vip === lastOf(subnet)))
      planner.notes.push(
        `${formatIpv4(vip)} is the ${vip === lastOf(subnet) ? "broadcast" : "network"} address of ${key}`,
      );
    const heldHere = planner.heldHere(vip);
    group.vips.push({
      address: vip,
      ...(sender !== undefined && { sender }),
      ...(heldHere !== undefined && { heldHere }),
    });
  }
  const plans: LinkPlan[] = [];
  for (const { link, vips, subnets: found } of groups.values()) {
    const decoys = wish.decoys > 0 ? planner.decoysFor(found) : [];
    const anySender = vips.some((v) => v.sender !== undefined);
    plans.push({ link, mac: link.mac as Mac, vips, decoys, rounds: planner.rounds(anySender) });
  }
  return { links: plans, notes: planner.notes };
}
