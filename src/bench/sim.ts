import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseCluster } from "../cluster/index.ts";
import { scenarioPlot } from "../lab/plot.ts";
import { type Sample, samples } from "../lab/sim/sample.ts";
import { specOf } from "../lab/spec.ts";
import { benchAsking, benchEvents, benchMemory, benchQueue } from "../sim/bench.ts";
import { type Bench, byTurns, median, nowMs, type Row, rateRow } from "./measure.ts";
import { buildNs3, type Ns3, type Ns3Run } from "./ns3.ts";

/** Time of this process on a processor: what a busy machine takes away does not count. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const mebi = 2 ** 20;
const rounded = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits;
const residentMib = (): number => Math.round(process.memoryUsage().rss / mebi);
const perSecond = ({ events, seconds }: Ns3Run): number => Math.round(events / seconds);
const rounds = 3;

// ---- events ----

/** Events that wait, and how far ahead each is put in. */
const waiting = 10_000;
const aheadUs = 1_000_000;

async function queue(peer: Ns3 | string): Promise<Row> {
  const ours = (): number => benchQueue(cpuMs, waiting, aheadUs, 1_000_000);
  const what = "event queue, 10,000 far ahead";
  if (typeof peer === "string") return { what, unit: "events/s", ours: ours(), note: `no peer: ${peer}` };
  const rates = await byTurns(rounds, ours, () => perSecond(peer.run("events", waiting, 500_000, aheadUs)));
  const heaps = Array.from({ length: rounds }, () => perSecond(peer.run("heap", waiting, 2_000_000, aheadUs)));
  return rateRow(what, "events/s", rates, `ns-3 ${peer.version}`, {
    limit: { name: "a bare binary heap in C++", value: median(heaps) },
  });
}

const sizes = [100, 300, 1000, 3000, 10_000];

/** Cost per event by the number of hosts, beside ns-3's for the same datagrams and what the queue alone would allow. */
async function curve(peer: Ns3 | string, say: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const hosts of sizes) {
    say(`${hosts} hosts`);
    const ours = (): number => benchEvents(cpuMs, hosts, 2_000_000).perSecond;
    const theirs: Ns3Run[] = [];
    const rates =
      typeof peer === "string"
        ? { ours: ours(), peer: Number.NaN }
        : await byTurns(rounds, ours, () => {
            const run = peer.run("lan", hosts, 300_000);
            theirs.push(run);
            return perSecond(run);
          });
    const each = 1e9 / rates.ours;
    const flat =
      rows[0] === undefined ? "" : `, ${(rows[0].ours / rates.ours).toFixed(1)} times that of ${sizes[0]} hosts`;
    const what = `frames and timers, ${hosts} hosts`;
    const limit = {
      name: "the queue alone with as many frames on cables",
      value: benchQueue(cpuMs, Math.max(1, hosts / 2), 60, 2_000_000),
    };
    const note = `${Math.round(each)} ns an event${flat}; ${residentMib()} MiB resident`;
    rows.push(
      typeof peer === "string"
        ? { what, unit: "events/s", ours: rates.ours, limit, note }
        : rateRow(what, "events/s", rates, `ns-3 ${peer.version}`, {
            limit,
            note: `${note}, ns-3 ${theirs[0]?.residentMib} MiB`,
          }),
    );
  }
  return rows;
}

function memory(octets: number): Row {
  const ns = rounded(benchMemory(cpuMs, octets, 3_000_000), 1);
  return {
    what: `a read anywhere in ${octets < mebi ? `${octets / 1024} KiB` : `${octets / mebi} MiB`}`,
    unit: "ns",
    ours: ns,
  };
}

function asking(): Row {
  const { buildMs, runMs, events } = benchAsking(cpuMs, 10_000, 100_000);
  return {
    what: "100,000 clients ask, 10,000 real servers",
    unit: "s",
    ours: rounded((buildMs + runMs) / 1000, 1),
    limit: { name: "issue", value: 30 },
    note: `${residentMib()} MiB resident, ${events} events`,
  };
}

// ---- fault schedules ----

const sampled = 60;
const allRuns = 10_000;

/** So many schedules of the example's five-host cluster, one virtual hour each. */
function schedulesOf(runs: number, threads: number): AsyncGenerator<Sample> {
  const read = parseCluster(readFileSync(new URL("../../examples/lvs-dr.yaml", import.meta.url), "utf8"));
  if (!read.ok) throw new Error("the example has errors");
  const spec = specOf(read.cluster, "dr");
  if (typeof spec === "string") throw new Error(spec);
  const plot = scenarioPlot(spec);
  const options = { seed: 1, runs, durationMs: 3_600_000, dropsGratuitous: false, silenced: true, threads };
  return samples(read.cluster, plot, options);
}

async function sample(): Promise<Row> {
  const startMs = cpuMs();
  let events = 0;
  for await (const one of schedulesOf(sampled, 1)) events += one.events;
  const eachMs = (cpuMs() - startMs) / sampled;
  const each = `${Math.round(events / sampled).toLocaleString("en")} events each, ${rounded((1e3 * eachMs * sampled) / events, 2)} us an event`;
  const all = `${allRuns.toLocaleString("en")} of them: ${Math.round((eachMs * allRuns) / 1000)} s of one core, extrapolated from ${sampled}`;
  return {
    what: "a fault schedule of one virtual hour",
    unit: "ms",
    ours: rounded(eachMs, 1),
    note: `${each}; ${all}; ${residentMib()} MiB resident`,
  };
}

async function all(say: (text: string) => void): Promise<Row> {
  const threads = availableParallelism();
  const from = { cpu: cpuMs(), wall: nowMs() };
  let events = 0;
  let done = 0;
  for await (const one of schedulesOf(allRuns, threads)) {
    events += one.events;
    if (++done % 100 === 0) say(`${done} of ${allRuns} schedules`);
  }
  const seconds = Math.round((nowMs() - from.wall) / 1000);
  const cpu = Math.round((cpuMs() - from.cpu) / 1000);
  return {
    what: `${allRuns.toLocaleString("en")} fault schedules of one virtual hour`,
    unit: "s",
    ours: seconds,
    note: `${cpu} s of processor time in ${threads} threads, ${events.toLocaleString("en")} events; ${residentMib()} MiB resident`,
  };
}

export const simBench: Bench = {
  name: "sim",
  title:
    "the simulator on one core, by processor time: fault schedules (--all: all 10,000 of them), events by size of the LAN, 110,000 hosts",
  run: async (say) => {
    const peer = buildNs3();
    try {
      // first, so that what is said of its memory is its own
      say(`${sampled} fault schedules`);
      const rows = [await sample()];
      if (process.argv.includes("--all")) rows.push(await all(say));
      rows.push(await queue(peer), ...[256 * 1024, mebi, 4 * mebi, 16 * mebi].map(memory), ...(await curve(peer, say)));
      say("100,000 clients ask for the VIP of 10,000 real servers");
      rows.push(asking());
      return rows;
    } finally {
      if (typeof peer !== "string") peer.close();
    }
  },
};
