import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { VRRP_GROUP } from "../wire/vrrp.ts";
import { initialVrrp, stepVrrp, vrrpDeadlineMs } from "./vrrp.ts";
import { dropReasons } from "./vrrpReceive.ts";
import { downMs, priorityOf, skewMs } from "./vrrpTimers.ts";
import {
  type HeardAdvert,
  peerLimit,
  type VrrpConfig,
  type VrrpEffect,
  type VrrpEvent,
  type VrrpState,
} from "./vrrpTypes.ts";

const [me, lower, higher, vip] = [ipv4("10.0.0.5"), ipv4("10.0.0.2"), ipv4("10.0.0.9"), ipv4("10.0.0.100")];
const config = (change: Partial<VrrpConfig> = {}): VrrpConfig => ({
  name: "main",
  version: 3,
  vrid: 51,
  priority: 100,
  intervalMs: 1000,
  address: me,
  vips: [vip],
  preempt: true,
  preemptDelayMs: 0,
  downAdverts: 3,
  accept: true,
  checksum: "message",
  ...change,
});
const advert = (change: Partial<HeardAdvert> = {}): HeardAdvert => ({
  version: 3,
  vrid: 51,
  priority: 150,
  intervalMs: 1000,
  addresses: [vip],
  source: higher,
  ttl: 255,
  checksum: "message",
  ...change,
});

/** Drives one machine and keeps what it asked for. */
class Driven {
  config: VrrpConfig;
  state: VrrpState = initialVrrp({ linkUp: true });
  nowMs = 0;
  /** Effects of the last step. */
  last: readonly VrrpEffect[] = [];
  constructor(change: Partial<VrrpConfig> = {}) {
    this.config = config(change);
  }
  give(event: VrrpEvent): this {
    const step = stepVrrp(this.config, this.state, event, this.nowMs);
    this.state = step.state;
    this.last = step.effects;
    if (event.kind === "reload") this.config = event.config;
    return this;
  }
  hear(change: Partial<HeardAdvert> = {}): this {
    return this.give({ kind: "advert", advert: advert({ version: this.config.version, ...change }) });
  }
  at(nowMs: number): this {
    this.nowMs = nowMs;
    return this;
  }
  tickAt(nowMs: number): this {
    return this.at(nowMs).give({ kind: "tick" });
  }
  start(): this {
    return this.give({ kind: "start" });
  }
  /** Ticks at the deadline until master. */
  master(): this {
    this.start();
    if (this.phase !== "master") this.tickAt(vrrpDeadlineMs(this.state));
    assert.equal(this.phase, "master");
    return this;
  }
  get phase(): string {
    return this.state.phase.kind;
  }
  get kinds(): string[] {
    return this.last.map((e) => (e.kind === "sendAdvert" ? `advert ${e.advert.priority}` : e.kind));
  }
  get deadlineMs(): number {
    return vrrpDeadlineMs(this.state);
  }
}
const takeOver = ["transition", "advert 100", "addVips", "announce", "verifyAnnouncement"];

test("6.1: skew and down interval, version 3 by the master's interval, version 2 by the second", () => {
  assert.equal(skewMs(3, 100, 1000), 609.375);
  assert.equal(skewMs(3, 254, 10), 0.078125);
  assert.equal(skewMs(2, 100, 5000), 609.375);
  assert.equal(downMs(config(), 100, 1000), 3609.375);
  assert.equal(downMs(config({ version: 2, intervalMs: 5000 }), 100, 5000), 15_609.375);
  assert.equal(downMs(config({ downAdverts: 5 }), 255, 100), 500.390625);
});

test("6.4.1 (110): the owner is master at once: advert, then VIPs, then the announcement", () => {
  const owner = new Driven({ priority: 255 }).start();
  assert.equal(owner.phase, "master");
  assert.deepEqual(owner.kinds, ["transition", "advert 255", "addVips", "announce", "verifyAnnouncement"]);
  assert.equal(owner.deadlineMs, 1000);
});

test("6.4.1 (150): everybody else waits the down interval of his own", () => {
  const one = new Driven().start();
  assert.equal(one.phase, "backup");
  assert.deepEqual(one.kinds, ["transition"]);
  assert.equal(one.deadlineMs, 3609.375);
  one.tickAt(3609);
  assert.equal(one.phase, "backup", "an early tick is harmless");
  assert.deepEqual(one.last, []);
});

