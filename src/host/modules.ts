/** Kernel modules: what runs, what could, and loading one by name or alias. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { HostError, SystemCallError } from "./errors.ts";
import * as libc from "./libc.ts";
import {
  canonicalModuleName,
  loadOrder,
  type ModuleFile,
  type ModuleIndex,
  moduleNameOfPath,
  parseModulesAlias,
  parseModulesBuiltin,
  parseModulesDep,
  parseProcModules,
  resolveModule,
} from "./moduleIndex.ts";
import { findProgram } from "./vm/process.ts";

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // absent: a kernel without modules, or a container without /lib/modules
  }
}

/** The folder with this kernel's modules; undefined when there is none. */
function moduleFolder(): string | undefined {
  return ["/lib/modules", "/usr/lib/modules"].map((folder) => `${folder}/${release()}`).find((f) => existsSync(f));
}

function readIndex(folder: string): ModuleIndex {
  return {
    files: parseModulesDep(textOf(`${folder}/modules.dep`) ?? ""),
    builtin: parseModulesBuiltin(textOf(`${folder}/modules.builtin`) ?? ""),
    aliases: parseModulesAlias(textOf(`${folder}/modules.alias`) ?? ""),
  };
}

const loadedNow = (): Set<string> => parseProcModules(textOf("/proc/modules") ?? "");

/**
 * - `loaded`: from a file, live now. `builtin`: part of the kernel. `available`: could be loaded. `missing`: nothing
 *   known. A builtin part without parameters and without modules.builtin shows nowhere, so it reads as missing: ask
 *   the feature itself before refusing over it.
 */
export type ModuleState = "loaded" | "builtin" | "available" | "missing";

export function moduleState(nameOrAlias: string): ModuleState {
  const name = canonicalModuleName(nameOrAlias);
  const loaded = loadedNow();
  if (loaded.has(name)) return "loaded";
  const folder = moduleFolder();
  const index = folder === undefined ? undefined : readIndex(folder);
  const module = (index === undefined ? undefined : resolveModule(index, name)) ?? name;
  if (loaded.has(module)) return "loaded";
  // /sys/module lists loaded ones too, also those that come or go just now; these have an initstate.
  if (index?.builtin.has(module)) return "builtin";
  if (/^[\w.]+$/.test(module) && existsSync(`/sys/module/${module}`))
    return existsSync(`/sys/module/${module}/initstate`) ? "loaded" : "builtin";
  return index?.files.has(module) ? "available" : "missing";
}

/** What a person can do about a module that this kernel does not have. Debian names, as that is where labs run. */
function missing(name: string): HostError {
  const folder = moduleFolder();
  const kernel = release();
  const message = `kernel ${kernel} has no module ${name}`;
  if (folder === undefined)
    return new HostError("module/missing", `${message}: no modules are installed for it`, {
      remedy: `install them (Debian: the package linux-image-${kernel}); in a container, load ${name} on the host; where the kernel is built without modules, boot a distribution's kernel (Debian: linux-image-amd64 or linux-image-cloud-amd64)`,
    });
  return new HostError("module/missing", message, {
    remedy: "boot a kernel that has it (Debian: linux-image-amd64 or linux-image-cloud-amd64)",
  });
}

function refused(name: string, cause: unknown): HostError {
  const errno = cause instanceof SystemCallError ? cause.errnoName : undefined;
  const said = (cause as { readonly stderr?: string }).stderr?.trim();
  const remedies: Record<string, string> = {
    EPERM: `load it as root on the host, outside any container: modprobe ${name}`,
    ENOEXEC: "the module file is not for the running kernel: reboot into the kernel that was installed last",
    EKEYREJECTED: "Secure Boot wants signed modules: use the distribution's own kernel and modules",
  };
  return new HostError(
    `module/${errno ?? "modprobe"}`,
    `cannot load the module ${name}: ${said || (cause instanceof Error ? cause.message : String(cause))}`,
    { remedy: remedies[errno ?? ""] ?? "see the kernel's log (dmesg)", cause },
  );
}

/** True when it was loaded just now. */
function loadFile(folder: string, file: ModuleFile): boolean {
  const name = moduleNameOfPath(file.path);
  try {
    if (file.path.endsWith(".ko")) return libc.loadModuleFile(`${folder}/${file.path}`, "", process.arch);
    // Compressed: whether the kernel unpacks it itself depends on its build; modprobe knows.
    execFileSync(findProgram("modprobe") ?? "modprobe", ["--", name], {
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
      timeout: 60_000,
    });
    return true;
  } catch (error) {
    throw refused(name, error);
  }
}

/**
 * Makes sure that a module is in the kernel; gives the names that were loaded for it, in order (none: it was there).
 * Errors: module/missing, module/EPERM, module/ENOEXEC, module/modprobe.
 */
export function loadModule(nameOrAlias: string): string[] {
  const state = moduleState(nameOrAlias);
  if (state === "loaded" || state === "builtin") return [];
  const folder = moduleFolder();
  if (state === "missing" || folder === undefined) throw missing(nameOrAlias);
  const index = readIndex(folder);
  const module = resolveModule(index, nameOrAlias) as string; // "available" said so
  const loaded: string[] = [];
  for (const file of loadOrder(index, module, loadedNow()))
    if (loadFile(folder, file)) loaded.push(moduleNameOfPath(file.path));
  return loaded;
}

/** All modules live now, from /proc/modules. */
export const loadedModules = (): ReadonlySet<string> => loadedNow();
