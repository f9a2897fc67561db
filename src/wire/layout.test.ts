import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { type Mac, mac, macFromOctets } from "../base/mac.ts";
import { ARP_REQUEST, type Arp, arp, decodeArp, isArpProbe, isGratuitous } from "./arp.ts";
import { checksum, finish, pseudoSum, sum16, updated } from "./checksum.ts";
import { decodeEthernet, encodeEthernet } from "./ethernet.ts";
import * as rows from "./layout.ts";
import { fromHex, readHost64, toHex, writeHost64 } from "./octets.ts";

const hex = (text: string): Uint8Array => {
  const octets = fromHex(text);
  assert.ok(octets !== undefined, text);
  return octets;
};
const anyMac: fc.Arbitrary<Mac> = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((octets) => macFromOctets(octets));
const anyIp = fc.nat(0xffffffff).map(ipv4FromNumber);
const anyArp: fc.Arbitrary<Arp> = fc.record(
  {
    operation: fc.nat(0xffff),
    senderMac: anyMac,
    senderIp: anyIp,
    targetMac: anyMac,
    targetIp: anyIp,
  },
  { noNullPrototype: true },
);

// What Linux 6.18 sends on a veth pair when 10.9.0.1 looks for 10.9.0.2.
const request = "0001080006040001020000000001 0a090001 000000000000 0a090002";

test("an ARP request reads as its meaning, and writes back the same octets", () => {
  const read = decodeArp(hex(request));
  assert.ok(read.ok);
  assert.deepEqual(read.value, {
    operation: ARP_REQUEST,
    senderMac: mac("02:00:00:00:00:01"),
    senderIp: ipv4("10.9.0.1"),
    targetMac: mac("00:00:00:00:00:00"),
    targetIp: ipv4("10.9.0.2"),
  });
  assert.equal(toHex(arp.encode(read.value)), request.replaceAll(" ", ""));
});

test("every ARP packet survives being written and read, at any offset", () => {
  fc.assert(
    fc.property(anyArp, fc.nat(20), (value, offset) => {
      const octets = arp.encode(value, new Uint8Array(offset + 40), offset);
      assert.deepEqual(decodeArp(octets, offset), { ok: true, value });
    }),
  );
});

test("an ARP packet that is not for IPv4 over Ethernet names the field that says so", () => {
  const cases: readonly (readonly [string, string])[] = [
    [`0020${request.slice(4)}`, "arp/hardware-type"],
    ["002008001404000100000000", "arp/hardware-type"], // InfiniBand, 20-octet addresses, cut short as well
    [`000186dd${request.slice(8)}`, "arp/protocol-type"],
    [`0001080008${request.slice(10)}`, "arp/hardware-size"],
    [`000108000610${request.slice(12)}`, "arp/protocol-size"],
    [request.slice(0, -2), "arp/short"],
    ["", "arp/short"],
  ];
  for (const [octets, code] of cases) {
    const read = decodeArp(hex(octets));
    assert.ok(!read.ok);
    assert.equal(read.code, code);
  }
  const read = decodeArp(hex(`0020${request.slice(4)}`));
  assert.equal(!read.ok && read.why, "arp: hardwareType is 32, only 1 is accepted");
  const outside = decodeArp(hex(request), 100);
  assert.equal(!outside.ok && outside.why, "arp: needs 28 octets, 0 are there");
});

test("probe and gratuitous packets are told apart", () => {
  const read = arp.decode(hex(request));
  assert.ok(read.ok);
  assert.equal(isArpProbe(read.value), false);
  assert.equal(isArpProbe({ ...read.value, senderIp: ipv4("0.0.0.0") }), true);
  assert.equal(isGratuitous({ ...read.value, targetIp: read.value.senderIp }), true);
  assert.equal(isGratuitous({ ...read.value, senderIp: ipv4("0.0.0.0"), targetIp: ipv4("0.0.0.0") }), false);
});

test("a table with a gap, an overlap or another end stops when it is made", () => {
  assert.throws(() => rows.layout("x", 3, { a: rows.u8(0), b: rows.u8(2) }), /b begins at 2/);
  assert.throws(() => rows.layout("x", 3, { a: rows.u16(0), b: rows.u16(1) }), /b begins at 1/);
  assert.throws(() => rows.layout("x", 4, { a: rows.u16(0) }), /end at 2/);
});

test("a value that does not fit is our own mistake and throws", () => {
  const small = rows.layout("x", 3, { a: rows.u8(0), b: rows.u16(1) });
  for (const a of [256, -1, 1.5, Number.NaN]) assert.throws(() => small.encode({ a, b: 0 }), RangeError);
  assert.throws(() => small.encode({ a: 0, b: 0 }, new Uint8Array(2)), RangeError);
});