test("6.4.2 (345): silence for the down interval makes a master, and the VIPs stand before they are announced", () => {
  const one = new Driven().start().tickAt(3609.375);
  assert.deepEqual(one.kinds, takeOver);
  assert.equal(one.deadlineMs, 4609.375);
  const sent = one.last.find((e) => e.kind === "sendAdvert");
  assert.deepEqual(sent?.kind === "sendAdvert" && sent.to, [VRRP_GROUP]);
});

test("6.4.2 (315): a backup that shuts down says nothing", () => {
  const one = new Driven().start().give({ kind: "shutdown" });
  assert.deepEqual(one.kinds, ["transition"]);
  assert.equal(one.deadlineMs, Number.POSITIVE_INFINITY);
});

test("6.4.2 (420): priority 0 shortens the wait to the skew, by the interval learned", () => {
  const one = new Driven().start().hear({ intervalMs: 200 }).at(50).hear({ priority: 0, intervalMs: 200 });
  assert.equal(one.deadlineMs, 50 + (156 * 200) / 256);
  const two = new Driven({ version: 2 }).start().hear().at(50).hear({ priority: 0 });
  assert.equal(two.deadlineMs, 50 + 609.375);
});

test("6.4.2 (430): an equal or higher advert resets the timer and its interval is learned", () => {
  for (const priority of [100, 101, 255]) {
    const one = new Driven().start().at(500).hear({ priority, intervalMs: 200 });
    assert.equal(one.deadlineMs, 500 + 600 + (156 * 200) / 256, String(priority));
    assert.ok(one.last.some((e) => e.kind === "note" && e.code === "interval-adopted"));
  }
});

test("6.4.2 (450): with preempt a lower advert is discarded and the timer runs on; without it resets", () => {
  assert.equal(new Driven().start().at(500).hear({ priority: 99, source: lower }).deadlineMs, 3609.375);
  const not = new Driven({ preempt: false }).start().at(500).hear({ priority: 99, source: lower });
  assert.equal(not.deadlineMs, 4109.375);
});

test("preempt delay: a living lower master is left alone so long, counted from when it was first heard", () => {
  const one = new Driven({ preemptDelayMs: 5000 }).start();
  for (let nowMs = 500; nowMs <= 5000; nowMs += 500) one.at(nowMs).hear({ priority: 99 });
  assert.equal(one.deadlineMs, 5000 + 3609.375);
  one.at(5500).hear({ priority: 99 });
  assert.equal(one.deadlineMs, 5000 + 3609.375, "after the delay its adverts no longer hold us");
  const died = new Driven({ preemptDelayMs: 60_000 }).start().hear({ priority: 99 });
  assert.deepEqual(died.tickAt(3609.375).kinds, takeOver, "a master that falls silent is not waited for");
  const better = new Driven({ preemptDelayMs: 5000 }).start().hear({ priority: 99 }).at(2000).hear({ priority: 120 });
  better.at(6000).hear({ priority: 99 });
  assert.equal(better.deadlineMs, 6000 + 3609.375, "a higher master in between starts the delay anew");
});

test("6.4.3 (610): a master that shuts down sends priority 0, then takes the VIPs away", () => {
  const one = new Driven().master().give({ kind: "shutdown" });
  assert.deepEqual(one.kinds, ["advert 0", "removeVips", "transition"]);
});

test("6.4.3 (650): an advert each interval, on the beat", () => {
  const one = new Driven().master();
  const first = one.deadlineMs;
  one.tickAt(first + 40);
  assert.deepEqual(one.kinds, ["advert 100"]);
  assert.equal(one.deadlineMs, first + 1000, "a late tick does not make the next one late");
});

test("6.4.3 (710): a master answers priority 0 with an advert and a new interval", () => {
  const one = new Driven().master().at(4000).hear({ priority: 0, source: lower });
  assert.deepEqual(one.kinds, ["note", "advert 100"]);
  assert.equal(one.deadlineMs, 5000);
});

test("6.4.3 (705): a higher priority, or the same from a higher address, sends a master back", () => {
  for (const change of [{ priority: 101, source: lower }, { priority: 100 }]) {
    const one = new Driven()
      .master()
      .at(4000)
      .hear({ ...change, intervalMs: 500 });
    assert.equal(one.phase, "backup");
    const last = `advert ${Math.min(100, change.priority - 1)}`;
    assert.deepEqual(
      one.kinds.slice(-3),
      ["removeVips", "transition", last],
      "and the winner learns that there were two",
    );
    assert.equal(one.deadlineMs, 4000 + 1500 + (156 * 500) / 256, "by the interval it says");
  }
});

