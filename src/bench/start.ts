import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Bench, byTurns, nowMs, timeRow } from "./measure.ts";

const cli = fileURLToPath(new URL("../cli/main.js", import.meta.url));
const rounds = 15;

function runMs(args: readonly string[]): number {
  const startMs = nowMs();
  const { status } = spawnSync(process.execPath, args, { stdio: "ignore" });
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with ${status}`);
  return nowMs() - startMs;
}

export const startBench: Bench = {
  name: "start",
  title: "the command's start, against bare Node",
  async run() {
    const bare = (): number => runMs(["-e", "0"]);
    return [
      timeRow("vipward --version", "ms", await byTurns(rounds, () => runMs([cli, "--version"]), bare), "node -e 0"),
      timeRow("vipward --help", "ms", await byTurns(rounds, () => runMs([cli, "--help"]), bare), "node -e 0"),
    ];
  },
};
