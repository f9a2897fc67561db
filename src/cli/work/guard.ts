/** The work behind `vipward guard`: its clock, its ears and its hands; apply/guard.ts decides. */

import { performance } from "node:perf_hooks";
import { type Drift, driftOf, goalOf, healPlan, type Watched, watchedSysctls } from "../../apply/drift.ts";
import {
  type GuardConfig,
  type GuardEffect,
  type GuardEvent,
  type GuardState,
  type GuardWord,
  guardDeadlineMs,
  guardDefaults,
  guardHolds,
  guardStart,
  stepGuard,
} from "../../apply/guard.ts";
import { Journal } from "../../apply/journal.ts";
import { run } from "../../apply/run.ts";
import { HostError } from "../../host/errors.ts";
import { type Monitor, watchChanges } from "../../host/netlinkMonitor.ts";
import { watchNft } from "../../host/nftMonitor.ts";
import { SysctlWatch } from "../../host/sysctl.ts";
import type { Change } from "../../plan/change.ts";
import type { World } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { sysctlPath } from "../../plan/kinds/sysctl.ts";
import type { Goal } from "../../plan/proof.ts";
import type { ApplyPorts } from "../../ports/apply.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { plural } from "../plural.ts";
import { askedOf, portsOf, type SilenceOptions } from "./silence.ts";

export interface GuardOptions extends SilenceOptions {
  readonly heal?: boolean;
}

const filePaths = (owned: readonly Change[]): string[] => [
  ...new Set(owned.flatMap((c) => (c.kind === "file" ? [c.path] : []))),
];

async function goalHere(o: GuardOptions, world: World, owned: readonly Change[]): Promise<Goal> {
  if (o.cluster !== undefined || o.vip !== undefined) {
    const { vips, forwarding, services, lanLinks } = (await askedOf(o, world.facts)).wish;
    return { vips, forwarding, services, ...(lanLinks === undefined ? {} : { lanLinks }) };
  }
  if (owned.length === 0)
    throw new HostError("guard/usage", "there is nothing to guard: vipward has made nothing here", {
      remedy: "run `vipward apply` first, or name the VIPs with --vip or --cluster",
    });
  return goalOf(owned);
}

function sentence(word: GuardWord): string {
  switch (word.event) {
    case "given up":
      return `given up after ${word.times} times, something else wants it otherwise: ${word.text}`;
    case "heal failed":
      return `could not put right: ${word.text}: ${word.why}`;
    case "mended":
      return `put right: ${word.text}`;
    case "settled":
      return `in order again, by others: ${word.text}`;
    case "drifted":
      return word.text;
  }
}

class Guard {
  readonly #o: GuardOptions;
  readonly #io: Io;
  readonly #ports: ApplyPorts;
  readonly #config: GuardConfig;
  #state: GuardState = guardStart(performance.now());
  #watched: Watched | undefined;
  /** Values of the last look. */
  #sysctls: SysctlWatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #end: ((error?: unknown) => void) | undefined;
  /** What hands and eyes are at: the end waits for it, so that nothing stays half done. */
  #work: Promise<void> = Promise.resolve();

  constructor(o: GuardOptions, io: Io) {
    this.#o = o;
    this.#io = io;
    this.#ports = portsOf(o);
    this.#config = { ...guardDefaults, heal: o.heal === true };
  }

