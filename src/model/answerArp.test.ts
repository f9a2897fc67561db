import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { type HostSketch, NIC, realServer, sketchFacts, sketchHost, whoHas } from "../testing/modelHosts.ts";
import { type ArpPacket, type ArpVerdict, answerArp } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import type { FilterChainFacts } from "./facts.ts";
import type { Host } from "./host.ts";

const VIP = "10.0.0.100";
const says = (host: Host, packet: ArpPacket): string => {
  const verdict: ArpVerdict = answerArp(host, packet);
  return `${verdict.kind} ${verdict.rule}`;
};
/** One line of a table: a sketch and a question, and what is said. */
const table = (name: string, rows: readonly [string, HostSketch, ArpPacket, string][]): void => {
  for (const [what, sketch, packet, expected] of rows)
    test(`${name}: ${what}`, () => assert.equal(says(sketchHost(sketch), packet), expected));
};
const held = { lo: ["10.0.0.100/32"] };

test("an answer carries the receiving link's MAC and goes to the asker", () => {
  const verdict = answerArp(realServer(), whoHas(VIP));
  assert.equal(verdict.kind, "reply");
  if (verdict.kind !== "reply") return;
  assert.deepEqual(
    [verdict.senderMac, formatIpv4(verdict.senderIp), verdict.targetMac, formatIpv4(verdict.targetIp), verdict.via],
    [NIC, VIP, "02:00:00:00:01:00", "10.0.0.1", "eth0"],
  );
});

table("A-ALL", [
  ["the link is down", { ...held, links: [{ name: "eth0", flags: [] }] }, whoHas(VIP), "silent A-ALL-01"],
  [
    "NOARP of the receiving link",
    { ...held, links: [{ name: "eth0", flags: ["UP", "NOARP"] }] },
    whoHas(VIP),
    "silent A-ALL-01",
  ],
  [
    "NOARP of the carrier does nothing",
    { ...held, links: [{ name: "lo", flags: ["UP", "LOOPBACK", "NOARP"] }] },
    whoHas(VIP),
    "reply A-2.6-03",
  ],
  ["another host's frame", held, whoHas(VIP, "10.0.0.1", { frame: "other" }), "silent A-ALL-01"],
  ["an unknown operation", held, whoHas(VIP, "10.0.0.1", { operation: 3 }), "silent A-ALL-02"],
  ["multicast target", held, whoHas("224.0.0.5"), "silent A-ALL-03"],
  ["loopback target", held, whoHas("127.0.0.1"), "silent A-ALL-03"],
  [
    "loopback target with route_localnet",
    { sysctls: { "eth0.route_localnet": 1 } },
    whoHas("127.0.0.1"),
    "reply A-2.6-03",
  ],
  [
    "route_localnet of 3.5 does not exist",
    { release: "3.5.0", sysctls: { "eth0.route_localnet": 1 } },
    whoHas("127.0.0.1"),
    "silent A-ALL-03",
  ],
]);

table("A-2.0", [
  ["VIP on lo", { release: "2.0.36", ...held }, whoHas(VIP), "silent A-2.0-02"],
  [
    "VIP on eth0:0",
    { release: "2.0.36", eth0: ["10.0.0.11/24", `${VIP}/32 label=eth0:0`] },
    whoHas(VIP),
    "reply A-2.0-01",
  ],
  ["gratuitous request for the own address", { release: "2.0.36" }, whoHas("10.0.0.11", "10.0.0.11"), "reply A-2.0-05"],
  [
    "the alias is NOARP",
    {
      release: "2.0.36",
      eth0: ["10.0.0.11/24", `${VIP}/32 label=eth0:0`],
      links: [{ name: "eth0", aliasFlags: { "eth0:0": ["NOARP"] } }],
    },
    whoHas(VIP),
    "silent A-2.0-03",
  ],
  [
    "NOARP of another alias does not matter",
    {
      release: "2.0.36",
      eth0: ["10.0.0.11/24", `${VIP}/32 label=eth0:0`],
      links: [{ name: "eth0", aliasFlags: { "eth0:1": ["NOARP"] } }],
    },
    whoHas(VIP),
    "reply A-2.0-01",
  ],
  [
    "a published entry, routed elsewhere",
    {
      release: "2.0.36",
      eth1: ["10.0.1.11/24"],
      more: { neighbours: [{ link: "eth0", ip: "10.0.1.50", state: "PERMANENT", proxy: true }] },
    },
    whoHas("10.0.1.50"),
    "reply A-2.0-06",
  ],
  [
    "a published entry, routed by the same link",
    { release: "2.0.36", more: { neighbours: [{ link: "eth0", ip: "10.0.0.50", state: "PERMANENT", proxy: true }] } },
    whoHas("10.0.0.50"),
    "silent A-2.0-01",
  ],
]);

