/**
 * A quick yes for data that fits a schema. Made from the schema itself, of which it knows the kinds that schema.ts uses;
 * of any other it says no. A no means nothing: zod judges then, and finds the words. As the schema changes no value, what
 * is accepted is already what zod would give.
 */
import type * as z from "zod";

export type Accepts = (value: unknown) => boolean;
type Schema = z.core.$ZodType;

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly catchall?: Schema;
  readonly keyType?: Schema;
  readonly valueType?: Schema;
  readonly element?: Schema;
  readonly innerType?: Schema;
  readonly options?: readonly Schema[];
  readonly values?: readonly unknown[];
  readonly entries?: Readonly<Record<string, string>>;
  readonly checks?: readonly z.core.$ZodCheck<never>[];
}
interface CheckDefinition {
  readonly check: string;
  readonly format?: string;
  readonly pattern?: RegExp;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly value?: number;
  readonly inclusive?: boolean;
}

const never: Accepts = () => false;
const definitionOf = (schema: Schema): Definition => schema._zod.def as unknown as Definition;
const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const every = (all: readonly Accepts[]): Accepts => {
  const [first, second] = all;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  return (value) => all.every((accepts) => accepts(value));
};

function checkOf(d: CheckDefinition): Accepts {
  const { pattern, minimum, maximum, value: limit = 0, inclusive } = d;
  switch (d.check) {
    case "string_format":
      return pattern === undefined || pattern.global || pattern.sticky
        ? never
        : (value) => pattern.test(value as string);
    case "number_format":
      return d.format === "safeint" ? Number.isSafeInteger : never;
    case "min_length":
      return (value) => (value as { length: number }).length >= (minimum ?? Number.POSITIVE_INFINITY);
    case "max_length":
      return (value) => (value as { length: number }).length <= (maximum ?? -1);
    case "greater_than":
      return inclusive ? (value) => (value as number) >= limit : (value) => (value as number) > limit;
    case "less_than":
      return inclusive ? (value) => (value as number) <= limit : (value) => (value as number) < limit;
    default:
      return never;
  }
}

/** Each kind with what it needs of its definition; its checks come on top. */
const kinds: Readonly<Record<string, (d: Definition) => Accepts>> = {
  string: () => (value) => typeof value === "string",
  number: () => Number.isFinite,
  boolean: () => (value) => typeof value === "boolean",
  literal:
    ({ values = [] }) =>
    (value) =>
      values.includes(value),
  enum({ entries = {} }) {
    const words = new Set<unknown>(Object.values(entries));
    return (value) => words.has(value);
  },
  optional({ innerType }) {
    const inner = innerType === undefined ? never : accepterOf(innerType);
    return (value) => value === undefined || inner(value);
  },
  union({ options = [] }) {
    const each = options.map(accepterOf);
    return (value) => each.some((accepts) => accepts(value));
  },
  array({ element }) {
    const inner = element === undefined ? never : accepterOf(element);
    return (value) => Array.isArray(value) && value.every(inner);
  },
  record({ keyType, valueType }) {
    const [key, inner] = [keyType, valueType].map((s) => (s === undefined ? never : accepterOf(s))) as [
      Accepts,
      Accepts,
    ];
    return (value) => {
      if (!isMapping(value)) return false;
      for (const name of Object.keys(value)) if (!key(name) || !inner(value[name])) return false;
      return true;
    };
  },
  object({ shape = {}, catchall }) {
    if (catchall === undefined || definitionOf(catchall).type !== "never") return never;
    const inside = new Map(Object.entries(shape).map(([name, schema]) => [name, accepterOf(schema)]));
    const needed = Object.keys(shape).filter((name) => definitionOf(shape[name] as Schema).type !== "optional");
    return (value) => {
      if (!isMapping(value)) return false;
      for (const name of needed) if (value[name] === undefined) return false;
      for (const name of Object.keys(value)) if (inside.get(name)?.(value[name]) !== true) return false;
      return true;
    };
  },
};

const made = new WeakMap<Schema, Accepts>();
export function accepterOf(schema: Schema): Accepts {
  let accepts = made.get(schema);
  if (accepts === undefined) {
    const definition = definitionOf(schema);
    const base = (kinds[definition.type] ?? (() => never))(definition);
    const checks = (definition.checks ?? []).map((check) => checkOf(check._zod.def as unknown as CheckDefinition));
    // A format may be the schema's own and no check of its own (z.int()).
    const own = "check" in definition ? [checkOf(definition as unknown as CheckDefinition)] : [];
    accepts = every([base, ...own, ...checks]);
    made.set(schema, accepts);
  }
  return accepts;
}
