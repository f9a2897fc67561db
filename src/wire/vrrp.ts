/**
 * VRRP for IPv4: version 3 (RFC 9568, which obsoletes RFC 5798) and version 2 (RFC 3768, and the password of RFC 2338
 * that old peers still send). Says whether octets are an advertisement; whose it is and what to do is machine/vrrp.ts.
 */
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import { finish, pseudoSum, sum16 } from "./checksum.ts";
import { fault, type Read } from "./fault.ts";
import { encodeIpv4, PROTOCOL } from "./ipv4.ts";
import { type Decoded, layout, u8, u16 } from "./layout.ts";
import { readU32, writeU16, writeU32 } from "./octets.ts";

/** RFC 9568 section 5.1.1.2. */
export const VRRP_GROUP: Ipv4 = ipv4("224.0.0.18");
export const VRRP_GROUP_MAC: Mac = mac("01:00:5e:00:00:12");
/** Sent, and the only one accepted from a multicast: a packet that was routed shows it (RFC 9568 section 5.1.1.3). */
export const VRRP_TTL = 255;
/** Network control (class selector 6), as keepalived marks its own. */
export const VRRP_TOS = 0xc0;

/** RFC 3768 section 5.1. `interval` is in seconds; eight octets of authentication follow the addresses. */
export const vrrp2 = layout("vrrp2", 8, {
  versionAndType: u8(0),
  vrid: u8(1),
  priority: u8(2),
  count: u8(3),
  authentication: u8(4),
  interval: u8(5),
  checksum: u16(6),
});
export type Vrrp2 = Decoded<typeof vrrp2.table>;

/** RFC 9568 section 5.2. The interval is the lower 12 bits, in centiseconds; the four above are reserved. */
export const vrrp3 = layout("vrrp3", 8, {
  versionAndType: u8(0),
  vrid: u8(1),
  priority: u8(2),
  count: u8(3),
  reservedAndInterval: u16(4),
  checksum: u16(6),
});
export type Vrrp3 = Decoded<typeof vrrp3.table>;

const ADVERTISEMENT = 1;
const AUTHENTICATION = { none: 0, simple: 1 } as const;
const AUTHENTICATION_OCTETS = 8;

/** What one version's numbers mean in time, and how far they go. RFC 3768 section 5.3.7, RFC 9568 section 5.2.7. */
export const VRRP_INTERVAL = {
  2: { stepMs: 1000, largest: 0xff },
  3: { stepMs: 10, largest: 0xfff },
} as const;

/**
 * Which octets the checksum counted: the message alone (RFC 9568 section 5.2.8 for IPv4, and all of version 2), or a
 * pseudo header before it, as keepalived and FRR do in version 3 by an older reading of RFC 5798.
 */
export type VrrpChecksum = "message" | "pseudo-header";

export interface VrrpAdvert {
  readonly version: 2 | 3;
  /** 1 to 255. */
  readonly vrid: number;
  /** 0 to 255; 0 says "I am leaving", 255 "the addresses are my own". */
  readonly priority: number;
  /** A multiple of the version's step: 1000 ms in version 2, 10 ms in version 3. */
  readonly intervalMs: number;
  /** 1 to 255 of them. */
  readonly addresses: readonly Ipv4[];
  /** Version 2 only, at most eight octets: RFC 2338's simple text password. Absent: none. */
  readonly password?: string;
}

export interface VrrpReading extends VrrpAdvert {
  readonly checksum: VrrpChecksum;
}

/** What of the packet around the message counts. */
export interface VrrpAround {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly ttl: number;
}

/** Every fault of decodeVrrp by its code, for counters and for the documentation. */
export const vrrpFaults = {
  "vrrp/ttl": "the packet was routed, or was made elsewhere: TTL is not 255",
  "vrrp/short": "the message ends before its header or the addresses it counts",
  "vrrp/version": "neither version 2 nor version 3",
  "vrrp/type": "not an advertisement",
  "vrrp/vrid": "virtual router id 0",
  "vrrp/count": "no addresses (RFC 9568 section 5.2.5)",
  "vrrp/length": "more octets than the message accounts for",
  "vrrp/checksum": "the checksum fits neither form",
  "vrrp/interval": "an interval of 0",
  "vrrp/authentication": "an authentication type that RFC 2338 does not have, or not in this protocol (AH)",
} as const;
export type VrrpFault = keyof typeof vrrpFaults;
const refuse = (code: VrrpFault, detail: string): ReturnType<typeof fault> =>
  fault(code, `vrrp: ${vrrpFaults[code]}: ${detail}`);

function matchingForm(
  octets: Uint8Array,
  offset: number,
  end: number,
  version: 2 | 3,
  around: VrrpAround,
): VrrpChecksum | undefined {
  const sum = sum16(octets, offset, end);
  if (finish(sum) === 0) return "message";
  if (version === 2) return undefined;
  const pseudo = pseudoSum(around.source, around.destination, PROTOCOL.vrrp, end - offset);
  return finish(sum + pseudo) === 0 ? "pseudo-header" : undefined;
}

/** Trailing zeros are padding (RFC 2338 section 5.3.9); octets above 127 become the letters of their number. */
function readPassword(octets: Uint8Array, at: number): string {
  let text = "";
  for (let i = 0; i < AUTHENTICATION_OCTETS; i++) text += String.fromCharCode(octets[at + i] as number);
  return text.replace(/\0+$/, "");
}

/**
 * Reads one message between `offset` and `end`, where IPv4's payload ends (Ethernet's padding is beyond). The checksum
 * is always verified, in the form that `checksum` then names. `anyTtl` is for unicast peers only. Faults: vrrpFaults.
 * Source of the checks and their order: RFC 9568 section 7.1, RFC 3768 section 7.1.
 */
