import assert from "node:assert/strict";
import { test } from "node:test";
import { generationOf, parseRelease } from "./generation.ts";
import { type SwitchName, switchesOf, switchProblems } from "./switches.ts";
import { effective } from "./sysctl.ts";

const of = (release: string) => switchesOf({ release, generation: generationOf(parseRelease(release) ?? [], []) });

/** Each border from both sides: [switch, last release before, value, first release with, value]. */
const borders: readonly [SwitchName, string, unknown, string, unknown][] = [
  ["arpScope", "2.0.40", "device", "2.2.0", "host"],
  ["hiddenFlag", "2.2.13", false, "2.2.14", true],
  ["hiddenFlag", "2.2.26", true, "2.4.0", false],
  ["arpFilter", "2.2.17", false, "2.2.18", true],
  ["arpFilter", "2.4.4", false, "2.4.5", true],
  ["arpIgnoreAnnounce", "2.4.25", false, "2.4.26", true],
  ["arpIgnoreAnnounce", "2.6.3", false, "2.6.4", true],
  ["learnBeforeSilence", "2.6.28", true, "2.6.29", false],
  ["probeReplyForm", "2.6.23", "own", "2.6.24", "asker"],
  ["gratuitousAsProbe", "2.6.29", false, "2.6.30", true],
  ["gratuitousAsProbe", "2.6.30.5", true, "2.6.31", false],
  ["rpCombine", "2.6.30", "and", "2.6.31", "max"],
  ["localSourceCheck", "3.5.9", "full", "3.6.0", "none"],
  ["localSourceCheck", "3.16.9", "none", "3.17.0", "full"],
  ["localSourceCheck", "4.14.9", "full", "4.15.0", "exact"],
  ["acceptLocal", "2.6.32.60", false, "2.6.33", true],
  ["garpOverride", "3.6.0", "never", "4.1.0", "with arp_accept"],
  ["garpOverride", "4.11.9", "with arp_accept", "4.12.0", "always"],
  ["refusedUpdateRestartsLock", "2.6.8", false, "2.6.9", true],
  ["refusedUpdateRestartsLock", "4.11.9", true, "4.12.0", false],
  ["lockTimeInclusive", "2.6.5", true, "2.6.6", false],
  ["ifaceStateLifetime", "2.6.21", "address", "2.6.22", "device"],
  ["routeLocalnet", "3.5.9", false, "3.6.0", true],
  ["localnetScopeClamp", "4.19.200", false, "5.4.0", true],
  ["natRoutes", "2.6.24", true, "2.6.25", false],
  ["arpAccept", "2.6.16", "none", "2.6.17", "replies, all only"],
  ["arpAccept", "2.6.33", "replies, all only", "2.6.34", "all only"],
  ["arpAccept", "5.19.17", "or", "6.0.0", "max"],
  ["arpNotify", "2.6.29", "none", "2.6.30", "first prefix address"],
  ["evictNoCarrier", "5.15.100", false, "5.17.0", true],
  ["proxyPvlan", "2.6.33", "none", "2.6.34", "interface"],
  ["dropGratuitous", "4.4.300", false, "4.10.0", true],
  ["selectElsewhere", "2.2.13", false, "2.2.14", true],
  ["mergedTables", "4.0.9", false, "4.1.0", true],
  ["defaultAfterError", "4.0.9", false, "4.1.0", true],
  ["defaultAfterError", "6.0.9", true, "6.1.0", false],
  ["unresolvedQueue", "2.0.40", "all", "2.2.0", "3"],
  ["unresolvedQueue", "3.2.102", "3", "3.3.0", "31"],
  ["unresolvedQueue", "4.13.16", "31", "4.14.0", "101"],
  ["linkDownRoutes", "6.0.9", "interface", "6.1.0", "or"],
];
for (const [name, before, old, after, now] of borders)
  test(`${name} is ${old} in ${before} and ${now} in ${after}`, () => {
    assert.equal(of(before)[name], old);
    assert.equal(of(after)[name], now);
  });

test("a vendor's kernel overrides a switch; nonsense is left out and named", () => {
  const kernel = {
    release: "2.4.20",
    generation: "2.4-early",
    switches: { arpIgnoreAnnounce: true, rpCombine: "xor" },
  } as const;
  assert.equal(switchesOf(kernel).arpIgnoreAnnounce, true);
  assert.equal(switchesOf(kernel).rpCombine, "and");
  assert.deepEqual(
    switchProblems(kernel).map(([name]) => name),
    ["rpCombine"],
  );
});

test("the generation follows from release and patches", () => {
  const generation = (release: string, ...patches: string[]) => generationOf(parseRelease(release) ?? [], patches);
  assert.equal(generation("2.0.36"), "2.0");
  assert.equal(generation("2.2.13"), "2.2");
  assert.equal(generation("2.2.13", "fullarpfix"), "2.2-sdw");
  assert.equal(generation("2.2.14"), "2.2-hidden");
  assert.equal(generation("2.2.13", "hidden"), "2.2-hidden", "the patch, before the kernel had it");
  assert.equal(generation("2.3.40", "hidden"), "2.2");
  assert.equal(generation("2.4.25"), "2.4-early");
  assert.equal(generation("2.4.27"), "2.4-late");
  assert.equal(generation("2.4.27", "hidden"), "2.4-hidden");
  assert.equal(generation("2.6.3"), "2.4-early");
  assert.equal(generation("2.6.32.9-vendor"), "2.6");
  assert.equal(generation("6.18.44", "hidden"), "2.6-hidden");
  assert.equal(generation("6.18.44"), "6.x");
});

test("sysctls combine as section S says", () => {
  const six = of("6.18.0");
  assert.equal(effective(six, "arp_ignore", 1, 3), 3);
  assert.equal(effective(six, "arp_filter", 0, 5), 1);
  assert.equal(effective(six, "arp_evict_nocarrier", 1, 0), 0);
  assert.equal(effective(six, "arp_evict_nocarrier", undefined, undefined), 1);
  assert.equal(effective(six, "rp_filter", 1, 2), 2);
  assert.equal(effective(six, "rp_filter", 1, 0), 1);
  assert.equal(effective(of("2.6.20"), "rp_filter", 1, 0), 0);
  assert.equal(effective(of("2.6.30"), "rp_filter", 2, 2), 1);
  assert.equal(effective(six, "forwarding", 1, 0), 0);
  assert.equal(effective(six, "hidden", 1, 1), 0, "the file does not exist there");
  assert.equal(effective(of("2.2.14"), "hidden", 1, 1), 1);
  assert.equal(effective(of("2.2.14"), "hidden", 1, 0), 0);
  assert.equal(effective(of("2.6.32"), "arp_accept", 0, 1), 0, "only all counts");
  assert.equal(effective(of("3.10.0"), "arp_accept", 0, 1), 1);
  assert.equal(effective(six, "arp_accept", 1, 2), 2);
});
