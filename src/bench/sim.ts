import { readFileSync } from "node:fs";
import { parseCluster } from "../cluster/index.ts";
import { plotOf } from "../lab/plot.ts";
import { explore } from "../lab/sim/explore.ts";
import { specOf } from "../lab/spec.ts";
import { benchAsking, benchEvents, benchQueue } from "../sim/bench.ts";
import { type Bench, nowMs, type Row } from "./measure.ts";

/** Time per schedule of the example's five-host cluster, one virtual hour each. */
async function schedules(runs: number): Promise<Row> {
  const read = parseCluster(readFileSync(new URL("../../examples/lvs-dr.yaml", import.meta.url), "utf8"));
  if (!read.ok) throw new Error("the example has errors");
  const spec = specOf(read.cluster, "dr");
  if (typeof spec === "string") throw new Error(spec);
  const plot = plotOf(spec, { longLived: 0, shortLived: 0, durationMs: 0 });
  const startMs = nowMs();
  await explore(read.cluster, plot, { seed: 1, runs, durationMs: 3_600_000, dropsGratuitous: false, silenced: true });
  const eachMs = (nowMs() - startMs) / runs;
  const note = `10,000 of them: ${Math.round(eachMs * 10)} s; with shrinking`;
  return { what: "a fault schedule of one virtual hour", unit: "ms", ours: Math.round(eachMs * 100) / 100, note };
}

export const simBench: Bench = {
  name: "sim",
  title: "the simulator on one core: events by size of the LAN, a LAN of 110,000 hosts, fault schedules",
  run: async (say) => {
    const rows: Row[] = [
      { what: "event queue, 10,000 waiting", unit: "events/s", ours: benchQueue(nowMs, 10_000, 1_000_000) },
    ];
    for (const hosts of [100, 1000, 10_000]) {
      say(`${hosts} hosts`);
      const { perSecond } = benchEvents(nowMs, hosts, 1_000_000);
      rows.push({ what: `frames and timers, ${hosts} hosts`, unit: "events/s", ours: perSecond });
    }
    say("100,000 clients ask for the VIP of 10,000 real servers");
    const { buildMs, runMs, events } = benchAsking(nowMs, 10_000, 100_000);
    const memory = `${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB resident, ${events} events`;
    rows.push({
      what: "100,000 clients ask, 10,000 real servers",
      unit: "s",
      ours: Math.round((buildMs + runMs) / 100) / 10,
      limit: { name: "issue", value: 30 },
      note: memory,
    });
    say("fault schedules");
    rows.push(await schedules(100));
    return rows;
  },
};
