/**
 * The same failures under vipward and under keepalived, in one kernel, with the same intervals. Prints a line of JSON
 * for each round. Run in the VM by scripts/failover.mjs: arguments are systems and failures with commas, and rounds.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { clusterText, DirectorLab, epochMs, keepalivedText, vip } from "./directorLab.ts";

type System = "vipward" | "keepalived";
const vrrp = { version: 3, intervalMs: 1000 } as const;
const everyMs = 50;
const patienceMs = 400;
/** After this it counts as not noticed. */
const capMs = 12_000;

const check = (type: string): string =>
  `{ type: ${type}, port: 80, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 1 }`;
const cluster = clusterText(vrrp, { health: `[${check("tcp")}, ${check("vip-path")}]` });

interface Failure {
  readonly inject: (lab: DirectorLab) => void;
  readonly heal: (lab: DirectorLab, system: System) => void;
  /** The other has taken over, or the server is out, or it is told. */
  readonly noticed: (lab: DirectorLab, system: System) => boolean | Promise<boolean>;
}

const start = (lab: DirectorLab, system: System, name: "lb1" | "lb2"): void => {
  if (system === "vipward") lab.vipward(name, cluster);
  else lab.keepalived(name, keepalivedText(name, vrrp));
};
const other = (lab: DirectorLab): boolean => lab.holders().includes("lb2");
const out = (lab: DirectorLab): boolean => !table(lab, "lb1").includes("10.50.0.12:80");
/** Reading the table runs a program: not more often than this, or the measurement is of that. */
const pollMs = 100;
const table = (lab: DirectorLab, name: "lb1" | "lb2"): string => lab.run(name, "ipvsadm", "-S", "-n");

function arpIgnore(lab: DirectorLab, value: 0 | 1): void {
  for (const scope of ["all", "eth0"]) lab.run("web2", "sysctl", "-qw", `net.ipv4.conf.${scope}.arp_ignore=${value}`);
}

const failures: Readonly<Record<string, Failure>> = {
  "director killed": {
    inject: (lab) => lab.signal("lb1", "SIGKILL"),
    heal: (lab, system) => start(lab, system, "lb1"),
    noticed: other,
  },
  "director stopped": {
    inject: (lab) => void lab.process("lb1").kill("SIGTERM"),
    heal: (lab, system) => start(lab, system, "lb1"),
    noticed: other,
  },
  "director's link cut": {
    inject: (lab) => lab.wire("lb1", "down"),
    heal: (lab) => lab.wire("lb1", "up"),
    noticed: other,
  },
  "director frozen": {
    inject: (lab) => lab.signal("lb1", "SIGSTOP"),
    heal: (lab) => lab.signal("lb1", "SIGCONT"),
    noticed: other,
  },
  "real server dead": {
    inject: (lab) => lab.wire("web2", "down"),
    heal: (lab) => lab.wire("web2", "up"),
    noticed: out,
  },
  "real server lost its VIP": {
    inject: (lab) => void lab.run("web2", "ip", "address", "del", `${vip}/32`, "dev", "lo"),
    heal: (lab) => void lab.run("web2", "ip", "address", "add", `${vip}/32`, "dev", "lo"),
    noticed: out,
  },
  "real server answers ARP": {
    inject: (lab) => arpIgnore(lab, 0),
    heal: (lab) => arpIgnore(lab, 1),
    noticed: async (lab, system) => system === "vipward" && (await lab.status("lb1")).guilty.length > 0,
  },
};

const steady = (lab: DirectorLab): boolean =>
  lab.holders().join() === "lb1" &&
  (["lb1", "lb2"] as const).every((lb) => (table(lab, lb).match(/-w 1/g) ?? []).length === 2) &&
  lab.attempts.slice(-10).every((a) => a.by !== undefined);

async function round(lab: DirectorLab, system: System, name: string, failure: Failure): Promise<void> {
  await lab.until(`steady before: ${name}`, () => steady(lab), 90_000);
  await sleep(1500);
  lab.attempts.length = 0;
  const fromMs = epochMs();
  failure.inject(lab);
  let noticedMs: number | undefined;
  const served = (): boolean => lab.attempts.length >= 10 && lab.attempts.slice(-10).every((a) => a.by !== undefined);
  while (epochMs() - fromMs < capMs) {
    if (noticedMs === undefined && (await failure.noticed(lab, system))) noticedMs = epochMs() - fromMs;
    if (noticedMs !== undefined && epochMs() - fromMs > noticedMs + 1000 && served()) break;
    await sleep(pollMs);
  }
  const seen = lab.attempts.filter((a) => a.atMs >= fromMs).sort((a, b) => a.atMs - b.atMs);
  const lost = seen.filter((a) => a.by === undefined);
  const last = lost.at(-1);
  const next = last === undefined ? undefined : seen.find((a) => a.atMs > last.atMs);
  const outageMs = last === undefined ? 0 : next === undefined || !served() ? null : next.atMs - fromMs;
  const line = { system, failure: name, noticedMs: noticedMs ?? null, outageMs, lost: lost.length, of: seen.length };
  console.log(`round ${JSON.stringify(line)}`);
  failure.heal(lab, system);
}

const [systems = "vipward,keepalived", names = "", rounds = "3"] = process.argv.slice(2);
for (const system of systems.split(",") as System[]) {
  const lab = new DirectorLab(`vw-${system.slice(0, 2)}-`);
  try {
    await lab.serve("web1");
    await lab.serve("web2");
    start(lab, system, "lb1");
    start(lab, system, "lb2");
    await lab.until("lb1 holds the VIP", () => lab.holders().join() === "lb1", 90_000);
    await lab.probe(everyMs, patienceMs);
    for (const [name, failure] of Object.entries(failures)) {
      if (names !== "" && !names.split(",").includes(name)) continue;
      for (let i = 0; i < Number(rounds); i++) await round(lab, system, name, failure);
    }
  } catch (error) {
    console.log(`failed ${system}: ${String(error)}`);
    process.exitCode = 1;
  } finally {
    await lab.close();
  }
}