table("A-2.2", [
  ["VIP on lo: the ARP problem", { release: "2.2.13", ...held }, whoHas(VIP), "reply A-2.2-03"],
  ["probe", { release: "2.2.13", ...held }, whoHas(VIP, "0.0.0.0"), "reply A-2.2-01"],
  ["the sender is the VIP", { release: "2.2.13", ...held }, whoHas("10.0.0.11", VIP), "silent A-2.2-07"],
  ["the sender is in 0/8, 5.2", { release: "5.2.0", ...held }, whoHas(VIP, "0.0.0.9"), "silent A-2.2-07"],
  ["the sender is in 0/8, 5.3", { release: "5.3.0", ...held }, whoHas(VIP, "0.0.0.9"), "reply A-2.6-03"],
  ["the sender is class E, 2.6.24", { release: "2.6.24", ...held }, whoHas(VIP, "240.0.0.9"), "silent A-2.2-07"],
  ["the sender is class E, 2.6.32", { release: "2.6.32", ...held }, whoHas(VIP, "240.0.0.9"), "reply A-2.6-03"],
  ["the sender is the limited broadcast", held, whoHas(VIP, "255.255.255.255"), "silent A-2.2-07"],
  ["subnet broadcast as target", held, whoHas("10.0.0.255"), "silent A-2.2-08"],
  ["a /31 has no broadcast", { eth0: ["10.0.0.254/31"] }, whoHas("10.0.0.254", "10.0.0.255"), "reply A-2.6-03"],
  [
    "the last address of a /24 is one",
    { eth0: ["10.0.0.254/24"] },
    whoHas("10.0.0.255", "10.0.0.7"),
    "silent A-2.2-08",
  ],
  ["the first address of the subnet, 5.13", { release: "5.13.0" }, whoHas("10.0.0.0"), "silent A-2.2-08"],
  ["the first address of the subnet, 5.14: unicast", { release: "5.14.0" }, whoHas("10.0.0.0"), "silent A-2.2-02"],
  ["/24 on lo makes the whole prefix local", { lo: ["10.0.0.100/24"] }, whoHas("10.0.0.77"), "reply A-2.6-03"],
  ["/32 on lo does not", held, whoHas("10.0.0.77"), "silent A-2.2-02"],
  [
    "/24 on lo, 4.13: the own wire is own",
    { release: "4.13.0", lo: ["10.0.0.100/24"] },
    whoHas("10.0.0.11"),
    "silent A-2.6-13",
  ],
  ["/24 on lo, 4.15: it is not", { release: "4.15.0", lo: ["10.0.0.100/24"] }, whoHas("10.0.0.11"), "reply A-2.6-03"],
]);

