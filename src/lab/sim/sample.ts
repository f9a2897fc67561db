/** The schedules of an exploration, run one after another or shared out among threads: the same, in the same order. */
import { Worker } from "node:worker_threads";
import type { Cluster, LabFault } from "../../cluster/cluster.ts";
import type { GuardKind } from "../../cluster/words.ts";
import type { Plot } from "../plot.ts";
import { type Breathe, breather } from "./breath.ts";
import type { Law } from "./laws.ts";
import { Scenario, type ScenarioOptions, type ScenarioOutcome } from "./scenario.ts";
import { scheduleOf } from "./schedule.ts";

export interface SampleOptions {
  readonly seed: number;
  readonly runs: number;
  /** Of each run, in virtual time. */
  readonly durationMs: number;
  readonly dropsGratuitous: boolean;
  readonly silenced: boolean;
  readonly guard?: GuardKind | undefined;
  /** Schedules run on so many threads; what comes of them does not depend on it. 1 where it is left out. */
  readonly threads?: number;
}

/** What explore counts of one run. */
export interface Sample {
  readonly run: number;
  readonly events: number;
  readonly breaches: readonly { readonly law: Law; readonly host: string }[];
}

/** Every `step`th run from `first` on. A plot holds functions, so the thread makes it again from the cluster. */
export interface Share {
  readonly cluster: Cluster;
  readonly forwarding: Plot["forwarding"];
  readonly options: SampleOptions;
  readonly first: number;
  readonly step: number;
}

export type ShareNews = { readonly sample: Sample } | { readonly failed: string };

export const runOnce = (
  cluster: Cluster,
  plot: Plot,
  options: SampleOptions,
  run: number,
  faults: readonly LabFault[],
  breathe?: Breathe,
): Promise<ScenarioOutcome> => new Scenario(cluster, plot, optionsOf(options, run, faults)).run(breathe);

/** The scenario that a run is: little traffic, as the laws are what is looked at. */
export const optionsOf = (options: SampleOptions, run: number, faults: readonly LabFault[]): ScenarioOptions => ({
  seed: (options.seed ^ Math.imul(run + 1, 0x85ebca6b)) >>> 0,
  durationMs: options.durationMs,
  faults,
  dropsGratuitous: options.dropsGratuitous,
  silenced: options.silenced,
  guard: options.guard,
  connectEveryMs: 60_000,
  longLived: 0,
  askEveryMs: 20_000,
});

export async function sampleOf(
  cluster: Cluster,
  plot: Plot,
  options: SampleOptions,
  run: number,
  breathe?: Breathe,
): Promise<Sample> {
  const faults = scheduleOf(cluster, plot, options.seed, run, options.durationMs);
  const { events, breaches } = await runOnce(cluster, plot, options, run, faults, breathe);
  return { run, events, breaches: breaches.map(({ law, host }) => ({ law, host })) };
}

/** Every run from 0 on, or until the signal aborts. Whoever stops early ends the threads. */
export async function* samples(
  cluster: Cluster,
  plot: Plot,
  options: SampleOptions,
  signal?: AbortSignal,
): AsyncGenerator<Sample> {
  const threads = Math.min(options.threads ?? 1, options.runs);
  if (threads > 1) yield* sharedOut(cluster, plot, options, threads, signal);
  else
    try {
      const breathe = signal === undefined ? undefined : breather(signal);
      for (let run = 0; run < options.runs; run++) yield await sampleOf(cluster, plot, options, run, breathe);
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    }
}

async function* sharedOut(
  cluster: Cluster,
  plot: Plot,
  options: SampleOptions,
  threads: number,
  signal?: AbortSignal,
): AsyncGenerator<Sample> {
  const early = new Map<number, Sample>();
  let wake = (): void => {};
  let failure: Error | undefined;
  const fail = (error: Error): void => {
    failure ??= error;
    wake();
  };
  signal?.addEventListener("abort", () => wake());
  const workers = Array.from({ length: threads }, (_, first) => {
    const share: Share = { cluster, forwarding: plot.forwarding, options, first, step: threads };
    // most of what a run makes is soon forgotten: room for it saves a tenth of the time
    const resourceLimits = { maxYoungGenerationSizeMb: 128 };
    const worker = new Worker(new URL("./sampleThread.js", import.meta.url), { workerData: share, resourceLimits });
    worker.on("message", (news: ShareNews) => {
      if ("failed" in news) fail(new Error(news.failed));
      else early.set(news.sample.run, news.sample);
      wake();
    });
    worker.on("error", fail);
    worker.on("exit", (code) => {
      if (code !== 0) fail(new Error(`a thread that ran schedules ended with ${code}`));
    });
    return worker;
  });
  try {
    for (let run = 0; run < options.runs; run++) {
      for (;;) {
        if (failure !== undefined) throw failure;
        if (early.has(run)) break;
        if (signal?.aborted === true) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      yield early.get(run) as Sample;
      early.delete(run);
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
