import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { programsHere } from "../../host/perform/readFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { withHost } from "../../testing/cliHost.ts";
import { needsRoot } from "../../testing/root.ts";

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
