/**
 * A LAN on one seed: virtual time, cables, switches, and the hosts at their ends. Time is whole microseconds. Nothing
 * here draws from a stream: what happens to a frame on a cable depends on the seed, the frame and the cable alone.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { Dice, hash32 } from "./dice.ts";
import { BROADCAST_ID, type Frame, type MacId, Macs } from "./frame.ts";
import { EventQueue } from "./queue.ts";
import { plainSwitch, Switch, type SwitchOptions, type SwitchPort } from "./switch.ts";

/** Both directions of one cable. Shares are in millionths; times in microseconds. */
export interface CableOptions {
  readonly delayUs: number;
  /** Up to so much more, different for each frame; frames keep their order. Only what a host sends is delayed by it. */
  readonly jitterUs: number;
  readonly lossPpm: number;
  readonly duplicatePpm: number;
  /** Frames that are held back by `reorderUs`, so that later ones overtake them. */
  readonly reorderPpm: number;
  readonly reorderUs: number;
  /** Longest payload of a frame; longer ones are thrown away, as a switch does. */
  readonly mtuOctets: number;
}

export const plainCable: CableOptions = {
  delayUs: 5,
  jitterUs: 0,
  lossPpm: 0,
  duplicatePpm: 0,
  reorderPpm: 0,
  reorderUs: 0,
  mtuOctets: 1500,
};

export interface Cable {
  options: CableOptions;
  /** Loses, doubles or reorders frames. */
  faulty: boolean;
  up: boolean;
}

/** What stands at the end of a cable. */
export interface Station {
  readonly name: string;
  frameIn(nic: number, frame: Frame): void;
  timer(item: unknown): void;
}

/** What a station wants of group frames; see Lan.interest. */
export interface Interest {
  /** Hears every ARP broadcast: something about it cannot be told beforehand. */
  readonly everything: boolean;
  /** Targets of ARP requests that it may answer, or learns from. */
  readonly targets: readonly Ipv4[];
}

export type Tap = (timeUs: number, from: string, frame: Frame) => void;

const ARRIVE = 0;
const TIMER = 1;
const CALL = 2;

