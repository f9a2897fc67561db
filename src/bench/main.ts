/** `npm run bench [-- NAME...] [--json]`: measurements beside their peers, in one run, on this machine. */
import { cpus, release, totalmem } from "node:os";
import { applyBench } from "./apply.ts";
import { directorBench } from "./director.ts";
import { guardBench } from "./guard.ts";
import { ipvsBench } from "./ipvs.ts";
import type { Bench, Row } from "./measure.ts";
import { modelBench } from "./model.ts";
import { netlinkBench } from "./netlink.ts";
import { number } from "./number.ts";
import { planBench } from "./plan.ts";
import { simBench } from "./sim.ts";
import { startBench } from "./start.ts";
import { whoHasBench } from "./whoHas.ts";

const benches: readonly Bench[] = [
  whoHasBench,
  netlinkBench,
  ipvsBench,
  directorBench,
  startBench,
  modelBench,
  planBench,
  applyBench,
  guardBench,
  simBench,
];

const machine = {
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGib: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
};

/** Of a time the limit is the least, of all else the most. */
const reached = (ours: number, limit: number, unit: string): string =>
  unit === "ms" ? `take ${(ours / limit).toFixed(1)} times that` : `reach ${Math.round((100 * ours) / limit)}%`;

function rowText(row: Row): string {
  const peer = row.peer === undefined ? "" : `   ${row.peer.name}: ${number(row.peer.value)}`;
  const ratio = row.ratio === undefined ? "" : `   ratio ${row.ratio.toFixed(2)}`;
  const limit =
    row.limit === undefined
      ? ""
      : `\n      limit: ${number(row.limit.value)} (${row.limit.name}); we ${reached(row.ours, row.limit.value, row.unit)}`;
  const note = row.note === undefined ? "" : `\n      ${row.note}`;
  return `  ${row.what.padEnd(26)} ${number(row.ours).padStart(12)} ${row.unit}${peer}${ratio}${limit}${note}\n`;
}

const json = process.argv.includes("--json");
const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const unknown = wanted.find((name) => !benches.some((b) => b.name === name));
if (unknown !== undefined) {
  process.stderr.write(`no measurement ${unknown}; there are: ${benches.map((b) => b.name).join(", ")}\n`);
  process.exitCode = 64;
} else {
  if (!json)
    process.stdout.write(
      `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, Linux ${machine.kernel}, Node ${machine.node}\nA ratio above 1 is better than the peer; medians of runs by turns.\n`,
    );
  const results: { name: string; title: string; rows?: Row[]; failed?: string }[] = [];
  for (const bench of benches) {
    if (wanted.length > 0 && !wanted.includes(bench.name)) continue;
    if (!json) process.stdout.write(`\n${bench.name}: ${bench.title}\n`);
    try {
      const rows = await bench.run((text) => process.stderr.write(`... ${text}\n`));
      results.push({ name: bench.name, title: bench.title, rows });
      if (!json) process.stdout.write(rows.map(rowText).join(""));
    } catch (error) {
      const failed = error instanceof Error ? error.message : String(error);
      results.push({ name: bench.name, title: bench.title, failed });
      process.stderr.write(`  failed: ${failed}\n`);
      process.exitCode = 1;
    }
  }
  if (json) process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`);
}
