import { type Change, type ChangeName, isLasting } from "../change.ts";

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

export type Of<Name extends ChangeName> = Extract<Change, { readonly kind: Name }>;
export const ofKind = <Name extends ChangeName>(changes: readonly Change[], kind: Name): Of<Name>[] =>
  changes.filter((c): c is Of<Name> => c.kind === kind);

/** A link that addresses or local routes need, with what stands on it. */
export interface Device {
  readonly name: string;
  /** No system of files needs quotes, escapes or patterns for this name; others are for the shell, which can quote. */
  readonly plain: boolean;
  readonly addresses: readonly Of<"address">[];
  readonly routes: readonly Of<"route">[];
  readonly link: Of<"link"> | undefined;
  /** Made, or only brought up: no flag of a device that was there is changed. */
  readonly born: boolean;
}

export const isPlainName = (name: string): boolean => /^\w[\w.@+-]{0,14}$/.test(name);

export function devices(changes: readonly Change[]): Device[] {
  const addresses = ofKind(changes, "address").filter((c) => c.after !== null);
  const routes = ofKind(changes, "route").filter((c) => c.after);
  const links = ofKind(changes, "link").filter((c) => c.after !== null);
  const names = new Set([
    ...links.map((c) => c.name),
    ...addresses.map((c) => c.link),
    ...routes.flatMap((c) => c.route.dev ?? []),
  ]);
  return [...names].map((name) => {
    const link = links.find((c) => c.name === name);
    return {
      name,
      plain: isPlainName(name),
      addresses: addresses.filter((c) => c.link === name),
      routes: routes.filter((c) => c.route.dev === name),
      link,
      born: link === undefined || link.before === null || link.before.noarp === link.after?.noarp,
    };
  });
}

/** What must be said by another system: all but what stands on these devices, and these kinds. */
export function restOf(changes: readonly Change[], said: readonly Device[], ...kinds: ChangeName[]): Change[] {
  const covered = new Set<Change>(
    said.flatMap((d) => [...d.addresses, ...d.routes, ...(d.link === undefined ? [] : [d.link])]),
  );
  return changes.filter((c) => !covered.has(c) && !kinds.includes(c.kind) && !isLasting(c));
}

export const MODULES_FILE = "/etc/modules-load.d/vipward.conf";
export const modulesLoad = (changes: readonly Change[]): RenderedFile[] =>
  one(
    MODULES_FILE,
    ofKind(changes, "module")
      .filter((c) => c.after)
      .map((c) => c.name),
  );
