import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import type { GateWish } from "../ports/engine.ts";
import { gateOf } from "./gate.ts";

const vip = ipv4("10.0.0.100");

function clusterOf(vrrp: string, { lb1 = "10.0.0.2", service = "port: 80" } = {}): Cluster {
  const text = `version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: { dip: ${lb1}, priority: 255 }, lb2: 10.0.0.3 }
realServers: { web1: 10.0.0.11, lb2: 10.0.0.3 }
vips: { web: 10.0.0.100 }
services: [{ vip: web, ${service} }]
failover: { vrrp: { id: 7${vrrp} } }
`;
  const read = parseCluster(text, { fileName: "test.yaml" });
  assert.ok(read.ok, read.ok ? "" : JSON.stringify(read.problems));
  return read.cluster;
}
function gate(cluster: Cluster, name: string): Omit<GateWish, "peers"> {
  const host = cluster.directors.find((d) => d.name === name);
  assert.ok(host);
  const { peers, ...rest } = gateOf(cluster, host);
  assert.deepEqual(peers, [ipv4(name === "lb1" ? "10.0.0.3" : "10.0.0.2")]);
  return rest;
}
const open = { closed: [], open: [] };

test("accept is on unless the file says no", () => assert.deepEqual(gate(clusterOf(""), "lb2"), open));

test("accept: false closes the VIPs, but not for the owner of the addresses", () => {
  const cluster = clusterOf(", accept: false");
  assert.deepEqual(gate(cluster, "lb1"), open);
  assert.deepEqual(gate(cluster, "lb2").closed, [vip]);
});

test("accept: false on a director that is a real server too: its services stay open, and nothing else", () => {
  const doors = [{ vip, protocol: 6, first: 80, last: 80 }];
  assert.deepEqual(gate(clusterOf(", accept: false"), "lb2"), { closed: [vip], open: doors });
  const marked = clusterOf(", accept: false", { service: "fwmark: 5" });
  assert.deepEqual(gate(marked, "lb2"), open, "a mark does not say which ports");
});
