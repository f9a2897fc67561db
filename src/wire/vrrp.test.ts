import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { decodeEthernet } from "./ethernet.ts";
import type { Read } from "./fault.ts";
import { decodeIpv4, PROTOCOL } from "./ipv4.ts";
import { fromHex, toHex, writeU16 } from "./octets.ts";
import {
  decodeVrrp,
  encodeVrrp,
  VRRP_GROUP,
  VRRP_TTL,
  type VrrpAdvert,
  type VrrpChecksum,
  type VrrpReading,
  vrrpFaults,
  vrrpPacket,
} from "./vrrp.ts";

const hex = (text: string): Uint8Array => fromHex(text) as Uint8Array;
const vips = [ipv4("10.9.0.100"), ipv4("10.9.0.101")];
const around = { source: ipv4("10.9.0.1"), destination: VRRP_GROUP, ttl: VRRP_TTL };

/** Ethernet frames that keepalived 2.2.7 sent from 10.9.0.1, the first of a run and the last. */
const head = "01005e00001202000000000a080045c0";
const captured = {
  v2: `${head}002c00010000ff70d0840a090001e00000122133c802000101ee0a0900640a0900650000000000000000`,
  v2Leaving: `${head}002c00020000ff70d0830a090001e0000012213300020001c9ee0a0900640a0900650000000000000000`,
  v2Password: `${head}002c00010000ff70d0840a090001e00000122133c8020101936f0a0900640a0900657365637265743132`,
  v2Unicast:
    "02000000000b02000000000a080045c0002c00010000ff70a68c0a0900010a0900022133c802000101ee0a0900640a0900650000000000000000",
  v3: `${head}002400060000ff70d0870a090001e00000123133c802001907390a0900640a090065`,
  v3Leaving: `${head}002400080000ff70d0850a090001e000001231330002 0019cf390a0900640a090065`,
};
/** The message of `v3` with the checksum of RFC 9568 section 5.2.8, added up by hand. */
const messageOnly = "3133c8020019f1d50a0900640a090065";

function readFrame(text: string): Read<VrrpReading> {
  const octets = hex(text);
  const frame = decodeEthernet(octets);
  assert.ok(frame.ok);
  const packet = decodeIpv4(octets, frame.value.payloadOffset);
  assert.ok(packet.ok);
  assert.equal(packet.value.protocol, PROTOCOL.vrrp);
  return decodeVrrp(octets, packet.value, packet.value.payloadOffset, packet.value.payloadEnd);
}
function adverted(read: Read<VrrpReading>): VrrpReading {
  assert.ok(read.ok, read.ok ? "" : read.why);
  return read.value;
}
const codeOf = (read: Read<VrrpReading>): string => (read.ok ? "ok" : read.code);

test("keepalived's adverts are read for what they say, and the checksum's form is told", () => {
  const all = { vrid: 51, priority: 200, addresses: vips };
  const second = { ...all, version: 2, intervalMs: 1000, checksum: "message" };
  const third = { ...all, version: 3, intervalMs: 250, checksum: "pseudo-header" };
  assert.deepEqual(adverted(readFrame(captured.v2)), second);
  assert.deepEqual(adverted(readFrame(captured.v2Unicast)), second);
  assert.deepEqual(adverted(readFrame(captured.v2Password)), { ...second, password: "secret12" });
  assert.deepEqual(adverted(readFrame(captured.v2Leaving)), { ...second, priority: 0 });
  assert.deepEqual(adverted(readFrame(captured.v3)), third);
  assert.deepEqual(adverted(readFrame(captured.v3Leaving)), { ...third, priority: 0 });
  assert.equal(adverted(decodeVrrp(hex(messageOnly), around)).checksum, "message");
});

test("our packets are keepalived's, octet for octet", () => {
  const advert = { vrid: 51, priority: 200, addresses: vips } as const;
  const packetOf = (text: string): string => text.replaceAll(" ", "").slice(28);
  const from = { source: around.source };
  const second = { ...advert, version: 2, intervalMs: 1000 } as const;
  assert.equal(toHex(vrrpPacket(second, { ...from, id: 1 }, "message")), packetOf(captured.v2));
  assert.equal(
    toHex(vrrpPacket({ ...second, password: "secret12" }, { ...from, id: 1 }, "message")),
    packetOf(captured.v2Password),
  );
  const to = { ...from, destination: ipv4("10.9.0.2"), id: 1 };
  assert.equal(toHex(vrrpPacket(second, to, "message")), packetOf(captured.v2Unicast));
  const third = { ...advert, version: 3, intervalMs: 250 } as const;
  assert.equal(toHex(vrrpPacket(third, { ...from, id: 6 }, "pseudo-header")), packetOf(captured.v3));
  assert.equal(toHex(encodeVrrp(third, around, "message")), messageOnly);
});

