import { type Change, conflictsOf, describe, effect, fromNow, keyOf, phaseOf, play, standing, undo } from "./change.ts";
import { equal } from "./equal.ts";
import { HostDraft, type World } from "./host.ts";
import type { Kernel } from "./kernel.ts";
import { mirrored, type Phase, phases } from "./kind.ts";
import { type Goal, type Proof, prove } from "./proof.ts";

/** One change with its reason. */
export interface Step {
  readonly change: Change;
  readonly why: string;
  /** Ids of the kernel rules that make it needed. */
  readonly rules: readonly string[];
}

export interface PlannedStep extends Step {
  readonly phase: Phase;
}

export interface Plan {
  /** In the order in which they must be made. */
  readonly steps: readonly PlannedStep[];
  /** What is already so, and therefore left out. */
  readonly leftAlone: readonly Step[];
  /** What cannot be done here, and why: a plan with any of these is not applied. */
  readonly conflicts: readonly string[];
  /** What others changed of that which vipward made: reported, never touched. */
  readonly changedByOthers: readonly string[];
  /** Keys of things no longer ours: those, and what is back as it was without our doing (a reboot). */
  readonly released: readonly string[];
  readonly proof: Proof;
  readonly goal: Goal;
}

export interface PlanRequest {
  readonly world: World;
  /** What vipward made here before and still owns: the journal's net changes. */
  readonly owned: readonly Change[];
  /** What the policy wants, as steps on `baseOf(world, owned)`. */
  readonly wanted: readonly Step[];
  readonly goal: Goal;
  readonly kernel: Kernel;
}

/** The host as if vipward had never been there: policies decide on it, so that a second run wants the same as the first. */
export function baseOf(world: World, owned: readonly Change[]): World {
  const draft = new HostDraft(world);
  for (const change of [...owned].reverse()) if (standing(change, draft) === "after") play(undo(change), draft);
  return draft.finish();
}

interface Candidate {
  readonly step: Step;
  readonly phase: Phase;
  /** Takes back what an earlier run made and nobody wants any more. */
  readonly reverts?: Change;
}

const byPhase = (a: Candidate, b: Candidate): number => phases.indexOf(a.phase) - phases.indexOf(b.phase);

/** Minimal and in order: what is already so is left out; silence before the VIP appears. */
export function makePlan(request: PlanRequest): Plan {
  const { world, owned, wanted, goal, kernel } = request;
  const wantedKeys = new Set(wanted.map((s) => keyOf(s.change)));
  const changedByOthers: string[] = [];
  const released: string[] = [];
  const candidates: Candidate[] = wanted.map((step) => ({ step, phase: phaseOf(step.change) }));
  for (const change of [...owned].reverse()) {
    if (wantedKeys.has(keyOf(change))) continue;
    const step: Step = { change: undo(change), why: "made by vipward, and no longer wanted", rules: [] };
    candidates.push({ step, phase: mirrored[phaseOf(change)], reverts: change });
  }
  const draft = new HostDraft(world);
  const steps: PlannedStep[] = [];
  const leftAlone: Step[] = [];
  const conflicts: string[] = [];
  for (const { step, phase, reverts } of candidates.sort(byPhase)) {
    if (reverts !== undefined && standing(reverts, draft) === "other") {
      changedByOthers.push(`${describe(reverts)}: someone else has changed it since, so it stays as it is`);
      released.push(keyOf(reverts));
      continue;
    }
    const change = fromNow(step.change, draft);
    if (equal(change.before, change.after)) {
      if (reverts === undefined) leftAlone.push(step);
      else released.push(keyOf(reverts));
      continue;
    }
    const against = conflictsOf(change, draft);
    conflicts.push(...against);
    if (against.length > 0) continue;
    play(change, draft);
    steps.push({ ...step, change, phase });
  }
  const changes = steps.map((s) => s.change);
  const proof = prove(world, changes, goal, kernel, { moments: momentsOf(steps) });
  return { steps, leftAlone, conflicts, changedByOthers, released, proof, goal };
}

/** The changes made up to each border between two phases, the end left out: it is proven by itself. */
export function momentsOf(steps: readonly PlannedStep[]): Change[][] {
  const moments: Change[][] = [];
  steps.forEach((step, i) => {
    const next = steps[i + 1];
    if (next !== undefined && next.phase !== step.phase && next.phase !== "keep")
      moments.push(steps.slice(0, i + 1).map((s) => s.change));
  });
  return moments;
}

export const changesOf = (plan: Plan): Change[] => plan.steps.map((s) => s.change);
export const worldAfter = (plan: Plan, world: World): World => effect(world, changesOf(plan));
