import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";

/** Where kernels and images are kept between runs: $VIPWARD_CACHE, else the user's cache folder. */
export function cacheFolder(): string {
  const { VIPWARD_CACHE, XDG_CACHE_HOME } = process.env;
  return VIPWARD_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "vipward");
}

const hourMs = 3_600_000;
const temporary = (target: string): string => join(dirname(target), `.new-${process.pid}-${basename(target)}`);

/** Removes what a run that was killed left half made: an hour is longer than any making takes. */
function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(".new-")) continue;
    const age = Date.now() - (statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > hourMs) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/**
 * Makes `target` (a file or folder in the cache) whole or not at all: `make` fills a path beside it, which is then
 * renamed. Where two make the same at once, the later one finds the place taken and uses what is there.
 */
export async function makeWhole(target: string, make: (path: string) => void | Promise<void>): Promise<void> {
  mkdirSync(dirname(target), { recursive: true });
  sweep(dirname(target));
  const path = temporary(target);
  try {
    await make(path);
    try {
      renameSync(path, target);
    } catch (error) {
      const taken = statSync(target, { throwIfNoEntry: false }) !== undefined;
      if (!taken) throw error;
    }
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/** Keeps the newest `keep` entries of a folder and those used within the hour; the rest goes. */
export function prune(folder: string, keep: number): void {
  const entries = readdirSync(folder)
    .filter((name) => !name.startsWith(".new-"))
    .map((name) => ({
      path: join(folder, name),
      usedMs: statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs,
    }))
    .filter((entry) => entry.usedMs !== undefined)
    .map((entry) => ({ path: entry.path, usedMs: entry.usedMs ?? 0 }));
  entries.sort((a, b) => b.usedMs - a.usedMs);
  for (const entry of entries.slice(keep))
    if (Date.now() - entry.usedMs > hourMs) rmSync(entry.path, { recursive: true, force: true });
}
