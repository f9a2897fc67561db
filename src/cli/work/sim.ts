import { writeFileSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import type { Cure } from "../../lab/report.ts";
import { runSimLab } from "../../lab/sim/run.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { chaptersOf, teller, wholeNumber } from "./lab.ts";

export interface SimFlags {
  readonly forwarding: "dr" | "tun" | "both";
  readonly realServers?: string;
  readonly cure: Cure;
  readonly seconds: string;
  readonly seed: string;
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

/** `vipward sim [FILE]`: the lab's story on the model. */
export async function runSim(file: string | undefined, flags: SimFlags, io: Io): Promise<number> {
  const chapters = chaptersOf(file, flags, io);
  if (chapters === undefined) return exitCode("badData");
  const seconds = wholeNumber("--seconds", flags.seconds, 1, 600);
  const seed = wholeNumber("--seed", flags.seed, 0, 0x7fffffff);
  const { tell, end } = teller(flags, io);
  try {
    const outcome = await runSimLab({
      chapters,
      cure: flags.cure,
      trafficMs: seconds * 1000,
      seed,
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
