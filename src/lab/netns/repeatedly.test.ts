import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { repeatedly } from "./stage.ts";

test("a step that fails beside the work fails the work, and nothing else", async () => {
  const failing = (): never => {
    throw new Error("the interface went away");
  };
  await assert.rejects(
    repeatedly(failing, 1, () => sleep(30)),
    /the interface went away/,
  );
});

test("steps end with the work", async () => {
  let steps = 0;
  assert.equal(
    await repeatedly(
      () => steps++,
      1,
      () => sleep(20, "done"),
    ),
    "done",
  );
  const atEnd = steps;
  await sleep(10);
  assert.ok(atEnd > 0);
  assert.equal(steps, atEnd);
});
