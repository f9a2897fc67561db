import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import type { ForwardingMethod } from "../ports/engine.ts";
import { builtinCluster } from "./builtin.ts";
import { type LabSpec, type Plot, plotOf } from "./plot.ts";
import { methodsOf, specOf, untoldOf } from "./spec.ts";
import { addressOn } from "./topology.ts";

const size = { longLived: 20, shortLived: 40, durationMs: 5000 };

function clusterOf(text: string): Cluster {
  const read = parseCluster(text);
  assert.ok(read.ok, read.ok ? "" : read.problems.map((p) => p.message).join("\n"));
  return read.cluster;
}
function specIn(text: string, forwarding: ForwardingMethod = "dr"): LabSpec {
  const spec = specOf(clusterOf(text), forwarding);
  assert.ok(typeof spec !== "string", String(spec));
  return spec;
}
const plotIn = (text: string, forwarding: ForwardingMethod): Plot => plotOf(specIn(text, forwarding), size);

/** A cluster file with these real servers and services; everything else is as plain as can be. */
const file = (realServers: string, services: string, more = "forwarding: dr"): string => `version: 1
name: mine
networks: { lan: { prefix: 10.1.0.0/24 }, far: { prefix: 10.2.0.0/24, router: 10.2.0.1 } }
directors: { lb1: 10.1.0.2 }
realServers: ${realServers}
vips: { v: 10.1.0.100 }
services: ${services}
${more}
`;
const http = "[{ name: http, vip: v, port: 80, scheduler: rr }]";

for (const forwarding of ["dr", "tun"] as const)
  for (const count of [2, 3, 10, 50])
    test(`the built-in ${forwarding} cluster with ${count} real servers: a whole plot, every address and MAC once`, () => {
      const plot = plotIn(builtinCluster(forwarding, count), forwarding);
      assert.equal(plot.realServers.length, count);
      const links = plot.topology.hosts.flatMap((h) => h.links);
      const addresses = [...links.flatMap((l) => l.addresses.map((a) => a.address)), ...plot.vips];
      assert.equal(new Set(addresses).size, addresses.length);
      assert.equal(new Set(links.map((l) => l.mac)).size, links.length);
      assert.equal(new Set(plot.topology.hosts.map((h) => h.name)).size, plot.topology.hosts.length);
      const [target] = plot.services;
      assert.equal(Object.keys(plot.weights["10.10.0.100:80"] ?? {}).length, count);
      assert.equal(target?.service.realServers.length, count);
      // the client's traffic must come from addresses that no one else has
      assert.deepEqual(
        plot.traffic.from.filter((text) =>
          plot.realServers.some(({ host, wire }) => formatIpv4(addressOn(host, wire)) === text),
        ),
        [],
      );
    });

test("the tun cluster keeps its real server behind the router, which is that server's only neighbour", () => {
  const plot = plotIn(builtinCluster("tun", 10), "tun");
  const far = plot.realServers.filter(({ wire }) => wire !== plot.lan);
  assert.deepEqual(
    far.map(({ host }) => host.name),
    ["web3"],
  );
  assert.deepEqual(
    far.flatMap(({ host }) => plot.neighboursOf(host).map((n) => n.host.name)),
    ["router"],
  );
  assert.deepEqual(plot.topology.wires, ["lan", "far"]);
});

test("a service's weights reach the plot and the engine; a drained server stays in, with weight 0", () => {
  const plot = plotIn(file("{ a: { rip: 10.1.0.11, weight: 3 }, b: { rip: 10.1.0.12, weight: 0 } }", http), "dr");
  assert.deepEqual(plot.weights, { "10.1.0.100:80": { a: 3, b: 0 } });
  assert.deepEqual(
    plot.services[0]?.service.realServers.map((r) => r.weight),
    [3, 0],
  );
});

test("a drained service is left out, and where all are drained that is the reason", () => {
  const servers = "{ a: 10.1.0.11, b: 10.1.0.12 }";
  const drained = "{ name: old, vip: v, port: 81, scheduler: rr, realServers: { a: 0, b: 0 } }";
  const spec = specIn(file(servers, `[${drained}, { name: http, vip: v, port: 80, scheduler: rr }]`));
  assert.deepEqual(
    spec.services.map((s) => s.port),
    [80],
  );
  assert.match(String(specOf(clusterOf(file(servers, `[${drained}]`)), "dr")), /weight above 0/);
});