test("6.4.3 (740): a lower advert is discarded and answered by one advert at once; the neighbours hear it too", () => {
  for (const change of [{ priority: 99 }, { priority: 100, source: lower }]) {
    const one = new Driven().master();
    const due = one.deadlineMs;
    one.at(4650).hear(change);
    assert.equal(one.phase, "master");
    const answer = ["advert 100", "conflict", "defend"];
    assert.deepEqual(
      one.kinds.filter((k) => k !== "note"),
      answer,
    );
    assert.equal(one.deadlineMs, due, "the timer runs on");
    one.at(4660).hear(change);
    assert.deepEqual(one.kinds, [], "a flood is not answered one by one");
    one.at(4751).hear(change);
    assert.deepEqual(one.kinds, answer);
  }
  const crossed = new Driven().master().hear({ priority: 99 });
  assert.ok(!crossed.kinds.includes("conflict"), "an advert that crossed our first is no conflict");
});

test("7.1: what must be discarded is counted under its reason, and nothing else changes", () => {
  const rows: readonly (readonly [keyof typeof dropReasons, Partial<VrrpConfig>, Partial<HeardAdvert>])[] = [
    ["ttl", {}, { ttl: 254 }],
    ["version", {}, { version: 2 }],
    ["vrid", {}, { vrid: 52 }],
    ["own-echo", {}, { source: me }],
    ["password", { version: 2 }, { password: "guess" }],
    ["password", { version: 2, password: "right" }, {}],
    ["interval", { version: 2 }, { intervalMs: 2000 }],
    ["unknown-peer", { unicastPeers: [lower] }, {}],
  ];
  for (const [reason, change, heard] of rows)
    for (const one of [new Driven(change).start(), new Driven(change).master()]) {
      const before = { phase: one.state.phase, deadline: one.deadlineMs };
      one.at(one.nowMs + 10).hear(heard);
      assert.deepEqual({ phase: one.state.phase, deadline: one.deadlineMs }, before, reason);
      assert.deepEqual(one.state.counts, { [reason]: 1 });
      assert.ok(!one.kinds.some((kind) => kind !== "note" && kind !== "conflict"), reason);
    }
  const idle = new Driven().hear();
  assert.deepEqual(idle.state.counts, { "not-running": 1 });
  const owner = new Driven({ priority: 255 }).start().hear({ priority: 254 });
  assert.deepEqual(owner.state.counts, { owner: 1 });
  const seen = new Set([...rows.map(([reason]) => reason), "not-running", "owner"]);
  assert.deepEqual([...seen].sort(), Object.keys(dropReasons).sort());
  const near = new Driven({ version: 2, password: "right" }).start().at(7).hear({ password: "right" });
  assert.deepEqual(near.state.counts, { taken: 1 });
  const malformed = new Driven().give({ kind: "malformed", code: "vrrp/checksum" });
  assert.deepEqual(malformed.state.counts, { "vrrp/checksum": 1 });
});

test("7.1: unicast peers are taken whatever their TTL, and adverts go to each of them", () => {
  const one = new Driven({ unicastPeers: [lower, higher] }).start().at(10).hear({ ttl: 60 });
  assert.deepEqual(one.state.counts, { taken: 1 });
  one.tickAt(one.deadlineMs);
  const sent = one.last.find((e) => e.kind === "sendAdvert");
  assert.deepEqual(sent?.kind === "sendAdvert" && sent.to, [lower, higher]);
});

test("7.1: an owner answers whoever claims its addresses, and says when it is another owner", () => {
  const one = new Driven({ priority: 255 }).start().at(5000).hear({ priority: 200 });
  assert.deepEqual(one.kinds, ["advert 255", "conflict", "defend"]);
  one.at(6000).hear({ priority: 255 });
  const conflict = one.last.find((e) => e.kind === "conflict");
  assert.equal(conflict?.kind === "conflict" && conflict.what, "second-owner");
  assert.equal(one.phase, "master");
});

test("somebody else who sends from our address is told from an echo", () => {
  assert.deepEqual(new Driven().master().at(3700).hear({ source: me, priority: 100 }).kinds, []);
  assert.deepEqual(new Driven().start().at(3000).hear({ source: me }).kinds, ["conflict"]);
});

