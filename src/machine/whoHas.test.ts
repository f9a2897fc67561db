import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ANY, type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, mac, ZERO_MAC } from "../base/mac.ts";
import { covers, prefix } from "../base/prefix.ts";
import "../testing/seed.ts";
import { arpAnnouncement, arpReply, arpRequest, dissect } from "../wire/frame.ts";
import { chooseDecoys } from "./decoys.ts";
import { Asking, type AskingConfig, type AskingEvent } from "./whoHas.ts";
import type { VipReport } from "./whoHasReport.ts";

const me = mac("02:00:00:00:00:01");
const lb = mac("02:00:00:00:00:0a");
const web = mac("02:00:00:00:00:0b");
const vip = ipv4("10.0.0.100");
const own = ipv4("10.0.0.1");
const HOST = 0;
const BROADCAST = 1;

const config = (rest: Partial<AskingConfig> = {}): AskingConfig => ({
  ownMac: me,
  vips: [{ address: vip, sender: own }],
  decoys: [],
  rounds: ["own", "own", "own"],
  endless: false,
  intervalUs: 100_000,
  timeoutUs: 1_000_000,
  questionsPerSecond: Number.POSITIVE_INFINITY,
  ...rest,
});

const answer = (from: Mac, about: Ipv4 = vip, to: Ipv4 = own) =>
  arpReply({ senderMac: from, senderIp: about, targetMac: me, targetIp: to });

/** A LAN in which time passes only as far as the machine asks; `reply` says who answers a question, and when. */
function play(
  asking: Asking,
  reply: (target: Ipv4, round: number, kind: string) => readonly (readonly [Mac, number])[],
  between?: (round: number, atUs: number) => void,
  mostRounds = 100,
): AskingEvent[] {
  const events: AskingEvent[] = [];
  let nowUs = 0;
  let round = -1;
  while (!asking.done(nowUs) && round < mostRounds) {
    const questions = asking.due(nowUs, 50);
    if (questions.length === 0) {
      nowUs = Math.max(nowUs + 1, asking.deadlineUs());
      continue;
    }
    round++;
    asking.asked(questions.length, nowUs, nowUs, nowUs);
    const heard = questions.flatMap((q) =>
      reply(q.target, round, q.kind).map(([from, afterUs]) => ({ frame: answer(from, q.target, q.sender), afterUs })),
    );
    for (const { frame, afterUs } of heard.sort((a, b) => a.afterUs - b.afterUs))
      asking.hear(frame, nowUs + afterUs, HOST);
    between?.(round, nowUs + 50_000);
    events.push(...asking.takeEvents());
  }
  return events;
}
const only = (asking: Asking): VipReport => asking.report().vips[0] as VipReport;

test("one machine that answers every question is the one owner", () => {
  const asking = new Asking(config());
  play(asking, () => [[lb, 120]]);
  const report = only(asking);
  assert.equal(report.verdict, "one-owner");
  assert.ok(report.healthy);
  assert.deepEqual(report.asked, { own: 3, probe: 0, unicast: 0 });
  assert.equal(report.owners[0]?.firstAnswers, 3);
  assert.deepEqual(report.owners[0]?.latencyUs, { first: 120, last: 120, shortest: 120, longest: 120 });
});

test("the same machine is the wrong owner when another was expected", () => {
  const asking = new Asking(config({ expected: new Set([web]) }));
  play(asking, () => [[lb, 120]]);
  assert.equal(only(asking).verdict, "wrong-owner");
});

test("two machines are a race, and the share of first answers is counted a question", () => {
  const asking = new Asking(config({ rounds: ["own", "own", "own", "probe"] }));
  play(asking, (_, round) => [
    [lb, round === 2 ? 900 : 100],
    [web, 500],
    [web, 600],
  ]);
  const report = only(asking);
  assert.equal(report.verdict, "race");
  assert.equal(report.together, 4);
  assert.deepEqual(
    report.owners.map((o) => [o.mac, o.firstAnswers, o.duplicates, o.answers]),
    [
      [lb, 3, 0, { own: 3, probe: 1, unicast: 0 }],
      [web, 1, 4, { own: 3, probe: 1, unicast: 0 }],
    ],
  );
});