const lossSalt = 0x10551055;
const duplicateSalt = 0x0d0b1e00;
const reorderSalt = 0x07de2000;

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
  readonly #exhaustive: boolean;

  // By port number.
  /** Station index, or -1 - switch index. */
  readonly #owner: number[] = [];
  readonly #nic: number[] = [];
  readonly #peer: number[] = [];
  readonly #cable: Cable[] = [];
  /** When the last frame sent by this port arrives: none overtakes it. */
  readonly #lastUs: number[] = [];

  #serial = 0;
  /** Ports of the NIC with that MAC (several, where two hosts have one). */
  readonly #homes: number[][] = [];
  readonly #interests: { everything: Set<number>; byTarget: PortIndex; bySender: PortIndex }[] = [];
  readonly #told = new Map<number, Interest>();

  constructor(options: LanOptions) {
    this.seed = options.seed;
    this.dice = new Dice(options.seed);
    this.#exhaustive = options.exhaustive === true;
  }

  addSwitch(name: string, options: SwitchOptions = plainSwitch): Switch {
    const made = new Switch(name, this.switches.length, options);
    this.switches.push(made);
    this.#interests.push({ everything: new Set(), byTarget: new PortIndex(), bySender: new PortIndex() });
    return made;
  }

  addStation(station: Station): number {
    this.stations.push(station);
    return this.stations.length - 1;
  }

  #addPort(owner: number, nic: number): number {
    this.#owner.push(owner);
    this.#nic.push(nic);
    this.#peer.push(-1);
    this.#lastUs.push(0);
    return this.#owner.length - 1;
  }

  /** Plugs a host's NIC into a switch; gives the host's port number. */
  plug(station: number, nic: number, mac: Mac, into: Switch, options = plainCable, port?: SwitchPort): number {
    const near = this.#addPort(station, nic);
    const far = this.#addPort(-1 - into.index, -1);
    into.addPort(far, port ?? { kind: "access", vlan: 1 });
    this.#connect(near, far, options);
    const id = this.macs.idOf(mac);
    const homes = this.#homes[id];
    if (homes) homes.push(far);
    else this.#homes[id] = [far];
    return near;
  }

  /** Cables two switches together: all VLANs, tagged. */
  trunk(a: Switch, b: Switch, options = plainCable): Cable {
    const near = this.#addPort(-1 - a.index, -1);
    const far = this.#addPort(-1 - b.index, -1);
    a.addPort(near, { kind: "trunk" });
    b.addPort(far, { kind: "trunk" });
    return this.#connect(near, far, options);
  }

  #connect(a: number, b: number, options: CableOptions): Cable {
    const cable: Cable = { options, faulty: isFaulty(options), up: true };
    this.#peer[a] = b;
    this.#peer[b] = a;
    this.#cable[a] = cable;
    this.#cable[b] = cable;
    return cable;
  }

  cableOf(port: number): Cable {
    return this.#cable[port] as Cable;
  }

  setCable(cable: Cable, options: CableOptions): void {
    cable.options = options;
    cable.faulty = isFaulty(options);
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
        const other = -1 - (this.#owner[this.#peer[port] as number] as number);
        if (port > (this.#peer[port] as number)) continue;
        const [a, b] = [find(one.index), find(other)];
        if (a === b)
          said.push(
            `the switches ${one.name} and ${this.switches[other]?.name} form a loop: a broadcast would go round for ever; take one cable between them away`,
          );
        root[a] = b;
      }
    const wired = new Set(this.#owner);
    for (const [i, station] of this.stations.entries())
      if (!wired.has(i)) said.push(`${station.name} is not plugged into any switch`);
    return said;
  }

  nextSerial(): number {
    return ++this.#serial;
  }

  /** Puts a frame on the cable at `port`. */
  transmit(port: number, frame: Frame): void {
    const cable = this.#cable[port] as Cable;
    if (!cable.up) {
      this.dropped++;
      return;
    }
    const { options } = cable;
    const fromHost = (this.#owner[port] as number) >= 0;
    let at = this.nowUs + options.delayUs;
    if (fromHost) {
      if (options.jitterUs > 0) at += hash32(this.seed, frame.serial, port) % (options.jitterUs + 1);
      const last = this.#lastUs[port] as number;
      if (at < last) at = last;
      else this.#lastUs[port] = at;
    }
    if (cable.faulty || (frame.body.kind === "ip" && frame.body.lengthOctets > options.mtuOctets)) {
      this.#transmitFaulty(port, frame, options, at);
      return;
    }
    this.#queue.push(at, ARRIVE, this.#peer[port] as number, frame);
  }

  #transmitFaulty(port: number, frame: Frame, options: CableOptions, at: number): void {
    const happens = (salt: number, perMillion: number): boolean =>
      perMillion > 0 && hash32(this.seed ^ salt, frame.serial, port) % 1_000_000 < perMillion;
    const length = frame.body.kind === "ip" ? frame.body.lengthOctets : 28;
    if (length > options.mtuOctets || happens(lossSalt, options.lossPpm)) {
      this.dropped++;
      return;
    }
    const peer = this.#peer[port] as number;
    const late = happens(reorderSalt, options.reorderPpm) ? options.reorderUs : 0;
    this.#queue.push(at + late, ARRIVE, peer, frame);
    if (happens(duplicateSalt, options.duplicatePpm)) this.#queue.push(at + late + 1, ARRIVE, peer, frame);
  }

  /** Calls the station's `timer` with the item at that time. */
  wake(station: number, atUs: number, item: unknown): void {
    this.#queue.push(atUs, TIMER, station, item);
  }

  /** Calls the function at that time: what tools, faults and checks do to the LAN. */
  at(atUs: number, call: () => void): void {
    this.#queue.push(Math.max(atUs, this.nowUs), CALL, 0, call);
  }

  /** Lets time pass up to and including `untilUs`; `stop` is asked after each event. */
  run(untilUs: number, stop?: () => boolean): void {
    const queue = this.#queue;
    while (queue.pop(untilUs)) {
      this.nowUs = queue.timeUs;
      this.events++;
      const { kind, place, item } = queue;
      if (kind === ARRIVE) this.#arrive(place, item as Frame);
      else if (kind === TIMER) (this.stations[place] as Station).timer(item);
      else (item as () => void)();
      if (stop?.()) return;
    }
    this.nowUs = Math.max(this.nowUs, untilUs);
  }

  #arrive(port: number, frame: Frame): void {
    const owner = this.#owner[port] as number;
    if (owner >= 0) {
      (this.stations[owner] as Station).frameIn(this.#nic[port] as number, frame);
      return;
    }
    const at = this.switches[-1 - owner] as Switch;
    this.frames++;
    if (this.taps.length > 0) {
      const sender = this.#owner[this.#peer[port] as number] as number;
      if (sender >= 0) for (const tap of this.taps) tap(this.nowUs, (this.stations[sender] as Station).name, frame);
    }
    const vlan = at.vlanOf(port, frame);
    if (vlan < 0) return;
    const out = at.place(port, frame, vlan, this.nowUs, this.macs);
    if (out === -2) return;
    if (out >= 0) {
      if (at.carries(out, vlan)) this.transmit(out, this.#tagged(at, out, vlan, frame));
      return;
    }
    for (const to of this.#floodTo(at, frame))
      if (to !== port && at.carries(to, vlan)) this.transmit(to, this.#tagged(at, to, vlan, frame));
  }

  #tagged(at: Switch, port: number, vlan: number, frame: Frame): Frame {
    const tag = at.tagFor(port, vlan);
    return tag === frame.vlan ? frame : { ...frame, vlan: tag };
  }

  /** All ports, or those behind which somebody may do something with the frame. In the order of the ports. */
  #floodTo(at: Switch, frame: Frame): readonly number[] {
    const { body } = frame;
    if (this.#exhaustive || (frame.to === BROADCAST_ID && body.kind !== "arp")) return at.ports;
    const chosen = [...at.trunks];
    if (frame.to !== BROADCAST_ID) {
      // a card takes no frame for another card (C-ALL-01)
      for (const port of this.#homes[frame.to] ?? []) if (this.#owner[port] === -1 - at.index) chosen.push(port);
    } else if (body.kind === "arp") {
      const interest = this.#interests[at.index];
      if (interest) {
        for (const port of interest.everything) chosen.push(port);
        interest.byTarget.addTo(body.targetIp, chosen);
        interest.bySender.addTo(body.senderIp, chosen);
      }
    }
    if (chosen.length < 2) return chosen;
    chosen.sort((a, b) => a - b);
    return chosen.filter((port, i) => port !== chosen[i - 1]);
  }

  /** Says anew what the host at `port` wants to hear of ARP broadcasts. */
  interest(port: number, wants: Interest): void {
    const far = this.#peer[port] as number;
    const index = this.#interests[-1 - (this.#owner[far] as number)];
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
    const far = this.#peer[port] as number;
    const index = this.#interests[-1 - (this.#owner[far] as number)];
    if (!index) return;
    if (known) index.bySender.add(ip, far);
    else index.bySender.remove(ip, far);
  }

  /** Name of the host whose NIC has that MAC; undefined: nobody's. */
  ownerOfMac(mac: MacId): string | undefined {
    const [far] = this.#homes[mac] ?? [];
    if (far === undefined) return undefined;
    return this.stations[this.#owner[this.#peer[far] as number] as number]?.name;
  }
}

const isFaulty = (o: CableOptions): boolean => o.lossPpm > 0 || o.duplicatePpm > 0 || o.reorderPpm > 0;

/** Ports by address. Most addresses have one port, so that one is kept bare. */
class PortIndex {
  readonly #ports = new Map<Ipv4, number | Set<number>>();

  add(ip: Ipv4, port: number): void {
    const known = this.#ports.get(ip);
    if (known === undefined) this.#ports.set(ip, port);
    else if (typeof known !== "number") known.add(port);
    else if (known !== port) this.#ports.set(ip, new Set([known, port]));
  }

  remove(ip: Ipv4, port: number): void {
    const known = this.#ports.get(ip);
    if (typeof known === "number" ? known === port : known?.delete(port) === true && known.size === 0)
      this.#ports.delete(ip);
  }

  addTo(ip: Ipv4, list: number[]): void {
    const known = this.#ports.get(ip);
    if (typeof known === "number") list.push(known);
    else if (known !== undefined) for (const port of known) list.push(port);
  }
}
