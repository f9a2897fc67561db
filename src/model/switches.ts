import type { KernelFacts } from "./facts.ts";
import { has, type Release, releaseOf } from "./generation.ts";

/**
 * Section 0: everything in which kernels differ, as switches. Each row says its values, its borders and how the
 * release sets it. A vendor kernel may differ: `kernel.switches` of the facts overrides any row.
 */
interface Row<T extends string | boolean> {
  readonly values: readonly T[];
  /** Where the borders are, for people. */
  readonly borders: string;
  readonly of: (release: Release) => T;
}

const row = <const T extends string>(values: readonly T[], borders: string, of: (release: Release) => T): Row<T> => ({
  values,
  borders,
  of,
});
const flag = (borders: string, of: (release: Release) => boolean): Row<boolean> => ({
  values: [false, true],
  borders,
  of,
});
/** Picks the last step that the release has reached. */
const steps = <T extends string>(
  release: Release,
  first: T,
  ...later: readonly (readonly [value: T, ...borders: string[]])[]
): T => {
  let value = first;
  for (const [next, ...borders] of later) if (has(release, ...borders)) value = next;
  return value;
};
const since =
  (...borders: readonly string[]) =>
  (release: Release): boolean =>
    has(release, ...borders);
const until =
  (...borders: readonly string[]) =>
  (release: Release): boolean =>
    !has(release, ...borders);

