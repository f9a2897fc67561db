/**
 * Frames as the simulated machines pass them around: read already, so that nobody parses octets a million times. What
 * a tap or a pcap file sees are the octets, made by the codecs of wire/ and nothing else.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac } from "../base/mac.ts";
import { arp } from "../wire/arp.ts";
import { ETHERTYPE, encodeEthernet } from "../wire/ethernet.ts";
import { encodeIcmp, type Icmp } from "../wire/icmp.ts";
import { encodeIpv4, PROTOCOL } from "../wire/ipv4.ts";
import { encodeTcp, TCP_FLAG, type TcpOptions } from "../wire/tcp.ts";
import { encodeUdp } from "../wire/udp.ts";

/** Number of a MAC in one simulation (`Macs`); 0 is the broadcast address. */
export type MacId = number;
export const BROADCAST_ID: MacId = 0;

/** MACs as small numbers, for tables that are arrays. */
export class Macs {
  readonly #ids = new Map<Mac, MacId>([[BROADCAST_MAC, BROADCAST_ID]]);
  readonly #names: Mac[] = [BROADCAST_MAC];

  idOf(mac: Mac): MacId {
    const known = this.#ids.get(mac);
    if (known !== undefined) return known;
    const id = this.#names.length;
    this.#names.push(mac);
    this.#ids.set(mac, id);
    return id;
  }

  nameOf(id: MacId): Mac {
    return this.#names[id] as Mac;
  }

  get size(): number {
    return this.#names.length;
  }
}

export interface ArpBody {
  readonly kind: "arp";
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetMac: Mac;
  readonly targetIp: Ipv4;
}

export interface TcpBody {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  /** The timestamp option; 0: none. */
  readonly stamp: number;
  readonly echo: number;
  /** Where what it heard twice begins and ends (D-SACK, RFC 2883); equal: nothing. */
  readonly twiceFrom: number;
  readonly twiceEnd: number;
}

/** `quoted` is the packet an error speaks of. */
export interface IcmpBody {
  readonly message: Icmp;
  readonly data: Uint8Array;
  readonly quoted?: IpBody;
}

/** What a packet is made of; the rest is 0, undefined or empty. */
interface IpFields {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly ttl?: number;
  readonly id: number;
  readonly dontFragment?: boolean;
  readonly lengthOctets: number;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  readonly tcp?: TcpBody | undefined;
  readonly icmp?: IcmpBody | undefined;
  readonly payload?: Uint8Array | undefined;
  readonly inner?: IpBody | undefined;
}

/**
 * Packets and frames are classes, as with thousands of them on cables most outlive a collection of young objects: the
 * engine would then make those of literals old from birth, and the heap grow with every one.
 */
export class IpBody {
  readonly kind = "ip";
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly ttl: number;
  readonly id: number;
  readonly dontFragment: boolean;
  /** Of the whole packet, header included. */
  readonly lengthOctets: number;
  /** 0 where the protocol has no ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly tcp: TcpBody | undefined;
  readonly icmp: IcmpBody | undefined;
  /** What TCP or UDP carries. */
  readonly payload: Uint8Array;
  /** IPIP: what is inside. */
  readonly inner: IpBody | undefined;

  constructor(fields: IpFields, ttl = fields.ttl ?? 64) {
    this.source = fields.source;
    this.destination = fields.destination;
    this.protocol = fields.protocol;
    this.ttl = ttl;
    this.id = fields.id & 0xffff;
    this.dontFragment = fields.dontFragment ?? false;
    this.lengthOctets = fields.lengthOctets;
    this.sourcePort = fields.sourcePort ?? 0;
    this.destinationPort = fields.destinationPort ?? 0;
    this.tcp = fields.tcp;
    this.icmp = fields.icmp;
    this.payload = fields.payload ?? nothing;
    this.inner = fields.inner;
  }
}

export class Frame {
  readonly to: MacId;
  readonly from: MacId;
  /** 802.1Q id; 0: untagged. */
  readonly vlan: number;
  /** Number of the transmission: all copies that switches make of it have the same, what a cable doubles another. */
  readonly serial: number;
  readonly body: ArpBody | IpBody;

  constructor(to: MacId, from: MacId, vlan: number, serial: number, body: ArpBody | IpBody) {
    this.to = to;
    this.from = from;
    this.vlan = vlan;
    this.serial = serial;
    this.body = body;
  }
}

export const nothing: Uint8Array = new Uint8Array(0);

