import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { type Mac, macFromOctets } from "../base/mac.ts";
import { type Fault, fault, type Read } from "./fault.ts";
import {
  readHost16,
  readHost32,
  readHostS32,
  readU8,
  readU16,
  readU32,
  writeHost16,
  writeHost32,
  writeU8,
  writeU16,
  writeU32,
} from "./octets.ts";

/** One row of a table: where it lies, and how its octets become a value and back. */
export interface Field<V> {
  readonly at: number;
  readonly sizeOctets: number;
  /** The only value accepted when reading; always written. */
  readonly only?: number;
  readonly read: (octets: Uint8Array, at: number) => V;
  /** Throws RangeError where the value does not fit: our own parts made it. */
  readonly write: (octets: Uint8Array, at: number, value: V) => void;
}
/** A field with one accepted value says nothing, so it is left out of the decoded object. */
export interface FixedField extends Field<number> {
  readonly only: number;
}

/** Any field: `never` because only the layout, which knows the row, may call `write`. */
interface Row {
  readonly at: number;
  readonly sizeOctets: number;
  readonly only?: number;
  readonly read: (octets: Uint8Array, at: number) => unknown;
  readonly write: (octets: Uint8Array, at: number, value: never) => void;
}
export type Table = Readonly<Record<string, Row>>;
type Told<T extends Table> = { [K in keyof T]: T[K] extends FixedField ? never : K }[keyof T];
/** What a table's octets mean: every field that may have more than one value. */
export type Decoded<T extends Table> = {
  readonly [K in Told<T>]: T[K] extends { readonly read: (octets: Uint8Array, at: number) => infer V } ? V : never;
};

export interface Layout<T extends Table> {
  readonly name: string;
  readonly sizeOctets: number;
  readonly table: T;
  /** Never throws, whatever the octets; faults are `name/short` and `name/field-name` for a value not accepted. */
  readonly decode: (octets: Uint8Array, offset?: number) => Read<Decoded<T>>;
  /** Writes into `into` at `offset`, or into a new array of just this size, and gives that array back. */
  readonly encode: (value: Decoded<T>, into?: Uint8Array, offset?: number) => Uint8Array;
}

/**
 * The same as the table says, written out, for formats that are read and written very often: an engine makes better code
 * of it than of a loop over a table. `layout` holds it against the table when the module loads.
 */
export interface WrittenOut<V> {
  readonly read: (octets: Uint8Array, at: number) => V;
  readonly write: (value: V, octets: Uint8Array, at: number) => void;
}

type Numbers = { (at: number): Field<number>; (at: number, only: number): FixedField };

function numbers(
  sizeOctets: number,
  lowest: number,
  highest: number,
  read: (octets: Uint8Array, at: number) => number,
  put: (octets: Uint8Array, at: number, value: number) => void,
): Numbers {
  const write = (octets: Uint8Array, at: number, value: number): void => {
    if (!(value >= lowest && value <= highest) || !Number.isInteger(value))
      throw new RangeError(`${value} does not fit ${sizeOctets} octets`);
    put(octets, at, value);
  };
  return ((at: number, only?: number) =>
    only === undefined ? { at, sizeOctets, read, write } : { at, sizeOctets, read, write, only }) as Numbers;
}

export const u8: Numbers = numbers(1, 0, 0xff, readU8, writeU8);
export const u16: Numbers = numbers(2, 0, 0xffff, readU16, writeU16);
export const u32: Numbers = numbers(4, 0, 0xffffffff, readU32, writeU32);
/** Integers in the order of the machine, as netlink has them. */
export const host16: Numbers = numbers(2, 0, 0xffff, readHost16, writeHost16);
export const host32: Numbers = numbers(4, 0, 0xffffffff, readHost32, writeHost32);
export const hostS32: Numbers = numbers(4, -0x80000000, 0x7fffffff, readHostS32, (octets, at, value) =>
  writeHost32(octets, at, value >>> 0),
);

/** For what is written out: refuses what does not fit, as the table's rows do. */
export const { write: putU8 } = u8(0);
export const { write: putU16 } = u16(0);
export const { write: putU32 } = u32(0);

export const ipv4 = (at: number): Field<Ipv4> => ({
  at,
  sizeOctets: 4,
  read: (octets, where) => ipv4FromNumber(readU32(octets, where)),
  write: writeU32,
});

const digit = (code: number): number => (code & 15) + (code > 57 ? 9 : 0);

/** Like base's writeMac for a canonical address, without its six strings: a prober writes many of these. */
export function putMac(octets: Uint8Array, at: number, address: Mac): void {
  for (let i = 0; i < 6; i++)
    octets[at + i] = (digit(address.charCodeAt(i * 3)) << 4) | digit(address.charCodeAt(i * 3 + 1));
}

