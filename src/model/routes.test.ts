import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { covers, parsePrefix } from "../base/prefix.ts";
import { type HostSketch, sketchHost } from "../testing/modelHosts.ts";
import type { PolicyRuleFacts, RouteFacts } from "./facts.ts";
import { addressType } from "./localTable.ts";
import type { Flow } from "./policyRule.ts";
import { fibLookup, flowOf } from "./routes.ts";
import { deviceOf } from "./routingTable.ts";

const looks = (sketch: HostSketch, destination: string, flow: Partial<Flow> = {}): string => {
  const route = fibLookup(sketchHost(sketch), flowOf({ destination: ipv4(destination), ...flow }));
  return route ? `${route.type} ${deviceOf(route)?.name}` : "none";
};
const with_ = (
  routes: readonly RouteFacts[],
  rules: readonly PolicyRuleFacts[] = [],
  change: HostSketch = {},
): HostSketch => ({
  eth1: ["192.168.1.5/24"],
  ...change,
  more: { routes, rules },
});

test("the longest prefix wins, then the smaller metric", () => {
  const routes: RouteFacts[] = [
    { dst: "172.16.0.0/12", dev: "eth0" },
    { dst: "172.16.5.0/24", dev: "eth1", metric: 20 },
    { dst: "172.16.5.0/24", dev: "eth0", metric: 10 },
  ];
  assert.equal(looks(with_(routes), "172.16.5.1"), "unicast eth0");
  assert.equal(looks(with_(routes.slice(0, 2)), "172.16.5.1"), "unicast eth1");
  assert.equal(looks(with_(routes), "172.17.0.1"), "unicast eth0");
  assert.equal(looks(with_(routes), "9.9.9.9"), "none");
});

test("local and main are one trie until the first policy rule: a longer prefix of main beats a local one", () => {
  const routes: RouteFacts[] = [{ dst: "10.0.0.7/32", dev: "eth1" }];
  const lo = { lo: ["10.0.0.100/24"] };
  assert.equal(looks(with_(routes, [], lo), "10.0.0.7"), "unicast eth1");
  assert.equal(looks(with_(routes, [], { ...lo, hadCustomRules: true }), "10.0.0.7"), "local lo");
  assert.equal(looks(with_(routes, [], { ...lo, release: "4.0.0" }), "10.0.0.7"), "local lo");
  assert.equal(
    looks(with_([{ dst: "10.0.0.0/24", dev: "eth1" }], [], lo), "10.0.0.9"),
    "local lo",
    "same prefix: local",
  );
});

test("blackhole ends a lookup, throw goes on to the next rule", () => {
  const rules: PolicyRuleFacts[] = [{ priority: 10, table: 7 }];
  const routes = (type: RouteFacts["type"]): RouteFacts[] => [
    { dst: "172.16.0.0/16", ...(type ? { type } : {}), table: 7 },
    { dst: "default", dev: "eth1" },
  ];
  assert.equal(looks(with_(routes("blackhole"), rules), "172.16.0.1"), "none");
  assert.equal(looks(with_(routes("throw"), rules), "172.16.0.1"), "unicast eth1");
});

test("policy rules: from, iif, mark, not, goto, suppress", () => {
  const routes: RouteFacts[] = [
    { dst: "default", dev: "eth0" },
    { dst: "default", dev: "eth1", table: 7 },
  ];
  const by = (rule: Partial<PolicyRuleFacts>, flow: Partial<Flow>): string =>
    looks(with_(routes, [{ priority: 10, table: 7, ...rule }]), "9.9.9.9", flow);
  assert.equal(by({ from: "10.0.0.100" }, { source: ipv4("10.0.0.100") }), "unicast eth1");
  assert.equal(by({ from: "10.0.0.100" }, { source: ipv4("10.0.0.101") }), "unicast eth0");
  assert.equal(by({ iif: "eth1" }, { iif: 3 }), "unicast eth1");
  assert.equal(by({ iif: "gone" }, { iif: 3 }), "unicast eth0");
  assert.equal(by({ fwmark: 1 }, { mark: 1 }), "unicast eth1");
  assert.equal(by({ fwmark: 1, fwmask: 1 }, { mark: 3 }), "unicast eth1");
  assert.equal(by({ fwmark: 1 }, { mark: 3 }), "unicast eth0");
  assert.equal(by({ fwmark: 1, not: true }, { mark: 3 }), "unicast eth1");
  assert.equal(by({ protocol: "tcp" }, { protocol: 6 }), "unicast eth1");
  assert.equal(by({ protocol: "tcp" }, { protocol: 0 }), "unicast eth0");
  assert.equal(by({ suppressPrefixLength: 0 }, {}), "unicast eth0");
  assert.equal(by({ action: "prohibit" }, {}), "none");
  const jump: PolicyRuleFacts[] = [
    { priority: 5, action: "goto", goto: 20 },
    { priority: 10, action: "blackhole" },
    { priority: 20, table: 7 },
  ];
  assert.equal(looks(with_(routes, jump), "9.9.9.9"), "unicast eth1");
});

test("a link that is down loses its unicast routes and keeps its local ones", () => {
  const down: HostSketch = { eth1: ["192.168.1.5/24"], links: [{ name: "eth1", flags: [] }] };
  assert.equal(looks(down, "192.168.1.7"), "none");
  assert.equal(looks(down, "192.168.1.5"), "local eth1");
});

test("ignore_routes_with_linkdown takes a route without carrier out of sight", () => {
  const bare: HostSketch = { links: [{ name: "eth0", carrier: false }] };
  assert.equal(looks(bare, "10.0.0.7"), "unicast eth0");
  assert.equal(looks({ ...bare, sysctls: { "eth0.ignore_routes_with_linkdown": 1 } }, "10.0.0.7"), "none");
});

test("what an address is: the local table's word, with 0/8, broadcast and multicast before it", () => {
  const host = sketchHost({ lo: ["10.0.0.100/32"] });
  const link = host.links[1];
  assert.ok(link);
  const type = (text: string): string => addressType(host, ipv4(text), link);
  assert.deepEqual(
    ["10.0.0.100", "10.0.0.11", "10.0.0.255", "10.0.0.7", "0.0.0.0", "224.0.0.9", "127.3.3.3"].map(type),
    ["local", "local", "broadcast", "unicast", "broadcast", "multicast", "local"],
  );
});

test("the lookup agrees with a slow and obvious one", () => {
  const octet = fc.integer({ min: 0, max: 3 });
  const route = fc.record({
    dst: fc.tuple(octet, octet, fc.integer({ min: 6, max: 32 })).map(([a, b, l]) => `10.${a}.${b}.0/${l}`),
    dev: fc.constantFrom("eth0", "eth1"),
    metric: fc.integer({ min: 0, max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(route, { maxLength: 12 }), octet, octet, (routes, a, b) => {
      const target = ipv4FromNumber(0x0a000000 + a * 65536 + b * 256 + 5);
      const found = fibLookup(sketchHost(with_(routes, [], { eth0: [], eth1: [] })), flowOf({ destination: target }));
      const best = routes
        .map((r) => ({ ...r, prefix: parsePrefix(r.dst) }))
        .filter((r) => r.prefix && covers(r.prefix, target))
        .sort((x, y) => (y.prefix?.length ?? 0) - (x.prefix?.length ?? 0) || x.metric - y.metric)[0];
      return (
        (found ? `${found.prefixLength} ${deviceOf(found)?.name}` : "none") ===
        (best ? `${best.prefix?.length} ${best.dev}` : "none")
      );
    }),
    { numRuns: 200 },
  );
});
