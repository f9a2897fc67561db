import { fault, type Read } from "./fault.ts";
import { type Decoded, layout, putU8, putU16, putU32, u8, u16, u32 } from "./layout.ts";
import { readU8, readU16, readU32, writeU16 } from "./octets.ts";
import { type Addresses, type ChecksumState, transportChecksum } from "./udp.ts";

/** The 20 octets every TCP header has. RFC 9293 section 3.1. */
export const tcpFixed = layout(
  "tcp",
  20,
  {
    sourcePort: u16(0),
    destinationPort: u16(2),
    sequence: u32(4),
    acknowledgment: u32(8),
    dataOffset: u8(12),
    flags: u8(13),
    window: u16(14),
    checksum: u16(16),
    urgent: u16(18),
  },
  {
    read: (octets, at) => ({
      sourcePort: readU16(octets, at),
      destinationPort: readU16(octets, at + 2),
      sequence: readU32(octets, at + 4),
      acknowledgment: readU32(octets, at + 8),
      dataOffset: readU8(octets, at + 12),
      flags: readU8(octets, at + 13),
      window: readU16(octets, at + 14),
      checksum: readU16(octets, at + 16),
      urgent: readU16(octets, at + 18),
    }),
    write(f, octets, at) {
      putU16(octets, at, f.sourcePort);
      putU16(octets, at + 2, f.destinationPort);
      putU32(octets, at + 4, f.sequence);
      putU32(octets, at + 8, f.acknowledgment);
      putU8(octets, at + 12, f.dataOffset);
      putU8(octets, at + 13, f.flags);
      putU16(octets, at + 14, f.window);
      putU16(octets, at + 16, f.checksum);
      putU16(octets, at + 18, f.urgent);
    },
  },
);
export type TcpFixed = Decoded<typeof tcpFixed.table>;

export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

/** "SYN,ACK". */
export const tcpFlagNames = (flags: number): string =>
  Object.entries(TCP_FLAG)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name.toUpperCase())
    .join(",");

/** Only options we act on; what is absent, unknown or malformed is left out (RFC 9293 section 3.2, RFC 7323, RFC 2018). */
export interface TcpOptions {
  readonly mssOctets?: number;
  /** A shift count, 0 to 14. */
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  readonly timestamp?: { readonly value: number; readonly echo: number };
  /** The first block of a SACK option. */
  readonly sack?: { readonly from: number; readonly end: number };
}

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  readonly window: number;
  readonly options: TcpOptions;
  readonly payloadOffset: number;
  readonly payloadEnd: number;
  readonly checksum: Exclude<ChecksumState, "absent">;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type OptionReader = (o: Writable<TcpOptions>, octets: Uint8Array, at: number) => void;

/** By kind and whole length, so that an option of another length is as unknown as one of another kind. */
const optionKey = (kind: number, lengthOctets: number): number => kind * 256 + lengthOctets;
const optionReaders: ReadonlyMap<number, OptionReader> = new Map<number, OptionReader>([
  [
    optionKey(2, 4),
    (o, octets, at) => {
      o.mssOctets = readU16(octets, at + 2);
    },
  ],
  [
    optionKey(3, 3),
    (o, octets, at) => {
      o.windowScale = Math.min(14, octets[at + 2] as number); // more than 14 is taken as 14 (RFC 7323 section 2.3)
    },
  ],
  [
    optionKey(4, 2),
    (o) => {
      o.sackPermitted = true;
    },
  ],
  [
    optionKey(8, 10),
    (o, octets, at) => {
      o.timestamp = { value: readU32(octets, at + 2), echo: readU32(octets, at + 6) };
    },
  ],
  ...[1, 2, 3, 4].map((blocks): [number, OptionReader] => [
    optionKey(5, 2 + 8 * blocks),
    (o, octets, at) => {
      o.sack = { from: readU32(octets, at + 2), end: readU32(octets, at + 6) };
    },
  ]),
]);

