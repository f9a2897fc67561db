/** What LVS/TUN puts a packet into on its way to the real server: the encapsulations of net/netfilter/ipvs/ip_vs_xmit.c. */
import { checksum } from "./checksum.ts";
import { ETHERTYPE } from "./ethernet.ts";
import { encodeIpip } from "./ipip.ts";
import { encodeIpv4, type Ipv4Fields, PROTOCOL } from "./ipv4.ts";
import { writeU8, writeU16 } from "./octets.ts";
import { encodeUdp } from "./udp.ts";

export type TunnelWay =
  | { readonly type: "ipip" }
  | { readonly type: "gre"; readonly hasChecksum: boolean }
  /** `port`: where the real server takes them; `sourcePort` is any. */
  | { readonly type: "gue"; readonly port: number; readonly sourcePort: number };

/** RFC 2784 section 2.1: flags and version, the protocol inside, and where the flag says so a checksum of all that follows. */
function greOf(inner: Uint8Array, hasChecksum: boolean): Uint8Array {
  const octets = new Uint8Array((hasChecksum ? 8 : 4) + inner.length);
  writeU16(octets, 0, hasChecksum ? 0x8000 : 0);
  writeU16(octets, 2, ETHERTYPE.ipv4);
  octets.set(inner, octets.length - inner.length);
  if (hasChecksum) writeU16(octets, 4, checksum(octets));
  return octets;
}

/** Variant 0 without options, as include/net/gue.h has it: version and length 0, the protocol inside, no flags. */
function gueOf(inner: Uint8Array): Uint8Array {
  const octets = new Uint8Array(4 + inner.length);
  writeU8(octets, 1, PROTOCOL.ipip);
  octets.set(inner, 4);
  return octets;
}

/** `inner`, a whole IPv4 packet, as payload of another. */
export function encodeTunnel(way: TunnelWay, outer: Omit<Ipv4Fields, "protocol">, inner: Uint8Array): Uint8Array {
  if (way.type === "ipip") return encodeIpip(outer, inner);
  if (way.type === "gre") return encodeIpv4({ ...outer, protocol: PROTOCOL.gre }, greOf(inner, way.hasChecksum));
  const ports = { sourcePort: way.sourcePort, destinationPort: way.port };
  return encodeIpv4({ ...outer, protocol: PROTOCOL.udp }, encodeUdp(ports, outer, gueOf(inner)));
}
