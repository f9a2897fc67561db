/** The agent's packet sockets on a director's links: ARP, and the answers to checks through the VIP path. */
import { Neighbours } from "../../agent/neighbours.ts";
import type { Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import type { Cluster, Director } from "../../cluster/cluster.ts";
import { firstVipPathPort } from "../../machine/health/vipPath.ts";
import type { Arp } from "../../wire/arp.ts";
import { decodeArp } from "../../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../../wire/ethernet.ts";
import { ipv4Frame } from "../../wire/frame.ts";
import { decodeIpv4, PROTOCOL } from "../../wire/ipv4.ts";
import { readU16 } from "../../wire/octets.ts";
import { filterProgram, isAnswerTo, isArp } from "../../wire/packetFilter.ts";
import { interfaceIndex } from "../libc.ts";
import { openPacketSocket, type PacketSocket } from "../packetSocket.ts";

export interface DirectorWiresOptions {
  readonly macOf: (link: string) => Mac | undefined;
  readonly onArp: (link: string, arp: Arp) => void;
  readonly onPacket: (octets: Uint8Array, port: number | undefined, from: Mac) => void;
  readonly onError: (error: unknown) => void;
}
interface Wire {
  readonly link: string;
  readonly index: number;
  readonly mac: Mac;
  /** Own addresses on the link. */
  readonly own: readonly Ipv4[];
  readonly socket: PacketSocket;
}

export class DirectorWires {
  readonly #options: DirectorWiresOptions;
  /** Own addresses by link, whether it is there or not. */
  #wanted: ReadonlyMap<string, readonly Ipv4[]> = new Map();
  #wires = new Map<string, Wire>();
  readonly #neighbours = new Neighbours({
    macOf: (link) => this.#wires.get(link)?.mac,
    sendFrame: (link, frame) => this.sendFrame(link, frame),
    sendPacket: (link, hop, packet) => this.sendFrame(link, ipv4Frame(hop, packet)),
  });

  constructor(options: DirectorWiresOptions) {
    this.#options = options;
  }

  /** At the start and at each reload. Errors: those of packetSocket.ts; then all is as it was before. */
  load(cluster: Cluster, director: Director): void {
    const wanted = new Map<string, Ipv4[]>();
    for (const { interface: link, address } of director.addresses)
      wanted.set(link, [...(wanted.get(link) ?? []), address]);
    const before = this.#wires;
    const next = new Map<string, Wire>();
    try {
      for (const [link, own] of wanted) {
        const known = before.get(link);
        const wire = known?.own.join() === own.join() ? known : this.#open(link, own);
        if (wire !== undefined) next.set(link, wire);
      }
    } catch (error) {
      for (const [link, wire] of next) if (before.get(link) !== wire) wire.socket.close();
      throw error;
    }
    this.#wanted = wanted;
    this.#wires = next;
    for (const [link, wire] of before) if (next.get(link) !== wire) wire.socket.close();
    this.#neighbours.load(cluster, director);
  }
  /**
   * News of a link. One that was deleted and made again has another index, and perhaps another MAC: its socket hears
   * nothing any more. One that was renamed away is another's by now.
   */
  linkIs(link: string, isUp: boolean): void {
    const own = this.#wanted.get(link);
    if (own === undefined) return;
    const wire = this.#wires.get(link);
    const index = interfaceIndex(link); // 0: there is none
    if (wire !== undefined && wire.index !== index) {
      wire.socket.close();
      this.#wires.delete(link);
    }
    if (!isUp || index === 0 || this.#wires.has(link)) return;
    const opened = this.#open(link, own);
    if (opened !== undefined) this.#wires.set(link, opened);
  }

  /** undefined: there is no such link. */
  #open(link: string, own: readonly Ipv4[]): Wire | undefined {
    const mac = this.#options.macOf(link);
    if (mac === undefined) return undefined;
    const filter = filterProgram(isArp, ...own.map((address) => isAnswerTo(address, firstVipPathPort)));
    const index = interfaceIndex(link);
    const socket = openPacketSocket({ interface: link, filter, longestFrameOctets: 256, timestamps: false });
    const wire = { link, index, mac, own, socket };
    socket.onReadable(() => {
      try {
        this.#read(wire);
      } catch (error) {
        this.#options.onError(error);
      }
    });
    return wire;
  }

  #read(wire: Wire): void {
    wire.socket.receive((frame) => {
      const outer = decodeEthernet(frame.octets);
      if (!outer.ok || outer.value.vlan !== undefined) return;
      const { etherType, payloadOffset, source } = outer.value;
      if (etherType === ETHERTYPE.arp) {
        const read = decodeArp(frame.octets, payloadOffset);
        if (!read.ok) return;
        this.#neighbours.heardArp(wire.link, read.value, performance.now());
        this.#options.onArp(wire.link, read.value);
        return;
      }
      const packet = frame.octets.slice(payloadOffset);
      const ip = decodeIpv4(packet);
      if (!ip.ok) return;
      if (ip.value.protocol === PROTOCOL.icmp) this.#options.onPacket(packet, undefined, source);
      if (ip.value.protocol !== PROTOCOL.tcp || ip.value.payloadEnd - ip.value.payloadOffset < 4) return;
      this.#options.onPacket(packet, readU16(packet, ip.value.payloadOffset + 2), source);
    }, 512);
  }

  /** To the neighbour's own MAC, at once or when it has told it. */
  toNeighbour(address: Ipv4, packet: Uint8Array): void {
    this.#neighbours.send(address, packet, performance.now());
  }

  sendFrame(link: string, frame: Uint8Array): void {
    try {
      this.#wires.get(link)?.socket.send([frame]);
    } catch (error) {
      this.#options.onError(error);
    }
  }
  close(): void {
    for (const wire of this.#wires.values()) wire.socket.close();
    this.#wires.clear();
  }
}
