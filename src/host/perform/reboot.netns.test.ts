/**
 * What `vipward apply` keeps, over a real boot: systemd is process 1, the network comes up by each manager in turn, apply
 * finds it, the power goes, all network state is made anew, and the same files boot again, heard on the wire.
 */
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { prefix } from "../../base/prefix.ts";
import type { HostFacts } from "../../model/facts.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";
import { clear, furnish, noRoomWhy, SystemdRoom } from "../../testing/systemdRoom.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { readFacts } from "./readFacts.ts";

const VIP = "10.0.0.100";
const RIP = "10.0.0.11";

interface Manager {
  readonly files: Readonly<Record<string, string>>;
  readonly enabled: readonly string[];
}

const lanNetwork = `[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nAddress=${RIP}/24\nGateway=10.0.0.1\n`;

/** Each manager with eth0 at its hands, as its own documentation says. */
const managers: Readonly<Record<string, Manager>> = {
  networkd: {
    files: { "etc/systemd/network/20-lan.network": lanNetwork },
    enabled: ["systemd-networkd.service"],
  },
  netplan: {
    files: {
      "etc/netplan/01-lan.yaml": `network:\n  version: 2\n  ethernets:\n    eth0:\n      link-local: []\n      addresses: [${RIP}/24]\n      routes: [{to: default, via: 10.0.0.1}]\n`,
    },
    enabled: [],
  },
  networkmanager: {
    files: {
      "etc/NetworkManager/NetworkManager.conf":
        "[main]\nplugins=keyfile\n[device-lan]\nmatch-device=interface-name:eth0\nmanaged=1\n",
      "etc/NetworkManager/system-connections/lan.nmconnection": `[connection]\nid=lan\nuuid=11111111-2222-4333-8444-555555555555\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=manual\naddress1=${RIP}/24,10.0.0.1\n[ipv6]\nmethod=disabled\n`,
    },
    enabled: ["NetworkManager.service"],
  },
  "networkd, and nftables with a folder": {
    files: {
      "etc/systemd/network/20-lan.network": lanNetwork,
      "etc/nftables.conf": 'flush ruleset\ninclude "/etc/nftables.d/*.nft"\n',
      "etc/nftables.d/README": "",
    },
    enabled: ["systemd-networkd.service", "nftables.service"],
  },
  "networkd, and nftables without a folder": {
    files: { "etc/systemd/network/20-lan.network": lanNetwork, "etc/nftables.conf": "flush ruleset\n" },
    enabled: ["systemd-networkd.service", "nftables.service"],
  },
  ifupdown: {
    files: {
      "etc/network/interfaces": `auto lo eth0\niface lo inet loopback\niface eth0 inet static\n  address ${RIP}/24\n  gateway 10.0.0.1\n`,
      ...Object.fromEntries(["pre-up", "up", "down", "post-down"].map((d) => [`etc/network/if-${d}.d/.keep`, ""])),
    },
    enabled: ["networking.service"],
  },
};

/** What a boot must make again. Labels and what comes and goes by itself left out. */
const kept = ({ addresses, sysctls, filters, links, routes }: HostFacts) => ({
  addresses: addresses.map((a) => `${a.link} ${a.ip}/${a.prefixLength} ${a.scope}`).sort(),
  sysctls: Object.fromEntries(Object.entries(sysctls).filter(([n]) => /\.(arp_|rp_filter)/.test(n))),
  filters,
  up: links.filter((l) => l.flags.includes("UP")).map((l) => l.name),
  local: routes
    .filter((r) => r.table === 255)
    .map((r) => `${r.type} ${r.dst} ${r.dev}`)
    .sort(),
});

function tree(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink()) found[path] = readlinkSync(path);
    else found[path] = entry.isFile() ? readFileSync(path, "utf8") : "/";
  }
  return found;
}