test("silence is nobody, and answers about other addresses or to nobody's question do not change that", () => {
  const asking = new Asking(config());
  asking.hear(answer(web), 5, HOST); // before anything was asked
  play(
    asking,
    () => [],
    () => asking.hear(answer(web, ipv4("10.0.0.9")), 10, HOST),
  );
  const report = asking.report();
  assert.equal(report.vips[0]?.verdict, "nobody");
  assert.deepEqual(
    report.vips[0]?.findings.map((f) => [f.kind, f.bad]),
    [["overheard", true]],
  );
  assert.equal(report.frames.other, 3);
});

test("without an own address questions are probes; the answer form of new and old kernels both count", () => {
  const asking = new Asking(config({ vips: [{ address: vip }], rounds: ["own", "own"] }));
  assert.deepEqual(asking.due(0, 9), [{ kind: "probe", target: vip, sender: ANY }]);
  play(asking, () => [[lb, 10]]);
  assert.deepEqual(only(asking).asked, { own: 0, probe: 2, unicast: 0 });
  assert.equal(only(asking).verdict, "one-owner");
});

test("a leak by another machine spoils one owner; a leak or announcement by the owner does not", () => {
  const leak = (from: Mac) => arpRequest({ senderMac: from, senderIp: vip, targetIp: ipv4("10.0.0.7") });
  const by = (from: Mac) => {
    const asking = new Asking(config());
    play(
      asking,
      () => [[lb, 10]],
      (_, atUs) => {
        asking.hear(leak(from), atUs, BROADCAST);
        asking.hear(arpAnnouncement({ senderMac: from, senderIp: vip }), atUs, BROADCAST);
      },
    );
    return only(asking);
  };
  const spoiled = by(web);
  assert.equal(spoiled.verdict, "one-owner");
  assert.equal(spoiled.healthy, false);
  assert.deepEqual(
    spoiled.findings.map((f) => [f.kind, f.bad, "mac" in f && f.mac, "count" in f && f.count]),
    [
      ["leak", true, web, 3],
      ["gratuitous", true, web, 3],
    ],
  );
  assert.ok(by(lb).healthy);
});

test("a machine that answers only when asked directly is found out", () => {
  const asking = new Asking(config({ rounds: ["own", "probe", "unicast"], unicastTo: web }));
  play(asking, (_, __, kind) => [[kind === "unicast" ? web : lb, 10]]);
  const report = only(asking);
  assert.equal(report.verdict, "one-owner");
  assert.equal(report.healthy, false);
  assert.deepEqual(report.findings, [{ kind: "unicast-only", bad: true, mac: web }]);
});

test("who answers for two decoys answers for the subnet, and its answer for the VIP is worth nothing", () => {
  const decoys = [{ subnet: prefix("10.0.0.0/24"), addresses: [ipv4("10.0.0.60"), ipv4("10.0.0.157")], sender: own }];
  const all = new Asking(config({ decoys }));
  play(all, () => [[web, 10]]);
  assert.deepEqual(all.report().decoys[0]?.wholeSubnet, [web]);
  const one = new Asking(config({ decoys }));
  play(one, (target) => (target === ipv4("10.0.0.60") ? [[web, 10]] : target === vip ? [[lb, 10]] : []));
  const report = one.report();
  assert.deepEqual(report.decoys[0]?.wholeSubnet, []);
  assert.equal(report.decoys[0]?.answers.length, 1);
  assert.ok(report.vips[0]?.healthy, "an address in use is no harm to the VIP");
  const again = new Asking(config({ decoys }));
  play(again, () => [[web, 10]]);
  assert.equal(again.report().vips[0]?.healthy, false);
});

