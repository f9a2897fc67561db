import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { prefix } from "../base/prefix.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { NetlinkError } from "./errors.ts";
import { createNamespace, type Namespace, removeNamespace } from "./namespace.ts";
import { ask, openRtnetlink, type Rtnetlink } from "./rtnetlink.ts";

const names = testPrefix("rt");
const root = process.getuid?.() === 0;
let here: Namespace;
let there: Namespace;
let rt: Rtnetlink;
let far: Rtnetlink;

before(() => {
  if (!root) return;
  here = createNamespace(`${names}a`);
  there = createNamespace(`${names}b`);
  rt = openRtnetlink(here);
  far = openRtnetlink(there);
});
after(() => {
  if (!root) return;
  for (const socket of [rt, far]) socket?.close();
  for (const namespace of [here, there])
    if (namespace) {
      namespace.close();
      removeNamespace(namespace.name);
    }
});

type Json = Record<string, unknown>;
/** A child process is born into the namespace of the thread that starts it. */
const run = (namespace: Namespace, command: string, ...args: string[]): string =>
  namespace.run(() => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }));
const ip = (namespace: Namespace, ...args: string[]): Json[] =>
  JSON.parse(run(namespace, "ip", "-j", "-d", ...args) || "[]") as Json[];
const linkOf = (namespace: Namespace, name: string): Json => ip(namespace, "link", "show", "dev", name)[0] as Json;
const kindOf = (link: Json): unknown => (link.linkinfo as Json).info_kind;
const dataOf = (link: Json): Json => (link.linkinfo as Json).info_data as Json;
const refused = (code: string, words: string) => (error: unknown) => {
  assert.ok(error instanceof NetlinkError, String(error));
  assert.equal(error.code, code);
  assert.ok(error.message.includes(words), error.message);
  assert.ok(error.remedy.length > 0);
  return true;
};
/** Skips where the running kernel lacks a kind of link, and says so. */
function hasKind(t: { skip(why: string): void }, create: () => void, kind: string): boolean {
  try {
    create();
    return true;
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errnoName !== "EOPNOTSUPP") throw error;
    assert.ok(error.message.includes(kind), error.message);
    t.skip(`no ${kind} in this kernel`);
    return false;
  }
}

test("a veth pair is born with its ends in two namespaces", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "v0", mac: mac("02:00:00:00:00:01"), mtu: 1400 }, { name: "v1", namespace: there });
  const near = linkOf(here, "v0");
  assert.equal(kindOf(near), "veth");
  assert.equal(near.address, "02:00:00:00:00:01");
  assert.equal(near.mtu, 1400);
  assert.equal(kindOf(linkOf(there, "v1")), "veth");
  const link = rt.link("v0");
  assert.equal(link?.kind, "veth");
  assert.equal(link?.mac, "02:00:00:00:00:01");
  assert.equal(link?.mtu, 1400);
  assert.equal(link?.up, false);
  assert.equal(link?.index, near.ifindex);
  assert.equal(rt.link("v1"), undefined);
  assert.deepEqual(
    far.links().map((l) => l.name),
    ["lo", "v1"],
  );
  assert.throws(() => rt.createVeth({ name: "v0" }, { name: "v9" }), refused("netlink/EEXIST", "v0"));
  rt.deleteLink("v0");
  assert.equal(far.link("v1"), undefined);
  assert.throws(() => rt.deleteLink("v0"), refused("netlink/ENODEV", "v0"));
});

test("links of the other kinds are what `ip` sees", (t) => {
  if (!needsRoot(t)) return;
  rt.createBridge("br0", { stp: false, multicastSnooping: false });
  const bridge = dataOf(linkOf(here, "br0"));
  assert.equal(bridge.stp_state, 0);
  assert.equal(bridge.mcast_snooping, 0);
  rt.createVeth({ name: "p0" }, { name: "p1" });
  rt.setLink("p0", { master: "br0", up: true });
  assert.equal(linkOf(here, "p0").master, "br0");
  assert.equal(rt.link("p0")?.master, rt.link("br0")?.index);
  assert.ok(run(here, "bridge", "-j", "link").includes('"p0"'));
  rt.setLink("p0", { master: null });
  assert.equal(linkOf(here, "p0").master, undefined);
  assert.equal(rt.link("p0")?.master, undefined);
  rt.createMacvlan("mv0", { parent: "p0", mode: "bridge" });
  assert.equal(dataOf(linkOf(here, "mv0")).mode, "bridge");
  assert.equal(rt.link("mv0")?.parent, rt.link("p0")?.index);
  for (const name of ["br0", "p0"]) rt.deleteLink(name);
  assert.deepEqual(
    rt.links().map((l) => l.name),
    ["lo"],
  );
});

