import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatIpv4, ipv4 } from "../../base/ipv4.ts";
import { type Mac, mac } from "../../base/mac.ts";
import { parseCluster } from "../../cluster/index.ts";
import { firstVipPathPort } from "../../machine/health/vipPath.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires } from "../../testing/wires.ts";
import { dissectIpv4, tcpSynPacket } from "../../wire/frame.ts";
import { DirectorWires } from "./directorWires.ts";

test("two networks on one link: answers to checks from either own address are heard, also when the link was made again", async (t) => {
  if (!needsRoot(t)) return;
  const read = parseCluster(`version: 1
name: test
networks: { one: { prefix: 10.50.0.0/24 }, two: { prefix: 10.51.0.0/24 } }
directors: { lb1: { dip: 10.50.0.2, interface: eth0, addresses: [{ address: 10.51.0.2, interface: eth0 }] } }
realServers: { web1: 10.50.0.11, web2: 10.51.0.12 }
vips: { web: 10.50.0.100 }
services: [{ vip: web, port: 80 }]
`);
  assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
  const { cluster } = read;
  const [director] = cluster.directors;
  assert.ok(director !== undefined);
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
    lab.machine("lb1").run(() => wires.load(cluster, director));
    await bothAnswer();
    // As ifdown and ifup do with a VLAN, a bond, a tunnel: the same name, another index.
    lab.run("lb1", "ip", "link", "delete", "eth0");
    const peer = ["type", "veth", "peer", "name", "p1", "netns", lab.switch.name];
    lab.run("lb1", "ip", "link", "add", "eth0", "address", "02:00:00:00:00:01", ...peer);
    lab.switch.run(() => execFileSync("ip", ["link", "set", "p1", "master", "br0", "up"]));
    lab.run("lb1", "ip", "link", "set", "eth0", "up");
    for (const own of ["10.50.0.2/24", "10.51.0.2/24"]) lab.run("lb1", "ip", "address", "add", own, "dev", "eth0");
    lab.machine("lb1").run(() => wires.linkUp("eth0"));
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
