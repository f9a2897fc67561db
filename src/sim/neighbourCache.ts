/** A host's neighbour cache: entries and their timers, questions, and the packets that wait for an answer. */
import type { Ipv4 } from "../base/ipv4.ts";
import { type Mac, ZERO_MAC } from "../base/mac.ts";
import { announce } from "../model/announce.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import { isValid, type NeighbourEntry, neighbourKey } from "../model/neighbour.ts";
import {
  neighbourAsked,
  neighbourDeadlineMs,
  neighbourTick,
  neighbourTimes,
  neighbourUse,
  type TimerStep,
} from "../model/neighbourTimers.ts";
import { isDead20 } from "../model/neighbourTimers20.ts";
import type { Dice } from "./dice.ts";
import { BROADCAST_ID, type Frame, type IpBody, type MacId } from "./frame.ts";
import type { Lan } from "./lan.ts";
import type { Nic } from "./nic.ts";

/** One neighbour, and what waits for its MAC. */
export class Neighbour {
  entry: NeighbourEntry;
  readonly nic: Nic;
  readonly waiting: IpBody[] = [];
  readonly reachableMs: number;
  /** When the timer that is set fires; Infinity: none is. */
  timerUs = Number.POSITIVE_INFINITY;
  gone = false;
  /** The entry's MAC, and its number. */
  macText: Mac | undefined;
  macId: MacId = BROADCAST_ID;

  constructor(entry: NeighbourEntry, nic: Nic, reachableMs: number) {
    this.entry = entry;
    this.nic = nic;
    this.reachableMs = reachableMs;
  }
}

/** What the cache needs of its host. */
export interface NeighbourHost {
  readonly lan: Lan;
  readonly dice: Dice;
  readonly model: Host;
  readonly id: number;
  /** On its own clock. */
  readonly nowMs: number;
  readonly down: boolean;
  linkOf(nic: Nic): Link | undefined;
  transmit(nic: Nic, to: MacId, body: Frame["body"]): void;
  /** True time when its clock shows that. */
  trueAt(us: number): number;
  drop(reason: string): void;
  /** Nobody answered for its next hop. */
  undelivered(packet: IpBody, link: Link | undefined): void;
  /** An entry is another, or gone: what the host made of it holds no more. */
  entryChanged(): void;
}

const unanswered = "neighbour does not answer";
/** So many packets wait for a MAC. From 3.3 on octets are counted; packets of the longest kind are taken for that. */
const mostWaiting = ({ switches: { unresolvedQueue } }: Host): number =>
  unresolvedQueue === "all" ? Number.POSITIVE_INFINITY : Number(unresolvedQueue);
/** The kernel writes the time of use with every packet; this often is as good, as what follows from it takes seconds. */
export const usedWithinMs = 100;

export class NeighbourCache {
  readonly #host: NeighbourHost;
  readonly #all = new Map<number, Neighbour>();
  #last: Neighbour | undefined;

  constructor(host: NeighbourHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#all.size;
  }
  values(): Iterable<Neighbour> {
    return this.#all.values();
  }

  get(link: Link, ip: Ipv4): Neighbour | undefined {
    return this.#all.get(neighbourKey(link.index, ip));
  }

  forget(nic?: Nic): void {
    for (const [key, neighbour] of [...this.#all])
      if (nic === undefined || neighbour.nic === nic) this.#forget(key, neighbour);
  }

  #forget(key: number, neighbour: Neighbour): void {
    const { down, lan } = this.#host;
    // as `ip neigh flush`: what waits for an answer goes on waiting
    if (neighbour.entry.state === "INCOMPLETE" && neighbour.waiting.length > 0 && !down) return;
    neighbour.gone = true;
    this.#host.entryChanged();
    this.#all.delete(key);
    lan.knows(neighbour.nic.port, neighbour.entry.ip, false);
  }

  /** The entry that what was heard makes of the one before. */
  learned(nic: Nic, known: Neighbour | undefined, entry: NeighbourEntry): void {
    const neighbour = known ?? this.#add(nic, entry);
    neighbour.entry = entry;
    this.#host.entryChanged();
    this.#setTimer(neighbour);
    if (neighbour.waiting.length > 0 && isValid(entry)) this.#flush(neighbour);
  }

  #add(nic: Nic, entry: NeighbourEntry): Neighbour {
    const { dice, lan } = this.#host;
    // reach_time: 0.5 to 1.5 of base_reachable_time
    const reachableMs = neighbourTimes.reachableMs / 2 + dice.below(neighbourTimes.reachableMs);
    const neighbour = new Neighbour(entry, nic, reachableMs);
    this.#all.set(neighbourKey(entry.link, entry.ip), neighbour);
    lan.knows(nic.port, entry.ip, true);
    return neighbour;
  }

