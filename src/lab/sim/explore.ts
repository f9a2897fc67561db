/** Fault schedules against a cluster, thousands of them: which laws can break, and the shortest story that breaks each. */
import type { LabFault } from "../../cluster/cluster.ts";
import type { FaultAction } from "../../cluster/words.ts";
import { Dice } from "../../sim/dice.ts";
import type { Plot } from "../plot.ts";
import type { Law } from "./laws.ts";
import { Scenario, type ScenarioOutcome } from "./scenario.ts";

export interface ExploreOptions {
  readonly seed: number;
  readonly runs: number;
  /** Of each run, in virtual time. */
  readonly durationMs: number;
  readonly dropsGratuitous: boolean;
  readonly silenced: boolean;
  /** Called after each run; true: stop. */
  readonly progress?: (done: number, events: number) => boolean;
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
  readonly outcome: ScenarioOutcome;
}

export interface ExploreReport {
  readonly seed: number;
  readonly runs: number;
  readonly durationMs: number;
  readonly events: number;
  /** Runs that broke no law. */
  readonly sound: number;
  readonly stories: readonly Story[];
}

/** Faults that do not themselves break a law, and the ones a person adds. Weights by how often they happen. */
const kinds: readonly (readonly [
  action: FaultAction,
  roles: readonly ("director" | "realServer")[],
  after?: FaultAction,
])[] = [
  ["crash", ["director", "realServer"], "restart"],
  ["pause", ["director", "realServer"], "resume"],
  ["cut", ["director", "realServer"], "mend"],
  ["loss", ["director", "realServer"], "loss"],
  ["drift", ["director"]],
  ["sysctl", ["realServer"]],
  ["add-vip", ["realServer"]],
  ["remove-vip", ["realServer"]],
  ["flush", ["director", "realServer"]],
  ["take-over", ["director"]],
  ["speak", ["realServer"]],
];

const flips = ["arp_ignore", "arp_announce", "rp_filter", "arp_filter", "hidden", "proxy_arp"] as const;

/** Schedule number `run` of a seed: two to six faults, half of them undone again after a while. */
export function scheduleOf(plot: Plot, seed: number, run: number, durationMs: number): LabFault[] {
  const dice = new Dice((seed ^ Math.imul(run + 1, 0x9e3779b1)) | 0);
  const hosts = plot.topology.hosts.filter((h) => h.role === "director" || h.role === "realServer");
  const faults: LabFault[] = [];
  const wanted = dice.between(2, 6);
  const lastMs = Math.max(1000, durationMs - 60_000);
  while (faults.length < wanted) {
    const [action, roles, undo] = dice.pick(kinds);
    const host = dice.pick(hosts.filter((h) => roles.some((role) => role === h.role)));
    const atMs = 1000 + dice.below(lastMs);
    const given = { atMs, action, host: host.name };
    if (action === "sysctl") {
      const scope = dice.pick(["all", host.links[0]?.name ?? "eth0", "lo"]);
      faults.push({ ...given, name: `${scope}.${dice.pick(flips)}`, value: dice.below(3) });
      continue;
    }
    const value = action === "loss" ? dice.between(1, 60) : action === "drift" ? dice.between(-200_000, 200_000) : 0;
    faults.push({ ...given, name: "", value });
    if (undo !== undefined) {
      // soon for half of them, so that a standby is caught in the middle
      const laterMs = dice.below(2) === 0 ? dice.below(8000) : dice.below(600_000);
      faults.push({
        atMs: Math.min(atMs + 100 + laterMs, durationMs - 1),
        action: undo,
        host: host.name,
        name: "",
        value: 0,
      });
    }
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

const runOnce = (plot: Plot, options: ExploreOptions, run: number, faults: readonly LabFault[]): ScenarioOutcome =>
  new Scenario(plot, {
    seed: (options.seed ^ Math.imul(run + 1, 0x85ebca6b)) | 0,
    durationMs: options.durationMs,
    faults,
    dropsGratuitous: options.dropsGratuitous,
    silenced: options.silenced,
    connectEveryMs: 60_000,
    longLived: 0,
    askEveryMs: 20_000,
  }).run();

/** Leaves faults out, halves first, as long as the same host still breaks the same law. */
export function shrink(
  faults: readonly LabFault[],
  breaks: (some: readonly LabFault[]) => boolean,
): readonly LabFault[] {
  let kept = faults;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < kept.length; ) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)];
      if (breaks(fewer)) kept = fewer;
      else at += size;
    }
  }
  return kept;
}

export function explore(plot: Plot, options: ExploreOptions): ExploreReport {
  const found = new Map<string, { law: Law; host: string; run: number; times: number; faults: readonly LabFault[] }>();
  let events = 0;
  let sound = 0;
  let runs = 0;
  for (; runs < options.runs; runs++) {
    const faults = scheduleOf(plot, options.seed, runs, options.durationMs);
    const outcome = runOnce(plot, options, runs, faults);
    events += outcome.events;
    if (outcome.breaches.length === 0) sound++;
    for (const { law, host } of outcome.breaches) {
      const known = found.get(`${law} ${host}`);
      if (known === undefined) found.set(`${law} ${host}`, { law, host, run: runs, times: 1, faults });
      else {
        known.times++;
        if (faults.length < known.faults.length) {
          known.run = runs;
          known.faults = faults;
        }
      }
    }
    if (options.progress?.(runs + 1, events) === true) {
      runs++;
      break;
    }
  }
  const stories = [...found.values()].map(({ law, host, run, times, faults }): Story => {
    const breaks = (some: readonly LabFault[]): boolean =>
      runOnce(plot, options, run, some).breaches.some((b) => b.law === law && b.host === host);
    const shortest = shrink(faults, breaks);
    return {
      law,
      host,
      run,
      times,
      faults: shortest,
      faultsBefore: faults.length,
      outcome: runOnce(plot, options, run, shortest),
    };
  });
  stories.sort((a, b) => a.faults.length - b.faults.length || b.times - a.times || (a.host < b.host ? -1 : 1));
  return { seed: options.seed, runs, durationMs: options.durationMs, events, sound, stories };
}
