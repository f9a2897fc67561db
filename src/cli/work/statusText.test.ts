import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentStatus, InstanceReport, ServerStatus, ServiceStatus } from "../../agent/status.ts";
import { paint } from "../colour.ts";
import { isHealthy, statusLines } from "./statusText.ts";

const traffic = {
  ...{ activeConnections: 12_000, inactiveConnections: 1_300, connections: 5, packets: 6, octets: 7 },
  ...{ connectionRate: 1200, packetRate: 180_000, octetRate: 213_456_000 },
};
const server = (name: string, more: Partial<ServerStatus> = {}): ServerStatus => ({
  ...{ name, address: "10.10.0.211:8080", weight: 1, wantedWeight: 1, forwarding: "tun", health: "up", why: "" },
  ...{ forMs: 7_200_000, drain: "none", held: false, traffic },
  ...more,
});
const down = {
  health: "down",
  why: "vip-path: no answer within 1000 ms",
  forMs: 12_000,
  weight: 0,
  wantedWeight: 0,
} as const;
const service = (name: string, servers: readonly ServerStatus[], more: Partial<ServiceStatus> = {}): ServiceStatus => ({
  ...{ name, key: "tcp 10.10.0.100:80", scheduler: "wlc", quorum: "held", alarm: false, servers },
  ...more,
});
const instance: InstanceReport = {
  ...{ name: "eth0", link: "eth0", phase: "master", vips: ["10.10.0.100"], unverified: 0, conflicts: 0, id: 51 },
  ...{ version: 3, intervalMs: 1000, priority: 150, effectivePriority: 150, forMs: 60_000, owner: "lb1 10.10.0.2" },
  why: "nobody was heard for 3.6 s",
  peers: [{ address: "10.10.0.3", priority: 100, intervalMs: 1000, checksum: "message", heardAgoMs: 400 }],
};
const now = new Date("2026-05-04T03:00:00");
const event = (text: string, level: "info" | "alarm", beforeMs: number) => ({
  ...{ at: new Date(now.getTime() - beforeMs).toISOString(), sequence: 1, level, code: "x/y", subject: "web2", text },
  ...(level === "alarm" && { remedy: "look there" }),
});
const well: AgentStatus = {
  ...{ version: 1, cluster: "shop", host: "lb1", role: "director", forMs: 60_000, foreign: [], guilty: [] },
  problems: [],
  instances: [instance],
  services: [service("http", [server("web1"), server("web2")])],
  silence: undefined,
  configuration: { loadedAt: "2026-05-04T02:00:00Z", error: undefined },
  ...{ gauges: {}, counters: {} },
  events: [event("down", "alarm", 86_400_000), event("up: answered", "info", 5_000)],
};
const ill: AgentStatus = {
  ...well,
  services: [
    service("http", [server("web1"), server("web2", { ...down, drain: "draining" })]),
    service("dns", [server("ns1", { ...down, weight: undefined, wantedWeight: undefined })], { quorum: "lost" }),
    service("held", [server("web1", { ...down, held: true, weight: 1, wantedWeight: 1 })], { alarm: true }),
  ],
  guilty: [{ who: "web3 (02:00:00:00:00:13)", vip: "10.10.0.100", how: "answers", seen: 4, link: "eth0" }],
  configuration: { loadedAt: "2026-05-04T02:00:00Z", error: "cluster.yaml:10:35: error: `port` is bad\n more" },
};
const text = (s: AgentStatus, columns = 120, all = false): string =>
  statusLines(s, paint(false), { columns, all }, now).join("\n");

test("all well is one word in the first line, and nothing is wrong", () => {
  assert.match(text(well), /^lb1, director of shop: all well; up 60 s, 03:00:00\n/);
  assert.ok(isHealthy(well));
  assert.equal(text(well).split("\n")[1], "");
});

