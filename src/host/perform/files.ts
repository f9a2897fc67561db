import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname } from "node:path";
import type { FileState } from "../../plan/host.ts";
import { HostError } from "../errors.ts";

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "unknown";

const remedies: Record<string, string> = {
  EACCES: "run as root",
  EPERM: "run as root",
  EROFS: "the file system is read-only: remount it, or choose another folder with --state-dir",
  ENOSPC: "the disk is full: free some space; nothing was changed",
  EDQUOT: "the quota is used up: free some space; nothing was changed",
};

export function fileError(action: string, path: string, cause: unknown): HostError {
  const code = codeOf(cause);
  const remedy = remedies[code] ?? "see the cause";
  return new HostError(`file/${code}`, `cannot ${action} ${path}: ${code}`, { remedy, cause });
}

/** A name is on the disk only when its folder is. */
export function syncFolder(path: string): void {
  const fd = openSync(dirname(path), "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function writeAll(fd: number, octets: Uint8Array): void {
  for (let at = 0; at < octets.length; ) at += writeSync(fd, octets, at);
}

/** One level at a time: Node 20's recursive mkdir never returns where the kernel says ENOENT below a folder, as in /proc. */
export function makeFolder(folder: string, mode = 0o755): void {
  if (existsSync(folder)) return;
  if (dirname(folder) !== folder) makeFolder(dirname(folder), mode);
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}

/** Written beside, synced and renamed over: whoever reads sees the old or the new, also after a power cut. */
export function replaceFile(path: string, octets: Uint8Array, mode: number): void {
  const beside = `${path}.vipward-new`;
  try {
    makeFolder(dirname(path));
    const fd = openSync(beside, "w", mode);
    try {
      writeAll(fd, octets);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    chmodSync(beside, mode); // open obeys the umask
    renameSync(beside, path);
    syncFolder(path);
  } catch (error) {
    try {
      rmSync(beside, { force: true });
    } catch {
      // what went wrong first is what a person needs to know
    }
    throw fileError("write", path, error);
  }
}

export function readFile(path: string): FileState {
  try {
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) return { linkTo: readlinkSync(path) };
    return { text: readFileSync(path, "utf8"), mode: stat.mode & 0o7777 };
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return null;
    throw fileError("read", path, error);
  }
}

/** A folder under our name goes with its last file. */
function removeOwnFolder(folder: string): void {
  if (!/^vipward/.test(basename(folder))) return;
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!["ENOTEMPTY", "ENOENT", "EEXIST"].includes(codeOf(error))) throw fileError("remove", folder, error);
  }
}

export function putFile(path: string, content: FileState): void {
  if (content === null) {
    rmSync(path, { force: true });
    removeOwnFolder(dirname(path));
    return;
  }
  if ("linkTo" in content) {
    try {
      makeFolder(dirname(path));
      const beside = `${path}.vipward-new`;
      rmSync(beside, { force: true });
      symlinkSync(content.linkTo, beside);
      renameSync(beside, path);
      syncFolder(path);
    } catch (error) {
      throw fileError("link", path, error);
    }
    return;
  }
  replaceFile(path, Buffer.from(content.text), content.mode);
}
