import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { ipv4 } from "../../base/ipv4.ts";
import { Schedule } from "./schedule.ts";
import { type CheckedService, shareChecks } from "./sharing.ts";

/** The same numbers each time. */
function dice(): () => number {
  let n = 1;
  return () => {
    n = (n * 48271) % 0x7fffffff;
    return n / 0x7fffffff;
  };
}
/** Starts by the millisecond, woken as a driver is: at the deadline, whole milliseconds. */
function starts(s: Schedule, fromMs: number, untilMs: number, random: () => number): Map<number, string[]> {
  const by = new Map<number, string[]>();
  for (
    let now = Math.max(fromMs, Math.ceil(s.deadlineMs));
    now < untilMs;
    now = Math.max(now + 1, Math.ceil(s.deadlineMs))
  ) {
    const keys = s.take(now, random);
    if (keys.length > 0) by.set(now, keys);
  }
  return by;
}
function busiest(by: ReadonlyMap<number, string[]>, widthMs: number): number {
  const slots = new Map<number, number>();
  for (const [at, keys] of by)
    slots.set(Math.floor(at / widthMs), (slots.get(Math.floor(at / widthMs)) ?? 0) + keys.length);
  return Math.max(...slots.values());
}
const filled = (count: number, intervalMs: number, jitter: number): Schedule => {
  const s = new Schedule();
  for (let i = 0; i < count; i++) s.add(`c${i}`, intervalMs, jitter, 0);
  return s;
};

test("10,000 checks every 2 s: about 50 in each 10 ms, from the first to the last second, each once an interval", () => {
  const by = starts(filled(10_000, 2000, 10), 0, 20_000, dice());
  assert.ok(busiest(by, 10) <= 100, `${busiest(by, 10)}`);
  const counts = new Map<string, number>();
  for (const keys of by.values()) for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  assert.equal(counts.size, 10_000);
  for (const n of counts.values()) assert.ok(n >= 9 && n <= 11);
});

test("without jitter the spread stays what it was", () => {
  const by = starts(filled(1000, 1000, 0), 0, 5000, dice());
  assert.ok(busiest(by, 10) <= 12);
});

test("after a sleep of a minute nothing is caught up at once", () => {
  const s = filled(10_000, 2000, 10);
  const random = dice();
  starts(s, 0, 4000, random);
  const by = starts(s, 64_000, 70_000, random);
  assert.ok(busiest(by, 10) <= 110, `${busiest(by, 10)}`);
});

test("checks that come later fall between those that are there", () => {
  const s = filled(1000, 2000, 0);
  const random = dice();
  starts(s, 0, 3000, random);
  for (let i = 1000; i < 2000; i++) s.add(`c${i}`, 2000, 0, 3000);
  assert.ok(busiest(starts(s, 3000, 9000, random), 10) <= 22);
});

test("as many as are allowed at once, the rest the next time", () => {
  const s = filled(100, 10, 0);
  assert.equal(s.take(10, dice(), 7).length, 7);
  assert.ok(s.deadlineMs <= 10);
  s.soon("c99", 0);
  assert.deepEqual(s.take(10, dice(), 1), ["c99"]);
});

test("against the obvious way: a list that is sorted each time", () => {
  const act = fc.oneof(
    fc.record({ kind: fc.constant("add" as const), n: fc.nat(20), every: fc.integer({ min: 1, max: 50 }) }),
    fc.record({ kind: fc.constant("remove" as const), n: fc.nat(20), every: fc.constant(0) }),
    fc.record({ kind: fc.constant("pass" as const), n: fc.nat(60), every: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
      const s = new Schedule();
      const keys = new Set<string>();
      let now = 0;
      for (const { kind, n, every } of acts) {
        if (kind === "add") {
          s.add(`k${n}`, every, 20, now);
          keys.add(`k${n}`);
        } else if (kind === "remove") {
          s.remove(`k${n}`);
          keys.delete(`k${n}`);
        } else {
          now += n;
          for (const key of s.take(now, () => 0.5)) assert.ok(keys.has(key), "only what is scheduled");
          assert.ok(s.deadlineMs > now, "nothing due is left");
        }
        assert.equal(s.size, keys.size);
        assert.equal(s.deadlineMs === Number.POSITIVE_INFINITY, keys.size === 0);
      }
      // Everything that is scheduled comes round within its interval.
      const seen = new Set<string>();
      for (let i = 0; i < 130; i++) for (const key of s.take(++now, () => 0.5)) seen.add(key);
      assert.deepEqual(seen, keys);
    }),
  );
});

const timing = {
  isServicePort: true,
  intervalMs: 2000,
  timeoutMs: 1000,
  jitterPercent: 10,
  rise: 2,
  fall: 3,
  slowStartMs: 0,
};
const server = (n: number) => ({
  realServer: { name: `web${n}`, rip: ipv4(`10.0.0.${n}`), isDirector: false },
  forwarding: "dr" as const,
  tunnel: { type: "ipip", port: undefined, checksum: "none" } as const,
  port: undefined,
});
const service = (
  name: string,
  checks: readonly ({ type: string; port?: number } & typeof timing)[],
  vips = ["10.0.0.100"],
): CheckedService<(typeof checks)[number]> => ({
  name,
  vips: vips.map((v) => ({ address: ipv4(v) })),
  checks,
  destinations: [server(1), server(2)],
});

test("services that ask the same of the same server share one attempt, each with its own rise and fall", () => {
  const http = { ...timing, type: "http", port: 80 };
  const shared = shareChecks([
    service("a", [http]),
    service("b", [{ ...http, fall: 9 }]),
    service("c", [{ ...http, port: 81 }]),
  ]);
  assert.equal(shared.size, 4);
  const users = [...shared.values()].map((s) => s.users.map((u) => `${u.service}${u.fall}`).join());
  assert.deepEqual(users, ["a3,b9", "a3,b9", "c3", "c3"]);
});

test("the order of a check's keys does not matter; its time limit does", () => {
  const one = { ...timing, type: "tcp", port: 80 };
  const other = { port: 80, type: "tcp", ...timing };
  assert.equal(shareChecks([service("a", [one]), service("b", [other])]).size, 2);
  assert.equal(shareChecks([service("a", [one]), service("b", [{ ...other, timeoutMs: 5 }])]).size, 4);
});

test("a vip-path check is one for each VIP, a plain one is not", () => {
  const vips = ["10.0.0.100", "10.0.0.101"];
  assert.equal(shareChecks([service("a", [{ ...timing, type: "vip-path", port: 80 }], vips)]).size, 4);
  assert.equal(shareChecks([service("a", [{ ...timing, type: "tcp", port: 80 }], vips)]).size, 2);
});
