/**
 * YAML to data alone, by js-yaml: several times as fast as read.ts, which also knows each value's place and has the last
 * word. Declined is whatever the two may see differently, faults too. What this gives, that gives (quickYaml.test.ts).
 */
import { CORE_SCHEMA, load } from "js-yaml";
import type { Memory } from "./memory.ts";
import type { Plain } from "./read.ts";

/**
 * Anchors, tags, directives, block scalars, complex keys, merges, several documents; numbers like 1e999; tabs, CR,
 * controls, and what is more than one UTF-16 unit.
 */
const unusual = /[&*!%|>?]|<<|^ *(?:---|\.\.\.)|\d\.?[eE][-+]?\d|[^\n -~\u00a1-\u1fff\u2010-\u2027\u2030-\ud7ff]/m;
/** What stands in a comment does not matter to either; a # inside quotes only makes this look at less of a text. */
const comment = /(?:^|[ \n])#.*/g;
/** Quoted on one line; and what may not follow its end, nor that of a list or mapping in brackets. */
const quoted = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'/g;
const afterEnd = /[}\]] *[^ ,}\]\n]|["'] *[^ ,}\]:\n]/;
/** js-yaml takes what stands behind an item, on its line, for the next key of the mapping that the list is in. */
const goesOnBehindItsEnd = (text: string): boolean => afterEnd.test(text.replace(quoted, '"'));

/** Others may be numbers or null to the one and texts to the other. */
const plainKey = /^[A-Za-z_][\w.-]{0,99}$/;
const otherKeys = /^(?:null|true|false)$|^__proto__$/i;
/** Far from the limits of read.ts. */
const deepest = 16;

function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === "number")
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  if (typeof value !== "object" || value === null) return value !== undefined;
  if (depth > deepest) return false;
  if (Array.isArray(value)) return value.every((v) => isPlain(v, depth + 1));
  for (const [key, inside] of Object.entries(value))
    if (!plainKey.test(key) || otherKeys.test(key) || !isPlain(inside, depth + 1)) return false;
  return true;
}

/** A list item that is one mapping on one line, without quotes: it means the same wherever it stands. */
const itemLine = /^( *- )(\{[^"'#[\]{}\n]*(?:\{[^"'#[\]{}\n]*\}[^"'#[\]{}\n]*)*\}) *$/gm;
const placeholder = "vipward-item-";
/** A mapping inside such an item. */
const innerMapping = /(?<=.)\{[^{}]*\}/g;

/**
 * The same with what an earlier file said already: such items are read once, and stand in for themselves by a word while
 * the rest is read. Undefined where one of the words does not come back as an item of a list: what looks like an item
 * can be inside a text of several lines.
 */
function loadRemembering(text: string, memory: Memory): unknown {
  const items: string[] = [];
  const rest = text.replace(itemLine, (_, dash: string, item: string) => {
    items.push(item);
    return `${dash}${placeholder}${items.length - 1}`;
  });
  if (items.length === 0 || text.includes(placeholder)) return undefined;
  const values = memory.read(items, readItems);
  if (values === undefined) return undefined;
  const data = load(rest, { schema: CORE_SCHEMA });
  return isPlain(data, 0) && putBack(data as Plain, values) === items.length ? data : undefined;
}

const readList = (items: readonly string[]): Plain[] => {
  const read = load(items.map((item) => `- ${item}\n`).join(""), { schema: CORE_SCHEMA });
  return Array.isArray(read) && isPlain(read, 0) ? (read as Plain[]) : [];
};

/** Mappings that stand in several of them in the same words, as lists of real servers do, are read once and shared. */
function readItems(items: readonly string[]): Plain[] {
  const places = new Map<string, number>();
  let count = 0;
  const short = items.map((item) =>
    item.replace(innerMapping, (inner) => {
      count++;
      const place = places.get(inner) ?? places.size;
      places.set(inner, place);
      return `${placeholder}${place}`;
    }),
  );
  if (places.size === 0 || places.size > count / 2) return readList(items);
  const inner = readList([...places.keys()]);
  const read = readList(short);
  if (inner.length !== places.size || read.length !== items.length) return [];
  for (const item of read) count -= putBackInside(item, inner);
  return count === 0 ? read : [];
}
function putBackInside(item: Plain, inner: readonly Plain[]): number {
  if (typeof item !== "object" || item === null || Array.isArray(item)) return 0;
  let count = 0;
  for (const [key, value] of Object.entries(item)) {
    const found = typeof value === "string" ? inner[Number(afterPlaceholder(value))] : undefined;
    if (found === undefined) continue;
    item[key] = found;
    count++;
  }
  return count;
}

/** How many of the words there were, each an item of a list. */
function putBack(value: Plain, items: readonly Plain[]): number {
  if (typeof value !== "object" || value === null) return 0;
  if (!Array.isArray(value)) return Object.values(value).reduce((sum: number, v) => sum + putBack(v, items), 0);
  let count = 0;
  for (const [at, inside] of value.entries()) {
    const item = typeof inside === "string" ? items[Number(afterPlaceholder(inside))] : undefined;
    if (item === undefined) count += putBack(inside, items);
    else {
      value[at] = item;
      count++;
    }
  }
  return count;
}
const afterPlaceholder = (text: string): string | undefined =>
  text.startsWith(placeholder) ? text.slice(placeholder.length) : undefined;

/** undefined: to be read by read.ts. `memory`: what it holds is not read again, and must not be changed by anybody. */
export function readQuickly(text: string, memory?: Memory): Plain | undefined {
  const bare = text.replace(comment, "");
  if (unusual.test(bare) || goesOnBehindItsEnd(bare)) return undefined;
  try {
    const remembered = memory && loadRemembering(text, memory);
    const data = remembered ?? load(text, { schema: CORE_SCHEMA });
    const isMapping = typeof data === "object" && data !== null && !Array.isArray(data);
    return isMapping && (remembered !== undefined || isPlain(data, 0)) ? (data as Plain) : undefined;
  } catch {
    return undefined; // read.ts says what is wrong, and where
  }
}
