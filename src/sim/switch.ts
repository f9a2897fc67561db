import { BROADCAST_ID, type Frame, type Macs } from "./frame.ts";
import { PORT_WIDTH, type Ports, VLAN } from "./ports.ts";

/** What one switch port carries. `access`: untagged frames of one VLAN; `trunk`: tagged frames of these VLANs, or of all. */
export type SwitchPort =
  | { readonly kind: "access"; readonly vlan: number }
  | { readonly kind: "trunk"; readonly vlans?: ReadonlySet<number> | undefined };

export interface SwitchOptions {
  /** A MAC not heard for so long is forgotten; IEEE 802.1D recommends 300 s. */
  readonly ageingUs: number;
  /** Throws gratuitous ARP away, as switches with ARP inspection or a badly meant security feature do. */
  readonly dropsGratuitous: boolean;
}

export const plainSwitch: SwitchOptions = { ageingUs: 300_000_000, dropsGratuitous: false };

/** MACs of one VLAN: where each was heard last, and when, side by side. By MAC number. */
class MacTable {
  #entries = new Float64Array(128).fill(-1);

  learn(mac: number, port: number, nowUs: number, macs: Macs): void {
    if (2 * mac >= this.#entries.length) {
      const entries = new Float64Array(Math.max(2 * macs.size, this.#entries.length * 2)).fill(-1);
      entries.set(this.#entries);
      this.#entries = entries;
    }
    this.#entries[2 * mac] = port;
    this.#entries[2 * mac + 1] = nowUs;
  }

  /** -1: not known, or too long ago. */
  portOf(mac: number, nowUs: number, ageingUs: number): number {
    if (2 * mac >= this.#entries.length) return -1;
    const port = this.#entries[2 * mac] as number;
    return port >= 0 && nowUs - (this.#entries[2 * mac + 1] as number) <= ageingUs ? port : -1;
  }

  clear(): void {
    this.#entries.fill(-1);
  }

  /** Reads both ends' entries; gives the port of the second, -1: never heard. */
  touch(from: number, to: number): number {
    const entries = this.#entries;
    if (2 * from >= entries.length || 2 * to >= entries.length) return -1;
    return (entries[2 * from] as number) < 0 ? -1 : (entries[2 * to] as number);
  }
}

/** A learning switch: pure forwarding decisions; who carries the frames out is the LAN's business. */
export class Switch {
  readonly name: string;
  readonly index: number;
  options: SwitchOptions;
  /** LAN port numbers, in order. */
  readonly ports: number[] = [];
  readonly trunks: number[] = [];
  readonly #lanPorts: Ports;
  /** What a trunk carries, where it is not all. */
  readonly #allowed = new Map<number, ReadonlySet<number>>();
  readonly #tables = new Map<number, MacTable>();
  #one: MacTable | undefined;
  #oneVlan = -1;

  constructor(name: string, index: number, options: SwitchOptions, lanPorts: Ports) {
    this.name = name;
    this.index = index;
    this.options = options;
    this.#lanPorts = lanPorts;
  }

  addPort(port: number, kind: SwitchPort): void {
    this.ports.push(port);
    if (kind.kind === "trunk") this.trunks.push(port);
    this.#lanPorts.set(port, VLAN, kind.kind === "trunk" ? 0 : kind.vlan);
    if (kind.kind === "trunk" && kind.vlans !== undefined) this.#allowed.set(port, kind.vlans);
  }

  #vlanAt(port: number): number {
    return this.#lanPorts.numbers[port * PORT_WIDTH + VLAN] as number;
  }

  #table(vlan: number): MacTable {
    if (vlan === this.#oneVlan && this.#one) return this.#one;
    let table = this.#tables.get(vlan);
    if (!table) {
      table = new MacTable();
      this.#tables.set(vlan, table);
    }
    this.#one = table;
    this.#oneVlan = vlan;
    return table;
  }

  /** The VLAN a frame belongs to that came in by `port`; -1: not taken (a tag on an access port). */
  vlanOf(port: number, frame: Frame): number {
    const own = this.#vlanAt(port);
    if (own === 0) return this.#trunkCarries(port, frame.vlan) ? frame.vlan : -1;
    return frame.vlan === 0 ? own : -1;
  }

  /** True if frames of that VLAN leave by the port. */
  carries(port: number, vlan: number): boolean {
    const own = this.#vlanAt(port);
    return own === vlan || (own === 0 && this.#trunkCarries(port, vlan));
  }

  #trunkCarries(port: number, vlan: number): boolean {
    return this.#allowed.size === 0 || this.#allowed.get(port)?.has(vlan) !== false;
  }

  /** The tag a frame of `vlan` has when it leaves by `port`. */
  tagFor(port: number, vlan: number): number {
    return this.#vlanAt(port) === 0 ? vlan : 0;
  }

  /** Learns the sender and says where the frame goes: a port, -1 for all others, -2 for nowhere. */
  place(port: number, frame: Frame, vlan: number, nowUs: number, macs: Macs): number {
    if (this.options.dropsGratuitous) {
      const { body } = frame;
      if (body.kind === "arp" && body.senderIp === body.targetIp && body.senderIp !== 0) return -2;
    }
    const table = this.#table(vlan);
    table.learn(frame.from, port, nowUs, macs);
    if (frame.to === BROADCAST_ID) return -1;
    const out = table.portOf(frame.to, nowUs, this.options.ageingUs);
    return out === port ? -2 : out;
  }

  /** Any number that lies where place() and the way out look; see Lan.#fetch. */
  touch(frame: Frame): number {
    const port = this.#one?.touch(frame.from, frame.to) ?? -1;
    return port < 0 ? port : this.#vlanAt(port);
  }

  /** Where a MAC is, for reports; -1: not known. */
  whereIs(mac: number, vlan: number, nowUs: number): number {
    return this.#table(vlan).portOf(mac, nowUs, this.options.ageingUs);
  }

  /** As after a power cut. */
  forget(): void {
    for (const table of this.#tables.values()) table.clear();
  }
}
