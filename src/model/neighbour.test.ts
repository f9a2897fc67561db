import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import { mac, ZERO_MAC } from "../base/mac.ts";
import { type HostSketch, sketchHost } from "../testing/modelHosts.ts";
import type { ArpPacket } from "./answerArp.ts";
import { linkAt } from "./host.ts";
import {
  emptyCache,
  type NeighbourEntry,
  neighbour,
  neighbourEntry,
  neighbourFlush,
  neighbourKey,
} from "./neighbour.ts";
import { neighbourDeadlineMs, neighbourTick, neighbourUse } from "./neighbourTimers.ts";

const OLD = mac("02:00:00:00:0a:01");
const NEW = mac("02:00:00:00:0a:02");
const HIM = ipv4("10.0.0.100");
const nowMs = 100_000;

const entry = (
  state: NeighbourEntry["state"],
  ageMs: number,
  change: Partial<NeighbourEntry> = {},
): NeighbourEntry => ({
  ip: HIM,
  link: 2,
  mac: OLD,
  state,
  updatedMs: nowMs - ageMs,
  confirmedMs: nowMs - ageMs,
  usedMs: nowMs - ageMs,
  timerAtMs: nowMs,
  probes: 0,
  ...change,
});
const packet = (change: Partial<ArpPacket> = {}): ArpPacket => ({
  link: 2,
  frame: "unicast",
  operation: 2,
  senderMac: NEW,
  senderIp: HIM,
  targetMac: mac("02:00:00:00:00:02"),
  targetIp: ipv4("10.0.0.11"),
  ...change,
});
const garpRequest = packet({ operation: 1, frame: "broadcast", targetIp: HIM, targetMac: ZERO_MAC });
const garpReply = packet({ frame: "broadcast", targetIp: HIM, targetMac: NEW });
const after = (sketch: HostSketch, before: NeighbourEntry | undefined, what: ArpPacket): string => {
  const host = sketchHost(sketch);
  const found = neighbourEntry(host, linkAt(host, 2), before, what, nowMs);
  return found ? `${found.mac === NEW ? "new" : found.mac === OLD ? "old" : found.mac} ${found.state}` : "nothing";
};
const rows: readonly [string, HostSketch, NeighbourEntry | undefined, ArpPacket, string][] = [
  ["B-N-01: a waiting entry is filled", {}, entry("INCOMPLETE", 50, { mac: undefined }), packet(), "new REACHABLE"],
  [
    "B-N-01: by a broadcast too, but not as reachable",
    {},
    entry("INCOMPLETE", 50, { mac: undefined }),
    packet({ frame: "broadcast" }),
    "new STALE",
  ],
  ["B-N-02: a request for us overwrites at once", {}, entry("REACHABLE", 10), packet({ operation: 1 }), "new STALE"],
  ["B-N-02: and creates", {}, undefined, packet({ operation: 1 }), "new STALE"],
  [
    "a request for another creates nothing",
    {},
    undefined,
    packet({ operation: 1, targetIp: ipv4("10.0.0.77") }),
    "nothing",
  ],
  [
    "a request that arp_ignore silences touches nothing",
    { sysctls: { "all.arp_ignore": 8 } },
    entry("STALE", 5000),
    packet({ operation: 1 }),
    "old STALE",
  ],
  [
    "2.6.28 learns it all the same",
    { release: "2.6.28", sysctls: { "all.arp_ignore": 8 } },
    entry("STALE", 5000),
    packet({ operation: 1 }),
    "new STALE",
  ],
  ["B-N-03: locked", {}, entry("REACHABLE", 900), packet(), "old REACHABLE"],
  ["B-N-03: exactly the lock time is still locked", {}, entry("REACHABLE", 1000), packet(), "old REACHABLE"],
  ["B-N-03: not in 2.4", { release: "2.4.22" }, entry("REACHABLE", 1000), packet(), "new REACHABLE"],
  ["B-N-03: unlocked", {}, entry("REACHABLE", 1001), packet(), "new REACHABLE"],
  ["B-N-03: locktime 0", { sysctls: { "neigh.eth0.locktime": 0 } }, entry("REACHABLE", 1), packet(), "new REACHABLE"],
  [
    "B-N-03: the same MAC by broadcast keeps REACHABLE",
    {},
    entry("REACHABLE", 5000),
    packet({ senderMac: OLD, frame: "broadcast" }),
    "old REACHABLE",
  ],
  [
    "B-N-03: the same MAC by unicast confirms a probe",
    {},
    entry("PROBE", 100),
    packet({ senderMac: OLD }),
    "old REACHABLE",
  ],
  [
    "the same MAC by broadcast leaves a probe, 4.8",
    {},
    entry("PROBE", 100),
    packet({ senderMac: OLD, frame: "broadcast" }),
    "old PROBE",
  ],
  [
    "and made it STALE before",
    { release: "4.4.0" },
    entry("PROBE", 100),
    packet({ senderMac: OLD, frame: "broadcast" }),
    "old STALE",
  ],
  ["PERMANENT never changes", {}, entry("PERMANENT", 90_000), packet({ operation: 1 }), "old PERMANENT"],
  ["B-N-04: a gratuitous request overrides", {}, entry("REACHABLE", 100), garpRequest, "new STALE"],
  [
    "B-N-04: also from an address that is blackholed here",
    { more: { routes: [{ dst: "10.0.0.100", type: "blackhole" }] } },
    entry("REACHABLE", 100),
    garpRequest,
    "new STALE",
  ],
  ["B-N-04: not in 4.11", { release: "4.11.0" }, entry("REACHABLE", 100), garpRequest, "old REACHABLE"],
  [
    "B-N-04: in 4.11 with arp_accept",
    { release: "4.11.0", sysctls: { "all.arp_accept": 1 } },
    entry("REACHABLE", 100),
    garpRequest,
    "new STALE",
  ],
  [
    "B-N-04: not in 3.6 even so",
    { release: "3.6.0", sysctls: { "all.arp_accept": 1 } },
    entry("REACHABLE", 100),
    garpRequest,
    "old REACHABLE",
  ],
  ["B-N-04: a gratuitous reply overrides", {}, entry("REACHABLE", 100), garpReply, "new STALE"],
  [
    "B-N-04: not with another target MAC",
    {},
    entry("REACHABLE", 100),
    { ...garpReply, targetMac: ZERO_MAC },
    "old REACHABLE",
  ],
  ["B-N-05: nothing is created", {}, undefined, garpRequest, "nothing"],
  ["B-N-05: arp_accept creates", { sysctls: { "all.arp_accept": 1 } }, undefined, garpRequest, "new STALE"],
  [
    "B-N-05: not for requests in 2.6.33",
    { release: "2.6.33", sysctls: { "all.arp_accept": 1 } },
    undefined,
    garpRequest,
    "nothing",
  ],
  [
    "B-N-05: for replies in 2.6.33",
    { release: "2.6.33", sysctls: { "all.arp_accept": 1 } },
    undefined,
    packet(),
    "new REACHABLE",
  ],
  ["B-N-05: 2 inside the subnet", { sysctls: { "all.arp_accept": 2 } }, undefined, garpRequest, "new STALE"],
  [
    "B-N-05: 2 outside",
    { eth0: ["10.0.1.11/24"], sysctls: { "all.arp_accept": 2 } },
    undefined,
    garpRequest,
    "nothing",
  ],
  ["B-N-05: 3 means nothing", { sysctls: { "all.arp_accept": 3 } }, undefined, garpRequest, "nothing"],
  [
    "an own address is not taken from a reply",
    { lo: ["10.0.0.100/32"], sysctls: { "all.arp_accept": 1 } },
    undefined,
    packet(),
    "nothing",
  ],
  [
    "a broadcast sender makes a NOARP entry",
    {},
    undefined,
    packet({ operation: 1, senderIp: ipv4("10.0.0.255") }),
    "ff:ff:ff:ff:ff:ff NOARP",
  ],
  [
    "B-2.0-02: last speaker wins",
    { release: "2.0.36" },
    entry("COMPLETE", 1),
    packet({ frame: "broadcast", targetIp: ipv4("10.0.0.77") }),
    "new COMPLETE",
  ],
  [
    "B-2.0-02: created only if aimed at us",
    { release: "2.0.36" },
    undefined,
    packet({ targetIp: ipv4("10.0.0.77") }),
    "nothing",
  ],
  ["a probe is no news", {}, entry("STALE", 5000), packet({ operation: 1, senderIp: ipv4("0.0.0.0") }), "old STALE"],
];
for (const [what, sketch, before, given, expected] of rows)
  test(`neighbour: ${what}`, () => assert.equal(after(sketch, before, given), expected));