test("the checksum form of each peer is reported once, and again when it changes", () => {
  const one = new Driven().start().hear({ checksum: "pseudo-header" });
  assert.deepEqual(one.kinds, ["note"]);
  assert.equal(one.state.peers.get(higher)?.checksum, "pseudo-header");
  assert.deepEqual(one.hear({ checksum: "pseudo-header" }).kinds, []);
  assert.deepEqual(one.hear().kinds, ["note"]);
});

test("a peer that uses the other checksum form gets adverts in both; version 2 has one form", () => {
  const forms = (one: Driven): string[] => one.last.flatMap((e) => (e.kind === "sendAdvert" ? [e.checksum] : []));
  const one = new Driven().start().hear({ checksum: "pseudo-header" });
  assert.deepEqual(forms(one.tickAt(one.deadlineMs)), ["message", "pseudo-header"]);
  assert.deepEqual(forms(one.give({ kind: "shutdown" })), ["message", "pseudo-header"]);
  const same = new Driven({ checksum: "pseudo-header" }).start().hear({ checksum: "pseudo-header" });
  assert.deepEqual(forms(same.tickAt(same.deadlineMs)), ["pseudo-header"]);
  const two = new Driven({ version: 2, checksum: "pseudo-header" }).start().hear();
  assert.equal(forms(two.tickAt(two.deadlineMs)).length, 1);
});

test("5.2.9, erratum 8298: other addresses are counted and told once, and the advert is acted on", () => {
  const one = new Driven()
    .start()
    .at(9)
    .hear({ addresses: [vip, me] });
  assert.ok(one.last.some((e) => e.kind === "note" && e.code === "address-list"));
  assert.equal(one.deadlineMs, 9 + 3609.375);
  assert.ok(!one.hear({ addresses: [vip, me] }).last.some((e) => e.kind === "note" && e.code === "address-list"));
  assert.equal(one.state.counts["address-list"], 2);
});

test("a link that goes down takes the VIPs away without an advert; when it is back we wait as at the start", () => {
  const one = new Driven().master().give({ kind: "linkDown" });
  assert.deepEqual(one.kinds, ["removeVips", "transition"]);
  one.at(9000).give({ kind: "linkUp" });
  assert.equal(one.phase, "backup");
  assert.equal(one.deadlineMs, 9000 + 3609.375);
});

test("a failed track hands over with priority 0; weights lower the priority and are told at once", () => {
  const one = new Driven().master().give({ kind: "trackChanged", priorityDelta: -30 });
  assert.deepEqual(one.kinds, ["advert 70"]);
  one.give({ kind: "trackChanged", priorityDelta: -30, fault: "eth1" });
  assert.deepEqual(one.kinds, ["advert 0", "removeVips", "transition"]);
  one.give({ kind: "trackChanged", priorityDelta: 0 });
  assert.equal(one.phase, "backup");
  assert.equal(priorityOf(config({ priority: 255 }), { priorityDelta: -200 }), 255);
  assert.equal(priorityOf(config(), { priorityDelta: -200 }), 1);
  assert.equal(priorityOf(config(), { priorityDelta: 200 }), 254);
});

test("reload: VIPs that stay are not touched, a master stays one, another id begins anew", () => {
  const more = ipv4("10.0.0.101");
  const one = new Driven().master().give({ kind: "reload", config: config() });
  assert.deepEqual(one.kinds, []);
  one.give({ kind: "reload", config: config({ vips: [vip, more] }) });
  assert.deepEqual(one.kinds, ["advert 100", "addVips", "announce", "verifyAnnouncement"]);
  assert.deepEqual(
    one.last.flatMap((e) => (e.kind === "addVips" ? e.vips : [])),
    [more],
  );
  one.give({ kind: "reload", config: config({ vips: [more], priority: 120, intervalMs: 100 }) });
  assert.deepEqual(one.kinds, ["advert 120", "removeVips"]);
  assert.equal(one.deadlineMs, one.nowMs + 100);
  one.give({ kind: "reload", config: config({ vrid: 52 }) });
  assert.deepEqual(one.kinds, ["advert 0", "removeVips", "transition", "transition"]);
  assert.equal(one.phase, "backup");
});

test("reload as backup: the interval learned from the master stays in version 3, and ours is taken in version 2", () => {
  const one = new Driven().start().hear({ intervalMs: 200 });
  one.give({ kind: "reload", config: config({ intervalMs: 5000, priority: 200 }) });
  assert.equal(one.deadlineMs, 600 + (56 * 200) / 256);
  const two = new Driven({ version: 2 }).start().hear();
  two.give({ kind: "reload", config: config({ version: 2, intervalMs: 5000 }) });
  assert.equal(two.deadlineMs, 3609.375, "not later than it was");
});

