import { fault, type Read } from "./fault.ts";
import { decodeIpv4, encodeIpv4, type Ipv4Fields, type Ipv4Packet, isFragment, PROTOCOL } from "./ipv4.ts";

/** Packets inside packets that we are ready to look through; LVS/TUN needs one. */
export const DEEPEST_NESTING = 4;

/** An IPv4 packet as payload of another (RFC 2003), as LVS/TUN sends it: outer from DIP to RIP, inner for the VIP. */
export function encodeIpip(outer: Omit<Ipv4Fields, "protocol">, inner: Uint8Array): Uint8Array {
  return encodeIpv4({ ...outer, protocol: PROTOCOL.ipip }, inner);
}

/** The packet inside `outer`, which was read from these octets. Faults: ipip/not-ipip, ipip/fragment, and IPv4's own. */
export function decodeInner(octets: Uint8Array, outer: Ipv4Packet): Read<Ipv4Packet> {
  if (outer.protocol !== PROTOCOL.ipip) return fault("ipip/not-ipip", `ipip: the protocol is ${outer.protocol}, not 4`);
  if (isFragment(outer)) return fault("ipip/fragment", "ipip: the outer packet is a fragment");
  return decodeIpv4(octets.subarray(0, outer.payloadEnd), outer.payloadOffset);
}