test("B-N-07: in 4.11 a refused packet restarts the lock time, in 4.12 not", () => {
  const updated = (release: string): number | undefined => {
    const host = sketchHost({ release });
    return neighbourEntry(host, linkAt(host, 2), entry("REACHABLE", 500), packet(), nowMs)?.updatedMs;
  };
  assert.equal(updated("4.11.0"), nowMs);
  assert.equal(updated("4.12.0"), nowMs - 500);
});

test("an untouched cache is the same object", () => {
  const host = sketchHost();
  assert.equal(neighbour(host, emptyCache, garpRequest, nowMs), emptyCache);
  const cache = neighbour(host, emptyCache, packet({ operation: 1 }), nowMs);
  assert.equal(cache.get(neighbourKey(2, HIM))?.mac, NEW);
  assert.equal(emptyCache.size, 0);
});

test("B-N-08: carrier loss evicts unless told not to; a changed MAC always does", () => {
  const cache = new Map([[neighbourKey(2, HIM), entry("REACHABLE", 10)]]);
  const left = (sketch: HostSketch, kind: "carrier lost" | "mac change"): number =>
    neighbourFlush(sketchHost(sketch), cache, { kind, link: 2 }).size;
  assert.equal(left({}, "carrier lost"), 0);
  assert.equal(left({ sysctls: { "eth0.arp_evict_nocarrier": 0 } }, "carrier lost"), 1);
  assert.equal(left({ release: "5.15.0" }, "carrier lost"), 1);
  assert.equal(left({ release: "5.15.0" }, "mac change"), 0);
});