/** What a SYN says, or a segment that is none. */
const tcpOptions = ({ flags, stamp, echo, twiceFrom, twiceEnd }: TcpBody): TcpOptions => ({
  ...((flags & TCP_FLAG.syn) === 0 ? {} : { mssOctets: 1460, sackPermitted: stamp !== 0 }),
  ...(stamp === 0 ? {} : { timestamp: { value: stamp, echo } }),
  ...(twiceFrom === twiceEnd ? {} : { sack: { from: twiceFrom, end: twiceEnd } }),
});
/** Of the above, padded to whole words. */
const tcpOptionOctets = ({ flags, stamp, twiceFrom, twiceEnd }: TcpBody): number => {
  const ofStamp = stamp === 0 ? 0 : 10;
  if ((flags & TCP_FLAG.syn) !== 0) return ofStamp === 0 ? 4 : 16;
  return (ofStamp + (twiceFrom === twiceEnd ? 0 : 10) + 3) & ~3;
};

function payloadOf(ip: IpBody): Uint8Array {
  if (ip.tcp !== undefined) {
    const { sourcePort, destinationPort, sequence, acknowledgment, flags } = ip.tcp;
    const fields = { sourcePort, destinationPort, sequence, acknowledgment, flags, options: tcpOptions(ip.tcp) };
    return encodeTcp(fields, ip, ip.payload);
  }
  if (ip.inner !== undefined) return encodePacket(ip.inner);
  if (ip.icmp !== undefined) {
    const { message, quoted, data } = ip.icmp;
    return encodeIcmp(message, quoted === undefined ? data : encodePacket(quoted).subarray(0, 28));
  }
  if (ip.protocol === PROTOCOL.udp) return encodeUdp(ip, ip, ip.payload);
  return ip.payload;
}

/** The packet's octets, IPv4 header first. */
export const encodePacket = (ip: IpBody): Uint8Array => encodeIpv4(ip, payloadOf(ip));

/** The frame's octets as they are on the wire. */
export function encodeFrame(frame: Frame, macs: Macs): Uint8Array {
  const header = {
    destination: macs.nameOf(frame.to),
    source: macs.nameOf(frame.from),
    ...(frame.vlan === 0 ? {} : { vlan: { id: frame.vlan, priority: 0 } }),
  };
  const { body } = frame;
  return body.kind === "arp"
    ? encodeEthernet({ ...header, etherType: ETHERTYPE.arp }, arp.encode(body))
    : encodeEthernet({ ...header, etherType: ETHERTYPE.ipv4 }, encodePacket(body));
}

/** Octets of the frame on the wire, without making them. */
export const frameOctets = (frame: Frame): number =>
  14 + (frame.vlan === 0 ? 0 : 4) + (frame.body.kind === "arp" ? 28 : frame.body.lengthOctets);

type Ends = { readonly source: Ipv4; readonly destination: Ipv4; readonly id: number };

export const tcpPacket = ({ source, destination, id }: Ends, tcp: TcpBody, payload: Uint8Array = nothing): IpBody =>
  new IpBody({
    source,
    destination,
    protocol: PROTOCOL.tcp,
    id,
    dontFragment: true,
    lengthOctets: 40 + tcpOptionOctets(tcp) + payload.length,
    sourcePort: tcp.sourcePort,
    destinationPort: tcp.destinationPort,
    tcp,
    payload,
  });

export const udpPacket = (
  { source, destination, id }: Ends,
  sourcePort: number,
  destinationPort: number,
  payload: Uint8Array,
): IpBody =>
  new IpBody({
    source,
    destination,
    protocol: PROTOCOL.udp,
    id,
    lengthOctets: 28 + payload.length,
    sourcePort,
    destinationPort,
    payload,
  });

export const icmpPacket = (ends: Ends, message: Icmp, data: Uint8Array = nothing): IpBody =>
  new IpBody({ ...ends, protocol: PROTOCOL.icmp, lengthOctets: 28 + data.length, icmp: { message, data } });

/** An ICMP error quotes the header it speaks of and eight octets after it (RFC 792). */
export const icmpError = (ends: Ends, message: Icmp, quoted: IpBody): IpBody =>
  new IpBody({
    ...ends,
    protocol: PROTOCOL.icmp,
    lengthOctets: 28 + Math.min(28, quoted.lengthOctets),
    icmp: { message, data: nothing, quoted },
  });

export const ipipPacket = (ends: Ends, inner: IpBody): IpBody =>
  new IpBody({
    ...ends,
    protocol: PROTOCOL.ipip,
    ttl: inner.ttl,
    dontFragment: inner.dontFragment,
    lengthOctets: 20 + inner.lengthOctets,
    inner,
  });

/** The same packet one hop further. */
export const hopped = (ip: IpBody): IpBody => new IpBody(ip, ip.ttl - 1);
