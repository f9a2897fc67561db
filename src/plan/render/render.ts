import type { Change, ChangeName } from "../change.ts";

/** A change as one system's own words; undefined: that system has none for it. */
export type Lines<Name extends ChangeName> = (
  c: Extract<Change, { readonly kind: Name }>,
) => readonly string[] | undefined;
export type Table = { readonly [Name in ChangeName]?: Lines<Name> };

export interface RenderedFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

export interface Rendered {
  /** Files to put there, or, where `path` is "", text for standard output. */
  readonly files: readonly RenderedFile[];
  /** Changes that this system cannot say: another one must. */
  readonly notCovered: readonly Change[];
}

/** `changes` in the order in which they must happen. `old`: a host with ifconfig and ipchains (2.0 to 2.2). */
export type Renderer = (changes: readonly Change[], old: boolean) => Rendered;

/** Puts each change through the table. */
export function through(table: Table, changes: readonly Change[]): { lines: string[]; notCovered: Change[] } {
  const lines: string[] = [];
  const notCovered: Change[] = [];
  for (const c of changes) {
    const said = (table[c.kind] as ((c: Change) => readonly string[] | undefined) | undefined)?.(c);
    if (said === undefined) notCovered.push(c);
    else lines.push(...said);
  }
  return { lines, notCovered };
}

/** What a boot must make again: lasting things (files, forgotten neighbours) need nothing. */
export const forBoot = (changes: readonly Change[]): Change[] =>
  changes.filter((c) => c.kind !== "file" && c.kind !== "neighbour");

export const HEADER = "# Made by vipward; `vipward undo` takes it away.";
export const text = (lines: readonly string[]): string => lines.map((l) => `${l}\n`).join("");
export const one = (path: string, lines: readonly string[], mode = 0o644): RenderedFile[] =>
  lines.length === 0 ? [] : [{ path, text: text([HEADER, ...lines]), mode }];
