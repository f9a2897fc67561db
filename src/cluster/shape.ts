import type * as z from "zod";
import { type Code, codes } from "./codes.ts";
import type { Memory } from "./memory.ts";
import { nearest } from "./near.ts";
import { makeProblem, type Path, type Problem, quote } from "./problem.ts";
import type { Plain, ReadText } from "./read.ts";
import { type ClusterInput, clusterSchema, type ServiceInput } from "./schema.ts";

type Issue = z.core.$ZodIssue;

/** What people write from habit, and what it is called here. */
const otherNames: ReadonlyMap<string, string> = new Map([
  ["gateway", "router"],
  ["ip", "address"],
  ["dev", "interface"],
  ["device", "interface"],
  ["backends", "realServers"],
  ["real_servers", "realServers"],
  ["real-servers", "realServers"],
  ["servers", "realServers"],
  ["balancers", "directors"],
  ["subnet", "prefix"],
  ["cidr", "prefix"],
  ["method", "forwarding"],
  ["lb_kind", "forwarding"],
  ["lb_algo", "scheduler"],
  ["algorithm", "scheduler"],
  ["vrid", "id"],
  ["virtual_router_id", "id"],
  ["advert_int", "intervalMs"],
  ["interval", "intervalMs"],
  ["timeout", "timeoutMs"],
  ["ports", "port"],
  ["checks", "health"],
  ["virtualIps", "vips"],
]);

const sections: ReadonlyMap<string, Code> = new Map([
  ["networks", "no-networks"],
  ["directors", "no-directors"],
  ["realServers", "no-real-servers"],
  ["vips", "no-vips"],
  ["services", "no-services"],
]);

/** A fault that leaves the rest readable without the value at this path, or with it under another key. */
interface Cut {
  readonly path: Path;
  readonly rename?: string | undefined;
}

export interface Shaped {
  readonly problems: readonly Problem[];
  /** Present when the form is right but for faults that leave the rest readable (a misspelt key, a number too large). */
  readonly input: ClusterInput | undefined;
}

/** Holds the data against the schema; one problem for each fault, in the file's terms. */
export function shape(read: ReadText, memory?: Memory): Shaped {
  const first = remembered(read.data, memory) ?? clusterSchema.safeParse(read.data);
  const problems = emptySections(read);
  if (first.success) return { problems, input: problems.length === 0 ? first.data : undefined };
  const cuts: Cut[] = [];
  for (const issue of first.error.issues) explain(issue, [], read, problems, cuts);
  if (cuts.length < problems.length) return { problems, input: undefined };
  // Only faults that can be cut out: do so, to find in the same run what is wrong with the meaning of the rest.
  const again = clusterSchema.safeParse(without(read.data, cuts));
  return { problems, input: again.success ? again.data : undefined };
}

/** Only what is new is looked at; undefined where that has a fault, which is told from the whole. */
function remembered(data: Plain, memory: Memory | undefined): { success: true; data: ClusterInput } | undefined {
  if (memory === undefined || !isMapping(data) || !Array.isArray(data.services)) return undefined;
  const items = data.services;
  const known = items.map((item) => memory.service(item));
  const fresh = items.filter((_, i) => known[i] === undefined);
  const { short, lists } = withoutRepeated(fresh);
  const found = clusterSchema.safeParse({ ...data, services: short });
  if (!found.success) return undefined;
  for (const [i, input] of found.data.services.entries()) {
    const list = lists[i];
    if (list !== undefined) input.realServers = (found.data.services[list] as ServiceInput).realServers;
    memory.keepService(fresh[i] as Plain, input);
  }
  let next = 0;
  const services = known.map((one) => one ?? (found.data.services[next++] as ServiceInput));
  return { success: true, data: { ...found.data, services } };
}

/** One list of real servers that many services have (quickYaml.ts) is looked at in the first of them alone. */
function withoutRepeated(services: readonly Plain[]): {
  readonly short: readonly Plain[];
  /** Where the list of each is; undefined: its own. */
  readonly lists: readonly (number | undefined)[];
} {
  const first = new Map<object, number>();
  const lists: (number | undefined)[] = [];
  const short = services.map((service, i) => {
    const list = isMapping(service) ? service.realServers : undefined;
    if (!isMapping(service) || typeof list !== "object" || list === null) return service;
    lists[i] = first.get(list);
    if (lists[i] === undefined) {
      first.set(list, i);
      return service;
    }
    const { realServers: _, ...rest } = service;
    return rest;
  });
  return { short, lists };
}

function emptySections(read: ReadText): Problem[] {
  const problems: Problem[] = [];
  if (!isMapping(read.data)) return problems;
  for (const [key, code] of sections) {
    const value = read.data[key];
    if (typeof value === "object" && value !== null && Object.keys(value).length === 0)
      problems.push(makeProblem(code, read.positionOf([key], "key"), [key], `\`${key}\` is empty`));
  }
  return problems;
}

