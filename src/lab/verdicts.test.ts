import assert from "node:assert/strict";
import { test } from "node:test";
import type { TrafficStep } from "./report.ts";
import { choiceOf, judgeSpread } from "./spread.ts";
import { type Expectations, judge } from "./verdicts.ts";

type Steps = Parameters<typeof judge>[0];

const traffic: TrafficStep = {
  connections: 4,
  longLived: 2,
  tookMs: 1000,
  openedAtDirector: 4,
  bypassedDirector: 0,
  changedMachine: 0,
  completed: 4,
  refused: 0,
  reset: 0,
  hung: 0,
  longLivedBroken: 0,
  leaks: {},
  answers: { lb1: 3 },
  resets: {},
  services: [{ vip: "10.0.0.100", port: 80, scheduler: "rr", served: { web1: 2, web2: 2 } }],
};
const share = (machine: string) => ({ machine, mac: "02:00:00:00:00:01", answers: 20, first: 20 });
const reach = (realServer: string) => ({
  realServer,
  rip: "10.0.0.11",
  answeredBy: [realServer],
  reached: ["client", "lb1"],
  asked: ["client", "lb1"],
});

/** A chapter in which the problem was seen and the cure worked. */
const poisoned = {
  realServer: "web1",
  neighbour: "router",
  vip: "10.0.0.100",
  whoHas: [share("lb1")],
  before: "lb1",
  after: "web1",
  leaked: 1,
};
const healthy: Steps = {
  problem: {
    whoHas: [{ vip: "10.0.0.100", asked: 20, shares: [share("web1"), share("lb1")] }],
    traffic: { ...traffic, bypassedDirector: 3, longLivedBroken: 1, leaks: { web1: 2 } },
  },
  leak: poisoned,
  cure: { cure: "full", policy: "arp-sysctl", changes: [], tookMs: 1 },
  proof: {
    whoHas: [{ vip: "10.0.0.100", asked: 20, shares: [share("lb1")] }],
    traffic,
    reach: [reach("web1"), reach("web2")],
    counts: [
      { engine: "ipvs", realServer: "web1", counted: 10, seen: 10 },
      { engine: "ipvs", realServer: "web2", counted: 12, seen: 12 },
    ],
    leaks: {},
    lostFrames: 0,
  },
};
const expectations: Expectations = { owner: "lb1", engine: "ipvs", weights: { "10.0.0.100:80": { web1: 1, web2: 1 } } };

const failedOf = (steps: Steps): string[] =>
  judge(steps, expectations)
    .filter((v) => !v.held)
    .map((v) => v.id);
const withProof = (change: Partial<Steps["proof"]>): Steps => ({ ...healthy, proof: { ...healthy.proof, ...change } });
const withTraffic = (change: Partial<TrafficStep>): Steps => withProof({ traffic: { ...traffic, ...change } });
const [ownerStep] = healthy.proof.whoHas;
const [firstReach, secondReach] = healthy.proof.reach;
const [firstCount] = healthy.proof.counts;

test("a healthy chapter holds in every line", () => {
  assert.deepEqual(failedOf(healthy), []);
});