export function decodeVrrp(
  octets: Uint8Array,
  around: VrrpAround,
  offset = 0,
  end = octets.length,
  { anyTtl = false }: { readonly anyTtl?: boolean } = {},
): Read<VrrpReading> {
  if (around.ttl !== VRRP_TTL && !anyTtl) return refuse("vrrp/ttl", `it is ${around.ttl}`);
  const there = Math.max(0, Math.min(end, octets.length) - offset);
  if (there < 1) return refuse("vrrp/short", "nothing is there");
  const version = (octets[offset] as number) >>> 4;
  if (version !== 2 && version !== 3) return refuse("vrrp/version", `it is ${version}`);
  if (there < 8) return refuse("vrrp/short", `${there} octets are there`);
  const type = (octets[offset] as number) & 15;
  if (type !== ADVERTISEMENT) return refuse("vrrp/type", `it is ${type}`);
  const first = vrrp2.decode(octets, offset); // the first four fields are the same in both versions
  const second = vrrp3.decode(octets, offset);
  if (!first.ok) return first;
  if (!second.ok) return second;
  const { vrid, priority, count, authentication } = first.value;
  const tail = version === 2 ? AUTHENTICATION_OCTETS : 0;
  const needs = 8 + 4 * count + tail;
  if (there < needs) return refuse("vrrp/short", `${count} addresses need ${needs} octets, ${there} are there`);
  if (there > needs) return refuse("vrrp/length", `${count} addresses need ${needs} octets, ${there} are there`);
  const form = matchingForm(octets, offset, offset + needs, version, around);
  if (form === undefined) return refuse("vrrp/checksum", `0x${first.value.checksum.toString(16)}`);
  if (vrid === 0) return refuse("vrrp/vrid", "ids are 1 to 255");
  if (count === 0) return refuse("vrrp/count", "at least one is needed");
  if (version === 2 && authentication !== AUTHENTICATION.none && authentication !== AUTHENTICATION.simple)
    return refuse("vrrp/authentication", `type ${authentication}`);
  const units = version === 2 ? first.value.interval : second.value.reservedAndInterval & 0xfff;
  if (units === 0) return refuse("vrrp/interval", `priority ${priority}, id ${vrid}`);
  const addresses: Ipv4[] = [];
  for (let i = 0; i < count; i++) addresses.push(readU32(octets, offset + 8 + 4 * i) as Ipv4);
  const isSimple = version === 2 && authentication === AUTHENTICATION.simple;
  return {
    ok: true,
    value: {
      version,
      vrid,
      priority,
      intervalMs: units * VRRP_INTERVAL[version].stepMs,
      addresses,
      checksum: form,
      ...(isSimple && { password: readPassword(octets, offset + needs - tail) }),
    },
  };
}

/** A message with its checksum. Throws RangeError where a value does not fit: the cluster file was checked before. */
export function encodeVrrp(
  advert: VrrpAdvert,
  around: Pick<VrrpAround, "source" | "destination">,
  form: VrrpChecksum,
): Uint8Array {
  const { version, vrid, priority, addresses, password } = advert;
  const { stepMs, largest } = VRRP_INTERVAL[version];
  const units = advert.intervalMs / stepMs;
  if (!Number.isInteger(units) || units < 1 || units > largest)
    throw new RangeError(`VRRP version ${version} cannot say an interval of ${advert.intervalMs} ms`);
  if (addresses.length < 1 || addresses.length > 255) throw new RangeError(`VRRP with ${addresses.length} addresses`);
  if (vrid < 1) throw new RangeError(`VRRP id ${vrid}`);
  if (password !== undefined && (version === 3 || password.length > AUTHENTICATION_OCTETS))
    throw new RangeError("a VRRP password has at most 8 octets, and version 3 has none");
  const octets = new Uint8Array(8 + 4 * addresses.length + (version === 2 ? AUTHENTICATION_OCTETS : 0));
  const versionAndType = (version << 4) | ADVERTISEMENT;
  const count = addresses.length;
  if (version === 2) {
    const authentication = password === undefined ? AUTHENTICATION.none : AUTHENTICATION.simple;
    vrrp2.encode({ versionAndType, vrid, priority, count, authentication, interval: units, checksum: 0 }, octets);
    const at = 8 + 4 * addresses.length;
    for (let i = 0; i < (password?.length ?? 0); i++) octets[at + i] = password?.charCodeAt(i) ?? 0;
  } else vrrp3.encode({ versionAndType, vrid, priority, count, reservedAndInterval: units, checksum: 0 }, octets);
  for (let i = 0; i < addresses.length; i++) writeU32(octets, 8 + 4 * i, addresses[i] as Ipv4);
  const pseudo =
    version === 3 && form === "pseudo-header"
      ? pseudoSum(around.source, around.destination, PROTOCOL.vrrp, octets.length)
      : 0;
  writeU16(octets, 6, finish(sum16(octets, 0, octets.length, pseudo)));
  return octets;
}

/** A whole IPv4 packet: to the group unless `destination` is a unicast peer. */
export function vrrpPacket(
  advert: VrrpAdvert,
  around: { readonly source: Ipv4; readonly destination?: Ipv4; readonly id?: number },
  form: VrrpChecksum,
): Uint8Array {
  const { source, destination = VRRP_GROUP, id = 0 } = around;
  const message = encodeVrrp(advert, { source, destination }, form);
  return encodeIpv4({ source, destination, id, ttl: VRRP_TTL, tos: VRRP_TOS, protocol: PROTOCOL.vrrp }, message);
}
