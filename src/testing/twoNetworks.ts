/** A director whose one link has addresses in two networks, a real server in each. */
import assert from "node:assert/strict";
import type { Cluster, Director } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";

/** `addresses`: what the director has besides its DIP 10.50.0.2 on eth0. */
export function twoNetworks(addresses = "[{ address: 10.51.0.2, interface: eth0 }]"): [Cluster, Director] {
  const read = parseCluster(`version: 1
name: test
networks: { one: { prefix: 10.50.0.0/24 }, two: { prefix: 10.51.0.0/24 } }
directors: { lb1: { dip: 10.50.0.2, interface: eth0, addresses: ${addresses} } }
realServers: { web1: 10.50.0.11, web2: 10.51.0.12 }
vips: { web: 10.50.0.100 }
services: [{ vip: web, port: 80 }]
`);
  assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
  const [director] = read.cluster.directors;
  assert.ok(director !== undefined);
  return [read.cluster, director];
}
