/**
 * Network namespaces: made, named under /run/netns as `ip netns` does, entered by the calling thread, removed.
 *
 * A thread's namespace is the thread's own (setns(2)), so a worker that enters one lives there for good, and the main
 * thread can step in and out within one synchronous function. Asynchronous file and name look-ups run on other threads:
 * never use them for what belongs to a namespace.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { HostError, SystemCallError } from "./errors.ts";
import * as libc from "./libc.ts";

const NAMES = "/run/netns";
/** One file for each namespace that vipward made: the proof that it may remove it again. */
const RECORDS = "/run/vipward/namespaces";
const OWN = "/proc/thread-self/ns/net";

interface Record {
  readonly name: string;
  /** Inode of the namespace: a name can be reused by others, an inode of a living namespace cannot. */
  readonly inode: number;
  readonly pid: number;
  /** Start time of the process in clock ticks, so that a reused pid is not taken for the maker. */
  readonly startTicks: string;
  readonly kept: boolean;
}

const pathOf = (name: string): string => `${NAMES}/${name}`;
const recordOf = (name: string): string => `${RECORDS}/${name}.json`;

function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined; // no such process
  }
}

function readRecord(name: string): Record | undefined {
  try {
    return JSON.parse(readFileSync(recordOf(name), "utf8")) as Record;
  } catch {
    return undefined; // no record, or torn by a crash: then the namespace counts as someone else's
  }
}

function checkName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name))
    throw new HostError("namespace/name", `"${name}" cannot name a namespace`, {
      remedy: "use letters, digits, dots and dashes, 63 at most",
    });
}

/** `ip netns` wants its folder to be a shared mount, so that names appear in every mount namespace. */
function prepareNames(): void {
  mkdirSync(NAMES, { recursive: true, mode: 0o755 });
  try {
    libc.mount("", NAMES, "none", libc.MS_SHARED | libc.MS_REC);
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.errnoName !== "EINVAL") throw error;
    libc.mount(NAMES, NAMES, "none", libc.MS_BIND | libc.MS_REC);
    libc.mount("", NAMES, "none", libc.MS_SHARED | libc.MS_REC);
  }
}

/** A named namespace, held open. */
export class Namespace {
  readonly name: string;
  readonly path: string;
  /** Valid until close(). */
  readonly fd: number;
  constructor(name: string) {
    this.name = name;
    this.path = pathOf(name);
    this.fd = libc.open(this.path, libc.O_RDONLY);
  }
  /** Runs `body` with the calling thread inside. Synchronous only: after it the thread is back where it was. */
  run<T>(body: () => T): T {
    const home = libc.open(OWN, libc.O_RDONLY);
    try {
      libc.setns(this.fd, libc.CLONE_NEWNET, `namespace ${this.name}`);
      try {
        const result = body();
        if (result instanceof Promise) throw new TypeError("Namespace.run takes synchronous functions only");
        return result;
      } finally {
        libc.setns(home, libc.CLONE_NEWNET, "the namespace left before");
      }
    } finally {
      libc.close(home);
    }
  }
  /** Moves the calling thread in for good: for workers. */
  enter(): void {
    libc.setns(this.fd, libc.CLONE_NEWNET, `namespace ${this.name}`);
  }
  close(): void {
    libc.close(this.fd);
  }
}

/**
 * Makes a namespace and names it. What a dead run of ours left under this name is removed first.
 * Errors: namespace/taken (someone else's, or a run of ours that lives), unshare/EPERM, mount/EPERM.
 */
