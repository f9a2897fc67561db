import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import "../testing/seed.ts";
import { parse as parseYaml } from "yaml";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { type Cluster, virtualServersOf } from "./cluster.ts";
import { codes } from "./codes.ts";
import { parseCluster } from "./parse.ts";
import { formatProblem } from "./problem.ts";
import { codeTable, keyTables } from "./reference.ts";
import { roleOf } from "./role.ts";
import { clusterJsonSchema } from "./schema.ts";

const fromRoot = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const read = (path: string): string => readFileSync(fromRoot(path), "utf8");
const examples = readdirSync(fromRoot("examples")).filter((f) => f.endsWith(".yaml"));

function clusterOf(text: string): Cluster {
  const result = parseCluster(text);
  assert.ok(result.ok, result.ok ? "" : result.problems.map((p) => formatProblem(p, "test", text)).join("\n"));
  return result.cluster;
}

const smallest = `version: 1
name: shop
networks: {lan: 10.10.0.0/24}
directors: {lb1: 10.10.0.2}
realServers: {web1: 10.10.0.11, web2: 10.10.0.12}
vips: {web: 10.10.0.100}
services: [{port: 80}]
`;

for (const name of examples) {
  test(`examples/${name} is sound, without a warning, and fits the published schema`, () => {
    const text = read(`examples/${name}`);
    const result = parseCluster(text);
    assert.deepEqual(result.ok ? result.warnings : result.problems, []);
    assert.match(text, /^# yaml-language-server: \$schema=\.\.\/schema\/cluster\.schema\.json\n/);
    const published = z.fromJSONSchema(JSON.parse(read("schema/cluster.schema.json")));
    const verdict = published.safeParse(parseYaml(text));
    assert.ok(verdict.success, JSON.stringify(verdict.error?.issues));
    const broken = published.safeParse({ ...parseYaml(text), services: [{ port: 0 }] });
    assert.equal(broken.success, false);
  });
}

test("the published schema and the reference page are current (node scripts/cluster-docs.mjs)", () => {
  assert.deepEqual(JSON.parse(read("schema/cluster.schema.json")), JSON.parse(JSON.stringify(clusterJsonSchema())));
  const page = read("docs/cluster-file.md");
  assert.ok(page.includes(keyTables()), "the key tables are stale");
  assert.ok(page.includes(codeTable()), "the table of codes is stale");
  for (const code of Object.keys(codes)) assert.ok(page.includes(`| \`${code}\` |`), code);
});

test("a check that names nothing asks what the service can answer", () => {
  const checkOf = (more: string) => {
    const check = clusterOf(smallest.replace("port: 80", more)).services[0]?.checks[0];
    return check?.type === "https"
      ? [check.type, check.host, check.sni]
      : [check?.type, check && "port" in check && check.port];
  };
  assert.deepEqual(checkOf("port: 80"), ["vip-path", 80]);
  assert.deepEqual(checkOf("port: 8000-8010"), ["vip-path", 8000]);
  assert.deepEqual(checkOf("port: any"), ["icmp", false]);
  assert.deepEqual(
    checkOf("port: 443, health: {type: https, host: 'app.example.com:8443'}"),
    ["https", "app.example.com:8443", "app.example.com"], // RFC 6066 section 3: a name, no port
  );
});

test("the smallest file means what the defaults say", () => {
  const cluster = clusterOf(smallest);
  const [service] = cluster.services;
  assert.ok(service);
  assert.equal(service.name, "all-tcp-80");
  assert.deepEqual(service.match, { kind: "ports", protocol: "tcp", ports: [{ first: 80, last: 80 }] });
  assert.deepEqual([service.scheduler, service.forwarding, service.engine], ["wlc", "dr", "auto"]);
  assert.deepEqual(
    service.checks.map((c) => c.type),
    ["vip-path"],
  );
  assert.deepEqual(
    service.destinations.map((d) => [d.realServer.name, d.weight]),
    [
      ["web1", 1],
      ["web2", 1],
    ],
  );
  assert.equal(service.destinations[0]?.realServer, cluster.realServers[0], "one object for one host");
  assert.deepEqual(
    cluster.realServers.map((r) => [r.carrier, r.policy.name, r.vips.map((v) => v.name)]),
    [
      ["lo", "auto", ["web"]],
      ["lo", "auto", ["web"]],
    ],
  );
  assert.deepEqual(cluster.failover.instances, [], "a single director has nobody to elect");
  assert.deepEqual(
    cluster.lab.clients.map((c) => [c.name, formatIpv4(c.address)]),
    [["client", "10.10.0.254"]],
  );
});

test("list and mapping, short form and long, YAML and JSON mean the same", () => {
  const long = {
    version: 1,
    name: "shop",
    networks: [{ name: "lan", prefix: "10.10.0.0/24" }],
    directors: [{ name: "lb1", dip: "10.10.0.2", interface: "eth0", priority: 150 }],
    realServers: [
      { name: "web1", rip: "10.10.0.11", weight: 1, network: "lan" },
      { name: "web2", rip: "10.10.0.12" },
    ],
    vips: [{ name: "web", address: "10.10.0.100" }],
    services: [{ name: "all-tcp-80", vip: "all", port: ["80"], realServers: "all", quorum: { minimum: 1 } }],
  };
  assert.deepEqual(clusterOf(JSON.stringify(long, null, "\t")), clusterOf(smallest));
});

test("forwarding decides the carrier, nat needs no VIP, and a service can mix them", () => {
  const cluster = clusterOf(read("examples/two-vips.yaml"));
  const carrier = Object.fromEntries(cluster.realServers.map((r) => [r.name, r.carrier]));
  assert.deepEqual(carrier, { web1: "lo", web2: "dummy0", web3: "tunl0", ns1: "lo", ns2: "lo" });
  const nat = clusterOf(smallest.replace("{port: 80}", "{port: 80, forwarding: nat}"));
  assert.deepEqual(
    nat.realServers.map((r) => r.vips.length),
    [0, 0],
  );
  assert.deepEqual(
    nat.services[0]?.checks.map((c) => c.type),
    ["tcp"],
  );
  const http = cluster.services.find((s) => s.name === "http");
  assert.deepEqual(
    http?.destinations.map((d) => d.forwarding),
    ["dr", "dr", "tun"],
  );
  assert.equal(http?.sorryServer && formatIpv4(http.sorryServer.address), "10.10.0.50");
});

test("ranges, lists and fwmarks become virtual servers", () => {
  const cluster = clusterOf(smallest.replace("[{port: 80}]", '[{port: [443, "8000-8010"]}, {fwmark: 5}]'));
  assert.deepEqual(
    cluster.services.flatMap(virtualServersOf).map((v) => (v.kind === "port" ? v.ports : v.fwmark)),
    [{ first: 443, last: 443 }, { first: 8000, last: 8010 }, 5],
  );
});

test("VRRP: instances inherit from vrrp, priorities fall in the file's order, peers are the others", () => {
  const text = smallest.replace("{lb1: 10.10.0.2}", "{lb1: 10.10.0.2, lb2: 10.10.0.3}");
  const one = clusterOf(`${text}failover: {vrrp: {id: 9, intervalMs: 100, unicast: true}}\n`).failover.instances[0];
  assert.ok(one);
  assert.deepEqual([one.name, one.id, one.version, one.intervalMs, one.garp.count], ["main", 9, 3, 100, 5]);
  assert.deepEqual(
    one.members.map((m) => [m.director.name, m.priority, m.unicastPeers?.map(formatIpv4)]),
    [
      ["lb1", 150, ["10.10.0.3"]],
      ["lb2", 140, ["10.10.0.2"]],
    ],
  );
  const list = "[{name: a, id: 5, vips: [web], priorities: {lb2: 200}, garp: {count: 2}}]";
  const own = clusterOf(`${text}failover: {vrrp: {intervalMs: 100, garp: {refreshMs: 0}}, instances: ${list}}\n`);
  const [instance] = own.failover.instances;
  assert.deepEqual([instance?.intervalMs, instance?.garp.count, instance?.garp.refreshMs], [100, 2, 0]);
  assert.deepEqual(
    instance?.members.map((m) => m.priority),
    [150, 200],
  );
});

test("anchors and merge keys work, and what a mapping says itself wins", () => {
  const text = smallest.replace(
    "services: [{port: 80}]",
    "services:\n  - &base {name: a, port: 80, scheduler: rr}\n  - {<<: *base, name: b, port: 81}",
  );
  assert.deepEqual(
    clusterOf(text).services.map((s) => [s.name, s.scheduler, s.match.kind === "ports" && s.match.ports[0]?.first]),
    [
      ["a", "rr", 80],
      ["b", "rr", 81],
    ],
  );
});

test("a host finds its role by its addresses or by its name", () => {
  const cluster = clusterOf(smallest.replace("{web1: 10.10.0.11,", "{lb1: 10.10.0.2, web1: 10.10.0.11,"));
  const role = (addresses: string[], as?: string) => roleOf(cluster, { addresses: addresses.map(ipv4), as });
  assert.equal(role(["127.0.0.1", "10.10.0.100", "10.10.0.11"]).kind, "realServer");
  assert.equal(role(["10.10.0.2"]).kind, "both");
  assert.equal(role(["10.10.0.100"]).kind, "none", "a VIP alone says nothing");
  const torn = role(["10.10.0.11", "10.10.0.12"]);
  assert.ok(torn.kind === "ambiguous" && torn.names.join() === "web1,web2" && torn.remedy.includes("--as"));
  assert.equal(role(["10.10.0.11", "10.10.0.12"], "web2").kind, "realServer");
  const odd = role([], "wbe2");
  assert.ok(odd.kind === "unknownName" && odd.remedy.includes("web2"));
  assert.equal(roleOf(clusterOf(smallest), { addresses: [ipv4("10.10.0.2")] }).kind, "director");
});

/** Every VIP with a service of its own on every real server, unless `shared`: then one service has all. */
function large(shared: boolean): string {
  const vips = Array.from({ length: 4096 }, (_, i) => `  v${i}: 10.${100 + (i >> 8)}.${i & 255}.100\n`).join("");
  const servers = Array.from({ length: 1000 }, (_, i) => `  w${i}: 10.1.${i >> 8}.${i & 255}\n`).join("");
  const services = shared
    ? "  - {port: 80}\n"
    : Array.from({ length: 4096 }, (_, i) => `  - {vip: v${i}, port: 80}\n`).join("");
  return `version: 1\nname: large\nnetworks: {lan: 10.0.0.0/8}\ndirectors: {lb1: 10.0.0.2}\nrealServers:\n${servers.replace("10.1.0.0\n", "10.1.9.9\n")}vips:\n${vips}services:\n${services}`;
}

test("4,096 VIPs and 1,000 real servers are read whole, with one service for all and with one each", () => {
  for (const shared of [true, false]) assert.equal(clusterOf(large(shared)).realServers[0]?.vips.length, 4096);
});

test("texts made to be slow are not", () => {
  const slow = [
    "? ",
    "- ",
    "[",
    "{a: ",
    "{",
    "'",
    "&a ",
    "a: &a\n ",
    "*a ",
    "a\n",
    "k: 1\n",
    "- x\n",
    "!!x ",
    "<<: ",
    "#",
    "|\n",
  ];
  for (const piece of slow) {
    const text = piece.repeat(Math.floor(15_000 / piece.length));
    const before = process.cpuUsage(); // of this process, whatever else the machine does
    assert.equal(parseCluster(text).ok, false);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 5e6, `${JSON.stringify(piece)}: ${(user + system) / 1000} ms of CPU`);
  }
});