export const switchTable = {
  arpScope: row(["device", "host"], "device in 2.0, host from 2.2", (r) => (has(r, "2.2.0") ? "host" : "device")),
  hiddenFlag: flag("2.2.14 - 2.2.x, or the patch", (r) => has(r, "2.2.14", "9999.0") && !has(r, "2.3.0")),
  hiddenOwner: row(["local table", "address first"], "address first in the patch for 3.x", (r) =>
    has(r, "3.0") ? "address first" : "local table",
  ),
  arpInvisible: flag("only with the patch for 2.2.13", () => false),
  fullArpFix: flag("only with the patch for 2.2.13", () => false),
  arpFilter: flag("2.2.18, 2.4.5, all 2.6", since("2.2.18", "2.4.5")),
  arpIgnoreAnnounce: flag("2.4.26, 2.6.4", since("2.4.26", "2.6.4")),
  announceNeedsPrimary: flag("arp_announce 1 looks at primaries only up to 4.19", until("5.0")),
  learnBeforeSilence: flag("2.2 - 2.6.28", until("2.6.29")),
  probeReplyForm: row(["own", "asker"], "asker from 2.6.24", (r) => (has(r, "2.6.24") ? "asker" : "own")),
  gratuitousAsProbe: flag("2.6.30 alone", (r) => has(r, "2.6.30") && !has(r, "2.6.31")),
  rpCombine: row(["and", "max"], "max from 2.6.31", (r) => (has(r, "2.6.31") ? "max" : "and")),
  rpLoose: flag("2.6.31", since("2.6.31")),
  localSourceCheck: row(["full", "none", "exact"], "none 3.6 - about 3.16, exact from 4.15, full otherwise", (r) =>
    steps(r, "full", ["none", "3.6"], ["full", "3.17"], ["exact", "4.15"]),
  ),
  acceptLocal: flag("2.6.33", since("2.6.33")),
  acceptLocalSkipsCheck: flag("about 3.17: with rp_filter 0 accept_local skips the whole check", since("3.17")),
  sourceValidMark: flag("2.6.33", since("2.6.33")),
  zeroNetUnusable: flag("all of 0.0.0.0/8, not 0.0.0.0 alone, up to 5.2", until("5.3")),
  classESourceRefused: flag("up to 2.6.24", until("2.6.25")),
  garpOverride: row(["never", "with arp_accept", "always"], "with arp_accept from 4.1 (3.17), always from 4.12", (r) =>
    steps(r, "never", ["with arp_accept", "3.17"], ["always", "4.12"]),
  ),
  refusedUpdateRestartsLock: flag("2.6.9 - 4.11", (r) => has(r, "2.6.9") && !has(r, "4.12")),
  sameMacRestartsLock: flag("a packet with the MAC that is known restarts the lock time, up to 4.11", until("4.12")),
  stateChangeRestartsLock: flag(
    "so does a state that use or the timer changed: absent 2.6.12, present 2.6.24",
    since("2.6.22"),
  ),
  delayProof: row(
    ["reachable time", "delay time"],
    "how old a confirmation may be that ends DELAY without a probe: reachable time in 2.2 and 2.4, delay time in 2.6.12",
    (r) => (has(r, "2.6.9") ? "delay time" : "reachable time"),
  ),
  lockTimeInclusive: flag("at least the lock time: 2.2, 2.4, 2.6.0 - 2.6.5", until("2.6.6")),
  staleKeepsDelay: flag("the same MAC heard again leaves DELAY and PROBE as they are: 4.8", since("4.8")),
  arpAccept: row(
    ["none", "replies, all only", "all only", "or", "max"],
    "2.6.17, 2.6.34, 3.0 (between 2.6.39 and 3.6), 6.0",
    (r) => steps(r, "none", ["replies, all only", "2.6.17"], ["all only", "2.6.34"], ["or", "3.0"], ["max", "6.0"]),
  ),
  arpNotify: row(
    ["none", "first prefix address", "first", "all"],
    "2.6.30, 2.6.37, 3.0 (between 2.6.39 and 3.6)",
    (r) => steps(r, "none", ["first prefix address", "2.6.30"], ["first", "2.6.37"], ["all", "3.0"]),
  ),
  peerNotification: flag("2.6.35 (absent 2.6.34, present 2.6.36)", since("2.6.35")),
  evictNoCarrier: flag("5.16", since("5.16")),
  ifaceStateLifetime: row(["address", "device"], "device from 2.6.22", (r) =>
    has(r, "2.6.22") ? "device" : "address",
  ),
  defaultPropagates: flag("2.6.22", since("2.6.22")),
  routeLocalnet: flag("3.6", since("3.6")),
  localnetScopeClamp: flag("absent 4.19, present 5.4", since("5.0")),
  natRoutes: flag("2.2 - 2.6.24", until("2.6.25")),
  proxyPvlan: row(["none", "interface", "or"], "interface from 2.6.34, or between 5.4 and 5.15", (r) =>
    steps(r, "none", ["interface", "2.6.34"], ["or", "5.5"]),
  ),
  mediumId: flag("2.4.19 or before, 2.5.8", since("2.4.19", "2.5.8")),
  dropGratuitous: flag("4.6 (absent 4.4, present 4.10)", since("4.6")),
  dropUnicastInMulticast: flag("4.6 (absent 4.4, present 4.10)", since("4.6")),
  selectElsewhere: flag("other devices searched also for link scope: 2.2.14", since("2.2.14", "2.4.0")),
  mergedTables: flag("local and main are one trie until a rule is added: 4.1", since("4.1")),
  defaultAfterError: flag(
    "without rules, table default is asked also after a blackhole in main: 4.1 - 6.0; 6.9.5 read still does, the repaired 6.1.0-56 of Debian and 6.18 do not (observed)",
    (r) => has(r, "4.1") && !has(r, "6.1"),
  ),
  vrf: flag("4.4", since("4.4")),
  lowestIsBroadcast: flag("the first address of a prefix is a broadcast, up to 5.13", until("5.14")),
  linkDownRoutes: row(
    ["none", "interface", "or"],
    "ignore_routes_with_linkdown: 4.2; with all from about 6.3, and in the repaired 6.1.0-56 of Debian (observed; 6.1-rc7 read has it not)",
    (r) => steps(r, "none", ["interface", "4.2"], ["or", "6.1"]),
  ),
  redirectForm: row(["firewall", "ipchains", "netfilter"], "2.0, 2.2, 2.4", (r) =>
    steps(r, "firewall", ["ipchains", "2.2.0"], ["netfilter", "2.4.0"]),
  ),
  ipipReentry: row(["same device", "tunnel"], "tunnel from 2.2", (r) => (has(r, "2.2.0") ? "tunnel" : "same device")),
  broadcastsInProbe: flag("unicast and broadcast probes in one round: 2.2, 2.4", until("2.6.0")),
  unresolvedQueue: row(
    ["all", "3", "31", "101"],
    "packets that wait for a neighbour's MAC: all in 2.0, 3 from 2.2, 64 KiB from 3.3 and 208 KiB from 4.14, which unres_qlen gives as so many frames",
    (r) => steps(r, "all", ["3", "2.2.0"], ["31", "3.3"], ["101", "4.14"]),
  ),
  tcpStamps: flag("timestamps and SACK (RFC 7323, RFC 2018): 2.2", since("2.2.0")),
  tcpFirstTimeout: row(["3 s", "1 s"], "of a handshake: 1 s from 3.1", (r) => (has(r, "3.1") ? "1 s" : "3 s")),
  tcpSynTries: row(
    ["10", "5", "6", "4 + 6"],
    "a SYN again: 10 times in 2.2 (2.0 not read), 5 from 2.4, 6 from 3.7, from 6.5 four times a second apart before these",
    (r) => steps(r, "10", ["5", "2.4.0"], ["6", "3.7"], ["4 + 6", "6.5"]),
  ),
  tcpGivesUp: row(["by count", "by time"], "data that nobody acknowledges: by time from 2.6.32", (r) =>
    has(r, "2.6.32") ? "by time" : "by count",
  ),
  tailLossProbe: row(
    ["none", "1.5 round trips", "2 round trips"],
    "3.10; for a single segment after 1.5 round trips and 200 ms, 2 of them from 4.14",
    (r) => steps(r, "none", ["1.5 round trips", "3.10"], ["2 round trips", "4.14"]),
  ),
} as const satisfies Record<string, Row<string> | Row<boolean>>;

