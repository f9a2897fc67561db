import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/parse.ts";
import { type Circumstances, desiredKeys, desiredTable, type ServerHealth } from "./desired.ts";
import type { Drain } from "./health/drain.ts";
import type { QuorumState } from "./health/quorum.ts";
import { shareChecks } from "./health/sharing.ts";
import { keyOf, type TableService } from "./table.ts";
import type { VrrpConfig } from "./vrrpTypes.ts";

const head = `
version: 1
name: test
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2, lb2: 10.10.0.3 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12, web3: 10.10.0.13 }
vips: { web: 10.10.0.100, mail: 10.10.0.101 }
failover: { vrrp: { id: 77 } }
`;
function cluster(services: string): Cluster {
  const result = parseCluster(`${head}services:\n${services}`);
  assert.ok(result.ok, result.ok ? "" : result.problems.map((p) => p.message).join("; "));
  return result.cluster;
}
type PerServer<T> = Readonly<Record<string, T>>;
const nested = <T>(service: string, values: PerServer<T>): ReadonlyMap<string, ReadonlyMap<string, T>> =>
  new Map([[service, new Map(Object.entries(values))]]);
const up: ServerHealth = { kind: "up" };
const down: ServerHealth = { kind: "down" };
const all: PerServer<ServerHealth> = { web1: up, web2: up, web3: up };

function circumstances(
  health: PerServer<ServerHealth>,
  more: { drains?: PerServer<Drain>; quorum?: QuorumState["kind"] } = {},
): Circumstances {
  return {
    health: nested("http", health),
    drains: nested("http", more.drains ?? {}),
    quorum: new Map(more.quorum === undefined ? [] : [["http", more.quorum]]),
  };
}
/** "web1*1 web2*0". */
const weights = (service: TableService | undefined): string =>
  (service?.realServers ?? []).map((s) => `${s.name}*${s.weight}${s.unsure === true ? "?" : ""}`).join(" ");
const table = (services: string, c: Circumstances): string =>
  desiredTable(cluster(services).services, c).services.map(weights).join("; ");

const http = "  - { name: http, vip: web, port: 80 }";

test("what is up has its weight, what is down or drained has none, what is unknown is unsure", () => {
  assert.equal(table(http, circumstances(all)), "web1*1 web2*1 web3*1");
  assert.equal(table(http, circumstances({ ...all, web2: down })), "web1*1 web2*0 web3*1");
  assert.equal(table(http, circumstances({ web1: up })), "web1*1 web2*0? web3*0?");
  const heavy = "  - { name: http, vip: web, port: 80, realServers: { web1: 8, web2: 8 } }";
  assert.equal(table(heavy, circumstances({ ...all, web1: { kind: "up", weight: 3 } })), "web1*3 web2*8");
  const remove = "  - { name: http, vip: web, port: 80, onFailure: remove }";
  assert.equal(table(remove, circumstances({ ...all, web2: down })), "web1*1 web3*1");
  const unchecked = "  - { name: http, vip: web, port: 80, health: none }";
  assert.equal(table(unchecked, circumstances({})), "web1*1 web2*1 web3*1");
});

test("a drain: weight 0 while it lasts, out when it is done", () => {
  const draining: Drain = { kind: "draining", sinceMs: 0, untilMs: 9, reason: "" };
  const drained: Drain = { kind: "drained", sinceMs: 0, why: "time", reason: "" };
  assert.equal(table(http, circumstances(all, { drains: { web1: draining, web2: drained } })), "web1*0 web3*1");
});

test("a lost quorum brings the sorry server, where there is one, and takes the others' weight", () => {
  const sorry = "  - { name: http, vip: web, port: 80, quorum: 2, sorryServer: 10.10.0.50 }";
  const few = { ...all, web2: down, web3: down };
  assert.equal(table(sorry, circumstances(few, { quorum: "lost" })), "web1*0 web2*0 web3*0 sorry*1");
  assert.equal(table(sorry, circumstances(all, { quorum: "held" })), "web1*1 web2*1 web3*1");
  assert.equal(table(http, circumstances(few, { quorum: "lost" })), "web1*1 web2*0 web3*0");
  const own = "  - { name: http, vip: web, port: 80, quorum: 2, sorryServer: web3 }";
  assert.equal(table(own, circumstances(few, { quorum: "lost" })), "web1*0 web2*0 web3*1");
});

