/** What VRRP instances track: links, quorums and scripts, and what of it lowers a priority or is a fault. */
import type { Track, VrrpInstance } from "../cluster/cluster.ts";
import { execCheck } from "../machine/health/exec.ts";
import { type Probe, type ProbeEvent, probeDeadlineMs, startProbe, stepProbe } from "../machine/health/probe.ts";
import { type Standing, stepRise, unknownStanding } from "../machine/health/rise.ts";
import type { ProbePorts } from "../ports/probes.ts";

type ScriptTrack = Extract<Track, { type: "script" }>;
interface Script {
  readonly track: ScriptTrack;
  standing: Standing;
  probe: Probe<null> | undefined;
  attempt: number;
  dueAtMs: number;
}

export interface Tracked {
  readonly priorityDelta: number;
  readonly fault: string | undefined;
}
export interface TrackingOptions {
  readonly ports: ProbePorts;
  readonly linkUp: (name: string) => boolean;
  readonly quorumLost: (service: string) => boolean;
  readonly tell: (instance: string, tracked: Tracked) => void;
}

const nameOf = (t: Track): string =>
  t.type === "interface"
    ? `interface ${t.interface}`
    : t.type === "quorum"
      ? `the quorum of ${t.service}`
      : `script ${t.command[0] ?? ""}`;

/** Attempts of scripts have numbers below 0, so that they are never taken for a health check's. */
export class Tracking {
  readonly #options: TrackingOptions;
  #instances: readonly VrrpInstance[] = [];
  #scripts = new Map<string, Script>();
  readonly #told = new Map<string, string>();
  #nextAttempt = -1;

  constructor(options: TrackingOptions) {
    this.#options = options;
  }

  load(instances: readonly VrrpInstance[], nowMs: number): void {
    this.#instances = instances;
    const before = this.#scripts;
    this.#scripts = new Map();
    for (const { track: tracks } of instances)
      for (const track of tracks) {
        if (track.type !== "script") continue;
        const key = JSON.stringify(track);
        const script = { track, standing: unknownStanding, probe: undefined, attempt: 0, dueAtMs: nowMs };
        this.#scripts.set(key, before.get(key) ?? script);
      }
    this.#told.clear();
    this.evaluate();
  }

  #isBad(track: Track): boolean {
    if (track.type === "interface") return !this.#options.linkUp(track.interface);
    if (track.type === "quorum") return this.#options.quorumLost(track.service);
    return this.#scripts.get(JSON.stringify(track))?.standing.kind === "down";
  }

  /** After anything tracked may have changed; tells only what did. */
  evaluate(): void {
    for (const { name, track: tracks } of this.#instances) {
      let priorityDelta = 0;
      let fault: string | undefined;
      for (const track of tracks) {
        const bad = this.#isBad(track);
        if (track.weight === 0) fault ??= bad ? nameOf(track) : undefined;
        else if (track.weight < 0 === bad) priorityDelta += track.weight;
      }
      const text = `${priorityDelta} ${fault ?? ""}`;
      if (this.#told.get(name) === text) continue;
      this.#told.set(name, text);
      this.#options.tell(name, { priorityDelta, fault });
    }
  }

  #take(
    script: Script,
    step: { readonly probe: Probe<null>; readonly effects: Parameters<ProbePorts["perform"]>[1][] },
    nowMs: number,
  ): void {
    script.probe = step.probe;
    for (const effect of step.effects) this.#options.ports.perform(script.attempt, effect);
    const { verdict } = step.probe;
    if (verdict === undefined) return;
    script.probe = undefined;
    script.dueAtMs = Math.max(nowMs, script.dueAtMs + script.track.intervalMs);
    const before = script.standing.kind;
    script.standing = stepRise({ ...script.track, slowStartMs: 0 }, script.standing, verdict.up, nowMs);
    if (script.standing.kind !== before) this.evaluate();
  }

  event(attempt: number, event: ProbeEvent, nowMs: number): void {
    for (const script of this.#scripts.values())
      if (script.attempt === attempt && script.probe !== undefined) this.#step(script, event, nowMs);
  }
  #step(script: Script, event: ProbeEvent, nowMs: number): void {
    if (script.probe === undefined) return;
    const { probe, effects } = stepProbe(script.probe, event, nowMs);
    this.#take(script, { probe, effects: effects.filter((e) => e.kind !== "packet") }, nowMs);
  }

  tick(nowMs: number): void {
    for (const script of this.#scripts.values()) {
      if (script.probe !== undefined) {
        if (probeDeadlineMs(script.probe) <= nowMs) this.#step(script, { kind: "tick" }, nowMs);
      } else if (script.dueAtMs <= nowMs) {
        script.attempt = this.#nextAttempt--;
        const { probe, effects } = startProbe(
          execCheck({ ...script.track, environment: {} }),
          script.track.timeoutMs,
          0,
          nowMs,
        );
        this.#take(script, { probe, effects: effects.filter((e) => e.kind !== "packet") }, nowMs);
      }
    }
  }
  get deadlineMs(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const { probe, dueAtMs } of this.#scripts.values())
      deadline = Math.min(deadline, probe === undefined ? dueAtMs : probeDeadlineMs(probe));
    return deadline;
  }
}
