/**
 * YAML to data alone, by js-yaml: several times as fast as read.ts, which also knows each value's place and has the last
 * word. Declined is whatever the two may see differently, faults too. What this gives, that gives (quickYaml.test.ts).
 */
import { CORE_SCHEMA, load } from "js-yaml";
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

/** undefined: to be read by read.ts. */
export function readQuickly(text: string): Plain | undefined {
  const bare = text.replace(comment, "");
  if (unusual.test(bare) || goesOnBehindItsEnd(bare)) return undefined;
  let data: unknown;
  try {
    data = load(text, { schema: CORE_SCHEMA });
  } catch {
    return undefined; // read.ts says what is wrong, and where
  }
  const isMapping = typeof data === "object" && data !== null && !Array.isArray(data);
  return isMapping && isPlain(data, 0) ? (data as Plain) : undefined;
}
