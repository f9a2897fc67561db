import { type Code, codes, type Severity } from "./codes.ts";

/** Where a value sits in the file: keys and list indexes from the top. */
export type Path = readonly (string | number)[];

/** One thing wrong with a cluster file. */
export interface Problem {
  readonly code: Code;
  readonly severity: Severity;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units as editors count. */
  readonly column: number;
  /** "services[0].port"; "" for the file as a whole. */
  readonly path: string;
  /** What is wrong, one sentence. */
  readonly message: string;
  /** What to do about it; never empty. */
  readonly remedy: string;
}

export interface Position {
  readonly line: number;
  readonly column: number;
}

const plainKey = /^[A-Za-z_][A-Za-z0-9_-]*$/;

export function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (plainKey.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${quote(part)}]`;
  }
  return text;
}

// What comes from the file may hold terminal escapes: C0, DEL, C1, line separators and the bidirectional controls.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Text made safe for a terminal; each unprintable unit becomes one visible character, so columns stay. */
export const printable = (text: string): string => text.replace(unprintable, (c) => (c === "\t" ? " " : "\u00b7"));

/** A value as a message shows it: short, safe, texts in quotes. */
export function quote(value: unknown): string {
  if (typeof value === "string") {
    const short = value.length > 60 ? `${value.slice(0, 57)}...` : value;
    return `"${printable(short)}"`;
  }
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return String(value);
}

export function makeProblem(
  code: Code,
  position: Position,
  path: Path,
  message: string,
  remedy: string = codes[code].remedy,
): Problem {
  const { line, column } = position;
  return { code, severity: codes[code].severity, line, column, path: formatPath(path), message, remedy };
}

export const byPosition = (a: Problem, b: Problem): number =>
  a.line - b.line || a.column - b.column || (a.code < b.code ? -1 : a.code > b.code ? 1 : 0);

const windowColumns = 110;

/**
 * A problem as a person reads it: file:line:column, the line with a caret, what is wrong, what to do.
 * Long lines are cut around the caret. `text` is the text that was parsed.
 */
export function formatProblem(problem: Problem, fileName: string, text: string): string {
  const where = `${printable(fileName)}:${problem.line}:${problem.column}`;
  const place = problem.path === "" ? "" : ` (${problem.path})`;
  const head = `${where}: ${problem.severity}: ${problem.message} [${problem.code}]`;
  const number = String(problem.line);
  const margin = " ".repeat(number.length);
  const full = lineOf(text, problem.line);
  const out = [head];
  if (full.trim() !== "") {
    const start = Math.max(0, Math.min(problem.column - 1 - 40, full.length - windowColumns));
    const shown = printable(full.slice(start, start + windowColumns));
    const lead = start > 0 ? "..." : "";
    const tail = start + windowColumns < full.length ? "..." : "";
    const caret = Math.max(0, Math.min(problem.column - 1 - start, shown.length)) + lead.length;
    out.push(`  ${number} | ${lead}${shown}${tail}`, `  ${margin} | ${" ".repeat(caret)}^`);
  }
  out.push(`  ${margin} = remedy: ${problem.remedy}${place}`);
  return out.join("\n");
}

function lineOf(text: string, line: number): string {
  let start = 0;
  for (let n = 1; n < line; n++) {
    const next = text.indexOf("\n", start);
    if (next < 0) return "";
    start = next + 1;
  }
  const end = text.indexOf("\n", start);
  return text.slice(start, end < 0 ? text.length : end).replace(/\r$/, "");
}
