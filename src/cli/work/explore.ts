import { availableParallelism } from "node:os";
import { scenarioPlot } from "../../lab/plot.ts";
import { LAB_REPORT_VERSION } from "../../lab/report.ts";
import { breather } from "../../lab/sim/breath.ts";
import { type ExploreOptions, explore, replay } from "../../lab/sim/explore.ts";
import { nothingToSimulate } from "../../lab/sim/run.ts";
import { specOf, untoldOf } from "../../lab/spec.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { plural } from "../plural.ts";
import { progress } from "../progress.ts";
import { exploreText, scenarioText } from "../scenarioText.ts";
import { clusterFromFile } from "./clusterFile.ts";
import { methodsIn, wholeNumber } from "./lab.ts";
import { forReader } from "./wrap.ts";

export interface ExploreFlags {
  readonly runs: string;
  readonly minutes: string;
  readonly seed: string;
  readonly silence: boolean;
  readonly guard?: boolean;
  readonly replay?: string;
  readonly json?: boolean;
}

/** `vipward explore FILE`: one exploration for each forwarding method of the file. */
export async function runExplore(file: string, flags: ExploreFlags, io: Io): Promise<number> {
  const runs = wholeNumber("--runs", flags.runs, 1, 1_000_000);
  const minutes = wholeNumber("--minutes", flags.minutes, 1, 1440);
  const seed = wholeNumber("--seed", flags.seed, 0, 0x7fffffff);
  const again = flags.replay === undefined ? undefined : wholeNumber("--replay", flags.replay, 0, 1_000_000);
  const cluster = clusterFromFile(file, io, { forLab: true });
  if (cluster === undefined) return exitCode("badData");
  const reports: unknown[] = [];
  const leftOut: string[] = [];
  let broken = false;
  const line = progress(io, process.stderr.isTTY === true);
  const specs = methodsIn(cluster).map((method) => specOf(cluster, method, "scenario"));
  try {
    for (const spec of specs) {
      if (typeof spec === "string") {
        leftOut.push(spec);
        io.err(`left out: ${spec}\n`);
        continue;
      }
      leftOut.push(...untoldOf(cluster, spec.forwarding));
      const method = `LVS/${spec.forwarding.toUpperCase()}`;
      const options: ExploreOptions = {
        seed,
        runs,
        durationMs: minutes * 60_000,
        dropsGratuitous: spec.dropsGratuitous === true,
        silenced: flags.silence,
        guard: flags.guard === true ? "heal" : cluster.lab.scenario?.guard,
        threads: availableParallelism(),
        signal: io.signal,
        progress: (done) => {
          if (line.live || done % 100 === 0) line.say(`${method}: ${done} of ${runs} schedules`);
        },
        shortening: (story, of) => line.say(`${method}: cutting down story ${story} of ${of}`),
      };
      if (again !== undefined) {
        line.say(`${method}: schedule ${again}`);
        const { faults, outcome } = await replay(cluster, scenarioPlot(spec), options, again, breather(io.signal));
        line.clear();
        broken ||= outcome.breaches.length > 0;
        const name = `${cluster.name} (${method}, seed ${seed}, run ${again})`;
        if (flags.json === true) reports.push({ forwarding: spec.forwarding, seed, run: again, faults, ...outcome });
        else io.out(forReader(io, scenarioText(name, outcome, paint(io.colour))));
        continue;
      }
      line.say(`${method}: ${plural(runs, "schedule")}`);
      const report = await explore(cluster, scenarioPlot(spec), options);
      line.clear();
      broken ||= report.stories.length > 0;
      if (flags.json === true) reports.push(report);
      else io.out(`${method}: ${exploreText(file, report, paint(io.colour), (text) => forReader(io, text))}`);
      if (!io.signal.aborted) continue;
      io.err(
        report.runs < runs
          ? `interrupted after ${report.runs} of ${plural(runs, "schedule")}\n`
          : "interrupted while stories were cut down: they may hold more faults than they need\n",
      );
      break;
    }
  } finally {
    line.end();
  }
  if (specs.every((s) => typeof s === "string")) throw nothingToSimulate(leftOut, "tcp or udp");
  const document = { reportVersion: LAB_REPORT_VERSION, cluster: cluster.name, explorations: reports, leftOut };
  if (flags.json === true) io.out(`${JSON.stringify(document, null, 2)}\n`);
  return exitCode(io.signal.aborted ? "interrupted" : broken ? "no" : "ok");
}