test("dummy", (t) => {
  if (!needsRoot(t) || !hasKind(t, () => rt.createDummy("d0"), "dummy")) return;
  assert.equal(kindOf(linkOf(here, "d0")), "dummy");
  rt.deleteLink("d0");
});

test("ipip", (t) => {
  if (!needsRoot(t)) return;
  const make = (): void => rt.createIpip("t1", { local: ipv4("10.0.0.1"), remote: ipv4("10.0.0.2"), ttl: 64 });
  if (!hasKind(t, make, "ipip")) return;
  const data = dataOf(linkOf(here, "t1"));
  assert.deepEqual([data.local, data.remote, data.ttl], ["10.0.0.1", "10.0.0.2", 64]);
  rt.deleteLink("t1");
});

test("vlan", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "p0" }, { name: "p1" });
  try {
    if (!hasKind(t, () => rt.createVlan("p0.7", { parent: "p0", id: 7 }), "vlan")) return;
    assert.equal(dataOf(linkOf(here, "p0.7")).id, 7);
  } finally {
    rt.deleteLink("p0");
  }
});

test("a link's settings change one by one and read back", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "s0" }, { name: "s1" });
  rt.setLink("s1", { up: true });
  rt.setLink("s0", { up: true, mtu: 1300, mac: mac("02:00:00:00:00:0a"), noArp: true, promiscuous: true });
  const flags = linkOf(here, "s0").flags as string[];
  for (const flag of ["UP", "NOARP", "PROMISC", "LOWER_UP"]) assert.ok(flags.includes(flag), flag);
  const link = rt.link("s0");
  assert.deepEqual(
    [link?.up, link?.lowerUp, link?.noArp, link?.promiscuous, link?.mtu, link?.mac],
    [true, true, true, true, 1300, "02:00:00:00:00:0a"],
  );
  rt.setLink("s0", { noArp: false, promiscuous: false });
  assert.deepEqual([rt.link("s0")?.noArp, rt.link("s0")?.promiscuous, rt.link("s0")?.up], [false, false, true]);
  rt.setLink("s0", { up: false });
  rt.setLink("s0", { name: "renamed" });
  assert.equal(rt.link("s0"), undefined);
  rt.setLink("renamed", { namespace: there });
  assert.equal(rt.link("renamed"), undefined);
  assert.equal(kindOf(linkOf(there, "renamed")), "veth");
  assert.throws(() => rt.setLink("s0", { up: true }), refused("netlink/ENODEV", "s0"));
  assert.throws(() => rt.setLink("s1", { master: "nobody" }), refused("netlink/ENODEV", "nobody"));
  assert.throws(() => rt.setLink("s1", { mtu: 1 }), refused("netlink/EINVAL", "s1"));
  rt.deleteLink("s1");
});

