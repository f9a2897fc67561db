/** ns-3 as the simulator's peer: the program beside this file, compiled by g++ when it is measured. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const header = "/usr/include/ns3/bridge-net-device.h";
const libraries = ["internet", "bridge", "traffic-control", "network", "core"];
/** Not compiled with the rest: it lies where it was written. */
const source = fileURLToPath(new URL("../../src/bench/ns3Lan.cc", import.meta.url));

/** What the program says of one run; time of the processor. */
export interface Ns3Run {
  readonly events: number;
  readonly seconds: number;
  readonly residentMib: number;
}

export interface Ns3 {
  readonly version: string;
  run(...words: readonly (string | number)[]): Ns3Run;
  close(): void;
}

function output(file: string, args: readonly string[]): string {
  const ended = spawnSync(file, args, { encoding: "utf8" });
  if (ended.error !== undefined) throw ended.error;
  if (ended.status !== 0) throw new Error(`${file} ended with ${ended.status ?? ended.signal}: ${ended.stderr}`);
  return ended.stdout;
}

/** The peer, ready to run; or the fact that excuses its absence. */
export function buildNs3(): Ns3 | string {
  if (!existsSync(header)) return `ns-3 is not installed (Debian package libns3-dev: no ${header})`;
  const folder = mkdtempSync(join(tmpdir(), "vipward-ns3-"));
  const close = (): void => rmSync(folder, { recursive: true, force: true });
  const program = join(folder, "ns3Lan");
  try {
    output("g++", ["-O3", "-std=c++17", "-o", program, source, ...libraries.map((name) => `-lns3-${name}`)]);
  } catch (error) {
    close();
    throw error;
  }
  const found = spawnSync("pkg-config", ["--modversion", "ns3-core"], { encoding: "utf8" });
  return {
    version: found.status === 0 ? found.stdout.trim() : "",
    run: (...words) => JSON.parse(output(program, words.map(String))) as Ns3Run,
    close,
  };
}