function decodeOptions(octets: Uint8Array, from: number, end: number): TcpOptions {
  const options: Writable<TcpOptions> = {};
  let at = from;
  while (at < end) {
    const kind = octets[at] as number;
    if (kind === 0) break;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = at + 1 < end ? (octets[at + 1] as number) : 0;
    if (length < 2 || at + length > end) break; // the rest cannot be told apart
    optionReaders.get(optionKey(kind, length))?.(options, octets, at);
    at += length;
  }
  return options;
}

/** Reads the segment between `offset` and `end`, where IPv4's payload ends. Faults: tcp/short, tcp/header-length. */
export function decodeTcp(octets: Uint8Array, addresses: Addresses, offset = 0, end = octets.length): Read<TcpSegment> {
  const there = Math.max(0, end - offset);
  if (there < 20) return fault("tcp/short", `tcp: needs 20 octets, ${there} are there`);
  const fixed = tcpFixed.decode(octets, offset);
  if (!fixed.ok) return fixed;
  const { sourcePort, destinationPort, sequence, acknowledgment, flags, window } = fixed.value;
  const headerOctets = (fixed.value.dataOffset >>> 4) * 4;
  if (headerOctets < 20 || headerOctets > there)
    return fault("tcp/header-length", `tcp: header length ${headerOctets}, ${there} octets are there`);
  const payloadOffset = offset + headerOctets;
  const options = decodeOptions(octets, offset + 20, payloadOffset);
  const checksum = transportChecksum(addresses, 6, octets, offset, end) === 0 ? "good" : "bad";
  return {
    ok: true,
    value: {
      sourcePort,
      destinationPort,
      sequence,
      acknowledgment,
      flags,
      window,
      options,
      payloadOffset,
      payloadEnd: end,
      checksum,
    },
  };
}

const noOptions: readonly number[] = [];
const nothing = new Uint8Array(0);

function encodeOptions(o: TcpOptions): readonly number[] {
  const octets: number[] = [];
  if (o.mssOctets !== undefined) octets.push(2, 4, o.mssOctets >>> 8, o.mssOctets & 255);
  if (o.sackPermitted) octets.push(4, 2);
  const pair = (kind: number, ...numbers: readonly [number, number]): void => {
    octets.push(kind, 10);
    for (const n of numbers) octets.push(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
  };
  if (o.timestamp !== undefined) pair(8, o.timestamp.value, o.timestamp.echo);
  if (o.sack !== undefined) pair(5, o.sack.from, o.sack.end);
  if (o.windowScale !== undefined) octets.push(3, 3, o.windowScale);
  while (octets.length % 4 !== 0) octets.push(0);
  return octets;
}

export interface TcpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment?: number;
  /** Bits of TCP_FLAG. */
  readonly flags: number;
  /** 65535 unless given. */
  readonly window?: number;
  readonly options?: TcpOptions;
}

export function encodeTcp(f: TcpFields, addresses: Addresses, payload: Uint8Array = nothing): Uint8Array {
  const options = f.options === undefined ? noOptions : encodeOptions(f.options);
  const headerOctets = 20 + options.length;
  const octets = new Uint8Array(headerOctets + payload.length);
  tcpFixed.encode(
    {
      sourcePort: f.sourcePort,
      destinationPort: f.destinationPort,
      sequence: f.sequence,
      acknowledgment: f.acknowledgment ?? 0,
      dataOffset: headerOctets << 2,
      flags: f.flags,
      window: f.window ?? 0xffff,
      checksum: 0,
      urgent: 0,
    },
    octets,
  );
  for (let i = 0; i < options.length; i++) octets[20 + i] = options[i] as number;
  if (payload.length > 0) octets.set(payload, headerOctets);
  writeU16(octets, 16, transportChecksum(addresses, 6, octets, 0, octets.length));
  return octets;
}
