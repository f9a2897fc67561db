import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { prefix } from "../base/prefix.ts";
import type { Bench } from "./measure.ts";
import { inPlace, type Place } from "./place.ts";

const cli = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));
const REST_MS = 30_000;
const TICKS_A_SECOND = 100; // USER_HZ, the same on every Linux

function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
const residentMib = (pid: number): number =>
  Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1024;

/** Until it says that it has begun. */
const began = (guard: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    guard.stdout?.once("data", () => resolve());
    guard.once("exit", (status) => reject(new Error(`guard ended with ${status}`)));
  });

async function atRest(place: Place, stateDir: string): Promise<{ percent: number; mib: number }> {
  const common = ["--state-dir", stateDir];
  place.run(process.execPath, [cli, "apply", "--vip", "10.77.0.1", "--keep", "none", ...common]);
  const args = [cli, "guard", ...common];
  const guard = place.here.run(() => spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] }));
  try {
    await began(guard);
    await sleep(2000);
    const pid = guard.pid ?? 0;
    const before = ticksOf(pid);
    await sleep(REST_MS);
    const ticks = ticksOf(pid) - before;
    return { percent: (100 * ticks) / TICKS_A_SECOND / (REST_MS / 1000), mib: residentMib(pid) };
  } finally {
    guard.kill();
  }
}

export const guardBench: Bench = {
  name: "guard",
  title: `a guard at rest, over ${REST_MS / 1000} s of /proc/PID/stat`,
  run: (say) =>
    inPlace(prefix("10.76.0.1/24"), prefix("10.76.0.2/24"), async (place) => {
      const folder = mkdtempSync(join(tmpdir(), "vipward-bench-"));
      try {
        say(`${REST_MS / 1000} s at rest`);
        const { percent, mib } = await atRest(place, folder);
        return [
          {
            what: "processor",
            unit: "%",
            ours: percent,
            note: "of one core; a tick of 10 ms is the least that can be seen",
          },
          { what: "memory", unit: "MiB", ours: mib, note: "resident; bare Node has some 40" },
        ];
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }),
};