test("addresses carry label, scope, broadcast, peer and noprefixroute both ways", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "a0" }, { name: "a1" });
  rt.setLink("a0", { up: true });
  rt.addAddress("lo", { prefix: prefix("10.9.9.9/32"), label: "lo:vip", scope: "host" });
  rt.addAddress("a0", { prefix: prefix("10.1.0.1/24"), broadcast: ipv4("10.1.0.255") });
  rt.addAddress("a0", { prefix: prefix("10.2.0.1/24"), scope: "link", noPrefixRoute: true });
  rt.addAddress("a0", { prefix: prefix("10.3.0.1/32"), peer: prefix("10.3.0.2/32") });
  const seen = (name: string): Json[] =>
    ((ip(here, "address", "show", "dev", name)[0]?.addr_info ?? []) as Json[]).filter((a) => a.family === "inet");
  assert.equal(seen("lo")[0]?.label, "lo:vip");
  assert.equal(seen("lo")[0]?.scope, "host");
  const [first, second, third] = seen("a0");
  // `ip` lists by scope, so the order is not ours: look each one up.
  const byLocal = new Map([first, second, third].map((a) => [a?.local, a]));
  assert.equal(byLocal.get("10.1.0.1")?.broadcast, "10.1.0.255");
  assert.equal(byLocal.get("10.2.0.1")?.noprefixroute, true);
  assert.equal(byLocal.get("10.2.0.1")?.scope, "link");
  assert.equal(byLocal.get("10.3.0.1")?.address, "10.3.0.2");
  const mine = rt.addresses({ link: "a0" });
  assert.deepEqual(
    mine.map((a) => [a.address, a.prefixLength, a.scope]).sort((x, y) => Number(x[0]) - Number(y[0])),
    [
      [ipv4("10.1.0.1"), 24, "global"],
      [ipv4("10.2.0.1"), 24, "link"],
      [ipv4("10.3.0.1"), 32, "global"],
    ],
  );
  const vip = rt.addresses({ link: "lo" }).find((a) => a.address === ipv4("10.9.9.9"));
  assert.deepEqual([vip?.label, vip?.scope, vip?.prefixLength], ["lo:vip", "host", 32]);
  assert.equal(mine.find((a) => a.address === ipv4("10.3.0.1"))?.peer, ipv4("10.3.0.2"));
  run(here, "ip", "address", "add", "10.4.0.1/24", "brd", "+", "dev", "a0", "label", "a0:four");
  const theirs = rt.addresses({ link: "a0" }).find((a) => a.address === ipv4("10.4.0.1"));
  assert.deepEqual([theirs?.label, theirs?.broadcast], ["a0:four", ipv4("10.4.0.255")]);

  assert.throws(
    () => rt.addAddress("a0", { prefix: prefix("10.1.0.1/24") }),
    refused("netlink/EEXIST", "10.1.0.1/24 on a0"),
  );
  assert.throws(
    () => rt.removeAddress("a0", prefix("10.77.0.1/24")),
    refused("netlink/EADDRNOTAVAIL", "10.77.0.1/24 on a0"),
  );
  assert.throws(() => rt.addAddress("nolink", { prefix: prefix("10.1.0.1/24") }), refused("netlink/ENODEV", "nolink"));
  rt.removeAddress("a0", prefix("10.1.0.1/24"));
  rt.removeAddress("lo", prefix("10.9.9.9/32"));
  assert.deepEqual(seen("lo"), []);
  assert.ok(!seen("a0").some((a) => a.local === "10.1.0.1"));
  rt.deleteLink("a0");
});