test("VLAN tags are peeled, two at most", () => {
  const macs = "ffffffffffff020000000001";
  const plain = decodeEthernet(hex(`${macs}0806`));
  assert.deepEqual(plain.ok && [plain.value.vlan, plain.value.etherType, plain.value.payloadOffset], [
    undefined,
    0x806,
    14,
  ]);
  const tagged = decodeEthernet(hex(`${macs}8100 a064 0806`));
  assert.deepEqual(tagged.ok && tagged.value.vlan, { id: 100, priority: 5 });
  assert.equal(tagged.ok && tagged.value.payloadOffset, 18);
  const stacked = decodeEthernet(hex(`${macs}88a8 0007 8100 0064 0800`));
  assert.deepEqual(stacked.ok && [stacked.value.serviceVlan?.id, stacked.value.vlan?.id], [7, 100]);
  const code = (text: string): string | false => {
    const read = decodeEthernet(hex(text));
    return !read.ok && read.code;
  };
  assert.equal(code(`${macs}8100 0001 8100 0002 8100 0003 0800`), "ethernet/too-many-tags");
  assert.equal(code(`${macs}8100 00`), "ethernet/tag-short");
  assert.equal(code(macs), "ethernet/short");
});

test("every frame header with its tags survives being written and read", () => {
  const tag = fc.record({ id: fc.nat(4095), priority: fc.nat(7) }, { noNullPrototype: true });
  fc.assert(
    fc.property(
      anyMac,
      anyMac,
      fc.nat(0xffff).filter((t) => t !== 0x8100 && t !== 0x88a8),
      fc.array(tag, { maxLength: 2 }),
      fc.uint8Array({ maxLength: 40 }),
      (destination, source, etherType, [vlan, serviceVlan], payload) => {
        const header = {
          destination,
          source,
          etherType,
          ...(vlan && { vlan }),
          ...(serviceVlan && { serviceVlan }),
        };
        const frame = encodeEthernet(header, payload);
        const payloadOffset = frame.length - payload.length;
        assert.deepEqual(decodeEthernet(frame), { ok: true, value: { ...header, payloadOffset } });
        assert.deepEqual(frame.subarray(payloadOffset), payload);
      },
    ),
  );
});

test("checksum: the example of RFC 1071 section 3, and 0 over what holds its own", () => {
  assert.equal(checksum(hex("0001f203f4f5f6f7")), 0xffff - 0xddf2);
  assert.equal(checksum(hex("45000073000040004011b861c0a80001c0a800c7")), 0);
  assert.equal(checksum(hex("01")), 0xfeff);
  assert.equal(pseudoSum(ipv4("1.2.3.4"), ipv4("5.6.7.8"), 6, 20), 0x0102 + 0x0304 + 0x0506 + 0x0708 + 26);
});

test("a checksum updated for one changed word equals the one counted anew", () => {
  const words = fc.uint8Array({ minLength: 8, maxLength: 8 }).filter((w) => w.some((o) => o !== 0));
  fc.assert(
    fc.property(words, fc.integer({ min: 1, max: 0xffff }), (octets, after) => {
      const before = ((octets[0] as number) << 8) | (octets[1] as number);
      const changed = new Uint8Array(octets);
      changed[0] = after >>> 8;
      changed[1] = after;
      assert.equal(updated(checksum(octets), before, after), checksum(changed));
    }),
  );
  assert.equal(finish(sum16(hex("ffff0001"))), 0xfffe);
});

test("64-bit host integers survive being written and read", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (value) => {
      const octets = new Uint8Array(8);
      writeHost64(octets, 0, value);
      return readHost64(octets, 0) === value;
    }),
  );
});

test("what a format writes out beside its table must say the same, or the module does not load", () => {
  const table = { first: rows.u8(0), second: rows.u16(1) };
  type Pair = { readonly first: number; readonly second: number };
  const read = (octets: Uint8Array, at: number): Pair => ({
    first: octets[at] as number,
    second: ((octets[at + 1] as number) << 8) | (octets[at + 2] as number),
  });
  const write = ({ first, second }: Pair, octets: Uint8Array, at: number): void => {
    rows.putU8(octets, at, first);
    rows.putU16(octets, at + 1, second);
  };
  const made = rows.layout("pair", 3, table, { read, write });
  assert.deepEqual(made.decode(hex("ff010203"), 1), { ok: true, value: { first: 1, second: 0x0203 } });
  assert.equal(toHex(made.encode({ first: 1, second: 0x0203 })), "010203");
  assert.throws(() => made.encode({ first: 256, second: 0 }), RangeError);
  const says = /what is written out is not what the table says/;
  const swapped = (octets: Uint8Array, at: number): Pair => ({ first: read(octets, at).second, second: 0 });
  assert.throws(() => rows.layout("pair", 3, table, { read: swapped, write }), says);
  const short = (value: Pair, octets: Uint8Array, at: number): void => rows.putU8(octets, at, value.first);
  assert.throws(() => rows.layout("pair", 3, table, { read, write: short }), says);
});

test("addresses read again and again are the same text, and many others do not change them", () => {
  for (let round = 0; round < 2; round++)
    for (let n = 0; n < 10_000; n++) {
      const octets = Uint8Array.of(2, 0, n >> 8, n & 255, 7, n & 255);
      const text = `02:00:${[n >> 8, n & 255, 7, n & 255].map((o) => o.toString(16).padStart(2, "0")).join(":")}`;
      assert.equal(macFromOctets(octets), text);
    }
});
