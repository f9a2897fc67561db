import type { Ipv4 } from "../base/ipv4.ts";
import { ANY } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, ZERO_MAC } from "../base/mac.ts";
import { ARP_REPLY, ARP_REQUEST, type Arp, arp, decodeArp } from "./arp.ts";
import { decodeEthernet, ETHERTYPE, type Ethernet, encodeEthernet, FIRST_ETHERTYPE, type Vlan } from "./ethernet.ts";
import type { Fault } from "./fault.ts";
import { decodeIcmp, encodeIcmp, type Icmp } from "./icmp.ts";
import { DEEPEST_NESTING, decodeInner, encodeIpip } from "./ipip.ts";
import { decodeIpv4, encodeIpv4, type Ipv4Fields, type Ipv4Packet, isFragment, PROTOCOL } from "./ipv4.ts";
import { decodeTcp, encodeTcp, TCP_FLAG, type TcpFields, type TcpOptions, type TcpSegment } from "./tcp.ts";
import { decodeUdp, encodeUdp, type UdpDatagram } from "./udp.ts";

/** What lies around an ARP packet: by default the broadcast address (request) or the asker's (reply), untagged. */
interface ArpAround {
  /** The frame's destination, for asking one machine only. */
  readonly to?: Mac;
  /** The frame's source, where it is not the sender named inside. */
  readonly from?: Mac;
  readonly vlan?: Vlan;
}
export interface ArpRequest extends ArpAround {
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetIp: Ipv4;
  /** Zero unless given. */
  readonly targetMac?: Mac;
}
export interface ArpReply extends ArpAround {
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetMac: Mac;
  readonly targetIp: Ipv4;
}

function arpFrame(value: Arp, around: ArpAround, to: Mac): Uint8Array {
  const { from = value.senderMac, vlan } = around;
  const header = { destination: around.to ?? to, source: from, etherType: ETHERTYPE.arp, ...(vlan && { vlan }) };
  return encodeEthernet(header, arp.encode(value));
}

export const arpRequest = (r: ArpRequest): Uint8Array =>
  arpFrame(
    {
      operation: ARP_REQUEST,
      senderMac: r.senderMac,
      senderIp: r.senderIp,
      targetMac: r.targetMac ?? ZERO_MAC,
      targetIp: r.targetIp,
    },
    r,
    BROADCAST_MAC,
  );
export const arpReply = (r: ArpReply): Uint8Array => arpFrame({ ...r, operation: ARP_REPLY }, r, r.targetMac);
/** RFC 5227 section 1.1: a request with sender 0.0.0.0 changes nobody's neighbour cache. */
export const arpProbe = (r: Omit<ArpRequest, "senderIp">): Uint8Array => arpRequest({ ...r, senderIp: ANY });
/** Gratuitous ARP in the request form, which RFC 5227 calls an announcement. */
export const arpAnnouncement = (r: Omit<ArpRequest, "targetIp">): Uint8Array =>
  arpRequest({ ...r, targetIp: r.senderIp });

/** The two ends of one Ethernet hop. In LVS/DR `destination` is what changes, and nothing inside does. */
export interface Hop {
  readonly source: Mac;
  readonly destination: Mac;
  readonly vlan?: Vlan;
}
type Around = Omit<Ipv4Fields, "protocol">;

export const ipv4Frame = (hop: Hop, packet: Uint8Array): Uint8Array =>
  encodeEthernet({ ...hop, etherType: ETHERTYPE.ipv4 }, packet);

export const tcpPacket = (ip: Around, segment: TcpFields, payload?: Uint8Array): Uint8Array =>
  encodeIpv4({ dontFragment: true, ...ip, protocol: PROTOCOL.tcp }, encodeTcp(segment, ip, payload));
export const udpPacket = (
  ip: Around,
  ports: { readonly sourcePort: number; readonly destinationPort: number },
  payload: Uint8Array,
): Uint8Array => encodeIpv4({ ...ip, protocol: PROTOCOL.udp }, encodeUdp(ports, ip, payload));
export const icmpPacket = (ip: Around, message: Icmp, data?: Uint8Array): Uint8Array =>
  encodeIpv4({ ...ip, protocol: PROTOCOL.icmp }, encodeIcmp(message, data));

export interface SynFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly options?: TcpOptions;
}
/** The first packet of a handshake; 1460 octets of MSS unless said otherwise. */
export const tcpSynPacket = (ip: Around, syn: SynFields): Uint8Array =>
  tcpPacket(ip, { options: { mssOctets: 1460 }, ...syn, flags: TCP_FLAG.syn });

export const tcpSyn = (hop: Hop, ip: Around, syn: SynFields): Uint8Array => ipv4Frame(hop, tcpSynPacket(ip, syn));
/** `inner` is a whole IPv4 packet. */
export const ipip = (hop: Hop, outer: Around, inner: Uint8Array): Uint8Array =>
  ipv4Frame(hop, encodeIpip(outer, inner));

