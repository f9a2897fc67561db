import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { type HostSketch, sketchHost, udp } from "../testing/modelHosts.ts";
import type { FilterChainFacts, HostFacts, LinkFacts } from "./facts.ts";
import { type IpPacket, receive } from "./receive.ts";

const VIP = "10.0.0.100";
const CLIENT = "203.0.113.9";
const gateway: Partial<HostFacts> = { routes: [{ dst: "default", via: "10.0.0.1", dev: "eth0" }] };
const says = (sketch: HostSketch, packet: IpPacket): string => {
  const v = receive(sketchHost(sketch), packet);
  if (v.kind === "deliver")
    return `deliver ${formatIpv4(v.seenDestination)} as ${formatIpv4(v.replySource)} ${v.on} ${v.rule}`;
  return v.kind === "forward" ? `forward ${v.out} ${v.rule}` : `drop ${v.rule}`;
};
const chain = (
  tool: FilterChainFacts["tool"],
  hook: FilterChainFacts["hook"],
  verdict: object,
  table = "nat",
): Partial<HostFacts> => ({
  ...gateway,
  filters: [
    {
      tool,
      family: "ip",
      hook,
      table,
      rules: [{ match: { target: { any: [VIP] } }, verdict: verdict as { kind: "drop" } }],
    },
  ],
});
const lo = [`${VIP}/32`];
const rows: readonly [string, HostSketch, IpPacket, string][] = [
  ["VIP on lo", { lo, more: gateway }, udp(CLIENT, VIP), `deliver ${VIP} as ${VIP} eth0 C-2.6-01`],
  ["VIP absent", { more: gateway }, udp(CLIENT, VIP), "drop C-2.6-01"],
  [
    "VIP absent, a router sends it on",
    { more: gateway, sysctls: { ip_forward: 1 } },
    udp(CLIENT, VIP),
    "forward eth0 C-2.6-01",
  ],
  ["another host's frame", { lo, more: gateway }, udp(CLIENT, VIP, { frame: "other" }), "drop C-ALL-01"],
  ["own source", { lo, more: gateway }, udp(VIP, "10.0.0.11"), "drop C-2.6-02"],
  [
    "own source, accept_local",
    { lo, more: gateway, sysctls: { "all.accept_local": 1 } },
    udp(VIP, "10.0.0.11"),
    "deliver 10.0.0.11 as 10.0.0.11 eth0 C-2.6-01",
  ],
  ["multicast source", { lo, more: gateway }, udp("224.0.0.9", VIP), "drop C-ALL-03"],
  [
    "subnet broadcast, UDP",
    {},
    udp("10.0.0.1", "10.0.0.255", { frame: "broadcast" }),
    "deliver 10.0.0.255 as 10.0.0.255 eth0 C-2.6-01",
  ],
  [
    "subnet broadcast, TCP",
    {},
    udp("10.0.0.1", "10.0.0.255", { frame: "broadcast", protocol: "tcp" }),
    "drop C-2.6-01",
  ],
  [
    "TCP in a broadcast frame",
    { lo, more: gateway },
    udp(CLIENT, VIP, { frame: "broadcast", protocol: "tcp" }),
    "drop C-ALL-01",
  ],
  [
    "UDP in a broadcast frame",
    { lo, more: gateway },
    udp(CLIENT, VIP, { frame: "broadcast" }),
    `deliver ${VIP} as ${VIP} eth0 C-2.6-01`,
  ],
  [
    "drop_unicast_in_l2_multicast",
    { lo, more: gateway, sysctls: { "all.drop_unicast_in_l2_multicast": 1 } },
    udp(CLIENT, VIP, { frame: "broadcast" }),
    "drop C-ALL-01",
  ],
  ["route_localnet off", {}, udp("10.0.0.1", "127.0.0.1"), "drop C-2.6-01"],
  [
    "route_localnet on",
    { sysctls: { "eth0.route_localnet": 1 } },
    udp("10.0.0.1", "127.0.0.1"),
    "deliver 127.0.0.1 as 127.0.0.1 eth0 C-2.6-01",
  ],
  [
    "iptables REDIRECT",
    { more: chain("iptables", "prerouting", { kind: "redirect" }) },
    udp(CLIENT, VIP),
    `deliver 10.0.0.11 as ${VIP} eth0 C-2.4-02`,
  ],
  [
    "REDIRECT without an address",
    { eth0: [], more: { ...chain("iptables", "prerouting", { kind: "redirect" }), routes: [] } },
    udp(CLIENT, VIP),
    "drop C-2.4-02",
  ],
  [
    "REDIRECT of another address",
    { more: chain("iptables", "prerouting", { kind: "redirect" }) },
    udp(CLIENT, "10.0.0.77"),
    "drop C-2.6-01",
  ],
  [
    "DNAT to the RIP",
    { more: chain("nft", "prerouting", { kind: "dnat", to: "10.0.0.11" }) },
    udp(CLIENT, VIP),
    `deliver 10.0.0.11 as ${VIP} eth0 C-2.6-01`,
  ],
  [
    "a filter before routing",
    { lo, more: chain("nft", "prerouting", { kind: "drop" }, "raw") },
    udp(CLIENT, VIP),
    "drop C-2.4-01",
  ],
  [
    "an input filter",
    { lo, more: chain("nft", "input", { kind: "drop" }, "filter") },
    udp(CLIENT, VIP),
    "drop C-2.6-01",
  ],
  [
    "ipchains REDIRECT, no forwarding",
    { release: "2.2.16", more: chain("ipchains", "input", { kind: "redirect" }, "") },
    udp(CLIENT, VIP),
    "drop C-2.2-01",
  ],
  [
    "ipchains REDIRECT, forwarding",
    { release: "2.2.16", sysctls: { ip_forward: 1 }, more: chain("ipchains", "input", { kind: "redirect" }, "") },
    udp(CLIENT, VIP),
    `deliver ${VIP} as ${VIP} eth0 C-2.2-04`,
  ],
  [
    "the same without any route",
    {
      release: "2.2.16",
      sysctls: { ip_forward: 1 },
      more: { ...chain("ipchains", "input", { kind: "redirect" }, ""), routes: [] },
    },
    udp("10.0.0.9", "172.16.9.9"),
    "drop C-2.2-01",
  ],
  [
    "2.0 firewall redirect",
    { release: "2.0.36", more: chain("ipfwadm", "input", { kind: "redirect" }, "") },
    udp(CLIENT, VIP),
    `deliver ${VIP} as ${VIP} eth0 C-2.0-02`,
  ],
  [
    "2.0 has no source check",
    { release: "2.0.36", lo },
    udp("10.0.0.11", VIP),
    `deliver ${VIP} as ${VIP} eth0 C-2.0-01`,
  ],
  [
    "2.0: the device must be up",
    { release: "2.0.36", eth1: [`${VIP}/32`], links: [{ name: "eth1", flags: [] }] },
    udp(CLIENT, VIP),
    "drop C-2.0-01",
  ],
  [
    "2.2: it need not",
    { release: "2.2.13", eth1: [`${VIP}/32`], links: [{ name: "eth1", flags: [] }], more: gateway },
    udp(CLIENT, VIP),
    `deliver ${VIP} as ${VIP} eth0 C-2.6-01`,
  ],
];
for (const [what, sketch, packet, expected] of rows)
  test(`receive: ${what}`, () => assert.equal(says(sketch, packet), expected));

