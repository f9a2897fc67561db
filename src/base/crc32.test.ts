import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "./crc32.ts";

/** Bit by bit, straight from the definition. */
function slow(octets: Uint8Array): number {
  let c = 0xffffffff;
  for (const octet of octets) {
    c ^= octet;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  }
  return (c ^ 0xffffffff) >>> 0;
}

test("CRC-32: the check value of its catalogue, every length, and in two parts as in one", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  const octets = Uint8Array.from({ length: 67 }, (_, i) => (i * 151 + 200) & 255);
  for (let length = 0; length <= octets.length; length++) {
    const part = octets.subarray(0, length);
    assert.equal(crc32(part), slow(part));
    const cut = length >> 1;
    assert.equal(crc32(part.subarray(cut), crc32(part.subarray(0, cut))), slow(part));
  }
});
