/**
 * The same failures under vipward and under keepalived, in one kernel, with the same intervals and at the same points
 * of an advert's interval. Prints a line of JSON for each round. Run by scripts/failover.mjs, in the VM or, with
 * `vrrp` as its first argument, on this machine's kernel with the two programs' VRRP alone; then systems and failures
 * with commas, and rounds.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ipv4 } from "../base/ipv4.ts";
import { addresses, clusterText, DirectorLab, epochMs, keepalivedText, vip } from "./directorLab.ts";
import { WireTap } from "./wireTap.ts";

type System = "vipward" | "keepalived";
const vrrp = { version: 3, intervalMs: 1000 } as const;
const everyMs = 50;
const patienceMs = 400;
/** After this it counts as not noticed. */
const capMs = 12_000;
/** RFC 9568 section 6.1 for lb2, of priority 100. */
const skewMs = ((256 - 100) / 256) * vrrp.intervalMs;
const downMs = 3 * vrrp.intervalMs + skewMs;
const lb1 = ipv4(addresses.lb1);
const lb2Mac = "02:00:00:00:00:02";

const [kernel = "vm", systems = "vipward,keepalived", names = "", roundsText = "3"] = process.argv.slice(2);
const rounds = Number(roundsText);
const vrrpAlone = kernel === "vrrp";

const check = (type: string): string =>
  `{ type: ${type}, port: 80, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 1 }`;
const cluster = clusterText(vrrp, { health: `[${check("tcp")}, ${check("vip-path")}]` });

interface Bench {
  readonly lab: DirectorLab;
  readonly tap: WireTap;
  readonly system: System;
}
interface Failure {
  readonly inject: (bench: Bench) => void;
  readonly heal: (bench: Bench) => void;
  /** Absent: lb2 announces the VIP. Else the server is out, or it is told. */
  readonly noticed?: (bench: Bench) => boolean | Promise<boolean>;
}

function start({ lab, system }: Bench, name: "lb1" | "lb2"): void {
  if (system === "keepalived") lab.keepalived(name, keepalivedText(name, vrrp, !vrrpAlone));
  else if (vrrpAlone) lab.vipwardVrrp(name, cluster);
  else lab.vipward(name, cluster);
}
const table = (lab: DirectorLab, name: "lb1" | "lb2"): string => lab.run(name, "ipvsadm", "-S", "-n");
const out = ({ lab }: Bench): boolean => !table(lab, "lb1").includes(`${addresses.web2}:80`);
/** Reading the table runs a program: not more often than this, or the measurement is of that. */
const pollMs = 100;

function arpIgnore({ lab }: Bench, value: 0 | 1): void {
  for (const scope of ["all", "eth0"]) lab.run("web2", "sysctl", "-qw", `net.ipv4.conf.${scope}.arp_ignore=${value}`);
}
const restart = (bench: Bench): void => start(bench, "lb1");

const ofDirectors: Readonly<Record<string, Failure>> = {
  "director killed": { inject: ({ lab }) => lab.signal("lb1", "SIGKILL"), heal: restart },
  "director stopped": { inject: ({ lab }) => void lab.process("lb1").kill("SIGTERM"), heal: restart },
  "director's link cut": {
    inject: ({ lab }) => lab.wire("lb1", "down"),
    heal: ({ lab }) => lab.wire("lb1", "up"),
  },
  "director frozen": {
    inject: ({ lab }) => lab.signal("lb1", "SIGSTOP"),
    heal: ({ lab }) => lab.signal("lb1", "SIGCONT"),
  },
};
const ofServers: Readonly<Record<string, Failure>> = {
  "real server dead": {
    inject: ({ lab }) => lab.wire("web2", "down"),
    heal: ({ lab }) => lab.wire("web2", "up"),
    noticed: out,
  },
  "real server lost its VIP": {
    inject: ({ lab }) => void lab.run("web2", "ip", "address", "del", `${vip}/32`, "dev", "lo"),
    heal: ({ lab }) => void lab.run("web2", "ip", "address", "add", `${vip}/32`, "dev", "lo"),
    noticed: out,
  },
  "real server answers ARP": {
    inject: (bench) => arpIgnore(bench, 0),
    heal: (bench) => arpIgnore(bench, 1),
    noticed: async ({ lab, system }) => system === "vipward" && (await lab.status("lb1")).guilty.length > 0,
  },
};
const failures = vrrpAlone ? ofDirectors : { ...ofDirectors, ...ofServers };

const steady = ({ lab }: Bench): boolean =>
  lab.holders().join() === "lb1" &&
  (vrrpAlone ||
    ((["lb1", "lb2"] as const).every((lb) => (table(lab, lb).match(/-w 1/g) ?? []).length === 2) &&
      lab.attempts.slice(-10).every((a) => a.by !== undefined)));

