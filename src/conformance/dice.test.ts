import assert from "node:assert/strict";
import { test } from "node:test";
import { Dice } from "./dice.ts";
import { drawHost, drawQuestions, drawTopology } from "./generate.ts";

const abilities = { dummy: true, ipip: true, macvlan: true, nft: true };

test("the same seeds give the same host and questions, others give others", () => {
  const draw = (seed: number, group: number) => {
    const topology = drawTopology(new Dice(seed, group), abilities);
    const dice = new Dice(seed, group, 1);
    const plan = drawHost(dice, topology);
    return JSON.stringify([topology, plan, drawQuestions(dice, topology, plan, 100)]);
  };
  assert.equal(draw(1, 2), draw(1, 2));
  assert.notEqual(draw(1, 2), draw(1, 3));
  assert.notEqual(draw(1, 2), draw(2, 2));
});

test("throws are even: each of ten values comes up about as often", () => {
  const dice = new Dice(42);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 100_000; i++) {
    const face = dice.below(10);
    counts[face] = (counts[face] ?? 0) + 1;
  }
  for (const count of counts) assert.ok(Math.abs(count - 10_000) < 500, counts.join(" "));
});

test("every value of every range is drawn, and every kind of question", () => {
  const values = new Map<string, Set<number>>();
  const asked = new Set<string>();
  for (let group = 0; group < 400; group++) {
    const topology = drawTopology(new Dice(7, group), abilities);
    const dice = new Dice(7, group, 1);
    const plan = drawHost(dice, topology);
    for (const p of plan.parts)
      if (p.part === "sysctl") {
        const name = p.key.slice(p.key.lastIndexOf(".") + 1);
        values.set(name, (values.get(name) ?? new Set()).add(p.value));
      }
    for (const q of drawQuestions(dice, topology, plan, 50))
      asked.add(q.ask === "announce" || q.ask === "flap" ? q.ask : `${q.ask} ${q.frame}`);
  }
  assert.deepEqual([...(values.get("arp_ignore") ?? [])].sort(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(
    [...(values.get("medium_id") ?? [])].sort((a, b) => a - b),
    [-1, 1, 2],
  );
  for (const kind of [
    "announce",
    "flap",
    "arp broadcast",
    "arp multicast",
    "arp unicast",
    "arp other",
    "arp macvlan",
    "ip unicast",
    "ip broadcast",
    "ip other",
    "ip macvlan",
  ])
    assert.ok(asked.has(kind), kind);
});