function explain(issue: Issue, base: Path, read: ReadText, problems: Problem[], cuts: Cut[]): void {
  const path: Path = [...base, ...issue.path.map((p) => (typeof p === "symbol" ? String(p) : p))];
  const value = valueAt(read.data, path);
  const add = (code: Code, message: string, remedy?: string, at: Path = path, of: "key" | "value" = "value") =>
    problems.push(makeProblem(code, read.positionOf(at, of), at, message, remedy));
  const label = path.length === 0 ? "the file" : `\`${lastKey(path)}\``;

  if (value === undefined && issue.code !== "unrecognized_keys") {
    const section = path.length === 1 ? sections.get(String(path[0])) : undefined;
    const parent = path.slice(0, -1);
    const where = parent.length === 0 ? "" : ` in \`${lastKey(parent)}\``;
    return void add(section ?? "missing-key", `${label} is missing${where}`, section && codes[section].remedy, path);
  }
  if (value === null && path.length > 0 && sections.has(String(path[0])) && path.length === 1)
    return void add(sections.get(String(path[0])) as Code, `${label} is empty`);

  const own = /^@([a-z0-9-]+)\|(.*)$/s.exec(issue.message);
  if (own !== null) {
    const code = own[1] as Code;
    const phrase = own[2] ?? "";
    const special = explainText(code, value, path);
    if (special !== undefined) return void add(special.code, special.message, special.remedy);
    if (code.endsWith("-range") && typeof value === "number") {
      // In a list a value cannot be left out without moving the others.
      if (typeof path.at(-1) === "string") cuts.push({ path });
      return void add(code, `${label} is ${quote(value)}, and must be ${phrase}`);
    }
    if ("values" in issue && Array.isArray(issue.values)) return void addWord(issue.values.map(String), code);
    return void add(code, `${label} is ${quote(value)}, and must be ${phrase}`);
  }

  switch (issue.code) {
    case "unrecognized_keys":
      for (const key of issue.keys) {
        const known = knownKeys(path, read.data);
        const other = otherNames.get(key);
        const hint = other !== undefined && known.includes(other) ? other : nearest(key, known);
        const remedy =
          hint === undefined ? `keys possible here: ${known.join(", ") || "none"}` : `did you mean \`${hint}\`?`;
        cuts.push({ path: [...path, key], rename: hint });
        add("unknown-key", `unknown key ${quote(key)}`, remedy, [...path, key], "key");
      }
      return;
    case "invalid_key":
      return void add("bad-name", `${quote(String(path.at(-1)))} cannot be a name`, undefined, path, "key");
    case "invalid_value":
      return void addWord(issue.values.map(String), "unknown-value");
    case "invalid_union": {
      if ("options" in issue && Array.isArray(issue.options))
        return void addWord(issue.options.map(String), "unknown-value");
      const words = (issue.errors as Issue[][]).flat().filter((i) => i.code === "invalid_value" && i.path.length === 0);
      if (typeof value === "string" && words.length > 1)
        return void addWord(
          [...new Set(words.flatMap((i) => (i.code === "invalid_value" ? i.values.map(String) : [])))],
          "unknown-value",
        );
      const branch = bestBranch(issue.errors as Issue[][], value);
      if (branch !== undefined) {
        for (const inner of branch) explain(inner, path, read, problems, cuts);
        return;
      }
      const kinds = [...new Set((issue.errors as Issue[][]).flatMap((b) => b.map(expected)))].filter((k) => k !== "");
      return void add(
        "wrong-type",
        `${label} is ${quote(value)}, and must be ${kinds.join(" or ") || "something else"}`,
      );
    }
    case "invalid_type": {
      const yesNo = issue.expected === "boolean" && /^(yes|no|on|off)$/i.test(String(value));
      const remedy = yesNo ? `write ${/^(yes|on)$/i.test(String(value)) ? "true" : "false"}` : undefined;
      return void add("wrong-type", `${label} is ${quote(value)}, and must be ${expected(issue)}`, remedy);
    }
    default:
      return void add("wrong-type", `${label} is ${quote(value)}: ${issue.message}`);
  }

  function addWord(words: readonly string[], code: Code): void {
    const hint = typeof value === "string" ? nearest(value, words) : undefined;
    const list = words.join(", ");
    add(
      code,
      `${label} is ${quote(value)}, which is not one of ${list}`,
      hint === undefined ? `use one of ${list}` : `did you mean ${hint}?`,
    );
  }
}

