import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { formatIpv4, ipv4FromNumber, parseIpv4 } from "./ipv4.ts";
import { mac, macFromOctets, parseMac, writeMac } from "./mac.ts";
import { formatPrefix, lastOf, networkOf, parsePrefix, prefix } from "./prefix.ts";

test("every address survives being written and read", () => {
  fc.assert(fc.property(fc.nat(0xffffffff), (n) => parseIpv4(formatIpv4(ipv4FromNumber(n))) === n));
});

test("what is not a strict dotted quad is refused", () => {
  for (const text of ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "010.0.0.1", "1.2.3.4 ", "1.2.3.-4", "a.b.c.d", "1..2.3"])
    assert.equal(parseIpv4(text), undefined, text);
});

test("a prefix knows its first and last address", () => {
  const p = prefix("10.1.2.3/20");
  assert.equal(formatIpv4(networkOf(p)), "10.1.0.0");
  assert.equal(formatIpv4(lastOf(p)), "10.1.15.255");
  assert.equal(formatPrefix(prefix("0.0.0.0/0")), "0.0.0.0/0");
  for (const text of ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/8/8"])
    assert.equal(parsePrefix(text), undefined, text);
});

test("a MAC address is one canonical text whatever form it was read in", () => {
  assert.equal(parseMac("02-AB-00-00-00-0F"), "02:ab:00:00:00:0f");
  assert.equal(parseMac("02:ab:00:00:00"), undefined);
  const octets = new Uint8Array(8);
  writeMac(mac("02:ab:00:00:00:0f"), octets, 1);
  assert.equal(macFromOctets(octets, 1), "02:ab:00:00:00:0f");
});
