// npm run failover -- [rounds] [vipward,keepalived]: the same failures under both, in the VM; prints the table of
// docs/failover.md: median and worst of each.
import { join } from "node:path";
import { ensureBuild, ensureDebianPackages, ensureDependencies, main, packagesFor, root } from "./setup.mjs";

const median = (sorted) => sorted[Math.floor((sorted.length - 1) / 2)];
const shown = (values) => {
  const known = values.filter((v) => v !== null).sort((a, b) => a - b);
  if (known.length === 0) return "never";
  const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
  const worst = known.length < values.length ? "never" : seconds(known.at(-1));
  return known.at(-1) === 0 && known.length === values.length ? "none" : `${seconds(median(known))} (${worst})`;
};

await main(async ([rounds = "3", systems = "vipward,keepalived", failures = ""]) => {
  await ensureDebianPackages(packagesFor("lab", "vm", "test"), "the measurements");
  await ensureDependencies();
  await ensureBuild();
  const { runInVm } = await import(join(root, "dist/host/vm/machine.js"));
  const { projectInside } = await import(join(root, "dist/host/vm/rootfs.js"));
  const rows = [];
  const { exitCode } = await runInVm({
    command: ["node", `${projectInside}/dist/testing/failoverRounds.js`, systems, failures, rounds],
    withTests: true,
    timeoutMs: 60 * 60_000,
    stallMs: 180_000,
    onLine(_stream, line) {
      if (line.startsWith("round ")) rows.push(JSON.parse(line.slice(6)));
      console.error(line);
    },
  });
  const names = [...new Set(rows.map((r) => r.failure))];
  const asked = systems.split(",");
  const of = (system, failure, what) =>
    rows.filter((r) => r.system === system && r.failure === failure).map((r) => r[what]);
  console.log(`\n| failure | ${asked.flatMap((s) => [`${s}: outage`, "noticed", "lost"]).join(" | ")} |`);
  console.log(`| --- |${" --- |".repeat(asked.length * 3)}`);
  for (const name of names) {
    const cells = asked.flatMap((s) => {
      const lost = of(s, name, "lost").sort((a, b) => a - b);
      if (lost.length === 0) return ["-", "-", "-"];
      return [shown(of(s, name, "outageMs")), shown(of(s, name, "noticedMs")), `${median(lost)} (${lost.at(-1)})`];
    });
    console.log(`| ${name} | ${cells.join(" | ")} |`);
  }
  console.log(`\nmedian (worst) of ${rounds} rounds`);
  return exitCode;
});
