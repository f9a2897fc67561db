import { accessSync, constants, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { HostError } from "../../host/errors.ts";
import { scenarioPlot } from "../../lab/plot.ts";
import { type Cure, LAB_REPORT_VERSION } from "../../lab/report.ts";
import type { Chapter } from "../../lab/run.ts";
import { breather } from "../../lab/sim/breath.ts";
import { nothingToSimulate, runSimLab } from "../../lab/sim/run.ts";
import { Scenario, scenarioOptions } from "../../lab/sim/scenario.ts";
import { specOf, untoldOf } from "../../lab/spec.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { progress } from "../progress.ts";
import { clock, scenarioText } from "../scenarioText.ts";
import { chaptersOf, teller, usage, wholeNumber } from "./lab.ts";
import { forReader } from "./wrap.ts";

export interface SimFlags {
  readonly forwarding: "dr" | "tun" | "both";
  readonly realServers?: string;
  readonly cure: Cure;
  readonly seconds?: string;
  readonly seed?: string;
  readonly pcap?: string;
  readonly json?: boolean;
}

/** "run.pcap"; with several chapters "run-dr.pcap" and "run-tun.pcap". */
const captureName = (file: string, forwarding: string, several: boolean): string =>
  several ? file.replace(/(\.[^./]*)?$/, (ending) => `-${forwarding}${ending}`) : file;

/** Said before hours are simulated, not after. */
function refuseUnwritable(file: string): void {
  const refuse = (why: string, code: string): never => {
    throw new HostError(`sim/${code}`, `cannot write ${file}: ${why}`, {
      remedy: "check the path and its permissions",
    });
  };
  const folder = dirname(file);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    refuse(`there is no folder ${folder}`, "no-input");
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory() === true) refuse("it is a folder", "no-input");
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    refuse(code, code);
  }
}

export function writeCapture(file: string, octets: Uint8Array, io: Io, frames: number): void {
  try {
    writeFileSync(file, octets);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new HostError(`sim/${why}`, `cannot write ${file}: ${why}`, { remedy: "check the path", cause: error });
  }
  io.err(`${frames} frames in ${file}\n`);
}

const reportHead = (chapters: readonly Chapter[]): { readonly reportVersion: number; readonly cluster: string } => ({
  reportVersion: LAB_REPORT_VERSION,
  cluster: [...new Set(chapters.map((c) => c.cluster.name))].join(", "),
});

/** Flags that say how the story is told, and say nothing of a scenario, which tells that itself. */
function refuseStoryFlags(flags: SimFlags): void {
  if (flags.seconds !== undefined)
    throw usage("--seconds is for the story without a scenario", "change `seconds` under `lab.scenario` of the file");
  if (flags.cure !== "full" && flags.cure !== "none")
    throw usage(`--cure ${flags.cure} is for the story without a scenario`, "choose full or none");
}

async function runScenarios(
  chapters: readonly Chapter[],
  given: number | undefined,
  flags: SimFlags,
  io: Io,
): Promise<number> {
  const p = paint(io.colour);
  let told = 0;
  const reports: unknown[] = [];
  const leftOut: string[] = [];
  let broken = false;
  const line = progress(io, process.stderr.isTTY === true);
  try {
    for (const { cluster, forwarding } of chapters) {
      const spec = specOf(cluster, forwarding, "scenario");
      const { scenario } = cluster.lab;
      if (scenario === undefined) continue;
      if (typeof spec === "string") {
        leftOut.push(spec);
        io.err(`left out: ${spec}\n`);
        continue;
      }
      leftOut.push(...untoldOf(cluster, forwarding));
      const options = scenarioOptions(cluster, given, flags.cure !== "none", flags.pcap !== undefined);
      const { seed, durationMs } = options;
      told++;
      const method = `LVS/${forwarding.toUpperCase()}`;
      const length = clock(durationMs).slice(0, 8);
      line.say(`${method}: a scenario of ${length}`);
      const { pcap, ...outcome } = await new Scenario(cluster, scenarioPlot(spec), options).run(
        breather(io.signal, (atMs) => {
          if (line.live) line.say(`${method}: ${clock(atMs).slice(0, 8)} of ${length}`);
        }),
      );
      line.clear();
      const { total, completed, failed = 0 } = outcome.connections;
      const { asked = 0, answered = 0 } = outcome.datagrams ?? {};
      broken ||= outcome.breaches.length > 0 || completed < total || failed > 0 || answered < asked;
      if (flags.json === true) reports.push({ forwarding, seed, seconds: durationMs / 1000, ...outcome });
      else io.out(forReader(io, scenarioText(`${cluster.name} (${method}, seed ${seed})`, outcome, p)));
      if (flags.pcap !== undefined && pcap !== undefined)
        writeCapture(captureName(flags.pcap, forwarding, chapters.length > 1), pcap.octets, io, pcap.frames);
    }
  } finally {
    line.end();
  }
  if (told === 0) throw nothingToSimulate(leftOut, "tcp or udp");
  if (flags.json === true)
    io.out(`${JSON.stringify({ ...reportHead(chapters), scenarios: reports, leftOut }, null, 2)}\n`);
  return exitCode(broken ? "no" : "ok");
}

/** `vipward sim [FILE]`: the lab's story on the model, or the scenario that the file holds. */
export async function runSim(file: string | undefined, flags: SimFlags, io: Io): Promise<number> {
  const chapters = chaptersOf(file, flags, io);
  if (chapters === undefined) return exitCode("badData");
  const trafficMs = wholeNumber("--seconds", flags.seconds ?? "5", 1, 600) * 1000;
  if (flags.pcap !== undefined) refuseUnwritable(flags.pcap);
  const given = flags.seed === undefined ? undefined : wholeNumber("--seed", flags.seed, 0, 0xffffffff);
  if (chapters.some((c) => c.cluster.lab.scenario !== undefined)) {
    refuseStoryFlags(flags);
    return runScenarios(chapters, given, flags, io);
  }
  const { tell, end } = teller(flags, io);
  try {
    const outcome = await runSimLab({
      chapters,
      cure: flags.cure,
      trafficMs,
      seed: given ?? 1,
      capture: flags.pcap !== undefined,
      tell,
      signal: io.signal,
    });
    if (flags.pcap !== undefined)
      for (const { forwarding, octets, frames } of outcome.captures)
        writeCapture(captureName(flags.pcap, forwarding, outcome.captures.length > 1), octets, io, frames);
    return exitCode(outcome.report.held ? "ok" : "no");
  } finally {
    end();
  }
}