test("what is wrong stands first, each with what to do about it", () => {
  const lines = text(ill).split("\n");
  assert.match(lines[0] ?? "", /4 things wrong/);
  const before = lines.slice(0, lines.indexOf("VIPs")).join("\n");
  for (const part of [
    /web3 .*answers ARP/,
    /vipward check/,
    /dns: the quorum is lost/,
    /vipward release held/,
    /`port`/,
  ])
    assert.match(before, part);
  assert.ok(!isHealthy(ill));
});

test("a server that is down is not an alarm while the quorum is held, but the first line says so", () => {
  const one = { ...well, services: [service("http", [server("web1"), server("web2", down)])] };
  assert.match(text(one), /^lb1.*: served, 1 server down;/);
  assert.ok(isHealthy(one));
  const lines = text(one).split("\n");
  const at = lines.findIndex((line) => line.includes("web2"));
  assert.ok(at < lines.findIndex((line) => line.startsWith("    web1")), "who is ill comes first");
  assert.match(lines[at + 1] ?? "", /no answer within 1000 ms/, "with its reason below");
});

test("a table that is not as it should be, servers never checked, and services that nobody serves are wrong, though no quorum is lost", () => {
  const with2 = (more: Partial<ServerStatus>, quorum: ServiceStatus["quorum"] = "held"): AgentStatus => ({
    ...well,
    services: [service("http", [server("web1", more), server("web2", more)], { quorum })],
  });
  const unknown = { health: "unknown", weight: 0, wantedWeight: 0, why: "not checked yet" } as const;
  for (const [status, says] of [
    [with2({ weight: undefined, traffic: undefined }), /http: .*web1 and 1 more/],
    [with2({ wantedWeight: 2 }), /http: .*not the weight/],
    [with2({ wantedWeight: undefined }), /http: .*not the weight/],
    [with2({ drain: "draining", weight: 0, wantedWeight: 0 }), /http: no server takes new connections/],
    [with2({ ...unknown, forMs: 900_000 }, "unknown"), /http: .*not answered yet.*web1 and 1 more/],
    [{ ...well, problems: [{ subject: "ipvs", text: "no nft", remedy: "install it" }] }, /ipvs: no nft\n.*install it/],
  ] as const) {
    assert.ok(!isHealthy(status));
    assert.match(text(status), says);
  }
  const early = with2({ ...unknown, forMs: 3_000 }, "unknown");
  assert.ok(isHealthy(early), "it has only begun");
  assert.match(text(early), /^lb1.*: not everything is known yet;/);
});

test("it fits 80 and 120 columns, and leaves out rates before it breaks lines", () => {
  for (const columns of [80, 120])
    for (const line of text(ill, columns).split("\n")) assert.ok(line.length <= columns, `${columns}: ${line}`);
  assert.match(text(ill, 120), /bit\/s/);
  assert.doesNotMatch(text(ill, 80), /bit\/s/);
  assert.match(text(ill, 80), /active closing new\/s/);
});

test("of many servers and services those that are not well are shown, the rest is counted", () => {
  const names = Array.from({ length: 500 }, (_, i) => server(`web${i}`, i === 400 ? down : {}));
  const many = { ...well, services: [service("http", names)] };
  assert.ok(text(many).split("\n").length < 40);
  assert.match(text(many), /web400/);
  assert.match(text(many), /and 488 servers more, all up, 5 856 000 active connections/);
  assert.ok(text(many, 120, true).split("\n").length > 500);
  const services = Array.from({ length: 100 }, (_, i) => service(`s${i}`, [server("w", i === 77 ? down : {})]));
  assert.match(text({ ...well, services }), / s77 /);
  assert.match(text({ ...well, services }), /and 80 services more, all well/);
});

test("events: newest first by the clock on the wall, the day where it is another, the remedy of an alarm", () => {
  const lines = text(well).split("\n");
  const from = lines.indexOf("Last events, newest first") + 1;
  assert.match(lines[from] ?? "", /^ {2}02:59:55 {2}web2: up: answered$/);
  assert.match(lines[from + 1] ?? "", /^! 05-03 03:00:00 {2}web2: down$/);
  assert.match(lines[from + 2] ?? "", /-> look there/);
});
