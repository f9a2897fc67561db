import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { moduleState } from "../../host/modules.ts";
import { programsHere, readFacts } from "../../host/perform/readFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { Wire } from "../../testing/arpWire.ts";
import { cliPath } from "../../testing/cli.ts";
import { needsRoot } from "../../testing/root.ts";

const still = (facts: HostFacts) => ({ ...facts, neighbours: [], modules: [] });

interface Fault {
  readonly what: string;
  /** Shell words before vipward's: $FOLDER is this test's own, mounts are seen by nobody else. */
  readonly prepare?: string;
  /** In the real server's namespace, before the facts are read. */
  readonly host?: readonly string[];
  readonly args: readonly string[];
  readonly status: number;
  readonly says: RegExp;
  /** Runs vipward as somebody else. */
  readonly as?: readonly string[];
  readonly skip?: () => string | undefined;
}

const readOnlySysctls = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys";
const noPrograms = 'mkdir "$FOLDER/empty" && mount --bind "$FOLDER/empty" /usr/sbin';
const vip = ["--vip", "10.0.0.100"];

const faults: readonly Fault[] = [
  {
    what: "/proc/sys is read-only, and arp-sysctl was asked for",
    prepare: readOnlySysctls,
    args: [...vip, "--policy", "arp-sysctl"],
    status: 69,
    says: /\/proc\/sys is read-only here.*on the host/,
  },
  {
    what: "/proc/sys is read-only, and neither nft nor arptables is here",
    prepare: `${readOnlySysctls} && ${noPrograms}`,
    args: vip,
    status: 69,
    says: /nft-arp: the program nft is not here: install the package nftables/,
  },
  {
    what: "nft is missing",
    prepare: noPrograms,
    args: [...vip, "--policy", "nft-arp"],
    status: 69,
    says: /the program nft is not here: install the package nftables/,
  },
  {
    what: "arptables is missing",
    prepare: noPrograms,
    args: [...vip, "--policy", "arptables"],
    status: 69,
    says: /the program arptables is not here: install the package arptables/,
  },
  {
    what: "nothing to redirect with",
    prepare: noPrograms,
    args: [...vip, "--policy", "redirect"],
    status: 69,
    says: /neither nft, iptables nor ipchains is here/,
  },
  {
    what: "no module for the carrier",
    args: [...vip, "--policy", "arp-sysctl", "--carrier", "dummy"],
    status: 69,
    says: /has no module dummy for the carrier: install it, or choose another carrier/,
    skip: () => (moduleState("dummy") === "missing" ? undefined : "this kernel has dummy"),
  },
  {
    what: "no module for tunnels",
    args: [...vip, "--policy", "nft-arp", "--forwarding", "tun"],
    status: 69,
    says: /has no module ipip for tunl0/,
    skip: () => (moduleState("ipip") === "missing" ? undefined : "this kernel has ipip"),
  },
  {
    what: "a module that may not be loaded",
    prepare: "{ modprobe -r dummy || true; }",
    args: [...vip, "--policy", "arp-sysctl", "--carrier", "dummy", "--carrier-name", "vips"],
    as: ["setpriv", "--bounding-set", "-sys_module", "--inh-caps", "-sys_module"],
    status: 1,
    says: /failed: .*dummy.*not permitted.*remedy: load it as root on the host.*all of it was taken back/s,
    skip: () => (/missing|builtin/.test(moduleState("dummy")) ? "dummy is built in or missing here" : undefined),
  },
  {
    what: "the VIP is the host's own address",
    args: ["--vip", "10.0.0.11"],
    status: 69,
    says: /10\.0\.0\.11 is this host's own address on eth0: a VIP must be another one/,
  },
  {
    what: "the VIP sits on an ethernet interface",
    host: ["ip", "address", "add", "10.0.0.100/24", "dev", "eth0"],
    args: vip,
    status: 69,
    says: /10\.0\.0\.100 is on eth0.*`ip address delete 10\.0\.0\.100\/24 dev eth0` first/,
  },
  {
    what: "the carrier's name belongs to another program's interface",
    host: ["ip", "link", "add", "vips", "type", "bridge"],
    args: [...vip, "--policy", "arp-sysctl", "--carrier", "dummy", "--carrier-name", "vips"],
    status: 69,
    says: /vips exists and is a bridge interface, not a dummy one: name another with --carrier-name/,
  },
  {
    what: "the disk is full",
    prepare: 'mount -t tmpfs -o size=16k none "$STATE" && head -c 16384 /dev/zero >"$STATE/filling"',
    args: vip,
    status: 71,
    says: /cannot write the journal .*ENOSPC\n {2}remedy: the disk is full: free some space; nothing was changed/,
  },
  {
    what: "the state folder is on a read-only file system",
    prepare: 'mount -t tmpfs -o ro none "$STATE"',
    args: vip,
    status: 71,
    says: /EROFS\n {2}remedy: the file system is read-only: remount it, or choose another folder with --state-dir/,
  },
  {
    what: "the state folder belongs to somebody else",
    args: vip,
    as: [
      "setpriv",
      "--reuid",
      "65534",
      "--clear-groups",
      "--bounding-set",
      "+net_admin",
      "--inh-caps",
      "+net_admin",
      "--ambient-caps",
      "+net_admin",
    ],
    status: 77,
    says: /EACCES\n {2}remedy: run as root/,
  },
  {
    what: "not root",
    args: vip,
    as: ["setpriv", "--reuid", "65534", "--clear-groups"],
    status: 77,
    says: /not permitted without CAP_NET_ADMIN\n {2}remedy: run as root/,
  },
];

