// npm run failover -- [--here] [rounds] [vipward,keepalived] [failures]: the same failures under both, at the same points
// of an advert's interval; prints the tables of docs/failover.md: median and worst of each. In the VM, or with --here on
// this machine's kernel with the two programs' VRRP alone, which needs no IPVS.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ensureBuild, ensureDebianPackages, ensureDependencies, main, packagesFor, root } from "./setup.mjs";

const median = (sorted) => sorted[Math.floor((sorted.length - 1) / 2)];
/** Median and worst; `unit` writes one value. */
function shown(values, unit) {
  const known = values.filter((v) => v !== null).sort((a, b) => a - b);
  if (known.length === 0) return "never";
  if (known.length === values.length && known.at(-1) === 0) return "none";
  return `${unit(median(known))} (${known.length < values.length ? "never" : unit(known.at(-1))})`;
}
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
const milliseconds = (ms) => `${ms.toFixed(1)} ms`;
const columns = [
  { title: "outage", what: "outageMs", unit: seconds },
  { title: "lost", what: "lost", unit: String },
  { title: "noticed", what: "noticedMs", unit: seconds },
  { title: "late", what: "excessMs", unit: milliseconds },
];

function print(rows, systems, here) {
  const taken = here ? columns.slice(2) : columns;
  console.log(`\n| failure | ${systems.flatMap((s) => taken.map((c) => `${s}: ${c.title}`)).join(" | ")} |`);
  console.log(`| --- |${" --- |".repeat(systems.length * taken.length)}`);
  for (const failure of new Set(rows.map((r) => r.failure))) {
    const cells = systems.flatMap((system) => {
      const own = rows.filter((r) => r.system === system && r.failure === failure);
      const isTakeOver = own.some((r) => r.excessMs !== null);
      return taken.map(({ what, unit }) =>
        own.length === 0 || (what === "excessMs" && !isTakeOver)
          ? "-"
          : shown(
              own.map((r) => r[what]),
              unit,
            ),
      );
    });
    console.log(`| ${failure} | ${cells.join(" | ")} |`);
  }
}

async function runHere(args, onLine) {
  const child = spawn(process.execPath, [join(root, "dist/testing/failoverRounds.js"), "vrrp", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  createInterface({ input: child.stdout }).on("line", onLine);
  return await new Promise((resolve) => child.on("close", (status) => resolve(status ?? 1)));
}
async function runInside(args, onLine) {
  const { runInVm } = await import(join(root, "dist/host/vm/machine.js"));
  const { projectInside } = await import(join(root, "dist/host/vm/rootfs.js"));
  const { exitCode } = await runInVm({
    command: ["node", `${projectInside}/dist/testing/failoverRounds.js`, "vm", ...args],
    withTests: true,
    timeoutMs: 120 * 60_000,
    stallMs: 300_000,
    onLine: (_stream, line) => onLine(line),
  });
  return exitCode;
}

await main(async (given) => {
  const here = given.includes("--here");
  const [rounds = "3", systems = "vipward,keepalived", failures = ""] = given.filter((a) => a !== "--here");
  await ensureDebianPackages(packagesFor("lab", "vm", "test"), "the measurements");
  await ensureDependencies();
  await ensureBuild();
  const rows = [];
  const onLine = (line) => {
    if (line.startsWith("round ")) rows.push(JSON.parse(line.slice(6)));
    console.error(line);
  };
  const status = await (here ? runHere : runInside)([systems, failures, rounds], onLine);
  print(rows, systems.split(","), here);
  console.log(`\nmedian (worst) of ${rounds} rounds`);
  return status;
});
