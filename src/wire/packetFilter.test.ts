import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import "../testing/seed.ts";
import { readU16, readU32 } from "./octets.ts";
import {
  BPF,
  encodeFilter,
  filterProgram,
  type Instruction,
  isAnswerTo,
  isArp,
  isIpv4Protocol,
  isIpv4To,
} from "./packetFilter.ts";

/** The kernel's interpreter, slow and obvious. */
function takes(program: readonly Instruction[], frame: Uint8Array): boolean {
  let a = 0;
  let x = 0;
  for (let at = 0, steps = 0; steps < 10_000; steps++) {
    const { code, whenTrue, whenFalse, k } = program[at++] as Instruction;
    const size = { [BPF.ld]: 4, [BPF.ldh]: 2, [BPF.ldb]: 1, [BPF.ldhIndexed]: 2, [BPF.ldbIndexed]: 1 }[code];
    if (size !== undefined) {
      const from = k + (code === BPF.ldhIndexed || code === BPF.ldbIndexed ? x : 0);
      if (from + size > frame.length) return false;
      a = size === 4 ? readU32(frame, from) : size === 2 ? readU16(frame, from) : (frame[from] as number);
    } else if (code === BPF.ldxHeaderLength) {
      if (k >= frame.length) return false;
      x = 4 * ((frame[k] as number) & 0xf);
    } else if (code === BPF.jeq) at += a === k ? whenTrue : whenFalse;
    else if (code === BPF.jge) at += a >= k ? whenTrue : whenFalse;
    else if (code === BPF.ret) return k > 0;
    else assert.fail(`code ${code}`);
  }
  return assert.fail("endless");
}

const vips = ["10.0.0.100", "10.0.0.101", "192.0.2.1"].map(ipv4);
const etherTypes = fc.constantFrom(0x0806, 0x0800, 0x8100, 0x88a8, 0x86dd);
/** Frames made of the values that matter, cut anywhere. */
const frames = fc
  .record({
    outer: etherTypes,
    inner: etherTypes,
    protocol: fc.constantFrom(4, 6, 17),
    to: fc.constantFrom(...vips, ipv4("10.0.0.102")),
    sizeOctets: fc.integer({ min: 0, max: 60 }),
  })
  .map(({ outer, inner, protocol, to, sizeOctets }) => {
    const view = new DataView(new ArrayBuffer(60));
    view.setUint16(12, outer);
    if (outer !== 0x0800) view.setUint16(16, inner);
    view.setUint8(23, protocol);
    view.setUint32(30, to);
    return new Uint8Array(view.buffer, 0, sizeOctets);
  });

test("the program takes what the plain sentence says", () => {
  const program = filterProgram(isArp, isIpv4Protocol(4), isIpv4To(vips));
  fc.assert(
    fc.property(frames, (f) => {
      const type = f.length >= 14 ? readU16(f, 12) : 0;
      const tagged = (type === 0x8100 || type === 0x88a8) && f.length >= 18 && readU16(f, 16) === 0x0806;
      const ipip = type === 0x0800 && f.length >= 24 && f[23] === 4;
      const toVip = type === 0x0800 && f.length >= 34 && vips.some((v) => v === readU32(f, 30));
      assert.equal(takes(program, f), type === 0x0806 || tagged || ipip || toVip);
    }),
    { numRuns: 2000 },
  );
});

test("a set longer than a jump can span still ends in the right place", () => {
  const many = Array.from({ length: 600 }, (_, i) => ipv4FromNumber(0x0a000000 + i * 7));
  const program = filterProgram(isArp, isIpv4To(many));
  const frame = new Uint8Array(60);
  frame[12] = 8;
  for (const [index, address] of many.entries()) {
    new DataView(frame.buffer).setUint32(30, address + (index % 2));
    assert.equal(takes(program, frame), index % 2 === 0);
  }
  assert.ok(program.every((i) => i.whenTrue < 256 && i.whenFalse < 256));
  assert.equal(encodeFilter(program).length, program.length * 8);
  assert.throws(() => isIpv4To(Array.from({ length: 1001 }, (_, i) => ipv4FromNumber(i))), RangeError);
});

test("an answer is TCP to a port from the first on, or ICMP that is no ping; whatever the header's length", () => {
  const own = ipv4("10.0.0.2");
  const program = filterProgram(isArp, isAnswerTo(own, 61_000), isIpv4Protocol(4));
  const packets = fc.record({
    type: etherTypes,
    protocol: fc.constantFrom(1, 4, 6, 17),
    to: fc.constantFrom(own, ipv4("10.0.0.3")),
    headerWords: fc.constantFrom(5, 6, 15),
    port: fc.constantFrom(80, 32_768, 60_999, 61_000, 65_499),
    icmpType: fc.constantFrom(0, 3, 8, 11, 12),
  });
  fc.assert(
    fc.property(packets, ({ type, protocol, to, headerWords, port, icmpType }) => {
      const view = new DataView(new ArrayBuffer(14 + 4 * headerWords + 20));
      view.setUint16(12, type);
      view.setUint8(14, 0x40 | headerWords);
      view.setUint8(23, protocol);
      view.setUint32(30, to);
      const at = 14 + 4 * headerWords;
      if (protocol === 1) view.setUint8(at, icmpType);
      else view.setUint16(at + 2, port);
      const isAnswer = (protocol === 6 && port >= 61_000) || (protocol === 1 && icmpType !== 0 && icmpType !== 8);
      const wanted = type === 0x0806 || (type === 0x0800 && (protocol === 4 || (to === own && isAnswer)));
      assert.equal(takes(program, new Uint8Array(view.buffer)), wanted);
    }),
    { numRuns: 2000 },
  );
});