export type Switches = {
  readonly [Name in keyof typeof switchTable]: (typeof switchTable)[Name]["values"][number];
};
export type SwitchName = keyof Switches;

const names = Object.keys(switchTable) as SwitchName[];
const cache = new Map<string, Switches>();

/**
 * The switches of a kernel. Unknown names and values in the overrides are left out: `switchProblems` names them,
 * and parseFacts refuses them.
 */
export function switchesOf(kernel: KernelFacts): Switches {
  const plain = kernel.patches === undefined && kernel.switches === undefined;
  const key = `${kernel.generation} ${kernel.release}${plain ? "" : JSON.stringify([kernel.patches, kernel.switches])}`;
  const before = cache.get(key);
  if (before) return before;
  const release = releaseOf(kernel.generation, kernel.release);
  const made: Record<string, string | boolean> = {};
  for (const name of names) made[name] = switchTable[name].of(release);
  const generation = kernel.generation;
  const patched = new Set((kernel.patches ?? []).map((p) => p.name));
  if (generation.endsWith("-hidden") || patched.has("hidden")) made.hiddenFlag = true;
  if (generation === "2.2-sdw" || patched.has("fullarpfix")) made.fullArpFix = true;
  if (generation === "2.2-arp_invisible" || patched.has("arp_invisible")) made.arpInvisible = true;
  for (const [name, value] of Object.entries(kernel.switches ?? {})) {
    const values: readonly (string | boolean)[] | undefined = switchTable[name as SwitchName]?.values;
    if (values?.includes(value)) made[name] = value;
  }
  const switches = made as Switches;
  if (cache.size > 256) cache.clear();
  cache.set(key, switches);
  return switches;
}

/** What is wrong with the overrides, as [name, sentence]. */
export function switchProblems(kernel: KernelFacts): [string, string][] {
  const problems: [string, string][] = [];
  for (const [name, value] of Object.entries(kernel.switches ?? {})) {
    if (!Object.hasOwn(switchTable, name)) {
      problems.push([name, "no such switch"]);
      continue;
    }
    const values: readonly (string | boolean)[] = switchTable[name as SwitchName].values;
    if (!values.includes(value))
      problems.push([name, `is ${JSON.stringify(value)}, can be ${values.map((v) => JSON.stringify(v)).join(", ")}`]);
  }
  return problems;
}