/** Runs the timers until nothing more happens; nobody answers. */
function unanswered(release: string, before: NeighbourEntry): string {
  const host = sketchHost({ release });
  const sent: string[] = [];
  let step = neighbourUse(host, before, nowMs);
  for (let i = 0; i < 30; i++) {
    if (step.send !== "nothing") sent.push(step.send);
    const deadline = neighbourDeadlineMs(step.entry);
    if (deadline === Number.POSITIVE_INFINITY) break;
    step = neighbourTick(host, step.entry, deadline);
  }
  return `${sent.join(" ")} -> ${step.entry.state}`;
}
test("B-N-06, B-2.2-03: unicast tries first; broadcasts in the same round only on 2.2 and 2.4", () => {
  const three = "unicast unicast unicast";
  assert.equal(unanswered("6.18.0", entry("STALE", 60_000)), `${three} -> FAILED`);
  assert.equal(unanswered("2.4.22", entry("STALE", 60_000)), `${three} broadcast broadcast broadcast -> FAILED`);
  assert.equal(unanswered("6.18.0", entry("FAILED", 60_000)), "broadcast broadcast broadcast -> FAILED");
});

test("an early tick changes nothing", () => {
  const host = sketchHost();
  const { entry: e } = neighbourUse(host, entry("STALE", 60_000), nowMs);
  assert.equal(e.state, "DELAY");
  assert.equal(neighbourTick(host, e, nowMs + 10).entry, e);
});

test("B-N-06: the delay ends five seconds after the first use, however many follow", () => {
  const host = sketchHost();
  let { entry: e } = neighbourUse(host, entry("STALE", 60_000), nowMs);
  for (let ms = 500; ms < 5000; ms += 500) ({ entry: e } = neighbourUse(host, e, nowMs + ms));
  assert.equal(neighbourDeadlineMs(e), nowMs + 5000);
  const { entry: next, send } = neighbourTick(host, e, nowMs + 5000);
  assert.deepEqual([next.state, send], ["PROBE", "unicast"]);
});

test("B-N-07: a refused packet that restarts the lock time leaves the timer alone", () => {
  const host = sketchHost({ release: "4.11.0" });
  const { entry: e } = neighbourUse(host, entry("STALE", 60_000), nowMs);
  const heard = neighbourEntry(host, linkAt(host, 2), e, packet(), nowMs + 900);
  assert.deepEqual([heard?.mac, heard?.updatedMs], [OLD, nowMs + 900]);
  assert.equal(heard && neighbourDeadlineMs(heard), nowMs + 5000);
});

test("B-N-07: the owner's own word restarts the lock time up to 4.11, in 4.12 not", () => {
  const updated = (release: string): number | undefined => {
    const host = sketchHost({ release });
    return neighbourEntry(host, linkAt(host, 2), entry("REACHABLE", 500), packet({ senderMac: OLD }), nowMs)?.updatedMs;
  };
  for (const release of ["2.2.13", "2.4.22", "4.11.0"]) assert.equal(updated(release), nowMs, release);
  assert.equal(updated("4.12.0"), nowMs - 500);
});

test("a MAC that nothing confirmed is asked about once it is used, however fresh the entry", () => {
  for (const release of ["2.4.22", "6.18.0"]) {
    const host = sketchHost({ release });
    const link = linkAt(host, 2);
    for (const before of [undefined, entry("REACHABLE", 0)]) {
      const learned = neighbourEntry(host, link, before, packet({ operation: 1, frame: "broadcast" }), nowMs);
      assert.deepEqual([learned?.mac, learned?.state], [NEW, "STALE"]);
      if (learned === undefined) continue;
      const { entry: used } = neighbourUse(host, learned, nowMs);
      assert.equal(neighbourTick(host, used, nowMs + 5000).entry.state, "PROBE", release);
    }
  }
});

test("a confirmation ends DELAY without a probe: of the last 5 seconds, in 2.4 of the reachable time", () => {
  const ended = (release: string, confirmedAgoMs: number): string => {
    const host = sketchHost({ release });
    const { entry: used } = neighbourUse(host, entry("STALE", 60_000), nowMs);
    const confirmedMs = nowMs + 5000 - confirmedAgoMs;
    return neighbourTick(host, { ...used, confirmedMs }, nowMs + 5000).entry.state;
  };
  assert.deepEqual([ended("6.18.0", 5000), ended("6.18.0", 5001)], ["REACHABLE", "PROBE"]);
  assert.deepEqual([ended("2.4.22", 30_000), ended("2.4.22", 30_001)], ["REACHABLE", "PROBE"]);
});

test("from 2.6.22 a state that use changed starts the lock time", () => {
  const heard = (release: string): string | undefined => {
    const host = sketchHost({ release });
    const { entry: used } = neighbourUse(host, entry("STALE", 60_000), nowMs - 500);
    return neighbourEntry(host, linkAt(host, 2), used, packet(), nowMs)?.mac;
  };
  assert.equal(heard("6.18.0"), OLD);
  assert.equal(heard("2.4.22"), NEW);
});
