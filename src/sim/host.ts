/**
 * A machine of the LAN: its facts, the kernel model compiled from them, and as much of a network stack as the model
 * leaves open: neighbour cache and timers, waiting packets, output, ICMP. Every decision is the model's.
 */
import { formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, ZERO_MAC } from "../base/mac.ts";
import { announce } from "../model/announce.ts";
import { type ArpPacket, type ArpReply, answerArp, type FrameKind } from "../model/answerArp.ts";
import { compileHost } from "../model/compileHost.ts";
import type { HostFacts } from "../model/facts.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import { isLocal } from "../model/localTable.ts";
import { isValid, type NeighbourEntry, neighbourEntry, neighbourKey, unconfirmedMs } from "../model/neighbour.ts";
import {
  neighbourDeadlineMs,
  neighbourTick,
  neighbourTimes,
  neighbourUse,
  type TimerStep,
} from "../model/neighbourTimers.ts";
import { type IpHeader, type IpVerdict, receive } from "../model/receive.ts";
import { fibLookup, flowOf } from "../model/routes.ts";
import { deviceOf, type Route, usableHop } from "../model/routingTable.ts";
import { selectSource } from "../model/selectSource.ts";
import { UNREACHABLE } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { Dice } from "./dice.ts";
import {
  BROADCAST_ID,
  type Frame,
  hopped,
  type IpBody,
  icmpError,
  icmpPacket,
  ipipPacket,
  type MacId,
  nothing,
  udpPacket,
} from "./frame.ts";
import { hearsAll, interestOf } from "./interest.ts";
import type { Lan, Station } from "./lan.ts";
import { TcpStack } from "./tcp.ts";

export interface Nic {
  readonly index: number;
  /** Name of the link in the facts. */
  readonly link: string;
  readonly mac: Mac;
  readonly macId: MacId;
  /** Port of the LAN. */
  readonly port: number;
  /** Of the link, as the facts have it. */
  mtuOctets: number;
}

/** One neighbour, and what waits for its MAC. */
export interface Neighbour {
  entry: NeighbourEntry;
  readonly nic: Nic;
  readonly waiting: IpBody[];
  reachableMs: number;
  /** When the timer that is set fires; Infinity: none is. */
  timerUs: number;
  gone: boolean;
  /** The entry's MAC, and its number. */
  macText: Mac | undefined;
  macId: MacId;
}

/** Takes packets for its virtual services where IPVS does: after they were found local (C-DIR-01). */
export interface LocalInput {
  /** False: not ours, go on. */
  take(packet: IpBody): boolean;
}

/** What a program of the host does at a time on the host's clock; see SimHost.after. */
export class Task {
  readonly run: () => void;
  constructor(run: () => void) {
    this.run = run;
  }
}

/** unres_qlen counted 3 packets up to 3.2; newer kernels count octets, about 100 packets. */
const mostWaiting = 100;
const memoSize = 64;
/** The kernel writes the time of use with every packet; this often is as good, as what follows from it takes seconds. */
const usedWithinMs = 100;
/** 24 days: the largest number that needs no box. */
const latestMs = 2 ** 31 - 1;

interface Memo {
  readonly link: number;
  readonly frame: FrameKind;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly innerSource: number;
  readonly innerDestination: number;
  readonly verdict: IpVerdict;
}

const protocolNames: Readonly<Record<number, string>> = { 1: "icmp", 4: "ipip", 6: "tcp", 17: "udp" };
const nameOfProtocol = (protocol: number): string => protocolNames[protocol] ?? String(protocol);

const headerOf = (ip: IpBody): IpHeader => ({
  source: ip.source,
  destination: ip.destination,
  protocol: nameOfProtocol(ip.protocol),
  sourcePort: ip.sourcePort,
  destinationPort: ip.destinationPort,
  ...(ip.inner === undefined ? {} : { inner: headerOf(ip.inner) }),
});

const isAbout = (m: Memo, link: number, frame: FrameKind, ip: IpBody): boolean =>
  m.source === ip.source &&
  m.destination === ip.destination &&
  m.protocol === ip.protocol &&
  m.link === link &&
  m.frame === frame &&
  (ip.inner === undefined
    ? m.innerSource === 0 && m.innerDestination === 0
    : ip.inner.inner === undefined && m.innerSource === ip.inner.source && m.innerDestination === ip.inner.destination);

/** A way out, as far as it depends on the destination alone. */
interface Way {
  readonly route: Route;
  readonly nic: Nic | undefined;
  readonly via: Ipv4 | undefined;
  readonly isLocal: boolean;
}

export type UdpService = (packet: IpBody) => Uint8Array | undefined;
const discard: UdpService = () => undefined;

/** By port; discard is there from the beginning. The one asked for last is kept at hand. */
export class UdpServices {
  #port = 9;
  #service: UdpService | undefined = discard;
  #all: Map<number, UdpService> | undefined;

