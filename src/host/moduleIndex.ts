/**
 * What depmod(8) wrote about one kernel's modules, and /proc/modules: text to tables. No I/O.
 * Names count dashes as underscores, as the kernel does: ip-vs and ip_vs are one module.
 */

/** One module file, from modules.dep. */
export interface ModuleFile {
  /** Relative to /lib/modules/RELEASE. */
  readonly path: string;
  /** Paths of all modules it needs, direct or not; the one needed first stands last. */
  readonly needs: readonly string[];
}

export const canonicalModuleName = (name: string): string => name.replaceAll("-", "_");

/** "kernel/net/netfilter/ipvs/ip_vs_wrr.ko.xz" -> "ip_vs_wrr". */
export const moduleNameOfPath = (path: string): string =>
  canonicalModuleName(path.slice(path.lastIndexOf("/") + 1).replace(/\.ko(\.(gz|xz|zst))?$/, ""));

const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));

/** modules.dep: "PATH: PATH PATH...". Keyed by module name. */
export function parseModulesDep(text: string): Map<string, ModuleFile> {
  const files = new Map<string, ModuleFile>();
  for (const line of lines(text)) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const path = line.slice(0, colon);
    const needs = line
      .slice(colon + 1)
      .split(" ")
      .filter((p) => p !== "");
    files.set(moduleNameOfPath(path), { path, needs });
  }
  return files;
}

/** modules.builtin: one path a line. */
export const parseModulesBuiltin = (text: string): Set<string> => new Set(lines(text).map(moduleNameOfPath));

export interface ModuleAlias {
  /** With the wildcards of fnmatch(3): "rtnl-link-ipip", "pci:v00001022d*". */
  readonly pattern: string;
  readonly module: string;
}

/** modules.alias: "alias PATTERN MODULE". */
export function parseModulesAlias(text: string): ModuleAlias[] {
  const aliases: ModuleAlias[] = [];
  for (const line of lines(text)) {
    const [word, pattern, module] = line.split(/\s+/);
    if (word === "alias" && pattern !== undefined && module !== undefined)
      aliases.push({ pattern: canonicalModuleName(pattern), module: canonicalModuleName(module) });
  }
  return aliases;
}

/** /proc/modules: "NAME SIZE REFERENCES USERS STATE ADDRESS"; only those in state Live count as loaded. */
export function parseProcModules(text: string): Set<string> {
  const live = new Set<string>();
  for (const line of lines(text)) {
    const [name, , , , state] = line.split(" ");
    if (name !== undefined && state === "Live") live.add(canonicalModuleName(name));
  }
  return live;
}

/** fnmatch(3) with `*`, `?` and `[...]`, the forms that modules.alias holds. Only the last star is ever retried. */
export function matchesAlias(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let retry = 0;
  while (n < name.length) {
    const step = pattern[p] === "*" ? 0 : matchOne(pattern, p, name[n] as string);
    if (pattern[p] === "*") {
      star = p++;
      retry = n;
    } else if (step > 0) {
      p += step;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** How many characters of the pattern match this one; 0 when they do not. */
function matchOne(pattern: string, at: number, character: string): number {
  const wanted = pattern[at];
  if (wanted === undefined) return 0;
  if (wanted === "?") return 1;
  if (wanted !== "[") return wanted === character ? 1 : 0;
  const end = pattern.indexOf("]", at + 2);
  if (end < 0) return character === "[" ? 1 : 0;
  const set = pattern.slice(at + 1, end);
  for (let i = 0; i < set.length; i++) {
    const low = set[i] as string;
    const high = set[i + 1] === "-" && i + 2 < set.length ? (set[i + 2] as string) : low;
    if (high !== low) i += 2;
    if (low <= character && character <= high) return end - at + 1;
  }
  return 0;
}

export interface ModuleIndex {
  readonly files: ReadonlyMap<string, ModuleFile>;
  readonly builtin: ReadonlySet<string>;
  readonly aliases: readonly ModuleAlias[];
}

/** The module that a name or an alias stands for, in this kernel; undefined when it has none. */
export function resolveModule(index: ModuleIndex, nameOrAlias: string): string | undefined {
  const name = canonicalModuleName(nameOrAlias);
  if (index.files.has(name) || index.builtin.has(name)) return name;
  return index.aliases.find((a) => matchesAlias(a.pattern, name))?.module;
}

/** Files to load, in order, so that each finds what it needs; what is loaded or built in is left out. */
export function loadOrder(index: ModuleIndex, module: string, present: ReadonlySet<string>): ModuleFile[] {
  const wanted = index.files.get(module);
  if (wanted === undefined) return [];
  const order: ModuleFile[] = [];
  for (const path of [...wanted.needs].reverse()) {
    const name = moduleNameOfPath(path);
    if (!present.has(name) && !index.builtin.has(name)) order.push(index.files.get(name) ?? { path, needs: [] });
  }
  if (!present.has(module)) order.push(wanted);
  return order;
}
