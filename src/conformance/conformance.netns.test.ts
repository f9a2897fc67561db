import assert from "node:assert/strict";
import { test } from "node:test";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { HostFacts } from "../model/facts.ts";
import { needsRoot } from "../testing/root.ts";
import { seed } from "../testing/seed.ts";
import { type Examined, examine } from "./exam.ts";
import { type Case, drawCase } from "./group.ts";
import { runConformance } from "./run.ts";
import { shrink } from "./shrink.ts";
import { Stage } from "./stage.ts";

if (isMainThread)
  test("6,000 random cases: this kernel does what the model says", async (t) => {
    if (!needsRoot(t)) return;
    const report = await runConformance({ cases: 6000, seed, workers: 2 });
    assert.deepEqual(
      report.findings.map((f) => JSON.stringify(f)),
      [],
    );
    assert.ok(report.asked >= 6000);
    assert.ok(report.exercised.length > 30, "most rules of today's kernels had their turn");
    t.diagnostic(`${report.asked} cases, ${Math.round(report.asked / report.seconds)} a second, seed ${seed}`);
  });

/** A reader that always says that arp_ignore is 8 everywhere: what a wrong model or reader looks like. */
class LyingStage extends Stage {
  override facts(): HostFacts {
    const facts = super.facts();
    return { ...facts, sysctls: { ...facts.sysctls, "all.arp_ignore": 8 } };
  }
}
const runWithLies = (c: Case, name: string): Examined => {
  const stage = new LyingStage(c.topology, name);
  try {
    stage.apply(c.plan);
    return examine(stage, c.questions, 1);
  } finally {
    stage.close();
  }
};

/** In a worker, as a stage leaves its thread in another namespace. */
function lie(name: string): { readonly what: string; readonly parts: number; readonly questions: number } {
  const abilities = { dummy: false, ipip: false, macvlan: false, nft: false };
  for (let host = 0; host < 20; host++) {
    const drawn = drawCase(1, 0, host, abilities);
    const difference = runWithLies(drawn, name).differences.find((d) => d.what === "arp");
    const small = difference && shrink(drawn, difference, name, runWithLies);
    if (small)
      return {
        what: small.difference.what,
        parts: small.case.plan.parts.length,
        questions: small.case.questions.length,
      };
  }
  return { what: "nothing", parts: 0, questions: 0 };
}

if (isMainThread)
  test("a host whose facts are wrong is found out, and the case is made small", async (t) => {
    if (!needsRoot(t)) return;
    const found = await new Promise<ReturnType<typeof lie>>((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: `vw-c${process.pid}-lie` });
      worker.on("message", resolve);
      worker.on("error", reject);
    });
    assert.equal(found.what, "arp");
    assert.equal(found.questions, 1);
    assert.ok(found.parts <= 3, `${found.parts} parts left`);
  });
else parentPort?.postMessage(lie(String(workerData)));
