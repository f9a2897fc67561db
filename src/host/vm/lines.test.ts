import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { LineSplitter } from "./lines.ts";

function split(octets: Uint8Array, cuts: readonly number[], mark?: string): { lines: string[]; ended: boolean } {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line), mark);
  let at = 0;
  for (const cut of cuts.map((c) => Math.min(c, octets.length)).toSorted((a, b) => a - b)) {
    splitter.push(octets.subarray(at, cut));
    at = cut;
  }
  splitter.push(octets.subarray(at));
  const { ended } = splitter;
  splitter.finish();
  return { lines, ended };
}

test("however a stream is cut, its lines come out as if it had not been", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "é", "€", "\n", "𐍈", " "), maxLength: 40 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(60), { maxLength: 8 }), (whole, cuts) => {
      const expected = whole.split("\n");
      if (expected.at(-1) === "") expected.pop();
      assert.deepEqual(split(Buffer.from(whole), cuts).lines, expected);
    }),
  );
});

test("the mark ends the stream wherever it is cut, and is no part of the last line", () => {
  const mark = "\u0001end-1234";
  fc.assert(
    fc.property(fc.array(fc.nat(30), { maxLength: 8 }), fc.boolean(), (cuts, unfinished) => {
      const text = unfinished ? "one\ntwo" : "one\ntwo\n";
      assert.deepEqual(split(Buffer.from(text + mark), cuts, mark), { lines: ["one", "two"], ended: true });
    }),
  );
});

test("without the mark the stream has not ended", () => {
  assert.equal(split(Buffer.from("one\n"), [], "\u0001end").ended, false);
});
