/** The work behind `vipward run`. */
import { unwatchFile, watchFile } from "node:fs";
import type { StampedEvent } from "../../agent/status.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { Memory } from "../../cluster/index.ts";
import { Agent, type Outcome, type ReloadCause, type SilenceReport } from "../../host/agent/agent.ts";
import { HostError } from "../../host/errors.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { clusterFromText, readClusterText } from "./clusterFile.ts";

export interface RunFlags {
  readonly config: string;
  readonly as?: string;
  readonly socket?: string;
  readonly stateDir: string;
  readonly log: "text" | "json";
  readonly silenceInterval: string;
  readonly clearOnStop?: boolean;
}

const usage = (message: string, remedy: string): HostError => new HostError("run/usage", message, { remedy });
/** A file that is being written is complete when it has not changed for so long. */
const fileRestMs = 500;

/** `read` gives nothing when it has said why not; what it says else are warnings. */
function outcomeOf<T>(io: Io, read: (quiet: Io) => T | undefined): Outcome<T> {
  const said: string[] = [];
  try {
    const value = read({ ...io, err: (text) => void said.push(text.trimEnd()) });
    if (value !== undefined) {
      for (const warning of said) io.err(`${warning}\n`);
      return { ok: true, value };
    }
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    said.push(error.message);
  }
  return { ok: false, why: said.join("\n") };
}

/** sd-daemon(3): journald takes the level from the number in front, where it reads our standard error. */
const levels = { info: 6, warning: 4, alarm: 1 } as const;

function logger(form: "text" | "json", io: Io): (event: StampedEvent) => void {
  const underJournal = process.env.JOURNAL_STREAM !== undefined;
  return (event) => {
    const { at, level, code, subject, text, rule, remedy } = event;
    if (form === "json") return io.err(`${JSON.stringify(event)}\n`);
    const head = underJournal ? `<${levels[level]}>` : `${at} ${level.padEnd(7)} `;
    const tail = `${rule === undefined ? "" : ` (${rule})`}${remedy === undefined ? "" : `; remedy: ${remedy}`}`;
    io.err(`${head}${code} ${subject}: ${text}${tail}\n`);
  };
}

/**
 * SIGHUP from now on means "read again", and no longer the end that io makes of it. One that comes before anybody takes
 * it is kept: the file may have been read already.
 */
function takeHangups(): (reload: () => void) => () => void {
  let kept = false;
  let take = (): void => {
    kept = true;
  };
  const onSignal = (): void => take();
  process.removeAllListeners("SIGHUP");
  process.on("SIGHUP", onSignal);
  return (reload) => {
    take = reload;
    if (kept) setImmediate(reload); // when the start is over
    return () => process.removeListener("SIGHUP", onSignal);
  };
}

/** SIGHUP and a changed file. */
function reloadWishes(
  path: string,
  onHangup: ReturnType<typeof takeHangups>,
  reload: (cause: ReloadCause) => void,
): () => void {
  const leave = onHangup(() => reload("asked"));
  let timer: NodeJS.Timeout | undefined;
  watchFile(path, { interval: 1000, persistent: false }, (now, before) => {
    if (now.mtimeMs === before.mtimeMs && now.ino === before.ino) return;
    if (timer !== undefined) clearTimeout(timer);
    timer = setTimeout(() => reload("file"), fileRestMs);
  });
  return () => {
    leave();
    unwatchFile(path);
    if (timer !== undefined) clearTimeout(timer);
  };
}

async function applySilence(cluster: Cluster, flags: RunFlags, io: Io): Promise<SilenceReport> {
  const { keepsFiles, applyHere } = await import("./silence.ts");
  const { reportOf } = await import("./silenceReport.ts");
  try {
    const own = { cluster, stateDir: flags.stateDir, ...(flags.as && { as: flags.as }) };
    // After a boot it is the agent that makes the VIPs again, silence first. Files for the boot are `vipward apply`'s: where
    // it wrote some they stay as the plan wants them, and nowhere else must /etc be writable for a service.
    const options = (await keepsFiles(own)) ? own : { ...own, keep: "none" };
    return reportOf(await applyHere(options, { signal: io.signal, err: () => {} }));
  } catch (error) {
    if (error instanceof HostError) return { state: "failed", text: `${error.message}; remedy: ${error.remedy}` };
    throw error;
  }
}

export async function runAgent(flags: RunFlags, io: Io): Promise<number> {
  io.endsInOrder(); // cut short it would leave its VIPs on this host while another takes them
  const onHangup = takeHangups();
  const seconds = Number(flags.silenceInterval);
  if (!(seconds >= 1 && seconds <= 3600))
    throw usage(`--silence-interval ${flags.silenceInterval}: not 1 to 3600`, "give a number of seconds");
  const memory = new Memory();
  const agent = new Agent({
    readFile: () => outcomeOf(io, (quiet) => readClusterText(flags.config, quiet)),
    clusterOf: (text) => outcomeOf(io, (quiet) => clusterFromText(text, flags.config, quiet, { memory })),
    as: flags.as,
    socket: flags.socket,
    stateDir: flags.stateDir,
    log: logger(flags.log, io),
    applySilence: (cluster) => applySilence(cluster, flags, io),
    silenceEveryMs: seconds * 1000,
    clearOnStop: flags.clearOnStop === true,
    signal: io.signal,
    onReloadWish: (reload) => reloadWishes(flags.config, onHangup, reload),
  });
  await agent.run();
  return exitCode("ok");
}
