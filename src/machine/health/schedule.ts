/**
 * When each check is due next. 10,000 checks are spread evenly over their intervals from the start, jitter keeps those
 * of several directors apart, and after a sleep nothing is caught up in a burst. Mutable inside, because it is asked
 * thousands of times a second; still no clock and no dice: both come in.
 */
interface Entry {
  readonly key: string;
  intervalMs: number;
  jitter: number;
  dueAtMs: number;
  place: number;
}

/** Golden ratio: each further check falls into the largest gap the others left, however many come later. */
const golden = 0.6180339887498949;

export class Schedule {
  readonly #heap: Entry[] = [];
  readonly #entries = new Map<string, Entry>();
  /** Each interval has its own sequence: checks of one interval lie evenly among themselves. */
  readonly #ordinals = new Map<number, number>();

  get size(): number {
    return this.#entries.size;
  }
  #perMs = 0;
  /** How many fall due in a millisecond, on average. */
  get perMs(): number {
    return this.#perMs;
  }

  /** Infinity: nothing is scheduled. */
  get deadlineMs(): number {
    return this.#heap[0]?.dueAtMs ?? Number.POSITIVE_INFINITY;
  }

  /** `jitterPercent` of the interval, half to each side. A key that is there keeps its place when only jitter changes. */
  add(key: string, intervalMs: number, jitterPercent: number, nowMs: number): void {
    const known = this.#entries.get(key);
    if (known?.intervalMs === intervalMs) {
      known.jitter = jitterPercent / 100;
      return;
    }
    if (known !== undefined) this.remove(key);
    const ordinal = this.#ordinals.get(intervalMs) ?? 0;
    this.#ordinals.set(intervalMs, ordinal + 1);
    const dueAtMs = nowMs + ((ordinal * golden) % 1) * intervalMs;
    const entry = { key, intervalMs, jitter: jitterPercent / 100, dueAtMs, place: this.#heap.length };
    this.#entries.set(key, entry);
    this.#perMs += 1 / intervalMs;
    this.#heap.push(entry);
    this.#up(entry);
  }

  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#perMs = this.#entries.size === 0 ? 0 : this.#perMs - 1 / entry.intervalMs;
    const last = this.#heap.pop() as Entry;
    if (last === entry) return;
    last.place = entry.place;
    this.#heap[entry.place] = last;
    this.#up(last);
    this.#down(last);
  }

  /** Brings one forward, where a check on demand is wanted. */
  soon(key: string, nowMs: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.dueAtMs = Math.min(entry.dueAtMs, nowMs);
    this.#up(entry);
  }

  /**
   * The checks to start now, at most `most`. `random` gives [0, 1), once for each. One that is late by more than its
   * interval was slept over: it gets a new place within its interval instead of starting with all the others.
   */
  take(nowMs: number, random: () => number, most = Number.POSITIVE_INFINITY): string[] {
    const keys: string[] = [];
    for (let first = this.#heap[0]; first !== undefined && first.dueAtMs <= nowMs; first = this.#heap[0]) {
      if (keys.length >= most) break;
      const dice = random();
      const late = nowMs - first.dueAtMs;
      if (late > first.intervalMs) first.dueAtMs = nowMs + dice * first.intervalMs;
      else {
        keys.push(first.key);
        // From when it was due, not from now: the spread of the start stays. Jitter is symmetric, so nothing drifts.
        first.dueAtMs += first.intervalMs * (1 + first.jitter * (dice - 0.5));
      }
      this.#down(first);
    }
    return keys;
  }

  #put(entry: Entry, place: number): void {
    entry.place = place;
    this.#heap[place] = entry;
  }
  #up(entry: Entry): void {
    let at = entry.place;
    while (at > 0) {
      const parent = this.#heap[(at - 1) >> 1] as Entry;
      if (parent.dueAtMs <= entry.dueAtMs) break;
      this.#put(parent, at);
      at = (at - 1) >> 1;
    }
    this.#put(entry, at);
  }
  #down(entry: Entry): void {
    let at = entry.place;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) break;
      const right = this.#heap[child + 1];
      if (right !== undefined && right.dueAtMs < (this.#heap[child] as Entry).dueAtMs) child++;
      const least = this.#heap[child] as Entry;
      if (least.dueAtMs >= entry.dueAtMs) break;
      this.#put(least, at);
      at = child;
    }
    this.#put(entry, at);
  }
}