  get(port: number): UdpService | undefined {
    if (port !== this.#port) {
      this.#service = this.#all?.get(port) ?? (port === 9 ? discard : undefined);
      this.#port = port;
    }
    return this.#service;
  }

  touch(): number {
    return this.#port;
  }

  set(port: number, service: UdpService): void {
    this.#all ??= new Map();
    this.#all.set(port, service);
    this.#port = -1;
  }

  delete(port: number): void {
    this.#all?.delete(port);
    this.#port = -1;
  }
}

export class SimHost implements Station {
  // What the next frame most likely needs stands first, side by side: with thousands of hosts, time goes into fetching
  // memory. Addresses are signed here, as only 31 bits and a sign fit without a box.
  readonly lan: Lan;
  /** Crashed: hears and says nothing, and forgets all. */
  down = false;
  /** Of the first card; -1: there is none. */
  #mac = -1;
  /** The last packet that was for this host as it stood, by the first card: the next one is most likely like it. */
  #inProtocol = -1;
  #inSource = 0;
  #inDestination = 0;
  localInput: LocalInput | undefined;
  /** UDP services: what they answer, undefined for nothing. */
  readonly udp = new UdpServices();
  #packetId: number;
  /** The last neighbour used by the first card, and until when use leaves its entry as it is. */
  #outDestination = 0;
  #outUntilMs = 0;
  #outMtu = 0;
  #outPort = 0;
  #outMac: MacId = BROADCAST_ID;
  #outNeighbour: Neighbour | undefined;
  /** Frozen: what happens meanwhile happens when it goes on. */
  #paused: { readonly heard: (() => void)[]; readonly tasks: Task[] } | undefined;
  #sniffers: ((frame: Frame, nic: Nic) => void)[] | undefined;
  readonly name: string;
  readonly id: number;
  readonly dice: Dice;
  readonly nics: Nic[] = [];
  readonly tcp: TcpStack;
  model: Host;
  #facts: HostFacts;
  #driftPpm = 0;
  /** Where the host's clock stood when its drift was last set. */
  #clock = { us: 0, atUs: 0 };
  /** Programs on this host listen to its wires themselves: every ARP broadcast is handed to it. */
  #listens = false;
  /** Groups that its cards take frames of. */
  readonly #groups = new Set<MacId>();
  /** Told of other facts, after the change. */
  readonly watchers: ((before: HostFacts) => void)[] = [];
  /** Told when a program's ICMP error comes back for what it sent by UDP. */
  udpRefused: ((port: number) => void) | undefined;
  readonly neighbours = new Map<number, Neighbour>();
  /** Packets thrown away, by reason. */
  readonly drops: Record<string, number> = {};
  #nicByLink = new Map<number, Nic>();
  #links: Link[] = [];
  #ways = new Map<Ipv4, Way | undefined>();
  // Most packets go where the one before went, and come from where it came from.
  #lastDestination = -1;
  #lastWay: Way | undefined;
  #lastMemo: Memo | undefined;
  #lastNeighbour: Neighbour | undefined;
  #memo: (Memo | undefined)[] = [];
  #memoAllowed = true;

  constructor(lan: Lan, facts: HostFacts) {
    this.lan = lan;
    this.name = facts.hostname ?? "";
    this.#facts = facts;
    this.model = compileHost(facts);
    this.id = lan.addStation(this);
    this.dice = new Dice(lan.seed ^ Math.imul(this.id + 1, 0x51ed2701));
    this.#packetId = this.dice.below(65_536);
    this.tcp = new TcpStack(this);
    this.#compiled();
  }

  /** Tells the host which LAN port its link is plugged into. */
  wire(link: string, port: number): void {
    const found = this.model.linkByName.get(link);
    if (found?.mac === undefined) throw new RangeError(`${this.name} has no link ${link} with a MAC`);
    this.nics.push({
      index: this.nics.length,
      link,
      mac: found.mac,
      macId: this.lan.macs.idOf(found.mac),
      port,
      mtuOctets: 1500,
    });
    this.#compiled();
  }

  get facts(): HostFacts {
    return this.#facts;
  }

  /** Other facts from now on: a sysctl written, an address added. The neighbour cache stays. */
  change(facts: HostFacts): void {
    const before = this.#facts;
    this.#facts = facts;
    this.model = compileHost(facts);
    this.#compiled();
    for (const told of this.watchers) told(before);
  }

