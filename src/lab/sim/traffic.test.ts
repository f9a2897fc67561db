/** Clients go on to the end of a scenario, and whoever waits then is waited for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tellScenario } from "../../testing/scenarios.ts";

const file = (scenario: string): string => `version: 1
name: traffic
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2, lb2: 10.10.0.3 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12 }
vips: { web: 10.10.0.100 }
services:
  - { name: http, vip: web, port: 80, health: tcp }
  - { name: names, vip: web, port: 53, protocol: udp }
failover: { vrrp: { id: 77 } }
lab: { scenario: { connectEveryMs: 500, longLived: 0, ${scenario} } }
`;
const crash = (at: number, ...hosts: string[]): string =>
  hosts.map((host) => `{ at: ${at}, do: crash, host: ${host} }`).join(", ");

test("connections and questions begin until the end, in a scenario shorter than a client's patience too", async () => {
  const { connections, datagrams } = await tellScenario(file("seconds: 10"));
  // the first after half a second
  assert.deepEqual([connections.total, connections.completed], [19, 19]);
  assert.deepEqual([datagrams?.asked, datagrams?.answered], [19, 19]);
});

test("nobody is left to serve them for the last second: that is seen", async () => {
  const { connections, datagrams } = await tellScenario(file(`seconds: 10, faults: [${crash(8.9, "web1", "web2")}]`));
  assert.equal(connections.total, 19);
  assert.equal(connections.completed, 17);
  assert.deepEqual([datagrams?.asked, datagrams?.answered], [19, 17]);
});

test("both directors gone just before the end: nobody owns the VIP, and connections say so", async () => {
  const { connections, owners } = await tellScenario(file(`seconds: 30, faults: [${crash(29.2, "lb1", "lb2")}]`));
  assert.deepEqual(owners["10.10.0.100"], []);
  assert.ok(connections.completed < connections.total, JSON.stringify(connections));
});

test("a question that waits for its answer at the end gets it", async () => {
  const late = "seconds: 10, faults: [{ at: 8.6, do: delay, host: client, value: 1000 }]";
  const { datagrams } = await tellScenario(file(late));
  assert.deepEqual([datagrams?.asked, datagrams?.answered], [19, 19]);
});
