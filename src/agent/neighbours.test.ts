import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { parseCluster } from "../cluster/index.ts";
import { dissect } from "../wire/frame.ts";
import { Neighbours } from "./neighbours.ts";

test("two networks on one link: each neighbour is asked for in the name of the address in its own network", () => {
  const read = parseCluster(`version: 1
name: test
networks: { one: { prefix: 10.0.0.0/24 }, two: { prefix: 10.1.0.0/24 } }
directors: { lb1: { dip: 10.0.0.2, interface: eth0, addresses: [{ address: 10.1.0.2, interface: eth0 }] } }
realServers: { web1: 10.0.0.11, web2: 10.1.0.12 }
vips: { web: 10.0.0.100 }
services: [{ vip: web, port: 80 }]
`);
  assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
  const [director] = read.cluster.directors;
  assert.ok(director !== undefined);
  const asked: string[] = [];
  const neighbours = new Neighbours({
    macOf: () => mac("02:00:00:00:00:01"),
    sendFrame: (link, frame) => {
      const { inside } = dissect(frame);
      assert.equal(inside.kind, "arp");
      if (inside.kind === "arp")
        asked.push(`${link} who-has ${formatIpv4(inside.arp.targetIp)} tell ${formatIpv4(inside.arp.senderIp)}`);
    },
    sendPacket: () => {},
  });
  neighbours.load(read.cluster, director);
  for (const rip of ["10.0.0.11", "10.1.0.12"]) neighbours.send(ipv4(rip), new Uint8Array(20), 0);
  assert.deepEqual(asked, ["eth0 who-has 10.0.0.11 tell 10.0.0.2", "eth0 who-has 10.1.0.12 tell 10.1.0.2"]);
});
