import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4 } from "../base/ipv4.ts";
import { type GroupEffect, type GroupState, groupDeadlineMs, initialGroup, stepGroup } from "./vrrpGroup.ts";
import type { HeardAdvert, VrrpConfig, VrrpEvent } from "./vrrpTypes.ts";

const peer = ipv4("10.0.0.9");
const configOf = (name: string, vrid: number): VrrpConfig => ({
  name,
  version: 3,
  vrid,
  priority: 100,
  intervalMs: 1000,
  address: ipv4("10.0.0.5"),
  vips: [ipv4(`10.0.${vrid}.100`)],
  preempt: true,
  preemptDelayMs: 0,
  downAdverts: 3,
  accept: true,
  checksum: "message",
});
const config = new Map([
  ["inside", configOf("inside", 1)],
  ["outside", configOf("outside", 2)],
]);
const advert = (member: string, priority: number): VrrpEvent => {
  const { vrid, vips } = config.get(member) as VrrpConfig;
  const heard: HeardAdvert = {
    version: 3,
    vrid,
    priority,
    intervalMs: 1000,
    addresses: vips,
    source: peer,
    ttl: 255,
    checksum: "message",
  };
  return { kind: "advert", advert: heard };
};

class Driven {
  state: GroupState = initialGroup(config, { linkUp: true });
  last: readonly GroupEffect[] = [];
  at(nowMs: number, event: VrrpEvent, member?: string): this {
    const step = stepGroup(config, this.state, { member, event }, nowMs);
    this.state = step.state;
    this.last = step.effects;
    return this;
  }
  get phases(): string {
    return [...this.state.values()].map((s) => s.phase.kind).join(" ");
  }
  get handedOver(): string[] {
    return this.last.flatMap((e) =>
      e.effect.kind === "sendAdvert" && e.effect.advert.priority === 0 ? [e.member] : [],
    );
  }
}
const tick = { kind: "tick" } as const;
const master = (): Driven => new Driven().at(0, { kind: "start" }).at(3609.375, tick);

test("all take over together", () => {
  assert.equal(master().phases, "master master");
});

test("one whose time has come waits while another hears a master, and is woken by that one's time", () => {
  const one = new Driven().at(0, { kind: "start" }).at(2000, advert("outside", 200), "outside").at(3609.375, tick);
  assert.equal(one.phases, "backup backup");
  assert.equal(groupDeadlineMs(one.state), 2000 + 3609.375);
  one.at(2000 + 3609.375, tick);
  assert.equal(one.phases, "master master");
});

test("one that waits and then hears a master again is no longer ready", () => {
  const one = new Driven().at(0, { kind: "start" }).at(2000, advert("outside", 200), "outside").at(3609.375, tick);
  one.at(4000, advert("inside", 200), "inside").at(2000 + 3609.375, tick);
  assert.equal(one.phases, "backup backup");
});

test("one that hears a better router takes the others back with it, and they hand over", () => {
  const one = master().at(4000, advert("inside", 200), "inside");
  assert.equal(one.phases, "backup backup");
  assert.deepEqual(one.handedOver, ["outside"]);
});

test("one that cannot run stops the others; they start again when it can", () => {
  const one = master().at(4000, { kind: "linkDown" }, "inside");
  assert.equal(one.phases, "initialize initialize");
  assert.deepEqual(one.handedOver, ["outside"], "on the link that still carries");
  one
    .at(5000, { kind: "trackChanged", priorityDelta: 0, fault: "eth9" }, "outside")
    .at(6000, { kind: "linkUp" }, "inside");
  assert.equal(one.phases, "initialize initialize");
  one.at(7000, { kind: "trackChanged", priorityDelta: 0 }, "outside");
  assert.equal(one.phases, "backup backup");
  one.at(7000 + 3609.375, tick);
  assert.equal(one.phases, "master master");
});

test("shutdown hands over on every link", () => {
  assert.deepEqual(master().at(4000, { kind: "shutdown" }).handedOver, ["inside", "outside"]);
});

const anyEvent: fc.Arbitrary<{ member: string | undefined; event: VrrpEvent }> = fc.oneof(
  fc
    .constantFrom<VrrpEvent["kind"]>("start", "shutdown", "tick")
    .map((kind) => ({ member: undefined, event: { kind } as VrrpEvent })),
  fc.record({
    member: fc.constantFrom("inside", "outside"),
    event: fc.oneof(
      fc.constantFrom<VrrpEvent>({ kind: "linkUp" }, { kind: "linkDown" }),
      fc.constantFrom<VrrpEvent>(
        { kind: "trackChanged", priorityDelta: 0 },
        { kind: "trackChanged", priorityDelta: -50 },
        { kind: "trackChanged", priorityDelta: 0, fault: "eth9" },
      ),
    ),
  }),
  fc
    .tuple(fc.constantFrom("inside", "outside"), fc.constantFrom(0, 50, 99, 101, 200))
    .map(([member, priority]) => ({ member, event: advert(member, priority) })),
);

test("whatever happens, the members are master all together or not at all", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyEvent, fc.nat(4000)), { maxLength: 80 }), (events) => {
      const one = new Driven().at(0, { kind: "start" });
      let now = 0;
      for (const [{ member, event }, pass] of events) {
        now += pass;
        one.at(now, event, member);
        const masters = [...one.state.values()].filter((s) => s.phase.kind === "master").length;
        assert.ok(masters === 0 || masters === 2, one.phases);
        const running = [...one.state.values()].filter((s) => s.phase.kind !== "initialize").length;
        assert.ok(running === 0 || running === 2, one.phases);
        if (running === 2) assert.ok(Number.isFinite(groupDeadlineMs(one.state)), "somebody always has a time to wake");
      }
    }),
    { numRuns: 400 },
  );
});