const hide = { "all.hidden": 1, "lo.hidden": 1 };
table("hidden", [
  ["2.2.14", { release: "2.2.14", ...held, sysctls: hide }, whoHas(VIP), "silent A-2.2h-03"],
  ["2.2.13 does not know it", { release: "2.2.13", ...held, sysctls: hide }, whoHas(VIP), "reply A-2.2-03"],
  ["all alone", { release: "2.2.14", ...held, sysctls: { "all.hidden": 1 } }, whoHas(VIP), "reply A-2.2-03"],
  [
    "unicast frame",
    { release: "2.2.14", ...held, sysctls: hide },
    whoHas(VIP, "10.0.0.1", { frame: "unicast" }),
    "reply A-2.2-03",
  ],
  [
    "probe in a unicast frame",
    { release: "2.2.14", ...held, sysctls: hide },
    whoHas(VIP, "0.0.0.0", { frame: "unicast" }),
    "silent A-2.2h-06",
  ],
  [
    "heard on the hidden link",
    { release: "2.2.14", eth0: ["10.0.0.11/24", `${VIP}/32`], sysctls: { "all.hidden": 1, "eth0.hidden": 1 } },
    whoHas(VIP),
    "reply A-2.2-03",
  ],
  [
    "2.4 with the patch",
    { release: "2.4.20", patches: [{ name: "hidden", how: "found" }], ...held, sysctls: hide },
    whoHas(VIP),
    "silent A-2.2h-03",
  ],
  ["2.4 without", { release: "2.4.20", ...held, sysctls: hide }, whoHas(VIP), "reply A-2.2-03"],
]);

test("hidden silences but learns on 2.2, and does not learn on 3.x", () => {
  const patches = [{ name: "hidden", how: "told" }] as const;
  assert.equal(answerArp(sketchHost({ release: "2.2.14", ...held, sysctls: hide }), whoHas(VIP)).cache, "create");
  assert.equal(
    answerArp(sketchHost({ release: "3.14.17", patches, ...held, sysctls: hide }), whoHas(VIP)).cache,
    "none",
  );
});

test("answers that rest on an unread patch say so, in both directions, and others do not", () => {
  const sdw = { release: "2.2.13", patches: [{ name: "fullarpfix", how: "told" }], ...held } as const;
  const quiet = answerArp(sketchHost(sdw), whoHas(VIP));
  assert.deepEqual([quiet.kind, quiet.rule, quiet.unconfirmed], ["silent", "A-2.2sdw-01", true]);
  assert.equal(answerArp(sketchHost(sdw), whoHas("10.0.0.11")).unconfirmed, undefined);
  const inv = { release: "2.2.13", patches: [{ name: "arp_invisible", how: "told" }], ...held } as const;
  const on = { "all.arp_invisible": 1, "lo.arp_invisible": 1 };
  assert.equal(says(sketchHost({ ...inv, sysctls: on }), whoHas(VIP)), "silent A-2.2inv-02");
  const half = answerArp(sketchHost({ ...inv, sysctls: { "lo.arp_invisible": 1 } }), whoHas(VIP));
  assert.deepEqual([half.kind, half.unconfirmed], ["reply", true]);
});

