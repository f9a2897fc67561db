import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cluster, LabFault } from "../../cluster/cluster.ts";
import { parseCluster } from "../../cluster/index.ts";
import { builtinCluster } from "../builtin.ts";
import { type Plot, scenarioPlot } from "../plot.ts";
import { specOf } from "../spec.ts";
import { type ExploreOptions, explore, shrink } from "./explore.ts";
import { scheduleOf } from "./schedule.ts";

function plot(): [Cluster, Plot] {
  const read = parseCluster(builtinCluster("dr", 3));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, "dr");
  assert.ok(typeof spec !== "string");
  return [read.cluster, scenarioPlot(spec)];
}
const options = { seed: 11, runs: 12, durationMs: 240_000, dropsGratuitous: false, silenced: true };

test("explore finds breaches, cuts them down to what is needed, and gives them again by seed", async () => {
  const one = await explore(...plot(), options);
  assert.equal(one.runs, 12);
  assert.ok(one.stories.length > 0);
  for (const story of one.stories) {
    assert.ok(story.faults.length <= story.faultsBefore);
    assert.ok(story.outcome.breaches.some((b) => b.law === story.law && b.host === story.host));
    assert.ok(story.faults.length <= 2, JSON.stringify(story.faults));
  }
  assert.equal(JSON.stringify(await explore(...plot(), { ...options, runs: 12 })), JSON.stringify(one));
});

test("the number of threads changes nothing, with a guard or without, and stopping early counts what was run", async () => {
  const shorter = { ...options, runs: 7, durationMs: 60_000 };
  const told = async (more: Partial<ExploreOptions>): Promise<string> =>
    JSON.stringify(await explore(...plot(), { ...shorter, ...more }));
  const [plain, guarded] = [await told({}), await told({ guard: "heal" })];
  assert.notEqual(plain, guarded);
  assert.equal(await told({ threads: 2 }), plain);
  assert.equal(await told({ threads: 3, guard: "heal" }), guarded);
  for (const threads of [1, 2]) {
    const ending = new AbortController();
    const progress = (done: number): void => {
      if (done === 3) ending.abort();
    };
    const stopped = await explore(...plot(), { ...shorter, runs: 1000, threads, progress, signal: ending.signal });
    // one thread hears of it when it takes breath
    assert.ok(stopped.runs >= 3 && stopped.runs < 1000, String(stopped.runs));
  }
});

test("a VIP put on a network card by hand is one of the stories, and one fault is enough for it", async () => {
  const { stories } = await explore(...plot(), options);
  const added = stories.find((s) => s.faults.some((f) => f.action === "add-vip"));
  assert.deepEqual(
    added?.faults.map((f) => f.action),
    ["add-vip"],
  );
  assert.equal(added?.law, "one owner");
});

test("without silence every schedule breaks a law, with no fault at all", async () => {
  const report = await explore(...plot(), { ...options, runs: 2, silenced: false });
  assert.equal(report.sound, 0);
  const owners = report.stories.filter((s) => s.law === "one owner" && s.host.startsWith("web"));
  assert.equal(owners.length, 3);
  assert.ok(owners.every((s) => s.faults.length === 0));
});

test("schedules depend on seed and number alone", () => {
  const p = plot();
  assert.deepEqual(scheduleOf(...p, 5, 3, 60_000), scheduleOf(...p, 5, 3, 60_000));
  assert.notDeepEqual(scheduleOf(...p, 5, 3, 60_000), scheduleOf(...p, 5, 4, 60_000));
});

test("short schedules begin anywhere in their first half, not all at the beginning", () => {
  const p = plot();
  for (const seconds of [60, 120, 180]) {
    const schedules = Array.from({ length: 400 }, (_, run) => scheduleOf(...p, 1, run, seconds * 1000));
    const late = schedules.filter(([first]) => (first?.atMs ?? 0) > seconds * 250).length;
    assert.ok(late > 80, `${late} of 400 begin after the first quarter of ${seconds} s`);
  }
});

const flushes = (hosts: string): LabFault[] =>
  [...hosts].map((host, i) => ({ atMs: i, action: "flush", host, name: "", value: 0 }));

test("shrinking keeps exactly what the breach needs", async () => {
  const faults = flushes("abcdefg");
  const needs = (some: readonly { host: string }[]): boolean => ["b", "f"].every((h) => some.some((x) => x.host === h));
  assert.deepEqual(
    (await shrink(faults, needs)).map((f) => f.host),
    ["b", "f"],
  );
});

test("shrinking goes on until nothing can go: leaving out one fault may make an earlier one superfluous", async () => {
  // x and y break the law; z hinders them, unless w does something about z
  const breaks = (some: readonly LabFault[]): boolean => {
    const has = (host: string): boolean => some.some((f) => f.host === host);
    return has("x") && has("y") && (!has("z") || has("w"));
  };
  assert.deepEqual(
    (await shrink(flushes("wxyz"), breaks)).map((f) => f.host),
    ["x", "y"],
  );
});
