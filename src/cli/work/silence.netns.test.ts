import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Journal, type JournalState } from "../../apply/journal.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { FileJournal } from "../../host/perform/journalFile.ts";
import { programsHere, readFacts } from "../../host/perform/readFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";

const main = fileURLToPath(new URL("../../bin/vipward.js", import.meta.url));
const still = (facts: HostFacts) => ({ ...facts, neighbours: [], modules: [] });

class Host {
  readonly wire: Wire;
  readonly stateDir = mkdtempSync(join(tmpdir(), "vipward-cli-"));
  constructor(label: string) {
    this.wire = new Wire(label);
  }
  args(command: string, ...rest: string[]): string[] {
    return ["netns", "exec", this.wire.rs.name, process.execPath, main, command, ...rest, "--state-dir", this.stateDir];
  }
  run(command: string, ...rest: string[]): { status: number | null; text: string } {
    const done = spawnSync("ip", this.args(command, ...rest), { encoding: "utf8", timeout: 60_000 });
    return { status: done.status, text: done.stdout + done.stderr };
  }
  start(command: string, ...rest: string[]): ChildProcess {
    return spawn("ip", this.args(command, ...rest), { stdio: "ignore" });
  }
  facts(): HostFacts {
    return still(readFacts(this.wire.rs));
  }
  close(): void {
    this.wire.close();
    rmSync(this.stateDir, { recursive: true });
  }
}

async function withHost(label: string, body: (host: Host) => Promise<void>): Promise<void> {
  const host = new Host(label);
  try {
    await body(host);
  } finally {
    host.close();
  }
}

const APPLY = ["--vip", "10.0.0.100", "--keep", "none"];

test("the commands end to end: plan 2, apply 0, plan 0, status 0, drift 1, undo 0", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("cli", async (host) => {
    const before = host.facts();
    assert.equal(host.run("plan", ...APPLY).status, 2);
    assert.deepEqual(host.facts(), before);
    const applied = host.run("apply", ...APPLY);
    assert.equal(applied.status, 0, applied.text);
    assert.deepEqual(host.wire.answered("10.0.0.100"), []);
    assert.equal(host.run("plan", ...APPLY).status, 0);
    assert.equal(host.run("status").status, 0);
    const ns = host.wire.rs.name;
    execFileSync("ip", ["-n", ns, "address", "delete", "10.0.0.100/32", "dev", "lo"]);
    const drifted = host.run("status");
    assert.equal(drifted.status, 1);
    assert.match(drifted.text, /10\.0\.0\.100/);
    assert.equal(host.run("undo").status, 0);
    assert.deepEqual(host.facts(), before);
    assert.equal(host.run("apply", "--vip", "10.0.0.11").status, 69);
    assert.equal(host.run("plan", "--vip", "10.0.0.300").status, 64);
  });
});

test("killed with -9 while it waits for the word: the next run takes it back; a second run meanwhile is refused", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("kill", async (host) => {
    const before = host.facts();
    const waiting = host.start("apply", ...APPLY, "--confirm", "60");
    const held = (): boolean => host.facts().addresses.some((a) => a.ip === "10.0.0.100");
    for (let i = 0; i < 100 && !held(); i++) await sleep(50);
    assert.ok(held());
    await sleep(300);
    assert.equal(host.run("undo").status, 69);
    // `ip netns exec` becomes the command itself, so this is the very process.
    waiting.kill("SIGKILL");
    await new Promise((resolve) => waiting.once("exit", resolve));
    const next = host.run("undo");
    assert.match(next.text, /died half way: it was taken back/);
    assert.deepEqual(host.facts(), before);
  });
});

