import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { ARP_REPLY, ARP_REQUEST, type Arp } from "../wire/arp.ts";
import {
  type AnnouncerConfig,
  type AnnouncerEffect,
  type AnnouncerEvent,
  announcerDeadlineMs,
  conflictAgainMs,
  conflictCount,
  conflictOverMs,
  defendIntervalMs,
  initialAnnouncer,
  stepAnnouncer,
} from "./announcer.ts";

const [mine, other, routerMac] = [mac("02:00:00:00:00:05"), mac("02:00:00:00:00:11"), mac("02:00:00:00:00:01")];
const [vip, router, client] = [ipv4("10.0.0.100"), ipv4("10.0.0.1"), ipv4("10.0.0.7")];
const config: AnnouncerConfig = {
  mac: mine,
  count: 3,
  intervalMs: 100,
  refreshMs: 0,
  form: "both",
  framesAtOnce: 64,
  neighbours: [],
  verifyWithinMs: 500,
  verifyAttempts: 2,
};

class Driven {
  readonly config: AnnouncerConfig;
  state = initialAnnouncer;
  log: { atMs: number; effect: AnnouncerEffect }[] = [];
  constructor(change: Partial<AnnouncerConfig> = {}) {
    this.config = { ...config, ...change };
  }
  at(nowMs: number, event: AnnouncerEvent): this {
    const step = stepAnnouncer(this.config, this.state, event, nowMs);
    this.state = step.state;
    for (const effect of step.effects) this.log.push({ atMs: nowMs, effect });
    return this;
  }
  /** Ticks at every deadline up to `untilMs`. */
  run(untilMs: number): this {
    for (let due = announcerDeadlineMs(this.state); due <= untilMs; due = announcerDeadlineMs(this.state))
      this.at(due, { kind: "tick" });
    return this;
  }
  times(kind: AnnouncerEffect["kind"]): number[] {
    return this.log.filter((l) => l.effect.kind === kind).map((l) => l.atMs);
  }
}
const announce = (vips: readonly Ipv4[] = [vip]): AnnouncerEvent => ({ kind: "announce", vips });
const heard = (change: Partial<Arp>): AnnouncerEvent => ({
  kind: "arp",
  arp: { operation: ARP_REPLY, senderMac: other, senderIp: vip, targetMac: mine, targetIp: client, ...change },
});

test("both forms, the first at once, so many rounds, so far apart", () => {
  const one = new Driven().at(10, announce()).run(10_000);
  assert.deepEqual(one.times("sendGarp"), [10, 10, 110, 110, 210, 210]);
  const forms = one.log.map((l) => (l.effect.kind === "sendGarp" ? l.effect.form : ""));
  assert.deepEqual(forms, ["request", "reply", "request", "reply", "request", "reply"]);
  assert.deepEqual(new Driven({ form: "reply", count: 1 }).at(0, announce()).run(999).times("sendGarp"), [0]);
});

test("it is refreshed while held, and ends with the VIP", () => {
  const one = new Driven({ refreshMs: 1000, form: "request", count: 1 }).at(0, announce()).run(3500);
  assert.deepEqual(one.times("sendGarp"), [0, 1000, 2000, 3000]);
  one.at(3500, { kind: "withdraw", vips: [vip] }).run(20_000);
  assert.equal(one.times("sendGarp").length, 4);
  assert.equal(announcerDeadlineMs(one.state), Number.POSITIVE_INFINITY);
});

test("a VIP that is withdrawn in the middle of the rounds is not announced again", () => {
  const one = new Driven()
    .at(0, announce([vip, client]))
    .at(50, { kind: "withdraw", vips: [vip] })
    .run(1000);
  const later = one.log.filter((l) => l.atMs > 50 && l.effect.kind === "sendGarp" && l.effect.vip === vip);
  assert.equal(later.length, 0);
  assert.equal(one.log.filter((l) => l.effect.kind === "sendGarp" && l.effect.vip === client).length, 6);
});