  #setTimer(neighbour: Neighbour): void {
    const { lan, id } = this.#host;
    const atMs = neighbourDeadlineMs(neighbour.entry, neighbour.reachableMs);
    if (atMs === Number.POSITIVE_INFINITY) return;
    // one microsecond at least: a deadline that rounding puts a hair after now would come for ever
    const atUs = Math.max(lan.nowUs + 1, Math.ceil(this.#host.trueAt(Math.ceil(atMs * 1000))));
    if (atUs >= neighbour.timerUs) return; // an early tick is harmless and sets itself anew
    neighbour.timerUs = atUs;
    lan.wake(id, atUs, neighbour);
  }

  timer(neighbour: Neighbour): void {
    const { lan, model, nowMs } = this.#host;
    if (neighbour.gone || neighbour.timerUs > lan.nowUs) return;
    neighbour.timerUs = Number.POSITIVE_INFINITY;
    this.#step(neighbour, neighbourTick(model, neighbour.entry, nowMs, neighbour.reachableMs));
  }

  #step(neighbour: Neighbour, step: TimerStep): void {
    neighbour.entry = step.entry;
    this.#host.entryChanged();
    if (step.gaveUp) for (const _ of neighbour.waiting.splice(0)) this.#host.drop(unanswered);
    if (step.removed) {
      this.#forget(neighbourKey(step.entry.link, step.entry.ip), neighbour);
      return;
    }
    if (step.send !== "nothing") this.#solicit(neighbour, step.send === "unicast");
    else if (step.entry.state === "FAILED" && neighbour.waiting.length > 0) this.#failed(neighbour);
    this.#setTimer(neighbour);
  }

  #solicit(neighbour: Neighbour, unicast: boolean): void {
    const { entry, nic, waiting } = neighbour;
    const { model, lan } = this.#host;
    const knownMac = unicast ? entry.mac : undefined;
    const packetSource = waiting.at(-1)?.source;
    const request = announce(model, {
      link: entry.link,
      nextHop: entry.ip,
      ...(packetSource === undefined ? {} : { packetSource }),
      ...(knownMac === undefined ? {} : { knownMac }),
    });
    if (request.kind === "none") {
      this.#host.drop(`ARP request not sent: ${request.because}`);
      return;
    }
    this.#host.transmit(nic, knownMac === undefined ? BROADCAST_ID : lan.macs.idOf(knownMac), {
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
      this.#host.drop(unanswered);
      this.#host.undelivered(packet, this.#host.linkOf(neighbour.nic));
    }
  }

  /** Transport made progress: the neighbour lives (neigh_confirm). */
  confirm(neighbour: Neighbour): void {
    const { entry } = neighbour;
    const { nowMs } = this.#host;
    // the kernel writes at every acknowledgement; once in a second is as good, as reachable times are tens of them
    if (nowMs - entry.confirmedMs > 1000) neighbour.entry = { ...entry, confirmedMs: nowMs };
  }

  /** Sends the packet to the next hop, or keeps it until its MAC is known. */
  send(nic: Nic, nextHop: Ipv4, packet: IpBody): Neighbour | undefined {
    const link = this.#host.linkOf(nic);
    if (link === undefined || !link.up) {
      this.#host.drop("the link is down");
      return undefined;
    }
    const last = this.#last;
    const isLast = last !== undefined && !last.gone && last.nic === nic && last.entry.ip === nextHop;
    const known = isLast ? last : this.get(link, nextHop);
    this.#last = known;
    if (known === undefined) return this.#ask(nic, link, nextHop, packet);
    const { model, nowMs } = this.#host;
    const { state } = known.entry;
    if (state === "STALE" || state === "FAILED") {
      if (state === "FAILED") known.waiting.push(packet);
      this.#step(known, neighbourUse(model, known.entry, nowMs));
    } else if (state === "REACHABLE" || model.switches.arpScope === "device") {
      // the kernel writes it at every packet; it is looked at only when the entry leaves this state
      if (nowMs - known.entry.usedMs > usedWithinMs) known.entry = { ...known.entry, usedMs: nowMs };
    }
    if (isValid(known.entry)) this.#sendTo(known, packet);
    else if (model.switches.arpScope === "device" && isDead20(known.entry)) {
      this.#host.drop(unanswered);
      this.#host.undelivered(packet, link);
    } else if (state !== "FAILED") this.#keep(known, packet);
    return known;
  }

  #ask(nic: Nic, link: Link, nextHop: Ipv4, packet: IpBody): Neighbour {
    const { model, nowMs } = this.#host;
    const made = this.#add(nic, neighbourAsked(model, nextHop, link.index, nowMs));
    made.waiting.push(packet);
    this.#solicit(made, false);
    this.#setTimer(made);
    return made;
  }

  #keep({ waiting }: Neighbour, packet: IpBody): void {
    if (waiting.length >= mostWaiting(this.#host.model)) {
      waiting.shift();
      this.#host.drop("too many packets wait for a MAC");
    }
    waiting.push(packet);
  }

  #sendTo(neighbour: Neighbour, packet: IpBody): void {
    const { mac } = neighbour.entry;
    if (mac === undefined) return;
    if (mac !== neighbour.macText) {
      neighbour.macText = mac;
      neighbour.macId = this.#host.lan.macs.idOf(mac);
    }
    this.#host.transmit(neighbour.nic, neighbour.macId, packet);
  }
}
