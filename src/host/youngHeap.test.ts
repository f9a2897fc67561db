import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const here = new URL("./youngHeap.js", import.meta.url).href;
/** How large the place for young objects is after much was made that lives on, in a program of its own. */
function youngMib(begin: string): number {
  const script = `const { keepYoungHeapSmall } = await import(${JSON.stringify(here)});
    const { Worker } = await import("node:worker_threads");
    const { getHeapSpaceStatistics } = await import("node:v8");
    const thread = async () => {
      const worker = new Worker("", { eval: true });
      await new Promise((resolve) => worker.once("exit", resolve));
    };
    ${begin}
    const kept = [];
    for (let i = 0; i < 600_000; i++) kept.push({ i, text: "t" + i });
    console.log(getHeapSpaceStatistics().find((s) => s.space_name === "new_space").space_size, kept.length);`;
  const args = ["--input-type=module", "--eval", script];
  return Number.parseInt(execFileSync(process.execPath, args, { encoding: "utf8" }), 10) / 2 ** 20;
}

test("the place for young objects stays small where that was said, and is large where it was not", () => {
  const grown = youngMib("");
  const small = youngMib("keepYoungHeapSmall();");
  assert.ok(small <= 4 && grown >= 2 * small, `${grown} MiB as V8 has it, ${small} MiB`);
});

test("said again after a thread has started, which V8 may take for a reason to forget it, it holds", () => {
  const again = youngMib("keepYoungHeapSmall(); await thread(); keepYoungHeapSmall();");
  assert.ok(again <= 4, `${again} MiB`);
});
