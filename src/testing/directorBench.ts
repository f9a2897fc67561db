/**
 * A director's costs beside keepalived's and ipvsadm's, in one kernel: reload, start, and doing nothing but checks.
 * Runs in the VM for bench/director.ts; prints a line of JSON. Arguments: which parts; none is all of them.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { formatIpv4, type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { type Ipvs, openIpvs, type ServiceKey } from "../host/ipvs.ts";
import { loadModule } from "../host/modules.ts";
import type { AcceptWish } from "./acceptThread.ts";
import { buildWires } from "./wires.ts";
import { within } from "./within.ts";

const services = 1000;
const perService = 16;
const startRounds = 2;
const rounds = 3;
const checked = 1000;
const checkEveryMs = 2000;
const idleForMs = 20_000;
const settleForMs = 6_000;

const vip = "10.60.0.100";
const firstPort = 1000;
const rip = (i: number): Ipv4 => ipv4FromNumber(ipv4("10.61.0.1") + i);
const main = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "vipward-bench-"));

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

// ---- the same table in three languages ------------------------------------------------------------------------------

interface Table {
  readonly services: number;
  readonly servers: number;
  /** Of the one server that changes: the last of the last service. */
  readonly weight: number;
  readonly checkEveryMs: number | undefined;
}
const weightOf = (t: Table, s: number, d: number): number =>
  s === t.services - 1 && d === t.servers - 1 ? t.weight : 1;

function vipwardText(t: Table): string {
  const health =
    t.checkEveryMs === undefined
      ? "none"
      : `[{ type: tcp, port: 80, intervalMs: ${t.checkEveryMs}, timeoutMs: 1000, rise: 1, fall: 1 }]`;
  const list = numbers(t.services).map((s) => {
    const servers = numbers(t.servers).map((d) => `w${d}: ${weightOf(t, s, d)}`);
    return `  - { name: s${s}, vip: web, port: ${firstPort + s}, scheduler: rr, realServers: { ${servers.join(", ")} } }`;
  });
  return `version: 1
name: bench
networks: { lan: { prefix: 10.60.0.0/15 } }
directors: { lb: { dip: 10.60.0.2 } }
realServers: { ${numbers(t.servers)
    .map((d) => `w${d}: ${formatIpv4(rip(d))}`)
    .join(", ")} }
vips: { web: ${vip} }
health: ${health}
silenceCheck: { intervalMs: 60000 }
services:
${list.join("\n")}
`;
}

function keepalivedText(t: Table): string {
  const check =
    t.checkEveryMs === undefined
      ? ""
      : `\n    TCP_CHECK {\n      connect_timeout 1\n      retry 0\n      connect_port 80\n    }`;
  const real = (s: number, d: number): string =>
    `  real_server ${formatIpv4(rip(d))} ${firstPort + s} {\n    weight ${weightOf(t, s, d)}${check}\n  }\n`;
  const list = numbers(t.services).map(
    (s) => `virtual_server ${vip} ${firstPort + s} {
  delay_loop ${(t.checkEveryMs ?? 2000) / 1000}
  lb_algo rr
  lb_kind DR
  protocol TCP
${numbers(t.servers)
  .map((d) => real(s, d))
  .join("")}}
`,
  );
  return `global_defs {\n  router_id bench\n}\n${list.join("")}`;
}

function ipvsadmText(t: Table): string {
  return numbers(t.services)
    .map((s) => {
      const at = `-t ${vip}:${firstPort + s}`;
      const servers = numbers(t.servers).map(
        (d) => `-a ${at} -r ${formatIpv4(rip(d))}:${firstPort + s} -g -w ${weightOf(t, s, d)}\n`,
      );
      return `-A ${at} -s rr\n${servers.join("")}`;
    })
    .join("");
}

// ---- who is measured ------------------------------------------------------------------------------------------------