const instants = [
  ["the run is written down", (s: JournalState) => s.open !== undefined],
  ["half of it is made", (s: JournalState) => (s.open?.done.length ?? 0) > 0],
  ["it waits for the word", (s: JournalState) => s.open?.waitingUntilMs !== undefined],
] as const;
for (const [when, reached] of instants)
  test(`--confirm killed with -9 when ${when}: its heir takes it back, no run of anybody needed`, async (t) => {
    if (!needsRoot(t)) return;
    await withHost("heir", async (host) => {
      const before = host.facts();
      const journal = new FileJournal(join(host.stateDir, "journal"));
      // Enough VIPs that making them takes longer than looking.
      const vips = Array.from({ length: 2000 }, (_, i) => formatIpv4((ipv4("10.9.0.1") + i) as Ipv4)).join();
      const parent = host.start("apply", "--vip", vips, "--keep", "none", "--confirm", "6");
      const ended = new Promise((resolve) => parent.once("exit", resolve));
      while (parent.exitCode === null && !reached(await Journal.peek(journal))) await sleep(1);
      assert.equal(parent.exitCode, null, "it ended before it could be killed");
      parent.kill("SIGKILL");
      await ended;
      const { open } = await Journal.peek(journal);
      if (when === "it waits for the word") assert.equal(host.facts().addresses.length, before.addresses.length + 2000);
      for (let i = 0; i < 300 && (await Journal.peek(journal)).open !== undefined; i++) await sleep(100);
      assert.equal((await Journal.peek(journal)).open, undefined, "nobody took it back");
      assert.ok(Date.now() >= (open?.waitingUntilMs ?? 0), "it was taken back before its time");
      assert.deepEqual(host.facts(), before);
      assert.equal(host.run("status").text, "0 things here were made by vipward, 0 of them are not as it left them\n");
    });
  });

test("--confirm killed with -9, then confirmed: it stays, and its heir goes", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("late", async (host) => {
    const journal = new FileJournal(join(host.stateDir, "journal"));
    const parent = host.start("apply", ...APPLY, "--confirm", "60");
    const ended = new Promise((resolve) => parent.once("exit", resolve));
    while ((await Journal.peek(journal)).open?.waitingUntilMs === undefined) await sleep(20);
    parent.kill("SIGKILL");
    await ended;
    assert.equal(host.run("confirm").status, 0);
    assert.equal(host.run("status").status, 0);
    const heirs = (): number =>
      readdirSync("/proc").filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(host.stateDir);
        } catch {
          return false;
        }
      }).length;
    for (let i = 0; i < 100 && heirs() > 0; i++) await sleep(100);
    assert.equal(heirs(), 0);
    assert.equal(host.run("status").status, 0);
  });
});

test("confirmed in time it stays; ended by Ctrl-C it is taken back", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("word", async (host) => {
    const before = host.facts();
    for (const word of [true, false]) {
      const waiting = host.start("apply", ...APPLY, "--confirm", "60");
      const ended = new Promise<number | null>((resolve) => waiting.once("exit", resolve));
      for (let i = 0; word && i < 100 && host.run("confirm").status !== 0; i++) await sleep(50);
      if (!word) {
        await sleep(1500);
        waiting.kill("SIGTERM");
      }
      assert.equal(await ended, word ? 0 : 1);
      assert.equal(
        host.facts().addresses.some((a) => a.ip === "10.0.0.100"),
        word,
      );
      if (word) host.run("undo");
    }
    assert.deepEqual(host.facts(), before);
  });
});

for (const policy of ["arp-sysctl", "nft-arp", "local-route", "arptables", "redirect"])
  test(`render --to shell, run by sh, yields the facts that apply yields: ${policy}`, async (t) => {
    if (!needsRoot(t)) return;
    if (policy === "arptables" && !programsHere().arptables) return t.skip("no arptables here");
    if (/nft|redirect/.test(policy) && !programsHere().nft) return t.skip("no nft here");
    await withHost("rend", async (host) => {
      const wish = ["--vip", "10.0.0.100,10.0.0.101", "--service", "tcp/80,udp/53", "--policy", policy];
      const rendered = spawnSync("ip", host.args("render", "--to", "shell", ...wish), { encoding: "utf8" });
      assert.equal(rendered.status, 0, rendered.stderr);
      const applied = host.run("apply", ...wish, "--keep", "none");
      assert.equal(applied.status, 0, applied.text);
      const wanted = host.facts();
      assert.equal(host.run("undo").status, 0);
      const script = join(host.stateDir, "script.sh");
      writeFileSync(script, rendered.stdout);
      for (let twice = 0; twice < 2; twice++)
        execFileSync("ip", ["netns", "exec", host.wire.rs.name, "sh", script], { stdio: "pipe" });
      const got = host.facts();
      // `ip route` says boot where vipward says static.
      const plain = (f: HostFacts) => ({ ...f, routes: f.routes.map(({ protocol: _, ...r }) => r) });
      assert.deepEqual(plain(got), plain(wanted));
    });
  });

