import assert from "node:assert/strict";
import { test } from "node:test";
import { number } from "./number.ts";

test("a number of a report keeps its zeros in front of the point", () => {
  const shown = [600, 100, 10, 0, 7.25, 0.1, 31.85, 1000, 3036.6].map(number);
  assert.deepEqual(shown, ["600", "100", "10", "0", "7.25", "0.1", "31.9", "1,000", "3,037"]);
});