/** One host for all: each fault must leave it as it was. */
async function onHost(t: TestContext, fault: Fault): Promise<void> {
  const wire = new Wire("fault");
  const folder = mkdtempSync(join(tmpdir(), "vipward-fault-"));
  try {
    const state = join(folder, "state");
    mkdirSync(state, { mode: 0o700 });
    const inside = ["netns", "exec", wire.rs.name];
    if (fault.host !== undefined) execFileSync("ip", [...inside, ...fault.host]);
    const before = still(readFacts(wire.rs));
    const command = [process.execPath, cliPath, "apply", ...fault.args, "--keep", "none", "--state-dir", state];
    const script = `${fault.prepare ?? ":"} && exec "$@"`;
    const env = { ...process.env, FOLDER: folder, STATE: state };
    // `ip netns exec` has a mount namespace of its own.
    const all = [...inside, "sh", "-c", script, "sh", ...(fault.as ?? []), ...command];
    const done = spawnSync("ip", all, { encoding: "utf8", timeout: 180_000, env });
    assert.match(done.stderr, fault.says);
    assert.equal(done.status, fault.status, done.stderr);
    assert.deepEqual(still(readFacts(wire.rs)), before);
    t.diagnostic(done.stderr.trim().split("\n").slice(-2).join(" / "));
  } finally {
    wire.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const fault of faults)
  test(`${fault.what}: it is said with its remedy, status ${fault.status}, and nothing is changed`, async (t) => {
    if (!needsRoot(t)) return;
    const why = fault.skip?.();
    if (why !== undefined) return t.skip(why);
    await onHost(t, fault);
  });

test("/proc/sys is read-only: auto takes nft-arp instead, which holds on the wire", async (t) => {
  if (!needsRoot(t)) return;
  if (!programsHere().nft) return t.skip("no nft here");
  const wire = new Wire("rosys");
  const folder = mkdtempSync(join(tmpdir(), "vipward-fault-"));
  try {
    const command = [process.execPath, cliPath, "apply", ...vip, "--keep", "none", "--state-dir", folder];
    const all = ["netns", "exec", wire.rs.name, "sh", "-c", `${readOnlySysctls} && exec "$@"`, "sh", ...command];
    const done = spawnSync("ip", all, { encoding: "utf8", timeout: 60_000 });
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /by nft-arp/);
    assert.deepEqual(wire.answered("10.0.0.100"), []);
    assert.deepEqual(wire.shownFor("10.0.0.100"), ["10.0.0.11"]);
  } finally {
    wire.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