for (const [target, command, policy] of [
  ["sysctl", ["sysctl", "-q", "-p"], "arp-sysctl"],
  ["nft", ["nft", "-f"], "nft-arp"],
] as const)
  test(`render --to ${target}, read by ${command[0]}, yields that part of what apply yields`, async (t) => {
    if (!needsRoot(t)) return;
    if (target === "nft" && !programsHere().nft) return t.skip("no nft here");
    await withHost("part", async (host) => {
      const wish = ["--vip", "10.0.0.100", "--policy", policy];
      const file = join(host.stateDir, "rendered");
      writeFileSync(file, spawnSync("ip", host.args("render", "--to", target, ...wish), { encoding: "utf8" }).stdout);
      host.run("apply", ...wish, "--keep", "none");
      const { sysctls, filters } = host.facts();
      host.run("undo");
      execFileSync("ip", ["netns", "exec", host.wire.rs.name, ...command, file], { stdio: "pipe" });
      const got = host.facts();
      assert.deepEqual([got.sysctls, got.filters], [sysctls, filters]);
    });
  });

test("a second apply writes nothing: no file but its lock, no netlink request but those that ask", async (t) => {
  if (!needsRoot(t)) return;
  if (spawnSync("strace", ["-V"]).error !== undefined) return t.skip("no strace here");
  await withHost("idle", async (host) => {
    /** System calls of one apply that change something: of files, and of the kernel's tables. */
    const writing = (): { files: string[]; requests: string[] } => {
      const log = join(host.stateDir, "..", `vipward-strace-${process.pid}`);
      const [netns = "", exec = "", name = "", ...command] = host.args("apply", ...APPLY);
      const calls =
        "trace=openat,open,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,sendto,sendmsg";
      try {
        const done = spawnSync("ip", [netns, exec, name, "strace", "-f", "-e", calls, "-o", log, ...command], {
          encoding: "utf8",
          timeout: 120_000,
        });
        assert.equal(done.status, 0, done.stderr);
        const lines = readFileSync(log, "utf8").split("\n");
        const files = lines.filter((l) =>
          /O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|(creat|unlink|rename|mkdir|symlink)\w*\(/.test(l),
        );
        return {
          files: files.filter((l) => !/"\/dev\/|\/lock"|= -1 /.test(l)),
          requests: lines.filter((l) => /send(to|msg)\(/.test(l) && /RTM_(NEW|DEL|SET)|NFT_MSG_(NEW|DEL)/.test(l)),
        };
      } finally {
        rmSync(log, { force: true });
      }
    };
    const first = writing();
    assert.ok(first.files.length > 0 && first.requests.length > 0, "the first one writes, or this sees nothing");
    assert.deepEqual(writing(), { files: [], requests: [] });
  });
});

for (const [system, signs, boot] of [
  ["systemd", ["run/systemd/system"], "etc/systemd/system/vipward-vips.service"],
  ["ifupdown", ["sbin/ifup", "etc/network"], "etc/network/if-up.d/vipward"],
] as const)
  test(`kept over a reboot by ${system}: found by its signs, the boot files make it again, undo takes exactly ours`, async (t) => {
    if (!needsRoot(t)) return;
    await withHost("keep", async (host) => {
      const root = join(host.stateDir, "root");
      for (const sign of signs) mkdirSync(join(root, sign), { recursive: true });
      mkdirSync(join(root, "etc/vipward"), { recursive: true });
      writeFileSync(join(root, "etc/vipward/notes"), "somebody's");
      const tree = (): string[] =>
        readdirSync(root, { recursive: true, withFileTypes: true })
          .filter((e) => !e.isDirectory())
          .map((e) => e.name)
          .sort();
      const bare = tree();
      const facts = host.facts();
      const applied = host.run("apply", "--vip", "10.0.0.100", "--root", root);
      assert.equal(applied.status, 0, applied.text);
      assert.ok(existsSync(join(root, boot)));
      assert.equal(host.run("apply", "--vip", "10.0.0.100", "--root", root).text, "nothing to do\n");
      const wanted = host.facts();
      if (system === "systemd") {
        const script = readFileSync(join(root, "etc/vipward/boot.sh"), "utf8");
        assert.equal(
          readlinkSync(join(root, "etc/systemd/system/multi-user.target.wants/vipward-vips.service")),
          `/${boot}`,
        );
        assert.equal(host.run("undo", "--root", root).status, 0);
        assert.deepEqual(host.facts(), facts);
        execFileSync("ip", ["netns", "exec", host.wire.rs.name, "sh", "-e"], { input: script });
        assert.deepEqual(host.facts(), wanted);
      } else assert.equal(host.run("undo", "--root", root).status, 0);
      assert.deepEqual(tree(), bare);
    });
  });
