/** Octets that a program of a simulated host sends, as the packets that the simulator passes around. */
import type { Mac } from "../base/mac.ts";
import type { Arp } from "../wire/arp.ts";
import { decodeArp } from "../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { decodeIcmp } from "../wire/icmp.ts";
import { decodeIpv4, type Ipv4Packet, PROTOCOL } from "../wire/ipv4.ts";
import { decodeTcp } from "../wire/tcp.ts";
import { decodeUdp } from "../wire/udp.ts";
import { type IpBody, nothing } from "./frame.ts";

type Inside = Partial<Pick<IpBody, "sourcePort" | "destinationPort" | "tcp" | "icmp" | "payload" | "inner">>;

function insideOf(octets: Uint8Array, ip: Ipv4Packet): Inside {
  const { payloadOffset, payloadEnd, protocol } = ip;
  const payload = octets.slice(payloadOffset, payloadEnd);
  if (protocol === PROTOCOL.tcp) {
    const read = decodeTcp(octets, ip, payloadOffset, payloadEnd);
    if (!read.ok) return { payload };
    const {
      sourcePort,
      destinationPort,
      sequence,
      acknowledgment,
      flags,
      payloadOffset: at,
      payloadEnd: end,
    } = read.value;
    const tcp = { sourcePort, destinationPort, sequence, acknowledgment, flags };
    return { sourcePort, destinationPort, tcp, payload: octets.slice(at, end) };
  }
  if (protocol === PROTOCOL.udp) {
    const read = decodeUdp(octets, ip, payloadOffset, payloadEnd);
    if (!read.ok) return { payload };
    const { sourcePort, destinationPort, payloadOffset: at, payloadEnd: end } = read.value;
    return { sourcePort, destinationPort, payload: octets.slice(at, end) };
  }
  if (protocol === PROTOCOL.icmp) {
    const read = decodeIcmp(octets, payloadOffset, payloadEnd);
    if (!read.ok) return { payload };
    return { icmp: { message: read.value.message, data: octets.slice(read.value.dataOffset, payloadEnd) } };
  }
  if (protocol === PROTOCOL.ipip) {
    const inner = packetOf(payload);
    return inner === undefined ? { payload } : { inner };
  }
  return { payload };
}

/** A whole IPv4 packet; undefined: none that could be read. What is not tcp, udp, icmp or ipip stays as payload. */
export function packetOf(octets: Uint8Array): IpBody | undefined {
  const read = decodeIpv4(octets);
  if (!read.ok) return undefined;
  const ip = read.value;
  return {
    kind: "ip",
    source: ip.source,
    destination: ip.destination,
    protocol: ip.protocol,
    ttl: ip.ttl,
    id: ip.id,
    dontFragment: ip.dontFragment,
    lengthOctets: ip.payloadEnd,
    sourcePort: 0,
    destinationPort: 0,
    tcp: undefined,
    icmp: undefined,
    payload: nothing,
    inner: undefined,
    ...insideOf(octets, ip),
  };
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
  const packet = packetOf(octets.subarray(payloadOffset));
  return packet === undefined ? undefined : { to, from, packet };
}
