import type { Ipv4 } from "../base/ipv4.ts";
import { checksum } from "./checksum.ts";
import { fault, type Read } from "./fault.ts";
import { ipv4 as address, type Decoded, layout, putU8, putU16, u8, u16 } from "./layout.ts";
import { readU8, readU16, readU32, writeU16, writeU32 } from "./octets.ts";

/** The 20 octets every IPv4 header has. RFC 791 section 3.1. */
export const ipv4Fixed = layout(
  "ipv4",
  20,
  {
    versionAndLength: u8(0),
    tos: u8(1),
    totalLength: u16(2),
    id: u16(4),
    flagsAndOffset: u16(6),
    ttl: u8(8),
    protocol: u8(9),
    checksum: u16(10),
    source: address(12),
    destination: address(16),
  },
  {
    read: (octets, at) => ({
      versionAndLength: readU8(octets, at),
      tos: readU8(octets, at + 1),
      totalLength: readU16(octets, at + 2),
      id: readU16(octets, at + 4),
      flagsAndOffset: readU16(octets, at + 6),
      ttl: readU8(octets, at + 8),
      protocol: readU8(octets, at + 9),
      checksum: readU16(octets, at + 10),
      source: readU32(octets, at + 12) as Ipv4,
      destination: readU32(octets, at + 16) as Ipv4,
    }),
    write(f, octets, at) {
      putU8(octets, at, f.versionAndLength);
      putU8(octets, at + 1, f.tos);
      putU16(octets, at + 2, f.totalLength);
      putU16(octets, at + 4, f.id);
      putU16(octets, at + 6, f.flagsAndOffset);
      putU8(octets, at + 8, f.ttl);
      putU8(octets, at + 9, f.protocol);
      putU16(octets, at + 10, f.checksum);
      writeU32(octets, at + 12, f.source);
      writeU32(octets, at + 16, f.destination);
    },
  },
);
export type Ipv4Fixed = Decoded<typeof ipv4Fixed.table>;

export const PROTOCOL = { icmp: 1, ipip: 4, tcp: 6, udp: 17, gre: 47, vrrp: 112, sctp: 132 } as const;

export interface Ipv4Packet {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  readonly ttl: number;
  readonly tos: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** Where this fragment's payload lies in the whole packet's: 0 for a first or only one, a multiple of 8. */
  readonly fragmentOffsetOctets: number;
  /** 0 to 40 octets, unread. A view, not a copy. */
  readonly options: Uint8Array;
  /** Positions in the octets given to the decoder; what lies after the end is Ethernet's padding. */
  readonly payloadOffset: number;
  readonly payloadEnd: number;
}

export interface Ipv4Reading {
  /** For the part of a packet that an ICMP error quotes: it may end early, and routers have touched its checksum. */
  readonly quoted?: boolean;
}

/**
 * Reads a header and says where the payload lies. Faults: ipv4/short, ipv4/version, ipv4/header-length,
 * ipv4/total-length, ipv4/truncated (the packet says it is longer than what is there), ipv4/checksum.
 */
export function decodeIpv4(octets: Uint8Array, offset = 0, { quoted = false }: Ipv4Reading = {}): Read<Ipv4Packet> {
  const fixed = ipv4Fixed.decode(octets, offset);
  if (!fixed.ok) return fixed;
  const f = fixed.value;
  const version = f.versionAndLength >>> 4;
  if (version !== 4) return fault("ipv4/version", `ipv4: version is ${version}`);
  const headerOctets = (f.versionAndLength & 15) * 4;
  if (headerOctets < 20) return fault("ipv4/header-length", `ipv4: header length ${headerOctets} is below 20`);
  const there = octets.length - offset;
  if (headerOctets > there) return fault("ipv4/short", `ipv4: header has ${headerOctets} octets, ${there} are there`);
  if (f.totalLength < headerOctets)
    return fault("ipv4/total-length", `ipv4: total length ${f.totalLength} is below the header's ${headerOctets}`);
  if (f.totalLength > there && !quoted)
    return fault("ipv4/truncated", `ipv4: total length ${f.totalLength}, ${there} octets are there`);
  if (!quoted && checksum(octets, offset, offset + headerOctets) !== 0)
    return fault("ipv4/checksum", `ipv4: header checksum 0x${f.checksum.toString(16)} is wrong`);
  return {
    ok: true,
    value: {
      source: f.source,
      destination: f.destination,
      protocol: f.protocol,
      ttl: f.ttl,
      tos: f.tos,
      id: f.id,
      dontFragment: (f.flagsAndOffset & 0x4000) !== 0,
      moreFragments: (f.flagsAndOffset & 0x2000) !== 0,
      fragmentOffsetOctets: (f.flagsAndOffset & 0x1fff) * 8,
      options: headerOctets === 20 ? noOptions : octets.subarray(offset + 20, offset + headerOctets),
      payloadOffset: offset + headerOctets,
      payloadEnd: offset + Math.min(f.totalLength, there),
    },
  };
}

const noOptions = new Uint8Array(0);

/** Only a first fragment holds the transport header. */
export const isFragment = (p: Ipv4Packet): boolean => p.moreFragments || p.fragmentOffsetOctets > 0;

export interface Ipv4Fields {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  /** 64 unless given. */
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  readonly fragmentOffsetOctets?: number;
  /** A multiple of 4, at most 40. */
  readonly options?: Uint8Array;
}

/** A whole packet, header checksum filled in. */
export function encodeIpv4(f: Ipv4Fields, payload: Uint8Array): Uint8Array {
  const options = f.options ?? noOptions;
  const fragmentOffsetOctets = f.fragmentOffsetOctets ?? 0;
  if (options.length > 40 || options.length % 4 !== 0) throw new RangeError(`IPv4 options of ${options.length} octets`);
  if (fragmentOffsetOctets % 8 !== 0 || fragmentOffsetOctets > 0xfff8 || fragmentOffsetOctets < 0)
    throw new RangeError(`IPv4 fragment offset ${fragmentOffsetOctets}`);
  const headerOctets = 20 + options.length;
  const packet = new Uint8Array(headerOctets + payload.length);
  const flags = (f.dontFragment ? 0x4000 : 0) | (f.moreFragments ? 0x2000 : 0);
  ipv4Fixed.encode(
    {
      versionAndLength: 0x40 | (headerOctets / 4),
      tos: f.tos ?? 0,
      totalLength: packet.length,
      id: f.id ?? 0,
      flagsAndOffset: flags | (fragmentOffsetOctets / 8),
      ttl: f.ttl ?? 64,
      protocol: f.protocol,
      checksum: 0,
      source: f.source,
      destination: f.destination,
    },
    packet,
  );
  if (options.length > 0) packet.set(options, 20);
  writeU16(packet, 10, checksum(packet, 0, headerOctets));
  packet.set(payload, headerOctets);
  return packet;
}
