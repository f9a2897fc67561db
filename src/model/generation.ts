import type { Generation } from "./facts.ts";

/**
 * Kernel releases as comparable numbers, and where each feature begins. Only this file and switches.ts know
 * versions; everything else asks the switches.
 */
export type Release = readonly number[];

/** "2.6.32.9-vendor" is [2, 6, 32, 9]; undefined where no "N.N" leads. */
export function parseRelease(text: string): Release | undefined {
  const found = /^\D{0,8}(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?/.exec(text);
  if (!found) return undefined;
  return [found[1], found[2], found[3] ?? "0", found[4] ?? "0"].map(Number);
}

export function compareReleases(a: Release, b: Release): number {
  for (let i = 0; i < 4; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const parsed = new Map<string, Release>();
function known(text: string): Release {
  let release = parsed.get(text);
  if (!release) {
    release = parseRelease(text) ?? [];
    parsed.set(text, release);
  }
  return release;
}

/** Before 3.0 the first two numbers name a line of its own that gets features at its own time. */
const sameLine = (a: Release, b: Release): boolean => a[0] === b[0] && ((a[0] ?? 0) >= 3 || a[1] === b[1]);

/**
 * True if `release` has what came with one of `borders`, oldest first. A border counts for its own line
 * ("2.4.26" says nothing of 2.6.0), the last one for all that is newer.
 */
export function has(release: Release, ...borders: readonly string[]): boolean {
  for (const border of borders) {
    const from = known(border);
    if (sameLine(from, release)) return compareReleases(release, from) >= 0;
  }
  const last = borders.at(-1);
  return last !== undefined && compareReleases(release, known(last)) >= 0;
}

/** What a generation means when the release is missing or says nothing: a typical member. */
const typical: Record<Generation, string> = {
  "2.0": "2.0.36",
  "2.2": "2.2.13",
  "2.2-sdw": "2.2.13",
  "2.2-arp_invisible": "2.2.13",
  "2.2-hidden": "2.2.14",
  "2.4-early": "2.4.22",
  "2.4-hidden": "2.4.20",
  "2.4-late": "2.4.27",
  "2.6": "2.6.32",
  "2.6-hidden": "3.14.17",
  "3.x": "3.10.0",
  "4.x": "4.19.0",
  "5.x": "5.15.0",
  "6.x": "6.18.0",
};

export const releaseOf = (generation: Generation, text: string): Release =>
  parseRelease(text) ?? known(typical[generation]);

/** The generation a release belongs to; patches turn 2.2.13, 2.4 and later ones into their patched kind. */
export function generationOf(release: Release, patches: readonly string[]): Generation {
  const [major = 0, minor = 0] = release;
  if (major < 2 || (major === 2 && minor <= 1)) return "2.0";
  const hidden = patches.includes("hidden");
  if (major === 2 && minor <= 3) {
    if (patches.includes("fullarpfix")) return "2.2-sdw";
    if (patches.includes("arp_invisible")) return "2.2-arp_invisible";
    return minor === 2 && (hidden || has(release, "2.2.14", "2.4.0")) ? "2.2-hidden" : "2.2";
  }
  if (major === 2 && minor === 4) return hidden ? "2.4-hidden" : has(release, "2.4.26") ? "2.4-late" : "2.4-early";
  if (hidden) return "2.6-hidden";
  if (major === 2) return has(release, "2.6.4") ? "2.6" : "2.4-early";
  if (major === 3) return "3.x";
  if (major === 4) return "4.x";
  return major === 5 ? "5.x" : "6.x";
}