/** What a packet was found to carry. `quoted` is the packet an ICMP error speaks of, where it could be read. */
export type Inside =
  | { readonly kind: "arp"; readonly arp: Arp }
  | { readonly kind: "ipv4"; readonly ipv4: Ipv4Packet; readonly inside: Inside }
  | { readonly kind: "tcp"; readonly tcp: TcpSegment }
  | { readonly kind: "udp"; readonly udp: UdpDatagram }
  | { readonly kind: "icmp"; readonly icmp: Icmp; readonly quoted?: Ipv4Packet }
  /** Not the first part of a packet, so nothing more can be said. */
  | { readonly kind: "fragment" }
  /** An EtherType, IEEE 802.3 length or IP protocol that we do not look into. */
  | { readonly kind: "other"; readonly what: string; readonly number: number }
  | { readonly kind: "malformed"; readonly code: string; readonly why: string };
export interface Dissected {
  readonly ethernet?: Ethernet;
  readonly inside: Inside;
  readonly sizeOctets: number;
}

const malformed = ({ code, why }: Fault): Inside => ({ kind: "malformed", code, why });

function insideIcmp(octets: Uint8Array, packet: Ipv4Packet): Inside {
  const read = decodeIcmp(octets, packet.payloadOffset, packet.payloadEnd);
  if (!read.ok) return malformed(read);
  const { message, dataOffset } = read.value;
  if (message.kind !== "unreachable" && message.kind !== "time-exceeded") return { kind: "icmp", icmp: message };
  const quoted = decodeIpv4(octets.subarray(0, packet.payloadEnd), dataOffset, { quoted: true });
  return { kind: "icmp", icmp: message, ...(quoted.ok && { quoted: quoted.value }) };
}

function insideIpv4(octets: Uint8Array, packet: Ipv4Packet, depth: number): Inside {
  const { payloadOffset, payloadEnd, protocol } = packet;
  if (isFragment(packet)) return { kind: "fragment" };
  if (protocol === PROTOCOL.tcp) {
    const read = decodeTcp(octets, packet, payloadOffset, payloadEnd);
    return read.ok ? { kind: "tcp", tcp: read.value } : malformed(read);
  }
  if (protocol === PROTOCOL.udp) {
    const read = decodeUdp(octets, packet, payloadOffset, payloadEnd);
    return read.ok ? { kind: "udp", udp: read.value } : malformed(read);
  }
  if (protocol === PROTOCOL.icmp) return insideIcmp(octets, packet);
  if (protocol !== PROTOCOL.ipip || depth >= DEEPEST_NESTING)
    return { kind: "other", what: "ip-protocol", number: protocol };
  const read = decodeInner(octets, packet);
  if (!read.ok) return malformed(read);
  return { kind: "ipv4", ipv4: read.value, inside: insideIpv4(octets, read.value, depth + 1) };
}

/** What an IPv4 packet (no Ethernet header) holds, down to its innermost part. Never throws. */
export function dissectIpv4(octets: Uint8Array, offset = 0): Inside {
  const read = decodeIpv4(octets, offset);
  if (!read.ok) return malformed(read);
  return { kind: "ipv4", ipv4: read.value, inside: insideIpv4(octets, read.value, 0) };
}

/** What a whole Ethernet frame holds, for reports. Never throws. */
export function dissect(octets: Uint8Array): Dissected {
  const read = decodeEthernet(octets);
  if (!read.ok) return { inside: malformed(read), sizeOctets: octets.length };
  const frame = read.value;
  return { ethernet: frame, inside: insideEthernet(octets, frame), sizeOctets: octets.length };
}

function insideEthernet(octets: Uint8Array, { etherType, payloadOffset }: Ethernet): Inside {
  if (etherType === ETHERTYPE.arp) {
    const read = decodeArp(octets, payloadOffset);
    return read.ok ? { kind: "arp", arp: read.value } : malformed(read);
  }
  if (etherType === ETHERTYPE.ipv4) return dissectIpv4(octets, payloadOffset);
  return { kind: "other", what: etherType < FIRST_ETHERTYPE ? "802.3-length" : "ethertype", number: etherType };
}

/** The fault furthest inside, if there is one. */
export function faultOf(inside: Inside): { readonly code: string; readonly why: string } | undefined {
  let at = inside;
  while (at.kind === "ipv4") at = at.inside;
  return at.kind === "malformed" ? at : undefined;
}

/** Adds one to the count of a frame's fault code; a well-formed frame adds nothing. */
export function countFault(counts: Map<string, number>, frame: Dissected): void {
  const found = faultOf(frame.inside);
  if (found !== undefined) counts.set(found.code, (counts.get(found.code) ?? 0) + 1);
}