/** Asks and provokes all the time until `done`: every ARP packet in the VIP's name. */
async function listen(wire: Wire, done: () => boolean, timeoutMs = 30_000): Promise<string[]> {
  const leaks: string[] = [];
  for (const untilMs = Date.now() + timeoutMs; Date.now() < untilMs; await sleep(5)) {
    leaks.push(...wire.overheard(VIP));
    if (done()) {
      leaks.push(...wire.overheard(VIP));
      return leaks;
    }
  }
  throw new Error("not there in time");
}

/** Files of the unit, which stands behind each manager's own; and the hook, which runs its script. */
const ofUnit = /\/(boot\.sh|vipward-vips\.service)$/;
const ofNative = /vipward/;

/** One host's disk, and the machine that boots from it: again and again, each time with new links and nothing else. */
class Host {
  readonly folder = mkdtempSync(join(tmpdir(), "vipward-room-"));
  readonly #name: string;
  wire!: Wire;
  room!: SystemdRoom;
  constructor(name: string, { files, enabled }: Manager) {
    this.#name = name;
    furnish(this.folder, files, enabled);
  }
  async off(): Promise<void> {
    await this.room?.stop();
    this.wire?.close();
  }
  async boot(): Promise<void> {
    await this.off();
    this.wire = new Wire(this.#name, { bare: true });
    this.room = new SystemdRoom(this.wire.rs, this.folder);
  }
  etc(): Record<string, string> {
    return tree(join(this.folder, "etc"));
  }
  facts(): HostFacts {
    return readFacts(this.wire.rs);
  }
  /** Boots, and hears what is said in the VIP's name until all is as wanted and the boot is over. */
  async bootsInto(wanted: unknown): Promise<string[]> {
    await this.boot();
    const same = (): boolean => JSON.stringify(kept(this.facts())) === JSON.stringify(wanted);
    const heard = await listen(this.wire, same).catch(() => [] as string[]);
    await this.room.booted();
    // NetworkManager may bring lo up twice at the start: its addresses come, go and come in a twentieth of a second.
    heard.push(...(await listen(this.wire, same, 5_000).catch(() => [])), ...this.wire.overheard(VIP));
    assert.deepEqual(kept(this.facts()), wanted, this.room.run("journalctl", "-b", "--no-pager").text);
    return heard;
  }
  /** Without some of vipward's files, as if this part of the guess had been wrong; puts them back. */
  async without(gone: (path: string) => boolean, body: () => Promise<void>): Promise<void> {
    const away = join(this.folder, "away");
    const paths = Object.entries(this.etc()).flatMap(([path, text]) => (text !== "/" && gone(path) ? [path] : []));
    assert.ok(paths.length > 0);
    mkdirSync(away);
    for (const [i, path] of paths.entries()) renameSync(path, join(away, String(i)));
    await body();
    for (const [i, path] of paths.entries()) renameSync(join(away, String(i)), path);
    rmdirSync(away);
  }
}

async function withHost(
  t: TestContext,
  name: string,
  manager: string,
  body: (host: Host) => Promise<void>,
): Promise<void> {
  if (!needsRoot(t)) return;
  const none = noRoomWhy();
  if (none !== undefined) return t.skip(none);
  const host = new Host(name.slice(0, 8), managers[manager] as Manager);
  try {
    await host.boot();
    await host.room.booted();
    await listen(host.wire, () => host.facts().addresses.some((a) => a.ip === RIP));
    await body(host);
  } finally {
    await host.off();
    clear(host.folder);
  }
}

for (const [name, manager, policy] of [
  ["networkd", "networkd", "arp-sysctl"],
  ["netplan", "netplan", "arp-sysctl"],
  ["networkmanager", "networkmanager", "arp-sysctl"],
  ["ifupdown", "ifupdown", "arp-sysctl"],
  ["networkd", "networkd, and nftables with a folder", "nft-arp"],
  ["systemd", "networkd, and nftables without a folder", "nft-arp"],
] as const)
  test(`${name} for ${policy}: found by who brings eth0 up, kept over a reboot without a leak at any instant, undone to the byte`, (t) =>
    withHost(t, name, manager, async (host) => {
      const wish = ["--vip", VIP, "--policy", policy];
      const bare = host.etc();
      const applied = host.room.vipward("apply", ...wish);
      assert.equal(applied.status, 0, applied.text);
      assert.match(applied.text, new RegExp(`^kept over a reboot by ${name}$`, "m"));
      assert.equal(host.room.vipward("apply", ...wish).text, "nothing to do\n");
      const wanted = kept(host.facts());
      assert.deepEqual(await host.bootsInto(wanted), []);
      const status = host.room.vipward("status", ...wish);
      assert.equal(status.status, 0, status.text);
      if (name === "systemd")
        // Its ruleset is flushed, and ours with it.
        for (const verb of ["restart", "reload"]) {
          assert.equal(host.room.run("systemctl", verb, "nftables").status, 0);
          await listen(host.wire, () => JSON.stringify(kept(host.facts())) === JSON.stringify(wanted));
        }
      else {
        // The manager's own files do it all; and where the guess was wrong and they do nothing, the unit does.
        await host.without(
          (path) => (name === "ifupdown" ? /vips\.service$/.test(path) : ofUnit.test(path)),
          async () => assert.deepEqual(await host.bootsInto(wanted), []),
        );
        await host.without(
          (path) => ofNative.test(path.slice(host.folder.length)) && !ofUnit.test(path),
          async () => assert.deepEqual(await host.bootsInto(wanted), []),
        );
      }
      const undone = host.room.vipward("undo");
      assert.equal(undone.status, 0, undone.text);
      assert.deepEqual(host.etc(), bare);
      assert.ok(!host.facts().addresses.some((a) => a.ip === VIP));
    }));

test("the twin: with sysctl.d and the unit gone, networkd's file alone boots into a VIP that is answered for and leaked", (t) =>
  withHost(t, "twin", "networkd", async (host) => {
    assert.equal(host.room.vipward("apply", "--vip", VIP, "--policy", "arp-sysctl").status, 0);
    const { sysctls: _, ...wanted } = kept(host.facts());
    await host.without(
      (path) => ofUnit.test(path) || path.endsWith("/99-vipward.conf"),
      async () => {
        await host.boot();
        const same = (): boolean => {
          const { sysctls: __, ...now } = kept(host.facts());
          return JSON.stringify(now) === JSON.stringify(wanted);
        };
        await listen(host.wire, same);
        await sleep(100);
        const heard = [host.wire.overheard(VIP), await sleep(50), host.wire.overheard(VIP)].flat();
        assert.ok(heard.includes(`answers for ${VIP}`) && heard.includes(`asks as ${VIP}`), heard.join());
      },
    );
  }));

test("an interface that never comes: the unit ends without a VIP and says which one", (t) =>
  withHost(t, "late", "networkd", async (host) => {
    assert.equal(host.room.vipward("apply", "--vip", VIP, "--policy", "arp-sysctl", "--keep", "systemd").status, 0);
    const script = join(host.folder, "etc/vipward/boot.sh");
    const text = readFileSync(script, "utf8");
    writeFileSync(script, text.replaceAll("eth0", "eth7"));
    assert.equal(host.room.vipward("status").status, 1, "a file changed by hand is drift");
    host.wire.rs.run(() => {
      const rt = openRtnetlink();
      rt.removeAddress("lo", prefix(`${VIP}/32`));
      rt.close();
    });
    const run = host.room.run("sh", "/etc/vipward/boot.sh", "1");
    assert.equal(run.status, 1);
    assert.match(run.text, /no interface eth7 yet, so no VIP yet/);
    assert.ok(!host.facts().addresses.some((a) => a.ip === VIP));
    const undone = host.room.vipward("undo");
    assert.match(undone.text, /changed by others: .*boot\.sh.*: someone else has changed it since/);
    assert.equal(readFileSync(script, "utf8"), text.replaceAll("eth0", "eth7"), "a changed file is left");
  }));