test("4,096 VIPs are no burst, and each is announced as often as one", () => {
  const vips = Array.from({ length: 4096 }, (_, i) => ipv4FromNumber(0x0a010000 + i));
  const one = new Driven().at(0, announce(vips)).run(10_000);
  const perMs = new Map<number, number>();
  for (const atMs of one.times("sendGarp")) perMs.set(atMs, (perMs.get(atMs) ?? 0) + 1);
  assert.ok(Math.max(...perMs.values()) <= 64);
  assert.equal(one.times("sendGarp").length, 4096 * 2 * 3);
  const asked = new Driven({ neighbours: [router], verifyAttempts: 1 })
    .at(0, announce(vips))
    .at(0, { kind: "verify", vips });
  asked.run(10_000);
  const questions = new Map<number, number>();
  for (const atMs of asked.times("askNeighbour")) questions.set(atMs, (questions.get(atMs) ?? 0) + 1);
  assert.ok(Math.max(...questions.values()) <= 64);
  assert.equal(asked.times("askNeighbour").length, 4096);
  assert.equal(asked.times("unverified").length, 4096);
});

test("a neighbour's answer to our MAC, or traffic, confirms; silence is announced again and then said", () => {
  const asked = { neighbours: [router], verifyWithinMs: 500 };
  const verify: AnnouncerEvent = { kind: "verify", vips: [vip] };
  const answer = heard({ senderMac: routerMac, senderIp: router, targetIp: vip });
  const one = new Driven(asked).at(0, announce()).at(0, verify).at(3, answer).run(5000);
  assert.deepEqual(one.times("verified"), [3]);
  assert.deepEqual(one.times("unverified"), []);
  const elsewhere = heard({ senderMac: routerMac, senderIp: router, targetIp: vip, targetMac: other });
  const two = new Driven(asked).at(0, announce()).at(0, verify).at(3, elsewhere).run(5000);
  assert.deepEqual(two.times("unverified"), [1000]);
  assert.deepEqual(two.times("askNeighbour"), [0, 500]);
  assert.deepEqual(
    two.times("sendGarp").filter((t) => t >= 500),
    [500, 500],
    "announced again with the second question",
  );
  const three = new Driven(asked).at(0, announce()).at(0, verify).at(40, { kind: "traffic", vip });
  assert.deepEqual(three.times("verified"), [40]);
});

test("where nobody is named to be asked, traffic confirms and its absence says nothing", () => {
  const nobody = { neighbours: [], verifyWithinMs: 500 };
  const verify: AnnouncerEvent = { kind: "verify", vips: [vip] };
  const one = new Driven(nobody).at(0, announce()).at(0, verify).at(40, { kind: "traffic", vip }).run(60_000);
  assert.deepEqual(one.times("verified"), [40]);
  const two = new Driven(nobody).at(0, announce()).at(0, verify).run(60_000);
  assert.deepEqual([...two.times("verified"), ...two.times("unverified"), ...two.times("askNeighbour")], []);
  assert.equal(two.state.pending.size, 0);
});

test("who claims a VIP that we hold is named at once, once, and the claim is answered", () => {
  const one = new Driven().at(0, announce()).run(1000);
  const before = one.log.length;
  one.at(2000, heard({}));
  const [first] = one.log.slice(before);
  assert.ok(first?.effect.kind === "conflict");
  assert.deepEqual([first.effect.mac, first.effect.how, first.effect.vip], [other, "reply", vip]);
  assert.equal(one.times("sendGarp").filter((t) => t === 2000).length, 2);
  for (let i = 1; i <= 100; i++) one.at(2000 + i, heard({}));
  assert.equal(one.times("conflict").length, 1);
  assert.equal(one.times("sendGarp").filter((t) => t > 2000).length, 0, "the defence is limited in rate");
  one.at(2000 + defendIntervalMs, heard({})).at(2001 + defendIntervalMs, heard({}));
  assert.equal(one.times("sendGarp").filter((t) => t > 2000).length, 2);
  one.at(2000 + conflictAgainMs, heard({}));
  assert.equal(one.times("conflict").length, 2);
});

