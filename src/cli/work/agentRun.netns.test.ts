import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { moduleState } from "../../host/modules.ts";
import { clusterText } from "../../testing/directorLab.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-run-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL("../../bin/vipward.js", import.meta.url));

test("run says why it does not start, with a status for each reason", (t) => {
  if (!needsRoot(t)) return;
  const wires = buildWires(testPrefix("run"), { lb1: ["address add 10.50.0.2/24 dev eth0"] });
  try {
    const run = (text: string, ...more: string[]): { status: number | null; said: string } => {
      const file = join(folder, "cluster.yaml");
      writeFileSync(file, text);
      const args = [main, "run", "--config", file, "--socket", join(folder, "s.sock"), "--state-dir", folder, ...more];
      const { status, stderr } = wires
        .machine("lb1")
        .run(() => spawnSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 }));
      return { status, said: stderr };
    };
    const good = clusterText({ version: 3, intervalMs: 1000 });
    const bad = run("version: 1\nnonsense: 3\n");
    assert.equal(bad.status, 65, bad.said);
    assert.match(bad.said, /nonsense/);
    const stranger = run(good.replace("dip: 10.50.0.2,", "dip: 10.50.0.77,"));
    assert.equal(stranger.status, 64, stranger.said);
    assert.match(stranger.said, /--as/);
    const nobody = run(good, "--as", "lb7");
    assert.equal(nobody.status, 64, nobody.said);
    if (moduleState("ip_vs") !== "missing") return;
    const absent = run(good);
    assert.equal(absent.status, 69, absent.said);
    assert.match(absent.said, /IPVS is not in the kernel/);
  } finally {
    wires.close();
  }
});

test("a real server becomes silent, is put right when somebody breaks it, and stays silent when the agent stops", async (t) => {
  if (!needsRoot(t)) return;
  const wires = buildWires(testPrefix("rs"), { web1: ["address add 10.50.0.11/24 dev eth0"] });
  const file = join(folder, "rs.yaml");
  writeFileSync(file, clusterText({ version: 3, intervalMs: 1000 }));
  const state = mkdtempSync(join(folder, "state-"));
  const args = [main, "run", "--config", file, "--socket", join(folder, "rs.sock"), "--state-dir", state];
  const child = wires
    .machine("web1")
    .run(() => spawn(process.execPath, [...args, "--silence-interval", "1"], { stdio: ["ignore", "ignore", "pipe"] }));
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said += piece.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const holds = (): boolean => wires.run("web1", "ip", "-o", "address", "show", "dev", "lo").includes("10.50.0.100/32");
  const until = async (what: string, done: () => boolean): Promise<void> => {
    assert.ok(await within(20_000, done, 100), `not in time: ${what}\n${said}`);
  };
  try {
    await until("the VIP is held", holds);
    await until("it says so, change by change", () =>
      /silence\/changed web1: \d+ changes?, by [a-z-]+: .*10\.50\.0\.100\/32/.test(said),
    );
    wires.run("web1", "ip", "address", "del", "10.50.0.100/32", "dev", "lo");
    await until("the VIP is back", holds);
    child.kill("SIGTERM");
    assert.equal(await ended, 0, said);
    assert.ok(holds(), "the silence and the VIP outlive the agent");
  } finally {
    child.kill("SIGKILL");
    wires.close();
  }
});
