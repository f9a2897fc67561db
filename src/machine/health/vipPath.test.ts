import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { mac } from "../../base/mac.ts";
import { checksum } from "../../wire/checksum.ts";
import { dissectIpv4, icmpPacket, tcpPacket } from "../../wire/frame.ts";
import { TCP_FLAG, type TcpSegment } from "../../wire/tcp.ts";
import { type Probe, type ProbeEffect, startProbe, stepProbe } from "./probe.ts";
import { type VipPathQuestion, type VipPathState, vipPathCheck } from "./vipPath.ts";

const [vip, dip, rip] = [ipv4("10.0.0.100"), ipv4("10.0.0.2"), ipv4("10.0.0.11")];
const question: VipPathQuestion = { vip, port: 80, dip, rip, way: { kind: "dr", mac: mac("02:00:00:00:00:11") } };
const tunnel: VipPathQuestion = {
  ...question,
  way: { kind: "tun", tunnel: { type: "ipip", port: undefined, checksum: "none" } },
};
const gre: VipPathQuestion = {
  ...question,
  way: { kind: "tun", tunnel: { type: "gre", port: undefined, checksum: "checksum" } },
};
const gue: VipPathQuestion = {
  ...question,
  way: { kind: "tun", tunnel: { type: "gue", port: 6080, checksum: "none" } },
};

class Attempt {
  probe: Probe<VipPathState>;
  effects: readonly ProbeEffect[];
  constructor(q: VipPathQuestion = question, nonce = 7) {
    const step = startProbe(vipPathCheck(q), 1000, nonce, 0);
    [this.probe, this.effects] = [step.probe, step.effects];
  }
  hear(octets: Uint8Array): this {
    const step = stepProbe(this.probe, { kind: "packet", octets, from: mac("02:00:00:00:00:11") }, 1);
    [this.probe, this.effects] = [step.probe, step.effects];
    return this;
  }
  get said(): string {
    const { verdict } = this.probe;
    return verdict === undefined ? "none yet" : verdict.up ? "up" : verdict.code;
  }
  answer(
    flags: number,
    change: Partial<{ source: Ipv4; destination: Ipv4; port: number; to: number; ack: number }> = {},
  ): this {
    const { sourcePort, sequence } = this.probe.state;
    return this.hear(
      tcpPacket(
        { source: change.source ?? vip, destination: change.destination ?? dip },
        {
          sourcePort: change.port ?? 80,
          destinationPort: change.to ?? sourcePort,
          sequence: 99,
          acknowledgment: change.ack ?? (sequence + 1) >>> 0,
          flags,
        },
      ),
    );
  }
}
/** The TCP segment of a packet effect, through IPIP where there is one. */
function segment(effect: ProbeEffect | undefined): { tcp: TcpSegment; layers: string[] } {
  assert.ok(effect?.kind === "packet");
  const layers: string[] = [];
  let at = dissectIpv4(effect.octets);
  for (; at.kind === "ipv4"; at = at.inside) layers.push(`${at.ipv4.source}>${at.ipv4.destination}`);
  assert.ok(at.kind === "tcp");
  assert.equal(at.tcp.checksum, "good");
  return { tcp: at.tcp, layers };
}
const { syn, ack, rst } = TCP_FLAG;

test("DR: a SYN for the VIP in a frame to the real server's MAC; SYN,ACK is up, and RST follows", () => {
  const one = new Attempt();
  const [effect] = one.effects;
  assert.deepEqual(
    effect?.kind === "packet" && effect.to,
    question.way.kind === "dr" && { kind: "mac", mac: question.way.mac },
  );
  const asked = segment(effect);
  assert.deepEqual([asked.tcp.flags, asked.tcp.destinationPort, asked.layers], [syn, 80, [`${dip}>${vip}`]]);
  one.answer(syn | ack);
  assert.equal(one.said, "up");
  const reset = segment(one.effects[0]);
  assert.deepEqual([reset.tcp.flags, reset.tcp.sequence], [rst, (asked.tcp.sequence + 1) >>> 0]);
  assert.equal(reset.tcp.sourcePort, asked.tcp.sourcePort);
  assert.equal(one.effects.at(-1)?.kind, "release");
});

test("TUN: SYN and RST travel inside IPIP to the RIP; the answer comes straight", () => {
  const one = new Attempt(tunnel);
  const [effect] = one.effects;
  assert.deepEqual(effect?.kind === "packet" && effect.to, { kind: "route", address: rip });
  assert.deepEqual(segment(effect).layers, [`${dip}>${rip}`, `${dip}>${vip}`]);
  assert.equal(one.answer(syn | ack).said, "up");
  assert.deepEqual(segment(one.effects[0]).layers, [`${dip}>${rip}`, `${dip}>${vip}`]);
});

