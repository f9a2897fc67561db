import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import {
  type Finding,
  type GuardConfig,
  type GuardEvent,
  type GuardState,
  type GuardWord,
  guardDeadlineMs,
  guardDefaults,
  guardHolds,
  guardStart,
  stepGuard,
} from "./guard.ts";

const healing: GuardConfig = { ...guardDefaults, heal: true };

/** A host whose things can be wrong, and a clock: plays effects at once. */
class Rig {
  nowMs = 0;
  state: GuardState = guardStart(0);
  words: (GuardWord & { atMs: number })[] = [];
  heals: { atMs: number; keys: readonly string[] }[] = [];
  looks: number[] = [];
  sysctlReads = 0;
  readonly wrong = new Set<string>();
  readonly config: GuardConfig;
  /** What the other program does after each heal. */
  afterHeal: (rig: Rig) => void = () => undefined;
  healWorks = true;
  /** Sysctls that differ send no notification. */
  quietly = false;

  constructor(config: GuardConfig) {
    this.config = config;
  }
  put(event: GuardEvent): void {
    const queue: GuardEvent[] = [event];
    for (let e = queue.shift(); e !== undefined; e = queue.shift()) {
      const { state, effects } = stepGuard(this.config, this.state, e, this.nowMs);
      this.state = state;
      for (const effect of effects)
        if (effect.kind === "say") this.words.push({ ...effect.word, atMs: this.nowMs });
        else if (effect.kind === "look") {
          this.looks.push(this.nowMs);
          const findings = [...this.wrong].map(
            (key): Finding => ({ key, text: key, healable: !key.startsWith("law") }),
          );
          queue.push({ kind: "looked", findings });
        } else if (effect.kind === "heal") {
          this.heals.push({ atMs: this.nowMs, keys: effect.keys });
          if (this.healWorks) for (const key of effect.keys) this.wrong.delete(key);
          queue.push({ kind: "healed", keys: effect.keys, ...(this.healWorks ? {} : { why: "refused" }) });
          this.afterHeal(this);
        } else {
          this.sysctlReads++;
          if (this.quietly && this.wrong.size > 0) queue.push({ kind: "noticed" });
        }
    }
  }
  until(endMs: number): void {
    for (let turns = 0; turns < 200_000; turns++) {
      const at = Math.max(this.nowMs, guardDeadlineMs(this.state));
      if (at > endMs) break;
      this.nowMs = at;
      this.put({ kind: "tick" });
    }
    this.nowMs = endMs;
  }
  events(key: string): string[] {
    return this.words.filter((w) => w.key === key).map((w) => w.event);
  }
}

test("a thing that drifts is said, put right at once, and said to be right again", () => {
  const rig = new Rig(healing);
  rig.until(5000);
  rig.wrong.add("a");
  rig.put({ kind: "noticed" });
  rig.until(5500);
  assert.deepEqual(rig.events("a"), ["drifted", "mended"]);
  assert.equal(rig.wrong.size, 0);
  assert.ok(guardHolds(rig.state));
});

test("without --heal nothing is touched, and it is said once", () => {
  const rig = new Rig({ ...healing, heal: false });
  rig.until(1000);
  rig.wrong.add("a");
  for (let i = 0; i < 20; i++) {
    rig.put({ kind: "noticed" });
    rig.until(rig.nowMs + 500);
  }
  assert.deepEqual([rig.heals, rig.events("a")], [[], ["drifted"]]);
  rig.wrong.clear();
  rig.put({ kind: "noticed" });
  rig.until(rig.nowMs + 500);
  assert.deepEqual(rig.events("a"), ["drifted", "settled"]);
});

test("a sysctl that changes without a word is seen within a second", () => {
  const rig = new Rig({ ...healing, heal: false });
  rig.quietly = true;
  rig.until(10_300);
  rig.wrong.add("a");
  rig.until(20_000);
  assert.ok((rig.words[0]?.atMs ?? Number.POSITIVE_INFINITY) <= 11_300, JSON.stringify(rig.words));
});

for (const [name, delayMs] of [
  ["at once", 0],
  ["every half hour", 1_800_000],
] as const)
  test(`another program that takes it back ${name} wins after five times, and a person is told`, () => {
    const rig = new Rig(healing);
    const breakIt = (): void => {
      rig.wrong.add("a");
      rig.put({ kind: "noticed" });
    };
    if (delayMs === 0) rig.afterHeal = (r) => void r.wrong.add("a");
    breakIt();
    for (let i = 0; i < 20; i++) {
      rig.until(rig.nowMs + Math.max(delayMs, 60_000));
      if (delayMs > 0) breakIt();
    }
    assert.equal(rig.heals.length, 5);
    assert.equal(rig.events("a").filter((e) => e === "given up").length, 1);
    const pauses = rig.heals.slice(1).map((h, i) => h.atMs - (rig.heals[i]?.atMs ?? 0));
    pauses.forEach((p, i) => void assert.ok(p >= 1000 * 2 ** i, `${pauses}`));
  });

test("a thing that drifts once in two hours is put right each time", () => {
  const rig = new Rig(healing);
  for (let i = 0; i < 20; i++) {
    rig.wrong.add("a");
    rig.put({ kind: "noticed" });
    rig.until(rig.nowMs + 7_200_000);
  }
  assert.equal(rig.heals.length, 20);
});

test("what cannot be put right is tried five times at most, and never what has no remedy", () => {
  const rig = new Rig(healing);
  rig.healWorks = false;
  rig.wrong.add("a").add("law 1");
  rig.until(7_200_000);
  assert.equal(rig.heals.length, 5);
  assert.ok(rig.heals.every((h) => !h.keys.includes("law 1")));
  assert.deepEqual(rig.events("law 1"), ["drifted"]);
});

test("a storm of notifications costs four looks a second", () => {
  const rig = new Rig(healing);
  for (let ms = 0; ms < 10_000; ms += 5) {
    rig.until(ms);
    rig.put({ kind: "noticed" });
  }
  assert.ok(rig.looks.length <= 42, `${rig.looks.length}`);
});

test("random quarrels: each thing is put right five times an hour at most, and every drift is seen within a second", () => {
  const happening = fc.record({ afterMs: fc.nat(90_000), key: fc.constantFrom("a", "b", "c"), comes: fc.boolean() });
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 80 }), fc.boolean(), (happenings, healWorks) => {
      const rig = new Rig(healing);
      rig.healWorks = healWorks;
      for (const { afterMs, key, comes } of happenings) {
        rig.until(rig.nowMs + afterMs);
        if (comes) rig.wrong.add(key);
        else rig.wrong.delete(key);
        rig.put({ kind: "noticed" });
        const before = rig.nowMs;
        rig.until(before + 250);
        assert.ok((rig.looks.at(-1) ?? 0) >= before);
      }
      rig.until(rig.nowMs + 3_600_000);
      for (const key of ["a", "b", "c"]) {
        const times = rig.heals.filter((h) => h.keys.includes(key)).map((h) => h.atMs);
        times.forEach((t, i) => void assert.ok((times[i + 5] ?? Number.POSITIVE_INFINITY) - t >= 3_600_000));
      }
    }),
    { numRuns: 60 },
  );
});