type System = "vipward" | "keepalived";
const machines = { vipward: "lb1", keepalived: "lb2", ipvsadm: "lb3" } as const;
const director = (dip: string): string[] => [`address add ${dip}/15 dev eth0`];
const wires = buildWires("vw-bench-", {
  lb1: director("10.60.0.2"),
  lb2: director("10.60.0.3"),
  lb3: director("10.60.0.4"),
  // All real servers in one place: whatever is below 10.61.0.0/16 is here.
  web: ["address add 10.60.0.5/15 dev eth0", "route add local 10.61.0.0/16 dev lo"],
});
const tables: Readonly<Record<keyof typeof machines, Ipvs>> = {
  vipward: openIpvs(wires.machine("lb1")),
  keepalived: openIpvs(wires.machine("lb2")),
  ipvsadm: openIpvs(wires.machine("lb3")),
};
const running = new Map<System, ChildProcess>();
const output = new Map<System, string>();
const file = (system: System): string => join(folder, `${system}.conf`);
const write = (system: System, table: Table): void =>
  writeFileSync(file(system), system === "vipward" ? vipwardText(table) : keepalivedText(table));

function start(system: System): void {
  const state = join(folder, "state");
  mkdirSync(state, { recursive: true });
  const named = ["--config", file("vipward"), "--socket", join(folder, "s.sock"), "--state-dir", state, "--as", "lb"];
  const pids = ["-p", join(folder, "pid"), "-c", join(folder, "check.pid")];
  const [command, args] =
    system === "vipward"
      ? [process.execPath, [main, "run", ...named, "--clear-on-stop"]]
      : ["keepalived", ["-n", "-l", "-C", "-f", file("keepalived"), ...pids]];
  const child = wires.machine(machines[system]).run(() => spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] }));
  const keep = (piece: Buffer): void => void output.set(system, `${output.get(system) ?? ""}${piece}`.slice(-4000));
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  running.set(system, child);
}
async function stop(system: System): Promise<void> {
  const child = running.get(system);
  if (child === undefined) return;
  running.delete(system);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
  tables[system].flush();
}
async function until(what: string, everyMs: number, holds: () => boolean, withinMs = 120_000): Promise<void> {
  if (!(await within(withinMs, holds, everyMs)))
    throw new Error(`not in time: ${what}\n${JSON.stringify([...output])}`);
}
const keyAt = (s: number): ServiceKey => ({ protocol: "tcp", address: ipv4(vip), port: firstPort + s });
/** The last server of the last service: what is programmed last, and what changes. */
function lastWeight(table: Ipvs): number | undefined {
  if (table.service(keyAt(services - 1)) === undefined) return undefined;
  return table.destination(keyAt(services - 1), { address: rip(perService - 1), port: firstPort + services - 1 })
    ?.weight;
}
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const timed = async (body: () => Promise<void> | void): Promise<number> => {
  const startMs = performance.now();
  await body();
  return performance.now() - startMs;
};
const say = (text: string): void => void process.stderr.write(`${text}\n`);

// ---- the measurements -----------------------------------------------------------------------------------------------

const large = (weight: number): Table => ({ services, servers: perService, weight, checkEveryMs: undefined });

/** From the start of the program to the last of 16,000 entries; then, with both running, reloads by turns. */
async function startAndReload(): Promise<Record<string, number>> {
  const result: Record<string, number> = {};
  for (const system of ["vipward", "keepalived"] as const) {
    write(system, large(1));
    const times: number[] = [];
    for (let round = 0; round < startRounds; round++) {
      await stop(system);
      await sleep(500);
      times.push(
        await timed(async () => {
          start(system);
          await until(`${system} programs`, 20, () => lastWeight(tables[system]) === 1);
        }),
      );
      say(`start ${system} ${times.at(-1)}`);
    }
    result[`start ${system}`] = median(times);
  }
  await sleep(5000);
  const reloads: Record<string, number[]> = { vipward: [], keepalived: [], ipvsadm: [], change: [] };
  for (let round = 0; round < rounds; round++) {
    const weight = 2 + round;
    for (const system of ["vipward", "keepalived"] as const) {
      write(system, large(weight));
      const took = await timed(async () => {
        running.get(system)?.kill("SIGHUP");
        await until(`${system} reloads`, 2, () => lastWeight(tables[system]) === weight);
      });
      reloads[system]?.push(took);
      say(`reload ${system} ${took}`);
      await sleep(system === "vipward" ? 6000 : 3000);
    }
    const input = ipvsadmText(large(weight));
    const took = await timed(() => {
      wires.machine("lb3").run(() => execFileSync("ipvsadm", ["--clear"]));
      wires.machine("lb3").run(() => execFileSync("ipvsadm", ["--restore"], { input }));
    });
    reloads.ipvsadm?.push(took);
    say(`reload ipvsadm ${took}`);
    // The least there can be: the one change, asked of the kernel by a program that runs already.
    const change = {
      address: rip(perService - 1),
      port: firstPort + services - 1,
      forwarding: "dr",
      weight: 1,
    } as const;
    reloads.change?.push(await timed(() => tables.ipvsadm.editDestination(keyAt(services - 1), change)));
  }
  for (const [name, values] of Object.entries(reloads)) result[`reload ${name}`] = median(values);
  await stop("vipward");
  await stop("keepalived");
  return result;
}