/** Waits until so much of lb1's advert interval has passed; gives the time of that advert. */
async function atPhase({ tap }: Bench, share: number): Promise<number> {
  tap.forget();
  const last = (): number | undefined => tap.adverts.filter((a) => a.from === lb1).at(-1)?.atMs;
  for (let heardAtMs: number | undefined; ; heardAtMs = last()) {
    if (heardAtMs !== undefined) {
      await sleep(Math.max(0, heardAtMs + share * vrrp.intervalMs - epochMs()));
      return heardAtMs;
    }
    await sleep(2);
    tap.read();
  }
}

/** How much later than the protocol has it the successor announced the VIP: the program's share, whatever the phase. */
function excessMs({ tap }: Bench, takenAtMs: number): number | undefined {
  const last = tap.adverts.filter((a) => a.from === lb1 && a.atMs < takenAtMs).at(-1);
  return last && takenAtMs - last.atMs - (last.priority === 0 ? skewMs : downMs);
}

async function round(bench: Bench, name: string, failure: Failure, share: number): Promise<void> {
  const { lab, tap, system } = bench;
  await lab.until(`steady before: ${name}`, () => steady(bench), 120_000);
  await sleep(1500);
  await atPhase(bench, share);
  lab.attempts.length = 0;
  const fromMs = epochMs();
  failure.inject(bench);
  const injectMs = epochMs() - fromMs;
  let noticedMs: number | undefined;
  const takenAtMs = (): number | undefined => {
    tap.read();
    return tap.announcements.find((a) => a.mac === lb2Mac && a.atMs >= fromMs)?.atMs;
  };
  const served = (): boolean =>
    vrrpAlone || (lab.attempts.length >= 10 && lab.attempts.slice(-10).every((a) => a.by !== undefined));
  while (epochMs() - fromMs < capMs) {
    if (noticedMs === undefined && failure.noticed === undefined) {
      const at = takenAtMs();
      noticedMs = at === undefined ? undefined : at - fromMs;
    } else if (noticedMs === undefined && (await failure.noticed?.(bench))) noticedMs = epochMs() - fromMs;
    if (noticedMs !== undefined && epochMs() - fromMs > noticedMs + 1000 && served()) break;
    await sleep(pollMs);
  }
  const seen = lab.attempts.filter((a) => a.atMs >= fromMs).sort((a, b) => a.atMs - b.atMs);
  const lost = seen.filter((a) => a.by === undefined);
  const last = lost.at(-1);
  const next = last === undefined ? undefined : seen.find((a) => a.atMs > last.atMs);
  const outageMs = last === undefined ? 0 : next === undefined || !served() ? null : next.atMs - fromMs;
  const taken = failure.noticed === undefined ? takenAtMs() : undefined;
  const line = {
    system,
    failure: name,
    share,
    noticedMs: noticedMs ?? null,
    outageMs,
    lost: lost.length,
    /** When each that failed began, after the failure, when its handshake was over if it was, and when it was given up. */
    lostMs: lost.map((a) => [a.atMs - fromMs, a.connectedMs ?? null, a.tookMs].map((ms) => ms && Math.round(ms))),
    of: seen.length,
    excessMs: (taken === undefined ? undefined : excessMs(bench, taken)) ?? null,
    injectMs,
  };
  console.log(`round ${JSON.stringify(line)}`);
  failure.heal(bench);
}

async function measure(system: System, asked: readonly (readonly [string, Failure])[]): Promise<void> {
  const lab = new DirectorLab(`vw-${system.slice(0, 2)}-`);
  const bench = { lab, system, tap: new WireTap(lab.namespace("client"), vip) };
  try {
    await lab.serve("web1");
    await lab.serve("web2");
    start(bench, "lb1");
    start(bench, "lb2");
    await lab.until("lb1 holds the VIP", () => lab.holders().join() === "lb1", 120_000);
    if (!vrrpAlone) await lab.probe(everyMs, patienceMs);
    // In the middle of each of so many equal parts of the interval: the same phases for both programs.
    for (const [name, failure] of asked)
      for (let i = 0; i < rounds; i++) await round(bench, name, failure, (i + 0.5) / rounds);
  } catch (error) {
    console.log(`failed ${system}: ${String(error)}`);
    process.exitCode = 1;
  } finally {
    bench.tap.close();
    await lab.close();
  }
}
const asked = Object.entries(failures).filter(([name]) => names === "" || names.split(",").includes(name));
// Both programs at once, so that a machine that is busy for a while is so for both.
await Promise.all((systems.split(",") as System[]).map((system) => measure(system, asked)));
