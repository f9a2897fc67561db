/**
 * What is to happen later than the wheel of EventQueue reaches: numbers by time, and in the order they came in where
 * the time is one. A heap with four children per node on typed arrays.
 */
export class FarQueue {
  /** Keys beside what they lead to, so that comparing does not jump about in memory. */
  #times: Float64Array;
  #orders: Float64Array;
  #slots: Int32Array;
  #size = 0;
  #order = 0;

  constructor(capacity: number) {
    this.#times = new Float64Array(capacity);
    this.#orders = new Float64Array(capacity);
    this.#slots = new Int32Array(capacity);
  }

  /** Time of the first; Infinity: there is none. */
  get nextUs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] as number);
  }

  push(timeUs: number, slot: number): void {
    if (this.#size === this.#times.length) this.#grow();
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
    orders[at] = this.#order++;
    slots[at] = slot;
  }

  /** Takes the first out; there must be one. */
  pop(): number {
    const times = this.#times;
    const orders = this.#orders;
    const slots = this.#slots;
    const taken = slots[0] as number;
    const size = --this.#size;
    if (size === 0) return taken;
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
    return taken;
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
  }
}
