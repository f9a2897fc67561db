import assert from "node:assert/strict";
import { test } from "node:test";
import { vipward } from "../../testing/cli.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import type { ChapterReport, Cure, LabReport, TrafficStep } from "../report.ts";

const prefix = testPrefix("truth");

async function chapterOf(backend: "netns" | "sim", cure: Cure): Promise<ChapterReport> {
  const args = ["lab", "--backend", backend, "--forwarding", "dr", "--seconds", "2", "--cure", cure, "--json"];
  const result = await vipward([...args, "--prefix", prefix]);
  assert.notEqual(result.stdout, "", result.stderr);
  const [chapter] = (JSON.parse(result.stdout) as LabReport).chapters;
  assert.ok(chapter);
  return chapter;
}

/** Numbers of a race differ from run to run on any LAN; whether there are none, and who they are about, does not. */
const classes = (t: TrafficStep) => ({
  bypassed: t.bypassedDirector > 0,
  longLivedBroken: t.longLivedBroken > 0,
  leaks: Object.keys(t.leaks).length > 0,
  allCompleted: t.completed === t.connections,
});
const essence = (c: ChapterReport) => ({
  machines: c.machines.map((m) => [m.name, m.role, m.addresses, m.macs]),
  ownersBefore: c.problem.whoHas.map((w) => w.shares.map((s) => s.machine).sort()),
  before: classes(c.problem.traffic),
  leak: c.leak && [c.leak.before, c.leak.after, c.leak.leaked, c.leak.whoHas.map((w) => w.machine)],
  ownersAfter: c.proof.whoHas.map((w) => w.shares.map((s) => s.machine).sort()),
  after: classes(c.proof.traffic),
  reach: c.proof.reach.map((r) => [r.realServer, r.answeredBy, [...r.reached].sort()]),
});

for (const cure of ["full", "ignore-only", "announce-only"] as const)
  test(`cure ${cure}: the running kernel and the model tell one story`, async (t) => {
    if (!needsRoot(t)) return;
    const [real, simulated] = [await chapterOf("netns", cure), await chapterOf("sim", cure)];
    assert.deepEqual(essence(simulated), essence(real));
  });
