import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { clusterText } from "../../doctor/testing/hosts.ts";
import { cliPath, vipward } from "../../testing/cli.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";

const VIP = "10.10.0.100";
const prefix = testPrefix("check");
const folder = mkdtempSync(join(tmpdir(), "vipward-check-"));
const clusterFile = join(folder, "cluster.yaml");
let wires: Wires;

before(() => {
  if (process.getuid?.() !== 0) return;
  writeFileSync(clusterFile, clusterText());
  wires = buildWires(prefix, {
    web1: ["addr add 10.10.0.11/24 dev eth0", `addr add ${VIP}/32 dev lo`],
  });
  wires.run("web1", "ip", "route", "add", "default", "via", "10.10.0.1");
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
  wires?.close();
});

const netns = ["check", "--netns", `${prefix}web1`];

test("the live host in a namespace: what it answers and leaks, and after the remedy's lines nothing", async (t) => {
  if (!needsRoot(t)) return;
  const sick = await vipward([...netns, "--vip", VIP]);
  assert.equal(sick.status, 1, sick.stderr);
  assert.match(sick.stdout, /x eth0: answers A-2\.6-03/);
  assert.match(sick.stdout, new RegExp(`ip netns exec ${prefix}web1 COMMAND`));
  for (const [, setting] of sick.stdout.matchAll(/^ +sysctl -w (\S+)$/gm))
    wires.run("web1", "sysctl", "-qw", setting as string);
  const well = await vipward([...netns, "--cluster", clusterFile]);
  assert.match(well.stdout, /namespace \S+ {2}real server web1, by its address 10\.10\.0\.11; Linux/);
  assert.match(well.stdout, /no findings\n$/);
  assert.equal(well.status, 0);
});

test("a host that is nobody in the cluster file, unless --as says who", async (t) => {
  if (!needsRoot(t)) return;
  writeFileSync(clusterFile, clusterText().replace("web1: 10.10.0.11", "web1: 10.10.0.13"));
  const nobody = await vipward([...netns, "--cluster", clusterFile]);
  assert.equal(nobody.status, 64);
  const as = await vipward([...netns, "--cluster", clusterFile, "--as", "web1"]);
  assert.match(as.stdout, /real server web1/);
});

test("without rights: the answer, what could not be read, and no clean bill", (t) => {
  if (!needsRoot(t)) return;
  const line = ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, cliPath, "check"];
  const said = wires.run("web1", "setpriv", ...line, "--vip", VIP);
  assert.match(said, /eth0: silent/);
  assert.match(said, /note {2}not read: nft rules: .*not permitted/);
  assert.match(said, /no findings in what could be read; see the notes\n$/);
  const report = JSON.parse(wires.run("web1", "setpriv", ...line, "--vip", VIP, "--json"));
  assert.equal(report.complete, false);
  assert.throws(
    () => execFileSync("setpriv", [...line, "--netns", `${prefix}web1`, "--vip", VIP], { stdio: "pipe" }),
    (error: { status: number; stderr: Buffer }) => error.status === 77 && /CAP_SYS_ADMIN/.test(String(error.stderr)),
  );
});

test("no such namespace: 66; a facts file and a namespace at once: 64", async (t) => {
  if (!needsRoot(t)) return;
  assert.equal((await vipward(["check", "--netns", "vw-none", "--vip", VIP])).status, 66);
  assert.equal((await vipward(["check", "--netns", "../net", "--vip", VIP])).status, 66);
  assert.equal((await vipward([...netns, "--facts", "x.json", "--vip", VIP])).status, 64);
});
