import type { Ipv4 } from "../base/ipv4.ts";
import { finish, pseudoSum, sum16 } from "./checksum.ts";
import { fault, type Read } from "./fault.ts";
import { type Decoded, layout, u16 } from "./layout.ts";
import { writeU16 } from "./octets.ts";

/** RFC 768. `length` counts the header. */
export const udp = layout("udp", 8, { sourcePort: u16(0), destinationPort: u16(2), length: u16(4), checksum: u16(6) });
export type UdpHeader = Decoded<typeof udp.table>;

export interface Addresses {
  readonly source: Ipv4;
  readonly destination: Ipv4;
}

/**
 * A checksum is told, not refused: a frame heard on the host that sent it has its checksum still to be filled in by the
 * card (offload), so "bad" there means nothing. "absent" is UDP's 0.
 */
export type ChecksumState = "good" | "bad" | "absent";

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payloadOffset: number;
  readonly payloadEnd: number;
  readonly checksum: ChecksumState;
}

export const transportChecksum = (
  a: Addresses,
  protocol: number,
  octets: Uint8Array,
  from: number,
  end: number,
): number => finish(sum16(octets, from, end, pseudoSum(a.source, a.destination, protocol, end - from)));

/** Reads the datagram between `offset` and `end`, where IPv4's payload ends. Faults: udp/short, udp/length. */
export function decodeUdp(
  octets: Uint8Array,
  addresses: Addresses,
  offset = 0,
  end = octets.length,
): Read<UdpDatagram> {
  const there = Math.max(0, end - offset);
  if (there < 8) return fault("udp/short", `udp: needs 8 octets, ${there} are there`);
  const header = udp.decode(octets, offset);
  if (!header.ok) return header;
  const { sourcePort, destinationPort, length, checksum } = header.value;
  if (length < 8 || length > there) return fault("udp/length", `udp: length ${length}, ${there} octets are there`);
  const payloadEnd = offset + length;
  const right = checksum !== 0 && transportChecksum(addresses, 17, octets, offset, payloadEnd) === 0;
  return {
    ok: true,
    value: {
      sourcePort,
      destinationPort,
      payloadOffset: offset + 8,
      payloadEnd,
      checksum: checksum === 0 ? "absent" : right ? "good" : "bad",
    },
  };
}

export interface UdpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export function encodeUdp(f: UdpFields, addresses: Addresses, payload: Uint8Array): Uint8Array {
  const octets = new Uint8Array(8 + payload.length);
  udp.encode({ ...f, length: octets.length, checksum: 0 }, octets);
  octets.set(payload, 8);
  // A sum of 0 is sent as 0xffff, because 0 means "none" (RFC 768).
  writeU16(octets, 6, transportChecksum(addresses, 17, octets, 0, octets.length) || 0xffff);
  return octets;
}
