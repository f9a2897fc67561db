import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";

const INSIDE = "VIPWARD_TEST_INSIDE_VM";

/** True in the process that runs inside the VM. */
export const insideVm = process.env[INSIDE] === "1";

/** Less than what scripts/test.mjs gives a file. A limit is against what hangs: a busy machine emulates at a third of its speed. */
const limitMs = 560_000;

/**
 * Boots the VM and runs compiled test files there, as `node --test` runs them here; fails with their output. `files`
 * are paths below dist/. A test skipped inside is a failure: the VM has what they ask for.
 */
export async function runTestsInVm(files: readonly [string, ...string[]]): Promise<void> {
  const lines: string[] = [];
  const run = runInVm({
    command: ["node", "--test", "--test-reporter=tap", ...files.map((f) => `${projectInside}/dist/${f}`)],
    env: { [INSIDE]: "1", ...(process.env.VIPWARD_ROUNDS && { VIPWARD_ROUNDS: process.env.VIPWARD_ROUNDS }) },
    withTests: true,
    timeoutMs: limitMs,
    stallMs: limitMs, // a busy machine may keep a test silent for long; the limit is the whole time
    onLine: (_stream, line) => lines.push(line),
  });
  const { exitCode } = await run.catch((error: unknown) => {
    throw new Error(`${String(error)}\nthe tests in the VM had said:\n${lines.join("\n")}`, { cause: error });
  });
  const output = lines.join("\n");
  assert.equal(exitCode, 0, output);
  assert.match(output, /^# pass [1-9]/m, output);
  assert.match(output, /^# skipped 0$/m, output);
}

/** One file for both sides: outside a single test that boots the VM, inside the tests that `define` makes. */
export function testsInVm(moduleUrl: string, title: string, define: () => void): void {
  if (insideVm) {
    define();
    return;
  }
  const file = /\/dist\/(.*)$/.exec(fileURLToPath(moduleUrl))?.[1];
  if (file === undefined) throw new Error(`not a compiled test: ${moduleUrl}`);
  test(title, () => runTestsInVm([file]));
}