test("a master that slept: with preempt it says so and stays; without it the next advert of anybody has the place", () => {
  const one = new Driven().master().tickAt(60_000);
  assert.deepEqual(one.kinds, ["note", "advert 100", "announce", "verifyAnnouncement"]);
  const quiet = new Driven({ preempt: false }).master().tickAt(60_000);
  assert.deepEqual(quiet.kinds, ["note"]);
  assert.equal(quiet.at(60_500).hear({ priority: 1, source: lower }).phase, "backup");
  const alone = new Driven({ preempt: false }).master().tickAt(60_000);
  assert.equal(alone.deadlineMs, 60_000 + 1609.375);
  assert.deepEqual(alone.tickAt(alone.deadlineMs).kinds, ["advert 100"]);
  assert.equal(alone.at(70_000).hear({ priority: 1, source: lower }).phase, "master");
});

test("a backup that slept listens one interval more, once", () => {
  const one = new Driven().start().tickAt(60_000);
  assert.equal(one.phase, "backup");
  assert.equal(one.deadlineMs, 60_000 + 1609.375);
  assert.equal(one.tickAt(90_000).phase, "master", "and not for ever");
});

test("a clock that went back delays nobody by more than the protocol's own wait", () => {
  const master = new Driven().at(1_000_000).master().tickAt(5);
  assert.deepEqual(master.kinds, ["advert 100"]);
  const backup = new Driven().at(1_000_000).start().tickAt(5);
  assert.equal(backup.deadlineMs, 5 + 3609.375);
});

const anyEvent: fc.Arbitrary<VrrpEvent> = fc.oneof(
  fc.constantFrom<VrrpEvent>(
    { kind: "start" },
    { kind: "shutdown" },
    { kind: "tick" },
    { kind: "linkUp" },
    { kind: "linkDown" },
    { kind: "malformed", code: "vrrp/short" },
    { kind: "follow", to: "master", member: "b" },
    { kind: "follow", to: "backup", member: "b" },
    { kind: "groupFault", member: "b" },
    { kind: "groupFault", member: undefined },
    { kind: "reload", config: config({ vips: [vip, me] }) },
    { kind: "reload", config: config({ vrid: 7, priority: 255 }) },
    { kind: "reload", config: config({ intervalMs: 10 }) },
  ),
  fc.record({
    kind: fc.constant("trackChanged" as const),
    priorityDelta: fc.integer({ min: -300, max: 300 }),
    fault: fc.constantFrom(undefined, "eth1"),
  }),
  fc
    .record({
      version: fc.constantFrom(2 as const, 3 as const),
      vrid: fc.constantFrom(51, 7),
      priority: fc.nat(255),
      intervalMs: fc.constantFrom(10, 1000, 40_950),
      source: fc.constantFrom<Ipv4>(me, lower, higher),
      ttl: fc.constantFrom(255, 255, 255, 64),
    })
    .map((change) => ({ kind: "advert" as const, advert: advert(change) })),
);

test("whatever happens: VIPs are held exactly while master, and the machine always has a time to wake", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyEvent, fc.nat(3000)), { maxLength: 60 }), (events) => {
      const one = new Driven();
      const held = new Set<Ipv4>();
      for (const [event, passMs] of events) {
        one.at(one.nowMs + passMs).give(event);
        for (const e of one.last) {
          if (e.kind === "addVips") for (const v of e.vips) held.add(v);
          if (e.kind === "removeVips") for (const v of e.vips) assert.ok(held.delete(v), "only what was added");
          if (e.kind === "announce") for (const v of e.vips) assert.ok(held.has(v), "announced before it stood");
        }
        assert.deepEqual([...held].sort(), one.phase === "master" ? [...one.config.vips].sort() : []);
        if (one.phase !== "initialize") assert.ok(Number.isFinite(one.deadlineMs));
        const early = stepVrrp(one.config, one.state, { kind: "tick" }, one.nowMs);
        if (one.deadlineMs > one.nowMs) assert.equal(early.effects.length, 0, "an early tick does nothing");
      }
    }),
    { numRuns: 400 },
  );
});

test("a flood of senders is acted on and not remembered without end", () => {
  const one = new Driven().start();
  for (let i = 0; i < 200; i++) one.hear({ source: ipv4FromNumber(i + 1) });
  assert.equal(one.state.peers.size, peerLimit);
  assert.equal(one.state.counts.taken, 200);
});