  /** A program opens packet sockets on all wires, for these groups besides the host's own MACs. */
  listen(groups: readonly Mac[]): void {
    this.#listens = true;
    for (const group of groups) {
      const id = this.lan.macs.idOf(group);
      if (this.#groups.has(id)) continue;
      this.#groups.add(id);
      for (const nic of this.nics) this.lan.join(nic.port, id);
    }
    this.#compiled();
  }

  /** Hears every frame this host's cards take, before the host does. */
  get sniffers(): ((frame: Frame, nic: Nic) => void)[] {
    this.#sniffers ??= [];
    return this.#sniffers;
  }

  #compiled(): void {
    this.#mac = this.nics[0]?.macId ?? -1;
    this.#inProtocol = -1;
    this.#outUntilMs = 0;
    this.#ways.clear();
    this.#lastDestination = -1;
    this.#memo = [];
    this.#lastMemo = undefined;
    const { filters } = this.model;
    this.#memoAllowed =
      filters.prerouting.length + filters.input.length + filters.forward.length === 0 &&
      !this.model.customRules &&
      this.#facts.sockets === undefined;
    this.#nicByLink = new Map();
    this.#links = [];
    for (const nic of this.nics) {
      const link = this.model.linkByName.get(nic.link);
      if (link === undefined) continue;
      this.#nicByLink.set(link.index, nic);
      this.#links[nic.index] = link;
      nic.mtuOctets = this.#facts.links.find((l) => l.name === nic.link)?.mtu ?? 1500;
      this.lan.interest(nic.port, this.#listens ? hearsAll : interestOf(this.model, link));
    }
  }

  get nowMs(): number {
    return this.lan.nowUs / 1000;
  }

  drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1;
  }

  /** The host's own monotonic clock, which may run too fast or too slow. */
  get clockUs(): number {
    const { us, atUs } = this.#clock;
    const passedUs = this.lan.nowUs - atUs;
    return us + passedUs + (passedUs * this.#driftPpm) / 1_000_000;
  }

  /** The host's clock runs so much faster from now on, in millionths. */
  get driftPpm(): number {
    return this.#driftPpm;
  }
  set driftPpm(ppm: number) {
    this.#clock = { us: this.clockUs, atUs: this.lan.nowUs };
    this.#driftPpm = ppm;
  }

  /** Wakes the host's own `timer` after that time on its own clock. A Task is run. */
  after(us: number, item: unknown): number {
    const atUs =
      this.lan.nowUs +
      (this.#driftPpm === 0 ? us : Math.max(0, Math.round((us * 1_000_000) / (1_000_000 + this.#driftPpm))));
    this.lan.wake(this.id, atUs, item);
    return atUs;
  }

  // ---- being broken ----

  /** Told that a card lost its carrier or got it back. */
  carrierChanged: ((link: string, up: boolean) => void) | undefined;

  /** Pulls the host's cables out, or puts them in again. */
  plugged(up: boolean): void {
    for (const nic of this.nics) {
      const cable = this.lan.cableOf(nic.port);
      if (cable.up === up) continue;
      cable.up = up;
      this.carrierChanged?.(nic.link, up);
    }
  }
  get isPlugged(): boolean {
    return this.nics.some((nic) => this.lan.cableOf(nic.port).up);
  }

  /** Power gone: no memory of neighbours or connections is left. */
  crash(): void {
    this.down = true;
    this.#paused = undefined;
    for (const nic of this.nics) this.lan.paused(nic.port, false);
    this.forgetNeighbours();
    this.tcp.forget();
  }

  get isPaused(): boolean {
    return this.#paused !== undefined;
  }

  restart(): void {
    this.down = false;
  }

  pause(): void {
    this.#paused ??= { heard: [], tasks: [] };
    for (const nic of this.nics) this.lan.paused(nic.port, true);
  }

  /** What its sockets hold comes before what its timers are late for, as programs read before they look at the clock. */
  resume(): void {
    const missed = this.#paused;
    this.#paused = undefined;
    for (const nic of this.nics) this.lan.paused(nic.port, false);
    for (const happen of missed?.heard ?? []) happen();
    for (const task of missed?.tasks ?? []) task.run();
  }

  forgetNeighbours(nic?: Nic): void {
    for (const [key, neighbour] of [...this.neighbours])
      if (nic === undefined || neighbour.nic === nic) this.#forget(key, neighbour);
  }

  #forget(key: number, neighbour: Neighbour): void {
    // as `ip neigh flush`: what waits for an answer goes on waiting
    if (neighbour.entry.state === "INCOMPLETE" && neighbour.waiting.length > 0 && !this.down) return;
    neighbour.gone = true;
    this.#outUntilMs = 0;
    this.neighbours.delete(key);
    this.lan.knows(neighbour.nic.port, neighbour.entry.ip, this.#knowsElsewhere(neighbour));
  }

  /** Two NICs on one switch may both know an address; the index is by port, so only this NIC counts. */
  #knowsElsewhere(neighbour: Neighbour): boolean {
    return this.neighbours.has(neighbourKey(neighbour.entry.link, neighbour.entry.ip));
  }

  // ---- hearing ----

  frameIn(nicIndex: number, frame: Frame): void {
    if (this.down) return;
    const { body } = frame;
    if (body.kind === "ip" && this.#isAsBefore(nicIndex, frame, body)) {
      if (!this.localInput?.take(body)) this.#delivered(body, body.destination, body.destination, undefined);
      return;
    }
    if (this.#paused) {
      if (this.#paused.heard.length < 1000) this.#paused.heard.push(() => this.frameIn(nicIndex, frame));
      else this.drop("paused for too long");
      return;
    }
    const nic = this.nics[nicIndex] as Nic;
    // VLAN subinterfaces are not modelled: a tag means another network
    if (frame.vlan !== 0) return;
    const kind: FrameKind = frame.to === nic.macId ? "unicast" : frame.to === BROADCAST_ID ? "broadcast" : "other";
    if (kind === "other" && !this.#groups.has(frame.to)) return;
    if (this.#sniffers !== undefined) for (const sniffer of this.#sniffers) sniffer(frame, nic);
    if (kind === "other") return; // no service of the model speaks to a group
    if (frame.body.kind === "arp") this.#arpIn(nic, kind, frame);
    else this.#ipIn(nic, kind, frame.body);
  }

  touch(): number {
    return this.#inSource ^ this.#outPort ^ (this.#sniffers === undefined ? 0 : 1) ^ this.udp.touch();
  }

  #isAsBefore(nicIndex: number, frame: Frame, body: IpBody): boolean {
    return (
      body.protocol === this.#inProtocol &&
      (body.source | 0) === this.#inSource &&
      (body.destination | 0) === this.#inDestination &&
      frame.to === this.#mac &&
      nicIndex === 0 &&
      frame.vlan === 0 &&
      this.#paused === undefined &&
      (this.#sniffers === undefined || this.#sniffers.length === 0)
    );
  }

  #arpIn(nic: Nic, kind: FrameKind, frame: Frame): void {
    const link = this.#links[nic.index];
    if (link === undefined || frame.body.kind !== "arp") return;
    const { operation, senderMac, senderIp, targetMac, targetIp } = frame.body;
    const packet: ArpPacket = { link: link.index, frame: kind, operation, senderMac, senderIp, targetMac, targetIp };
    const verdict = answerArp(this.model, packet);
    const key = neighbourKey(link.index, senderIp);
    const known = this.neighbours.get(key);
    const { switches } = this.model;
    // what changes no entry need not be asked twice
    if (
      verdict.cache === "create" ||
      known !== undefined ||
      link.conf.arpAccept !== 0 ||
      switches.arpScope === "device"
    ) {
      if (verdict.cache !== "none") {
        const after = neighbourEntry(this.model, link, known?.entry, packet, this.nowMs);
        if (after !== undefined && after !== known?.entry) this.#learned(nic, key, known, after);
      }
    }
    if (verdict.kind === "reply") {
      this.#answer(nic, verdict);
      for (const more of verdict.also) this.#answer(nic, more);
    }
  }

  #answer(nic: Nic, reply: ArpReply): void {
    const send = (): void => {
      if (this.down) return;
      this.#transmit(nic, this.lan.macs.idOf(reply.to), {
        kind: "arp",
        operation: 2,
        senderMac: reply.senderMac,
        senderIp: reply.senderIp,
        targetMac: reply.targetMac,
        targetIp: reply.targetIp,
      });
    };
    if (reply.delayedUpToMs === 0) send();
    else this.lan.at(this.lan.nowUs + this.dice.below(reply.delayedUpToMs * 1000), send);
  }

