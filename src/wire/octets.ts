/**
 * Numbers in octets. Network order is big-endian; netlink and the structures it carries use the order of the machine.
 * No bounds are checked here: every caller has looked at the length first.
 */

/** True where the machine stores the low octet first (x86, arm, riscv): the order of netlink's own integers. */
export const LITTLE_ENDIAN_HOST: boolean = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export const readU8 = (octets: Uint8Array, at: number): number => octets[at] as number;
export const readU16 = (octets: Uint8Array, at: number): number =>
  ((octets[at] as number) << 8) | (octets[at + 1] as number);
export const readU32 = (octets: Uint8Array, at: number): number =>
  (((octets[at] as number) << 24) |
    ((octets[at + 1] as number) << 16) |
    ((octets[at + 2] as number) << 8) |
    (octets[at + 3] as number)) >>>
  0;

export function writeU8(octets: Uint8Array, at: number, value: number): void {
  octets[at] = value;
}
export function writeU16(octets: Uint8Array, at: number, value: number): void {
  octets[at] = value >>> 8;
  octets[at + 1] = value;
}
export function writeU32(octets: Uint8Array, at: number, value: number): void {
  octets[at] = value >>> 24;
  octets[at + 1] = value >>> 16;
  octets[at + 2] = value >>> 8;
  octets[at + 3] = value;
}

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);
const swap32 = (value: number): number =>
  (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

export const readHost16 = (octets: Uint8Array, at: number): number =>
  LITTLE_ENDIAN_HOST ? swap16(readU16(octets, at)) : readU16(octets, at);
export const readHost32 = (octets: Uint8Array, at: number): number =>
  LITTLE_ENDIAN_HOST ? swap32(readU32(octets, at)) : readU32(octets, at);
export const readHostS32 = (octets: Uint8Array, at: number): number => readHost32(octets, at) | 0;
export function readHost64(octets: Uint8Array, at: number): bigint {
  const first = BigInt(readHost32(octets, at));
  const second = BigInt(readHost32(octets, at + 4));
  return LITTLE_ENDIAN_HOST ? (second << 32n) | first : (first << 32n) | second;
}

export const writeHost16 = (octets: Uint8Array, at: number, value: number): void =>
  writeU16(octets, at, LITTLE_ENDIAN_HOST ? swap16(value) : value);
export const writeHost32 = (octets: Uint8Array, at: number, value: number): void =>
  writeU32(octets, at, LITTLE_ENDIAN_HOST ? swap32(value) : value);
export function writeHost64(octets: Uint8Array, at: number, value: bigint): void {
  const low = Number(value & 0xffffffffn);
  const high = Number((value >> 32n) & 0xffffffffn);
  writeHost32(octets, at, LITTLE_ENDIAN_HOST ? low : high);
  writeHost32(octets, at + 4, LITTLE_ENDIAN_HOST ? high : low);
}

const pairs = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));

/** "0a0b0c". */
export function toHex(octets: Uint8Array): string {
  let text = "";
  for (const octet of octets) text += pairs[octet];
  return text;
}

/** For fixtures and for text pasted by people: blanks, line ends and colons between octets are skipped. */
export function fromHex(text: string): Uint8Array | undefined {
  const digits = text.replace(/[\s:]/g, "");
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) return undefined;
  const octets = new Uint8Array(digits.length / 2);
  for (let i = 0; i < octets.length; i++) octets[i] = Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16);
  return octets;
}
