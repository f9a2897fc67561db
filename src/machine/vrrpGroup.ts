/**
 * A sync group: virtual routers that must be master on the same director, because traffic comes in by one and goes out
 * by another. They take over together, step down together, and stand still together while one of them cannot run.
 * The RFC knows no groups; the rules are keepalived's.
 */
import { initialVrrp, stepVrrp, vrrpDeadlineMs } from "./vrrp.ts";
import type { VrrpConfig, VrrpEffect, VrrpEvent, VrrpState } from "./vrrpTypes.ts";

/** In the order of the file. */
export type GroupConfig = ReadonlyMap<string, VrrpConfig>;
export type GroupState = ReadonlyMap<string, VrrpState>;

export interface GroupEffect {
  readonly member: string;
  readonly effect: VrrpEffect;
}
export interface GroupStep {
  readonly state: GroupState;
  readonly effects: readonly GroupEffect[];
}

export const initialGroup = (config: GroupConfig, links: { readonly linkUp: boolean }): GroupState =>
  new Map([...config.keys()].map((member) => [member, initialVrrp(links)]));

export function groupDeadlineMs(state: GroupState): number {
  let deadline = Number.POSITIVE_INFINITY;
  for (const member of state.values()) deadline = Math.min(deadline, vrrpDeadlineMs(member));
  return deadline;
}

/** What keeps this member from running, apart from the others. */
const isObstructed = (s: VrrpState): boolean => s.started && (!s.linkUp || s.trackFault !== undefined);
const isReady = (s: VrrpState): boolean => s.phase.kind === "master" || (s.phase.kind === "backup" && s.phase.waiting);

class Together {
  readonly #config: GroupConfig;
  readonly #nowMs: number;
  readonly state: Map<string, VrrpState>;
  readonly effects: GroupEffect[] = [];

  constructor(config: GroupConfig, state: GroupState, nowMs: number) {
    this.#config = config;
    this.#nowMs = nowMs;
    this.state = new Map(state);
  }

  /** Gives the event to one member; a step to master or back pulls the others along. */
  give(member: string, event: VrrpEvent): void {
    const config = this.#config.get(member);
    const before = this.state.get(member);
    if (config === undefined || before === undefined) throw new RangeError(`${member} is not in this sync group`);
    const step = stepVrrp(config, before, event, this.#nowMs);
    this.state.set(member, step.state);
    for (const effect of step.effects) this.effects.push({ member, effect });
    if (event.kind === "follow") return;
    const [from, to] = [before.phase.kind, step.state.phase.kind];
    if (from === to) return;
    if (to === "master") this.#pull(member, "master");
    else if (from === "master" && to === "backup") this.#pull(member, "backup");
  }

  #pull(member: string, to: "master" | "backup"): void {
    for (const other of this.#config.keys()) if (other !== member) this.give(other, { kind: "follow", to, member });
  }

  /** Nobody runs while one cannot: the others hand over, and start again with it. */
  standStill(): void {
    const names = [...this.#config.keys()];
    const obstructed = names.filter((name) => isObstructed(this.state.get(name) as VrrpState));
    for (const name of names) {
      const cause = obstructed.find((other) => other !== name);
      if (this.state.get(name)?.groupFault !== cause) this.give(name, { kind: "groupFault", member: cause });
    }
  }

  /** The time has come for everyone. */
  takeOver(): void {
    const all = [...this.state];
    if (!all.every(([, s]) => isReady(s))) return;
    const waiting = all.filter(([, s]) => s.phase.kind === "backup").map(([name]) => name);
    for (const member of waiting) this.give(member, { kind: "follow", to: "master", member });
  }
}

/** `member` undefined: for all of them (start, shutdown, tick). Throws RangeError for a member the group does not have. */
export function stepGroup(
  config: GroupConfig,
  state: GroupState,
  { member, event }: { readonly member?: string | undefined; readonly event: VrrpEvent },
  nowMs: number,
): GroupStep {
  const group = new Together(config, state, nowMs);
  const given: VrrpEvent = event.kind === "tick" ? { kind: "tick", hold: config.size > 1 } : event;
  for (const name of member === undefined ? config.keys() : [member]) group.give(name, given);
  group.standStill();
  group.takeOver();
  return { state: group.state, effects: group.effects };
}