test("ports, ranges, every port and fwmarks", () => {
  const { services, marks } = desiredTable(
    cluster(`
  - { name: two, vip: [web, mail], port: 80 }
  - { name: range, vip: web, port: 8000-8010 }
  - { name: every, vip: mail, port: 1-65535, protocol: udp, persistence: 60 }
  - { name: marked, fwmark: 7, vip: web, health: icmp }`).services,
    circumstances({}),
  );
  assert.equal(marks.length, 1);
  const [mark] = marks;
  assert.deepEqual(
    { ...mark, fwmark: 0 },
    { vip: ipv4("10.10.0.100"), protocol: 6, first: 8000, last: 8010, fwmark: 0 },
  );
  assert.deepEqual(services.map(keyOf), [
    "tcp 10.10.0.100:80",
    "tcp 10.10.0.101:80",
    `mark ${mark?.fwmark}`,
    "udp 10.10.0.101:0",
    "mark 7",
  ]);
  assert.deepEqual(
    services.map((s) => s.realServers[0]?.port),
    [80, 80, 0, 0, 0],
  );
  assert.deepEqual(services[3]?.persistence, { timeoutSeconds: 60, netmaskLength: 32 });
});

test("every director comes to the same marks, also when other services come and go", () => {
  const marksOf = (services: string) => desiredTable(cluster(services).services, circumstances({})).marks;
  const range = "  - { name: range, vip: web, port: 8000-8010 }";
  const [alone] = marksOf(range);
  const [, , beside] = marksOf(`  - { name: a, vip: mail, port: [1-3, 5-9] }\n${range}`);
  assert.deepEqual(beside, alone);
  assert.equal((alone?.fwmark ?? 0) >>> 24, 0x76);
  const [moved] = marksOf(`  - { name: m, fwmark: ${alone?.fwmark}, vip: mail, health: icmp }\n${range}`);
  assert.equal(moved?.fwmark, (alone?.fwmark ?? 0) + 1, "a mark that a person has taken is not given out");
});

test("scheduler, flags, thresholds and tunnels arrive as IPVS has them", () => {
  const [first] = desiredTable(
    cluster(`
  - name: http
    vip: web
    port: 80
    scheduler: mh
    schedulerFlags: [mh-port, mh-fallback]
    forwarding: tun
    tunnel: { type: gue, port: 6080, checksum: remote }
    realServers: { web1: { upperThreshold: 100, lowerThreshold: 50 } }`).services,
    circumstances(all),
  ).services;
  assert.deepEqual([first?.scheduler, first?.schedulerFlags], ["mh", [1, 2]]);
  assert.deepEqual(first?.realServers[0], {
    name: "web1",
    rip: ipv4("10.10.0.11"),
    port: 80,
    weight: 1,
    forwarding: "tun",
    upperThreshold: 100,
    lowerThreshold: 50,
    tunnel: { type: "gue", port: 6080, checksum: "remote" },
  });
  const sorry = `  - { name: http, vip: web, port: 80, forwarding: tun, tunnel: gre, realServers: [web1], sorryServer: web2 }`;
  const { services } = desiredTable(cluster(sorry).services, circumstances(all, { quorum: "lost" }));
  assert.deepEqual(
    services[0]?.realServers.map((r) => [r.name, r.tunnel?.type]),
    [
      ["web1", "gre"],
      ["web2", "gre"],
    ],
  );
});

test("two ranges whose marks are the same are told apart, in the table and by name", () => {
  const mark = (text: string): number =>
    desiredTable(cluster(`  - { name: a, vip: web, port: ${text} }`).services, circumstances(all)).marks[0]?.fwmark ??
    0;
  // Found once by trying all pairs of ranges of four ports.
  const [one, other] = ["806-809", "2650-2653"];
  assert.equal(mark(one), mark(other));
  const both = cluster(`  - { name: a, vip: web, port: ${one} }
  - { name: b, vip: web, port: ${other} }`).services;
  const table = desiredTable(both, circumstances(all)).services.map(keyOf);
  assert.equal(new Set(table).size, 2);
  assert.deepEqual([...desiredKeys(both).values()].flat().map(keyOf), table);
});

test("the cluster's own types fit the machines' as they are", () => {
  const { services, failover } = cluster(http);
  assert.equal(shareChecks(services).size, 3);
  const [instance] = failover.instances;
  const [member] = instance?.members ?? [];
  assert.ok(instance !== undefined && member !== undefined);
  const config: VrrpConfig = {
    ...instance,
    vrid: instance.id,
    vips: instance.vips.map((vip) => vip.address),
    priority: member.priority,
    address: member.director.dip,
    unicastPeers: member.unicastPeers,
  };
  assert.equal(config.vrid, 77);
});
