import { ANY } from "../base/ipv4.ts";
import type { Read } from "./fault.ts";
import { type Decoded, ipv4, layout, mac, u8, u16 } from "./layout.ts";

/** ARP for IPv4 over Ethernet: 28 octets, big-endian. A second argument is the only value accepted. RFC 826. */
export const arp = layout("arp", 28, {
  hardwareType: u16(0, 1),
  protocolType: u16(2, 0x0800),
  hardwareSize: u8(4, 6),
  protocolSize: u8(5, 4),
  operation: u16(6), // any value: an unknown operation is the model's business, not the codec's
  senderMac: mac(8),
  senderIp: ipv4(14),
  targetMac: mac(18),
  targetIp: ipv4(24),
});
export type Arp = Decoded<typeof arp.table>;

export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

/** Octets after the 28 are Ethernet's padding and ignored. Faults: arp/hardware-type, /protocol-type, /…-size, /short. */
export const decodeArp = (octets: Uint8Array, offset = 0): Read<Arp> => arp.decode(octets, offset);

/** "Is this address taken?": a request with no sender address (RFC 5227 section 2.1.1). */
export const isArpProbe = (a: Arp): boolean => a.operation === ARP_REQUEST && a.senderIp === ANY;

/** Request or reply that asks for, or answers with, its own sender address (RFC 5227 section 3, RFC 2002 section 4.6). */
export const isGratuitous = (a: Arp): boolean => a.senderIp === a.targetIp && a.senderIp !== ANY;
