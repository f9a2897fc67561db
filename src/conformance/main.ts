/**
 * `npm run conformance -- --cases 100000 [--seed N] [--workers N] [--vm] [--json] [--only GROUP.HOST]`, or `--plans 500`
 * for random hosts that are planned for, changed and asked on the wire.
 */
import { release } from "node:os";
import { parseArgs } from "node:util";
import { runInVm } from "../host/vm/machine.ts";
import { projectInside } from "../host/vm/rootfs.ts";
import { drawCase, runCase, tryAbilities } from "./group.ts";
import type { Finding } from "./messages.ts";
import { examinePlans } from "./plans.ts";
import { type RunReport, runConformance } from "./run.ts";
import { shrink } from "./shrink.ts";
import { vectorOf } from "./vector.ts";

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    seed: { type: "string" },
    workers: { type: "string", default: "2" },
    vm: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    only: { type: "string" },
    plans: { type: "string" },
  },
});

function whole(name: "cases" | "seed" | "workers" | "plans", text: string): number {
  if (/^\d{1,15}$/.test(text) && (name === "seed" || Number(text) > 0)) return Number(text);
  process.stderr.write(`conformance: --${name} takes a whole number, not "${text}"\n`);
  process.exit(64);
}

const seed = whole("seed", values.seed ?? String(Date.now() % 1_000_000_000));
const cases = whole("cases", values.cases);
const workers = whole("workers", values.workers);
const out = (text: string): void => void process.stdout.write(`${text}\n`);
const live = process.stderr.isTTY === true;

const insideVm = process.env.VIPWARD_IN_VM !== undefined;

function describe(f: Finding): string {
  const again = `npm run conformance -- --seed ${f.seed} --only ${f.group}.${f.host}${insideVm ? " --vm" : ""}`;
  const lines = [
    `difference (${f.what}, ${f.rule})${f.repeatable ? "" : ", not seen again on a fresh host"}`,
    `  kernel: ${f.kernel}`,
    `  model:  ${f.model}`,
    `  again:  ${again}`,
  ];
  if (f.vector !== undefined) lines.push(JSON.stringify(f.vector));
  return lines.join("\n");
}

function summary(r: RunReport): string {
  const rate = Math.round(r.asked / r.seconds);
  const can = Object.entries(r.abilities).map(([name, has]) => `${name} ${has ? "yes" : "no"}`);
  return [
    `kernel ${release()}; ${can.join(", ")}`,
    `rules exercised: ${r.exercised.map(([rule, count]) => `${rule} ${count}`).join(", ")}`,
    "rules never exercised:",
    ...r.unexercised.map((u) => `  ${u.rule.padEnd(12)} ${u.why}`),
    `${r.asked} cases on ${r.hosts} hosts in ${r.seconds.toFixed(1)} s (${rate} a second), seed ${r.seed}: ${r.findings.length} differences`,
  ].join("\n");
}

async function here(): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write("conformance: making network namespaces needs root: use sudo, or --vm\n");
    return 77;
  }
  if (values.plans !== undefined) return plans(whole("plans", values.plans));
  if (values.only !== undefined) return once(values.only);
  const aborted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => aborted.abort(new Error(name)));
  let spokenMs = 0;
  const report = await runConformance({
    cases,
    seed,
    workers,
    signal: aborted.signal,
    onProgress: (asked, perSecond, findings) => {
      const now = performance.now();
      if (!live && now - spokenMs < 5000) return;
      spokenMs = now;
      const text = `${asked} of ${cases} cases, ${Math.round(perSecond)} a second, ${findings} differences`;
      process.stderr.write(live ? `\r\x1b[K${text}` : `... ${text}\n`);
    },
    onFinding: (finding) => {
      if (!values.json) out(describe(finding));
    },
  });
  if (live) process.stderr.write("\r\x1b[K");
  out(values.json ? JSON.stringify(report) : summary(report));
  return report.findings.length > 0 ? 1 : 0;
}

/** Random hosts planned for, applied, asked and undone, one after the other: each is the kernel's alone. */
async function plans(hosts: number): Promise<number> {
  const name = `vw-p${process.pid}-`;
  let spokenMs = performance.now();
  const report = await examinePlans(seed, hosts, tryAbilities(name), name, {
    only: values.only,
    onHost: (now) => {
      if (performance.now() - spokenMs < 5000) return;
      spokenMs = performance.now();
      process.stderr.write(`... ${now.hosts} of ${hosts} hosts, ${now.faults.length} faults\n`);
    },
  });
  if (values.json) out(JSON.stringify(report));
  else {
    for (const fault of report.faults) out(`fault: ${fault}\n  again: ${plansAgain(hosts, fault)}`);
    const list = (counts: Readonly<Record<string, number>>): string =>
      Object.entries(counts)
        .map(([what, n]) => `${what} ${n}`)
        .join(", ");
    out(`kernel ${release()}; wished: ${list(report.wishes)}`);
    out(
      `applied: ${list(report.applied)}; refused ${report.refused}, of which ${report.refusalsSeenTrue} seen to be true`,
    );
    out(`${report.hosts} hosts, ${report.questions} questions, seed ${seed}: ${report.faults.length} faults`);
  }
  return report.faults.length > 0 ? 1 : 0;
}

function plansAgain(hosts: number, fault: string): string {
  const place = /, (\d+\.\d+):/.exec(fault)?.[1] ?? "";
  return `npm run conformance -- --plans ${hosts} --seed ${seed} --only ${place}${insideVm ? " --vm" : ""}`;
}

/** One host once more, on fresh links: what it differs in, made small. */
function once(place: string): number {
  const [group, host] = place.split(".").map(Number);
  if (!/^\d+\.\d+$/.test(place) || group === undefined || host === undefined) {
    process.stderr.write(`conformance: --only takes a group and a host, such as 12.3, not "${place}"\n`);
    return 64;
  }
  const name = `vw-c${process.pid}-o`;
  const drawn = drawCase(seed, group, host, tryAbilities(name));
  const { differences, asked } = runCase(drawn, name);
  for (const difference of differences) {
    const small = shrink(drawn, difference, name);
    const shown = small?.difference ?? difference;
    out(`difference (${shown.what}, ${shown.rule})\n  kernel: ${shown.kernel}\n  model:  ${shown.model}`);
    const id = `CF-${seed}-${group}-${host}-${shown.n}`;
    if (small) out(JSON.stringify(vectorOf(id, small.case.topology, small.facts, shown)));
  }
  out(`${asked} cases on one host, seed ${seed}: ${differences.length} differences`);
  return differences.length > 0 ? 1 : 0;
}

async function inVm(): Promise<number> {
  const args = ["--cases", String(cases), "--seed", String(seed), "--workers", String(workers)];
  if (values.only !== undefined) args.push("--only", values.only);
  if (values.plans !== undefined) args.push("--plans", values.plans);
  const result = await runInVm({
    command: ["node", `${projectInside}/dist/conformance/main.js`, ...args, ...(values.json ? ["--json"] : [])],
    cpus: workers,
    env: { VIPWARD_IN_VM: "1" },
    timeoutMs: 3 * 3_600_000,
    stallMs: 180_000,
    onProgress: (text) => process.stderr.write(`... ${text}\n`),
    onLine: (stream, line) => void process[stream].write(`${line}\n`),
  });
  return result.exitCode;
}

process.exitCode = await (values.vm ? inVm() : here());
