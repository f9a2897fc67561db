import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { needsRoot } from "../testing/root.ts";
import { seed } from "../testing/seed.ts";
import type { PlansAnswer } from "./plansWorker.ts";

/** More: `npm run conformance -- --plans 500`. */
const hosts = 40;

test(`${hosts} random hosts: what is planned and applied holds on the wire, or was refused for a true reason`, async (t) => {
  if (!needsRoot(t)) return;
  const report = await new Promise<PlansAnswer>((resolve, reject) => {
    const worker = new Worker(new URL("./plansWorker.js", import.meta.url), {
      workerData: { seed, hosts, name: `vw-p${process.pid}-` },
    });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  if ("failed" in report) throw new Error(report.failed);
  t.diagnostic(JSON.stringify({ ...report, faults: report.faults.length, seed }));
  assert.deepEqual(report.faults, []);
  assert.ok(Object.values(report.applied).reduce((a, b) => a + b, 0) > hosts / 10, "some were applied");
});
