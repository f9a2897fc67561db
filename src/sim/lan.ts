/**
 * A LAN on one seed: virtual time, cables, switches, and the hosts at their ends. Time is whole microseconds. Nothing
 * here draws from a stream: what happens to a frame on a cable depends on the seed, the frame and the cable alone.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { Dice, hash32, hashBelow } from "./dice.ts";
import { BROADCAST_ID, Frame, type MacId, Macs } from "./frame.ts";
import { PortIndex } from "./portIndex.ts";
import {
  CAPTURED,
  Cable,
  type CableOptions,
  DELAY,
  ethernetMtu,
  FAULTY,
  FLAGS,
  JITTER,
  LAST,
  NARROW,
  NIC,
  OWNER,
  PEER,
  PORT_WIDTH,
  Ports,
  plainCable,
  TIMES_WIDTH,
  UP,
} from "./ports.ts";
import { EventQueue } from "./queue.ts";
import { plainSwitch, Switch, type SwitchOptions, type SwitchPort } from "./switch.ts";

export { type Cable, type CableOptions, plainCable } from "./ports.ts";

/** What stands at the end of a cable. */
export interface Station {
  readonly name: string;
  readonly nics: readonly { readonly link: string }[];
  frameIn(nic: number, frame: Frame): void;
  timer(item: unknown): void;
  /** Any number that lies where frameIn looks first. */
  touch(): number;
}

/** What a station wants of group frames; see Lan.interest. */
export interface Interest {
  /** Hears every ARP broadcast: something about it cannot be told beforehand. */
  readonly everything: boolean;
  /** Targets of ARP requests that it may answer, or learns from. */
  readonly targets: readonly Ipv4[];
}

/** A frame from a host that has come to its switch. */
export type Tap = (timeUs: number, from: string, frame: Frame) => void;
/** A frame that is put on a cable: by a host, or by a switch on an uplink. */
export type Capture = (timeUs: number, cable: string, frame: Frame) => void;

const ARRIVE = 0;
const TIMER = 1;
const CALL = 2;
/** An ARP broadcast is at the ends of all cables of a switch that are equally long. */
const FLOOD = 3;

/** So many hosts fit into a core's own cache: reading ahead would only cost. Looked at again after so many events. */
const manyHosts = 5000;
const manyEvents = 100_000;

const lossSalt = 0x10551055;
const duplicateSalt = 0x0d0b1e00;
const reorderSalt = 0x07de2000;
const copySalt = 0x2c091e50;

interface Flood {
  readonly frame: Frame;
  readonly vlan: number;
  /** Port it came in by. */
  readonly from: number;
  readonly sentUs: number;
  readonly delayUs: number;
  /** So many cables had got another delay by then. */
  readonly delayChanges: number;
}

/** What is known of who wants ARP broadcasts, by switch. Ports are those of the switch. */
class Hearers {
  readonly everything = new Set<number>();
  /** Hear all for now: on a cable that makes frames late, or frozen, so that what they want may have changed by then. */
  readonly always = new Set<number>();
  readonly byTarget = new PortIndex();
  readonly bySender = new PortIndex();
  /** How many hosts are so many microseconds away. */
  readonly distances = new Map<number, number>();

  moved(delayUs: number, by: 1 | -1): void {
    const count = (this.distances.get(delayUs) ?? 0) + by;
    if (count > 0) this.distances.set(delayUs, count);
    else this.distances.delete(delayUs);
  }
}

export interface LanOptions {
  readonly seed: number;
  /**
   * Hand every broadcast to every host, also to those that certainly do nothing with it. Slow, and changes no outcome:
   * it is what the fast way is tested against.
   */
  readonly exhaustive?: boolean;
}

export class Lan {
  readonly seed: number;
  readonly dice: Dice;
  readonly macs = new Macs();
  readonly stations: Station[] = [];
  readonly switches: Switch[] = [];
  readonly taps: Tap[] = [];
  /** Since the beginning. */
  events = 0;
  frames = 0;
  dropped = 0;
  nowUs = 0;
  readonly #queue = new EventQueue(4096);
  /** `sum` keeps the engine from leaving out the reading. */
  readonly #ahead = { places: new Int32Array(16), items: new Array<unknown>(16).fill(undefined), sum: 0 };
  readonly #exhaustive: boolean;

  readonly #ports = new Ports();
  /** By port. */
  readonly #cables: Cable[] = [];
  #delayChanges = 0;
  /** The delays that a cable had before, each with the number of the change that ended it. */
  readonly #delaysBefore = new Map<Cable, { readonly change: number; readonly delayUs: number }[]>();
  #capture: Capture | undefined;
  /** What people call the cable, by port; only of those that a captured frame was sent by. */
  readonly #cableNames = new Map<number, string>();
  /** A host has sent a packet that is longer than Ethernet's. */
  #hasLonger = false;