interface Cost {
  readonly cpuPercent: number;
  readonly systemPercent: number;
  readonly memoryMib: number;
}
/** The process and its children, as /proc has them. */
function family(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(/\s+/))
    .filter((text) => text !== "")
    .map(Number);
  return [pid, ...children];
}
const ticksPerSecond = 100;
function spent(pids: readonly number[]): { user: number; system: number } {
  let user = 0;
  let system = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    user += Number(fields[11]) / ticksPerSecond;
    system += Number(fields[12]) / ticksPerSecond;
  }
  return { user, system };
}
const memoryOf = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]) / 1024;
  }, 0);

async function costOf(pid: number): Promise<Cost> {
  await sleep(settleForMs);
  const pids = family(pid);
  const before = spent(pids);
  const startMs = performance.now();
  await sleep(idleForMs);
  const after = spent(pids);
  const seconds = (performance.now() - startMs) / 1000;
  const system = after.system - before.system;
  const user = after.user - before.user;
  return {
    cpuPercent: (100 * (user + system)) / seconds,
    systemPercent: (100 * system) / seconds,
    memoryMib: memoryOf(pids),
  };
}

/** One service, 1,000 real servers, each asked for a TCP handshake every 2 s. */
async function idle(): Promise<Record<string, Cost>> {
  const serve: AcceptWish = { namespace: wires.machine("web").name, port: 80 };
  const servers = new Worker(new URL("./acceptThread.js", import.meta.url), { workerData: serve });
  await once(servers, "message");
  const table: Table = { services: 1, servers: checked, weight: 1, checkEveryMs };
  const result: Record<string, Cost> = {};
  for (const system of ["vipward", "keepalived"] as const) {
    write(system, table);
    start(system);
    const up = (): number => {
      const there = tables[system].service(keyAt(0)) === undefined ? [] : tables[system].destinations(keyAt(0));
      return there.filter((d) => d.weight === 1).length;
    };
    await until(`${system} has all servers up`, 200, () => up() === checked);
    const pid = running.get(system)?.pid;
    if (pid === undefined) throw new Error(`${system} does not run`);
    result[system] = await costOf(pid);
    if (up() !== checked) throw new Error(`${system}: only ${up()} of ${checked} servers are up at the end`);
    say(`idle ${system} ${JSON.stringify(result[system])}`);
    await stop(system);
  }
  await servers.terminate();
  return result;
}

for (const module of ["ip_vs", "ip_vs_rr"]) loadModule(module);
// The kernel remembers 1,024 neighbours by default, and throws some away above 512: the checks would be of ARP.
for (const n of [1, 2, 3]) writeFileSync(`/proc/sys/net/ipv4/neigh/default/gc_thresh${n}`, "8192");
const parts = process.argv.slice(2);
const wanted = (part: string): boolean => parts.length === 0 || parts.includes(part);
try {
  const times = wanted("reload") ? await startAndReload() : {};
  const costs = wanted("idle") ? await idle() : {};
  process.stdout.write(`${JSON.stringify({ times, costs })}\n`);
} finally {
  for (const child of running.values()) child.kill("SIGKILL");
  for (const table of Object.values(tables)) table.close();
  wires.close();
}
