import {
  type Change,
  describe,
  effect,
  fromNow,
  keyOf,
  operationsOf,
  play,
  sameOn,
  standing,
  undo,
} from "../plan/change.ts";
import { HostDraft, type World } from "../plan/host.ts";
import type { Kernel } from "../plan/kernel.ts";
import { changesOf, makePlan, type Plan } from "../plan/plan.ts";
import { type Goal, type LawProof, nothingWanted, prove } from "../plan/proof.ts";
import type { ApplyPorts } from "../ports/apply.ts";
import { type Direction, Journal, type JournalRecord, type OpenRun, type Range } from "./journal.ts";

/** Changes of one kind are done together: a thousand addresses are one netlink batch and two journal records. */
const BATCH = 4096;
const CONFIRM_POLL_MS = 200;

export interface RunRequest {
  readonly direction: Direction;
  /** Makes the plan from what is there once the lock is held. `owned`: what earlier runs made. */
  readonly plan: (world: World, owned: readonly Change[]) => Plan;
  /** Files that the plan may write. */
  readonly paths: readonly string[];
  readonly kernel: Kernel;
  /** Go on although a law is broken; conflicts still stop it. */
  readonly force?: boolean;
  /** Take it all back unless confirmed within this time. */
  readonly confirmMs?: number;
  readonly signal?: AbortSignal;
  /** Told of each change as it is made, for a display. */
  readonly progress?: (sentence: string) => void;
}

/** Takes away all that vipward made on a host. */
export const undoEverything = (kernel: Kernel): RunRequest => ({
  direction: "undo",
  paths: [],
  kernel,
  plan: (world, owned) => makePlan({ world, owned, wanted: [], goal: nothingWanted, kernel }),
});

export type Outcome =
  /** Another run holds the lock. */
  | { readonly kind: "busy" }
  /** All is as wanted; nothing was written, not even to the journal. */
  | { readonly kind: "nothing"; readonly plan: Plan; readonly recovered?: Recovery }
  | { readonly kind: "refused"; readonly plan: Plan; readonly why: readonly string[]; readonly recovered?: Recovery }
  | {
      readonly kind: "done";
      readonly run: number;
      readonly plan: Plan;
      readonly confirmed: boolean;
      /** Of an undo: what could not be taken away. It stays ours, so the next undo tries again. */
      readonly left: readonly string[];
      readonly recovered?: Recovery;
    }
  /** Something failed half way and all of it was taken back, but for `left`. */
  | {
      readonly kind: "tookBack";
      readonly run: number;
      readonly plan: Plan;
      readonly why: string;
      /** What helps, where who refused knows it. */
      readonly remedy?: string;
      readonly left: readonly string[];
      readonly recovered?: Recovery;
    };

