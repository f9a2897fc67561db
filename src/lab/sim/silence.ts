/**
 * Silence on a simulated real server, by the policies that `vipward apply` has: the plan's steps are its changes, the
 * apply port carries them out one operation after another, and the journal takes them back.
 */
import { goalOf } from "../../apply/drift.ts";
import { guardDefaults } from "../../apply/guard.ts";
import { readJournal } from "../../apply/journal.ts";
import { decodeRecords, encodeRecord } from "../../apply/journalCodec.ts";
import { type Outcome, run, undoEverything } from "../../apply/run.ts";
import type { Cluster, RealServer } from "../../cluster/cluster.ts";
import type { GuardKind } from "../../cluster/words.ts";
import type { HostFacts } from "../../model/facts.ts";
import { has, releaseOf } from "../../model/generation.ts";
import { type Change, effect, standing, undo } from "../../plan/change.ts";
import { equal } from "../../plan/equal.ts";
import { HostDraft, worldOf } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { makePlan, type Plan, type PlannedStep } from "../../plan/plan.ts";
import { nothingWanted } from "../../plan/proof.ts";
import { type Choice, planFor } from "../../policy/auto.ts";
import type { Wish } from "../../policy/wish.ts";
import { SimGuard } from "../../sim/guard.ts";
import type { SimHost } from "../../sim/host.ts";
import { Killed, SimMachine } from "../../sim/machine.ts";
import type { Cure } from "../report.ts";
import { labWishOf } from "../wish.ts";

type Part = "answering" | "announcing" | "other";

/** What of a policy a step belongs to: half a cure leaves the other half out. */
function partOf({ kind, ...change }: Change): Part {
  const isAnswer = (answers: boolean): Part => (answers ? "answering" : "announcing");
  if (kind === "sysctl" && "name" in change) {
    if (/\.arp_ignore$/.test(change.name)) return "answering";
    return /\.arp_announce$/.test(change.name) ? "announcing" : "other";
  }
  return kind === "arptables" && "chain" in change ? isAnswer(change.chain === "INPUT") : "other";
}

/** The change with one hook's chain only, where it is a table of both. */
function halved(change: Change, cure: Cure): Change | undefined {
  const part = partOf(change);
  if (cure === "ignore-only" && part === "announcing") return undefined;
  if (cure === "announce-only" && part === "answering") return undefined;
  if (cure === "full" || change.kind !== "nftTable" || change.after === null) return change;
  const hook = cure === "ignore-only" ? "input" : "output";
  return { ...change, after: change.after.filter((chain) => chain.hook === hook) };
}

const hasHalves = (steps: readonly PlannedStep[]): boolean =>
  ["answering", "announcing"].every((part) => steps.some((s) => partOf(s.change) === part)) ||
  steps.some(({ change }) => change.kind === "nftTable" && change.family === "arp");

/** A plan, or why there is none. */
export interface Silence {
  readonly policy: string;
  readonly plan: Plan | undefined;
  /** Why nothing is done, or what `vipward apply` would refuse without --force; undefined: nothing stands against it. */
  readonly refused: string | undefined;
  readonly hasHalves: boolean;
  /** The kernel is silent as it is: there is nothing to silence. */
  readonly byNature: boolean;
}

function silenceOf(wanted: string, choice: Choice): Silence {
  if (!("plan" in choice)) {
    const why = choice.considered.map((c) => c.why).join("; ");
    return { policy: wanted, plan: undefined, refused: why, hasHalves: false, byNature: false };
  }
  const { plan, policy } = choice;
  const broken = plan.proof.laws.find((l) => !l.holds);
  const first = broken?.broken[0];
  return {
    policy,
    plan,
    refused: plan.conflicts[0] ?? (broken && `law ${broken.law} would be broken: ${first?.asked}: ${first?.answer}`),
    hasHalves: hasHalves(plan.steps),
    byNature: !plan.steps.some((s) => s.phase === "silence"),
  };
}

const after = (facts: HostFacts, changes: readonly Change[]): HostFacts => effect(worldOf(facts), changes).facts;

/** Facts that undo must give back: neighbours come and go by themselves, and a sysctl that nobody names is 0. */
const lasting = ({ neighbours: _, ...facts }: HostFacts) => ({
  ...facts,
  sysctls: Object.fromEntries(Object.entries(facts.sysctls).filter(([, value]) => value !== 0)),
});

export interface SilencedOptions {
  readonly host: SimHost;
  readonly cluster: Cluster;
  readonly realServer: RealServer;
  /** Before anybody did anything for the cluster. The same for one `plot`. */
  readonly bare: HostFacts;
  readonly plot: object;
  /** After each operation of a run. */
  readonly pass: () => void;
}

/** Thousands of schedules ask for the same plan: it is made once for each host of each plot. */
const chosen = new WeakMap<RealServer, WeakMap<object, Silence>>();