export function createNamespace(name: string): Namespace {
  checkName(name);
  if (existsSync(pathOf(name))) {
    const state = ownerOf(name);
    if (state.kind !== "abandoned") {
      const remedy =
        state.kind === "stranger"
          ? `remove it with \`ip netns del ${name}\` if nobody needs it, or choose another --prefix`
          : state.kind === "kept"
            ? "remove it with `vipward lab --clean` (and the --prefix it was made with), or choose another --prefix"
            : `wait for process ${state.pid} to end, or choose another --prefix`;
      const whose =
        state.kind === "stranger"
          ? "that vipward did not make"
          : state.kind === "kept"
            ? "kept by an earlier lab"
            : `of a lab that runs now (process ${state.pid})`;
      throw new HostError("namespace/taken", `a network namespace ${name} exists already, ${whose}`, { remedy });
    }
    removeNamespace(name);
  }
  const home = libc.open(OWN, libc.O_RDONLY);
  try {
    libc.unshare(libc.CLONE_NEWNET, `namespace ${name}`);
    try {
      prepareNames();
      mkdirSync(RECORDS, { recursive: true, mode: 0o755 });
      // The record comes before the name: a crash between the two leaves a record of nothing, never a nameless owner.
      const record: Record = {
        name,
        inode: statSync(OWN).ino,
        pid: process.pid,
        startTicks: startTicks(process.pid) ?? "",
        kept: false,
      };
      writeFileSync(recordOf(name), JSON.stringify(record));
      try {
        closeSync(openSync(pathOf(name), "wx", 0o444));
      } catch (error) {
        rmSync(recordOf(name), { force: true }); // the name is another's: no record may claim it
        throw error;
      }
      try {
        libc.mount(OWN, pathOf(name), "none", libc.MS_BIND);
      } catch (error) {
        removeNamespace(name);
        throw error;
      }
    } finally {
      libc.setns(home, libc.CLONE_NEWNET, "the namespace left before");
    }
  } finally {
    libc.close(home);
  }
  return new Namespace(name);
}

export type Owner =
  | { readonly kind: "stranger" }
  | { readonly kind: "kept" }
  | { readonly kind: "running"; readonly pid: number }
  | { readonly kind: "abandoned" };

/** Whose a named namespace is, by our record of its inode. */
export function ownerOf(name: string): Owner {
  const record = readRecord(name);
  if (record === undefined) return { kind: "stranger" };
  const stat = statSync(pathOf(name), { throwIfNoEntry: false });
  // An unmounted name is an empty file on tmpfs: a crash between naming and mounting; the record says that it is ours.
  const mounted = stat !== undefined && stat.size === 0 && stat.ino === record.inode;
  const neverMounted = stat !== undefined && stat.dev === statSync(NAMES).dev;
  if (!mounted && !neverMounted) return { kind: "stranger" };
  if (startTicks(record.pid) === record.startTicks) return { kind: "running", pid: record.pid };
  return { kind: record.kept ? "kept" : "abandoned" };
}

/** Takes the name away; the namespace itself ends when its last process and descriptor do. Absent is fine. */
export function removeNamespace(name: string): void {
  checkName(name);
  try {
    libc.umount(pathOf(name), libc.MNT_DETACH);
  } catch (error) {
    if (!(error instanceof SystemCallError) || !["EINVAL", "ENOENT"].includes(error.errnoName)) throw error;
  }
  rmSync(pathOf(name), { force: true });
  rmSync(recordOf(name), { force: true });
}

/** Marks a namespace as left on purpose, so that the next run does not sweep it away. */
export function keepNamespace(name: string): void {
  const record = readRecord(name);
  if (record !== undefined) writeFileSync(recordOf(name), JSON.stringify({ ...record, kept: true }));
}

/** Names that vipward made and whose maker is gone: abandoned ones, and kept ones when asked for. */
export function leftoverNamespaces(options: { readonly kept: boolean; readonly prefix?: string }): string[] {
  if (!existsSync(RECORDS)) return [];
  const found: string[] = [];
  for (const file of readdirSync(RECORDS)) {
    const name = file.replace(/\.json$/, "");
    if (!name.startsWith(options.prefix ?? "")) continue;
    if (!existsSync(pathOf(name))) {
      const record = readRecord(name);
      if (record !== undefined && startTicks(record.pid) !== record.startTicks) rmSync(recordOf(name), { force: true });
      continue;
    }
    const owner = ownerOf(name);
    if (owner.kind === "abandoned" || (owner.kind === "kept" && options.kept)) found.push(name);
  }
  return found;
}

/** Inside a namespace, or in the calling thread's own where none is named. */
export const runIn = <T>(namespace: Namespace | undefined, body: () => T): T =>
  namespace === undefined ? body() : namespace.run(body);
