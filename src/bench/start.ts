import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Bench, byTurns, nowMs, type Row, timeRow } from "./measure.ts";

const cli = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));
const rounds = 15;

/** `status` is what the command is expected to end with: a check with findings ends with 1. */
function runMs(args: readonly string[], status = 0): number {
  const startMs = nowMs();
  const ended = spawnSync(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  if (ended.status !== status) throw new Error(`node ${args.join(" ")} ended with ${ended.status}: ${ended.stderr}`);
  return nowMs() - startMs;
}

const clusterFile = fileURLToPath(new URL("../../examples/lvs-dr.yaml", import.meta.url));

/** Command lines; this host holds none of those VIPs, so each check has findings. What Node itself needs is the limit. */
const commands: readonly (readonly [name: string, args: readonly string[], status: number])[] = [
  ["vipward --version", ["--version"], 0],
  ["vipward --help", ["--help"], 0],
  ["vipward check --vip", ["check", "--vip", "10.10.0.100"], 1],
  ["vipward check --cluster", ["check", "--cluster", clusterFile, "--as", "web1"], 1],
];

export const startBench: Bench = {
  name: "start",
  title: "whole commands, against bare Node, which is their limit",
  async run() {
    const rows: Row[] = [];
    for (const [name, args, status] of commands) {
      const times = await byTurns(
        rounds,
        () => runMs([cli, ...args], status),
        () => runMs(["-e", "0"]),
      );
      rows.push(timeRow(name, "ms", times, "node -e 0"));
    }
    return rows;
  },
};