/** Drift may stand for so long: until sysctls are read, until the next look, a pause after an earlier time, the work. */
export const healingUs = (guardDefaults.sysctlMs + guardDefaults.gapMs + guardDefaults.pauseMs + 750) * 1000;

export type Told = (text: string) => void;

/** One real server, its policy, and what `vipward` has made of it so far. */
export class Silenced {
  readonly host: SimHost;
  readonly silence: Silence;
  /** It is meant to serve: it was applied to and not undone since, and no run is at work. */
  inService = true;
  readonly #options: SilencedOptions;
  readonly #wish: Wish;
  readonly #machine: SimMachine;
  /** Without anything of vipward's: what undo must give back. Faults that others cause are played on it too. */
  #base: HostFacts;
  /** The steps of the plan, in its order, that a person has typed on a kernel that does not run vipward. */
  #byHand: readonly Change[] = [];

  constructor(options: SilencedOptions) {
    this.#options = options;
    this.host = options.host;
    this.#base = options.bare;
    this.#machine = new SimMachine(options.host, options.pass);
    const { cluster, realServer } = options;
    this.#wish = labWishOf(cluster, realServer);
    const known = chosen.get(realServer)?.get(options.plot);
    this.silence = known ?? silenceOf(realServer.policy.name, this.#choose(options.bare, []));
    if (known === undefined)
      chosen.set(realServer, (chosen.get(realServer) ?? new WeakMap()).set(options.plot, this.silence));
  }

  #choose(facts: HostFacts, owned: readonly Change[]): Choice {
    const request = { world: worldOf(facts), owned, wish: this.#wish, kernel: kernelModel };
    return planFor(this.#options.realServer.policy.name, request);
  }

  /** vipward needs a kernel that runs Node; older ones get the plan's shell form, typed in by a person. */
  get #runsVipward(): boolean {
    const { generation, release } = this.#base.kernel;
    return has(releaseOf(generation, release), "3.10");
  }

  // ---- as if it had been done before ----

  /** The facts with the policy, or a part of it; undefined: there is no plan, and nothing is done. */
  facts(cure: Exclude<Cure, "none">): HostFacts | undefined {
    const { plan } = this.silence;
    if (plan === undefined) return undefined;
    return after(
      this.#options.bare,
      plan.steps.flatMap((s) => halved(s.change, cure) ?? []),
    );
  }

  /** The host stands as after `vipward apply --keep`, journal included. False: no plan, so nothing was done. */
  standApplied(): boolean {
    const facts = this.facts("full");
    if (facts === undefined) return false;
    const changes = this.#planned();
    if (this.#runsVipward) this.#machine.journal = encodeRecord({ type: "owned", nextRun: 2, changes }).slice();
    else this.#byHand = changes;
    this.host.change(facts);
    return true;
  }

  /**
   * `vipward guard` begins, with --heal or without. `spawn` carries its work out; undefined: it did. Else why there is
   * nothing to guard.
   */
  guard(kind: GuardKind, spawn: (work: () => Promise<void>) => void, tell: Told): string | undefined {
    if (!this.#runsVipward) return "its kernel does not run vipward";
    if (this.#owned().length === 0) return "vipward has made nothing here";
    this.#guarded = () => {
      this.#guard = new SimGuard({
        machine: this.#machine,
        kernel: kernelModel,
        config: { ...guardDefaults, heal: kind === "heal" },
        goalOf: (_, owned) => goalOf(owned),
        spawn,
        say: (text) => tell(`${this.host.name}: guard: ${text}`),
      });
    };
    this.#guarded();
    return undefined;
  }
  #guard: SimGuard | undefined;
  /** Starts the guard, as at boot; undefined: there is none. */
  #guarded: (() => void) | undefined;
  get heals(): boolean {
    return this.#guard?.heals === true;
  }

  /** The power goes. */
  crash(): void {
    this.#guard?.end();
    this.host.crash();
  }

  #owned(): readonly Change[] {
    return this.#runsVipward ? this.#journal().owned : this.#byHand;
  }

  // ---- what happens to it ----

  /** Somebody else changes the host: also what undo gives back is another then. */
  changedByOthers(change: (facts: HostFacts) => HostFacts): void {
    this.#base = change(this.#base);
    this.#touched = true;
    this.host.change(change(this.host.facts));
  }
  /** Others changed it since it was last as vipward knows it: then undo leaves theirs, and proves nothing. */
  #touched = false;

