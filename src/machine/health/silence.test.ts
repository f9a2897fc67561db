import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4, ipv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { type Mac, mac } from "../../base/mac.ts";
import { ARP_REPLY, ARP_REQUEST, type Arp } from "../../wire/arp.ts";
import {
  guiltyNames,
  initialSilence,
  type SilenceConfig,
  type SilenceEffect,
  silenceDeadlineMs,
  stepSilence,
} from "./silence.ts";

const [mine, web1, stranger] = [mac("02:00:00:00:00:02"), mac("02:00:00:00:00:11"), mac("02:00:00:00:00:77")];
const [vip, dip] = [ipv4("10.0.0.100"), ipv4("10.0.0.2")];
const config: SilenceConfig = {
  vips: [vip],
  intervalMs: 5000,
  owners: new Set([mine]),
  names: new Map([[web1, "web1"]]),
};

class Driven {
  readonly config: SilenceConfig;
  state = initialSilence(0);
  effects: { atMs: number; effect: SilenceEffect }[] = [];
  constructor(change: Partial<SilenceConfig> = {}) {
    this.config = { ...config, ...change };
  }
  step(nowMs: number, event: Parameters<typeof stepSilence>[2]): this {
    const { state, effects } = stepSilence(this.config, this.state, event, nowMs);
    this.state = state;
    for (const effect of effects) this.effects.push({ atMs: nowMs, effect });
    return this;
  }
  run(untilMs: number): this {
    for (
      let due = silenceDeadlineMs(this.config, this.state);
      due <= untilMs;
      due = silenceDeadlineMs(this.config, this.state)
    )
      this.step(due, { kind: "tick" });
    return this;
  }
  hear(nowMs: number, change: Partial<Arp> = {}): this {
    const arp: Arp = {
      operation: ARP_REPLY,
      senderMac: web1,
      senderIp: vip,
      targetMac: mine,
      targetIp: dip,
      ...change,
    };
    return this.step(nowMs, { kind: "arp", arp });
  }
  kinds(kind: SilenceEffect["kind"]): number[] {
    return this.effects.filter((e) => e.effect.kind === kind).map((e) => e.atMs);
  }
}

test("each VIP is asked for once an interval, each at its own time", () => {
  const vips = Array.from({ length: 5 }, (_, i) => ipv4FromNumber(vip + i));
  const one = new Driven({ vips }).run(9999);
  assert.deepEqual(one.kinds("ask"), [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000]);
  const asked = one.effects.map((e) => (e.effect.kind === "ask" ? e.effect.vip : 0) as Ipv4);
  assert.deepEqual(new Set(asked.slice(0, 5)), new Set(vips));
  assert.deepEqual(asked.slice(0, 5), asked.slice(5));
});

test("after a sleep one question, not a burst of those missed", () => {
  const one = new Driven().run(0).step(60_000_000, { kind: "tick" });
  assert.equal(one.kinds("ask").length, 2);
  assert.ok(silenceDeadlineMs(one.config, one.state) > 60_000_000);
});

test("who answers is named at once and once; a machine that the file does not know by its MAC", () => {
  const one = new Driven().run(0).hear(3).hear(5003);
  assert.deepEqual(one.kinds("guilty"), [3]);
  assert.deepEqual(guiltyNames(one.state), new Map([["web1", [vip]]]));
  const [told] = one.effects.flatMap((e) => (e.effect.kind === "guilty" ? [e.effect] : []));
  assert.match(told?.reason ?? "", /^02:00:00:00:00:11 answers for 10\.0\.0\.100$/);
  assert.equal([...one.state.guilty.values()][0]?.seen, 2);
  const two = new Driven().hear(3, { senderMac: stranger });
  assert.equal(two.kinds("guilty").length, 1);
  assert.deepEqual(guiltyNames(two.state), new Map());
});

test("a machine that is named only after its first answer is told once more, by its name", () => {
  const names = new Map<Mac, string>();
  const one = new Driven({ names }).hear(3);
  names.set(web1, "web1");
  one.hear(5003).hear(10_003);
  assert.deepEqual(one.kinds("guilty"), [3, 5003]);
  const told = one.effects.flatMap((e) => (e.effect.kind === "guilty" ? [e.effect.found.name] : []));
  assert.deepEqual(told, [undefined, "web1"]);
});

test("an owner may answer, and others may speak of themselves", () => {
  const one = new Driven().hear(1, { senderMac: mine }).hear(2, { senderIp: ipv4("10.0.0.11") });
  assert.deepEqual(one.kinds("guilty"), []);
});

test("a VIP as sender of a question is a leak; an answer later makes it worse, and is told", () => {
  const one = new Driven()
    .hear(1, { operation: ARP_REQUEST, targetIp: ipv4("10.0.0.1") })
    .hear(2)
    .hear(3);
  const hows = one.effects.map((e) => (e.effect.kind === "guilty" ? e.effect.found.how : ""));
  assert.deepEqual(hows, ["leaks", "answers"]);
});

test("silent for three rounds, it is guilty no more", () => {
  const one = new Driven().run(0).hear(10).run(14_999);
  assert.equal(one.state.guilty.size, 1);
  one.run(20_000);
  assert.deepEqual(one.kinds("silentAgain"), [20_000]);
  assert.equal(one.state.guilty.size, 0);
});

test("a flood of MACs is bounded", () => {
  const one = new Driven();
  for (let i = 0; i < 3000; i++)
    one.hear(1, {
      senderMac: mac(
        `02:00:00:01:${(i >> 8).toString(16).padStart(2, "0")}:${(i & 255).toString(16).padStart(2, "0")}`,
      ),
    });
  assert.equal(one.state.guilty.size, 1024);
});
