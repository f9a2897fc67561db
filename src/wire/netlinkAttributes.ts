/**
 * The payload of a netlink message: a family's fixed header, then attributes (length, type, value, padded to four).
 * Integers are in the order of the machine unless said otherwise.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { ipv4FromNumber } from "../base/ipv4.ts";
import { type Mac, macFromOctets, writeMac } from "../base/mac.ts";

export const LITTLE_ENDIAN: boolean = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER_OCTETS = 4;
const aligned = (octets: number): number => (octets + 3) & ~3;

/** Grows when needed, shared: messages are made one at a time and copied out by finish(). */
let room = new Uint8Array(4096);
let view = new DataView(room.buffer);

function need(octets: number): void {
  if (octets <= room.length) return;
  const larger = new Uint8Array(2 ** Math.ceil(Math.log2(octets)));
  larger.set(room);
  room = larger;
  view = new DataView(room.buffer);
}

/** Writes one payload; begun and finished within one function, never two at once. */
export class AttributeWriter {
  #length: number;
  /** `fixed` is the family's header. */
  constructor(fixed: Uint8Array) {
    need(fixed.length);
    room.set(fixed);
    this.#length = aligned(fixed.length);
  }
  #begin(type: number, octets: number): number {
    const at = this.#length;
    const end = at + HEADER_OCTETS + aligned(octets);
    need(end);
    view.setUint16(at, HEADER_OCTETS + octets, LITTLE_ENDIAN);
    view.setUint16(at + 2, type, LITTLE_ENDIAN);
    if (octets % 4 !== 0) room.fill(0, at + HEADER_OCTETS + octets, end);
    this.#length = end;
    return at + HEADER_OCTETS;
  }
  u8(type: number, value: number): this {
    const at = this.#begin(type, 1);
    view.setUint8(at, value);
    return this;
  }
  u16(type: number, value: number): this {
    const at = this.#begin(type, 2);
    view.setUint16(at, value, LITTLE_ENDIAN);
    return this;
  }
  /** Network order: ports. */
  u16Network(type: number, value: number): this {
    const at = this.#begin(type, 2);
    view.setUint16(at, value, false);
    return this;
  }
  u32(type: number, value: number): this {
    const at = this.#begin(type, 4);
    view.setUint32(at, value, LITTLE_ENDIAN);
    return this;
  }
  ipv4(type: number, value: Ipv4): this {
    const at = this.#begin(type, 4);
    view.setUint32(at, value, false);
    return this;
  }
  mac(type: number, value: Mac): this {
    const at = this.#begin(type, 6);
    writeMac(value, room, at);
    return this;
  }
  octets(type: number, value: Uint8Array): this {
    const at = this.#begin(type, value.length);
    room.set(value, at);
    return this;
  }
  /** With the closing zero that the kernel expects. */
  text(type: number, value: string): this {
    return this.octets(type, new TextEncoder().encode(`${value}\0`));
  }
  /** An attribute of attributes, after an inner header where the format has one. */
  nest(type: number, inside: (w: this) => void, header?: Uint8Array): this {
    const start = this.#length;
    this.#begin(type | NLA_F_NESTED, 0);
    if (header !== undefined) this.raw(header);
    inside(this);
    view.setUint16(start, this.#length - start, LITTLE_ENDIAN);
    return this;
  }
  /** Octets without an attribute's header: inner headers, next hops. */
  raw(octets: Uint8Array): this {
    need(this.#length + aligned(octets.length));
    room.set(octets, this.#length);
    room.fill(0, this.#length + octets.length, this.#length + aligned(octets.length));
    this.#length += aligned(octets.length);
    return this;
  }
  /** Where the next octet goes, for structures that hold their own length: see patchU16. */
  get length(): number {
    return this.#length;
  }
  patchU16(at: number, value: number): void {
    view.setUint16(at, value, LITTLE_ENDIAN);
  }
  finish(): Uint8Array {
    return room.slice(0, this.#length);
  }
}

/** Attributes received, by type. Values that are absent or too short read as undefined. */
export class Attributes {
  readonly #values = new Map<number, Uint8Array>();
  /** Reads from `offset` to the end; stops at a broken length. Of two attributes of one type the later one counts. */
  constructor(octets: Uint8Array, offset = 0) {
    const lengths = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    for (let at = offset; at + HEADER_OCTETS <= octets.length; ) {
      const length = lengths.getUint16(at, LITTLE_ENDIAN);
      if (length < HEADER_OCTETS || at + length > octets.length) break;
      const type = lengths.getUint16(at + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK;
      this.#values.set(type, octets.subarray(at + HEADER_OCTETS, at + length));
      at += aligned(length);
    }
  }
  octets(type: number): Uint8Array | undefined {
    return this.#values.get(type);
  }
  #view(type: number, octets: number): DataView | undefined {
    const value = this.#values.get(type);
    if (value === undefined || value.length < octets) return undefined;
    return new DataView(value.buffer, value.byteOffset, value.byteLength);
  }
  has(type: number): boolean {
    return this.#values.has(type);
  }
  u8(type: number): number | undefined {
    return this.#view(type, 1)?.getUint8(0);
  }
  u16(type: number): number | undefined {
    return this.#view(type, 2)?.getUint16(0, LITTLE_ENDIAN);
  }
  u16Network(type: number): number | undefined {
    return this.#view(type, 2)?.getUint16(0, false);
  }
  u32(type: number): number | undefined {
    return this.#view(type, 4)?.getUint32(0, LITTLE_ENDIAN);
  }
  s32(type: number): number | undefined {
    return this.#view(type, 4)?.getInt32(0, LITTLE_ENDIAN);
  }
  u64(type: number): bigint | undefined {
    return this.#view(type, 8)?.getBigUint64(0, LITTLE_ENDIAN);
  }
  ipv4(type: number): Ipv4 | undefined {
    const value = this.#view(type, 4)?.getUint32(0, false);
    return value === undefined ? undefined : ipv4FromNumber(value);
  }
  /** Undefined unless six octets long: tunnels have an address of four here. */
  mac(type: number): Mac | undefined {
    const value = this.#values.get(type);
    return value?.length === 6 ? macFromOctets(value) : undefined;
  }
  text(type: number): string | undefined {
    const value = this.#values.get(type);
    return value === undefined ? undefined : new TextDecoder().decode(value).replace(/\0.*$/s, "");
  }
  nested(type: number): Attributes | undefined {
    const value = this.#values.get(type);
    return value === undefined ? undefined : new Attributes(value);
  }
}
