import { readFileSync } from "node:fs";
import { parseCluster } from "../cluster/index.ts";
import { plotOf } from "../lab/plot.ts";
import { explore } from "../lab/sim/explore.ts";
import { specOf } from "../lab/spec.ts";
import { benchAsking, benchEvents, benchMemory, benchQueue } from "../sim/bench.ts";
import type { Bench, Row } from "./measure.ts";

/** Time per schedule of the example's five-host cluster, one virtual hour each. */
async function schedules(runs: number): Promise<Row> {
  const read = parseCluster(readFileSync(new URL("../../examples/lvs-dr.yaml", import.meta.url), "utf8"));
  if (!read.ok) throw new Error("the example has errors");
  const spec = specOf(read.cluster, "dr");
  if (typeof spec === "string") throw new Error(spec);
  const plot = plotOf(spec, { longLived: 0, shortLived: 0, durationMs: 0 });
  const startMs = cpuMs();
  await explore(read.cluster, plot, { seed: 1, runs, durationMs: 3_600_000, dropsGratuitous: false, silenced: true });
  const eachMs = (cpuMs() - startMs) / runs;
  const note = `10,000 of them: ${Math.round(eachMs * 10)} s of processor time, shared by as many threads as there are cores; with shrinking`;
  return { what: "a fault schedule of one virtual hour", unit: "ms", ours: Math.round(eachMs * 100) / 100, note };
}

/** Time of this process on a processor: what a busy machine takes away does not count. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const mebi = 2 ** 20;
const rounded = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits;

/** Cost per event by the number of hosts, beside what the queue alone would allow. */
function curve(say: (text: string) => void): Row[] {
  return [100, 300, 1000, 3000, 10_000].map((hosts): Row => {
    say(`${hosts} hosts`);
    const before = process.memoryUsage().rss;
    const { perSecond } = benchEvents(cpuMs, hosts, 2_000_000);
    const resident = process.memoryUsage().rss;
    return {
      what: `frames and timers, ${hosts} hosts`,
      unit: "events/s",
      ours: perSecond,
      limit: {
        name: "the queue alone with as many frames on cables",
        value: benchQueue(cpuMs, Math.max(1, hosts / 2), 60, 2_000_000),
      },
      note: `${Math.round(1e9 / perSecond)} ns an event; ${Math.round(resident / mebi)} MiB resident, ${Math.round((resident - before) / mebi)} more than before`,
    };
  });
}

function memory(octets: number): Row {
  const ns = rounded(benchMemory(cpuMs, octets, 3_000_000), 1);
  return {
    what: `a read anywhere in ${octets < mebi ? `${octets / 1024} KiB` : `${octets / mebi} MiB`}`,
    unit: "ns",
    ours: ns,
  };
}

export const simBench: Bench = {
  name: "sim",
  title: "the simulator on one core, by processor time: events by size of the LAN, 110,000 hosts, fault schedules",
  run: async (say) => {
    const rows: Row[] = [
      {
        what: "event queue, 10,000 far ahead",
        unit: "events/s",
        ours: benchQueue(cpuMs, 10_000, 1_000_000, 1_000_000),
      },
      ...[256 * 1024, mebi, 4 * mebi, 16 * mebi].map(memory),
      ...curve(say),
    ];
    say("100,000 clients ask for the VIP of 10,000 real servers");
    const { buildMs, runMs, events } = benchAsking(cpuMs, 10_000, 100_000);
    const resident = `${Math.round(process.memoryUsage().rss / mebi)} MiB resident, ${events} events`;
    rows.push({
      what: "100,000 clients ask, 10,000 real servers",
      unit: "s",
      ours: rounded((buildMs + runMs) / 1000, 1),
      limit: { name: "issue", value: 30 },
      note: resident,
    });
    say("fault schedules");
    rows.push(await schedules(10));
    return rows;
  },
};
