/** What the unit gives the agent, and who has it: the thread that sends adverts, and no program that a check starts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { execCheck } from "../../machine/health/exec.ts";
import { makeChecks } from "../../testing/checkOnce.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires } from "../../testing/wires.ts";
import { FailoverWorker } from "./failoverWorker.ts";

const mine = "/proc/self/oom_score_adj";

test("a check's program is no better off than others when memory runs out, and the agent as before", async (t) => {
  if (!needsRoot(t)) return;
  const before = readFileSync(mine, "utf8").trim();
  try {
    writeFileSync(mine, "-500");
  } catch {
    return t.skip("this machine lets no process protect itself from the kernel's search for memory");
  }
  const checks = makeChecks();
  try {
    const asked = execCheck({ command: ["/bin/cat", mine], user: "nobody", environment: {} });
    assert.equal(await checks.check(asked), "up: status 0: 0");
    assert.equal(readFileSync(mine, "utf8").trim(), "-500");
  } finally {
    checks.close();
    writeFileSync(mine, before);
  }
});

/** How many threads of this process are scheduled in this way (proc(5), stat, field 41). */
const threadsWith = (policy: number): number =>
  readdirSync("/proc/self/task").filter((id) => {
    const stat = readFileSync(`/proc/self/task/${id}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38]) === policy;
  }).length;

const limitTo = (priority: number): boolean =>
  spawnSync("prlimit", [`--pid=${process.pid}`, `--rtprio=${priority}:${priority}`]).status === 0;

async function realtimeThreads(t: TestContext, name: string): Promise<number> {
  const wires = buildWires(testPrefix(name), { lb1: ["address add 10.50.0.2/24 dev eth0"] });
  try {
    const { starting } = wires.machine("lb1").run(() => ({
      starting: FailoverWorker.start(
        { groups: [], sole: [] },
        { onEvent: (e) => t.diagnostic(JSON.stringify(e)), onLinks: () => {}, onError: (e) => assert.fail(`${e}`) },
      ),
    }));
    const worker = await starting;
    const found = threadsWith(2);
    await worker.stop();
    return found;
  } finally {
    wires.close();
  }
}

test("the thread that sends adverts takes the priority that the unit lets it have, alone", async (t) => {
  if (!needsRoot(t)) return;
  assert.equal(await realtimeThreads(t, "rt0"), 0, "nothing is taken that was not given");
  if (!limitTo(10)) return t.skip("this machine lets no process raise its own limit of realtime priority");
  assert.equal(await realtimeThreads(t, "rt1"), 1);
});
