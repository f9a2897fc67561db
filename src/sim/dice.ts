/**
 * Chance from one seed, in 32-bit integers only, so that every machine draws the same. Nothing here reads a clock.
 */

const mix = (value: number): number => {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
};

/**
 * A draw that depends on its arguments only, not on how many were made before: what happens to copy `place` of frame
 * `serial` stays the same when other copies of it are left out.
 */
export const hash32 = (seed: number, serial: number, place: number): number =>
  mix(mix(mix(seed ^ 0x9e3779b9) ^ (serial | 0)) ^ Math.imul(place + 1, 0x85ebca6b));

/** The same, from 0 to `limit` - 1. All of it is said to be unsigned, as the remainder of doubles is slow to work out. */
export const hashBelow = (limit: number, seed: number, serial: number, place: number): number =>
  (hash32(seed, serial, place) % (limit >>> 0)) >>> 0;

/** A stream of draws: a Weyl sequence, mixed. Period 2^32. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed ^ 0x2545f491);
  }

  /** 0 to 2^32 - 1. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    return mix(this.#state);
  }

  /** 0 to `limit` - 1; `limit` from 1 to 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() * limit) / 0x1_0000_0000);
  }

  /** `from` to `to`, both included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True `perMillion` times in a million. */
  chance(perMillion: number): boolean {
    return this.below(1_000_000) < perMillion;
  }

  /** One of them; throws RangeError where there is none. */
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(Math.max(1, items.length))];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }
}
