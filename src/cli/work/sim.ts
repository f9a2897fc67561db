import { writeFileSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import { scenarioPlot } from "../../lab/plot.ts";
import type { Cure } from "../../lab/report.ts";
import type { Chapter } from "../../lab/run.ts";
import { nothingToSimulate, runSimLab } from "../../lab/sim/run.ts";
import { Scenario, scenarioOptions } from "../../lab/sim/scenario.ts";
import { specOf, unspokenOf } from "../../lab/spec.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { scenarioText } from "../scenarioText.ts";
import { chaptersOf, teller, wholeNumber } from "./lab.ts";

export interface SimFlags {
  readonly forwarding: "dr" | "tun" | "both";
  readonly realServers?: string;
  readonly cure: Cure;
  readonly seconds: string;
  readonly seed?: string;
  readonly pcap?: string;
  readonly json?: boolean;
}

/** "run.pcap"; with several chapters "run-dr.pcap" and "run-tun.pcap". */
const captureName = (file: string, forwarding: string, several: boolean): string =>
  several ? file.replace(/(\.[^./]*)?$/, (ending) => `-${forwarding}${ending}`) : file;

export function writeCapture(file: string, octets: Uint8Array, io: Io, frames: number): void {
  try {
    writeFileSync(file, octets);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new HostError(`sim/${why}`, `cannot write ${file}: ${why}`, { remedy: "check the path", cause: error });
  }
  io.err(`${frames} frames in ${file}\n`);
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
  for (const { cluster, forwarding } of chapters) {
    const spec = specOf(cluster, forwarding, "scenario");
    const { scenario } = cluster.lab;
    if (scenario === undefined) continue;
    if (typeof spec === "string") {
      leftOut.push(spec);
      io.err(`left out: ${spec}\n`);
      continue;
    }
    leftOut.push(...unspokenOf(cluster, forwarding));
    const options = scenarioOptions(cluster, given, flags.cure !== "none", flags.pcap !== undefined);
    const { seed } = options;
    told++;
    const { pcap, ...outcome } = await new Scenario(cluster, scenarioPlot(spec), options).run();
    broken ||= outcome.breaches.length > 0 || outcome.connections.broken > 0;
    if (flags.json === true) reports.push({ forwarding, seed, seconds: scenario.durationMs / 1000, ...outcome });
    else io.out(scenarioText(`${cluster.name} (LVS/${forwarding.toUpperCase()}, seed ${seed})`, outcome, p));
    if (flags.pcap !== undefined && pcap !== undefined)
      writeCapture(captureName(flags.pcap, forwarding, chapters.length > 1), pcap.octets, io, pcap.frames);
  }
  if (told === 0) throw nothingToSimulate(leftOut, "tcp or udp");
  if (flags.json === true) io.out(`${JSON.stringify({ scenarios: reports, leftOut }, null, 2)}\n`);
  return exitCode(broken ? "no" : "ok");
}

/** `vipward sim [FILE]`: the lab's story on the model, or the scenario that the file holds. */
export async function runSim(file: string | undefined, flags: SimFlags, io: Io): Promise<number> {
  const chapters = chaptersOf(file, flags, io);
  if (chapters === undefined) return exitCode("badData");
  const seconds = wholeNumber("--seconds", flags.seconds, 1, 600);
  const given = flags.seed === undefined ? undefined : wholeNumber("--seed", flags.seed, 0, 0xffffffff);
  if (chapters.some((c) => c.cluster.lab.scenario !== undefined)) return runScenarios(chapters, given, flags, io);
  const { tell, end } = teller(flags, io);
  try {
    const outcome = await runSimLab({
      chapters,
      cure: flags.cure,
      trafficMs: seconds * 1000,
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