  #serial = 0;
  /** Ports of the NIC with that MAC (several, where two hosts have one). */
  readonly #homes: number[][] = [];
  /** By switch. */
  readonly #hearers: Hearers[] = [];
  readonly #told = new Map<number, Interest>();
  readonly #paused = new Set<number>();

  constructor(options: LanOptions) {
    this.seed = options.seed;
    this.dice = new Dice(options.seed);
    this.#exhaustive = options.exhaustive === true;
  }

  addSwitch(name: string, options: SwitchOptions = plainSwitch): Switch {
    const made = new Switch(name, this.switches.length, options, this.#ports);
    this.switches.push(made);
    this.#hearers.push(new Hearers());
    return made;
  }

  addStation(station: Station): number {
    this.stations.push(station);
    return this.stations.length - 1;
  }

  /** Plugs a host's NIC into a switch; gives the host's port number. */
  plug(station: number, nic: number, mac: Mac, into: Switch, options = plainCable, port?: SwitchPort): number {
    const near = this.#ports.add(station, nic);
    const far = this.#ports.add(-1 - into.index, -1);
    into.addPort(far, port ?? { kind: "access", vlan: 1 });
    this.#connect(near, far, options);
    const id = this.macs.idOf(mac);
    const homes = this.#homes[id];
    if (homes) homes.push(far);
    else this.#homes[id] = [far];
    return near;
  }

  /** Cables two switches together: all VLANs, or these, tagged. */
  trunk(a: Switch, b: Switch, options = plainCable, vlans?: ReadonlySet<number>): Cable {
    const near = this.#ports.add(-1 - a.index, -1);
    const far = this.#ports.add(-1 - b.index, -1);
    a.addPort(near, { kind: "trunk", vlans });
    b.addPort(far, { kind: "trunk", vlans });
    return this.#connect(near, far, options);
  }

  #connect(a: number, b: number, options: CableOptions): Cable {
    const cable = new Cable(this.#ports, [a, b], options, () => this.nowUs);
    this.#cables[a] = cable;
    this.#cables[b] = cable;
    this.#placed(cable, 1);
    if (this.#capture !== undefined) this.#watch(cable);
    return cable;
  }

  /** Calls back from now on with each frame as it is put on a cable; not with what a switch hands to a host. */
  capture(capture: Capture): void {
    this.#capture = capture;
    for (const cable of new Set(this.#cables)) this.#watch(cable);
  }

  #watch({ ends }: Cable): void {
    const isUplink = this.#ports.get(ends[0], OWNER) < 0;
    for (const end of isUplink ? ends : [ends[0]]) this.#ports.set(end, FLAGS, this.#ports.get(end, FLAGS) | CAPTURED);
  }

  /** Both switches, or the host and its card. */
  #cableName(port: number): string {
    const known = this.#cableNames.get(port);
    if (known !== undefined) return known;
    const owner = this.#ports.get(port, OWNER);
    const station = this.stations[owner];
    const nameOfSwitch = (end: number): string => this.switches[-1 - this.#ports.get(end, OWNER)]?.name ?? "";
    const name = station
      ? `${station.name} ${station.nics[this.#ports.get(port, NIC)]?.link ?? ""}`
      : this.cableOf(port).ends.map(nameOfSwitch).join(" <-> ");
    this.#cableNames.set(port, name);
    return name;
  }

  cableOf(port: number): Cable {
    return this.#cables[port] as Cable;
  }

  setCable(cable: Cable, options: CableOptions): void {
    this.#placed(cable, -1);
    const { delayUs } = cable.options;
    if (options.delayUs !== delayUs) {
      const before = this.#delaysBefore.get(cable) ?? [];
      before.push({ change: ++this.#delayChanges, delayUs });
      this.#delaysBefore.set(cable, before);
    }
    cable.options = options;
    this.#placed(cable, 1);
  }

  /** How long the cable was when only so many changes of delays had happened. */
  #delayOf(port: number, delayChanges: number): number {
    if (delayChanges === this.#delayChanges) return this.#ports.get(port, DELAY);
    const later = this.#delaysBefore.get(this.cableOf(port))?.find(({ change }) => change > delayChanges);
    return later?.delayUs ?? this.#ports.get(port, DELAY);
  }

  /** Keeps the switch's view of a host at the end of a cable. */
  #placed(cable: Cable, by: 1 | -1): void {
    const [near, far] = cable.ends;
    if (this.#ports.get(near, OWNER) < 0) return; // between switches
    this.#hearersAt(far)?.moved(cable.options.delayUs, by);
    this.#hearsAlways(near);
  }

  #hearsAlways(near: number): void {
    const far = this.#ports.get(near, PEER);
    const always = this.#hearersAt(far)?.always;
    if (this.#paused.has(near) || (this.#ports.get(far, FLAGS) & FAULTY) !== 0) always?.add(far);
    else always?.delete(far);
  }

  /** What a frozen host hears it thinks about later, when it may know more neighbours than now. */
  paused(port: number, paused: boolean): void {
    if (paused) this.#paused.add(port);
    else this.#paused.delete(port);
    this.#hearsAlways(port);
  }

  #hearersAt(port: number): Hearers | undefined {
    return this.#hearers[-1 - this.#ports.get(port, OWNER)];
  }

  /** What stands in the way of a run: loops that would carry a broadcast round for ever, hosts without a cable. */
  problems(): string[] {
    const said: string[] = [];
    const root = this.switches.map((_, i) => i);
    const find = (i: number): number => {
      let at = i;
      while (root[at] !== at) at = root[at] as number;
      return at;
    };
    for (const one of this.switches)
      for (const port of one.trunks) {
        const other = -1 - this.#ports.get(this.#ports.get(port, PEER), OWNER);
        if (port > this.#ports.get(port, PEER)) continue;
        const [a, b] = [find(one.index), find(other)];
        if (a === b)
          said.push(
            `the switches ${one.name} and ${this.switches[other]?.name} form a loop: a broadcast would go round for ever; take one cable between them away`,
          );
        root[a] = b;
      }
    const wired = new Set(this.#cables.flatMap(({ ends }) => ends.map((end) => this.#ports.get(end, OWNER))));
    for (const [i, station] of this.stations.entries())
      if (!wired.has(i)) said.push(`${station.name} is not plugged into any switch`);
    return said;
  }

  nextSerial(): number {
    return ++this.#serial;
  }

  /** The card at `port` takes frames to that group, too. Switches know nothing of it: groups are flooded. */
  join(port: number, group: MacId): void {
    const far = this.#ports.get(port, PEER);
    const homes = this.#homes[group];
    if (homes === undefined) this.#homes[group] = [far];
    else if (!homes.includes(far)) homes.push(far);
  }

  /** Puts a frame on the cable at `port`. */
  transmit(port: number, frame: Frame): void {
    const { numbers } = this.#ports;
    const at = port * PORT_WIDTH;
    const flags = numbers[at + FLAGS] as number;
    if ((flags & UP) === 0) {
      this.dropped++;
      return;
    }
    let timeUs = this.nowUs + (numbers[at + DELAY] as number);
    if ((numbers[at + OWNER] as number) >= 0) {
      const jitterUs = numbers[at + JITTER] as number;
      if (jitterUs > 0) timeUs += hashBelow(jitterUs + 1, this.seed, frame.serial, port);
      const { times } = this.#ports;
      const last = times[port * TIMES_WIDTH + LAST] as number;
      if (timeUs < last) timeUs = last;
      else times[port * TIMES_WIDTH + LAST] = timeUs;
      const { body } = frame;
      if (body.kind === "ip" && body.lengthOctets > ethernetMtu) this.#hasLonger = true;
    }
    const peer = numbers[at + PEER] as number;
    if ((flags & (FAULTY | NARROW | CAPTURED)) !== 0 || this.#hasLonger) this.#transmitClosely(port, frame, timeUs);
    else this.#queue.push(timeUs, ARRIVE, peer, frame);
  }

  #transmitClosely(port: number, frame: Frame, atUs: number): void {
    if ((this.#ports.get(port, FLAGS) & CAPTURED) !== 0) this.#capture?.(this.nowUs, this.#cableName(port), frame);
    const { options } = this.#cables[port] as Cable;
    if (!this.#survives(port, frame, options)) return;
    const lateUs = this.#happens(reorderSalt, options.reorderPpm, port, frame) ? options.reorderUs : 0;
    this.#queue.push(atUs + lateUs, ARRIVE, this.#ports.get(port, PEER), frame);
    this.#doubled(port, frame, options, atUs + lateUs);
  }

  /** The same for a frame that is at the end of the cable by now, if it is. */
  #arrivesNow(port: number, frame: Frame): boolean {
    const { options } = this.#cables[port] as Cable;
    if (!this.#survives(port, frame, options)) return false;
    const isLate = this.#happens(reorderSalt, options.reorderPpm, port, frame);
    const atUs = this.nowUs + (isLate ? options.reorderUs : 0);
    if (isLate) this.#queue.push(atUs, ARRIVE, this.#ports.get(port, PEER), frame);
    this.#doubled(port, frame, options, atUs);
    return !isLate;
  }

  #doubled(port: number, frame: Frame, options: CableOptions, atUs: number): void {
    if (!this.#happens(duplicateSalt, options.duplicatePpm, port, frame)) return;
    // another number, so that what comes after does not befall both; drawn, as counted it would depend on who was told
    const serial = hash32(this.seed ^ copySalt, frame.serial, port);
    const copy = new Frame(frame.to, frame.from, frame.vlan, serial, frame.body);
    this.#queue.push(atUs + 1, ARRIVE, this.#ports.get(port, PEER), copy);
  }

  #happens(salt: number, perMillion: number, port: number, frame: Frame): boolean {
    return perMillion > 0 && hashBelow(1_000_000, this.seed ^ salt, frame.serial, port) < perMillion;
  }

  #survives(port: number, frame: Frame, options: CableOptions): boolean {
    const length = frame.body.kind === "ip" ? frame.body.lengthOctets : 28;
    const survives = length <= options.mtuOctets && !this.#happens(lossSalt, options.lossPpm, port, frame);
    if (!survives) this.dropped++;
    return survives;
  }

  /** Calls the station's `timer` with the item at that time. */
  wake(station: number, atUs: number, item: unknown): void {
    this.#queue.push(Math.ceil(atUs), TIMER, station, item);
  }

  /** Calls the function at that time: what tools, faults and checks do to the LAN. */
  at(atUs: number, call: () => void): void {
    this.#queue.push(Math.ceil(Math.max(atUs, this.nowUs)), CALL, 0, call);
  }

  /** Lets time pass up to and including `untilUs`; `stop` is asked after each event. */
  run(untilUs: number, stop?: () => boolean): void {
    const queue = this.#queue;
    let fetched = 0;
    while (queue.pop(untilUs)) {
      if (--fetched < 0) fetched = this.#fetch();
      this.nowUs = queue.timeUs;
      const { kind, place, item } = queue;
      if (kind === FLOOD) this.#flooded(this.switches[place] as Switch, item as Flood);
      else {
        this.events++;
        if (kind === ARRIVE) this.#arrive(place, item as Frame);
        else if (kind === TIMER) (this.stations[place] as Station).timer(item);
        else (item as () => void)();
      }
      if (stop?.()) return;
    }
    this.nowUs = Math.max(this.nowUs, untilUs);
  }

  /**
   * Reads a word of each machine and frame that is next in this microsecond, and does nothing with it. With thousands of
   * hosts they lie far away in memory; asked for one after the other, each is waited for alone, asked for at once they
   * come together. Gives how many.
   */
  #fetch(): number {
    if (this.stations.length < manyHosts) return manyEvents;
    const ahead = this.#ahead;
    const { places, items } = ahead;
    const count = this.#queue.upcoming(ARRIVE, places, items);
    if (count < 4) return 0;
    const { numbers } = this.#ports;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const owner = numbers[(places[i] as number) * PORT_WIDTH + OWNER] as number;
      if (owner >= 0) sum += (this.stations[owner] as Station).touch();
    }
    for (let i = 0; i < count; i++) {
      const { body } = items[i] as Frame;
      sum += body.kind === "ip" ? body.destinationPort + body.payload.length : 1;
    }
    for (let i = 0; i < count; i++) {
      const owner = numbers[(places[i] as number) * PORT_WIDTH + OWNER] as number;
      if (owner < 0) sum += (this.switches[-1 - owner] as Switch).touch(items[i] as Frame);
    }
    ahead.sum = sum;
    return count;
  }

  #arrive(port: number, frame: Frame): void {
    const { numbers } = this.#ports;
    const owner = numbers[port * PORT_WIDTH + OWNER] as number;
    if (owner >= 0) {
      (this.stations[owner] as Station).frameIn(numbers[port * PORT_WIDTH + NIC] as number, frame);
      return;
    }
    const at = this.switches[-1 - owner] as Switch;
    this.frames++;
    if (this.taps.length > 0) this.#tap(port, frame);
    const vlan = at.vlanOf(port, frame);
    if (vlan < 0) return;
    const out = at.place(port, frame, vlan, this.nowUs, this.macs);
    if (out >= 0) {
      if (at.carries(out, vlan)) this.transmit(out, this.#tagged(at, out, vlan, frame));
    } else if (out === -1) this.#flood(at, port, vlan, frame);
  }

  #tap(port: number, frame: Frame): void {
    const sender = this.#ports.get(this.#ports.get(port, PEER), OWNER);
    if (sender >= 0) for (const tap of this.taps) tap(this.nowUs, (this.stations[sender] as Station).name, frame);
  }

  #flood(at: Switch, from: number, vlan: number, frame: Frame): void {
    const isArp = frame.to === BROADCAST_ID && frame.body.kind === "arp";
    for (const to of isArp ? at.trunks : this.#floodTo(at, frame))
      if (to !== from && at.carries(to, vlan)) this.transmit(to, this.#tagged(at, to, vlan, frame));
    if (!isArp) return;
    for (const delayUs of (this.#hearers[at.index] as Hearers).distances.keys()) {
      const flood: Flood = { frame, vlan, from, sentUs: this.nowUs, delayUs, delayChanges: this.#delayChanges };
      this.#queue.push(this.nowUs + delayUs, FLOOD, at.index, flood);
    }
  }

  /**
   * An ARP broadcast reaches the hosts: only now is it asked who may do something with it, as a host may have begun to
   * wait for its sender while it was on the way. In the order of the ports.
   */
  #flooded(at: Switch, { frame, vlan, from, sentUs, delayUs, delayChanges }: Flood): void {
    for (const port of this.#exhaustive ? at.ports : this.#wanting(at, frame)) {
      if (port === from || !at.carries(port, vlan) || this.#delayOf(port, delayChanges) !== delayUs) continue;
      const peer = this.#ports.get(port, PEER);
      if (this.#ports.get(peer, OWNER) < 0) continue; // trunks had theirs
      if (!(this.#cables[port] as Cable).wasUp(sentUs)) {
        this.dropped++;
        continue;
      }
      const copy = this.#tagged(at, port, vlan, frame);
      const isFaulty = (this.#ports.get(port, FLAGS) & FAULTY) !== 0;
      if (isFaulty && !this.#arrivesNow(port, copy)) continue;
      this.events++;
      this.#arrive(peer, copy);
    }
  }

  #tagged(at: Switch, port: number, vlan: number, frame: Frame): Frame {
    const tag = at.tagFor(port, vlan);
    return tag === frame.vlan ? frame : new Frame(frame.to, frame.from, tag, frame.serial, frame.body);
  }

  /** Ports behind which somebody may do something with a frame that is no ARP broadcast. In the order of the ports. */
  #floodTo(at: Switch, frame: Frame): readonly number[] {
    if (this.#exhaustive || frame.to === BROADCAST_ID) return at.ports;
    // a card takes no frame for another card (C-ALL-01)
    const homes = this.#homes[frame.to] ?? [];
    return inOrder([...at.trunks, ...homes.filter((port) => this.#ports.get(port, OWNER) === -1 - at.index)]);
  }

  /** The same for an ARP broadcast. */
  #wanting(at: Switch, { body }: Frame): readonly number[] {
    const hearers = this.#hearers[at.index];
    if (hearers === undefined || body.kind !== "arp") return [];
    const chosen = [...hearers.everything, ...hearers.always];
    hearers.byTarget.addTo(body.targetIp, chosen);
    hearers.bySender.addTo(body.senderIp, chosen);
    return inOrder(chosen);
  }

  /** Says anew what the host at `port` wants to hear of ARP broadcasts. */
  interest(port: number, wants: Interest): void {
    const far = this.#ports.get(port, PEER);
    const index = this.#hearersAt(far);
    if (!index) return;
    const before = this.#told.get(port);
    if (before) for (const target of before.targets) index.byTarget.remove(target, far);
    if (wants.everything) index.everything.add(far);
    else index.everything.delete(far);
    for (const target of wants.targets) index.byTarget.add(target, far);
    this.#told.set(port, wants);
  }

  /** The host at `port` has, or has no more, a neighbour entry for `ip`. */
  knows(port: number, ip: Ipv4, known: boolean): void {
    const far = this.#ports.get(port, PEER);
    const index = this.#hearersAt(far);
    if (!index) return;
    if (known) index.bySender.add(ip, far);
    else index.bySender.remove(ip, far);
  }

  /** Name of the host whose NIC has that MAC; undefined: nobody's. */
  ownerOfMac(mac: MacId): string | undefined {
    const [far] = this.#homes[mac] ?? [];
    if (far === undefined) return undefined;
    return this.stations[this.#ports.get(this.#ports.get(far, PEER), OWNER)]?.name;
  }
}

function inOrder(ports: number[]): readonly number[] {
  if (ports.length < 2) return ports;
  ports.sort((a, b) => a - b);
  return ports.filter((port, i) => port !== ports[i - 1]);
}
