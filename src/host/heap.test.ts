import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

/** MiB for new objects after many were made, in a process of its own, as the flag is for all of one. */
function newSpaceMib(isSmall: boolean): number {
  const program = `
    import { getHeapSpaceStatistics } from "node:v8";
    import { keepHeapSmall } from ${JSON.stringify(new URL("./heap.js", import.meta.url).href)};
    if (${isSmall}) keepHeapSmall();
    let kept = [];
    for (let round = 0; round < 20; round++) kept = Array.from({ length: 30_000 }, (_, i) => ({ i, text: String(i) }));
    const space = getHeapSpaceStatistics().find((s) => s.space_name === "new_space");
    console.log(space.space_size / 2 ** 20 + kept.length * 0);
  `;
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" }));
}

test("the space for new objects does not grow, where it would", () => {
  const [small, usual] = [newSpaceMib(true), newSpaceMib(false)];
  assert.ok(small > 0 && small <= 4, `${small} MiB`);
  assert.ok(usual > small, `${usual} MiB without: this V8 needs no such word`);
});
