/** Random numbers from a seed: the same seed gives the same hosts and questions for ever (splitmix32, sfc32). */
export class Dice {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  /** Any whole numbers: a run's seed, then the places of what is drawn inside it. */
  constructor(...seeds: readonly number[]) {
    let state = 0x9e3779b9;
    const mix = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let t = state ^ (state >>> 16);
      t = Math.imul(t, 0x21f0aaad);
      t ^= t >>> 15;
      t = Math.imul(t, 0x735a2d97);
      return t ^ (t >>> 15);
    };
    for (const seed of seeds) {
      state = (state ^ (seed >>> 0) ^ Math.imul((seed / 0x1_0000_0000) | 0, 0x85ebca6b)) | 0;
      state = mix();
    }
    this.#a = mix();
    this.#b = mix();
    this.#c = mix();
    for (let i = 0; i < 12; i++) this.next();
  }
  /** 0 to 2^32 - 1. */
  next(): number {
    const t = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    return t >>> 0;
  }
  below(count: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * count);
  }
  /** Both ends included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }
  chance(probability: number): boolean {
    return this.next() < probability * 0x1_0000_0000;
  }
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError("nothing to pick from");
    return items[this.below(items.length)] as T;
  }
}
