import assert from "node:assert/strict";
import { test } from "node:test";
import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";
import { seed } from "../testing/seed.ts";
import type { RunReport } from "./run.ts";

test("2,000 random cases on the VM's kernel, with dummy and ipip", async (t) => {
  const lines: string[] = [];
  const result = await runInVm({
    command: [
      "node",
      `${projectInside}/dist/conformance/main.js`,
      ...["--cases", "2000", "--seed", String(seed), "--workers", "2", "--json"],
    ],
    timeoutMs: 400_000,
    stallMs: 180_000,
    onLine: (stream, line) => {
      if (stream === "stdout") lines.push(line);
    },
  });
  const report = JSON.parse(lines.at(-1) ?? "{}") as RunReport;
  assert.deepEqual(
    report.findings.map((f) => JSON.stringify(f)),
    [],
  );
  assert.equal(result.exitCode, 0);
  assert.ok(report.abilities.dummy && report.abilities.ipip);
  // One rule by name may not come up in so few random cases.
  assert.ok(report.exercised.some(([rule]) => rule.startsWith("C-2.6-")));
  t.diagnostic(`${report.asked} cases, ${Math.round(report.asked / report.seconds)} a second, seed ${seed}`);
});
