import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { type Drain, drainDeadlineMs, noDrain, stepDrain } from "./drain.ts";
import {
  failureLimit,
  initialKillSwitch,
  type KillSwitchEffect,
  type KillSwitchState,
  stepKillSwitch,
} from "./killSwitch.ts";
import { type QuorumState, stepQuorum, unknownQuorum } from "./quorum.ts";
import { combine, riseDeadlineMs, type Standing, stepRise, unknownStanding, weightOf } from "./rise.ts";

const rise = { rise: 2, fall: 3, slowStartMs: 0 };
/** "+-+" as verdicts, one a second; the standings as letters after each. */
function standings(verdicts: string, c = rise): string {
  let s: Standing = unknownStanding;
  return [...verdicts]
    .map((v, i) => {
      s = stepRise(c, s, v === "+", i * 1000);
      return s.kind === "up" ? "U" : "D";
    })
    .join("");
}

test("the first verdict decides; later ones need so many in a row", () => {
  assert.equal(standings("+"), "U");
  assert.equal(standings("-"), "D");
  assert.equal(standings("+--+---"), "UUUUUUD");
  assert.equal(standings("-+-++"), "DDDDU");
});

test("rise and fall, against the obvious way to count", () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[+-]{1,40}$/),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 5 }),
      (v, r, f) => {
        let up = v[0] === "+";
        const slow = [...v].map((_, i) => {
          const need = up ? f : r;
          const tail = v.slice(Math.max(0, i + 1 - need), i + 1);
          if (i > 0 && tail.length === need && tail === (up ? "-" : "+").repeat(need)) up = !up;
          return up ? "U" : "D";
        });
        assert.equal(standings(v, { rise: r, fall: f, slowStartMs: 0 }), slow.join(""));
      },
    ),
  );
});

test("a slow start grows from little to the whole in time, and never after the first verdict", () => {
  const c = { rise: 1, fall: 1, slowStartMs: 10_000 };
  const first = stepRise(c, unknownStanding, true, 0);
  assert.equal(weightOf(c, first, 100, 0), 100);
  const back = stepRise(c, stepRise(c, first, false, 1), true, 1000);
  const weights: number[] = [];
  for (let now = 1000; now !== Number.POSITIVE_INFINITY; now = riseDeadlineMs(c, back, now))
    weights.push(weightOf(c, back, 100, now));
  assert.deepEqual(weights, [9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 100]);
  assert.equal(weightOf(c, back, 1, 1000), 1, "never 0 while it is up");
  assert.equal(weightOf(c, back, 0, 99_000), 0);
  assert.equal(weightOf(c, stepRise(c, back, false, 2000), 100, 99_000), 0);
});

test("several checks: all must be up", () => {
  const [u, d] = [stepRise(rise, unknownStanding, true, 0), stepRise(rise, unknownStanding, false, 0)];
  assert.equal(combine([]), "up");
  assert.equal(combine([u, u]), "up");
  assert.equal(combine([u, unknownStanding]), "unknown");
  assert.equal(combine([u, unknownStanding, d]), "down");
});

const kill = { sharePercent: 50, withinMs: 5000 };
class Switch {
  state: KillSwitchState = initialKillSwitch;
  effects: readonly KillSwitchEffect[] = [];
  readonly total: number;
  constructor(total: number) {
    this.total = total;
  }
  give(nowMs: number, kind: "down" | "up" | "gone", ...servers: string[]): this {
    for (const server of servers) {
      const step = stepKillSwitch(kill, this.state, { kind, server, total: this.total }, nowMs);
      this.state = step.state;
      this.effects = step.effects;
    }
    return this;
  }
  get out(): string {
    return [...this.state.out].join("");
  }
  get held(): string {
    return [...this.state.held].join("");
  }
}

test("a checker that breaks takes out no more than the share; the rest stay, and the alarm names them", () => {
  const one = new Switch(4).give(0, "down", "a", "b", "c", "d");
  assert.deepEqual([one.out, one.held], ["ab", "cd"]);
  assert.deepEqual(one.effects[0]?.kind === "alarm" && one.effects[0].held, ["c", "d"]);
  one.give(60_000, "down", "c");
  assert.equal(one.held, "cd", "time alone lets nobody go");
});

test("servers that fail one by one, slowly, are no broken checker", () => {
  const one = new Switch(4)
    .give(0, "down", "a")
    .give(5000, "down", "b")
    .give(10_000, "down", "c")
    .give(15_000, "down", "d");
  assert.deepEqual([one.out, one.held], ["abcd", ""]);
});

