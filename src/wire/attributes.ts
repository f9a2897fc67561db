import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { fault, type Read } from "./fault.ts";
import type { Decoded, Layout, Table } from "./layout.ts";
import { type MessageBuilder, splitAttributes } from "./netlink.ts";
import {
  readHost16,
  readHost32,
  readHost64,
  readHostS32,
  readU8,
  readU16,
  readU32,
  writeHost16,
  writeHost32,
  writeHost64,
  writeU8,
  writeU16,
  writeU32,
} from "./octets.ts";

/** One kind of attribute: its number and its value. `read` gives undefined for a value that is well formed but not ours. */
export interface AttributeRow<V> {
  readonly type: number;
  readonly read: (value: Uint8Array) => Read<V | undefined>;
  readonly write: (into: MessageBuilder, type: number, value: V) => void;
}
interface AnyRow {
  readonly type: number;
  readonly read: (value: Uint8Array) => Read<unknown>;
  readonly write: (into: MessageBuilder, type: number, value: never) => void;
}
export type AttributeTable = Readonly<Record<string, AnyRow>>;
type ValueOf<R> = R extends { readonly read: (value: Uint8Array) => Read<infer V> } ? Exclude<V, undefined> : never;
/** Every attribute may be absent. Unknown ones are passed over; of one given twice the last counts, as in the kernel. */
export type DecodedAttributes<T extends AttributeTable> = { readonly [K in keyof T]?: ValueOf<T[K]> };

export interface Attributes<T extends AttributeTable> {
  readonly name: string;
  readonly table: T;
  /** Faults: `name/attribute-name`, and those of splitAttributes. */
  readonly decode: (octets: Uint8Array, offset?: number) => Read<DecodedAttributes<T>>;
  /** In the order of the table. */
  readonly encode: (into: MessageBuilder, value: DecodedAttributes<T>) => void;
}

/** A set of attributes from its table. Throws when two rows share a number. */
export function attributes<const T extends AttributeTable>(name: string, table: T): Attributes<T> {
  const rows = Object.entries(table as unknown as Readonly<Record<string, AttributeRow<unknown>>>);
  const byType = new Map(rows.map(([key, row]) => [row.type, { key, row }]));
  if (byType.size !== rows.length) throw new Error(`attributes ${name}: a number is used twice`);
  return {
    name,
    table,
    decode(octets, offset = 0) {
      const split = splitAttributes(octets, offset);
      if (!split.ok) return split;
      const decoded: Record<string, unknown> = {};
      for (const { type, value } of split.value) {
        const known = byType.get(type);
        if (known === undefined) continue;
        const read = known.row.read(value);
        if (!read.ok)
          return read.code === "" ? fault(`${name}/${known.key}`, `${name}: ${known.key} ${read.why}`) : read;
        if (read.value !== undefined) decoded[known.key] = read.value;
      }
      return { ok: true, value: decoded as DecodedAttributes<T> };
    },
    encode(into, value) {
      const given = value as Readonly<Record<string, unknown>>;
      for (let i = 0; i < rows.length; i++) {
        const [key, row] = rows[i] as (typeof rows)[number];
        const one = given[key];
        if (one !== undefined) row.write(into, row.type, one);
      }
    },
  };
}

/** A fault that the set of attributes, which knows the names, completes. */
const wrong = (why: string) => fault("", why);

type Row<V> = (type: number) => AttributeRow<V>;

function scalar<V>(
  sizeOctets: number,
  read: (octets: Uint8Array, at: number) => V,
  put: (octets: Uint8Array, at: number, value: V) => void,
): Row<V> {
  return (type) => ({
    type,
    // Longer is taken, as the kernel does: a field may have grown.
    read: (value) =>
      value.length < sizeOctets
        ? wrong(`has ${value.length} octets, needs ${sizeOctets}`)
        : { ok: true, value: read(value, 0) },
    write: (into, where, value) => {
      const at = into.room(where, sizeOctets);
      put(into.octets, at, value);
      if (read(into.octets, at) !== value) throw new RangeError(`${value} does not fit attribute ${where}`);
    },
  });
}

export const u8: Row<number> = scalar(1, readU8, writeU8);
/** Network order, as marked in the tables that use them. */
export const be16: Row<number> = scalar(2, readU16, writeU16);
export const be32: Row<number> = scalar(4, readU32, writeU32);
/** The machine's order, netlink's usual. */
export const host16: Row<number> = scalar(2, readHost16, writeHost16);
export const host32: Row<number> = scalar(4, readHost32, writeHost32);
export const hostS32: Row<number> = scalar(4, readHostS32, (octets, at, value) => writeHost32(octets, at, value >>> 0));
export const host64: Row<bigint> = scalar(8, readHost64, writeHost64);