const wrongs: readonly (readonly [what: string, id: string, steps: Steps])[] = [
  [
    "a second owner",
    "proof/one-owner",
    withProof({ whoHas: [{ vip: "v", asked: 20, shares: [share("lb1"), share("web1")] }] }),
  ],
  ["the wrong owner", "proof/one-owner", withProof({ whoHas: [{ vip: "v", asked: 20, shares: [share("lb2")] }] })],
  ["nobody", "proof/one-owner", withProof({ whoHas: [{ vip: "v", asked: 20, shares: [] }] })],
  [
    "an owner that missed a question",
    "proof/one-owner",
    withProof({ whoHas: [{ ...ownerStep, vip: "v", asked: 21, shares: [share("lb1")] }] }),
  ],
  ["one leak", "proof/no-leak", withProof({ leaks: { web2: 1 } })],
  ["a connection opened elsewhere", "proof/through-director", withTraffic({ openedAtDirector: 3 })],
  ["a bypass", "proof/through-director", withTraffic({ bypassedDirector: 1 })],
  ["a change of machine", "proof/through-director", withTraffic({ changedMachine: 1 })],
  ["no traffic at all", "proof/none-broken", withTraffic({ connections: 0, completed: 0, openedAtDirector: 0 })],
  ["one reset", "proof/none-broken", withTraffic({ completed: 3, reset: 1 })],
  ["one hang", "proof/none-broken", withTraffic({ completed: 3, hung: 1 })],
  [
    "an uneven spread",
    "proof/spread",
    withTraffic({ services: [{ vip: "10.0.0.100", port: 80, scheduler: "rr", served: { web1: 3, web2: 1 } }] }),
  ],
  [
    "a real server whose own address is silent",
    "proof/rip-answered",
    withProof({ reach: [{ ...reach("web1"), answeredBy: [] }, secondReach ?? reach("web2")] }),
  ],
  [
    "a real server that lost a neighbour",
    "proof/neighbours",
    withProof({ reach: [firstReach ?? reach("web1"), { ...reach("web2"), reached: ["client"] }] }),
  ],
  [
    "counts that differ by one",
    "proof/counts-agree",
    withProof({
      counts: [firstCount, { engine: "ipvs", realServer: "web2", counted: 12, seen: 11 }].flatMap((c) => c ?? []),
    }),
  ],
  ["a tap that lost a frame", "proof/counts-agree", withProof({ lostFrames: 1 })],
  ["a neighbour that was not poisoned", "leak/poisons", { ...healthy, leak: { ...poisoned, after: "lb1" } }],
  [
    "no problem to begin with",
    "problem/answers",
    { ...healthy, problem: { ...healthy.problem, whoHas: healthy.proof.whoHas } },
  ],
];
for (const [what, id, steps] of wrongs)
  test(`${what} turns ${id} red`, () => {
    assert.ok(failedOf(steps).includes(id), failedOf(steps).join());
  });

test("kernels that are silent by nature have no problem to show, and that is the verdict", () => {
  const expectations = { owner: "lb1", engine: "ipvs", weights: {}, quietByNature: true };
  const { leak: _, ...quiet } = { ...healthy, problem: healthy.proof };
  const ids = (steps: Steps): string[] =>
    judge(steps, expectations)
      .filter((v) => !v.held && v.id.startsWith("problem/"))
      .map((v) => v.id);
  assert.deepEqual(ids(quiet), []);
  assert.deepEqual(ids(healthy), ["problem/by-nature", "problem/none-broken"]);
});

test("each scheduler is held to its own promise", () => {
  const weights = { a: 1, b: 3 };
  assert.equal(judgeSpread("wrr", weights, { a: 10, b: 30 }).held, true);
  assert.equal(judgeSpread("wrr", weights, { a: 20, b: 20 }).held, false);
  assert.equal(judgeSpread("rr", { a: 1, b: 1 }, { a: 10, b: 11 }).held, true);
  assert.equal(judgeSpread("rr", { a: 1, b: 1 }, { a: 10, b: 12 }).held, false);
  assert.equal(judgeSpread("wlc", weights, { a: 1, b: 39 }).held, true);
  assert.equal(judgeSpread("wlc", weights, { b: 40 }).held, false);
  assert.equal(judgeSpread("sh", weights, { b: 40 }).held, true);
  assert.equal(judgeSpread("sh", weights, { b: 40, stranger: 1 }).held, false);
  assert.equal(judgeSpread(choiceOf("nft", "rr"), weights, { a: 12, b: 28 }).held, true);
  assert.equal(judgeSpread(choiceOf("nft", "rr"), weights, { a: 30, b: 10 }).held, false);
});