test("a service by sctp is named as left out, by the chapter that forwards it alone", () => {
  const sip = "{ name: sip, vip: v, port: 5060, protocol: sctp, scheduler: rr }";
  const cluster = clusterOf(file("{ a: 10.1.0.11 }", `[${sip}, { name: http, vip: v, port: 80, scheduler: rr }]`));
  assert.deepEqual(untoldOf(cluster, "dr"), ["service sip (LVS/DR): no client here speaks sctp"]);
  assert.deepEqual(untoldOf(cluster, "tun"), []);
});

test("a director's part as a real server is named as left out", () => {
  const cluster = clusterOf(
    file("{ lb1: 10.1.0.2, a: 10.1.0.11 }", "[{ name: http, vip: v, port: 80, scheduler: rr }]"),
  );
  assert.deepEqual(untoldOf(cluster, "dr"), ["real server lb1 (LVS/DR): a director too, told as that alone"]);
  assert.deepEqual(untoldOf(cluster, "tun"), []);
});

test("what cannot be told is a sentence, not a failure in the middle of the story", () => {
  const reasonOf = (text: string, forwarding: ForwardingMethod): string => {
    const reason = specOf(clusterOf(text), forwarding);
    assert.equal(typeof reason, "string");
    return String(reason);
  };
  const udp = "[{ name: dns, vip: v, port: 53, protocol: udp, scheduler: rr }]";
  assert.match(reasonOf(file("{ a: 10.1.0.11 }", http), "tun"), /forwarded by tun/);
  assert.match(reasonOf(file("{ a: 10.1.0.11 }", udp), "dr"), /no tcp service/);
  assert.match(reasonOf(file("{ a: 10.2.0.11 }", http, "forwarding: tun"), "tun"), /no ARP problem to show/);
  assert.match(reasonOf(file("{ lb1: 10.1.0.2 }", http), "dr"), /not a director/);
});

test("a router that the file leaves out gets an address that nobody has", () => {
  const plain = file("{ a: 10.1.0.11 }", http);
  const routerOf = (text: string): string => {
    const [lan] = specIn(text).networks;
    return formatIpv4(lan?.router ?? assert.fail("no lan"));
  };
  assert.equal(routerOf(plain), "10.1.0.1");
  assert.equal(routerOf(plain.replace("lb1: 10.1.0.2", "lb1: 10.1.0.1")), "10.1.0.2");
  const servers = "{ a: { rip: 10.1.0.1, addresses: [10.1.0.3] } }";
  assert.equal(routerOf(file(servers, http)), "10.1.0.4");
  const full = file("{ a: 10.1.0.1, b: 10.1.0.3 }", http, "forwarding: dr\nlab: { clients: { c: 10.1.0.4 } }")
    .replace("10.1.0.0/24", "10.1.0.0/29")
    .replace("{ v: 10.1.0.100 }", "{ v: 10.1.0.6, w: 10.1.0.5 }");
  assert.match(String(specOf(clusterOf(full), "dr")), /lan \(10\.1\.0\.0\/29\) has no free address for the router/);
});

test("a VIP's network without room for the client is a sentence too; a scenario takes one from elsewhere", () => {
  const narrow = (servers: string): Cluster =>
    clusterOf(
      file(servers, http, "forwarding: dr\nlab: { clients: { c: 10.2.0.5 } }")
        .replace("10.1.0.0/24", "10.1.0.0/29")
        .replace("v: 10.1.0.100", "v: 10.1.0.6"),
    );
  const full = narrow("{ a: 10.1.0.3, b: 10.1.0.4, d: 10.1.0.5 }");
  assert.match(String(specOf(full, "dr")), /lan \(10\.1\.0\.0\/29\) has no free address for the client/);
  assert.equal(typeof specOf(full, "dr", "scenario"), "object");
  const oneLeft = specOf(narrow("{ a: 10.1.0.3, b: 10.1.0.4 }"), "dr");
  assert.ok(typeof oneLeft !== "string", String(oneLeft));
  assert.deepEqual(plotOf(oneLeft, size).traffic.from, ["10.1.0.5"]);
});

test("a service with a real server of each method: a chapter by dr, and by tun a reason why not", () => {
  const cluster = clusterOf(
    file(
      "{ a: 10.1.0.11, b: 10.2.0.12 }",
      "[{ name: http, vip: v, port: 80, scheduler: rr, realServers: { a: 1, b: { forwarding: tun } } }]",
    ),
  );
  assert.deepEqual(methodsOf(cluster), ["dr", "tun"]);
  assert.equal(typeof specOf(cluster, "dr"), "object");
  assert.equal(typeof specOf(cluster, "tun"), "string");
});

test("short stretches of traffic ask more often, so that a second still shows what breaks", () => {
  const plot = plotOf(specIn(builtinCluster("dr", 3)), { ...size, durationMs: 1000 });
  assert.equal(plot.traffic.pauseMs, 100);
});
