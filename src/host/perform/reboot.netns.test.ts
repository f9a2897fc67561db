/**
 * What `vipward apply` keeps, over a real boot: systemd is process 1, the network comes up by each manager in turn, apply
 * finds it, the power goes, all network state is made anew, and the same files boot again, heard on the wire.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { HostFacts } from "../../model/facts.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";
import { clear, furnish, noRoomWhy, SystemdRoom } from "../../testing/systemdRoom.ts";
import { readFacts } from "./readFacts.ts";

const VIP = "10.0.0.100";
const RIP = "10.0.0.11";

interface Manager {
  readonly files: Readonly<Record<string, string>>;
  readonly enabled: readonly string[];
}

/** Each manager with eth0 at its hands, as its own documentation says. */
const managers: Readonly<Record<string, Manager>> = {
  networkd: {
    files: {
      "etc/systemd/network/20-lan.network": `[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nAddress=${RIP}/24\nGateway=10.0.0.1\n`,
    },
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

for (const [name, manager, policy] of [
  ["networkd", "networkd", "arp-sysctl"],
  ["netplan", "netplan", "arp-sysctl"],
  ["networkmanager", "networkmanager", "arp-sysctl"],
  ["ifupdown", "ifupdown", "arp-sysctl"],
  ["systemd", "networkd", "nft-arp"],
] as const)
  test(`${name}: found by who brings eth0 up, kept over a reboot without a leak at any instant, undone to the byte`, async (t) => {
    if (!needsRoot(t)) return;
    const none = noRoomWhy();
    if (none !== undefined) return t.skip(none);
    const folder = mkdtempSync(join(tmpdir(), "vipward-room-"));
    let wire: Wire | undefined;
    let room: SystemdRoom | undefined;
    const boot = async (): Promise<{ wire: Wire; room: SystemdRoom }> => {
      await room?.stop();
      wire?.close();
      wire = new Wire(name.slice(0, 8), { bare: true });
      room = new SystemdRoom(wire.rs, folder);
      return { wire, room };
    };
    try {
      const { files, enabled } = managers[manager] as Manager;
      furnish(folder, files, enabled);
      const first = await boot();
      await first.room.booted();
      const isUp = (): boolean => readFacts(first.wire.rs).addresses.some((a) => a.ip === RIP);
      await listen(first.wire, isUp);
      const bare = tree(join(folder, "etc"));
      const applied = first.room.vipward("apply", "--vip", VIP, "--policy", policy);
      assert.equal(applied.status, 0, applied.text);
      assert.match(applied.text, new RegExp(`^kept over a reboot by ${name}$`, "m"));
      assert.equal(first.room.vipward("apply", "--vip", VIP, "--policy", policy).text, "nothing to do\n");
      const wanted = kept(readFacts(first.wire.rs));

      const second = await boot();
      const same = (): boolean => JSON.stringify(kept(readFacts(second.wire.rs))) === JSON.stringify(wanted);
      const leaks = await listen(second.wire, same).catch((e) => {
        assert.deepEqual(
          kept(readFacts(second.wire.rs)),
          wanted,
          second.room.run("journalctl", "-b", "--no-pager").text,
        );
        throw e;
      });
      assert.deepEqual(leaks, []);
      await second.room.booted();
      assert.deepEqual(kept(readFacts(second.wire.rs)), wanted);
      const status = second.room.vipward("status", "--vip", VIP, "--policy", policy);
      assert.equal(status.status, 0, status.text);
      const undone = second.room.vipward("undo");
      assert.equal(undone.status, 0, undone.text);
      assert.deepEqual(tree(join(folder, "etc")), bare);
      assert.ok(!readFacts(second.wire.rs).addresses.some((a) => a.ip === VIP));
    } finally {
      await room?.stop();
      wire?.close();
      clear(folder);
    }
  });
