import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFacts } from "../host/perform/readFacts.ts";
import type { HostFacts } from "../model/facts.ts";
import { Wire } from "./arpWire.ts";
import { cliPath } from "./cli.ts";

/** Without what moves by itself, and what belongs to the whole machine. */
export const still = (facts: HostFacts): HostFacts => ({ ...facts, neighbours: [], modules: [] });

/** A real server with one neighbour, on which the command is run as a person would. */
export class CliHost {
  readonly wire: Wire;
  readonly stateDir = mkdtempSync(join(tmpdir(), "vipward-cli-"));
  constructor(label: string) {
    this.wire = new Wire(label);
  }
  args(command: string, ...rest: string[]): string[] {
    return [
      "netns",
      "exec",
      this.wire.rs.name,
      process.execPath,
      cliPath,
      command,
      ...rest,
      "--state-dir",
      this.stateDir,
    ];
  }
  run(command: string, ...rest: string[]): { status: number | null; text: string } {
    const done = spawnSync("ip", this.args(command, ...rest), { encoding: "utf8", timeout: 60_000 });
    return { status: done.status, text: done.stdout + done.stderr };
  }
  start(command: string, ...rest: string[]): ChildProcess {
    return spawn("ip", this.args(command, ...rest), { stdio: "ignore" });
  }
  facts(): HostFacts {
    return still(readFacts(this.wire.rs));
  }
  close(): void {
    this.wire.close();
    rmSync(this.stateDir, { recursive: true });
  }
}

export async function withHost(label: string, body: (host: CliHost) => Promise<void>): Promise<void> {
  const host = new CliHost(label);
  try {
    await body(host);
  } finally {
    host.close();
  }
}
