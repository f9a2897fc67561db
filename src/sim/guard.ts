/**
 * `vipward guard` on a simulated host: the modules that ship (apply/guard.ts, apply/guardian.ts), on the host's clock. Of
 * links, addresses, routes, rules and tables it is told, as netlink does; sysctls it reads.
 */
import {
  type GuardConfig,
  type GuardEffect,
  type GuardEvent,
  type GuardState,
  guardDeadlineMs,
  guardStart,
  stepGuard,
} from "../apply/guard.ts";
import { Guardian, wordText } from "../apply/guardian.ts";
import type { HostFacts } from "../model/facts.ts";
import type { Change } from "../plan/change.ts";
import type { World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import type { Goal } from "../plan/proof.ts";
import { Loop } from "./loop.ts";
import type { SimMachine } from "./machine.ts";
import { Task } from "./task.ts";

export interface SimGuardOptions {
  readonly machine: SimMachine;
  readonly kernel: Kernel;
  readonly config: GuardConfig;
  readonly goalOf: (world: World, owned: readonly Change[]) => Goal;
  /**
   * Carries work out, as soon as nothing else is at work: time passes in it, so it cannot be done in the middle of an
   * event.
   */
  readonly spawn: (work: () => Promise<void>) => void;
  readonly say: (text: string) => void;
}

/** How long the kernel's word of a change takes to a program. */
const noticeUs = 100;
/** Who keeps programs running starts one that died so much later. */
const restartUs = 1_000_000;

const isTold = (before: HostFacts, after: HostFacts): boolean =>
  before.links !== after.links ||
  before.addresses !== after.addresses ||
  before.routes !== after.routes ||
  before.rules !== after.rules ||
  before.filters !== after.filters;

export class SimGuard {
  readonly #options: SimGuardOptions;
  readonly #guardian: Guardian;
  readonly #loop: Loop;
  readonly #watcher = (before: HostFacts): void => this.#changed(before);
  #state: GuardState;
  #sysctls: readonly (readonly [name: string, value: number])[] = [];
  #ended = false;

  constructor(options: SimGuardOptions) {
    this.#options = options;
    const { machine, kernel, goalOf } = options;
    this.#guardian = new Guardian(machine.ports(), kernel, goalOf);
    this.#state = guardStart(this.#nowMs);
    this.#loop = new Loop(
      machine.host,
      () => (this.#ended ? Number.POSITIVE_INFINITY : guardDeadlineMs(this.#state)),
      () => this.#put({ kind: "tick" }),
    );
    machine.host.watchers.push(this.#watcher);
    this.#put({ kind: "tick" });
  }

  get #nowMs(): number {
    return this.#options.machine.host.clockUs / 1000;
  }

  get heals(): boolean {
    return this.#options.config.heal && !this.#ended;
  }

  /** The machine died. */
  end(): void {
    const { watchers } = this.#options.machine.host;
    if (!this.#ended) watchers.splice(watchers.indexOf(this.#watcher), 1);
    this.#ended = true;
  }

  #changed(before: HostFacts): void {
    const { host } = this.#options.machine;
    if (isTold(before, host.facts)) host.after(noticeUs, new Task(() => this.#put({ kind: "noticed" })));
  }

  #put(event: GuardEvent): void {
    if (this.#ended) return;
    const { state, effects } = stepGuard(this.#options.config, this.#state, event, this.#nowMs);
    this.#state = state;
    for (const effect of effects) this.#do(effect);
    this.#loop.arm();
  }

  #do(effect: GuardEffect): void {
    switch (effect.kind) {
      case "say":
        this.#options.say(wordText(effect.word));
        return;
      case "readSysctls": {
        const { sysctls } = this.#options.machine.host.facts;
        if (this.#sysctls.some(([name, value]) => sysctls[name] !== value)) this.#put({ kind: "noticed" });
        return;
      }
      case "look":
        this.#spawn(async () => {
          const { findings, sysctls } = await this.#guardian.look();
          this.#sysctls = sysctls;
          return { kind: "looked", findings };
        });
        return;
      case "heal":
        this.#spawn(() => this.#guardian.heal(effect.keys));
    }
  }

  #spawn(body: () => Promise<GuardEvent>): void {
    const { machine, spawn } = this.#options;
    const { host } = machine;
    spawn(async () => {
      if (this.#ended || host.down) return;
      if (host.isPaused) {
        this.#again();
        return;
      }
      machine.restart(); // a process of its own: what another was killed in holds no lock
      const event = await body();
      if (this.#ended || host.down) return;
      if (host.isPaused) this.#again();
      else this.#put(event);
    });
  }

  /** What a freeze broke off begins anew when the host goes on. */
  #again(): void {
    this.#options.machine.host.after(
      restartUs,
      new Task(() => {
        if (this.#ended) return;
        this.#state = { ...this.#state, busy: undefined, lookAtMs: this.#nowMs };
        this.#put({ kind: "tick" });
      }),
    );
  }
}