table("arp_ignore", [
  ["1, VIP on lo", { ...held, sysctls: { "all.arp_ignore": 1 } }, whoHas(VIP), "silent A-2.6-04"],
  ["1, RIP", { ...held, sysctls: { "all.arp_ignore": 1 } }, whoHas("10.0.0.11"), "reply A-2.6-04"],
  [
    "1 in 2.6.3 does not exist",
    { release: "2.6.3", ...held, sysctls: { "all.arp_ignore": 1 } },
    whoHas(VIP),
    "reply A-2.2-03",
  ],
  [
    "1 in 2.4.26 does",
    { release: "2.4.26", ...held, sysctls: { "all.arp_ignore": 1 } },
    whoHas(VIP),
    "silent A-2.6-04",
  ],
  ["lo's own value", { ...held, sysctls: { "lo.arp_ignore": 1 } }, whoHas(VIP), "reply A-2.6-03"],
  ["2, asker in the subnet", { sysctls: { "all.arp_ignore": 2 } }, whoHas("10.0.0.11"), "reply A-2.6-05"],
  ["2, asker elsewhere", { sysctls: { "all.arp_ignore": 2 } }, whoHas("10.0.0.11", "192.168.9.9"), "silent A-2.6-05"],
  [
    "2, VIP/32 and RIP/24 on one link share the work",
    { eth0: ["10.0.0.11/24", `${VIP}/32`], sysctls: { "all.arp_ignore": 2 } },
    whoHas(VIP),
    "reply A-2.6-05",
  ],
  ["3, scope global", { ...held, sysctls: { "all.arp_ignore": 3 } }, whoHas(VIP), "reply A-2.6-06"],
  ["3, scope host", { lo: [`${VIP}/32 host`], sysctls: { "all.arp_ignore": 3 } }, whoHas(VIP), "silent A-2.6-06"],
  [
    "3, scope host, route_localnet of lo",
    { lo: [`${VIP}/32 host`], sysctls: { "all.arp_ignore": 3, "lo.route_localnet": 1 } },
    whoHas(VIP),
    "reply A-2.6-06",
  ],
  [
    "the same in 4.19",
    { release: "4.19.0", lo: [`${VIP}/32 host`], sysctls: { "all.arp_ignore": 3, "lo.route_localnet": 1 } },
    whoHas(VIP),
    "silent A-2.6-06",
  ],
  ["8", { sysctls: { "all.arp_ignore": 8 } }, whoHas("10.0.0.11"), "silent A-2.6-07"],
  ["7 is as 0", { ...held, sysctls: { "all.arp_ignore": 7 } }, whoHas(VIP), "reply A-2.6-03"],
  ["9 is as 0", { ...held, sysctls: { "all.arp_ignore": 9 } }, whoHas(VIP), "reply A-2.6-03"],
  ["-1 is as 0", { ...held, sysctls: { "all.arp_ignore": -1, "eth0.arp_ignore": -1 } }, whoHas(VIP), "reply A-2.6-03"],
  [
    "the maximum: 1 and 3",
    { ...held, sysctls: { "all.arp_ignore": 1, "eth0.arp_ignore": 3 } },
    whoHas(VIP),
    "reply A-2.6-06",
  ],
  [
    "the maximum: 8 and 9",
    { ...held, sysctls: { "all.arp_ignore": 8, "eth0.arp_ignore": 9 } },
    whoHas(VIP),
    "reply A-2.6-03",
  ],
  [
    "1, peer address without covering subnet",
    { eth0: ["10.0.0.11/24", "10.5.5.5/32 peer=10.9.9.9"], sysctls: { "all.arp_ignore": 1 } },
    whoHas("10.5.5.5"),
    "silent A-2.6-04",
  ],
  [
    "1, peer address that another subnet covers",
    { eth0: ["10.5.5.1/24", "10.5.5.5/32 peer=10.9.9.9"], sysctls: { "all.arp_ignore": 1 } },
    whoHas("10.5.5.5"),
    "reply A-2.6-04",
  ],
  [
    "a probe with mode 2 is as with 1",
    { ...held, sysctls: { "all.arp_ignore": 2 } },
    whoHas("10.0.0.11", "0.0.0.0"),
    "reply A-2.6-10",
  ],
  [
    "a probe for the VIP with mode 2",
    { ...held, sysctls: { "all.arp_ignore": 2 } },
    whoHas(VIP, "0.0.0.0"),
    "silent A-2.6-05",
  ],
  [
    "a local route without address, 0",
    { more: { routes: [{ dst: VIP, type: "local", dev: "lo" }] } },
    whoHas(VIP),
    "reply A-2.6-03",
  ],
  [
    "a local route without address, 3",
    { more: { routes: [{ dst: VIP, type: "local", dev: "lo" }] }, sysctls: { "all.arp_ignore": 3 } },
    whoHas(VIP),
    "silent A-2.6-06",
  ],
  [
    "a local route in another table is not local",
    {
      more: {
        routes: [{ dst: "0.0.0.0/0", type: "local", dev: "lo", table: 100 }],
        rules: [{ priority: 100, fwmark: 1, table: 100 }],
      },
    },
    whoHas(VIP),
    "silent A-2.2-02",
  ],
]);