test("a failover while watching is told at once and is no race; two at a time are", () => {
  const moved = new Asking(config({ endless: true, rounds: ["own"] }));
  const events = play(moved, (_, round) => (round < 5 ? [[lb, 10]] : round < 9 ? [] : [[web, 10]]), undefined, 12);
  moved.stop();
  assert.deepEqual(
    events.map((e) => e.kind),
    ["first-answer", "silent", "owner-changed"],
  );
  const report = only(moved);
  assert.equal(report.verdict, "one-owner");
  assert.equal(report.owners[0]?.mac, web);
  assert.ok(report.healthy);

  const race = new Asking(config({ endless: true, rounds: ["own"] }));
  const seen = play(
    race,
    (_, round) =>
      round === 3
        ? [
            [lb, 10],
            [web, 20],
          ]
        : [[lb, 10]],
    undefined,
    6,
  );
  race.stop();
  assert.deepEqual(
    seen.map((e) => e.kind),
    ["first-answer", "race"],
  );
  assert.equal(only(race).verdict, "race");

  const both = new Asking(config({ endless: true, rounds: ["own"] }));
  play(
    both,
    (_, round) =>
      round === 3
        ? [
            [lb, 10],
            [web, 20],
          ]
        : [[round < 3 ? lb : web, 10]],
    undefined,
    9,
  );
  both.stop();
  assert.equal(only(both).verdict, "race", "a move that began with both answering");
});

test("the same move within three questions counts as a race: there is no time to tell it from one", () => {
  const asking = new Asking(config());
  play(asking, (_, round) => [[round === 0 ? lb : web, 10]]);
  assert.equal(only(asking).verdict, "race");
  assert.ok(only(asking).findings.some((f) => f.kind === "moved"));
});

