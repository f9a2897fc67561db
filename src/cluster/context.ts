import type { Code } from "./codes.ts";
import { nearest } from "./near.ts";
import { makeProblem, type Path, type Problem, quote } from "./problem.ts";
import type { ReadText } from "./read.ts";

/** Above this a file is not worth explaining further; bounds time and memory on hostile input. */
export const problemLimit = 200;

/** Where the parts of the resolver put what they find. */
export class Context {
  readonly problems: Problem[] = [];
  readonly #read: ReadText;

  constructor(read: ReadText) {
    this.#read = read;
  }

  add(code: Code, path: Path, message: string, remedy?: string, of: "key" | "value" = "value"): void {
    if (this.problems.length > problemLimit) return;
    this.problems.push(makeProblem(code, this.#read.positionOf(path, of), path, message, remedy));
  }

  lineOf(path: Path): number {
    return this.#read.positionOf(path).line;
  }

  /** An unknown reference, with the name that was perhaps meant. */
  unknown(code: Code, path: Path, what: string, name: string, known: Iterable<string>): void {
    const hint = nearest(name, known);
    this.add(
      code,
      path,
      `no ${what} is called ${quote(name)}`,
      hint === undefined ? undefined : `did you mean ${hint}?`,
    );
  }
}

/** One entry of a section, whichever of the forms it is written in. */
export interface Entry<T> {
  readonly name: string | undefined;
  readonly value: T;
  readonly path: Path;
  /** Where its name stands. */
  readonly namePath: Path;
}

/** Undoes the short forms: a mapping of names or a list, whose values may be a bare text that means `{[short]: text}`. */
export function entriesOf<T extends object>(
  section: string,
  value: Readonly<Record<string, string | T>> | readonly (string | (T & { name?: string | undefined }))[],
  short: string,
): Entry<T>[] {
  const open = (item: string | T): T => (typeof item === "string" ? ({ [short]: item } as T) : item);
  if (Array.isArray(value))
    return (value as readonly (string | (T & { name?: string }))[]).map((item, i) => ({
      name: typeof item === "string" ? undefined : item.name,
      value: open(item),
      path: [section, i],
      namePath: [section, i, "name"],
    }));
  return Object.entries(value as Readonly<Record<string, string | T>>).map(([name, item]) => ({
    name,
    value: open(item),
    path: [section, name],
    namePath: [section, name],
  }));
}