/** Four octets. An IPv6 address in the same place is left out; the message's family says that it was one. */
export const ipv4: Row<Ipv4> = (type) => ({
  type,
  read: (value) => {
    if (value.length === 4) return { ok: true, value: ipv4FromNumber(readU32(value, 0)) };
    return value.length === 16 ? { ok: true, value: undefined } : wrong(`has ${value.length} octets, not 4`);
  },
  write: (into, where, value) => {
    const at = into.room(where, 4);
    writeU32(into.octets, at, value);
  },
});

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Ends with a zero octet; one that lacks it is taken whole. Octets that are not UTF-8 become U+FFFD. */
export const text: Row<string> = (type) => ({
  type,
  read: (value) => {
    const end = value.indexOf(0);
    return { ok: true, value: decoder.decode(end < 0 ? value : value.subarray(0, end)) };
  },
  write: (into, where, value) => {
    if (value.includes("\0")) throw new RangeError("a zero octet inside a name");
    into.attribute(where, encoder.encode(`${value}\0`));
  },
});

/** Its being there says all. */
export const flag: Row<true> = (type) => ({
  type,
  read: () => ({ ok: true, value: true }),
  write: (into, where) => {
    into.attribute(where, new Uint8Array(0));
  },
});

export const bytes: Row<Uint8Array> = (type) => ({
  type,
  read: (value) => ({ ok: true, value }),
  write: (into, where, value) => {
    into.attribute(where, value);
  },
});

/** A link-layer address of whatever length as "02:00:…": for six octets this is base's Mac; IPIP devices have four. */
export const linkAddress: Row<string> = (type) => ({
  type,
  read: (value) => ({ ok: true, value: Array.from(value, (o) => o.toString(16).padStart(2, "0")).join(":") }),
  write: (into, where, value) => {
    if (!/^[0-9a-f]{2}(:[0-9a-f]{2})*$/.test(value)) throw new RangeError(`not a link address: ${value}`);
    into.attribute(
      where,
      Uint8Array.from(value.split(":"), (o) => Number.parseInt(o, 16)),
    );
  },
});

/** A structure of fixed size, or the beginning of one that newer kernels made longer. */
export function struct<T extends Table>(type: number, format: Layout<T>): AttributeRow<Decoded<T>> {
  return {
    type,
    read: (value) => format.decode(value),
    write: (into, where, value) => {
      const at = into.room(where, format.sizeOctets);
      format.encode(value, into.octets, at);
    },
  };
}

export function nested<T extends AttributeTable>(
  type: number,
  inner: Attributes<T>,
): AttributeRow<DecodedAttributes<T>> {
  return {
    type,
    read: (value) => inner.decode(value),
    write: (into, where, value) => {
      into.nest(where, () => inner.encode(into, value));
    },
  };
}

/** An array: attributes numbered 1, 2, 3…, each with the same table inside. */
export function list<T extends AttributeTable>(
  type: number,
  inner: Attributes<T>,
): AttributeRow<readonly DecodedAttributes<T>[]> {
  return {
    type,
    read: (value) => {
      const split = splitAttributes(value);
      if (!split.ok) return split;
      const items: DecodedAttributes<T>[] = [];
      for (const one of split.value) {
        const read = inner.decode(one.value);
        if (!read.ok) return read;
        items.push(read.value);
      }
      return { ok: true, value: items };
    },
    write: (into, where, value) => {
      into.nest(where, () => {
        for (const [index, item] of value.entries()) into.nest(index + 1, () => inner.encode(into, item));
      });
    },
  };
}

/** A family's message: a fixed header, then attributes; both in one flat object. */
export interface Message<T extends Table, A extends AttributeTable> {
  readonly header: Layout<T>;
  readonly attributes: Attributes<A>;
  /** `payload` is what follows the netlink header. */
  readonly decode: (payload: Uint8Array) => Read<Decoded<T> & DecodedAttributes<A>>;
  readonly encode: (into: MessageBuilder, value: Decoded<T> & DecodedAttributes<A>) => MessageBuilder;
}

export function message<T extends Table, A extends AttributeTable>(
  header: Layout<T>,
  set: Attributes<A>,
): Message<T, A> {
  const both = Object.keys(header.table).find((key) => key in set.table);
  if (both !== undefined) throw new Error(`message ${header.name}: ${both} is in the header and an attribute`);
  return {
    header,
    attributes: set,
    decode(payload) {
      const fixed = header.decode(payload);
      if (!fixed.ok) return fixed;
      const rest = set.decode(payload, header.sizeOctets);
      return rest.ok ? { ok: true, value: { ...fixed.value, ...rest.value } } : rest;
    },
    encode(into, value) {
      into.fixed(header, value);
      set.encode(into, value);
      return into;
    },
  };
}
