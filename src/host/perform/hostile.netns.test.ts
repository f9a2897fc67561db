/**
 * Interfaces may be named anything but a slash, a colon or white space. Random hosts with such names are rendered for
 * every system; what reads the form is the system's own tool, and the words it gets must be the names, whole.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parse } from "yaml";
import type { HostFacts } from "../../model/facts.ts";
import type { Change } from "../../plan/change.ts";
import { worldOf } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { plainChain } from "../../plan/kinds/filterChain.ts";
import { sysctlPath } from "../../plan/kinds/sysctl.ts";
import { ansible } from "../../plan/render/ansible.ts";
import { isPlainName } from "../../plan/render/render.ts";
import { SCRIPT, systemd, WANTED } from "../../plan/render/systemd.ts";
import { render, targets } from "../../plan/render/targets.ts";
import { ruleArguments } from "../../plan/ruleArguments.ts";
import { inOrder } from "../../policy/keep.ts";
import { policyNamed } from "../../policy/policies.ts";
import { situationOf } from "../../policy/policy.ts";
import type { Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { realServer } from "../../testing/realServer.ts";
import { needsRoot } from "../../testing/root.ts";
import { seed } from "../../testing/seed.ts";
import { readFacts } from "./readFacts.ts";

const RUNS = 40;

/** Not ending in + or *: facts and filters take that for a pattern. */
const oddName = fc
  .string({ unit: fc.constantFrom(..."ab0.-_@+=%~,;&|<>()[]{}!?*#$`'\"\\^é"), minLength: 1, maxLength: 12 })
  .map((s) => (new TextEncoder().encode(s).length > 15 ? s.slice(0, 7) : s))
  .filter((s) => !/^\.{1,2}$|[+*]$/.test(s) && s !== "lo");
const name = fc.oneof(
  oddName,
  fc.constantFrom("eth0.100", "br-lan", "$(reboot)", "`id`", "{{7*7}}", "a'b\"c", "-rf", "no"),
);
const policies = ["arp-sysctl", "nft-arp", "arptables", "local-route"] as const;
const hosts = fc.record({
  lan: name,
  carrierName: name,
  policy: fc.constantFrom(...policies),
  carrier: fc.constantFrom("lo" as const, "dummy" as const),
  vips: fc.uniqueArray(
    fc.integer({ min: 100, max: 200 }).map((n) => `10.0.0.${n}`),
    { minLength: 1, maxLength: 3 },
  ),
});
type Host = typeof hosts extends fc.Arbitrary<infer T> ? T : never;

/** The real server's facts with another name for eth0. */
function renamed(facts: HostFacts, to: string): HostFacts {
  const walk = (value: unknown): unknown => {
    if (value === "eth0") return to;
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).map(([k, v]) => [
      k.replace(/^(neigh\.|ipv6\.)?eth0\./, (_, f) => `${f ?? ""}${to}.`),
      walk(v),
    ]);
    return Object.fromEntries(entries);
  };
  return walk(facts) as HostFacts;
}

function changesOf({ lan, carrierName, policy, carrier, vips }: Host): Change[] {
  const programs = { nft: policy !== "arptables", iptables: true, arptables: true };
  const wish: Wish = { vips, forwarding: "dr", carrier, carrierName, services: [], programs };
  const s = situationOf(worldOf(renamed(realServer("6.1.0"), lan)), wish, kernelModel);
  return inOrder(policyNamed(policy)?.steps(s) ?? []);
}

/** Different names, and a policy that suits: the rest is the policies' own business. */
const sensible = (h: Host): boolean => h.lan !== h.carrierName && changesOf(h).length > 0;

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "vipward-odd-"));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the script must call, word by word; nft gets its text by standard input. */
function callOf(c: Change): string[][] {
  switch (c.kind) {
    case "module":
      return [["modprobe", c.name, ...(c.name === "dummy" ? ["numdummies=0"] : [])]];
    case "link":
      return [
        ...(c.before === null ? [["ip", "link", "add", "name", c.name, "type", "dummy"]] : []),
        ["ip", "link", "set", "dev", c.name, "up"],
      ];
    case "address": {
      const label = c.after?.label === undefined ? [] : ["label", c.after.label];
      return [["ip", "address", "replace", `${c.ip}/32`, "dev", c.link, ...label]];
    }
    case "route":
      return [["ip", "route", "replace", "local", c.route.dst, "dev", c.route.dev ?? "", "table", "255"]];
    case "nftTable":
      return [["nft", "-f", "-"]];
    case "arptables":
      return [["arptables", "-t", c.table, "-C", c.chain, ...ruleArguments("arptables", c.rule)]];
    default:
      return [];
  }
}

