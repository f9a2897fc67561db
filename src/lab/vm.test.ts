import assert from "node:assert/strict";
import { test } from "node:test";
import { vmPatience } from "./vm.ts";

test("the longest traffic that --seconds allows is no stall, and four stretches of it fit the time", () => {
  const trafficMs = 600_000;
  const { stallMs, timeoutMs } = vmPatience(trafficMs);
  assert.ok(stallMs > trafficMs + 60_000);
  assert.ok(timeoutMs > 4 * trafficMs + 5 * 60_000);
});