const multihomed: HostSketch = { lo, eth1: ["192.168.1.5/24"], more: gateway };
test("C-2.6-04, C-2.6-03: strict drops what is routed elsewhere, loose drops it on a link without address", () => {
  const came = udp(CLIENT, VIP, { link: 3 });
  const bare: HostSketch = { ...multihomed, eth1: [] };
  const rp = (mode: number): HostSketch => ({ ...multihomed, sysctls: { "eth1.rp_filter": mode } });
  assert.equal(says(rp(0), came), `deliver ${VIP} as ${VIP} eth1 C-2.6-01`);
  assert.equal(says(rp(1), came), "drop C-2.6-04");
  assert.equal(says(rp(2), came), `deliver ${VIP} as ${VIP} eth1 C-2.6-01`);
  assert.equal(says({ ...bare, sysctls: { "eth1.rp_filter": 2 } }, came), "drop C-2.6-03");
  assert.equal(says({ ...bare, sysctls: { "eth1.rp_filter": 0 } }, came), `deliver ${VIP} as ${VIP} eth1 C-2.6-01`);
});

test("C-ALL-03: any nexthop of a multipath route counts", () => {
  const paths = (devs: string[]): HostSketch => ({
    lo,
    eth1: ["192.168.1.5/24"],
    sysctls: { "all.rp_filter": 1 },
    more: {
      routes: [
        { dst: "default", nexthops: devs.map((dev) => ({ dev, via: dev === "eth0" ? "10.0.0.1" : "192.168.1.1" })) },
      ],
    },
  });
  assert.match(says(paths(["eth0", "eth1"]), udp(CLIENT, VIP, { link: 3 })), /^deliver/);
  assert.match(says(paths(["eth0"]), udp(CLIENT, VIP, { link: 3 })), /^drop/);
});

test("C-2.6-02: a director that is the gateway sends own-source answers on with accept_local and without strict", () => {
  const director = (sysctls: Record<string, number>): HostSketch => ({
    eth0: ["10.0.0.5/24", `${VIP}/32`],
    eth1: ["192.168.1.5/24"],
    more: gateway,
    sysctls: { ip_forward: 1, ...sysctls },
  });
  const answer = udp(VIP, CLIENT, { link: 3 });
  assert.equal(says(director({}), answer), "drop C-2.6-02");
  assert.equal(says(director({ "eth1.accept_local": 1 }), answer), "forward eth0 C-2.6-01");
  assert.equal(says(director({ "eth1.accept_local": 1, "eth1.rp_filter": 1 }), answer), "drop C-2.6-04");
});