const fragments = [
  "10.10.0.11",
  "web",
  "80",
  "-1",
  "[",
  "]",
  "{",
  "}",
  ": ",
  "- ",
  "\n",
  "\t",
  "'",
  '"',
  "&a",
  "*a",
  "<<: *a",
  "null",
  "~",
  "1e400",
  "0x10",
  "__proto__: 1",
  "constructor",
  "!!binary x",
  "? ",
  "|",
  "%YAML 1.1\n---\n",
  "\u0000",
  "\ud800",
  "...",
  "all",
  "any",
  "tun",
  "toString",
];
const sources = [smallest, ...examples.map((name) => read(`examples/${name}`))];

test("no mutation of a sound file makes the reader throw, and each problem says where and what to do", () => {
  const edit = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(12),
    put: fc.oneof(fc.constantFrom(...fragments), fc.string({ maxLength: 6 })),
  });
  const property = fc.property(
    fc.constantFrom(...sources),
    fc.array(edit, { minLength: 1, maxLength: 5 }),
    (source, edits) => {
      let text = source;
      for (const { at, cut, put } of edits) {
        const i = Math.floor(at * text.length);
        text = text.slice(0, i) + put + text.slice(i + cut);
      }
      const result = parseCluster(text);
      const problems = result.ok ? result.warnings : result.problems;
      if (!result.ok) assert.ok(problems.some((p) => p.severity === "error"));
      let before = { line: 1, column: 0 };
      for (const p of problems) {
        assert.ok(p.line >= 1 && p.column >= 1 && p.remedy !== "" && p.message !== "" && p.code in codes);
        assert.ok(p.line > before.line || (p.line === before.line && p.column >= before.column), "in the file's order");
        assert.ok(formatProblem(p, "f", text).length > 0);
        before = p;
      }
    },
  );
  fc.assert(property, { numRuns: 150 });
});

test("no value of any type at any key makes the reader throw", () => {
  const base = parseYaml(read("examples/two-vips.yaml")) as Record<string, unknown>;
  const property = fc.property(fc.constantFrom(...Object.keys(base)), fc.jsonValue({ maxDepth: 3 }), (key, value) => {
    const result = parseCluster(JSON.stringify({ ...base, [key]: value }));
    for (const p of result.ok ? [] : result.problems) assert.ok(p.line >= 1 && p.remedy !== "");
  });
  fc.assert(property, { numRuns: 150 });
});
