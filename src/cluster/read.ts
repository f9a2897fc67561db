import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  YAMLParseError,
} from "yaml";
import { nearest } from "./near.ts";
import { makeProblem, type Path, type Position, type Problem, quote } from "./problem.ts";

/** Plain data: what JSON can say. Aliases share one object. */
export type Plain = string | number | boolean | null | Plain[] | { [key: string]: Plain };

/** The file as data, with a way back from each value to its place in the text. */
export interface ReadText {
  readonly data: Plain;
  /** Where the value (or the key) at a path stands; for what is not in the file, the nearest thing around it. */
  positionOf(path: Path, of?: "key" | "value"): Position;
}

export type ReadResult =
  | { readonly ok: true; readonly read: ReadText; readonly problems: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

const depthLimit = 32;
/** A level of the file is at most three tokens that enclose each other. */
const tokenDepthLimit = 3 * depthLimit;
/** Values that aliases may add to a file; examples use tens. */
const aliasLimit = 50_000;

interface Place {
  readonly key: number;
  readonly value: number;
}

interface Converted {
  readonly value: Plain;
  /** Values inside, itself included, with aliases written out. */
  readonly size: number;
}

/** Stops the walk: what follows cannot be read sensibly. */
class Stop extends Error {}

/**
 * YAML or JSON text to plain data. Never throws, and its cost is linear in the text: yaml's own toJS() and its
 * duplicate-key search are not (a file of "? ? ? ..." holds toJS() for minutes), so the nodes are walked here.
 */
export function readYaml(text: string): ReadResult {
  const lines = new LineCounter();
  const problems: Problem[] = [];
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(Math.max(0, Math.min(offset, text.length)));
    return line > 0 ? { line, column: Math.max(1, col) } : { line: 1, column: 1 };
  };

  const composed = compose(text, lines);
  if (typeof composed === "number") {
    const message = `more than ${depthLimit} levels of nesting`;
    return { ok: false, problems: [makeProblem("too-deep", at(composed), [], message)] };
  }
  const document = composed;
  if (document.errors.length > 0) {
    for (const error of document.errors.slice(0, 20)) {
      if (error.code === "MULTIPLE_DOCS") {
        const remedy = "keep one document and take the `---` line between them away";
        problems.push(
          makeProblem("yaml-syntax", at(error.pos[0]), [], "the file holds several YAML documents", remedy),
        );
      } else {
        const remedy =
          error.code === "TAB_AS_INDENT"
            ? "indent with spaces; YAML does not allow tabs"
            : syntaxRemedy(text, at(error.pos[0]));
        problems.push(
          makeProblem("yaml-syntax", at(error.pos[0]), [], `not YAML: ${firstLine(error.message)}`, remedy),
        );
      }
    }
    return { ok: false, problems };
  }
  for (const note of document.warnings.slice(0, 20))
    problems.push(makeProblem("yaml-tag", at(note.pos[0]), [], firstLine(note.message)));

  const walk = new Walk(at, problems);
  let data: Plain;
  try {
    data = walk.convert(document.contents, [], 0).value;
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    return { ok: false, problems };
  }
  if (data === null) {
    return { ok: false, problems: [makeProblem("empty-file", at(0), [], "the cluster file is empty")] };
  }
  const rootOffset = document.contents?.range?.[0] ?? 0;
  const positionOf = (path: Path, of: "key" | "value" = "value"): Position => {
    let here: Plain = data;
    let offset = rootOffset;
    for (const [i, part] of path.entries()) {
      if (typeof here !== "object" || here === null) break;
      const place = walk.places.get(here)?.get(part);
      if (place === undefined) break;
      offset = of === "key" && i === path.length - 1 ? place.key : place.value;
      // A block mapping or a missing value points at nothing a person sees: its key is the better place.
      if (Array.isArray(here)) here = here[part as number] ?? null;
      else here = here[part as string] ?? null;
    }
    return at(offset);
  };
  return { ok: true, read: { data, positionOf }, problems };
}

/**
 * The YAML document of a text, or the offset at which it is nested too deep. The composer recurses, and V8 ends the
 * process (no exception) when a regular expression has to be compiled near the end of the stack: so the depth is
 * measured before, in the tokens, which are made without recursion.
 */
function compose(text: string, lines: LineCounter): Document.Parsed | number {
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) tokens.push(token);
    if (parser.stack.length > tokenDepthLimit) return parser.offset;
  }
  for (const token of parser.end()) tokens.push(token);
  let first: Document.Parsed | undefined;
  // Keys are compared one with all by yaml itself; Walk does it by a table.
  const composer = new Composer({ uniqueKeys: false, logLevel: "error" });
  for (const document of composer.compose(tokens, true, text.length)) {
    if (first === undefined) first = document as Document.Parsed;
    else {
      const message = "Source contains multiple documents";
      first.errors.push(new YAMLParseError([document.range[0], document.range[1]], "MULTIPLE_DOCS", message));
      break;
    }
  }
  if (first === undefined) throw new Error("the composer made no document although one was forced");
  return first;
}

const firstLine = (message: string): string => message.split("\n", 1)[0]?.slice(0, 200) ?? "";

function syntaxRemedy(text: string, position: Position): string {
  const line = text.split("\n", position.line)[position.line - 1] ?? "";
  if (/^\s*\t/.test(line)) return "indent with spaces; YAML does not allow tabs";
  if (/:\S/.test(line) && !/: /.test(line)) return "put a space behind the colon";
  return "check the quotes, brackets and indentation here and on the line before";
}

