/**
 * What is to happen, by time; of two things at one time the one that was put in first. A heap with four children per
 * node on typed arrays: an event costs no allocation but what it carries.
 */
export class EventQueue {
  /** Heap of slots, and their keys beside them, so that comparing does not jump about in memory. */
  #times: Float64Array;
  #orders: Float64Array;
  #slots: Int32Array;
  #size = 0;
  #order = 0;

  #kind: Int32Array;
  #place: Int32Array;
  readonly #items: unknown[] = [];
  readonly #free: number[] = [];
  #used = 0;

  // What pop() took out last.
  timeUs = 0;
  kind = 0;
  place = 0;
  item: unknown = undefined;

  constructor(capacity = 1024) {
    this.#times = new Float64Array(capacity);
    this.#orders = new Float64Array(capacity);
    this.#slots = new Int32Array(capacity);
    this.#kind = new Int32Array(capacity);
    this.#place = new Int32Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** Time of the next event; Infinity: there is none. */
  get nextUs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] as number);
  }

  push(timeUs: number, kind: number, place: number, item: unknown): void {
    if (this.#size === this.#times.length) this.#grow();
    const slot = this.#free.pop() ?? this.#used++;
    this.#kind[slot] = kind;
    this.#place[slot] = place;
    this.#items[slot] = item;
    const order = this.#order++;
    const times = this.#times;
    const orders = this.#orders;
    const slots = this.#slots;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 2;
      // a later order never goes before an earlier one, so times alone decide on the way up
      if ((times[parent] as number) <= timeUs) break;
      times[at] = times[parent] as number;
      orders[at] = orders[parent] as number;
      slots[at] = slots[parent] as number;
      at = parent;
    }
    times[at] = timeUs;
    orders[at] = order;
    slots[at] = slot;
  }

  /** Takes the next event out into timeUs, kind, place and item; false: there was none. */
  pop(): boolean {
    if (this.#size === 0) return false;
    const times = this.#times;
    const orders = this.#orders;
    const slots = this.#slots;
    const slot = slots[0] as number;
    this.timeUs = times[0] as number;
    this.kind = this.#kind[slot] as number;
    this.place = this.#place[slot] as number;
    this.item = this.#items[slot];
    this.#items[slot] = undefined;
    this.#free.push(slot);
    const size = --this.#size;
    if (size === 0) return true;
    const time = times[size] as number;
    const order = orders[size] as number;
    const moved = slots[size] as number;
    let at = 0;
    for (;;) {
      const first = 4 * at + 1;
      if (first >= size) break;
      let least = first;
      let leastTime = times[first] as number;
      let leastOrder = orders[first] as number;
      const end = Math.min(first + 4, size);
      for (let child = first + 1; child < end; child++) {
        const childTime = times[child] as number;
        if (childTime < leastTime || (childTime === leastTime && (orders[child] as number) < leastOrder)) {
          least = child;
          leastTime = childTime;
          leastOrder = orders[child] as number;
        }
      }
      if (time < leastTime || (time === leastTime && order < leastOrder)) break;
      times[at] = leastTime;
      orders[at] = leastOrder;
      slots[at] = slots[least] as number;
      at = least;
    }
    times[at] = time;
    orders[at] = order;
    slots[at] = moved;
    return true;
  }

  #grow(): void {
    const length = this.#times.length * 2;
    const wider = <T extends Float64Array | Int32Array>(old: T, made: T): T => {
      made.set(old);
      return made;
    };
    this.#times = wider(this.#times, new Float64Array(length));
    this.#orders = wider(this.#orders, new Float64Array(length));
    this.#slots = wider(this.#slots, new Int32Array(length));
    this.#kind = wider(this.#kind, new Int32Array(length));
    this.#place = wider(this.#place, new Int32Array(length));
  }
}
