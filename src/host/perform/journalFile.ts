import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Confirmations, JournalStorage, Release, RunLock } from "../../ports/apply.ts";
import * as libc from "../libc.ts";
import { fileError, makeFolder, replaceFile, syncFolder, writeAll } from "./files.ts";

const STATE = "/var/lib/vipward";

/**
 * The folder of this host's journal. Another network namespace than the first has its own, by its inode: it is another
 * host as far as addresses go, and must not undo what was done in this one.
 */
export function stateFolder(given: string | undefined): string {
  const folder = given ?? join(STATE, namespaceFolder());
  try {
    makeFolder(folder, 0o700);
  } catch (error) {
    throw fileError("make the folder", folder, error);
  }
  return folder;
}

const namespaceFolder = (): string => (isFirstNamespace() ? "" : `netns-${statSync("/proc/thread-self/ns/net").ino}`);

/** The network that the machine's (or container's) first process has: the one that a boot makes. */
export function isFirstNamespace(): boolean {
  try {
    return statSync("/proc/1/ns/net").ino === statSync("/proc/thread-self/ns/net").ino;
  } catch {
    return true; // not allowed to look, so not root: applying will fail and say so
  }
}

export class FileJournal implements JournalStorage {
  readonly #path: string;
  constructor(path: string) {
    this.#path = path;
  }
  async load(): Promise<Uint8Array> {
    try {
      return readFileSync(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Uint8Array();
      throw fileError("read the journal", this.#path, error);
    }
  }
  async append(octets: Uint8Array): Promise<void> {
    const isNew = !existsSync(this.#path);
    try {
      const fd = openSync(this.#path, "a", 0o600);
      try {
        writeAll(fd, octets);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      if (isNew) syncFolder(this.#path);
    } catch (error) {
      throw fileError("write the journal", this.#path, error);
    }
  }
  async replace(octets: Uint8Array): Promise<void> {
    replaceFile(this.#path, octets, 0o600);
  }
}

/** flock(2): the kernel lets go of it when the process dies, however it dies. */
export class FileLock implements RunLock {
  readonly #path: string;
  constructor(path: string) {
    this.#path = path;
  }
  async acquire(): Promise<Release | undefined> {
    let fd: number;
    try {
      fd = openSync(this.#path, "a", 0o600);
    } catch (error) {
      throw fileError("open the lock", this.#path, error);
    }
    if (!libc.tryLock(fd, this.#path)) {
      closeSync(fd);
      return undefined;
    }
    return async () => closeSync(fd);
  }
}

/** `vipward confirm` leaves an empty file with the run's number. */
export class FileConfirmations implements Confirmations {
  readonly #folder: string;
  constructor(folder: string) {
    this.#folder = folder;
  }
  #path(run: number): string {
    return join(this.#folder, `confirmed-${run}`);
  }
  async confirmed(run: number): Promise<boolean> {
    if (!existsSync(this.#path(run))) return false;
    rmSync(this.#path(run - 1), { force: true });
    return true;
  }
  async confirm(run: number): Promise<void> {
    replaceFile(this.#path(run), new Uint8Array(), 0o600);
  }
}