test("a rate is kept, a full queue is asked again, and every VIP is asked in every round", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 100, max: 100_000 }),
      fc.array(fc.nat(7), { minLength: 1, maxLength: 20 }),
      (count, rounds, rate, taken) => {
        const vips = Array.from({ length: count }, (_, i) => ({
          address: ipv4FromNumber(0x0a000100 + i),
          sender: own,
        }));
        const asking = new Asking(
          config({ vips, rounds: Array.from({ length: rounds }, () => "own" as const), questionsPerSecond: rate }),
        );
        const times = new Map<Ipv4, number>();
        let nowUs = 0;
        let sent = 0;
        for (let turn = 0; !asking.done(nowUs) && turn < 100_000; turn++) {
          const questions = asking.due(nowUs, 64);
          const goes = Math.min(questions.length, (taken[turn % taken.length] as number) + (turn % 3 === 0 ? 1 : 0));
          for (const q of questions.slice(0, goes)) times.set(q.target, (times.get(q.target) ?? 0) + 1);
          asking.asked(goes, nowUs, nowUs, nowUs);
          sent += goes;
          assert.ok(sent <= (nowUs * rate) / 1e6 + rounds, `${sent} after ${nowUs} us`);
          nowUs += goes > 0 ? 10 : 997;
        }
        assert.deepEqual(
          [...times.values()],
          vips.map(() => rounds),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("hostile frames: nothing throws, counts add up, and memory stays bounded", () => {
  const octetsOf = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    // Near misses: a good frame with some octets changed and some cut.
    fc
      .record({
        frame: fc.constantFrom(answer(lb), answer(web, vip, ANY), arpAnnouncement({ senderMac: web, senderIp: vip })),
        changes: fc.array(fc.tuple(fc.nat(41), fc.nat(255)), { maxLength: 4 }),
        sizeOctets: fc.integer({ min: 0, max: 42 }),
      })
      .map(({ frame, changes, sizeOctets }) => {
        const copy = frame.slice(0, sizeOctets);
        for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
        return copy;
      }),
  );
  fc.assert(
    fc.property(fc.array(octetsOf, { maxLength: 50 }), (frames) => {
      const asking = new Asking(config());
      asking.asked(asking.due(0, 9).length, 0, 0, 0);
      for (const frame of frames) asking.hear(frame, 10, HOST);
      const { frames: counts, vips } = asking.report();
      assert.equal(counts.received, frames.length);
      // The slow and obvious way to tell malformed frames.
      const plainly = frames.filter((f) => {
        const { inside, ethernet } = dissect(f);
        const tagged = ethernet?.serviceVlan !== undefined || (ethernet?.vlan?.id ?? 0) !== 0;
        return !tagged && inside.kind === "malformed" && (ethernet === undefined || ethernet.etherType === 0x0806);
      });
      const { "arp/sender-mac": odd = 0, ...known } = counts.malformed;
      assert.equal(
        Object.values(known).reduce((a, b) => a + b, 0),
        plainly.length,
      );
      const claims = vips.flatMap((v) => v.claims);
      const weighed = claims.reduce(
        (n, c) => n + c.answers.own + c.duplicates + c.overheard + c.gratuitous + c.leaks,
        0,
      );
      assert.equal(weighed + counts.other + counts.tagged + plainly.length + odd, frames.length);
    }),
    { numRuns: 500 },
  );
  const flooded = new Asking(config());
  flooded.asked(1, 0, 0, 0);
  for (let i = 0; i < 5000; i++) {
    const forged = mac(
      `02:00:00:01:${(i >> 8).toString(16).padStart(2, "0")}:${(i & 255).toString(16).padStart(2, "0")}`,
    );
    flooded.hear(answer(forged), 10, HOST);
    flooded.hear(arpAnnouncement({ senderMac: forged, senderIp: vip }), 10, BROADCAST);
  }
  assert.ok(flooded.takeEvents().length <= 1000);
  const report = only(flooded);
  assert.equal(report.claims.length, 64);
  assert.ok(report.findings.some((f) => f.kind === "more-claimants" && f.answers === 2 * (5000 - 64)));
});

test("senders that no machine can have are malformed; our own voice and other VLANs are left out", () => {
  const asking = new Asking(config());
  asking.asked(1, 0, 0, 0);
  asking.hear(answer(ZERO_MAC), 1, HOST);
  asking.hear(answer(BROADCAST_MAC), 1, HOST);
  asking.hear(answer(me), 1, HOST);
  asking.hear(
    arpReply({ senderMac: web, senderIp: vip, targetMac: me, targetIp: own, vlan: { id: 9, priority: 0 } }),
    1,
    HOST,
  );
  asking.hear(answer(lb), 1, 4);
  const { frames, vips } = asking.report();
  assert.equal(vips[0]?.verdict, "nobody");
  assert.deepEqual(frames, { received: 4, other: 1, tagged: 1, malformed: { "arp/sender-mac": 2 } });
  const priority = new Asking(config());
  priority.asked(1, 0, 0, 0);
  priority.hear(
    arpReply({ senderMac: lb, senderIp: vip, targetMac: me, targetIp: own, vlan: { id: 0, priority: 5 } }),
    1,
    HOST,
  );
  assert.equal(only(priority).verdict, "one-owner", "VLAN 0 is a priority, not a VLAN");
});

test("decoys lie in the subnet, are never taken, never its ends, and are the same every time", () => {
  const subnets = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 8, max: 32 }));
  fc.assert(
    fc.property(subnets, fc.array(fc.nat(300), { maxLength: 30 }), ([base, length], offsets) => {
      const subnet = { address: ipv4FromNumber(base), length };
      const first = length === 0 ? 0 : (base & (0xffffffff << (32 - length))) >>> 0;
      const taken = new Set(offsets.map((o) => ipv4FromNumber(first + o)));
      const decoys = chooseDecoys(subnet, taken, 2);
      assert.deepEqual(decoys, chooseDecoys(subnet, taken, 2));
      assert.equal(new Set(decoys).size, decoys.length);
      for (const decoy of decoys) {
        assert.ok(covers(subnet, decoy) && !taken.has(decoy));
        assert.ok(decoy !== first && decoy !== first + 2 ** (32 - length) - 1);
      }
      const free =
        Math.max(0, 2 ** (32 - length) - 2) -
        [...taken].filter((t) => covers(subnet, t) && t !== first && t !== first + 2 ** (32 - length) - 1).length;
      if (free >= 4 && length <= 24) assert.equal(decoys.length, 2);
      if (free <= 0) assert.equal(decoys.length, 0);
    }),
  );
});
