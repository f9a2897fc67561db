import { fault, type Read } from "./fault.ts";
import { type Decoded, layout, u8, u16, u32 } from "./layout.ts";
import { readU16, readU32, writeU16, writeU32 } from "./octets.ts";
import { type Addresses, type ChecksumState, transportChecksum } from "./udp.ts";

/** The 20 octets every TCP header has. RFC 9293 section 3.1. */
export const tcpFixed = layout("tcp", 20, {
  sourcePort: u16(0),
  destinationPort: u16(2),
  sequence: u32(4),
  acknowledgment: u32(8),
  dataOffset: u8(12),
  flags: u8(13),
  window: u16(14),
  checksum: u16(16),
  urgent: u16(18),
});
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
const optionReaders: Readonly<Record<string, OptionReader>> = {
  "2/4": (o, octets, at) => {
    o.mssOctets = readU16(octets, at + 2);
  },
  "3/3": (o, octets, at) => {
    o.windowScale = Math.min(14, octets[at + 2] as number); // more than 14 is taken as 14 (RFC 7323 section 2.3)
  },
  "4/2": (o) => {
    o.sackPermitted = true;
  },
  "8/10": (o, octets, at) => {
    o.timestamp = { value: readU32(octets, at + 2), echo: readU32(octets, at + 6) };
  },
};

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
    optionReaders[`${kind}/${length}`]?.(options, octets, at);
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

function encodeOptions(o: TcpOptions): Uint8Array {
  const octets: number[] = [];
  if (o.mssOctets !== undefined) octets.push(2, 4, o.mssOctets >>> 8, o.mssOctets & 255);
  if (o.sackPermitted) octets.push(4, 2);
  if (o.timestamp !== undefined) {
    const times = new Uint8Array(8);
    writeU32(times, 0, o.timestamp.value);
    writeU32(times, 4, o.timestamp.echo);
    octets.push(8, 10, ...times);
  }
  if (o.windowScale !== undefined) octets.push(3, 3, o.windowScale);
  while (octets.length % 4 !== 0) octets.push(0);
  return Uint8Array.from(octets);
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

export function encodeTcp(f: TcpFields, addresses: Addresses, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const options = encodeOptions(f.options ?? {});
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
  octets.set(options, 20);
  octets.set(payload, headerOctets);
  writeU16(octets, 16, transportChecksum(addresses, 6, octets, 0, octets.length));
  return octets;
}