  async run(): Promise<number> {
    const monitors: Monitor[] = [];
    const noticed = (): void => this.#put({ kind: "noticed" });
    const ended = new Promise<void>((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    try {
      // Ears first: what happens between here and the first look is heard, and looked at again.
      monitors.push(
        watchChanges({
          groups: ["link", "address", "route", "rule"],
          onChange: noticed,
          onResync: noticed,
          onError: (error) => this.#end?.(error),
        }),
      );
      monitors.push(...ears(noticed, this.#io));
      this.#io.signal.addEventListener("abort", () => this.#end?.(), { once: true });
      if (this.#io.signal.aborted) this.#end?.();
      this.#put({ kind: "tick" });
      await ended;
      this.#end = undefined;
      await this.#work;
    } finally {
      this.#end = undefined;
      clearTimeout(this.#timer);
      for (const m of monitors) m.close();
      this.#sysctls?.close();
    }
    return exitCode(guardHolds(this.#state) ? "ok" : "no");
  }

  #put(event: GuardEvent): void {
    if (this.#end === undefined) return;
    const { state, effects } = stepGuard(this.#config, this.#state, event, performance.now());
    this.#state = state;
    for (const effect of effects) this.#do(effect);
    clearTimeout(this.#timer);
    const at = guardDeadlineMs(this.#state);
    if (at === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#put({ kind: "tick" }), Math.max(0, Math.ceil(at - performance.now())));
  }

  #do(effect: GuardEffect): void {
    switch (effect.kind) {
      case "say":
        this.#say(effect.word);
        break;
      case "readSysctls":
        if (this.#sysctls?.differs() === true) queueMicrotask(() => this.#put({ kind: "noticed" }));
        break;
      case "look":
        this.#spawn(async () => ({ kind: "looked", findings: await this.#look() }));
        break;
      case "heal":
        this.#spawn(() => this.#heal(effect.keys));
        break;
    }
  }

  #spawn(body: () => Promise<GuardEvent>): void {
    this.#work = body().then(
      (event) => this.#put(event),
      (error: unknown) => this.#end?.(error),
    );
  }

  async #look(): Promise<readonly Drift[] | "busy"> {
    const { owned, open } = await Journal.peek(this.#ports.journal);
    const world = await this.#ports.reader.read(filePaths(owned));
    const first = this.#watched === undefined;
    const goal =
      this.#watched !== undefined && owned.length === 0 ? this.#watched.goal : await goalHere(this.#o, world, owned);
    this.#watched = { goal, start: this.#watched?.start ?? world, kernel: kernelModel };
    this.#watch(world, owned);
    if (first) this.#began(goal, owned.length);
    if (open === undefined) return driftOf(world, owned, this.#watched);
    // Whoever can take the lock knows that the run that the journal calls open is dead.
    const release = await this.#ports.lock.acquire();
    if (release === undefined) return "busy";
    await release();
    const text = `run ${open.run} (${open.direction}) died half way: the next run of vipward sets it right`;
    return [{ key: "journal", text, healable: true }];
  }

  #watch(world: World, owned: readonly Change[]): void {
    this.#sysctls?.close();
    this.#sysctls = new SysctlWatch(
      watchedSysctls(world, owned).flatMap((name) => {
        const value = world.facts.sysctls[name];
        return value === undefined ? [] : [[sysctlPath(name), String(value)] as const];
      }),
    );
  }

  async #heal(keys: readonly string[]): Promise<GuardEvent> {
    const watched = this.#watched;
    if (watched === undefined) return { kind: "healed", keys };
    const { owned } = await Journal.peek(this.#ports.journal);
    try {
      const outcome = await run(this.#ports, {
        direction: "apply",
        paths: filePaths(owned),
        kernel: kernelModel,
        // It was proven when it was made. Some other broken law is no reason to leave this one thing wrong.
        force: true,
        plan: (world, ours) => healPlan(world, ours, watched, new Set(keys)),
      });
      if (outcome.kind === "tookBack") return { kind: "healed", keys, why: outcome.why };
      if (outcome.kind === "refused") return { kind: "healed", keys, why: outcome.why.join("; ") };
      if (outcome.kind === "busy") return { kind: "healed", keys, why: "another run of vipward is at work" };
      return { kind: "healed", keys };
    } catch (error) {
      return { kind: "healed", keys, why: error instanceof Error ? error.message : String(error) };
    }
  }

  #began(goal: Goal, owned: number): void {
    const vips = goal.vips.length;
    if (this.#o.json) this.#line({ event: "began", vips, owned, heal: this.#config.heal });
    else
      this.#io.out(
        `guarding ${plural(vips, "VIP")} and ${plural(owned, "thing")} made by vipward${this.#config.heal ? ", putting right what drifts" : ""}\n`,
      );
  }

  #say(word: GuardWord): void {
    if (this.#o.json) this.#line(word);
    else this.#io.out(`${new Date().toISOString()}  ${sentence(word)}\n`);
  }

  #line(value: object): void {
    this.#io.out(`${JSON.stringify({ at: new Date().toISOString(), ...value })}\n`);
  }
}

/** Without netfilter in the kernel there are no tables to hear of; the look once a minute stays. */
function ears(noticed: () => void, io: Io): Monitor[] {
  try {
    return [watchNft({ onChange: noticed })];
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    io.err(`vipward: changes of nft tables are noticed within a minute only: ${error.message}\n`);
    return [];
  }
}

/** Stays until the signal comes. */
export const runGuard = (o: GuardOptions, io: Io): Promise<number> => new Guard(o, io).run();
