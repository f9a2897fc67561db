import { type Change, isChange, keyOf, net } from "../plan/change.ts";
import type { JournalStorage } from "../ports/apply.ts";
import { decodeRecords, encodeRecord } from "./journalCodec.ts";

/** Takes back what it did when it dies half way (`apply`), or goes on to the end (`undo`). */
export type Direction = "apply" | "undo";

/** Both ends included, as indexes of the run's changes. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export type JournalRecord =
  /** What is owned when the journal was last made small. */
  | { readonly type: "owned"; readonly nextRun: number; readonly changes: readonly Change[] }
  /** Written before anything is touched: whatever comes, this is enough to undo it. */
  | {
      readonly type: "begin";
      readonly run: number;
      readonly direction: Direction;
      readonly atMs: number;
      /** Must be confirmed: without that it is taken back even when all of it was made. */
      readonly confirm: boolean;
      readonly changes: readonly Change[];
    }
  | { readonly type: "intent"; readonly run: number; readonly range: Range }
  | { readonly type: "done"; readonly run: number; readonly range: Range }
  /** All made and verified; taken back at `untilMs` unless confirmed. */
  | { readonly type: "waiting"; readonly run: number; readonly untilMs: number }
  | {
      readonly type: "end";
      readonly run: number;
      /** Indexes of changes that stand: all after success, none after a clean way back. */
      readonly stand: readonly number[] | "all";
      /** Keys of things that others changed since: no longer ours. */
      readonly released: readonly string[];
    };

export interface OpenRun {
  readonly run: number;
  readonly direction: Direction;
  readonly atMs: number;
  readonly confirm: boolean;
  readonly changes: readonly Change[];
  readonly intents: readonly Range[];
  readonly done: readonly Range[];
  readonly waitingUntilMs?: number;
}

export interface JournalState {
  readonly nextRun: number;
  /** Net changes of all that stands and is ours, in order of making. */
  readonly owned: readonly Change[];
  /** A run that a crash, a kill or a power cut left open. */
  readonly open?: OpenRun;
  readonly records: number;
  /** Octets that a crash tore off the last record. */
  readonly tornOctets: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Folds the records into what they mean. A record that means nothing here is passed over: never a crash. */
export function readJournal(values: readonly unknown[]): Omit<JournalState, "tornOctets"> {
  let owned: Change[] = [];
  let nextRun = 1;
  let open: (Mutable<OpenRun> & { intents: Range[]; done: Range[] }) | undefined;
  for (const value of values) {
    const r = value as JournalRecord;
    switch (r?.type) {
      case "owned":
        owned = r.changes.filter(isChange);
        nextRun = r.nextRun;
        break;
      case "begin": {
        const { run, direction, atMs, confirm } = r;
        open = { run, direction, atMs, confirm, changes: r.changes.filter(isChange), intents: [], done: [] };
        nextRun = run + 1;
        break;
      }
      case "intent":
        if (open?.run === r.run) open.intents.push(r.range);
        break;
      case "done":
        if (open?.run === r.run) open.done.push(r.range);
        break;
      case "waiting":
        if (open?.run === r.run) open.waitingUntilMs = r.untilMs;
        break;
      case "end": {
        if (open?.run !== r.run) break;
        const { stand } = r;
        const stands = stand === "all" ? open.changes : open.changes.filter((_, i) => stand.includes(i));
        const released = new Set(r.released);
        owned = net([...owned, ...stands]).filter((c) => !released.has(keyOf(c)));
        open = undefined;
        break;
      }
      default:
    }
  }
  return { nextRun, owned, records: values.length, ...(open === undefined ? {} : { open }) };
}

/** The journal of one host, on its storage. */
export class Journal {
  readonly #storage: JournalStorage;
  /** What the storage holds. */
  #values: unknown[];
  state: JournalState;

  private constructor(storage: JournalStorage, values: readonly unknown[], tornOctets: number) {
    this.#storage = storage;
    this.#values = [...values];
    this.state = { ...readJournal(values), tornOctets };
  }

  /** Reads it without writing: safe beside a run of somebody else. */
  static async peek(storage: JournalStorage): Promise<JournalState> {
    const decoded = decodeRecords(await storage.load());
    return { ...readJournal(decoded.values), tornOctets: decoded.tornOctets };
  }

  /** For the holder of the lock: cuts off a torn end, so that what is appended can be read again. */
  static async open(storage: JournalStorage): Promise<Journal> {
    const octets = await storage.load();
    const decoded = decodeRecords(octets);
    if (decoded.tornOctets > 0) await storage.replace(octets.slice(0, decoded.goodOctets));
    return new Journal(storage, decoded.values, decoded.tornOctets);
  }

  /** All of them in one write and one sync; a crash may leave any first part of them. */
  async append(...records: readonly JournalRecord[]): Promise<void> {
    await this.#storage.append(joined(records.map(encodeRecord)));
    this.#values.push(...records);
  }

  /**
   * Starts a run, and its first changes if `first` is given. Ended runs before it are first folded into one record, so
   * that the file does not grow for ever.
   */
  async begin(
    direction: Direction,
    changes: readonly Change[],
    atMs: number,
    { confirm = false, first }: { readonly confirm?: boolean; readonly first?: Range | undefined } = {},
  ): Promise<number> {
    const run = this.state.nextRun;
    if (this.state.records > 1) {
      const owned: JournalRecord = { type: "owned", nextRun: run, changes: this.state.owned };
      await this.#storage.replace(encodeRecord(owned));
      this.#values = [owned];
    }
    const begin: JournalRecord = { type: "begin", run, direction, atMs, confirm, changes };
    await this.append(begin, ...(first === undefined ? [] : [{ type: "intent", run, range: first } as const]));
    return run;
  }

  /** Ends a run; `state` then is what that leaves. */
  async end(run: number, stand: readonly number[] | "all", released: readonly string[]): Promise<void> {
    await this.append({ type: "end", run, stand, released });
    this.state = { ...readJournal(this.#values), tornOctets: 0 };
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
