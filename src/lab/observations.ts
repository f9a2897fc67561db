/**
 * What a tap on the switch saw, counted. Pure: frames in, counts out. Every number of a lab's report that is not the
 * client's own or IPVS's comes from here.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac } from "../base/mac.ts";
import { ARP_REPLY, ARP_REQUEST, type Arp, decodeArp, isGratuitous } from "../wire/arp.ts";
import { decodeEthernet, ETHERTYPE, type Ethernet } from "../wire/ethernet.ts";
import { decodeIpv4, type Ipv4Packet, PROTOCOL } from "../wire/ipv4.ts";
import { decodeTcp, TCP_FLAG } from "../wire/tcp.ts";

/** Who is who on the wire, as the lab built it. */
export interface Cast {
  readonly vips: ReadonlySet<Ipv4>;
  /** The machine that may speak for the VIPs. */
  readonly owner: string;
  readonly client: string;
  readonly nameOfMac: ReadonlyMap<Mac, string>;
  readonly nameOfAddress: ReadonlyMap<Ipv4, string>;
}

/** One of the client's connections, by its source address and port, as its frames went over the switch. */
export interface SeenConnection {
  /** Machine that the first SYN was sent to. */
  readonly opened: string;
  /** Every machine that a frame of it was sent to, in order of the first. */
  readonly machines: readonly string[];
  readonly frames: number;
}

export interface Observed {
  readonly frames: number;
  /** Frames that could not be read, by the codec's word for it. */
  readonly malformed: Readonly<Record<string, number>>;
  /** ARP replies that name a VIP, by the machine that sent them. */
  readonly answers: Readonly<Record<string, number>>;
  /** ARP requests with a VIP as sender from machines that may not, by machine: the leak. */
  readonly leaks: Readonly<Record<string, number>>;
  /** ARP requests for a VIP. */
  readonly asked: number;
  readonly connections: ReadonlyMap<string, SeenConnection>;
  /** Frames that the owner sent on to each real server, and the SYNs among them. */
  readonly forwarded: Readonly<Record<string, { readonly packets: number; readonly connections: number }>>;
  /** Frames for a VIP that the client sent straight to a machine that is not the owner. */
  readonly bypassed: Readonly<Record<string, number>>;
  /** TCP resets in a VIP's name, by the machine that sent them. */
  readonly resets: Readonly<Record<string, number>>;
}

type Count = Record<string, number>;
const bump = (counts: Count, key: string): void => {
  counts[key] = (counts[key] ?? 0) + 1;
};

/** Counts until it is thrown away: one instance for each stretch of time that is reported on. */
export class Observations {
  readonly #cast: Cast;
  #frames = 0;
  #asked = 0;
  readonly #malformed: Count = {};
  readonly #answers: Count = {};
  readonly #leaks: Count = {};
  readonly #bypassed: Count = {};
  readonly #resets: Count = {};
  readonly #connections = new Map<string, { opened: string; machines: string[]; frames: number }>();
  readonly #forwarded: Record<string, { packets: number; connections: number }> = {};

  constructor(cast: Cast) {
    this.#cast = cast;
  }

  /** One frame as it entered the switch at the port of machine `from`. */
  frame(from: string, octets: Uint8Array): void {
    this.#frames += 1;
    const link = decodeEthernet(octets);
    if (!link.ok) {
      bump(this.#malformed, link.code);
      return;
    }
    if (link.value.etherType === ETHERTYPE.arp) {
      const arp = decodeArp(octets, link.value.payloadOffset);
      if (!arp.ok) {
        bump(this.#malformed, arp.code);
        return;
      }
      this.#arp(from, arp.value);
    } else if (link.value.etherType === ETHERTYPE.ipv4) {
      const ip = decodeIpv4(octets, link.value.payloadOffset);
      if (!ip.ok) {
        bump(this.#malformed, ip.code);
        return;
      }
      this.#ip(from, link.value, ip.value, octets);
    }
  }

  #arp(from: string, arp: Arp): void {
    const { vips, owner } = this.#cast;
    if (arp.operation === ARP_REPLY && vips.has(arp.senderIp)) bump(this.#answers, from);
    if (arp.operation !== ARP_REQUEST) return;
    if (vips.has(arp.targetIp) && !isGratuitous(arp)) this.#asked += 1;
    if (vips.has(arp.senderIp) && from !== owner) bump(this.#leaks, from);
  }

  #ip(from: string, link: Ethernet, ip: Ipv4Packet, octets: Uint8Array): void {
    const { vips, owner, client, nameOfMac, nameOfAddress } = this.#cast;
    if (ip.protocol === PROTOCOL.ipip && from === owner) {
      const inner = decodeIpv4(octets, ip.payloadOffset);
      if (!inner.ok) {
        bump(this.#malformed, inner.code);
        return;
      }
      if (vips.has(inner.value.destination))
        this.#forward(nameOfAddress.get(ip.destination) ?? "?", inner.value, octets);
      return;
    }
    if (link.destination === BROADCAST_MAC) return;
    const machine = nameOfMac.get(link.destination) ?? link.destination;
    if (from === owner && vips.has(ip.destination)) {
      this.#forward(machine, ip, octets);
      return;
    }
    if (ip.protocol !== PROTOCOL.tcp) return;
    const tcp = decodeTcp(octets, ip, ip.payloadOffset, ip.payloadEnd);
    if (!tcp.ok) {
      bump(this.#malformed, tcp.code);
      return;
    }
    const flags = tcp.value.flags;
    if (vips.has(ip.source) && (flags & TCP_FLAG.rst) !== 0) bump(this.#resets, from);
    if (!vips.has(ip.destination)) return;
    if (from !== client) return;
    if (machine !== owner) bump(this.#bypassed, machine);
    const key = `${ip.source}:${tcp.value.sourcePort}`;
    const opens = (flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    const known = this.#connections.get(key);
    if (known === undefined) {
      if (opens) this.#connections.set(key, { opened: machine, machines: [machine], frames: 1 });
      return;
    }
    known.frames += 1;
    if (!known.machines.includes(machine)) known.machines.push(machine);
  }

  /** IPVS counts whatever belongs to a connection, so ICMP errors as well (net/netfilter/ipvs/ip_vs_core.c, ip_vs_in_icmp). */
  #forward(realServer: string, ip: Ipv4Packet, octets: Uint8Array): void {
    const count = this.#forwarded[realServer] ?? { packets: 0, connections: 0 };
    count.packets += 1;
    this.#forwarded[realServer] = count;
    if (ip.protocol !== PROTOCOL.tcp) return;
    const tcp = decodeTcp(octets, ip, ip.payloadOffset, ip.payloadEnd);
    if (!tcp.ok) bump(this.#malformed, tcp.code);
    else if ((tcp.value.flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn) count.connections += 1;
  }

  /** The counts so far, a copy. */
  report(): Observed {
    return structuredClone({
      frames: this.#frames,
      malformed: this.#malformed,
      answers: this.#answers,
      leaks: this.#leaks,
      asked: this.#asked,
      connections: this.#connections,
      forwarded: this.#forwarded,
      bypassed: this.#bypassed,
      resets: this.#resets,
    });
  }
}