test("when most are back, those that still fail are believed", () => {
  const one = new Switch(4).give(0, "down", "a", "b", "c", "d").give(1000, "up", "a");
  assert.deepEqual([one.out, one.held], ["b", "cd"]);
  one.give(2000, "up", "b");
  assert.deepEqual([one.out, one.held, one.effects[0]?.kind], ["cd", "", "alarmOver"]);
});

test("while the alarm lasts nobody else goes, however late; those believed at its end count as just gone", () => {
  const one = new Switch(4).give(0, "down", "a", "b", "c").give(60_000, "down", "d");
  assert.deepEqual([one.out, one.held], ["ab", "cd"]);
  const two = new Switch(10).give(0, "down", ..."abcdefgh").give(100, "up", ..."abc");
  assert.deepEqual([two.out, two.held], ["defgh", ""]);
  two.give(200, "down", ..."ija");
  assert.deepEqual([two.out, two.held], ["defgh", "ija"]);
});

test("a person's word lets the held ones go; a single server may always go", () => {
  const held = new Switch(4).give(0, "down", "a", "b", "c").state;
  const step = stepKillSwitch(kill, held, { kind: "release" }, 1);
  assert.deepEqual([...step.state.out].join(""), "abc");
  assert.equal(new Switch(1).give(0, "down", "a").out, "a");
  assert.deepEqual(
    [1, 2, 3, 4, 5, 10].map((n) => failureLimit(kill, n)),
    [1, 1, 1, 2, 2, 5],
  );
});

test("whatever happens, no more than the share go within the time, and nobody is out and held", () => {
  const events = fc.array(fc.tuple(fc.constantFrom("down" as const, "up" as const), fc.nat(9), fc.nat(3000)), {
    maxLength: 80,
  });
  fc.assert(
    fc.property(events, (list) => {
      const one = new Switch(10);
      const wentAtMs = new Map<string, number>();
      let now = 0;
      for (const [kind, n, pass] of list) {
        now += pass;
        const before = one.state.out;
        one.give(now, kind, String(n));
        for (const server of one.state.out) if (!before.has(server)) wentAtMs.set(server, now);
        const late = [...one.state.out].filter((server) => now - (wentAtMs.get(server) ?? 0) < kill.withinMs);
        assert.ok(late.length <= 5, `${late.length} went within the time`);
        assert.ok(![...one.state.out].some((server) => one.state.held.has(server)));
      }
    }),
  );
});

test("a quorum is lost and won with a margin, and never by zero servers", () => {
  const c = { minimum: 3, hysteresis: 1 };
  let s: QuorumState = unknownQuorum;
  const walk = (...counts: number[]): string[] =>
    counts.map((n, i) => {
      s = stepQuorum(c, s, n, 5, i);
      return s.kind;
    });
  assert.deepEqual(walk(3, 2, 1, 2, 3, 4, 3), ["held", "held", "lost", "lost", "lost", "held", "held"]);
  s = unknownQuorum;
  assert.deepEqual(walk(2), ["lost"]);
  const wide = { minimum: 1, hysteresis: 5 };
  assert.equal(stepQuorum(wide, { kind: "held", sinceMs: 0 }, 0, 3, 1).kind, "lost");
  assert.equal(stepQuorum(wide, { kind: "lost", sinceMs: 0 }, 3, 3, 1).kind, "held", "all of them are enough");
});

test("a drain ends when the connections do, or with its time", () => {
  const begin = stepDrain(noDrain, { kind: "drain", timeoutMs: 1000, reason: "asked" }, 0);
  assert.equal(drainDeadlineMs(begin), 1000);
  const kind = (d: Drain): string => (d.kind === "drained" ? d.why : d.kind);
  assert.equal(kind(stepDrain(begin, { kind: "connections", count: 1 }, 10)), "draining");
  assert.equal(kind(stepDrain(begin, { kind: "connections", count: 0 }, 10)), "empty");
  assert.equal(kind(stepDrain(begin, { kind: "tick" }, 999)), "draining");
  assert.equal(kind(stepDrain(begin, { kind: "tick" }, 1000)), "time");
  assert.equal(kind(stepDrain(begin, { kind: "drain", timeoutMs: 9, reason: "again" }, 500)), "draining");
  assert.equal(drainDeadlineMs(stepDrain(begin, { kind: "drain", timeoutMs: 9, reason: "again" }, 500)), 509);
  assert.equal(kind(stepDrain(begin, { kind: "undrain" }, 10)), "none");
});