/** Runs a script with nothing on its PATH but programs that write down how they were called. */
function callsOf(script: string, changes: readonly Change[], folder: string): void {
  const [bin, proc, here, log] = ["bin", "proc", "here", "log"].map((n) => join(folder, n)) as [
    string,
    string,
    string,
    string,
  ];
  for (const path of [bin, proc, here]) mkdirSync(path);
  for (const program of ["ip", "modprobe", "nft", "iptables", "arptables"]) {
    const path = join(bin, program);
    writeFileSync(path, `#!/bin/sh\n{ printf '%s\\0' "\${0##*/}" "$@"; printf '\\n'; } >> '${log}'\n`);
    chmodSync(path, 0o755);
  }
  const expected = new Map<string, string>();
  for (const c of changes) {
    if (c.kind !== "sysctl") continue;
    const path = join(proc, ...sysctlPath(c.name));
    mkdirSync(dirname(path), { recursive: true });
    expected.set(path, `${c.after}\n`);
  }
  const text = script.replaceAll("/proc/sys/net/", `${proc}/net/`);
  assert.ok(!text.includes("/proc/sys/"));
  const { status, stderr } = spawnSync("/bin/sh", ["-s"], {
    input: text,
    cwd: here,
    env: { PATH: bin },
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  const written = readdirSync(proc, { recursive: true, encoding: "utf8" })
    .map((below) => join(proc, below))
    .filter((path) => statSync(path).isFile());
  assert.deepEqual(new Map(written.sort().map((p) => [p, readFileSync(p, "utf8")])), new Map([...expected].sort()));
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\0\n").slice(0, -1) : [];
  assert.deepEqual(
    lines.map((l) => l.split("\0")),
    changes.flatMap(callOf),
  );
  assert.deepEqual(readdirSync(here), [], "a file that nobody wanted");
}

const property = (body: (changes: Change[], host: Host) => void): void =>
  fc.assert(
    fc.property(hosts.filter(sensible), (host) => body(changesOf(host), host)),
    { numRuns: RUNS, seed },
  );

test(`shell and the boot script: every name arrives whole, nothing else is run (seed ${seed})`, () =>
  property((changes) => {
    const boot = systemd(changes, false);
    const shell = render("shell", changes, false);
    assert.deepEqual(boot.notCovered, shell.notCovered);
    if (boot.notCovered.length > 0) return;
    const script = boot.files.find((f) => f.path === SCRIPT)?.text ?? "";
    inFolder((folder) => callsOf(script, changes, folder));
    inFolder((folder) => callsOf(shell.files[0]?.text ?? "", changes, folder));
    inFolder((folder) => {
      const rules = changes.filter((c) => c.kind === "arptables");
      const text = (render("arptables", rules, false).files[0]?.text ?? "").replaceAll(" -A ", " -C ");
      callsOf(text, rules, folder);
    });
  }));

test(`nft reads back the very rules, or the form says that it cannot (seed ${seed})`, (t) => {
  if (!needsRoot(t)) return;
  const wire = new Wire("oddnft");
  let read = 0;
  try {
    property((changes) => {
      const tables = changes.filter((c) => c.kind === "nftTable");
      const { files, notCovered } = render("nft", tables, false);
      const covered = tables.filter((c) => !notCovered.includes(c));
      if (covered.length === 0) return;
      const input = files[0]?.text ?? "";
      const { status, stderr } = spawnSync("ip", ["netns", "exec", wire.rs.name, "nft", "-f", "-"], {
        input,
        encoding: "utf8",
      });
      assert.equal(status, 0, `${stderr}${input}`);
      for (const c of covered) {
        const found = readFacts(wire.rs).filters.filter((f) => f.tool === "nft" && f.table === c.table);
        assert.deepEqual(found.map(plainChain), c.after);
        read++;
      }
    });
    assert.ok(read > 0, "no host had a table");
  } finally {
    wire.close();
  }
});

test(`the files of managers hold plain names only; an odd one is said to be left out (seed ${seed})`, () =>
  property((changes, { lan, carrierName, carrier }) => {
    for (const target of targets) {
      const { files, notCovered } = render(target, changes, false);
      for (const c of changes) {
        const link = c.kind === "address" ? c.link : c.kind === "link" ? c.name : undefined;
        if (link === undefined || isPlainName(link) || ["shell", "ansible", "systemd"].includes(target)) continue;
        assert.ok(notCovered.includes(c), `${target}: ${link}`);
      }
      if (["shell", "ansible", "systemd", "nft", "arptables", "iptables"].includes(target)) continue;
      const text = files
        .map((f) => `${f.path}\n${f.text}`)
        .join("\n")
        .replace(/^#.*$/gm, "");
      for (const odd of [lan, ...(carrier === "dummy" ? [carrierName] : [])])
        if (!isPlainName(odd) && odd.length > 3 && /[^\w\s./#-]/.test(odd))
          assert.ok(!text.includes(odd), `${target}: ${odd}\n${text}`);
    }
  }));

test(`netplan's generator and ifup read what they get (seed ${seed})`, (t) => {
  const generator = ["/usr/libexec/netplan/generate", "/lib/netplan/generate"].find((path) => existsSync(path));
  if (generator === undefined) return t.skip("no netplan here: the package netplan.io is not installed");
  property((changes, { vips }) =>
    inFolder((folder) => {
      for (const target of ["netplan", "ifupdown"] as const)
        for (const { path, text, mode } of render(target, changes, false).files) {
          const at = join(folder, path);
          mkdirSync(dirname(at), { recursive: true });
          writeFileSync(at, text, { mode });
          const program: string = target === "netplan" ? generator : "ifquery";
          const args = target === "netplan" ? ["--root-dir", folder] : ["--list", "--all", "-i", at];
          const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
          assert.equal(status, 0, `${program}: ${stderr}\n${text}`);
          if (target !== "netplan") continue;
          const made = readFileSync(join(folder, "run/systemd/network/10-netplan-lo.network"), "utf8");
          for (const vip of vips) assert.match(made, new RegExp(`^Address=${vip}/32$`, "m"));
        }
    }),
  );
});

test(`ansible-playbook puts the script there as it is: no template in a name is read (seed ${seed})`, (t) => {
  if (spawnSync("ansible-playbook", ["--version"], { stdio: "ignore" }).error !== undefined)
    return t.skip("no ansible-playbook here");
  inFolder((folder) => {
    const [first, ...others] = fc.sample(hosts.filter(sensible), { numRuns: 3, seed });
    assert.ok(first);
    const all = [{ ...first, lan: "{{7*7}}", policy: "arp-sysctl" as const }, ...others].map(changesOf);
    const plays = all.map((changes, i) => {
      const text = ansible(changes, false).files[0]?.text ?? "";
      assert.ok(Array.isArray(parse(text, { customTags: [{ tag: "!unsafe", resolve: (value: string) => value }] })));
      // Into a folder, and without the last task, which runs the script.
      const tasks = text.slice(0, text.indexOf("- name: vipward, now")).replaceAll("/etc/", `${folder}/${i}/etc/`);
      assert.ok(!tasks.includes(" /etc/"));
      const path = join(folder, `${i}.yml`);
      mkdirSync(dirname(join(folder, String(i), WANTED)), { recursive: true });
      writeFileSync(path, tasks);
      return {
        hosts: "localhost",
        connection: "local",
        gather_facts: false,
        tasks: [{ "ansible.builtin.include_tasks": path }],
      };
    });
    writeFileSync(
      join(folder, "syntax.yml"),
      JSON.stringify(
        plays.map(({ tasks, ...play }) => ({
          ...play,
          tasks: tasks.map((task) => ({ "ansible.builtin.import_tasks": Object.values(task)[0] })),
        })),
      ),
    );
    writeFileSync(join(folder, "play.yml"), JSON.stringify(plays.slice(0, 1)));
    const env = { ...process.env, ANSIBLE_PIPELINING: "1", ANSIBLE_LOCAL_TEMP: join(folder, "tmp"), LC_ALL: "C.UTF-8" };
    for (const args of [["--syntax-check", "syntax.yml"], ["play.yml"]]) {
      const { status, stdout, stderr } = spawnSync("ansible-playbook", ["-i", "localhost,", ...args], {
        cwd: folder,
        env,
        encoding: "utf8",
      });
      assert.equal(status, 0, `${stdout}${stderr}`);
    }
    const script = systemd(all[0] ?? [], false).files[0]?.text ?? "";
    assert.match(script, /\{\{7\*7\}\}/);
    assert.equal(readFileSync(join(folder, "0", SCRIPT), "utf8").replaceAll(`${folder}/0/etc/`, "/etc/"), script);
  });
});

test("systemd itself finds nothing to say about the unit", (t) => {
  if (spawnSync("systemd-analyze", ["--version"], { stdio: "ignore" }).error !== undefined)
    return t.skip("no systemd-analyze here: systemd is not installed");
  inFolder((folder) => {
    const changes = changesOf({
      lan: "eth0",
      carrierName: "dummy0",
      policy: "nft-arp",
      carrier: "lo",
      vips: ["10.0.0.100"],
    });
    const unit = systemd(changes, false).files.find((f) => f.path.endsWith(".service"));
    const path = join(folder, "vipward-vips.service");
    writeFileSync(path, unit?.text ?? "");
    const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
    const ours = `${stdout}${stderr}`.split("\n").filter((l) => l.includes("vipward"));
    assert.deepEqual({ status, ours }, { status: 0, ours: [] });
  });
});