/** `messageOnly` with some octets changed and the checksum made right again, unless it is the one to be wrong. */
function changed(changes: Readonly<Record<number, number>>, text = messageOnly, refit = true): Uint8Array {
  const octets = hex(text);
  for (const [at, value] of Object.entries(changes)) octets[Number(at)] = value;
  if (!refit) return octets;
  writeU16(octets, 6, 0);
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += ((octets[i] as number) << 8) | (octets[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  writeU16(octets, 6, ~sum & 0xffff);
  return octets;
}

test("RFC 9568 section 7.1: each reason to discard has its code, and a near miss passes", () => {
  const v2 = captured.v2.slice(68);
  const rows: readonly (readonly [string, Uint8Array, typeof around])[] = [
    ["ok", changed({}), around],
    ["vrrp/ttl", changed({}), { ...around, ttl: 254 }],
    ["vrrp/version", changed({ 0: 0x41 }), around],
    ["vrrp/type", changed({ 0: 0x32 }), around],
    ["vrrp/vrid", changed({ 1: 0 }), around],
    ["vrrp/count", changed({ 3: 0 }).subarray(0, 8), around],
    ["vrrp/short", changed({ 3: 3 }), around],
    ["vrrp/length", changed({ 3: 1 }), around],
    ["vrrp/checksum", changed({ 2: 201 }, messageOnly, false), around],
    ["vrrp/interval", changed({ 5: 0 }), around],
    ["ok", changed({ 4: 0xf0 }), around], // reserved bits are ignored on receipt (section 5.2.6)
    ["ok", changed({}, v2), around],
    ["vrrp/short", changed({}, v2).subarray(0, 16), around], // version 2 without its authentication data
    ["vrrp/authentication", changed({ 4: 2 }, v2), around],
    ["vrrp/interval", changed({ 5: 0 }, v2), around],
    ["vrrp/short", new Uint8Array(0), around],
    ["vrrp/short", changed({}).subarray(0, 7), around],
  ];
  // count 0 with a right checksum needs its own eight octets
  const empty = hex("3133c80000190000");
  writeU16(empty, 6, ~(0x3133 + 0xc800 + 0x19) & 0xffff);
  for (const [code, octets, at] of rows)
    if (code !== "vrrp/count") assert.equal(codeOf(decodeVrrp(octets, at)), code, toHex(octets));
  assert.equal(codeOf(decodeVrrp(empty, around)), "vrrp/count");
  const reached = new Set([...rows.map(([code]) => code), "vrrp/count"]);
  for (const code of Object.keys(vrrpFaults)) assert.ok(reached.has(code), code);
  assert.equal(codeOf(decodeVrrp(changed({}), { ...around, ttl: 3 }, 0, 16, { anyTtl: true })), "ok");
});

const anyAdvert: fc.Arbitrary<VrrpAdvert> = fc
  .record({
    version: fc.constantFrom(2 as const, 3 as const),
    vrid: fc.integer({ min: 1, max: 255 }),
    priority: fc.nat(255),
    units: fc.integer({ min: 1, max: 4095 }),
    addresses: fc.array(fc.nat(0xffffffff).map(ipv4FromNumber), { minLength: 1, maxLength: 255 }),
    password: fc.option(fc.stringMatching(/^[!-~]{1,8}$/)),
  })
  .map(({ units, password, ...rest }) => ({
    ...rest,
    intervalMs: rest.version === 2 ? ((units % 255) + 1) * 1000 : units * 10,
    ...(rest.version === 2 && password !== null && { password }),
  }));

test("every advert survives being written and read, in both forms", () => {
  const forms = fc.constantFrom<VrrpChecksum>("message", "pseudo-header");
  fc.assert(
    fc.property(anyAdvert, forms, fc.nat(0xffffffff), (advert, form, n) => {
      const addresses = { ...around, source: ipv4FromNumber(n) };
      const { checksum, ...back } = adverted(decodeVrrp(encodeVrrp(advert, addresses, form), addresses));
      assert.deepEqual(back, advert);
      const pseudoIsNothing =
        ((n >>> 16) + (n & 0xffff) + 0xe000 + 0x12 + 112 + 8 + 4 * advert.addresses.length) % 0xffff;
      if (pseudoIsNothing !== 0) assert.equal(checksum, advert.version === 2 ? "message" : form);
    }),
  );
});

test("one changed bit anywhere is noticed", () => {
  fc.assert(
    fc.property(anyAdvert, fc.nat(), (advert, at) => {
      const octets = encodeVrrp(advert, around, "message");
      const bit = at % (octets.length * 8);
      octets[bit >>> 3] = (octets[bit >>> 3] as number) ^ (1 << (bit & 7));
      assert.notEqual(codeOf(decodeVrrp(octets, around)), "ok");
    }),
  );
});

test("no octets make the decoder throw, and what it takes is never beyond its end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(70), fc.nat(70), fc.nat(255), (octets, offset, end, ttl) => {
      decodeVrrp(octets, { ...around, ttl }, offset, end, { anyTtl: true });
      decodeVrrp(octets, { ...around, ttl });
    }),
    { numRuns: 500 },
  );
});
