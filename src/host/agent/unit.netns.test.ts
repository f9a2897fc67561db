/** The unit file as it ships, under a systemd that really is process 1. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { clusterText } from "../../testing/directorLab.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { clear, furnish, noRoomWhy, SystemdRoom } from "../../testing/systemdRoom.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";

const project = ((): string => {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at))
    if (existsSync(join(at, "package.json")) || at === "/") return at;
})();
const shipped = (name: string): string => readFileSync(join(project, "systemd", name), "utf8");
/** Where the command is in a room; else the file stays as it is. */
const unit = shipped("vipward.service").replaceAll("/usr/bin/env vipward", "/node /vipward/dist/bin/vipward.js");

test("systemd finds no fault with the unit, and counts it as hardened", (t) => {
  const version = spawnSync("systemd-analyze", ["--version"], { encoding: "utf8" });
  if (version.error !== undefined) return t.skip("systemd-analyze is not installed");
  const path = join(project, "systemd/vipward.service");
  const verified = spawnSync("systemd-analyze", ["verify", path], { encoding: "utf8" });
  assert.equal(`${verified.stdout}${verified.stderr}`, "");
  assert.equal(verified.status, 0);
  const level = /exposure level for vipward.service: ([\d.]+)/.exec(
    execFileSync("systemd-analyze", ["security", "--offline=true", "--no-pager", path], { encoding: "utf8" }),
  )?.[1];
  assert.ok(Number(level) < 4, `exposure ${level}`);
});

interface Stage {
  readonly wires: Wires;
  readonly room: SystemdRoom;
  readonly folder: string;
  holds(): boolean;
  show(property: string): string;
  until(what: string, holds: () => boolean): Promise<void>;
  close(): Promise<void>;
}
async function stageOf(
  t: TestContext,
  name: string,
  files: Readonly<Record<string, string>>,
): Promise<Stage | undefined> {
  if (!needsRoot(t)) return undefined;
  const why = noRoomWhy();
  if (why !== undefined) {
    t.skip(why);
    return undefined;
  }
  const wires = buildWires(testPrefix(name), { web1: ["address add 10.50.0.11/24 dev eth0"] });
  const folder = mkdtempSync(join(tmpdir(), "vipward-unit-"));
  furnish(
    folder,
    {
      "etc/systemd/system/vipward.service": unit,
      "etc/vipward/cluster.yaml": clusterText({ version: 3, intervalMs: 1000 }).replace(
        "agent: { socket: /nowhere }",
        "",
      ),
      // A room has no devices to make others of.
      "etc/systemd/system/vipward.service.d/room.conf": "[Service]\nPrivateDevices=no\n",
      ...files,
    },
    [],
  );
  const room = new SystemdRoom(wires.machine("web1"), folder);
  const close = async (): Promise<void> => {
    await room.stop();
    wires.close();
    clear(folder);
  };
  const journal = (): string => `${room.run("systemctl", "status", "--no-pager", "vipward").text}\n${room.log}`;
  const stage: Stage = {
    wires,
    room,
    folder,
    close,
    holds: () => wires.run("web1", "ip", "-o", "address", "show", "dev", "lo").includes("10.50.0.100/32"),
    show: (property) => room.run("systemctl", "show", "--value", "-p", property, "vipward").text.trim(),
    async until(what, holds) {
      for (let i = 0; i < 300; i++) {
        if (holds()) return;
        await sleep(100);
      }
      assert.fail(`not in time: ${what}\n${journal()}`);
    },
  };
  try {
    await room.booted();
    const started = room.run("systemctl", "start", "vipward");
    assert.equal(started.status, 0, `${started.text}\n${journal()}`);
    // Start has returned, so the silence and the VIP stand.
    assert.ok(stage.holds(), room.vipward("events", "--no-follow").text);
  } catch (error) {
    await close();
    throw error;
  }
  return stage;
}

test("started, reloaded, hung, killed and stopped by systemd, with the unit's own restrictions", async (t) => {
  const dropIn = { "etc/systemd/system/vipward.service.d/quick.conf": "[Service]\nWatchdogSec=2\n" };
  const stage = await stageOf(t, "unit", dropIn);
  if (stage === undefined) return;
  const { room, folder, show, until, holds } = stage;
  try {
    assert.equal(show("ActiveState"), "active");
    assert.match(show("StatusText"), /^real server web1/);

    const file = join(folder, "etc/vipward/cluster.yaml");
    const text = readFileSync(file, "utf8");
    assert.equal(room.run("systemctl", "reload", "vipward").status, 0, room.log);
    writeFileSync(file, text.replace("port: 80", "port: eighty"));
    assert.notEqual(room.run("systemctl", "reload", "vipward").status, 0, "a bad file fails the reload");
    assert.equal(show("ActiveState"), "active");
    writeFileSync(file, text);

    const restarts = (): number => Number(show("NRestarts"));
    room.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", "vipward");
    await until("the watchdog has ended what hangs, and started it again", () => restarts() === 1 && active());
    room.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "vipward");
    assert.ok(holds());
    await until("what was killed runs again", () => restarts() === 2 && active());
    assert.equal(room.run("systemctl", "stop", "vipward").status, 0);
    assert.equal(show("Result"), "success");
    assert.ok(holds(), "the silence and the VIP outlive the service");
  } finally {
    await stage.close();
  }
  function active(): boolean {
    return show("ActiveState") === "active";
  }
});

test("as an account of its own, with the drop-in, by the two rights alone", async (t) => {
  const users = { "etc/passwd": "root:x:0:0::/root:/bin/bash\nvipward:x:990:990::/:/bin/false\n" };
  const groups = { "etc/group": "root:x:0:\nvipward:x:990:\n" };
  const dropIn = { "etc/systemd/system/vipward.service.d/unprivileged.conf": shipped("vipward-unprivileged.conf") };
  const readable = {
    "etc/systemd/system/vipward.service.d/file.conf": "[Service]\nExecStartPre=+chmod 644 /etc/vipward/cluster.yaml\n",
  };
  const stage = await stageOf(t, "unprivileged", { ...users, ...groups, ...dropIn, ...readable });
  if (stage === undefined) return;
  const { room, show } = stage;
  try {
    const status = room.run("cat", `/proc/${show("MainPID")}/status`).text;
    assert.match(status, /^Uid:\s+990\s/m);
    assert.match(status, /^CapEff:\s+0000000000003000$/m);
    assert.match(status, /^CapBnd:\s+0000000000003000$/m);
  } finally {
    await stage.close();
  }
});