class Walk {
  readonly places = new WeakMap<object, Map<string | number, Place>>();
  readonly #at: (offset: number) => Position;
  readonly #problems: Problem[];
  readonly #anchors = new Map<string, Converted | "open">();
  #aliased = 0;

  constructor(at: (offset: number) => Position, problems: Problem[]) {
    this.#at = at;
    this.#problems = problems;
  }

  convert(node: unknown, path: Path, depth: number): Converted {
    if (depth > depthLimit) this.#stop("too-deep", node, path, `more than ${depthLimit} levels of nesting`);
    if (isAlias(node)) return this.#alias(node, path);
    const anchor = isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, "open");
    const converted = isMap(node)
      ? this.#map(node, path, depth)
      : isSeq(node)
        ? this.#list(node, path, depth)
        : { value: isScalar(node) ? plainScalar(node.value) : null, size: 1 };
    if (anchor !== undefined) this.#anchors.set(anchor, converted);
    return converted;
  }

  #alias(node: { source: string; range?: Node["range"] }, path: Path): Converted {
    const target = this.#anchors.get(node.source);
    if (target === undefined) {
      const hint = nearest(node.source, this.#anchors.keys());
      const remedy = hint === undefined ? "define it before with &NAME" : `did you mean *${hint}?`;
      const position = this.#at(node.range?.[0] ?? 0);
      this.#problems.push(makeProblem("yaml-syntax", position, path, `no anchor ${quote(node.source)} above`, remedy));
      throw new Stop();
    }
    if (target === "open") return this.#stop("too-many-aliases", node, path, "an alias that contains itself");
    this.#aliased += target.size;
    if (this.#aliased > aliasLimit)
      return this.#stop("too-many-aliases", node, path, `aliases stand for more than ${aliasLimit} values`);
    return target;
  }

  #map(node: { items: unknown[] }, path: Path, depth: number): Converted {
    const value: { [key: string]: Plain } = {};
    const places = new Map<string | number, Place>();
    this.places.set(value, places);
    const merges: Plain[] = [];
    let size = 1;
    for (const pair of node.items) {
      if (!isPair(pair)) continue;
      const keyNode = pair.key;
      const keyOffset = offsetOf(keyNode) ?? 0;
      if (!isScalar(keyNode) || keyNode.value === null || typeof keyNode.value === "object") {
        this.#problems.push(makeProblem("bad-key", this.#at(keyOffset), path, "a key must be a plain word"));
        continue;
      }
      const key = String(keyNode.value);
      const inside = this.convert(pair.value, [...path, key], depth + 1);
      size += inside.size;
      if (key === "<<" && keyNode.source === "<<") {
        merges.push(...(Array.isArray(inside.value) ? inside.value : [inside.value]));
        continue;
      }
      if (key === "__proto__") {
        this.#problems.push(makeProblem("bad-key", this.#at(keyOffset), path, `${quote(key)} cannot be a key`));
        continue;
      }
      if (places.has(key)) {
        const first = this.#at(places.get(key)?.key ?? 0).line;
        const message = `${quote(key)} stands twice in one mapping, first on line ${first}`;
        this.#problems.push(makeProblem("duplicate-key", this.#at(keyOffset), [...path, key], message));
        continue;
      }
      value[key] = inside.value;
      const valueOffset = isMap(pair.value) && !pair.value.flow ? keyOffset : (offsetOf(pair.value) ?? keyOffset);
      places.set(key, { key: keyOffset, value: inside.value === null ? keyOffset : valueOffset });
    }
    for (const source of merges) this.#merge(value, places, source, node, path);
    return { value, size };
  }

  /** `<<: *defaults`: keys of the mapping itself win, then those of the first source named. */
  #merge(
    into: { [key: string]: Plain },
    places: Map<string | number, Place>,
    source: Plain,
    node: unknown,
    path: Path,
  ) {
    if (typeof source !== "object" || source === null || Array.isArray(source)) {
      const position = this.#at(offsetOf(node) ?? 0);
      this.#problems.push(makeProblem("wrong-type", position, path, "`<<` takes a mapping, or a list of mappings"));
      return;
    }
    for (const [key, value] of Object.entries(source)) {
      if (places.has(key)) continue;
      into[key] = value;
      const place = this.places.get(source)?.get(key);
      if (place !== undefined) places.set(key, place);
    }
  }

  #list(node: { items: unknown[] }, path: Path, depth: number): Converted {
    const value: Plain[] = [];
    const places = new Map<string | number, Place>();
    this.places.set(value, places);
    let size = 1;
    for (const [i, item] of node.items.entries()) {
      const inside = this.convert(item, [...path, i], depth + 1);
      size += inside.size;
      value.push(inside.value);
      const offset = offsetOf(item) ?? offsetOf(node) ?? 0;
      places.set(i, { key: offset, value: offset });
    }
    return { value, size };
  }

  #stop(code: "too-deep" | "too-many-aliases", node: unknown, path: Path, message: string): never {
    this.#problems.push(makeProblem(code, this.#at(offsetOf(node) ?? 0), path, message));
    throw new Stop();
  }
}

const offsetOf = (node: unknown): number | undefined =>
  typeof node === "object" && node !== null && "range" in node && Array.isArray(node.range)
    ? (node.range[0] as number)
    : undefined;

function plainScalar(value: unknown): Plain {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return value === null || value === undefined ? null : String(value);
}