/** Says more exactly why a text is no address, where that can be told. */
function explainText(code: Code, value: Plain | undefined, path: Path) {
  if ((code !== "bad-address" && code !== "bad-prefix") || typeof value !== "string") return undefined;
  const label = `\`${lastKey(path)}\``;
  if (/^[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?(\/\d+)?$/i.test(value)) {
    const message = `${label} is the IPv6 address ${quote(value)}, which is not supported yet`;
    return { code: "ipv6-not-yet" as const, message, remedy: codes["ipv6-not-yet"].remedy };
  }
  if (/^[\d.]+(\/\d+)?$/.test(value) && /(^|\.)0\d/.test(value)) {
    const message = `${label} is ${quote(value)}: a leading zero, which some tools read as octal`;
    const remedy = `write ${value.replace(/(^|\.)0+(?=\d)/g, "$1")}, if decimal was meant`;
    return { code, message, remedy: remedy.slice(0, 200) };
  }
  if (code === "bad-address" && /^[\d.]+\/\d+$/.test(value)) {
    const remedy = `write ${value.split("/")[0]}`.slice(0, 200);
    return { code, message: `${label} is ${quote(value)}: an address has no length here`, remedy };
  }
  if (code === "bad-prefix" && /^[\d.]+$/.test(value)) {
    const remedy = "add the length, such as /24";
    return { code, message: `${label} is ${quote(value)}: the length is missing`, remedy };
  }
  return undefined;
}

/** The branch of a union that the writer meant: the one whose kind (text, list, mapping) is the value's. */
function bestBranch(branches: readonly Issue[][], value: Plain | undefined): Issue[] | undefined {
  const fitting = branches.filter((branch) => !branch.some((issue) => mismatched(issue, value)));
  const pick = (from: readonly Issue[][]) => [...from].sort((a, b) => a.length - b.length)[0];
  // A branch with a word list or a code of its own says more than a bare "wrong type".
  return pick(fitting) ?? pick(branches.filter((branch) => branch.some((issue) => issue.message.startsWith("@bad-"))));
}

function mismatched(issue: Issue, value: Plain | undefined): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === "invalid_type") return true;
  if (issue.code === "invalid_value") return typeof value !== "string";
  if (issue.code !== "invalid_union" || "options" in issue || issue.message.startsWith("@")) return false;
  return (issue.errors as Issue[][]).every((branch) => branch.some((inner) => mismatched(inner, value)));
}

const kindNames: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "a mapping (key: value)",
  record: "a mapping (key: value)",
  array: "a list",
};

function expected(issue: Issue): string {
  if (issue.code === "invalid_type") return kindNames[issue.expected] ?? issue.expected;
  if (issue.code === "invalid_value") return `one of ${issue.values.map(String).join(", ")}`;
  if (issue.code === "invalid_union")
    return [...new Set((issue.errors as Issue[][]).flatMap((b) => b.map(expected)))]
      .filter((k) => k !== "")
      .join(" or ");
  return "";
}

function knownKeys(path: Path, data: Plain): string[] {
  let schemas: z.core.$ZodType[] = [clusterSchema];
  let value: Plain | undefined = data;
  for (const part of path) {
    schemas = schemas.flatMap((s) => step(s, part));
    value = valueAt(value, [part]);
  }
  const type = isMapping(value) ? value.type : undefined;
  const objects = schemas.flatMap(unwrap).filter((s) => s._zod.def.type === "object") as z.ZodObject[];
  // Of the kinds of a check only the one that is written counts.
  const meant = objects.filter((o) => {
    const literal = o.shape.type as z.ZodType | undefined;
    return typeof type !== "string" || literal?._zod.def.type !== "literal" || literal.safeParse(type).success;
  });
  return [...new Set(meant.flatMap((o) => Object.keys(o.shape)))];
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType[] {
  const def = schema._zod.def as { type: string; innerType?: z.core.$ZodType; options?: z.core.$ZodType[] };
  if (def.innerType !== undefined) return unwrap(def.innerType);
  if (def.options !== undefined) return def.options.flatMap(unwrap);
  return [schema];
}

function step(schema: z.core.$ZodType, part: string | number): z.core.$ZodType[] {
  return unwrap(schema).flatMap((s) => {
    const def = s._zod.def as {
      type: string;
      shape?: Record<string, z.core.$ZodType>;
      element?: z.core.$ZodType;
      valueType?: z.core.$ZodType;
    };
    if (def.type === "object") {
      const inner = Object.hasOwn(def.shape ?? {}, part) ? def.shape?.[part] : undefined;
      return inner === undefined ? [] : [inner];
    }
    if (def.type === "array" && typeof part === "number") return def.element === undefined ? [] : [def.element];
    if (def.type === "record" && typeof part === "string") return def.valueType === undefined ? [] : [def.valueType];
    return [];
  });
}

const lastKey = (path: Path): string => {
  const last = path.at(-1);
  if (typeof last !== "number") return quote(last).slice(1, -1);
  const list = path.findLast((p) => typeof p === "string");
  return `${list ?? "item"}[${last}]`;
};

const isMapping = (value: Plain | undefined): value is { [key: string]: Plain } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function valueAt(data: Plain | undefined, path: Path): Plain | undefined {
  let here: Plain | undefined = data;
  for (const part of path) {
    if (Array.isArray(here)) here = here[part as number];
    else if (isMapping(here)) here = Object.hasOwn(here, part) ? here[part as string] : undefined;
    else return undefined;
  }
  return here;
}

/** A copy without the values at these paths, misspelt keys put right. */
function without(data: Plain, cuts: readonly Cut[]): Plain {
  const copy = structuredClone(data);
  for (const { path, rename } of cuts) {
    const parent = valueAt(copy, path.slice(0, -1));
    const key = String(path.at(-1));
    const value = valueAt(parent, [key]);
    if (!isMapping(parent) || value === undefined) continue;
    delete parent[key];
    if (rename !== undefined && !Object.hasOwn(parent, rename)) parent[rename] = value;
  }
  return copy;
}