test("claims that VRRP hears are answered at once, and then ever less often, the last one too", () => {
  const one = new Driven({ count: 1, form: "reply" }).at(0, announce()).run(1000);
  const times = (): number[] => one.times("sendGarp").filter((t) => t >= 2000);
  for (let now = 2000; now <= 42_000; now += 10) one.run(now).at(now, { kind: "defend", vips: [vip] });
  const waits = times().map((t, i) => t - (times()[i - 1] ?? t));
  assert.deepEqual(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, defendIntervalMs, defendIntervalMs]);
  one.run(200_000);
  assert.equal(times().at(-1), (times().at(-2) ?? 0) + defendIntervalMs, "what was claimed meanwhile is answered once");
  assert.equal(announcerDeadlineMs(one.state), Number.POSITIVE_INFINITY);
  one.at(200_000, { kind: "defend", vips: [vip] });
  assert.equal(times().at(-1), 200_000, "and after some quiet at once again");
  one.at(200_010, { kind: "defend", vips: [vip] }).at(200_020, { kind: "withdraw", vips: [vip] });
  one.at(200_030, { kind: "defend", vips: [vip] }).run(400_000);
  assert.equal(times().at(-1), 200_000, "what is not held is nobody's to defend");
});

test("each way to claim has its word; what is no claim is none", () => {
  const rows = [
    [{ operation: ARP_REQUEST, targetIp: vip }, "announcement"],
    [{ operation: ARP_REPLY, targetIp: vip }, "announcement"],
    [{ operation: ARP_REQUEST }, "sender"],
    [{ senderMac: mine }, undefined],
    [{ senderIp: client, targetIp: vip, operation: ARP_REQUEST }, undefined],
    [{ senderIp: ipv4("0.0.0.0"), targetIp: vip, operation: ARP_REQUEST }, undefined], // a probe claims nothing yet
  ] as const;
  for (const [change, how] of rows) {
    const one = new Driven().at(0, announce()).run(999).at(1000, heard(change));
    const found = one.log.find((l) => l.effect.kind === "conflict")?.effect;
    assert.equal(found?.kind === "conflict" ? found.how : undefined, how, JSON.stringify(change));
  }
  const gone = new Driven()
    .at(0, announce())
    .at(1, { kind: "withdraw", vips: [vip] })
    .at(2, heard({}));
  assert.equal(gone.times("conflict").length, 0, "what is not held is another's to hold");
});

test("a flood of claims from ever new MACs is bounded", () => {
  const one = new Driven().at(0, announce()).run(999);
  for (let i = 0; i < 5000; i++)
    one.at(
      1000,
      heard({
        senderMac: mac(
          `02:00:00:01:${(i >> 8).toString(16).padStart(2, "0")}:${(i & 255).toString(16).padStart(2, "0")}`,
        ),
      }),
    );
  assert.ok(one.state.conflicts.size <= 256);
  assert.ok(one.times("sendGarp").length < 2000);
});

test("a claim that is not repeated is over after some minutes, and makes room for others", () => {
  const one = new Driven().at(0, announce()).at(1000, heard({}));
  const lastMs = 1000 + conflictOverMs - 1;
  assert.equal(conflictCount(one.state, lastMs), 1);
  assert.equal(conflictCount(one.state, lastMs + 1), 0);
  one.at(lastMs, heard({}));
  assert.equal(conflictCount(one.state, lastMs + 1), 1, "repeated");
  for (let i = 0; i < 300; i++)
    one.at(
      lastMs,
      heard({
        senderMac: mac(
          `02:00:00:01:${(i >> 8).toString(16).padStart(2, "0")}:${(i & 255).toString(16).padStart(2, "0")}`,
        ),
      }),
    );
  const told = one.times("conflict").length;
  one.at(lastMs + conflictOverMs, heard({ senderMac: mac("02:00:00:02:00:00") }));
  assert.equal(one.times("conflict").length, told + 1, "after a flood of forged ones too");
});
