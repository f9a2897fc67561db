import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { AgentStatus } from "../../agent/status.ts";
import { askAgent } from "../../host/agent/control.ts";
import { clusterText } from "../../testing/directorLab.ts";
import { NotifySocket } from "../../testing/notifySocket.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-life-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL("../main.js", import.meta.url));
const cluster = clusterText({ version: 3, intervalMs: 1000 });

/** The agent of a real server in a namespace of its own. */
class LivingAgent {
  readonly wires: Wires;
  readonly folder = mkdtempSync(join(folder, "agent-"));
  readonly file = join(this.folder, "cluster.yaml");
  readonly socket = join(this.folder, "control.sock");
  readonly state = join(this.folder, "state");
  #child: ChildProcess | undefined;
  said = "";

  constructor(name: string) {
    this.wires = buildWires(testPrefix(name), { web1: ["address add 10.50.0.11/24 dev eth0"] });
    writeFileSync(this.file, cluster);
  }
  /** `before`: a program, with its arguments, that runs the agent in its place. */
  start(before: readonly string[] = [], env: NodeJS.ProcessEnv = {}): void {
    const named = ["--config", this.file, "--socket", this.socket, "--state-dir", this.state, "--as", "web1"];
    const command = [...before, process.execPath, main, "run", ...named, "--silence-interval", "1"];
    const child = this.wires.machine("web1").run(() =>
      spawn(command[0] ?? "", command.slice(1), {
        stdio: ["ignore", "ignore", "pipe"],
        env: { ...process.env, ...env },
      }),
    );
    child.stderr?.on("data", (piece: Buffer) => {
      this.said += piece.toString();
    });
    this.#child = child;
  }
  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null)
      await new Promise((resolve) => child.once("exit", resolve));
    return child.exitCode;
  }
  holds(): boolean {
    return this.wires.run("web1", "ip", "-o", "address", "show", "dev", "lo").includes("10.50.0.100/32");
  }
  breakSilence(): void {
    this.wires.run("web1", "ip", "address", "del", "10.50.0.100/32", "dev", "lo");
  }
  async status(): Promise<AgentStatus> {
    return (await askAgent(this.socket, { command: "status" })).value as AgentStatus;
  }
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = performance.now() + 30_000;
    while (!(await holds())) {
      assert.ok(performance.now() < endMs, `not in time: ${what}\n${this.said.slice(-4000)}`);
      await sleep(50);
    }
  }
  close(): void {
    this.signal("SIGKILL");
    this.wires.close();
  }
}

test("the service manager hears READY, RELOADING, the watchdog and STOPPING, each when it is so", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("notify");
  const manager = new NotifySocket(join(agent.folder, "notify.sock"));
  try {
    agent.start([], { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: "300000" });
    await agent.until("it is ready", () => manager.count("READY=1") === 1);
    assert.ok(agent.holds(), "ready means that the silence and the VIP stand");
    assert.match(manager.heard.find((text) => text.startsWith("READY=1")) ?? "", /^READY=1\nSTATUS=real server web1/);
    await agent.until("the watchdog is fed", () => manager.count("WATCHDOG=1") >= 3);
    const beforeMs = process.uptime();
    agent.signal("SIGHUP");
    await agent.until("it is ready again", () => manager.count("READY=1") === 2);
    const order = manager.heard.filter((text) => /^(READY|RELOADING)/.test(text)).map((text) => text.split("=")[0]);
    assert.deepEqual(order, ["READY", "RELOADING", "READY"]);
    // systemd compares it with its own CLOCK_MONOTONIC to know which reload is meant.
    const usec = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(
      manager.heard.find((text) => text.startsWith("RELOADING")) ?? "",
    )?.[1];
    const uptimeUsec = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1e6;
    assert.ok(Math.abs(uptimeUsec - Number(usec)) < 60e6, `${usec} against ${uptimeUsec}; ${beforeMs}`);
    agent.signal("SIGSTOP");
    await sleep(200);
    const fed = manager.count("WATCHDOG=1");
    await sleep(500);
    assert.ok(manager.count("WATCHDOG=1") <= fed, "a frozen agent feeds no watchdog");
    agent.signal("SIGCONT");
    agent.signal("SIGTERM");
    agent.signal("SIGINT"); // cut short, it would leave its VIPs behind
    assert.equal(await agent.ended(), 0, agent.said);
    assert.equal(manager.heard.filter((text) => !text.startsWith("WATCHDOG")).at(-1), "STOPPING=1");
  } finally {
    agent.close();
    manager.close();
  }
});

test("a file that was edited and reloaded by hand is not loaded again when its change is noticed", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("twice");
  const loads = (): number => agent.said.match(/agent\/reload/g)?.length ?? 0;
  try {
    agent.start();
    await agent.until(
      "it runs",
      async () => ((await agent.status().catch(() => undefined))?.configuration.loadedAt ?? "") !== "",
    );
    await agent.until("the VIP is held", () => agent.holds());
    for (const [i, text] of [`${cluster}# a word more\n`, cluster.replace("port: 80", "port: eighty")].entries()) {
      writeFileSync(agent.file, text);
      agent.signal("SIGHUP");
      await agent.until("it is judged", () => loads() === i + 1);
      await sleep(3_000); // the file is looked at once a second, and loaded half a second after its last change
      assert.equal(loads(), i + 1, agent.said);
    }
    writeFileSync(agent.file, `${cluster}# a word more\n`);
    await agent.until("the twin: without a signal it is loaded too", () => loads() === 3);
    const again = await askAgent(agent.socket, { command: "reload" });
    assert.match((again.value as { text: string }).text, /^the file is as it was when it was loaded; /);
  } finally {
    agent.close();
  }
});

