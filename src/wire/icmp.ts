import { checksum } from "./checksum.ts";
import { fault, type Read } from "./fault.ts";
import { type Decoded, layout, u8, u16 } from "./layout.ts";
import { writeU16 } from "./octets.ts";

/** Every ICMP message begins so; what the last four octets mean is the type's business. RFC 792, RFC 1191. */
export const icmpHeader = layout("icmp", 8, { type: u8(0), code: u8(1), checksum: u16(2), high: u16(4), low: u16(6) });
export type IcmpHeader = Decoded<typeof icmpHeader.table>;

export const UNREACHABLE = {
  net: 0,
  host: 1,
  protocol: 2,
  port: 3,
  fragmentationNeeded: 4,
  adminProhibited: 13,
} as const;

const TYPE = { echoReply: 0, unreachable: 3, echoRequest: 8, timeExceeded: 11 } as const;

export type Icmp =
  | { readonly kind: "echo-request" | "echo-reply"; readonly id: number; readonly sequence: number }
  /** `mtuOctets` only with code 4; 0 is what routers from before RFC 1191 say. */
  | { readonly kind: "unreachable"; readonly code: number; readonly mtuOctets?: number }
  | { readonly kind: "time-exceeded"; readonly code: number }
  | {
      readonly kind: "other";
      readonly type: number;
      readonly code: number;
      readonly high: number;
      readonly low: number;
    };

export interface IcmpMessage {
  readonly message: Icmp;
  /** The echoed data, or the quoted packet (which may end early), up to the end given to the decoder. */
  readonly dataOffset: number;
}

function meaning({ type, code, high, low }: IcmpHeader): Icmp {
  if (type === TYPE.echoRequest) return { kind: "echo-request", id: high, sequence: low };
  if (type === TYPE.echoReply) return { kind: "echo-reply", id: high, sequence: low };
  if (type === TYPE.timeExceeded) return { kind: "time-exceeded", code };
  if (type !== TYPE.unreachable) return { kind: "other", type, code, high, low };
  return code === UNREACHABLE.fragmentationNeeded
    ? { kind: "unreachable", code, mtuOctets: low }
    : { kind: "unreachable", code };
}

/** Reads the message between `offset` and `end`. Faults: icmp/short, icmp/checksum. */
export function decodeIcmp(octets: Uint8Array, offset = 0, end = octets.length): Read<IcmpMessage> {
  if (end - offset < 8) return fault("icmp/short", `icmp: needs 8 octets, ${Math.max(0, end - offset)} are there`);
  const header = icmpHeader.decode(octets, offset);
  if (!header.ok) return header;
  if (checksum(octets, offset, end) !== 0)
    return fault("icmp/checksum", `icmp: checksum 0x${header.value.checksum.toString(16)} is wrong`);
  return { ok: true, value: { message: meaning(header.value), dataOffset: offset + 8 } };
}

function headerOf(m: Icmp): Omit<IcmpHeader, "checksum"> {
  switch (m.kind) {
    case "echo-request":
      return { type: TYPE.echoRequest, code: 0, high: m.id, low: m.sequence };
    case "echo-reply":
      return { type: TYPE.echoReply, code: 0, high: m.id, low: m.sequence };
    case "unreachable":
      return { type: TYPE.unreachable, code: m.code, high: 0, low: m.mtuOctets ?? 0 };
    case "time-exceeded":
      return { type: TYPE.timeExceeded, code: m.code, high: 0, low: 0 };
    case "other":
      return { type: m.type, code: m.code, high: m.high, low: m.low };
  }
}

/** `data` is what to echo, or the quoted packet: its header and at least 8 octets after it. */
export function encodeIcmp(message: Icmp, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const octets = new Uint8Array(8 + data.length);
  icmpHeader.encode({ ...headerOf(message), checksum: 0 }, octets);
  octets.set(data, 8);
  writeU16(octets, 2, checksum(octets));
  return octets;
}
