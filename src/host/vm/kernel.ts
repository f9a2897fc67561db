import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, makeWhole } from "./cache.ts";
import { VmError } from "./errors.ts";
import { channelModules, moduleName, parseModulesDep, requiredModules } from "./modules.ts";
import { findProgram, runProgram } from "./process.ts";

/** A kernel that can run the lab. `source` says where it was found, for messages. */
export interface Kernel {
  readonly release: string;
  readonly imagePath: string;
  /** The folder with modules.dep. */
  readonly modulesFolder: string;
  readonly source: string;
}

export interface KernelSearch {
  /** A folder with boot/vmlinuz-* and lib/modules/*; VIPWARD_KERNEL where not given. Nothing else is then tried. */
  readonly folder?: string | undefined;
  readonly onProgress?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Newest last: numbers in releases compare as numbers ("6.1.0-9" before "6.1.0-56"). */
const byRelease = (a: string, b: string): number => a.localeCompare(b, "en", { numeric: true });

/** What a kernel lacks of the lab's needs; undefined where it cannot be read at all. */
function lacks(modulesFolder: string): string[] | undefined {
  try {
    const modules = [...parseModulesDep(readFileSync(join(modulesFolder, "modules.dep"), "utf8")).keys()];
    const builtIn = readFileSync(join(modulesFolder, "modules.builtin"), "utf8").split("\n");
    const present = new Set([...modules, ...builtIn].map(moduleName));
    return [...requiredModules, ...channelModules].filter((name) => !present.has(name));
  } catch {
    return undefined;
  }
}

/** The newest kernel below a root folder that has all the lab needs; cloud kernels first, since they boot fastest. */
function kernelBelow(root: string, source: string): Kernel | undefined {
  let releases: string[];
  try {
    releases = readdirSync(join(root, "lib/modules"));
  } catch {
    return undefined;
  }
  const cloudLast = (release: string): number => (release.includes("cloud") ? 1 : 0);
  releases.sort((a, b) => cloudLast(a) - cloudLast(b) || byRelease(a, b));
  for (const release of releases.reverse()) {
    const imagePath = join(root, "boot", `vmlinuz-${release}`);
    const modulesFolder = join(root, "lib/modules", release);
    try {
      accessSync(imagePath, constants.R_OK);
    } catch {
      continue;
    }
    if (lacks(modulesFolder)?.length === 0) return { release, imagePath, modulesFolder, source };
  }
  return undefined;
}

const metaPackage = "linux-image-cloud-amd64";

/** The package the meta package stands for today: "linux-image-6.1.0-56-cloud-amd64". */
export function parsePackageName(aptCacheDepends: string): string | undefined {
  return /^\s*Depends: (linux-image-\d\S*)$/m.exec(aptCacheDepends)?.[1];
}

async function download(search: KernelSearch): Promise<void> {
  const { onProgress = () => {}, signal } = search;
  const isRoot = process.getuid?.() === 0;
  const fail = (what: string, why: string): VmError => new VmError("vm/kernel-download", `${what}: ${why.trim()}`);
  for (const tool of ["apt-cache", "apt-get", "dpkg-deb", "depmod"])
    if (findProgram(tool) === undefined) {
      const packageName = tool === "depmod" ? "kmod" : "apt";
      throw new VmError(
        "vm/kernel-missing",
        `no kernel with IPVS here, and no ${tool} (package ${packageName}) to get one`,
      );
    }
  const update = async (): Promise<void> => {
    if (!isRoot) return;
    onProgress("reading the package lists (apt-get update)");
    await runProgram("apt-get", ["update", "-q"], { signal });
  };
  const newest = async (): Promise<string | undefined> =>
    parsePackageName((await runProgram("apt-cache", ["depends", metaPackage], { signal })).stdout);

  let packageName = await newest();
  if (packageName === undefined) {
    await update();
    packageName = await newest();
  }
  if (packageName === undefined) throw fail(metaPackage, "no such package in apt's lists; `apt-get update` fills them");
  const name: string = packageName;
  const release = name.slice("linux-image-".length);

  await makeWhole(join(cacheFolder(), "kernels", release), async (folder) => {
    const packed = `${folder}.deb`;
    rmSync(packed, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    mkdirSync(packed);
    try {
      onProgress(`downloading ${name}`);
      let got = await runProgram("apt-get", ["download", "-q", name], { cwd: packed, signal });
      if (got.exitCode !== 0) {
        await update(); // a list older than the archive names a file that is gone
        got = await runProgram("apt-get", ["download", "-q", name], { cwd: packed, signal });
      }
      const file = readdirSync(packed).find((f) => f.endsWith(".deb"));
      if (got.exitCode !== 0 || file === undefined) throw fail(`apt-get download ${name}`, got.stderr);
      onProgress(`unpacking ${name}`);
      const unpacked = await runProgram("dpkg-deb", ["-x", join(packed, file), folder], { signal });
      if (unpacked.exitCode !== 0) throw fail(`dpkg-deb -x ${file}`, unpacked.stderr);
      if (!existsSync(join(folder, "lib"))) symlinkSync("usr/lib", join(folder, "lib")); // Debian 13 has no /lib of its own
      const indexed = await runProgram(findProgram("depmod") ?? "depmod", ["-b", folder, release], { signal });
      if (indexed.exitCode !== 0) throw fail(`depmod ${release}`, indexed.stderr);
    } finally {
      rmSync(packed, { recursive: true, force: true });
    }
  });
}

/** Kernels in the cache, each in a folder of its own named by its release; the newest that suits. */
function cached(): Kernel | undefined {
  const folder = join(cacheFolder(), "kernels");
  let releases: string[];
  try {
    releases = readdirSync(folder).filter((name) => !name.startsWith("."));
  } catch {
    return undefined;
  }
  for (const release of releases.sort(byRelease).reverse()) {
    const kernel = kernelBelow(join(folder, release), "cache");
    if (kernel !== undefined) return kernel;
  }
  return undefined;
}

/**
 * Finds a kernel with IPVS, dummy and ipip as modules: the folder asked for, the cache, the system's own, or Debian's
 * cloud kernel by apt (no root needed for that where apt's lists are there). Throws VmError where there is none.
 */
export async function findKernel(search: KernelSearch = {}): Promise<Kernel> {
  const asked = search.folder ?? (process.env.VIPWARD_KERNEL || undefined);
  if (asked !== undefined) {
    const kernel = kernelBelow(asked, "given");
    if (kernel !== undefined) return kernel;
    const needs = [...requiredModules, ...channelModules].join(", ");
    throw new VmError("vm/kernel-missing", `${asked}: no readable boot/vmlinuz-* with lib/modules/* that has ${needs}`);
  }
  const there = cached() ?? kernelBelow("/", "system");
  if (there !== undefined) return there;
  await download(search);
  const kernel = cached();
  if (kernel !== undefined) return kernel;
  throw new VmError("vm/kernel-missing", "the downloaded kernel lacks IPVS, dummy, ipip or virtio");
}
