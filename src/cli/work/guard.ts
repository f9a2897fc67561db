/** The work behind `vipward guard`: its clock, its ears and its hands; apply/guard.ts decides. */

import { performance } from "node:perf_hooks";
import { goalOf } from "../../apply/drift.ts";
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
import { Guardian, wordText } from "../../apply/guardian.ts";
import { HostError } from "../../host/errors.ts";
import { type Monitor, watchChanges } from "../../host/netlinkMonitor.ts";
import { watchNft } from "../../host/nftMonitor.ts";
import { readFacts } from "../../host/perform/readFacts.ts";
import { SysctlWatch } from "../../host/sysctl.ts";
import type { Change } from "../../plan/change.ts";
import type { World } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { sysctlPath } from "../../plan/kinds/sysctl.ts";
import type { Goal } from "../../plan/proof.ts";
import type { Held } from "../../policy/standingBy.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { plural } from "../plural.ts";
import { askedOf, portsOf, type SilenceOptions } from "./silence.ts";

export interface GuardOptions extends SilenceOptions {
  readonly heal?: boolean;
}

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

class Guard {
  readonly #json: boolean;
  readonly #io: Io;
  readonly #guardian: Guardian;
  readonly #config: GuardConfig;
  #state: GuardState = guardStart(performance.now());
  /** It has looked, and said so. */
  #isOn = false;
  /** Values of the last look. */
  #sysctls: SysctlWatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #end: ((error?: unknown) => void) | undefined;
  /** What hands and eyes are at: the end waits for it, so that nothing stays half done. */
  #work: Promise<void> = Promise.resolve();

  constructor(o: GuardOptions, io: Io, held: readonly Held[]) {
    this.#json = o.json === true;
    this.#io = io;
    this.#guardian = new Guardian(portsOf(o, held), kernelModel, (world, owned) => goalHere(o, world, owned));
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
        this.#spawn(() => this.#look());
        break;
      case "heal":
        this.#spawn(() => this.#guardian.heal(effect.keys));
        break;
    }
  }

  #spawn(body: () => Promise<GuardEvent>): void {
    this.#work = body().then(
      (event) => this.#put(event),
      (error: unknown) => this.#end?.(error),
    );
  }

  async #look(): Promise<GuardEvent> {
    const { findings, sysctls, goal, owned } = await this.#guardian.look();
    this.#sysctls?.close();
    this.#sysctls = new SysctlWatch(sysctls.map(([name, value]) => [sysctlPath(name), String(value)] as const));
    if (!this.#isOn) this.#began(goal, owned);
    this.#isOn = true;
    return { kind: "looked", findings };
  }

  #began(goal: Goal, owned: number): void {
    const vips = goal.vips.length;
    if (this.#json) this.#line({ event: "began", vips, owned, heal: this.#config.heal });
    else
      this.#io.out(
        `guarding ${plural(vips, "VIP")} and ${plural(owned, "thing")} made by vipward${this.#config.heal ? ", putting right what drifts" : ""}\n`,
      );
  }

  #say(word: GuardWord): void {
    if (this.#json) this.#line(word);
    else this.#io.out(`${new Date().toISOString()}  ${wordText(word)}\n`);
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
export async function runGuard(o: GuardOptions, io: Io): Promise<number> {
  if (o.heal === true) io.endsInOrder("what is being put right is brought to its end\n");
  const held = o.cluster === undefined ? [] : (await askedOf(o, readFacts())).held;
  return new Guard(o, io, held).run();
}