test("A-2.6-12: until 2.6.28 the silenced asker is learned, from 2.6.29 not", () => {
  const sysctls = { "all.arp_ignore": 1 };
  assert.equal(answerArp(sketchHost({ release: "2.6.28", ...held, sysctls }), whoHas(VIP)).cache, "create");
  assert.equal(answerArp(sketchHost({ release: "2.6.29", ...held, sysctls }), whoHas(VIP)).cache, "none");
});

const two = { eth1: ["192.168.9.1/24"] };
const viaVip = {
  routes: [{ dst: "default", via: "10.3.3.1", dev: "eth1", table: 99 }],
  rules: [{ priority: 100, from: VIP, table: 99 }],
};
table("arp_filter", [
  ["asker routed by the same link", { ...held, sysctls: { "all.arp_filter": 1 } }, whoHas(VIP), "reply A-2.6-03"],
  [
    "asker routed elsewhere",
    { ...two, sysctls: { "all.arp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "silent A-2.6-11",
  ],
  ["off", two, whoHas("10.0.0.11", "192.168.9.9"), "reply A-2.6-03"],
  ["no route to the asker", { sysctls: { "all.arp_filter": 1 } }, whoHas("10.0.0.11", "172.16.0.1"), "silent A-2.6-11"],
  [
    "a rule for the VIP as source",
    { ...held, eth1: ["10.3.3.3/24"], more: viaVip, sysctls: { "all.arp_filter": 1 } },
    whoHas(VIP),
    "silent A-2.6-11",
  ],
  [
    "the rule does not touch the RIP",
    { ...held, eth1: ["10.3.3.3/24"], more: viaVip, sysctls: { "all.arp_filter": 1 } },
    whoHas("10.0.0.11"),
    "reply A-2.6-03",
  ],
  [
    "2.2.17 does not know it",
    { release: "2.2.17", ...two, sysctls: { "all.arp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "reply A-2.2-03",
  ],
  [
    "2.2.18 does",
    { release: "2.2.18", ...two, sysctls: { "all.arp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "silent A-2.6-11",
  ],
]);

table("source check", [
  ["gratuitous request for the held VIP", held, whoHas(VIP, VIP), "silent A-2.6-13"],
  [
    "accept_local lets it be answered",
    { ...held, sysctls: { "eth0.accept_local": 1 } },
    whoHas(VIP, VIP),
    "reply A-2.6-03",
  ],
  ["3.6 answers it", { release: "3.6.0", ...held }, whoHas(VIP, VIP), "reply A-2.6-03"],
  ["3.17 does not", { release: "3.17.0", ...held }, whoHas(VIP, VIP), "silent A-2.6-13"],
  [
    "3.6 with rp_filter does not",
    { release: "3.6.0", ...held, sysctls: { "all.rp_filter": 1 } },
    whoHas(VIP, VIP),
    "silent A-2.6-13",
  ],
  [
    "drop_gratuitous_arp comes first",
    { ...held, sysctls: { "all.accept_local": 1, "all.drop_gratuitous_arp": 1 } },
    whoHas(VIP, VIP),
    "silent A-2.6-01",
  ],
  ["subnet broadcast as sender passes the exact check", {}, whoHas("10.0.0.11", "10.0.0.255"), "reply A-2.6-03"],
  [
    "not with policy rules",
    { more: { rules: [{ priority: 5, from: "1.2.3.4", table: 7 }] } },
    whoHas("10.0.0.11", "10.0.0.255"),
    "silent A-2.6-13",
  ],
  [
    "not with a local route of one's own",
    { more: { routes: [{ dst: "9.9.9.9", type: "local", dev: "lo" }] } },
    whoHas("10.0.0.11", "10.0.0.255"),
    "silent A-2.6-13",
  ],
  [
    "a local route that the kernel made does not count",
    { more: { routes: [{ dst: "9.9.9.9", type: "local", dev: "lo", protocol: "kernel" }] } },
    whoHas("10.0.0.11", "10.0.0.255"),
    "reply A-2.6-03",
  ],
  [
    "rp_filter strict",
    { ...two, sysctls: { "all.rp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "silent A-2.6-14",
  ],
  [
    "rp_filter loose",
    { ...two, sysctls: { "all.rp_filter": 2 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "reply A-2.6-03",
  ],
  [
    "loose without any route",
    { sysctls: { "all.rp_filter": 2 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "silent A-2.6-14",
  ],
  [
    "AND in 2.6.30",
    { release: "2.6.32", ...two, sysctls: { "all.rp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "silent A-2.6-14",
  ],
  [
    "2.6.20 needs both",
    { release: "2.6.20", ...two, sysctls: { "all.rp_filter": 1 } },
    whoHas("10.0.0.11", "192.168.9.9"),
    "reply A-2.6-03",
  ],
  [
    "own source, accept_local, strict: the local route names the link itself",
    { sysctls: { "all.accept_local": 1, "all.rp_filter": 1 } },
    whoHas("10.0.0.11", "10.0.0.11"),
    "reply A-2.6-03",
  ],
  [
    "the VIP on lo is not of the link",
    { ...held, sysctls: { "all.accept_local": 1, "all.rp_filter": 1 } },
    whoHas(VIP, VIP),
    "silent A-2.6-14",
  ],
]);

test("A-2.6-22: 2.6.30 alone defends a held VIP against a gratuitous request", () => {
  assert.equal(says(sketchHost({ release: "2.6.30", ...held }), whoHas(VIP, VIP)), "reply A-2.6-22");
  assert.equal(says(sketchHost({ release: "2.6.31", ...held }), whoHas(VIP, VIP)).split(" ")[0], "silent");
});

const router = { "all.forwarding": 1, "all.proxy_arp": 1 };
const behind = { eth1: ["10.0.1.11/24"] };
table("proxy", [
  ["target behind another link", { ...behind, sysctls: router }, whoHas("10.0.1.50"), "reply A-2.2-09"],
  ["not without forwarding", { ...behind, sysctls: { "all.proxy_arp": 1 } }, whoHas("10.0.1.50"), "silent A-2.2-02"],
  ["not on the same link", { ...behind, sysctls: router }, whoHas("10.0.0.50"), "silent A-2.2-09"],
  [
    "pvlan on the same link",
    { sysctls: { "all.forwarding": 1, "eth0.proxy_arp_pvlan": 1 } },
    whoHas("10.0.0.50"),
    "reply A-2.6-16",
  ],
  [
    "pvlan not for oneself",
    { sysctls: { "all.forwarding": 1, "eth0.proxy_arp_pvlan": 1 } },
    whoHas("10.0.0.50", "10.0.0.50"),
    "silent A-2.2-09",
  ],
  [
    "pvlan of all, 5.4",
    { release: "5.4.0", sysctls: { "all.forwarding": 1, "all.proxy_arp_pvlan": 1 } },
    whoHas("10.0.0.50"),
    "silent A-2.2-09",
  ],
  [
    "pvlan of all, 5.15",
    { release: "5.15.0", sysctls: { "all.forwarding": 1, "all.proxy_arp_pvlan": 1 } },
    whoHas("10.0.0.50"),
    "reply A-2.6-16",
  ],
  [
    "published",
    {
      ...behind,
      sysctls: { "all.forwarding": 1 },
      more: { neighbours: [{ link: "eth0", ip: "10.0.1.50", state: "PERMANENT", proxy: true }] },
    },
    whoHas("10.0.1.50"),
    "reply A-2.2-09",
  ],
  [
    "published for another link",
    {
      ...behind,
      sysctls: { "all.forwarding": 1 },
      more: { neighbours: [{ link: "eth1", ip: "10.0.1.50", state: "PERMANENT", proxy: true }] },
    },
    whoHas("10.0.1.50"),
    "silent A-2.2-09",
  ],
  [
    "medium_id equal",
    { ...behind, sysctls: { ...router, "eth0.medium_id": 1, "eth1.medium_id": 1 } },
    whoHas("10.0.1.50"),
    "silent A-2.2-09",
  ],
  [
    "medium_id -1 outside",
    { ...behind, sysctls: { ...router, "eth0.medium_id": 1, "eth1.medium_id": -1 } },
    whoHas("10.0.1.50"),
    "silent A-2.2-09",
  ],
  [
    "medium_id different",
    { ...behind, sysctls: { ...router, "eth0.medium_id": 1, "eth1.medium_id": 2 } },
    whoHas("10.0.1.50"),
    "reply A-2.6-17",
  ],
  [
    "arp_ignore 8 does not stop it",
    { ...behind, sysctls: { ...router, "all.arp_ignore": 8 } },
    whoHas("10.0.1.50"),
    "reply A-2.2-09",
  ],
]);

test("proxy answers wait unless the frame is unicast or proxy_delay is 0", () => {
  const delay = (sysctls: Record<string, number>, frame: ArpPacket["frame"]): number => {
    const verdict = answerArp(sketchHost({ ...behind, sysctls }), whoHas("10.0.1.50", "10.0.0.1", { frame }));
    return verdict.kind === "reply" ? verdict.delayedUpToMs : -1;
  };
  assert.equal(delay(router, "broadcast"), 800);
  assert.equal(delay(router, "unicast"), 0);
  assert.equal(delay({ ...router, "neigh.eth0.proxy_delay": 0 }, "broadcast"), 0);
  assert.equal(delay({ ...router, "neigh.eth0.proxy_delay": 20 }, "broadcast"), 200);
});

const arp = (hook: "input" | "output", rule: FilterChainFacts["rules"][number]): FilterChainFacts => ({
  tool: "nft",
  family: "arp",
  hook,
  rules: [rule],
});
test("A-2.6-20: hooks drop, rewrite, and leave others alone", () => {
  const input = { filters: [arp("input", { match: { target: { any: [VIP] } }, verdict: { kind: "drop" } })] };
  assert.equal(says(realServer({}, { more: input }), whoHas(VIP)), "silent A-2.6-20");
  assert.equal(says(realServer({}, { more: input }), whoHas("10.0.0.11")), "reply A-2.6-03");
  const output = {
    filters: [arp("output", { match: { source: { any: ["10.0.0.96/28"] } }, verdict: { kind: "drop" } })],
  };
  const dropped = answerArp(realServer({}, { more: output }), whoHas(VIP));
  assert.deepEqual([dropped.kind, dropped.rule, dropped.cache], ["silent", "A-2.6-20", "create"]);
  const rewrite = {
    filters: [
      arp("output", {
        match: { source: { any: [VIP] }, out: { any: ["eth*"] } },
        verdict: { kind: "mangle", senderIp: "10.0.0.11", next: "accept" },
      }),
    ],
  };
  const mangled = answerArp(realServer({}, { more: rewrite }), whoHas(VIP));
  assert.equal(mangled.kind === "reply" && formatIpv4(mangled.senderIp), "10.0.0.11");
});

test("a filter rule that was not understood is told, and only where a packet passes it", () => {
  const more = { filters: [arp("input", { notUnderstood: "arp htype 1 meta foo" })] };
  assert.deepEqual(answerArp(realServer({}, { more }), whoHas(VIP)).notUnderstood, ["arp htype 1 meta foo"]);
  const off = { filters: [arp("output", { notUnderstood: "x" })] };
  assert.equal(answerArp(realServer({ "all.arp_ignore": 1 }, { more: off }), whoHas(VIP)).notUnderstood, undefined);
});

test("A-2.6-21: the bridge hears for its port, and its sysctls count", () => {
  const bridge = (sysctls: Record<string, number>): Host =>
    realServer(sysctls, {
      eth0: [],
      links: [
        { name: "eth0", master: "br0" },
        { ifindex: 20, name: "br0", kind: "bridge", flags: ["UP", "BROADCAST"], mac: NIC },
      ],
      addresses: [{ link: "br0", ip: "10.0.0.11", prefixLength: 24, scope: 0 }],
    });
  assert.equal(says(bridge({ "eth0.arp_ignore": 1 }), whoHas(VIP)), "reply A-2.6-03");
  assert.equal(says(bridge({ "br0.arp_ignore": 1 }), whoHas(VIP)), "silent A-2.6-04");
});

test("A-2.6-21: a macvlan hears group frames beside its parent, and not its parent's unicast", () => {
  const macvlan: HostSketch = {
    links: [
      { ifindex: 20, name: "mv0", kind: "macvlan", parent: "eth0", flags: ["UP"], mac: mac("02:00:00:00:00:99") },
    ],
    addresses: [{ link: "mv0", ip: VIP, prefixLength: 32, scope: 0 }],
  };
  const both = answerArp(sketchHost(macvlan), whoHas(VIP));
  assert.deepEqual(both.kind === "reply" && [both.via, ...both.also.map((r) => r.via)], ["eth0", "mv0"]);
  const strict = sketchHost({ ...macvlan, sysctls: { "all.arp_ignore": 1 } });
  const one = answerArp(strict, whoHas(VIP));
  assert.deepEqual(one.kind === "reply" && [one.via, one.also.length], ["mv0", 0]);
  assert.equal(answerArp(strict, whoHas(VIP, "10.0.0.1", { frame: "unicast" })).kind, "silent");
});

test("A-2.6-21: in a VRF a probe asks the VRF's table, a request the policy rules, of which local is the first", () => {
  const vrf: HostSketch = {
    ...held,
    links: [
      { name: "eth0", master: "red" },
      { ifindex: 20, name: "red", kind: "vrf", vrfTable: 10, flags: ["UP", "NOARP"], mac: mac("02:00:00:00:00:77") },
    ],
  };
  assert.equal(says(sketchHost(vrf), whoHas("10.0.0.11")), "reply A-2.6-03");
  assert.equal(says(sketchHost(vrf), whoHas(VIP, "0.0.0.0")), "silent A-2.6-10");
  assert.equal(says(sketchHost(vrf), whoHas(VIP)), "reply A-2.6-03");
  // As vrf.rst advises: the rule for table local goes behind the one for VRFs.
  const rules = [
    { priority: 1000, l3mdev: true },
    { priority: 32765, table: 255 },
    { priority: 32766, table: 254 },
    { priority: 32767, table: 253 },
  ];
  const facts = { ...sketchFacts(vrf), rules };
  const derived = compileHost(facts);
  const moved = { ...derived, rules: derived.rules.filter((r) => r.priority !== 0) };
  assert.equal(answerArp(moved, whoHas("10.0.0.11")).kind, "reply");
  assert.equal(says(moved, whoHas(VIP)), "silent A-2.2-02");
});

test("C-2.2-06: a link without IPv4 state hears no ARP on 2.6.21, and does on 2.6.22", () => {
  assert.equal(says(realServer({}, { release: "2.6.21", eth0: [] }), whoHas(VIP)), "silent C-2.2-06");
  assert.equal(says(realServer({}, { release: "2.6.22", eth0: [] }), whoHas(VIP)), "reply A-2.6-03");
});