test("gre and gue: the same in the tunnel that the service's clients take", () => {
  const innerOf = (effect: ProbeEffect | undefined, at: number): { protocol: number; inner: Uint8Array } => {
    assert.ok(effect?.kind === "packet");
    const outer = dissectIpv4(effect.octets);
    assert.ok(outer.kind === "ipv4");
    assert.deepEqual([outer.ipv4.source, outer.ipv4.destination], [dip, rip]);
    return { protocol: outer.ipv4.protocol, inner: effect.octets.subarray(outer.ipv4.payloadOffset + at) };
  };
  for (const [q, protocol, at] of [
    [gre, 47, 8],
    [gue, 17, 12],
  ] as const) {
    const one = new Attempt(q);
    const asked = innerOf(one.effects[0], at);
    assert.equal(asked.protocol, protocol);
    const inner = dissectIpv4(asked.inner);
    assert.ok(inner.kind === "ipv4" && inner.inside.kind === "tcp");
    assert.deepEqual([inner.ipv4.destination, inner.inside.tcp.flags], [vip, syn]);
    assert.equal(one.answer(syn | ack).said, "up");
    const closing = dissectIpv4(innerOf(one.effects[0], at).inner);
    assert.ok(closing.kind === "ipv4" && closing.inside.kind === "tcp" && closing.inside.tcp.flags === rst);
  }
  const [effect] = new Attempt(gre).effects;
  assert.ok(effect?.kind === "packet");
  assert.equal(checksum(effect.octets.subarray(20)), 0, "RFC 2784: the sum of all with its checksum");
  const [packed] = new Attempt(gue).effects;
  const seen = packed?.kind === "packet" ? dissectIpv4(packed.octets) : undefined;
  assert.ok(seen?.kind === "ipv4" && seen.inside.kind === "udp");
  assert.equal(seen.inside.udp.destinationPort, 6080);
});

test("a RST says that the VIP is there and the service is not; silence says neither", () => {
  assert.equal(new Attempt().answer(rst | ack).said, "vip-path/refused");
  const silent = stepProbe(new Attempt().probe, { kind: "tick" }, 1000);
  assert.equal(silent.probe.verdict?.up === false && silent.probe.verdict.code, "vip-path/no-answer");
});

test("what belongs to another connection, or is forged blindly, is no answer", () => {
  const { sourcePort, sequence } = new Attempt().probe.state;
  const rows = [{ source: rip }, { destination: rip }, { port: 81 }, { to: sourcePort + 1 }, { ack: sequence }];
  for (const change of rows)
    for (const flags of [syn | ack, rst | ack])
      assert.equal(new Attempt().answer(flags, change).said, "none yet", JSON.stringify(change));
  assert.equal(new Attempt().answer(ack).said, "none yet", "a challenge is not the answer");
});

test("an ICMP error that quotes our packet is the answer, another's is not", () => {
  const quote = (effect: ProbeEffect | undefined): Uint8Array =>
    effect?.kind === "packet" ? effect.octets.subarray(0, 28) : new Uint8Array(0);
  const error = (q: Uint8Array): Uint8Array =>
    icmpPacket({ source: rip, destination: dip }, { kind: "unreachable", code: 2 }, q);
  for (const q of [question, tunnel, gre, gue]) {
    const one = new Attempt(q);
    const mine = quote(one.effects[0]);
    const other = quote(new Attempt({ ...q, vip: ipv4("10.0.0.101"), rip: ipv4("10.0.0.12") }).effects[0]);
    assert.equal(one.hear(error(other)).said, "none yet");
    // What can be known without seeing the packet: all but its id, and the number or the id inside in the last octets.
    for (const at of q === question ? [4, 20, 24] : q === tunnel ? [4, 24] : [4]) {
      const guessed = mine.slice();
      guessed[at] = (guessed[at] ?? 0) ^ 1;
      assert.equal(one.hear(error(guessed)).said, "none yet", `${JSON.stringify(q.way)} ${at}`);
    }
    assert.equal(one.hear(error(mine)).said, "vip-path/unreachable");
  }
});

test("ports stay out of the host's own range, and attempts differ", () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), (nonce) => {
      const { sourcePort, sequence } = new Attempt(question, nonce).probe.state;
      assert.ok(sourcePort > 60_999 && sourcePort <= 65_535 && sequence >= 0 && sequence <= 0xffffffff);
    }),
  );
  const seen = new Set(Array.from({ length: 1000 }, (_, i) => new Attempt(question, i).probe.state.sequence));
  assert.equal(seen.size, 1000);
});

test("no packet makes it throw", () => {
  const base = tcpPacket(
    { source: vip, destination: dip },
    { sourcePort: 80, destinationPort: 61_007, sequence: 1, flags: 18 },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 5 }), fc.nat(60), (changes, cut) => {
      const octets = base.slice();
      for (const [at, value] of changes) if (at < octets.length) octets[at] = value;
      new Attempt().hear(octets).hear(octets.subarray(0, cut));
    }),
    { numRuns: 500 },
  );
});