export const mac = (at: number): Field<Mac> => ({ at, sizeOctets: 6, read: macFromOctets, write: putMac });

/** Octets whose meaning is nobody's: read as nothing, written as zero. */
export const unused = (at: number, sizeOctets: number): FixedField & { readonly ignored: true } => ({
  at,
  sizeOctets,
  only: 0,
  ignored: true,
  read: () => 0,
  write: (octets, where) => {
    octets.fill(0, where, where + sizeOctets);
  },
});

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * A fixed-size format from its table. Throws when the table leaves a gap, overlaps, or does not end at `sizeOctets`:
 * a broken table stops the program when its module loads, not when a frame arrives.
 */
export function layout<const T extends Table>(
  name: string,
  sizeOctets: number,
  table: T,
  writtenOut?: WrittenOut<Decoded<T>>,
): Layout<T> {
  const rows = Object.entries(table as unknown as Record<string, Field<unknown>>).sort(([, a], [, b]) => a.at - b.at);
  let end = 0;
  for (const [key, field] of rows) {
    if (field.at !== end)
      throw new Error(`layout ${name}: ${key} begins at ${field.at}, but the field before it ends at ${end}`);
    end += field.sizeOctets;
  }
  if (end !== sizeOctets) throw new Error(`layout ${name}: the fields end at ${end}, the format at ${sizeOctets}`);

  const fixed = rows.filter(([, field]) => field.only !== undefined);
  const told = rows.filter(([, field]) => field.only === undefined);
  const names = told.map(([key]) => key);
  const reads = told.map(([, field]) => field.read);
  const writes = told.map(([, field]) => field.write);
  const places = told.map(([, field]) => field.at);

  /** A fixed field that is there and wrong says more than "short": other hardware has other lengths. */
  const refused = (octets: Uint8Array, offset: number): Fault | undefined => {
    for (const [key, field] of fixed) {
      if (offset + field.at + field.sizeOctets > octets.length) break;
      const found = field.read(octets, offset + field.at);
      if (found !== field.only)
        return fault(`${name}/${kebab(key)}`, `${name}: ${key} is ${found}, only ${field.only} is accepted`);
    }
    return undefined;
  };

  const readTable = (octets: Uint8Array, offset: number): Decoded<T> => {
    const value: Record<string, unknown> = {};
    for (let i = 0; i < names.length; i++)
      value[names[i] as string] = (reads[i] as Field<unknown>["read"])(octets, offset + (places[i] as number));
    return value as Decoded<T>;
  };
  const writeTable = (value: Decoded<T>, into: Uint8Array, offset: number): void => {
    for (let i = 0; i < names.length; i++)
      (writes[i] as Field<unknown>["write"])(
        into,
        offset + (places[i] as number),
        (value as Readonly<Record<string, unknown>>)[names[i] as string],
      );
  };
  const { read, write } = writtenOut ?? { read: readTable, write: writeTable };
  if (writtenOut !== undefined) {
    const sample = Uint8Array.from({ length: sizeOctets + 1 }, (_, i) => 7 + 37 * i);
    const [wanted, found] = [readTable(sample, 1), read(sample, 1)];
    const octets = new Uint8Array(sizeOctets + 1);
    write(wanted, octets, 1);
    const agrees =
      names.length === Object.keys(found as object).length &&
      names.every((key) => wanted[key as keyof typeof wanted] === found[key as keyof typeof found]) &&
      told.every(([, { at, sizeOctets: size }]) => {
        for (let i = 1 + at; i <= at + size; i++) if (octets[i] !== sample[i]) return false;
        return true;
      });
    if (!agrees) throw new Error(`layout ${name}: what is written out is not what the table says`);
  }

  return {
    name,
    sizeOctets,
    table,
    decode(octets, offset = 0) {
      const wrong = refused(octets, offset);
      if (wrong !== undefined) return wrong;
      if (offset + sizeOctets > octets.length) {
        const there = Math.max(0, octets.length - offset);
        return fault(`${name}/short`, `${name}: needs ${sizeOctets} octets, ${there} are there`);
      }
      return { ok: true, value: read(octets, offset) };
    },
    encode(value, into = new Uint8Array(sizeOctets), offset = 0) {
      if (offset + sizeOctets > into.length)
        throw new RangeError(`${name}: no room for ${sizeOctets} octets at ${offset} of ${into.length}`);
      for (const [, field] of fixed) field.write(into, offset + field.at, field.only);
      write(value, into, offset);
      return into;
    },
  };
}