  #transmit(nic: Nic, to: MacId, body: Frame["body"]): void {
    this.lan.transmit(nic.port, { to, from: nic.macId, vlan: 0, serial: this.lan.nextSerial(), body });
  }

  /** Puts an IPv4 packet into a frame to this MAC, past routing and neighbour cache, as a packet socket does. */
  sendPacket(nic: Nic, to: Mac, packet: IpBody): void {
    if (!this.down) this.#transmit(nic, this.lan.macs.idOf(to), packet);
  }

  /** Puts any ARP packet on the wire, as arping does. */
  sendArp(
    nic: Nic,
    arp: { operation: number; senderIp: Ipv4; targetIp: Ipv4; targetMac?: Mac; senderMac?: Mac; to?: Mac },
  ): void {
    if (this.down) return;
    this.#transmit(nic, arp.to === undefined ? BROADCAST_ID : this.lan.macs.idOf(arp.to), {
      kind: "arp",
      operation: arp.operation,
      senderMac: arp.senderMac ?? nic.mac,
      senderIp: arp.senderIp,
      targetMac: arp.targetMac ?? ZERO_MAC,
      targetIp: arp.targetIp,
    });
  }

  /** Gratuitous ARP, in both forms: what a takeover needs (B-G-02). */
  announceAddress(nic: Nic, ip: Ipv4): void {
    this.sendArp(nic, { operation: 1, senderIp: ip, targetIp: ip });
    this.sendArp(nic, { operation: 2, senderIp: ip, targetIp: ip, targetMac: BROADCAST_MAC });
  }

  // ---- neighbours ----

  #learned(nic: Nic, key: number, known: Neighbour | undefined, entry: NeighbourEntry): void {
    const neighbour = known ?? this.#newNeighbour(nic, key, entry);
    neighbour.entry = entry;
    this.#outUntilMs = 0;
    this.#setTimer(neighbour);
    if (neighbour.waiting.length > 0 && isValid(entry)) this.#flush(neighbour);
  }

  #newNeighbour(nic: Nic, key: number, entry: NeighbourEntry): Neighbour {
    // reach_time: 0.5 to 1.5 of base_reachable_time
    const reachableMs = neighbourTimes.reachableMs / 2 + this.dice.below(neighbourTimes.reachableMs);
    const neighbour: Neighbour = {
      entry,
      nic,
      waiting: [],
      reachableMs,
      timerUs: Number.POSITIVE_INFINITY,
      gone: false,
      macText: undefined,
      macId: BROADCAST_ID,
    };
    this.neighbours.set(key, neighbour);
    this.lan.knows(nic.port, entry.ip, true);
    return neighbour;
  }

  #setTimer(neighbour: Neighbour): void {
    const atMs = neighbourDeadlineMs(neighbour.entry, neighbour.reachableMs);
    if (atMs === Number.POSITIVE_INFINITY) return;
    // one microsecond at least: a deadline that rounding puts a hair after now would come for ever
    const atUs = Math.max(this.lan.nowUs + 1, Math.ceil(atMs * 1000));
    if (atUs >= neighbour.timerUs) return; // an early tick is harmless and sets itself anew
    neighbour.timerUs = this.after(atUs - this.lan.nowUs, neighbour);
  }

  timer(item: unknown): void {
    if (this.down) return;
    if (this.#paused) {
      if (item instanceof Task) this.#paused.tasks.push(item);
      else this.#paused.heard.push(() => this.timer(item));
      return;
    }
    if (item instanceof Task) {
      item.run();
      return;
    }
    if (!isNeighbour(item)) {
      this.tcp.timer(item);
      return;
    }
    if (item.gone || item.timerUs > this.lan.nowUs) return;
    item.timerUs = Number.POSITIVE_INFINITY;
    this.#step(item, neighbourTick(this.model, item.entry, this.nowMs, item.reachableMs));
  }

  #step(neighbour: Neighbour, step: TimerStep): void {
    neighbour.entry = step.entry;
    this.#outUntilMs = 0;
    if (step.send !== "nothing") this.#solicit(neighbour, step.send === "unicast");
    else if (step.entry.state === "FAILED" && neighbour.waiting.length > 0) this.#failed(neighbour);
    this.#setTimer(neighbour);
  }

  #solicit(neighbour: Neighbour, unicast: boolean): void {
    const { entry, nic, waiting } = neighbour;
    const knownMac = unicast ? entry.mac : undefined;
    const packetSource = waiting.at(-1)?.source;
    const request = announce(this.model, {
      link: entry.link,
      nextHop: entry.ip,
      ...(packetSource === undefined ? {} : { packetSource }),
      ...(knownMac === undefined ? {} : { knownMac }),
    });
    if (request.kind === "none") {
      this.drop(`ARP request not sent: ${request.because}`);
      return;
    }
    this.#transmit(nic, knownMac === undefined ? BROADCAST_ID : this.lan.macs.idOf(knownMac), {
      kind: "arp",
      operation: 1,
      senderMac: request.senderMac,
      senderIp: request.senderIp,
      targetMac: knownMac ?? ZERO_MAC,
      targetIp: entry.ip,
    });
  }

  #flush(neighbour: Neighbour): void {
    for (const packet of neighbour.waiting.splice(0)) this.#sendTo(neighbour, packet);
  }

  /** Nobody answered: the senders of what waited are told (arp_error_report). */
  #failed(neighbour: Neighbour): void {
    for (const packet of neighbour.waiting.splice(0)) {
      this.drop("neighbour does not answer");
      const link = this.#links[neighbour.nic.index];
      if (link !== undefined && isLocal(this.model, packet.source, link)) this.tcp.unreachable(packet);
      else this.#icmpError(packet, UNREACHABLE.host);
    }
  }

  /** Transport made progress: the neighbour lives (neigh_confirm). */
  confirm(neighbour: Neighbour): void {
    const { entry } = neighbour;
    // the kernel writes at every acknowledgement; once in a second is as good, as reachable times are tens of them
    if (this.nowMs - entry.confirmedMs > 1000) neighbour.entry = { ...entry, confirmedMs: this.nowMs };
  }

  neighbourOf(ip: Ipv4): NeighbourEntry | undefined {
    for (const nic of this.nics) {
      const link = this.#links[nic.index];
      const found = link && this.neighbours.get(neighbourKey(link.index, ip));
      if (found) return found.entry;
    }
    return undefined;
  }

  #resolve(nic: Nic, nextHop: Ipv4, packet: IpBody): Neighbour | undefined {
    const link = this.#links[nic.index];
    if (link === undefined || !link.up) {
      this.drop("the link is down");
      return undefined;
    }
    const last = this.#lastNeighbour;
    const isLast = last !== undefined && !last.gone && last.nic === nic && last.entry.ip === nextHop;
    const key = neighbourKey(link.index, nextHop);
    const known = isLast ? last : this.neighbours.get(key);
    this.#lastNeighbour = known;
    if (known === undefined) {
      const nowMs = this.nowMs;
      const made = this.#newNeighbour(nic, key, {
        ip: nextHop,
        link: link.index,
        mac: undefined,
        state: "INCOMPLETE",
        updatedMs: nowMs,
        confirmedMs: unconfirmedMs(nowMs),
        usedMs: nowMs,
        timerAtMs: nowMs + neighbourTimes.retransMs,
        probes: neighbourTimes.unicastProbes + 1,
      });
      made.waiting.push(packet);
      this.#solicit(made, false);
      this.#setTimer(made);
      return made;
    }
    const { state } = known.entry;
    if (state === "STALE" || state === "FAILED") {
      if (state === "FAILED") known.waiting.push(packet);
      this.#step(known, neighbourUse(this.model, known.entry, this.nowMs));
    } else if (state === "REACHABLE") {
      // the kernel writes it at every packet; it is looked at only when the entry leaves this state
      if (this.nowMs - known.entry.usedMs > usedWithinMs) known.entry = { ...known.entry, usedMs: this.nowMs };
    }
    if (isValid(known.entry)) this.#sendTo(known, packet);
    else if (state !== "FAILED") {
      if (known.waiting.length >= mostWaiting) {
        known.waiting.shift();
        this.drop("too many packets wait for a MAC");
      }
      known.waiting.push(packet);
    }
    return known;
  }

  #sendTo(neighbour: Neighbour, packet: IpBody): void {
    const { mac } = neighbour.entry;
    if (mac === undefined) return;
    if (mac !== neighbour.macText) {
      neighbour.macText = mac;
      neighbour.macId = this.lan.macs.idOf(mac);
    }
    this.#transmit(neighbour.nic, neighbour.macId, packet);
  }

  // ---- output ----

  packetId(): number {
    this.#packetId = (this.#packetId + 1) & 0xffff;
    return this.#packetId;
  }

  #wayTo(destination: Ipv4): Way | undefined {
    if (destination === this.#lastDestination) return this.#lastWay;
    this.#lastWay = this.#findWay(destination);
    this.#lastDestination = destination;
    return this.#lastWay;
  }

  #findWay(destination: Ipv4): Way | undefined {
    if (this.#ways.has(destination)) return this.#ways.get(destination);
    if (this.#ways.size > 65_536) this.#ways.clear();
    const route = fibLookup(this.model, flowOf({ destination }));
    const hop = route && usableHop(route, 0, false);
    const way: Way | undefined = route && {
      route,
      nic: hop?.link && this.#nicByLink.get(hop.link.index),
      via: hop?.via,
      isLocal: route.type === "local",
    };
    this.#ways.set(destination, way);
    return way;
  }

  /** The address the kernel would use towards a destination; undefined: no way there. */
  sourceFor(destination: Ipv4): Ipv4 | undefined {
    const way = this.#wayTo(destination);
    const out = way && deviceOf(way.route);
    if (!way || !out) return undefined;
    if (way.isLocal) return destination;
    return way.route.prefsrc ?? selectSource(this.model, out, way.via ?? destination, way.route.scope);
  }

  /** The first address of that link; undefined: it has none. */
  sourceOn(link: string): Ipv4 | undefined {
    const ip = this.#facts.addresses.find((a) => a.link === link)?.ip;
    return ip === undefined ? undefined : parseIpv4(ip);
  }

  /** The host's own packet, its addresses already chosen. `nextHop`: where IPVS sends it, whatever its destination. */
  output(packet: IpBody, nextHop?: Ipv4): Neighbour | undefined {
    if (this.down) return undefined;
    if (
      (packet.destination | 0) === this.#outDestination &&
      nextHop === undefined &&
      this.lan.nowUs < this.#outUntilMs * 1000 &&
      packet.lengthOctets <= this.#outMtu
    ) {
      const { lan } = this;
      lan.transmit(this.#outPort, {
        to: this.#outMac,
        from: this.#mac,
        vlan: 0,
        serial: lan.nextSerial(),
        body: packet,
      });
      return this.#outNeighbour;
    }
    const way = this.#wayTo(nextHop ?? packet.destination);
    if (way === undefined) {
      this.drop("no route");
      return undefined;
    }
    if (way.isLocal) {
      // what the host sends to itself has its way already: no input lookup, no source check
      this.lan.at(this.lan.nowUs + 1, () => this.#delivered(packet, packet.destination, packet.destination, undefined));
      return undefined;
    }
    if (way.nic === undefined || way.route.type !== "unicast") {
      this.drop("the way out has no wire");
      return undefined;
    }
    const mtu = this.mtuOf(way.nic);
    if (packet.lengthOctets > mtu) {
      if (packet.dontFragment) this.tcp.tooLong(packet, mtu);
      this.drop("longer than the MTU");
      return undefined;
    }
    const neighbour = this.#resolve(way.nic, way.via ?? nextHop ?? packet.destination, packet);
    if (neighbour !== undefined && nextHop === undefined) this.#keepWay(packet.destination, neighbour);
    return neighbour;
  }

  #keepWay(destination: Ipv4, neighbour: Neighbour): void {
    const { entry, nic } = neighbour;
    const { state } = entry;
    if (nic.index !== 0 || neighbour.macText !== entry.mac || !isValid(entry) || state === "STALE") return;
    this.#outDestination = destination | 0;
    // in the other states use changes nothing; only a timer or what is heard does
    this.#outUntilMs = state === "REACHABLE" ? Math.floor(entry.usedMs + usedWithinMs) : latestMs;
    this.#outMtu = nic.mtuOctets;
    this.#outPort = nic.port;
    this.#outMac = neighbour.macId;
    this.#outNeighbour = neighbour;
  }

  mtuOf(nic: Nic): number {
    return nic.mtuOctets;
  }

  /** The MTU towards an address; undefined: no wire leads there. */
  mtuTowards(destination: Ipv4): number | undefined {
    const nic = this.#wayTo(destination)?.nic;
    return nic && this.mtuOf(nic);
  }

  /** IPIP to `to`, from the address the route to it has. */
  tunnel(inner: IpBody, to: Ipv4): boolean {
    const source = this.sourceFor(to);
    if (source === undefined) return false;
    this.output(ipipPacket({ source, destination: to, id: this.packetId() }, inner));
    return true;
  }

  sendUdp(source: Ipv4, destination: Ipv4, sourcePort: number, destinationPort: number, payload = nothing): void {
    this.output(udpPacket({ source, destination, id: this.packetId() }, sourcePort, destinationPort, payload));
  }

  /** ICMP echo; `id` tells the answers apart. */
  sendEcho(source: Ipv4, destination: Ipv4, id: number): void {
    this.output(icmpPacket({ source, destination, id: this.packetId() }, { kind: "echo-request", id, sequence: 1 }));
  }

  /** Tells the sender of a packet that it did not arrive. Errors about errors are not sent (RFC 1122 3.2.2). */
  #icmpError(packet: IpBody, code: number, mtuOctets?: number): void {
    if (packet.icmp !== undefined && packet.icmp.message.kind !== "echo-request") return;
    const source = this.sourceFor(packet.source);
    if (source === undefined) return;
    const message = { kind: "unreachable" as const, code, ...(mtuOctets === undefined ? {} : { mtuOctets }) };
    this.output(icmpError({ source, destination: packet.source, id: this.packetId() }, message, packet));
  }

  fragmentationNeeded(packet: IpBody, mtuOctets: number): void {
    this.#icmpError(packet, UNREACHABLE.fragmentationNeeded, mtuOctets);
  }

  // ---- input ----

  #ask(link: Link, kind: FrameKind, ip: IpBody): IpVerdict {
    if (!this.#memoAllowed) return receive(this.model, { ...headerOf(ip), link: link.index, frame: kind });
    const last = this.#lastMemo;
    if (last !== undefined && isAbout(last, link.index, kind, ip)) return last.verdict;
    const { inner } = ip;
    const innerSource = inner?.source ?? 0;
    const innerDestination = inner?.destination ?? 0;
    const at = (Math.imul(ip.source ^ innerSource, 0x9e3779b1) ^ Math.imul(ip.destination, 0x85ebca77)) >>> 26;
    const known = this.#memo[at % memoSize];
    if (known !== undefined && isAbout(known, link.index, kind, ip)) {
      this.#lastMemo = known;
      return known.verdict;
    }
    const verdict = receive(this.model, { ...headerOf(ip), link: link.index, frame: kind });
    // tunnels in tunnels are rare: not remembered
    if (inner?.inner === undefined) {
      const memo: Memo = {
        link: link.index,
        frame: kind,
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        innerSource,
        innerDestination,
        verdict,
      };
      this.#memo[at % memoSize] = memo;
      this.#lastMemo = memo;
    }
    return verdict;
  }

  #ipIn(nic: Nic, kind: FrameKind, ip: IpBody): void {
    const link = this.#links[nic.index];
    if (link === undefined) return;
    const verdict = this.#ask(link, kind, ip);
    switch (verdict.kind) {
      case "deliver": {
        this.#keepDelivery(nic, kind, ip, verdict);
        let packet = ip;
        while (packet.inner !== undefined) packet = packet.inner;
        if (this.localInput?.take(packet)) return;
        this.#delivered(packet, verdict.seenDestination, verdict.replySource, verdict.port);
        return;
      }
      case "forward":
        this.#forward(ip, verdict.out, verdict.via);
        return;
      case "drop":
        this.drop(verdict.rule);
        if (verdict.icmp !== undefined && kind === "unicast")
          this.#icmpError(
            ip,
            verdict.icmp === "protocol unreachable"
              ? UNREACHABLE.protocol
              : verdict.icmp === "host unreachable"
                ? UNREACHABLE.host
                : UNREACHABLE.net,
          );
    }
  }

  #keepDelivery(nic: Nic, kind: FrameKind, ip: IpBody, verdict: IpVerdict & { kind: "deliver" }): void {
    const asItStands =
      verdict.seenDestination === ip.destination &&
      verdict.replySource === ip.destination &&
      verdict.port === undefined;
    if (!this.#memoAllowed || !asItStands || nic.index !== 0 || kind !== "unicast" || ip.inner !== undefined) return;
    this.#inProtocol = ip.protocol;
    this.#inSource = ip.source | 0;
    this.#inDestination = ip.destination | 0;
  }

  #forward(ip: IpBody, out: string, via: Ipv4 | undefined): void {
    const link = this.model.linkByName.get(out);
    const nic = link && this.#nicByLink.get(link.index);
    if (nic === undefined) {
      this.drop("the way out has no wire");
      return;
    }
    if (ip.ttl <= 1) {
      const source = this.sourceFor(ip.source);
      this.drop("TTL exceeded");
      if (source !== undefined && ip.icmp === undefined)
        this.output(
          icmpError({ source, destination: ip.source, id: this.packetId() }, { kind: "time-exceeded", code: 0 }, ip),
        );
      return;
    }
    const mtu = this.mtuOf(nic);
    if (ip.lengthOctets > mtu) {
      this.drop("longer than the MTU");
      if (ip.dontFragment) this.fragmentationNeeded(ip, mtu);
      return;
    }
    this.#resolve(nic, via ?? ip.destination, hopped(ip));
  }

  /** Up to the transport. `seen`: the destination the service sees; `answerFrom`: what its answers carry. */
  #delivered(ip: IpBody, seen: Ipv4, answerFrom: Ipv4, port: number | undefined): void {
    if (this.down) return;
    if (ip.tcp !== undefined) this.tcp.input(ip, answerFrom, port ?? ip.destinationPort);
    else if (ip.icmp !== undefined) this.#icmpIn(ip, seen);
    else if (ip.protocol === PROTOCOL.udp) {
      const service = this.udp.get(port ?? ip.destinationPort);
      if (service === undefined) {
        this.#icmpError(ip, UNREACHABLE.port);
        return;
      }
      const answer = service(ip);
      if (answer !== undefined) this.sendUdp(answerFrom, ip.source, ip.destinationPort, ip.sourcePort, answer);
    } else this.drop("no such protocol");
  }

  readonly #echoes = new Map<number, () => void>();

  /** Calls back when the answer to an echo request with that id arrives. */
  onEcho(id: number, call: () => void): void {
    this.#echoes.set(id, call);
  }

  #icmpIn(ip: IpBody, seen: Ipv4): void {
    const icmp = ip.icmp;
    if (icmp === undefined) return;
    const { message, data, quoted } = icmp;
    if (message.kind === "echo-request")
      this.output(
        icmpPacket(
          { source: seen, destination: ip.source, id: this.packetId() },
          { ...message, kind: "echo-reply" },
          data,
        ),
      );
    else if (message.kind === "echo-reply") {
      this.#echoes.get(message.id)?.();
      this.#echoes.delete(message.id);
    } else if (message.kind === "unreachable" && quoted?.tcp !== undefined) {
      if (message.code === UNREACHABLE.fragmentationNeeded) this.tcp.tooLong(quoted, message.mtuOctets ?? 576);
      else this.tcp.unreachable(quoted);
    } else if (message.kind === "unreachable" && quoted?.protocol === PROTOCOL.udp)
      this.udpRefused?.(quoted.sourcePort);
  }

  describe(): string {
    return `${this.name} ${this.#facts.addresses.map((a) => a.ip).join(" ")}`;
  }

  /** The NIC whose link has an address that covers `ip`, else the first. */
  nicTowards(ip: Ipv4): Nic {
    const nic = this.#wayTo(ip)?.nic ?? this.nics[0];
    if (nic === undefined) throw new RangeError(`${this.name} has no way to ${formatIpv4(ip)}`);
    return nic;
  }
}

const isNeighbour = (item: unknown): item is Neighbour => (item as Neighbour).entry !== undefined;
