/** A guard's eyes and hands, through the ports of apply; guard.ts decides when to use them. */
import { type Change, keyOf } from "../plan/change.ts";
import type { World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import type { Goal } from "../plan/proof.ts";
import type { ApplyPorts } from "../ports/apply.ts";
import { type Drift, driftOf, healPlan, type Watched, watchedSysctls } from "./drift.ts";
import type { GuardEvent, GuardWord } from "./guard.ts";
import { Journal } from "./journal.ts";
import { run } from "./run.ts";

export interface Look {
  readonly findings: readonly Drift[] | "busy";
  /** Values that send no notification when they change, by flat name. */
  readonly sysctls: readonly (readonly [name: string, value: number])[];
  readonly goal: Goal;
  /** How many things vipward has made here. */
  readonly owned: number;
}

const filePaths = (owned: readonly Change[]): string[] => [
  ...new Set(owned.flatMap((c) => (c.kind === "file" ? [c.path] : []))),
];

export class Guardian {
  readonly #ports: ApplyPorts;
  readonly #kernel: Kernel;
  readonly #goalOf: (world: World, owned: readonly Change[]) => Goal | Promise<Goal>;
  #watched: Watched | undefined;

  constructor(
    ports: ApplyPorts,
    kernel: Kernel,
    goalOf: (world: World, owned: readonly Change[]) => Goal | Promise<Goal>,
  ) {
    this.#ports = ports;
    this.#kernel = kernel;
    this.#goalOf = goalOf;
  }

  async look(): Promise<Look> {
    const { owned, open } = await Journal.peek(this.#ports.journal);
    const world = await this.#ports.reader.read(filePaths(owned));
    const before = this.#watched;
    const goal = before !== undefined && owned.length === 0 ? before.goal : await this.#goalOf(world, owned);
    const made = new Set([...(before?.made ?? []), ...owned.map(keyOf)]);
    const watched: Watched = { goal, start: before?.start ?? world, made, kernel: this.#kernel };
    this.#watched = watched;
    const sysctls = watchedSysctls(world, owned).flatMap((name) => {
      const value = world.facts.sysctls[name];
      return value === undefined ? [] : [[name, value] as const];
    });
    const seen = { sysctls, goal, owned: owned.length };
    if (open === undefined) return { ...seen, findings: driftOf(world, owned, watched) };
    // Whoever can take the lock knows that the run that the journal calls open is dead.
    const release = await this.#ports.lock.acquire();
    if (release === undefined) return { ...seen, findings: "busy" };
    await release();
    const text = `run ${open.run} (${open.direction}) died half way: the next run of vipward sets it right`;
    return { ...seen, findings: [{ key: "journal", text, healable: true }] };
  }

  async heal(keys: readonly string[]): Promise<GuardEvent> {
    const watched = this.#watched;
    if (watched === undefined) return { kind: "healed", keys };
    const { owned } = await Journal.peek(this.#ports.journal);
    try {
      const outcome = await run(this.#ports, {
        direction: "apply",
        paths: filePaths(owned),
        kernel: this.#kernel,
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
}

export function wordText(word: GuardWord): string {
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