test("routes of all types, tables, several gateways and preferred sources, both ways", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "r0" }, { name: "r1" });
  for (const name of ["r0", "r1"]) rt.setLink(name, { up: true });
  rt.addAddress("r0", { prefix: prefix("10.1.0.1/24") });
  rt.addRoute({ destination: prefix("10.20.0.0/16"), gateway: ipv4("10.1.0.254"), preferredSource: ipv4("10.1.0.1") });
  rt.addRoute({ destination: prefix("10.21.0.0/16"), link: "r0", metric: 50 });
  rt.addRoute({ gateway: ipv4("10.1.0.253"), table: 77, link: "r0", mtu: 1200 });
  for (const type of ["blackhole", "unreachable", "prohibit", "throw"] as const)
    rt.addRoute({ destination: prefix("10.30.0.0/24"), type, table: 100 + type.length });
  rt.addRoute({ destination: prefix("10.9.0.0/24"), type: "local", link: "lo", table: 300 });
  rt.addRoute({
    destination: prefix("10.40.0.0/16"),
    hops: [
      { gateway: ipv4("10.1.0.11"), link: "r0", weight: 1 },
      { gateway: ipv4("10.1.0.12"), link: "r0", weight: 3 },
    ],
  });
  rt.addRoute({ destination: prefix("10.50.0.0/16"), gateway: ipv4("172.16.0.1"), link: "r0", onLink: true });
  const all = ip(here, "route", "show", "table", "all");
  const find = (dst: string, table?: string): Json =>
    all.find((r) => r.dst === dst && (table === undefined || r.table === table)) ?? {};
  assert.deepEqual([find("10.20.0.0/16").gateway, find("10.20.0.0/16").prefsrc], ["10.1.0.254", "10.1.0.1"]);
  assert.deepEqual([find("10.21.0.0/16").metric, find("10.21.0.0/16").scope], [50, "link"]);
  assert.equal(find("default", "77").gateway, "10.1.0.253");
  assert.deepEqual(find("default", "77").metrics, [{ mtu: 1200 }]);
  for (const type of ["blackhole", "unreachable", "prohibit", "throw"])
    assert.equal(find("10.30.0.0/24", String(100 + type.length)).type, type);
  assert.equal(find("10.9.0.0/24", "300").type, "local");
  const hops = find("10.40.0.0/16").nexthops as Json[];
  assert.deepEqual(
    hops.map((h) => [h.gateway, h.weight]),
    [
      ["10.1.0.11", 1],
      ["10.1.0.12", 3],
    ],
  );
  assert.ok((find("10.50.0.0/16").flags as string[]).includes("onlink"));

  const mine = rt.routes();
  const own = (text: string, table: number) =>
    mine.find(
      (r) =>
        r.table === table &&
        r.destination.address === prefix(text).address &&
        r.destination.length === prefix(text).length,
    );
  assert.equal(own("10.20.0.0/16", 254)?.gateway, ipv4("10.1.0.254"));
  assert.equal(own("10.20.0.0/16", 254)?.preferredSource, ipv4("10.1.0.1"));
  assert.equal(own("10.21.0.0/16", 254)?.metric, 50);
  assert.equal(own("0.0.0.0/0", 77)?.mtu, 1200);
  assert.equal(own("10.9.0.0/24", 300)?.type, "local");
  assert.deepEqual(
    own("10.40.0.0/16", 254)?.hops?.map((h) => [h.gateway, h.weight]),
    [
      [ipv4("10.1.0.11"), 1],
      [ipv4("10.1.0.12"), 3],
    ],
  );
  assert.equal(rt.routes({ table: 77 }).length, 1);
  // As many as `ip` counts over all tables, the kernel's own local and broadcast ones included.
  assert.equal(mine.length, ip(here, "-4", "route", "show", "table", "all").length);

  const twin = { destination: prefix("10.20.0.0/16"), gateway: ipv4("10.1.0.254") };
  assert.throws(() => rt.addRoute(twin), refused("netlink/EEXIST", "10.20.0.0/16"));
  assert.throws(
    () => rt.addRoute({ destination: prefix("10.60.0.0/16"), gateway: ipv4("99.0.0.1") }),
    refused("netlink/ENETUNREACH", "10.60.0.0/16"),
  );
  rt.replaceRoute({ ...twin, gateway: ipv4("10.1.0.200") });
  assert.equal(ip(here, "route", "show", "10.20.0.0/16")[0]?.gateway, "10.1.0.200");
  rt.removeRoute({ destination: prefix("10.20.0.0/16") });
  rt.removeRoute({ destination: prefix("10.9.0.0/24"), type: "local", table: 300 });
  assert.deepEqual(rt.routes({ table: 300 }), []);
  assert.throws(() => rt.removeRoute(twin), refused("netlink/ESRCH", "10.20.0.0/16"));
  rt.deleteLink("r0");
});

test("rules come and go as `ip rule` says", (t) => {
  if (!needsRoot(t)) return;
  const rule = { priority: 100, source: prefix("10.0.0.0/24"), table: 77, fwmark: 7, fwmask: 0xff };
  rt.addRule(rule);
  rt.addRule({ priority: 101, destination: prefix("10.5.0.0/16"), inputLink: "lo", table: 1000 });
  rt.addRule({ priority: 102, action: "unreachable", outputLink: "lo" });
  const seen = ip(here, "rule", "show");
  const at = (priority: number): Json => seen.find((r) => r.priority === priority) ?? {};
  assert.deepEqual(
    [at(100).src, at(100).srclen, at(100).table, at(100).fwmark, at(100).fwmask],
    ["10.0.0.0", 24, "77", "0x7", "0xff"],
  );
  assert.deepEqual([at(101).dst, at(101).iif, at(101).table], ["10.5.0.0", "lo", "1000"]);
  assert.deepEqual([at(102).action, at(102).oif], ["unreachable", "lo"]);
  assert.deepEqual(
    rt.rules().map((r) => [r.priority, r.table, r.action]),
    [
      [0, 255, "table"],
      [100, 77, "table"],
      [101, 1000, "table"],
      [102, 0, "unreachable"],
      [32766, 254, "table"],
      [32767, 253, "table"],
    ],
  );
  assert.throws(() => rt.addRule(rule), refused("netlink/EEXIST", "100"));
  rt.removeRule(rule);
  for (const priority of [101, 102]) rt.removeRule({ priority });
  assert.equal(rt.rules().length, 3);
  assert.throws(() => rt.removeRule(rule), refused("netlink/ENOENT", "100"));
});

