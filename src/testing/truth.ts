/** What of a scenario must be the same on the model and on the running kernel, in one form for both. */
import type { ScenarioOutcome } from "../lab/sim/scenario.ts";
import type { HostFacts } from "../model/facts.ts";

/** What was seen of a scenario, wherever it ran. Machines by name. */
export interface Seen {
  /** Who answers who-has for each VIP at the end. */
  readonly owners: Readonly<Record<string, readonly string[]>>;
  readonly caches: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly total: number;
  readonly broken: number;
  /** Of these, those that lasted through the whole story. */
  readonly brokenLongLived: number;
  readonly refused: number;
  /** Connections that got an error for an answer. */
  readonly failed: number;
  /** The client sent to a real server behind the director's back. */
  readonly misrouted: boolean;
  /** Real servers that asked in a VIP's name. */
  readonly leaks: readonly string[];
  /** Real servers that accepted what came for the VIP, and answered. */
  readonly served: readonly string[];
  /** How each real server stands at the end. */
  readonly standing: Readonly<Record<string, readonly string[]>>;
}

/** What policies make of a host, a line each: VIPs where they are, sysctls that are not 0, chains of filters. */
export function standingOf({ addresses, sysctls, filters }: HostFacts, vips: readonly string[]): string[] {
  return [
    ...addresses.filter((a) => vips.includes(a.ip)).map((a) => `${a.link} ${a.ip}/${a.prefixLength}`),
    ...Object.entries(sysctls).flatMap(([n, v]) =>
      /\.(arp_(ignore|announce|filter)|hidden)$/.test(n) && v !== 0 ? [`${n} ${v}`] : [],
    ),
    ...filters.map((c) => `${c.tool} ${c.family} ${c.hook}`),
  ].sort();
}

export const seenOnModel = (
  { owners, caches, connections: c, leaks }: ScenarioOutcome,
  standing: Seen["standing"],
): Seen => ({
  owners,
  caches,
  total: c.total,
  broken: c.broken,
  brokenLongLived: c.brokenLongLived,
  refused: c.refused,
  failed: c.failed ?? 0,
  misrouted: c.misrouted > 0,
  leaks: Object.keys(leaks),
  served: Object.keys(c.servedBy),
  standing,
});

const sizeOf = (part: number, of: number): string => {
  if (part === 0) return "none";
  return part * 2 > of ? "most" : "some";
};

/** Where another count of the same kind lies, as far as these tell, give or take so many deviations. */
export function spread(counts: readonly number[], deviations: number): { readonly from: number; readonly to: number } {
  const n = counts.length;
  const mean = counts.reduce((sum, c) => sum + c, 0) / n;
  const variance = counts.reduce((sum, c) => sum + (c - mean) ** 2, 0) / (n - 1);
  // no seed may have drawn what is rare: never less than counts of single events scatter
  const wide = deviations * Math.sqrt(Math.max(variance, mean / 2, 1) * (1 + 1 / n));
  return { from: Math.round(mean - wide), to: Math.round(mean + wide) };
}

/** What is chance in a story, and not compared. */
export interface Chance {
  readonly without: readonly string[];
  /** So many short connections may have begun while something happened to them. */
  readonly caught: number;
}

/**
 * How many connections a race breaks differs from run to run on any LAN; whether none, some or most does not. Of several
 * that answer, or ask in a VIP's name, any may have been the last that a neighbour heard.
 */
export function essence(
  { owners, caches, total, broken, brokenLongLived, refused, failed, misrouted, leaks, served, standing }: Seen,
  { without, caught }: Chance,
): unknown {
  const cacheOf = (vip: string, name: string): string => {
    const heard = new Set([...(owners[vip] ?? []), ...leaks]);
    return heard.size > 1 && heard.has(name) ? "one of those heard" : name;
  };
  // who wins a race, and so who is asked and who answers, is chance
  const isRace = misrouted && Object.values(owners).some((names) => names.length > 2);
  const who = (names: readonly string[]): unknown => (isRace ? names.length > 0 : [...names].sort());
  const all = {
    owners: Object.fromEntries(Object.entries(owners).map(([vip, names]) => [vip, [...new Set(names)].sort()])),
    caches: Object.fromEntries(
      Object.entries(caches).map(([who, known]) => [
        who,
        Object.fromEntries(Object.entries(known).map(([vip, name]) => [vip, cacheOf(vip, name)])),
      ]),
    ),
    broken: brokenLongLived === 0 && broken <= caught ? "none" : sizeOf(broken, total),
    refused: sizeOf(refused, total),
    failed: sizeOf(failed, total),
    misrouted,
    leaks: who(leaks),
    accept: who(served),
    standing,
  };
  return Object.fromEntries(Object.entries(all).filter(([key]) => !without.includes(key)));
}
