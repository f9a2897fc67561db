/**
 * Shapes of plain JSON from outside: one table that both checks a value, telling every problem with its path, and gives
 * the JSON Schema of it. Small and quick to load, for files that are read on each start.
 */

/** A place in the file ("links[2].mac") and what is wrong there. The empty path is the file itself. */
export interface ShapeProblem {
  readonly path: string;
  readonly message: string;
}

type Path = (string | number)[];

export interface Shape {
  /** Says every problem of `value`, which stands at `path`; leaves `path` as it was. */
  check(value: unknown, path: Path, say: (path: Path, message: string) => void): void;
  /** Draft 2020-12. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly isOptional?: true;
}

/** A file of nothing but faults shall not fill the screen, nor the memory. */
const MOST_PROBLEMS = 100;

export function problemsOf(shape: Shape, value: unknown): ShapeProblem[] {
  const problems: ShapeProblem[] = [];
  let more = 0;
  shape.check(value, [], (path, message) => {
    if (problems.length < MOST_PROBLEMS) problems.push({ path: pathText(path), message });
    else more++;
  });
  if (more > 0) problems.push({ path: "", message: `and ${more} more problems` });
  return problems;
}

/** `links[2].mac`; a name that is no plain word in quotes: `sysctls["eth0.arp_ignore"]`. */
export const pathText = (path: readonly (string | number)[]): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    if (!/^[\w-]{1,64}$/.test(part)) return `${text}[${shown(part)}]`;
    return text === "" ? part : `${text}.${part}`;
  }, "");

function shown(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 56)}...${typeof value === "string" ? '"' : ""}` : text;
}

const shapeOf = (
  fits: (value: unknown) => boolean,
  expected: string,
  schema: Readonly<Record<string, unknown>>,
): Shape => ({
  schema,
  check: (value, path, say) => {
    if (!fits(value)) say(path, value === undefined ? "missing" : `expected ${expected}, found ${shown(value)}`);
  },
});

export const optional = (shape: Shape): Shape => ({ ...shape, isOptional: true });
export const flag = shapeOf((v) => typeof v === "boolean", "true or false", { type: "boolean" });
export const text = shapeOf((v) => typeof v === "string", "text", { type: "string" });

/** Text of `low` to `high` characters. */
export const textOf = (low: number, high: number): Shape =>
  shapeOf((v) => typeof v === "string" && v.length >= low && v.length <= high, `text of ${low} to ${high} characters`, {
    type: "string",
    minLength: low,
    maxLength: high,
  });

/** Text that `fits`; `expected` is what the message says: "an IPv4 address". */
export const textThat = (
  fits: (text: string) => boolean,
  expected: string,
  schema: Readonly<Record<string, unknown>> = {},
): Shape => shapeOf((v) => typeof v === "string" && fits(v), expected, { type: "string", ...schema });

export const whole = (low = Number.MIN_SAFE_INTEGER, high = Number.MAX_SAFE_INTEGER): Shape =>
  shapeOf(
    (v) => Number.isSafeInteger(v) && (v as number) >= low && (v as number) <= high,
    low === Number.MIN_SAFE_INTEGER ? "a whole number" : `a whole number from ${low} to ${high}`,
    { type: "integer", minimum: low, maximum: high },
  );

export const numberFrom = (low: number): Shape =>
  shapeOf((v) => Number.isFinite(v) && (v as number) >= low, `a number from ${low}`, { type: "number", minimum: low });

export const exactly = (wanted: string | number): Shape =>
  shapeOf((v) => v === wanted, JSON.stringify(wanted), { type: typeof wanted, const: wanted });

export const oneOf = (words: readonly string[]): Shape => {
  const set = new Set<unknown>(words);
  const expected = `one of ${words.map((w) => JSON.stringify(w)).join(", ")}`;
  return shapeOf((v) => set.has(v), expected, { type: "string", enum: words });
};

export const orNull = (shape: Shape): Shape => ({
  schema: { ...shape.schema, type: [shape.schema.type, "null"] },
  check: (value, path, say) => {
    if (value !== null) shape.check(value, path, say);
  },
});

/** Text or a truth value. */
export const textOrFlag = shapeOf((v) => typeof v === "string" || typeof v === "boolean", "text, true or false", {
  type: ["string", "boolean"],
});

export const listOf = (item: Shape): Shape => ({
  schema: { type: "array", items: item.schema },
  check: (value, path, say) => {
    if (!Array.isArray(value))
      return say(path, value === undefined ? "missing" : `expected a list, found ${shown(value)}`);
    const at = path.length;
    for (let i = 0; i < value.length; i++) {
      path[at] = i;
      item.check(value[i], path, say);
    }
    path.length = at;
  },
});

export const pairOf = (item: Shape): Shape => ({
  schema: { type: "array", prefixItems: [item.schema, item.schema], items: false, minItems: 2, maxItems: 2 },
  check: (value, path, say) => {
    if (!Array.isArray(value) || value.length !== 2) return say(path, `expected a list of two, found ${shown(value)}`);
    listOf(item).check(value, path, say);
  },
});

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Any names, values of one shape. */
export const recordOf = (item: Shape): Shape => ({
  schema: { type: "object", propertyNames: { type: "string" }, additionalProperties: item.schema },
  check: (value, path, say) => {
    if (!isObject(value))
      return say(path, value === undefined ? "missing" : `expected an object, found ${shown(value)}`);
    const at = path.length;
    for (const name of Object.keys(value)) {
      path[at] = name;
      item.check(value[name], path, say);
    }
    path.length = at;
  },
});

/** These names and no others. A property that is undefined counts as absent. */
export function objectOf(rows: Readonly<Record<string, Shape>>): Shape {
  const entries = Object.entries(rows);
  const required = entries.filter(([, s]) => !s.isOptional).map(([name]) => name);
  return {
    schema: {
      type: "object",
      properties: Object.fromEntries(entries.map(([name, s]) => [name, s.schema])),
      ...(required.length === 0 ? {} : { required }),
      additionalProperties: false,
    },
    check: (value, path, say) => {
      if (!isObject(value))
        return say(path, value === undefined ? "missing" : `expected an object, found ${shown(value)}`);
      const at = path.length;
      for (const [name, shape] of entries) {
        const inside = Object.hasOwn(value, name) ? value[name] : undefined;
        if (inside === undefined && shape.isOptional) continue;
        path[at] = name;
        shape.check(inside, path, say);
      }
      for (const name of Object.keys(value)) {
        if (Object.hasOwn(rows, name)) continue;
        path[at] = name;
        say(path, "unknown name");
      }
      path.length = at;
    },
  };
}

/** Objects told apart by what `kind` says of them; one that it does not know is checked as the first. */
export const choiceOf = (
  word: "anyOf" | "oneOf",
  shapes: readonly Shape[],
  kind: (value: Readonly<Record<string, unknown>>) => number,
): Shape => ({
  schema: { [word]: shapes.map((s) => s.schema) },
  check: (value, path, say) => {
    if (!isObject(value))
      return say(path, value === undefined ? "missing" : `expected an object, found ${shown(value)}`);
    (shapes[kind(value)] ?? (shapes[0] as Shape)).check(value, path, say);
  },
});
