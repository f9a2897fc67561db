import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatIpv4, ipv4 } from "../../base/ipv4.ts";
import { type Mac, mac } from "../../base/mac.ts";
import { firstVipPathPort } from "../../machine/health/vipPath.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { twoNetworks } from "../../testing/twoNetworks.ts";
import { buildWires } from "../../testing/wires.ts";
import { dissectIpv4, tcpSynPacket } from "../../wire/frame.ts";
import { DirectorWires } from "./directorWires.ts";

test("two networks on one link: answers to checks from either own address are heard, also when the link was made again", async (t) => {
  if (!needsRoot(t)) return;
  const vip = "address add 10.50.0.100/32 dev lo";
  const lab = buildWires(testPrefix("dwires"), {
    lb1: ["address add 10.50.0.2/24 dev eth0", "address add 10.51.0.2/24 dev eth0"],
    web1: ["address add 10.50.0.11/24 dev eth0", vip],
    web2: ["address add 10.51.0.12/24 dev eth0", vip],
  });
  const heard = new Map<string, Mac>();
  const errors: string[] = [];
  const wires = new DirectorWires({
    macOf: () => mac("02:00:00:00:00:01"),
    onArp: () => {},
    onPacket: (octets, _, from) => {
      const seen = dissectIpv4(octets);
      if (seen.kind === "ipv4" && seen.inside.kind === "tcp") heard.set(formatIpv4(seen.ipv4.destination), from);
    },
    onError: (error) => void errors.push(String(error)),
  });
  const way = { sourcePort: firstVipPathPort, destinationPort: 80, sequence: 1 };
  const ask = (dip: string, rip: string): void =>
    wires.toNeighbour(ipv4(rip), tcpSynPacket({ source: ipv4(dip), destination: ipv4("10.50.0.100") }, way));
  const bothAnswer = async (): Promise<void> => {
    heard.clear();
    // Nobody listens there: an RST is an answer too. Asked again, for a bridge port may not forward yet.
    for (let i = 0; i < 100 && heard.size < 2; i++) {
      ask("10.50.0.2", "10.50.0.11");
      ask("10.51.0.2", "10.51.0.12");
      await sleep(100);
    }
    assert.deepEqual([...heard].sort(), [
      ["10.50.0.2", "02:00:00:00:00:02"],
      ["10.51.0.2", "02:00:00:00:00:03"],
    ]);
  };
  try {
    lab.machine("lb1").run(() => wires.load(...twoNetworks()));
    await bothAnswer();

    // A reload that names a link that cannot be opened, after it named another set of addresses for one that can.
    const sockets = (): number => readdirSync("/proc/self/fd").length;
    const before = sockets();
    const bad = twoNetworks("[{ address: 10.51.0.9, interface: gone0 }]");
    assert.throws(() => lab.machine("lb1").run(() => wires.load(...bad)), /gone0/);
    assert.equal(sockets(), before, "what the reload had opened is closed");
    await bothAnswer();

    // As ifdown and ifup do with a VLAN, a bond, a tunnel: the same name, another index.
    lab.run("lb1", "ip", "link", "delete", "eth0");
    const peer = ["type", "veth", "peer", "name", "p1", "netns", lab.switch.name];
    lab.run("lb1", "ip", "link", "add", "eth0", "address", "02:00:00:00:00:01", ...peer);
    lab.switch.run(() => execFileSync("ip", ["link", "set", "p1", "master", "br0", "up"]));
    lab.run("lb1", "ip", "link", "set", "eth0", "up");
    for (const own of ["10.50.0.2/24", "10.51.0.2/24"]) lab.run("lb1", "ip", "address", "add", own, "dev", "eth0");
    lab.machine("lb1").run(() => wires.linkIs("eth0", true));
    await bothAnswer();

    // Renamed away, and another of that name comes: as for one that was deleted.
    lab.run("lb1", "ip", "link", "set", "eth0", "down");
    lab.run("lb1", "ip", "link", "set", "eth0", "name", "eth9");
    lab.machine("lb1").run(() => wires.linkIs("eth0", false));
    lab.run("lb1", "ip", "link", "set", "eth9", "up");
    heard.clear();
    ask("10.50.0.2", "10.50.0.11");
    await sleep(300);
    assert.deepEqual([...heard], []);
    lab.run("lb1", "ip", "link", "set", "eth9", "down");
    lab.run("lb1", "ip", "link", "set", "eth9", "name", "eth0");
    lab.run("lb1", "ip", "link", "set", "eth0", "up");
    lab.machine("lb1").run(() => wires.linkIs("eth0", true));
    await bothAnswer();
    // The link that went said so itself, and nothing else went wrong.
    assert.deepEqual(
      errors.filter((text) => !text.includes("ENETDOWN")),
      [],
    );
  } finally {
    wires.close();
    lab.close();
  }
});
