/** Octets that a program of a simulated host sends, as the packets that the simulator passes around. */
import type { Mac } from "../base/mac.ts";
import type { Arp } from "../wire/arp.ts";
import { decodeArp } from "../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { decodeIcmp } from "../wire/icmp.ts";
import { decodeIpv4, type Ipv4Packet, PROTOCOL } from "../wire/ipv4.ts";
import { decodeTcp } from "../wire/tcp.ts";
import { decodeUdp } from "../wire/udp.ts";
import { IpBody, nothing } from "./frame.ts";

type Inside = Partial<Pick<IpBody, "sourcePort" | "destinationPort" | "tcp" | "icmp" | "payload" | "inner">>;

const cut = (octets: Uint8Array, from: number, end: number): Uint8Array =>
  from === end ? nothing : octets.slice(from, end);

const unstamped = { value: 0, echo: 0 };
const nothingTwice = { from: 0, end: 0 };

function insideOf(octets: Uint8Array, ip: Ipv4Packet): Inside {
  const { payloadOffset, payloadEnd, protocol } = ip;
  const unread = (): Inside => ({ payload: cut(octets, payloadOffset, payloadEnd) });
  if (protocol === PROTOCOL.tcp) {
    const read = decodeTcp(octets, ip, payloadOffset, payloadEnd);
    if (!read.ok) return unread();
    const { sourcePort, destinationPort, sequence, acknowledgment, flags, options, payloadOffset: from } = read.value;
    const { value: stamp, echo } = options.timestamp ?? unstamped;
    const { from: twiceFrom, end: twiceEnd } = options.sack ?? nothingTwice;
    const numbers = { sequence, acknowledgment, flags, stamp, echo, twiceFrom, twiceEnd };
    const tcp = { sourcePort, destinationPort, ...numbers };
    return { sourcePort, destinationPort, tcp, payload: cut(octets, from, read.value.payloadEnd) };
  }
  if (protocol === PROTOCOL.udp) {
    const read = decodeUdp(octets, ip, payloadOffset, payloadEnd);
    if (!read.ok) return unread();
    const { sourcePort, destinationPort, payloadOffset: from } = read.value;
    return { sourcePort, destinationPort, payload: cut(octets, from, read.value.payloadEnd) };
  }
  if (protocol === PROTOCOL.icmp) {
    const read = decodeIcmp(octets, payloadOffset, payloadEnd);
    if (!read.ok) return unread();
    return { icmp: { message: read.value.message, data: octets.slice(read.value.dataOffset, payloadEnd) } };
  }
  if (protocol === PROTOCOL.ipip) {
    const inner = packetOf(octets.subarray(0, payloadEnd), payloadOffset);
    return inner === undefined ? unread() : { inner };
  }
  return unread();
}

/** A whole IPv4 packet; undefined: none that could be read. What is not tcp, udp, icmp or ipip stays as payload. */
export function packetOf(octets: Uint8Array, offset = 0): IpBody | undefined {
  const read = decodeIpv4(octets, offset);
  if (!read.ok) return undefined;
  const ip = read.value;
  const inside = insideOf(octets, ip);
  return new IpBody({
    source: ip.source,
    destination: ip.destination,
    protocol: ip.protocol,
    ttl: ip.ttl,
    id: ip.id,
    dontFragment: ip.dontFragment,
    lengthOctets: ip.payloadEnd - offset,
    sourcePort: inside.sourcePort,
    destinationPort: inside.destinationPort,
    tcp: inside.tcp,
    icmp: inside.icmp,
    payload: inside.payload,
    inner: inside.inner,
  });
}

/** A whole Ethernet frame with ARP or IPv4 in it. */
export function frameOf(
  octets: Uint8Array,
): { readonly to: Mac; readonly from: Mac; readonly arp?: Arp; readonly packet?: IpBody } | undefined {
  const read = decodeEthernet(octets);
  if (!read.ok) return undefined;
  const { destination: to, source: from, etherType, payloadOffset } = read.value;
  if (etherType === ETHERTYPE.arp) {
    const arp = decodeArp(octets, payloadOffset);
    return arp.ok ? { to, from, arp: arp.value } : undefined;
  }
  const packet = packetOf(octets, payloadOffset);
  return packet === undefined ? undefined : { to, from, packet };
}
