/** Fault schedules against a cluster, thousands of them: which laws can break, and the shortest story that breaks each. */
import type { Cluster, LabFault } from "../../cluster/cluster.ts";
import type { Plot } from "../plot.ts";
import { type Breathe, breather } from "./breath.ts";
import type { Law } from "./laws.ts";
import { optionsOf, runOnce, type SampleOptions, samples } from "./sample.ts";
import type { ScenarioOptions, ScenarioOutcome } from "./scenario.ts";
import { scheduleOf } from "./schedule.ts";

export interface ExploreOptions extends SampleOptions {
  /** Called after each run. */
  readonly progress?: (done: number) => void;
  /** Called before a schedule is cut down: the how manieth, of how many. */
  readonly shortening?: (story: number, of: number) => void;
  /** Aborted: no more schedules, and those that broke a law stay as long as they are. */
  readonly signal?: AbortSignal;
}

export interface Story {
  readonly law: Law;
  readonly host: string;
  /** The run that found it, from 0; the same seed and number give it again. */
  readonly run: number;
  /** Runs that broke this law at this host. */
  readonly times: number;
  readonly faults: readonly LabFault[];
  /** Faults of the schedule before it was cut down. */
  readonly faultsBefore: number;
  /** False: the exploration was ended before every fault was found needed. */
  readonly cutDown: boolean;
  readonly outcome: ScenarioOutcome;
  /** What `outcome` was told by: again, it tells the same. */
  readonly options: ScenarioOptions;
}

export interface ExploreReport {
  readonly forwarding: Plot["forwarding"];
  readonly seed: number;
  readonly runs: number;
  readonly durationMs: number;
  readonly events: number;
  /** Runs that broke no law. */
  readonly sound: number;
  readonly stories: readonly Story[];
}

/** One schedule of an exploration again, whole. */
export async function replay(
  cluster: Cluster,
  plot: Plot,
  options: SampleOptions,
  run: number,
  breathe?: Breathe,
): Promise<{ readonly faults: readonly LabFault[]; readonly outcome: ScenarioOutcome }> {
  const faults = scheduleOf(cluster, plot, options.seed, run, options.durationMs);
  return { faults, outcome: await runOnce(cluster, plot, options, run, faults, breathe) };
}

/** Leaves faults out, halves first, and single ones until none can go, as long as the same host still breaks the same law. */
export async function shrink(
  faults: readonly LabFault[],
  breaks: (some: readonly LabFault[]) => boolean | Promise<boolean>,
): Promise<readonly LabFault[]> {
  let kept = faults;
  for (let size = Math.ceil(kept.length / 2); size >= 1; ) {
    const before = kept.length;
    for (let at = 0; at < kept.length; ) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)];
      if (await breaks(fewer)) kept = fewer;
      else at += size;
    }
    // what one fault did may have been needed only because of a later one, which is gone now
    if (size > 1) size = Math.ceil(size / 2);
    else if (kept.length === before) break;
  }
  return kept;
}

export async function explore(
  cluster: Cluster,
  plot: Plot,
  { progress, shortening, signal, ...options }: ExploreOptions,
): Promise<ExploreReport> {
  const found = new Map<string, { law: Law; host: string; run: number; times: number; faults: readonly LabFault[] }>();
  let events = 0;
  let sound = 0;
  let runs = 0;
  for await (const { run, events: some, breaches } of samples(cluster, plot, options, signal)) {
    runs++;
    events += some;
    if (breaches.length === 0) sound++;
    for (const { law, host } of breaches) {
      const faults = scheduleOf(cluster, plot, options.seed, run, options.durationMs);
      const known = found.get(`${law} ${host}`);
      if (known === undefined) found.set(`${law} ${host}`, { law, host, run, times: 1, faults });
      else {
        known.times++;
        if (faults.length < known.faults.length) {
          known.run = run;
          known.faults = faults;
        }
      }
    }
    progress?.(runs);
  }
  const stories: Story[] = [];
  const breathe = breather();
  for (const { law, host, run, times, faults } of found.values()) {
    shortening?.(stories.length + 1, found.size);
    const breaks = async (some: readonly LabFault[]): Promise<boolean> => {
      if (signal?.aborted === true) return false;
      const { breaches } = await runOnce(cluster, plot, options, run, some, breathe);
      return breaches.some((b) => b.law === law && b.host === host);
    };
    const shortest = await shrink(faults, breaks);
    const outcome = await runOnce(cluster, plot, options, run, shortest, breathe);
    const again = optionsOf(options, run, shortest);
    const cutDown = signal?.aborted !== true;
    const counts = { times, faultsBefore: faults.length, cutDown };
    stories.push({ law, host, run, ...counts, faults: shortest, outcome, options: again });
  }
  stories.sort((a, b) => a.faults.length - b.faults.length || b.times - a.times || (a.host < b.host ? -1 : 1));
  return {
    forwarding: plot.forwarding,
    seed: options.seed,
    runs,
    durationMs: options.durationMs,
    events,
    sound,
    stories,
  };
}
