import assert from "node:assert/strict";
import { isIPv6 } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv6FromOctets, ipv6Octets, parseIpv6 } from "./ipv6.ts";

test("the examples of RFC 5952 come out canonical", () => {
  for (const [text, canonical] of [
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:DB8::AAAA:0:0:1", "2001:db8::aaaa:0:0:1"],
    ["::", "::"],
    ["::1", "::1"],
    ["fe80::", "fe80::"],
  ] as const)
    assert.equal(parseIpv6(text), canonical);
});

test("what is not an address is refused", () => {
  for (const text of [
    "",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4::5:6:7:8",
    "g::",
    "10.0.0.1",
  ])
    assert.equal(parseIpv6(text), undefined, text);
});

test("octets survive the way to text and back, and node:net agrees that it is an address", () => {
  const octets = fc.array(fc.constantFrom(0, 0, 0, 1, 16, 255), { minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(octets, (o) => {
      const text = ipv6FromOctets(Uint8Array.from(o));
      assert.ok(isIPv6(text), text);
      assert.deepEqual([...(ipv6Octets(text) ?? [])], o);
    }),
  );
});
