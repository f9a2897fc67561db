import { BROADCAST_ID, type Frame, type Macs } from "./frame.ts";

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

/** MACs of one VLAN: where each was heard last, and when. Arrays by MAC number. */
class MacTable {
  #ports = new Int32Array(64).fill(-1);
  #times = new Float64Array(64);

  learn(mac: number, port: number, nowUs: number, macs: Macs): void {
    if (mac >= this.#ports.length) {
      const length = Math.max(macs.size, this.#ports.length * 2);
      const ports = new Int32Array(length).fill(-1);
      ports.set(this.#ports);
      const times = new Float64Array(length);
      times.set(this.#times);
      this.#ports = ports;
      this.#times = times;
    }
    this.#ports[mac] = port;
    this.#times[mac] = nowUs;
  }

  /** -1: not known, or too long ago. */
  portOf(mac: number, nowUs: number, ageingUs: number): number {
    if (mac >= this.#ports.length) return -1;
    const port = this.#ports[mac] as number;
    return port >= 0 && nowUs - (this.#times[mac] as number) <= ageingUs ? port : -1;
  }

  clear(): void {
    this.#ports.fill(-1);
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
  /** By LAN port number: the VLAN of an access port, 0 for a trunk, -1 for another switch's port. */
  readonly #vlans: number[] = [];
  /** What a trunk carries, where it is not all. */
  readonly #allowed = new Map<number, ReadonlySet<number>>();
  readonly #tables = new Map<number, MacTable>();
  #one: MacTable | undefined;
  #oneVlan = -1;

  constructor(name: string, index: number, options: SwitchOptions) {
    this.name = name;
    this.index = index;
    this.options = options;
  }

  addPort(port: number, kind: SwitchPort): void {
    this.ports.push(port);
    if (kind.kind === "trunk") this.trunks.push(port);
    while (this.#vlans.length <= port) this.#vlans.push(-1);
    this.#vlans[port] = kind.kind === "trunk" ? 0 : kind.vlan;
    if (kind.kind === "trunk" && kind.vlans !== undefined) this.#allowed.set(port, kind.vlans);
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
    const own = this.#vlans[port];
    if (own === undefined) return -1;
    if (own === 0) return this.#trunkCarries(port, frame.vlan) ? frame.vlan : -1;
    return frame.vlan === 0 ? own : -1;
  }

  /** True if frames of that VLAN leave by the port. */
  carries(port: number, vlan: number): boolean {
    const own = this.#vlans[port];
    return own === vlan || (own === 0 && this.#trunkCarries(port, vlan));
  }

  #trunkCarries(port: number, vlan: number): boolean {
    return this.#allowed.size === 0 || this.#allowed.get(port)?.has(vlan) !== false;
  }

  /** The tag a frame of `vlan` has when it leaves by `port`. */
  tagFor(port: number, vlan: number): number {
    return this.#vlans[port] === 0 ? vlan : 0;
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

  /** Where a MAC is, for reports; -1: not known. */
  whereIs(mac: number, vlan: number, nowUs: number): number {
    return this.#table(vlan).portOf(mac, nowUs, this.options.ageingUs);
  }

  /** As after a power cut. */
  forget(): void {
    for (const table of this.#tables.values()) table.clear();
  }
}
