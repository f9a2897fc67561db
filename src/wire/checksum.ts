import type { Ipv4 } from "../base/ipv4.ts";
import { readU16 } from "./octets.ts";

/**
 * Adds octets to a running one's-complement sum (RFC 1071), 16 bits at a time; an odd last octet is padded with zero.
 * Several parts may be summed one after the other as long as every part but the last is even. `end` is exclusive.
 * The running sum stays below 2^53 for anything shorter than 2^37 octets.
 */
export function sum16(octets: Uint8Array, from = 0, end = octets.length, start = 0): number {
  let sum = start;
  const even = from + ((end - from) & ~1);
  for (let at = from; at < even; at += 2) sum += readU16(octets, at);
  if (even < end) sum += (octets[even] as number) << 8;
  return sum;
}

/** A running sum folded to 16 bits, complemented: what is written into a checksum field. */
export function finish(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** Internet checksum (RFC 1071). Over octets that hold a right checksum it gives 0. */
export const checksum = (octets: Uint8Array, from = 0, end = octets.length, start = 0): number =>
  finish(sum16(octets, from, end, start));

/** Running sum of the IPv4 pseudo header that TCP and UDP count in (RFC 9293 section 3.1, RFC 768). */
export const pseudoSum = (source: Ipv4, destination: Ipv4, protocol: number, lengthOctets: number): number =>
  (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + lengthOctets;

/** The checksum after one 16-bit word of what it covers changed from `before` to `after` (RFC 1624 equation 3). */
export const updated = (old: number, before: number, after: number): number =>
  finish((~old & 0xffff) + (~before & 0xffff) + after);
