import { FarQueue } from "./farQueue.ts";

/** Microseconds that the wheel reaches ahead; a power of two. Frames on cables fall into it, most timers do not. */
const reach = 4096;
const mask = reach - 1;

// Of one event, side by side in `#events`.
const NEXT = 0;
const KIND = 1;
const PLACE = 2;
const WIDTH = 4;
const none = -1;

/**
 * What is to happen, by time in whole microseconds; of two things at one time the one that was put in first. Nothing
 * may be put in before what was taken out last.
 *
 * A wheel with a list for every microsecond that is near, a heap for what is far: an event that is near costs the same
 * however many wait, and no allocation but what it carries.
 */
export class EventQueue {
  /** First and last event of each microsecond, and a bit for each that has some. */
  readonly #heads = new Int32Array(reach).fill(none);
  readonly #tails = new Int32Array(reach).fill(none);
  readonly #bits = new Int32Array(reach / 32);
  #near = 0;
  /** All that lies before `#baseUs + reach` is in the wheel, and nothing else. */
  #baseUs = 0;
  /** Where `#baseUs` is in the wheel. Kept, as the remainder of a double is slow to work out. */
  #baseAt = 0;
  readonly #far: FarQueue;

  #events: Int32Array;
  readonly #items: unknown[] = [];
  #free = none;
  #used = 0;
  #size = 0;

  // What pop() took out last.
  timeUs = 0;
  kind = 0;
  place = 0;
  item: unknown = undefined;

  constructor(capacity = 1024) {
    this.#events = new Int32Array(capacity * WIDTH);
    this.#far = new FarQueue(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** Time of the next event; Infinity: there is none. */
  get nextUs(): number {
    return this.#near > 0 ? this.#baseUs + this.#ahead() : this.#far.nextUs;
  }

  push(timeUs: number, kind: number, place: number, item: unknown): void {
    let slot = this.#free;
    if (slot === none) {
      slot = this.#used++;
      if (slot * WIDTH === this.#events.length) this.#grow();
    } else this.#free = this.#events[slot * WIDTH] as number;
    const events = this.#events;
    events[slot * WIDTH + KIND] = kind;
    events[slot * WIDTH + PLACE] = place;
    this.#items[slot] = item;
    this.#size++;
    const ahead = timeUs - this.#baseUs;
    if (ahead >= reach) this.#far.push(timeUs, slot);
    else if (ahead >= 0) this.#append(ahead, slot);
    else throw new RangeError(`an event for ${timeUs} us after one of ${this.#baseUs} us`);
  }

  /** Takes the next event out into timeUs, kind, place and item, if it is not after `untilUs`; false: it is, or none. */
  pop(untilUs = Number.POSITIVE_INFINITY): boolean {
    if (this.#near > 0) {
      const ahead = this.#ahead();
      const timeUs = this.#baseUs + ahead;
      if (timeUs > untilUs) return false;
      if (ahead > 0) this.#advance(timeUs, (this.#baseAt + ahead) & mask);
    } else {
      const timeUs = this.#far.nextUs;
      if (timeUs === Number.POSITIVE_INFINITY || timeUs > untilUs) return false;
      this.#advance(timeUs, timeUs % reach);
    }
    const at = this.#baseAt;
    const events = this.#events;
    const slot = this.#heads[at] as number;
    const next = events[slot * WIDTH + NEXT] as number;
    this.#heads[at] = next;
    if (next === none) this.#bits[at >> 5] = (this.#bits[at >> 5] as number) & ~(1 << (at & 31));
    this.#near--;
    this.#size--;
    this.timeUs = this.#baseUs;
    this.kind = events[slot * WIDTH + KIND] as number;
    this.place = events[slot * WIDTH + PLACE] as number;
    this.item = this.#items[slot];
    this.#items[slot] = undefined;
    events[slot * WIDTH + NEXT] = this.#free;
    this.#free = slot;
    return true;
  }

  /** Places and items of what comes next in the microsecond of the last one, if of that kind; gives how many. */
  upcoming(kind: number, places: Int32Array, items: unknown[]): number {
    const events = this.#events;
    let count = 0;
    let slot = this.#heads[this.#baseAt] as number;
    while (slot !== none && count < places.length && events[slot * WIDTH + KIND] === kind) {
      places[count] = events[slot * WIDTH + PLACE] as number;
      items[count++] = this.#items[slot];
      slot = events[slot * WIDTH + NEXT] as number;
    }
    return count;
  }

  /** The wheel reaches further now: what was far may be near. In the order of the heap, so that ties stay in theirs. */
  #advance(timeUs: number, at: number): void {
    this.#baseUs = timeUs;
    this.#baseAt = at;
    while (this.#far.nextUs < timeUs + reach) this.#append(this.#far.nextUs - timeUs, this.#far.pop());
  }

  #append(ahead: number, slot: number): void {
    const at = (this.#baseAt + ahead) & mask;
    this.#events[slot * WIDTH + NEXT] = none;
    if ((this.#heads[at] as number) === none) {
      this.#heads[at] = slot;
      this.#bits[at >> 5] = (this.#bits[at >> 5] as number) | (1 << (at & 31));
    } else this.#events[(this.#tails[at] as number) * WIDTH + NEXT] = slot;
    this.#tails[at] = slot;
    this.#near++;
  }

  /** Microseconds from the base to the first that has an event; the wheel must hold one. */
  #ahead(): number {
    const bits = this.#bits;
    const from = this.#baseAt;
    let word = from >> 5;
    let found = (bits[word] as number) & (-1 << (from & 31));
    while (found === 0) {
      word = (word + 1) & (bits.length - 1);
      found = bits[word] as number;
    }
    return ((word << 5) + 31 - Math.clz32(found & -found) - from) & mask;
  }

  #grow(): void {
    const wider = new Int32Array(this.#events.length * 2);
    wider.set(this.#events);
    this.#events = wider;
  }
}