const tunl0 = (change: Partial<LinkFacts> = {}): HostSketch => ({
  links: [{ ifindex: 9, name: "tunl0", kind: "ipip", flags: ["UP", "NOARP"], mac: null, ...change }],
  addresses: [{ link: "tunl0", ip: VIP, prefixLength: 32, scope: 0 }],
  more: gateway,
});
const tunnelled = (change: Partial<IpPacket> = {}): IpPacket => ({
  link: 2,
  frame: "unicast",
  source: ipv4("10.0.0.5"),
  destination: ipv4("10.0.0.11"),
  protocol: "ipip",
  inner: { source: ipv4(CLIENT), destination: ipv4(VIP), protocol: "tcp", destinationPort: 80 },
  ...change,
});
test("C-2.6-05, C-2.2-05: IPIP needs a tunnel that is up, and its own checks count", () => {
  assert.equal(says(tunl0(), tunnelled()), `deliver ${VIP} as ${VIP} tunl0 C-2.6-01`);
  assert.equal(says(tunl0({ flags: ["NOARP"] }), tunnelled()), "drop C-2.6-05");
  assert.equal(says({ lo, more: gateway }, tunnelled()), "drop C-2.6-05");
  assert.equal(says({ ...tunl0(), sysctls: { "tunl0.rp_filter": 1 } }, tunnelled()), "drop C-2.6-04");
  assert.equal(
    says({ ...tunl0(), sysctls: { "tunl0.rp_filter": 2 } }, tunnelled()),
    `deliver ${VIP} as ${VIP} tunl0 C-2.6-01`,
  );
  assert.equal(says({ ...tunl0(), addresses: [], lo, sysctls: { "all.rp_filter": 2 } }, tunnelled()), "drop C-2.6-03");
  assert.equal(says(tunl0({ tunnel: { remote: "10.0.0.6" } }), tunnelled()), "drop C-2.6-05");
  assert.equal(says(tunl0({ tunnel: { remote: "10.0.0.5" } }), tunnelled()), `deliver ${VIP} as ${VIP} tunl0 C-2.6-01`);
  assert.equal(says(tunl0(), tunnelled({ destination: ipv4("10.0.0.12") })), "drop C-2.6-01");
  assert.match(
    says(tunl0(), tunnelled({ source: undefined })),
    /^deliver/,
    "an unknown outer source is not held against it",
  );
});

test("C-2.2-06: what tunl0 without IPv4 state decapsulates is dropped; 2.0 re-enters on eth0", () => {
  const bare = { ...tunl0(), addresses: [], lo, release: "2.2.16" };
  assert.equal(says(bare, tunnelled()), "drop C-2.2-06");
  assert.match(says({ ...bare, ...tunl0({ ipv4State: true }), addresses: [], lo }, tunnelled()), /^deliver/);
  const down = { ...tunl0({ flags: ["NOARP"] }), addresses: [], lo, release: "2.0.36" };
  assert.equal(says(down, tunnelled()), `deliver ${VIP} as ${VIP} eth0 C-2.0-01`);
});

test("tunnels in tunnels end", () => {
  let packet = tunnelled();
  for (let i = 0; i < 20; i++) packet = { ...tunnelled({ destination: ipv4(VIP) }), inner: packet };
  assert.equal(says(tunl0(), packet), "drop C-2.2-05");
});

test("TPROXY needs a route that makes the mark local", () => {
  const tproxy = (routes: HostFacts["routes"]): HostSketch => ({
    more: {
      ...chain("iptables", "prerouting", { kind: "tproxy", mark: 1 }, "mangle"),
      routes: [...(gateway.routes ?? []), ...routes],
      rules: [{ priority: 100, fwmark: 1, table: 100 }],
    },
  });
  const local = tproxy([{ dst: "default", type: "local", dev: "lo", table: 100 }]);
  assert.equal(says(local, udp(CLIENT, VIP)), `deliver ${VIP} as ${VIP} eth0 C-2.6-01`);
  assert.equal(says(tproxy([]), udp(CLIENT, VIP)), "drop C-2.6-01");
});

test("C-2.6-06: a UDP service known to be on the wildcard answers from the route's source, one on the VIP from it", () => {
  const bound = (ip: string): HostSketch => ({
    lo,
    more: { ...gateway, sockets: [{ protocol: "udp", ip, port: 7000 }] },
  });
  assert.equal(says(bound("0.0.0.0"), udp(CLIENT, VIP)), `deliver ${VIP} as 10.0.0.11 eth0 C-2.6-01`);
  assert.equal(says(bound(VIP), udp(CLIENT, VIP)), `deliver ${VIP} as ${VIP} eth0 C-2.6-01`);
});
