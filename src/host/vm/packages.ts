import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";

/** An npm package as it lies on disk, and where the image has it. */
export interface InstalledPackage {
  readonly name: string;
  readonly folder: string;
  readonly imageFolder: string;
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/** Where `import "name"` from `folder` would look: node_modules here, then in each folder above. */
function resolvePackage(name: string, folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const candidate = join(at, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
    if (at === dirname(at)) return undefined;
  }
}

/**
 * The packages a project needs to run, with what they need in turn, wherever npm put them (a project installed from a
 * tarball has its dependencies beside it). One of a second version goes below the package that asks for it.
 * Optional ones that are not there (koffi has one per platform) are left out; others missing are named.
 */
export function productionPackages(
  projectFolder: string,
  imageFolder: string,
  extra: readonly string[] = [],
): { readonly packages: InstalledPackage[]; readonly missing: string[] } {
  const placed = new Map<string, InstalledPackage>(); // by folder in the image
  const missing: string[] = [];
  const visit = (name: string, from: string, imageFrom: string, optional: boolean): void => {
    const folder = resolvePackage(name, from);
    if (folder === undefined) {
      if (!optional) missing.push(name);
      return;
    }
    const top = join(imageFolder, "node_modules", name);
    const there = placed.get(top);
    if (there?.folder === folder) return;
    const place = there === undefined ? top : join(imageFrom, "node_modules", name);
    if (placed.has(place)) return;
    placed.set(place, { name, folder, imageFolder: place });
    visitAll(folder, place);
  };
  const visitAll = (folder: string, imageAt: string): void => {
    const { dependencies = {}, optionalDependencies = {} } = manifestOf(folder);
    for (const name of Object.keys(optionalDependencies)) visit(name, folder, imageAt, true);
    for (const name of Object.keys(dependencies))
      if (!(name in optionalDependencies)) visit(name, folder, imageAt, false);
  };
  visitAll(projectFolder, imageFolder);
  for (const name of extra) visit(name, projectFolder, imageFolder, false);
  return { packages: [...placed.values()], missing };
}

/** Parts of packages that nothing reads at run time. */
const unused: Readonly<Record<string, RegExp>> = {
  koffi: /^(vendor|doc|lib|build)\/|^cnoke|\.(cc|hh|h|inc|S|asm)$/,
  "@koromix/koffi-linux-x64": /^musl_x64\//,
  zod: /^src\//,
};
const neverUsed = /\.(map|md|ts|cts|mts|tsbuildinfo)$/;

/** True for a file of a package that the image can do without. `path` is below the package's folder. */
export const isUnused = (packageName: string, path: string): boolean =>
  neverUsed.test(path) || (unused[packageName]?.test(path) ?? false);
