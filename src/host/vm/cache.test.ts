import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeWhole, prune } from "./cache.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "vipward-cache-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("what fails half-way leaves nothing behind", async (t) => {
  const cache = folder(t);
  const half = makeWhole(join(cache, "image"), (path) => {
    writeFileSync(path, "half");
    throw new Error("disk full");
  });
  await assert.rejects(half, /disk full/);
  assert.deepEqual(readdirSync(cache), []);
});

test("where two make the same, both end well and one result stands", async (t) => {
  const target = join(folder(t), "kernels", "6.1");
  await makeWhole(target, async (path) => {
    await makeWhole(target, (other) => writeFileSync(`${other}`, "first"));
    writeFileSync(path, "second");
  });
  assert.match(readFileSync(target, "utf8"), /first|second/);
  assert.deepEqual(readdirSync(join(target, "..")), ["6.1"]);
});

test("the leavings of a killed run go after an hour, not before", async (t) => {
  const cache = folder(t);
  for (const name of [".new-1-old", ".new-2-young"]) writeFileSync(join(cache, name), "");
  const twoHoursAgo = new Date(Date.now() - 7_200_000);
  utimesSync(join(cache, ".new-1-old"), twoHoursAgo, twoHoursAgo);
  await makeWhole(join(cache, "image"), (path) => writeFileSync(path, "whole"));
  assert.deepEqual(readdirSync(cache).sort(), [".new-2-young", "image"]);
});

test("pruning keeps the newest and what was just used", (t) => {
  const cache = folder(t);
  const ages = { new: 0, recent: 60_000, day: 86_400_000, week: 604_800_000 };
  for (const [name, ageMs] of Object.entries(ages)) {
    const at = new Date(Date.now() - ageMs);
    writeFileSync(join(cache, name), "");
    utimesSync(join(cache, name), at, at);
  }
  prune(cache, 1);
  assert.deepEqual(readdirSync(cache).sort(), ["new", "recent"]);
});