test("a SIGHUP that comes while the agent starts is kept until it runs, and ends nothing", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("early");
  try {
    agent.start();
    await agent.until("it starts", () => agent.said.includes("agent/start"));
    writeFileSync(agent.file, cluster.replace("port: 80", "port: eighty"));
    agent.signal("SIGHUP");
    await agent.until("the file was read again", () => agent.said.includes("agent/reload"));
    assert.ok(agent.holds(), agent.said);
  } finally {
    agent.close();
  }
});

test("a file with errors changes nothing at a reload: the old one stays, and status and log say so", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("reload");
  try {
    agent.start();
    await agent.until("it answers", async () => (await agent.status().catch(() => undefined)) !== undefined);
    await agent.until("the VIP is held", () => agent.holds());
    writeFileSync(agent.file, cluster.replace("port: 80", "port: eighty"));
    const refused = await askAgent(agent.socket, { command: "reload" });
    assert.equal(refused.ok, false);
    assert.match(refused.error?.message ?? "", /eighty/);
    assert.match((await agent.status()).configuration.error ?? "", /eighty/);
    agent.breakSilence();
    await agent.until("it is still guarded", () => agent.holds());
    writeFileSync(agent.file, cluster);
    await agent.until(
      "the mended file is taken by itself",
      async () => (await agent.status()).configuration.error === undefined,
    );
  } finally {
    agent.close();
  }
});

test("killed at any time: the silence and the VIP stay, and the next start finds nothing to do", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("kill");
  try {
    agent.start();
    await agent.until("the VIP is held", () => agent.holds());
    await agent.until("it says so", () => agent.said.includes("silence/"));
    agent.signal("SIGKILL");
    await agent.ended();
    assert.ok(agent.holds());
    const before = agent.wires.run("web1", "sysctl", "-a", "--pattern", "arp_|rp_filter");
    agent.said = "";
    agent.start();
    await agent.until("it runs again", () => agent.said.includes("silence/"));
    assert.match(agent.said, /silence\/silent/, agent.said);
    assert.equal(agent.wires.run("web1", "sysctl", "-a", "--pattern", "arp_|rp_filter"), before);
  } finally {
    agent.close();
  }
});

test("a full disk costs events and is said; the agent goes on, and heals what it can when there is room", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("disk");
  try {
    // A mount of its own, in a mount namespace of its own; seen from here through /proc.
    const script = `mkdir -p "$0" && mount -t tmpfs -o size=64k none "$0" && exec "$@"`;
    agent.start(["unshare", "--mount", "bash", "-c", script, agent.state]);
    await agent.until("the VIP is held", () => agent.holds());
    await agent.until("it says so", () => agent.said.includes("silence/"));
    const filler = join(`/proc/${agent.pid}/root`, agent.state, "filler");
    try {
      writeFileSync(filler, Buffer.alloc(1 << 20));
    } catch {
      // as far as it goes
    }
    for (let i = 0; i < 40; i++) await askAgent(agent.socket, { command: "reload" });
    const status = await agent.status();
    assert.ok((status.counters.journalLost ?? 0) > 0, JSON.stringify(status.counters));
    agent.breakSilence();
    await agent.until("what cannot be done is said", async () => (await agent.status()).silence?.state === "failed");
    rmSync(filler);
    await agent.until("there is room: the VIP is back", () => agent.holds());
    await agent.until("and the events are kept again", () =>
      readdirSync(join(`/proc/${agent.pid}/root`, agent.state)).includes("events.jsonl"),
    );
    agent.signal("SIGTERM");
    assert.equal(await agent.ended(), 0, agent.said);
  } finally {
    agent.close();
  }
});

test("CAP_NET_ADMIN and CAP_NET_RAW are enough: an agent that is nobody makes its host silent and guards it", async (t) => {
  if (!needsRoot(t)) return;
  const agent = new LivingAgent("rights");
  const nobody = 65_534;
  try {
    for (const path of [folder, agent.folder]) chmodSync(path, 0o755);
    chownSync(agent.folder, nobody, nobody);
    const capabilities = "-all,+net_admin,+net_raw";
    const rights = [`--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`, `--bounding-set=${capabilities}`];
    agent.start(["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--no-new-privs", ...rights]);
    await agent.until("the VIP is held", () => agent.holds());
    const proc = readFileSync(`/proc/${agent.pid}/status`, "utf8");
    assert.match(proc, /^Uid:\s+65534/m);
    assert.match(proc, /^CapEff:\s+0000000000003000$/m);
    agent.breakSilence();
    await agent.until("it is put right", () => agent.holds());
    assert.equal(agent.wires.run("web1", "sysctl", "-n", "net.ipv4.conf.eth0.arp_announce").trim(), "2");
  } finally {
    agent.close();
  }
});