/** What a run that died left, and what became of it. */
export interface Recovery {
  readonly run: number;
  readonly direction: Direction;
  readonly result: "finished" | "took back";
  /** What could not be brought back, and what others changed meanwhile. */
  readonly left: readonly string[];
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function remedyOf(error: unknown): { remedy?: string } {
  const { remedy } = error as { readonly remedy?: unknown };
  return typeof remedy === "string" ? { remedy } : {};
}

/** Runs one plan: recover, plan, journal, change, verify, keep; or all of it back. */
export async function run(ports: ApplyPorts, request: RunRequest): Promise<Outcome> {
  const release = await ports.lock.acquire();
  if (release === undefined) return { kind: "busy" };
  try {
    const journal = await Journal.open(ports.journal);
    const recovery = await recoverOpen(ports, journal, request.kernel);
    const recovered = recovery === undefined ? {} : { recovered: recovery };
    const paths = [...new Set([...request.paths, ...pathsOf(journal.state.owned)])];
    const world = await ports.reader.read(paths);
    const plan = request.plan(world, journal.state.owned);
    const why = refusals(plan, request);
    if (why.length > 0) return { kind: "refused", plan, why, ...recovered };
    if (plan.steps.length === 0) {
      await releaseForeign(journal, plan, ports);
      return { kind: "nothing", plan, ...recovered };
    }
    return { ...(await perform(ports, journal, request, plan, paths)), ...recovered };
  } finally {
    await release();
  }
}

function refusals(plan: Plan, request: RunRequest): string[] {
  const broken = plan.proof.laws.filter((l) => !l.holds);
  // Taking away what vipward made needs no proof: it gives back what was there, whatever that was worth.
  if (request.direction === "undo" || request.force === true) return [...plan.conflicts];
  return [...plan.conflicts, ...broken.map(brokenText)];
}

export const brokenText = (law: LawProof): string => {
  const first = law.broken[0];
  const example = first === undefined ? "" : `: ${first.asked}: ${first.answer}${first.rule ? ` (${first.rule})` : ""}`;
  return `law ${law.law} would be broken (${law.title})${example}`;
};

const pathsOf = (changes: readonly Change[]): string[] => changes.flatMap((c) => (c.kind === "file" ? [c.path] : []));

/** Things that others changed since are no longer ours, also where nothing else is left to do. */
async function releaseForeign(journal: Journal, plan: Plan, ports: ApplyPorts): Promise<void> {
  if (plan.released.length === 0) return;
  const id = await journal.begin("undo", [], ports.clock.nowMs());
  await journal.end(id, "all", plan.released);
}

async function perform(
  ports: ApplyPorts,
  journal: Journal,
  request: RunRequest,
  plan: Plan,
  paths: readonly string[],
): Promise<Outcome> {
  const changes = changesOf(plan);
  const { direction } = request;
  const atMs = ports.clock.nowMs();
  const confirm = request.confirmMs !== undefined;
  // What would make it again at boot comes after the word: a power cut while it waits must take it back, too.
  const keepFrom = confirm ? plan.steps.filter((s) => s.phase !== "keep").length : changes.length;
  const ranges = batches(changes, [keepFrom]);
  const untilWord = ranges.filter((r) => r.from < keepFrom);
  const heir = confirm ? await ports.heirs?.appoint(journal.state.nextRun) : undefined;
  const id = await journal.begin(direction, changes, atMs, { confirm, first: untilWord[0] });
  const open: Making = { run: id, direction, atMs, confirm, changes, intents: untilWord.slice(0, 1), done: [] };
  try {
    await make(ports, journal, request, open, untilWord);
    const found = await ports.reader.read(paths);
    const goal = request.direction === "undo" ? undefined : plan.goal;
    const wrong = verify(found, changes.slice(0, keepFrom), goal, request);
    if (wrong !== undefined) throw new Error(wrong);
    const confirmed = await awaitConfirmation(ports, journal, request, id);
    await make(ports, journal, request, open, ranges.slice(untilWord.length));
    await journal.end(id, "all", plan.released);
    return { kind: "done", run: id, plan, confirmed, left: [] };
  } catch (error) {
    // An undo that meets an obstacle goes round it: the person wants as much gone as can go.
    if (direction === "undo")
      return { kind: "done", run: id, plan, confirmed: false, left: await goOn(ports, journal, open, plan.released) };
    const left = await takeBack(ports, journal, open);
    return { kind: "tookBack", run: id, plan, why: messageOf(error), ...remedyOf(error), left };
  } finally {
    heir?.dismiss();
  }
}

/** A run that is under way here. */
type Making = OpenRun & { readonly intents: Range[]; readonly done: Range[] };

/**
 * Makes these batches. Each is in the journal before it starts and after it ended, where the end of one and the start of
 * the next are one record on the disk: a sync costs more than a hundred changes.
 */
async function make(
  ports: ApplyPorts,
  journal: Journal,
  request: RunRequest,
  { run: id, changes, intents, done }: Making,
  ranges: readonly Range[],
): Promise<void> {
  let before: JournalRecord[] = [];
  for (const range of ranges) {
    request.signal?.throwIfAborted();
    if (!intents.includes(range)) {
      intents.push(range);
      await journal.append(...before, { type: "intent", run: id, range });
    }
    const batch = changes.slice(range.from, range.to + 1);
    const [first] = batch;
    if (first !== undefined)
      request.progress?.(`${describe(first)}${batch.length > 1 ? `, and ${batch.length - 1} more like it` : ""}`);
    await ports.performer.perform(batch.flatMap(operationsOf));
    before = [{ type: "done", run: id, range }];
    done.push(range);
  }
  if (before.length > 0) await journal.append(...before);
}

/** Neighbouring changes of one kind, cut at BATCH and at `cuts`. */
export function batches(changes: readonly Change[], cuts: readonly number[] = []): Range[] {
  const ranges: Range[] = [];
  let from = 0;
  changes.forEach((change, i) => {
    const next = changes[i + 1];
    const goesOn = next !== undefined && next.kind === change.kind && i + 1 - from < BATCH;
    if (goesOn && !cuts.includes(i + 1)) return;
    ranges.push({ from, to: i });
    from = i + 1;
  });
  return ranges;
}

/** Reads the host as it now is: each change must stand, and the laws must hold on what is really there. */
function verify(
  found: World,
  changes: readonly Change[],
  goal: Goal | undefined,
  request: Pick<RunRequest, "kernel" | "force">,
): string | undefined {
  const host = new HostDraft(found);
  // a later change may take the thing of an earlier one along, as a module takes its device
  const expected = new HostDraft(effect(found, changes));
  const missing = changes.filter((c) => !sameOn(c, host, expected));
  const first = missing[0];
  if (first !== undefined)
    return `read again, ${missing.length} of ${changes.length} changes are not there; the first: ${describe(first)}`;
  if (goal === undefined || request.force === true) return undefined;
  const broken = prove(found, [], goal, request.kernel).laws.find((l) => !l.holds);
  return broken === undefined ? undefined : `read again, ${brokenText(broken)}`;
}

/** True when someone confirmed; false when nobody had to. Throws when the time ran out. */
async function awaitConfirmation(
  ports: ApplyPorts,
  journal: Journal,
  request: RunRequest,
  id: number,
): Promise<boolean> {
  if (request.confirmMs === undefined) return false;
  const untilMs = ports.clock.nowMs() + request.confirmMs;
  await journal.append({ type: "waiting", run: id, untilMs });
  request.progress?.(`waiting ${Math.round(request.confirmMs / 1000)} s for \`vipward confirm\``);
  while (ports.clock.nowMs() < untilMs) {
    if (await ports.confirmations.confirmed(id)) return true;
    request.signal?.throwIfAborted();
    await ports.clock.sleep(CONFIRM_POLL_MS, request.signal);
  }
  throw new Error(`not confirmed within ${Math.round(request.confirmMs / 1000)} s`);
}

const within = (ranges: readonly Range[], i: number): boolean => ranges.some((r) => r.from <= i && i <= r.to);

/**
 * Undoes what a run made, the last first, by what is really there: a change that never happened needs nothing, one that
 * someone else has changed since is left and named. Safe to do twice, so it needs no records of its own.
 */
async function takeBack(ports: ApplyPorts, journal: Journal, open: OpenRun): Promise<string[]> {
  const left: string[] = [];
  const stand: number[] = [];
  const host = new HostDraft(await ports.reader.read(pathsOf(open.changes)));
  for (let i = open.changes.length - 1; i >= 0; i--) {
    const change = open.changes[i];
    if (change === undefined || !within(open.intents, i)) continue;
    const where = standing(change, host);
    if (where === "before") continue;
    // Between intent and done a thing may be half made: then what is there is ours, whatever it looks like.
    if (where === "other" && within(open.done, i)) {
      left.push(`${describe(change)}: someone else has changed it since, so it stays as it is`);
      continue;
    }
    const back = fromNow(undo(change), host);
    try {
      await ports.performer.perform(operationsOf(back));
      play(back, host);
    } catch (error) {
      left.push(`${describe(back)}: ${messageOf(error)}`);
      stand.push(i);
    }
  }
  await journal.end(open.run, stand, []);
  return left;
}

/** Goes on with a run that died and is to be finished: an undo, or an apply that someone has confirmed. */
async function goOn(
  ports: ApplyPorts,
  journal: Journal,
  open: OpenRun,
  alreadyReleased: readonly string[] = [],
): Promise<string[]> {
  const left: string[] = [];
  const stand: number[] = [];
  const released: string[] = [...alreadyReleased];
  const found = await ports.reader.read(pathsOf(open.changes));
  const host = new HostDraft(found);
  const expected = new HostDraft(effect(found, open.changes));
  for (const [i, change] of open.changes.entries()) {
    const where = sameOn(change, host, expected) ? "after" : standing(change, host);
    if (where === "other" && !(within(open.intents, i) && !within(open.done, i))) {
      left.push(`${describe(change)}: someone else has changed it since, so it stays as it is`);
      released.push(keyOf(change));
      continue;
    }
    if (where !== "after") {
      const now = fromNow(change, host);
      try {
        await ports.performer.perform(operationsOf(now));
        play(now, host);
      } catch (error) {
        left.push(`${describe(now)}: ${messageOf(error)}`);
        continue;
      }
    }
    stand.push(i);
  }
  await journal.end(open.run, stand, released);
  return left;
}

async function recoverOpen(ports: ApplyPorts, journal: Journal, kernel: Kernel): Promise<Recovery | undefined> {
  const { open } = journal.state;
  if (open === undefined) return undefined;
  const { run: id, direction } = open;
  if (direction === "undo") return { run: id, direction, result: "finished", left: await goOn(ports, journal, open) };
  // With the word given, what is still to be made is what keeps it over a reboot.
  if (open.waitingUntilMs !== undefined && (await ports.confirmations.confirmed(id)))
    return { run: id, direction, result: "finished", left: await goOn(ports, journal, open) };
  if (await canFinish(ports, open, kernel)) {
    await journal.end(id, "all", []);
    return { run: id, direction, result: "finished", left: [] };
  }
  return { run: id, direction, result: "took back", left: await takeBack(ports, journal, open) };
}

/** All was made, and nobody still has to confirm it: only the last word is missing. */
async function canFinish(ports: ApplyPorts, open: OpenRun, kernel: Kernel): Promise<boolean> {
  if (open.confirm || !open.changes.every((_, i) => within(open.done, i))) return false;
  const found = await ports.reader.read(pathsOf(open.changes));
  return verify(found, open.changes, undefined, { kernel }) === undefined;
}

/** Brings a run that died to an end, if there is one. undefined: nothing to do; "busy": another run is at work. */
export async function recover(ports: ApplyPorts, kernel: Kernel): Promise<Recovery | "busy" | undefined> {
  if ((await Journal.peek(ports.journal)).open === undefined) return undefined;
  const release = await ports.lock.acquire();
  if (release === undefined) return "busy";
  try {
    return await recoverOpen(ports, await Journal.open(ports.journal), kernel);
  } finally {
    await release();
  }
}

/**
 * What the heir of a run does: once the run's process is dead, its changes are taken back; where it waits for its word,
 * at the end of that time. Gives undefined when there is nothing left to do: the run has ended, or another is open.
 */
export async function inherit(
  ports: ApplyPorts,
  run: number,
  kernel: Kernel,
  isAlive: () => boolean,
): Promise<Recovery | undefined> {
  for (;;) {
    if (!isAlive()) {
      const { open } = await Journal.peek(ports.journal);
      if (open?.run !== run) return undefined;
      const { waitingUntilMs } = open;
      const mayStillCome = waitingUntilMs !== undefined && ports.clock.nowMs() < waitingUntilMs;
      if (!mayStillCome || (await ports.confirmations.confirmed(run))) {
        const recovered = await recover(ports, kernel);
        if (recovered !== "busy") return recovered;
      }
    }
    await ports.clock.sleep(CONFIRM_POLL_MS);
  }
}

export type ConfirmOutcome =
  | { readonly kind: "confirmed"; readonly run: number }
  | { readonly kind: "nothing" }
  | { readonly kind: "late"; readonly run: number };

/** Keeps what a waiting run made. Takes no lock: the waiting run holds it. */
export async function confirm(ports: ApplyPorts): Promise<ConfirmOutcome> {
  const { open } = await Journal.peek(ports.journal);
  if (open?.waitingUntilMs === undefined) return { kind: "nothing" };
  if (ports.clock.nowMs() >= open.waitingUntilMs) return { kind: "late", run: open.run };
  await ports.confirmations.confirm(open.run);
  return { kind: "confirmed", run: open.run };
}