  /** Power comes back: what lasts is what the kept plan makes at boot. */
  boot(): void {
    this.#base = this.#options.bare;
    this.#touched = false;
    this.#machine.restart();
    this.host.change(after(this.#options.bare, this.#owned()));
    if (this.#owned().length > 0) this.#guarded?.();
  }

  /**
   * `vipward apply` or `undo`, killed before its call number `killAt` where that is above 0. Gives the broken promise of
   * law five, if one is.
   */
  async run(direction: "apply" | "undo", killAt: number, tell: Told): Promise<string | undefined> {
    if (!this.host.isAwake) return undefined;
    this.inService = false;
    const broken = this.#runsVipward
      ? await this.#runHere(direction, killAt, tell)
      : this.#runByHand(direction, killAt, tell);
    this.inService = this.#owned().length > 0 && this.#isWhole();
    return broken;
  }

  /** A run that lies open has made nobody knows what yet: the next one ends it. By hand the next one types the rest. */
  #isWhole(): boolean {
    return this.#runsVipward ? this.#journal().open === undefined : this.#missing().length === 0;
  }

  #planned(): readonly Change[] {
    return this.silence.plan?.steps.map((s) => s.change) ?? [];
  }

  #journal(): ReturnType<typeof readJournal> {
    return readJournal(decodeRecords(this.#machine.journal).values);
  }

  async #runHere(direction: "apply" | "undo", killAt: number, tell: Told): Promise<string | undefined> {
    const before = this.host.facts;
    const openBefore = this.#journal().open;
    this.#machine.restart(killAt > 0 ? killAt : Number.POSITIVE_INFINITY);
    const ports = this.#machine.ports();
    let outcome: Outcome;
    try {
      outcome =
        direction === "apply"
          ? await run(ports, {
              direction,
              paths: [],
              kernel: kernelModel,
              force: true,
              plan: (w, owned) => this.#plan(w.facts, owned),
            })
          : await run(ports, { ...undoEverything(kernelModel), force: true });
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      tell(`${this.host.name}: vipward ${direction} dies in the middle`);
      return undefined;
    }
    if ("recovered" in outcome && outcome.recovered !== undefined)
      tell(
        `${this.host.name}: the run that died before is ${outcome.recovered.result === "finished" ? "finished" : "taken back"}`,
      );
    tell(`${this.host.name}: vipward ${direction}: ${wordsOf(outcome)}`);
    if (direction === "undo" && outcome.kind !== "busy") return this.#afterUndo(outcome);
    // a run that took all back leaves the host as it was, unless it first ended one that had died
    if (outcome.kind === "tookBack" && openBefore === undefined && !this.#same(before))
      return `apply took back what it did, and the host is not as before: ${this.#difference(before)}`;
    return undefined;
  }

  #plan(facts: HostFacts, owned: readonly Change[]): Plan {
    const choice = this.#choose(facts, owned);
    if ("plan" in choice) return choice.plan;
    return makePlan({ world: worldOf(facts), owned, wanted: [], goal: nothingWanted, kernel: kernelModel });
  }

  #runByHand(direction: "apply" | "undo", killAt: number, tell: Told): string | undefined {
    const steps = direction === "apply" ? this.#missing() : [...this.#byHand].reverse();
    let done = 0;
    for (const step of killAt > 0 ? steps.slice(0, killAt - 1) : steps) {
      if (!this.host.isAwake) break;
      this.#byHand = this.#planned().filter((c) => (c === step ? direction === "apply" : this.#byHand.includes(c)));
      this.host.change(after(this.host.facts, [direction === "apply" ? step : undo(step)]));
      done++;
      this.#options.pass();
    }
    tell(`${this.host.name}: ${direction} by hand, ${done} of ${steps.length} steps`);
    return direction === "undo" && this.#byHand.length === 0 ? this.#backToBase() : undefined;
  }

  /** Steps of the plan that the host does not have: not typed yet, taken back, or undone by others. */
  #missing(): readonly Change[] {
    const host = new HostDraft(worldOf(this.host.facts));
    return this.#planned().filter((step) => standing(step, host) !== "after");
  }

  #afterUndo(outcome: Outcome): string | undefined {
    if (outcome.kind === "done" && outcome.left.length > 0 && !this.#touched) return `undo leaves ${outcome.left[0]}`;
    return this.#backToBase();
  }

  #backToBase(): string | undefined {
    if (this.#touched || this.#same(this.#base)) return undefined;
    return `undo does not give back what was there: ${this.#difference(this.#base)}`;
  }

  #same(facts: HostFacts): boolean {
    return equal(lasting(facts), lasting(this.host.facts));
  }
  #difference(wanted: HostFacts): string {
    const now = lasting(this.host.facts) as unknown as Readonly<Record<string, unknown>>;
    const then = lasting(wanted) as unknown as Readonly<Record<string, unknown>>;
    const names = Object.keys({ ...now, ...then }).filter((name) => !equal(now[name], then[name]));
    return names
      .map((name) => `${name} ${JSON.stringify(now[name])} instead of ${JSON.stringify(then[name])}`)
      .join("; ");
  }
}

const wordsOf = (o: Outcome): string => {
  switch (o.kind) {
    case "busy":
      return "another run holds the lock";
    case "nothing":
      return "all is as wanted";
    case "refused":
      return `refused: ${o.why[0]}`;
    case "done":
      return `${o.plan.steps.length} steps done${o.left.length > 0 ? `, ${o.left.length} left` : ""}`;
    case "tookBack":
      return `took back: ${o.why}`;
  }
};
