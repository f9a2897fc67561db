/** What conformance found that the rules, as first written, did not say: each with its near miss. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ASKER, at, type HostSketch, sketchHost, udp, whoHas } from "../testing/modelHosts.ts";
import { answerArp } from "./answerArp.ts";
import type { FilterChainFacts, LinkFacts } from "./facts.ts";
import { emptyCache, neighbour } from "./neighbour.ts";
import { receive } from "./receive.ts";

const learned = (sketch: HostSketch, packet = whoHas("10.0.0.50", "10.0.0.50")) =>
  [...neighbour(sketchHost(sketch), emptyCache, packet, 0).values()].map((e) => [e.ip, e.mac, e.state]);
const router = { "eth0.forwarding": 1, "eth0.proxy_arp": 1, "all.bc_forwarding": 1, "eth0.bc_forwarding": 1 };

test("a subnet broadcast is never proxied, with bc_forwarding neither", () => {
  const sketch = { eth0: ["10.0.0.11/24"], eth1: ["10.9.0.1/24"], sysctls: router };
  assert.equal(answerArp(sketchHost(sketch), whoHas("10.9.0.255")).kind, "silent");
  assert.equal(answerArp(sketchHost(sketch), whoHas("10.9.0.5")).kind, "reply");
});

test("arp_accept 2: a scope host address does not count, unless route_localnet is on", () => {
  const eth0 = ["10.0.0.11/24 host"];
  assert.deepEqual(learned({ eth0, sysctls: { "eth0.arp_accept": 2 } }), []);
  const open = { eth0, sysctls: { "eth0.arp_accept": 2, "all.route_localnet": 1 } };
  assert.deepEqual(learned(open), [[at("10.0.0.50"), ASKER, "STALE"]]);
});

test("arp_accept 2: another subnet of the link may cover the address chosen and the sender", () => {
  const accepts = { "eth0.arp_accept": 2 };
  assert.equal(learned({ eth0: ["10.0.0.7/32", "10.0.0.11/24 host"], sysctls: accepts }).length, 1);
  assert.equal(learned({ eth0: ["10.3.0.7/32", "10.0.0.11/24 host"], sysctls: accepts }).length, 0);
});

test("an input rule that rewrites the sender changes whose entry is learned", () => {
  const chain: FilterChainFacts = {
    tool: "nft",
    family: "arp",
    hook: "input",
    rules: [{ match: {}, verdict: { kind: "mangle", senderIp: "10.0.0.77", next: "continue" } }],
  };
  const found = learned({ more: { filters: [chain] } }, whoHas("10.0.0.11", "10.0.0.50"));
  assert.deepEqual(found, [[at("10.0.0.77"), ASKER, "STALE"]]);
});

test("broadcasts pass the input hook", () => {
  const chain: FilterChainFacts = {
    tool: "nft",
    family: "ip",
    hook: "input",
    rules: [{ match: { target: { any: ["10.0.0.255"] } }, verdict: { kind: "drop" } }],
  };
  assert.equal(receive(sketchHost({ more: { filters: [chain] } }), udp("10.0.0.1", "10.0.0.255")).kind, "drop");
  assert.equal(receive(sketchHost({}), udp("10.0.0.1", "10.0.0.255")).kind, "deliver");
});

test("an error route in main ends the lookup today, and led on to table default in 4.1 to 6.0", () => {
  const more = {
    routes: [
      { dst: "default", type: "blackhole" as const },
      { dst: "default", dev: "eth0", table: 253 },
    ],
  };
  const sysctls = { "eth0.forwarding": 1 };
  const far = udp("10.0.0.1", "198.51.100.1");
  assert.equal(receive(sketchHost({ more, sysctls }), far).kind, "drop");
  assert.equal(receive(sketchHost({ more, sysctls, release: "5.15.0" }), far).kind, "forward");
});

test("an ipip packet to a broadcast address is decapsulated", () => {
  const tunnel: Partial<LinkFacts> = { name: "tunl0", kind: "ipip", flags: ["UP", "NOARP"], mac: null };
  const packet = udp("10.0.0.1", "10.0.0.255", {
    protocol: "ipip",
    inner: { source: at("10.0.0.9"), destination: at("10.0.0.100"), protocol: "udp" },
  });
  const up = receive(sketchHost({ lo: ["10.0.0.100/32"], links: [tunnel] }), packet);
  assert.deepEqual([up.kind, up.kind === "deliver" && up.seenDestination], ["deliver", at("10.0.0.100")]);
  const down = { ...tunnel, flags: ["NOARP" as const] };
  assert.equal(receive(sketchHost({ lo: ["10.0.0.100/32"], links: [down] }), packet).kind, "drop");
});

test("a macvlan delivers its copy of a group frame that its parent refuses", () => {
  const macvlan: Partial<LinkFacts> = {
    name: "mac0",
    kind: "macvlan",
    parent: "eth0",
    flags: ["UP"],
    mac: "02:00:00:00:00:0c",
  };
  const sketch = (flags: LinkFacts["flags"]): HostSketch => ({
    lo: ["10.0.0.100/32"],
    links: [{ ...macvlan, flags }],
    sysctls: { "eth0.rp_filter": 1 },
  });
  const packet = udp("203.0.113.9", "10.0.0.100", { frame: "broadcast" });
  assert.equal(receive(sketchHost(sketch(["UP"])), packet).kind, "deliver");
  assert.equal(receive(sketchHost(sketch([])), packet).kind, "drop");
});

test("an error route to the sender counts as none: only rp_filter refuses it", () => {
  const ask = (type: "blackhole" | "broadcast", rpFilter: number): string =>
    answerArp(
      sketchHost({
        // a local route of its own makes every kernel look the sender up
        more: {
          routes: [
            { dst: "10.0.0.7", type, dev: "eth0" },
            { dst: "10.0.0.200", type: "local", dev: "lo", table: 255 },
          ],
        },
        sysctls: { "eth0.rp_filter": rpFilter },
      }),
      whoHas("10.0.0.11", "10.0.0.7"),
    ).kind;
  assert.equal(ask("blackhole", 0), "reply");
  assert.equal(ask("blackhole", 2), "silent");
  assert.equal(ask("broadcast", 0), "silent");
});
