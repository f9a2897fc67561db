/** A host's own monotonic clock, which may run too fast or too slow. */
export class HostClock {
  #driftPpm = 0;
  /** Where it stood when its drift was last set. */
  #us = 0;
  #atUs = 0;

  us(nowUs: number): number {
    const passedUs = nowUs - this.#atUs;
    return this.#us + passedUs + (passedUs * this.#driftPpm) / 1_000_000;
  }

  /** True time that passes while the clock goes on by so much. */
  trueUs(us: number): number {
    return this.#driftPpm === 0 ? us : Math.max(0, Math.round((us * 1_000_000) / (1_000_000 + this.#driftPpm)));
  }

  /** True time when it shows, or showed since its drift was set, `us`. */
  trueAt(us: number): number {
    return this.#atUs + ((us - this.#us) * 1_000_000) / (1_000_000 + this.#driftPpm);
  }

  /** It runs so much faster from now on, in millionths. */
  drift(ppm: number, nowUs: number): void {
    this.#us = this.us(nowUs);
    this.#atUs = nowUs;
    this.#driftPpm = ppm;
  }
}
