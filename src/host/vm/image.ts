import { createHash } from "node:crypto";
import { closeSync, openSync, statSync, utimesSync, writeSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, makeWhole, prune } from "./cache.ts";
import { type CpioEntry, withParents, writeCpio } from "./cpio.ts";
import { collectRootFs, type RootFsRequest, type SourceEntry } from "./rootfs.ts";

/** An image ready to boot. `built` is false where an earlier run had made the same. */
export interface Image {
  readonly path: string;
  readonly built: boolean;
  readonly missing: readonly string[];
}

/** Same inputs, same key: every path in the image with its mode and the source's size and time. */
export function imageKey(entries: readonly SourceEntry[]): string {
  const hash = createHash("sha256");
  for (const entry of entries) {
    const mode = entry.kind === "symlink" ? 0 : entry.mode;
    hash.update(`${entry.kind}\0${entry.path}\0${mode}\0${entry.stamp}\0`);
  }
  return hash.digest("hex").slice(0, 32);
}

/** Writes small pieces together: an archive is thousands of headers of a hundred octets. */
function writeArchive(path: string, entries: Iterable<CpioEntry>): void {
  const fd = openSync(path, "w");
  try {
    let waiting: Uint8Array[] = [];
    let waitingOctets = 0;
    const flush = (): void => {
      const octets = Buffer.concat(waiting);
      for (let at = 0; at < octets.length; ) at += writeSync(fd, octets, at);
      waiting = [];
      waitingOctets = 0;
    };
    for (const piece of writeCpio(entries)) {
      waiting.push(piece);
      waitingOctets += piece.length;
      if (waitingOctets > 1 << 20) flush();
    }
    flush();
  } finally {
    closeSync(fd);
  }
}

/** The VM's first file system as one uncompressed archive in the cache (unpacking costs more than reading does). */
export async function buildImage(request: RootFsRequest): Promise<Image> {
  const { entries, missing } = await collectRootFs(request);
  const folder = join(cacheFolder(), "images");
  const path = join(folder, `${imageKey(entries)}.cpio`);
  const built = statSync(path, { throwIfNoEntry: false }) === undefined;
  if (built) await makeWhole(path, (target) => writeArchive(target, withParents(entries)));
  const now = new Date();
  utimesSync(path, now, now); // prune() goes by last use
  prune(folder, 3);
  return { path, built, missing };
}