test("neighbours are set, read, removed and flushed", (t) => {
  if (!needsRoot(t)) return;
  rt.createVeth({ name: "n0" }, { name: "n1" });
  for (const name of ["n0", "n1"]) rt.setLink(name, { up: true });
  rt.addAddress("n0", { prefix: prefix("10.1.0.1/24") });
  rt.setNeighbour("n0", { address: ipv4("10.1.0.2"), mac: mac("02:00:00:00:00:02"), state: "permanent" });
  rt.setNeighbour("n0", { address: ipv4("10.1.0.3"), mac: mac("02:00:00:00:00:03"), state: "stale" });
  const seen = ip(here, "neigh", "show", "dev", "n0");
  assert.deepEqual(seen.map((n) => [n.dst, n.lladdr, (n.state as string[])[0]]).sort(), [
    ["10.1.0.2", "02:00:00:00:00:02", "PERMANENT"],
    ["10.1.0.3", "02:00:00:00:00:03", "STALE"],
  ]);
  // Once more with another MAC: it is set, not added.
  rt.setNeighbour("n0", { address: ipv4("10.1.0.3"), mac: mac("02:00:00:00:00:33"), state: "reachable" });
  const three = rt.neighbours({ link: "n0" }).find((n) => n.address === ipv4("10.1.0.3"));
  assert.deepEqual([three?.mac, three?.state], ["02:00:00:00:00:33", "reachable"]);
  rt.flushNeighbours("n0");
  assert.deepEqual(
    rt
      .neighbours({ link: "n0" })
      .filter((n) => n.state !== "failed")
      .map((n) => n.address),
    [ipv4("10.1.0.2")], // permanent ones are someone's wish, and stay
  );
  rt.removeNeighbour("n0", ipv4("10.1.0.2"));
  assert.throws(() => rt.removeNeighbour("n0", ipv4("10.1.0.99")), refused("netlink/ENOENT", "10.1.0.99 on n0"));
  rt.deleteLink("n0");
});

test("5,000 addresses in one batch, and a dump that comes whole", (t) => {
  if (!needsRoot(t)) return;
  const address = (i: number) => ({ prefix: { address: ipv4FromNumber(0x0a640000 + i), length: 32 } });
  const lo = rt.indexOf("lo");
  const wishes = Array.from({ length: 5000 }, (_, i) => ask.addAddress(lo, address(i)));
  assert.deepEqual(rt.batch(wishes), []);
  const found = new Set(rt.addresses().map((a) => a.address));
  for (let i = 0; i < 5000; i++) assert.ok(found.has(address(i).prefix.address));
  const again = rt.batch([wishes[7], ask.addAddress(lo, address(5000)), wishes[9]].filter((w) => w !== undefined));
  assert.deepEqual(
    again.map((f) => [f.index, f.error.code]),
    [
      [0, "netlink/EEXIST"],
      [2, "netlink/EEXIST"],
    ],
  );
  const removals = Array.from({ length: 5001 }, (_, i) => ask.removeAddress(lo, address(i).prefix));
  assert.deepEqual(rt.batch(removals), []);
  assert.deepEqual(rt.addresses(), []);
});

test("without CAP_NET_ADMIN the error says which right is missing; reading still works", (t) => {
  if (!needsRoot(t)) return;
  const module = fileURLToPath(new URL("./rtnetlink.js", import.meta.url));
  const script = `import { openRtnetlink } from ${JSON.stringify(module)};
    const rt = openRtnetlink(); rt.links();
    try { rt.setLink("lo", { up: true }); } catch (e) { console.log(JSON.stringify([e.code, e.message, e.remedy])); }`;
  const child = here.run(() =>
    spawnSync("setpriv", ["--reuid=65534", "--clear-groups", process.execPath, "--input-type=module", "-e", script], {
      encoding: "utf8",
    }),
  );
  const [errorCode, message, remedy] = JSON.parse(child.stdout || "[]") as string[];
  assert.equal(errorCode, "netlink/EPERM", child.stderr);
  assert.ok(message?.includes("lo"), message);
  assert.ok(remedy?.includes("CAP_NET_ADMIN"), remedy);
});
