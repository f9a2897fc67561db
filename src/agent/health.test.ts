import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import type { Check, Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import { type ProbeEvent, startProbe } from "../machine/health/probe.ts";
import { shareChecks } from "../machine/health/sharing.ts";
import { Dice } from "../sim/dice.ts";
import { seed } from "../testing/seed.ts";
import { checkerOf } from "./checkers.ts";
import { healthEvent } from "./event.ts";
import { Health, type HealthEvent } from "./health.ts";

/** `services` that all name the same `servers` and the same check. */
function clusterOf(servers: number, services: number, intervalMs = 2000, check = "{ type: tcp, port: 80 }"): Cluster {
  const list = Array.from({ length: servers }, (_, i) => `w${i}: 10.1.${Math.floor(i / 250)}.${1 + (i % 250)}`);
  const text = `version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/15 } }
directors: { lb1: 10.0.0.2 }
realServers: { ${list.join(", ")} }
vips: { web: 10.0.0.100 }
health: ${check.replace("}", `, intervalMs: ${intervalMs}, timeoutMs: 1000, rise: 1, fall: 1 }`)}
services:
${Array.from({ length: services }, (_, i) => `  - { name: s${i}, vip: web, port: ${1000 + i} }`).join("\n")}
`;
  const read = parseCluster(text);
  assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
  return read.cluster;
}

const large = clusterOf(10_000, 1);
/** lb1 and lb2 are real servers too; nobody says how to check. */
const oneBox = (forwarding: string): Cluster => {
  const read = parseCluster(`version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: 10.0.0.2, lb2: 10.0.0.3 }
realServers: { lb1: 10.0.0.2, lb2: 10.0.0.3, web1: 10.0.0.11 }
vips: { a: 10.0.0.100, b: 10.0.0.101 }
services: [{ name: web, vip: [a, b], port: 80, forwarding: ${forwarding} }]
`);
  assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
  return read.cluster;
};

/** A TXT record, as the answer to that question. */
function dnsSays(question: Uint8Array, text: string): ProbeEvent {
  const record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, text.length + 1, text.length];
  const octets = Uint8Array.from([...question, ...record, ...Buffer.from(text, "latin1")]);
  octets[2] = 0x80; // an answer
  octets[7] = 1; // with one record
  return { kind: "datagram", octets };
}

class Clocked {
  nowMs = 0;
  readonly startsAtMs: number[] = [];
  readonly connectedTo = new Set<string>();
  packets = 0;
  /** What a DNS server answers. */
  text = "";
  readonly events: HealthEvent[] = [];
  answer: ProbeEvent | undefined = { kind: "connected" };
  readonly health: Health;
  #late: (() => void)[] = [];

  constructor(cluster: Cluster, attemptsLimit?: number) {
    const dice = new Dice(seed);
    const random = (): number => dice.next() / 2 ** 32;
    this.health = new Health({
      random,
      sha256: () => "",
      matches: () => true,
      dipFor: () => 0 as never,
      report: (event) => void this.events.push(event),
      ports: {
        perform: (attempt, action) => {
          if (action.kind === "packet") this.packets++;
          const answer = action.kind === "datagram" ? dnsSays(action.octets, this.text) : this.answer;
          if (action.kind !== "connect" && action.kind !== "datagram" && action.kind !== "run") return;
          if (action.kind !== "run") this.connectedTo.add(`${formatIpv4(action.address)}:${action.port}`);
          this.startsAtMs.push(this.nowMs);
          if (answer !== undefined) this.#late.push(() => this.health.event(attempt, answer, this.nowMs));
        },
      },
      ...(attemptsLimit !== undefined && { attemptsLimit }),
    });
    this.health.load(cluster.services, 0);
  }
  run(forMs: number, stepMs = 1): this {
    for (const endMs = this.nowMs + forMs; this.nowMs < endMs; ) {
      this.nowMs += stepMs;
      for (const say of this.#late.splice(0)) say();
      this.health.tick(this.nowMs);
    }
    return this;
  }
  /** The most and the least starts in a window of so many milliseconds. */
  windows(sizeMs: number, fromMs: number): { readonly most: number; readonly least: number } {
    const counts = new Array<number>(Math.floor((this.nowMs - fromMs) / sizeMs)).fill(0);
    for (const at of this.startsAtMs) {
      const window = Math.floor((at - fromMs - 1) / sizeMs);
      if (window >= 0 && window < counts.length) counts[window] = (counts[window] ?? 0) + 1;
    }
    return { most: Math.max(...counts), least: Math.min(...counts) };
  }
}

test("10,000 checks each 2 s: 50 in each 10 ms, no burst at the start, none ever", () => {
  const clocked = new Clocked(large).run(4_000);
  assert.equal(clocked.health.checks, 10_000);
  const { most, least } = clocked.windows(10, 0);
  assert.ok(most <= 100 && least >= 15, `${least} to ${most} in 10 ms`);
  assert.ok(Math.abs(clocked.startsAtMs.length - 20_000) < 400, `${clocked.startsAtMs.length} in 4 s`);
});

test("an agent that was stopped for a minute goes on evenly", () => {
  const clocked = new Clocked(large).run(3_000);
  clocked.nowMs += 60_000;
  const fromMs = clocked.nowMs;
  clocked.run(4_000);
  assert.ok(clocked.windows(10, fromMs).most <= 150, `${clocked.windows(10, fromMs).most} in 10 ms`);
});

test("a stall shorter than the interval is caught up at twice the pace, not at once", () => {
  const clocked = new Clocked(large).run(3_000);
  clocked.nowMs += 1_500;
  const fromMs = clocked.nowMs;
  clocked.run(3_000);
  const { most } = clocked.windows(10, fromMs);
  assert.ok(most <= 350, `${most} in 10 ms`);
  assert.ok(clocked.startsAtMs.length > 34_000, `only ${clocked.startsAtMs.length}: nothing was caught up`);
});

test("100 services that name the same 100 servers and the same check ask 100 questions, not 10,000", () => {
  const clocked = new Clocked(clusterOf(100, 100)).run(2_000);
  assert.equal(clocked.health.checks, 100);
  assert.ok(clocked.startsAtMs.length <= 210, `${clocked.startsAtMs.length}`);
  const view = clocked.health.view(clocked.nowMs);
  assert.ok(view.every((service) => service.servers.every((server) => server.health === "up")));
});

test("no more are under way than the host has sockets for; the rest come a little later", () => {
  const clocked = new Clocked(large, 200);
  clocked.answer = undefined; // nobody answers: each lasts its whole second
  clocked.run(3_000);
  assert.ok(clocked.health.underWay <= 200 && clocked.health.underWay > 150, `${clocked.health.underWay}`);
});

test("a host without a socket left takes nobody for dead, and says what it lacks, once", () => {
  const clocked = new Clocked(clusterOf(50, 1)).run(3_000);
  clocked.answer = { kind: "failed", error: "EMFILE" };
  clocked.run(10_000);
  const health = clocked.health.view(clocked.nowMs)[0]?.servers.map((s) => s.health);
  assert.deepEqual(new Set(health), new Set(["up"]));
  const told = clocked.events.filter((e) => e.kind === "ownFault");
  assert.equal(told.length, 1);
  clocked.answer = { kind: "failed", error: "ECONNREFUSED" };
  clocked.run(3_000);
  assert.ok(
    clocked.events.some((e) => e.kind === "server" && e.to === "down"),
    "the server's own refusal counts",
  );
});

test("a check whose program cannot be started takes nobody for dead, and says what is missing", () => {
  const clocked = new Clocked(clusterOf(5, 1, 2000, "{ type: exec, command: [/usr/local/bin/check] }"));
  clocked.answer = { kind: "exited", status: 0 };
  clocked.run(3_000);
  clocked.answer = { kind: "failed", error: "ENOENT", notBegun: true };
  clocked.run(10_000);
  const states = () => new Set(clocked.health.view(clocked.nowMs)[0]?.servers.map((s) => s.health));
  assert.deepEqual(states(), new Set(["up"]));
  const told = clocked.events.flatMap((e) => (e.kind === "ownFault" ? [healthEvent(e)] : []));
  assert.equal(told.length, 1);
  assert.match(`${told[0]?.text} ${told[0]?.remedy}`, /ENOENT.*program/);
  clocked.answer = { kind: "failed", error: "it prints without end" };
  clocked.run(3_000);
  assert.ok(states().has("down"), "what it did once it ran counts");
});

for (const forwarding of ["dr", "tun"])
  test(`${forwarding}: a director that is a real server too is asked by tcp, not through the path that its IPVS takes`, () => {
    const clocked = new Clocked(oneBox(forwarding)).run(30_000);
    const servers = clocked.health.view(clocked.nowMs)[0]?.servers ?? [];
    assert.deepEqual(
      servers.map((s) => `${s.name} ${s.health} ${s.why.split(":")[0]}`),
      ["lb1 up tcp", "lb2 up tcp", "web1 down vip-path"], // nobody answers the handshake here
    );
    assert.deepEqual(clocked.connectedTo, new Set(["10.0.0.2:80", "10.0.0.3:80"]));
    assert.ok(clocked.packets > 0, "web1 is asked through the path");
    assert.equal(clocked.health.checks, 4, "one for each director, one for each VIP of web1");
  });

test("what is under way to a real server's old address says nothing of its new one", () => {
  const before = clusterOf(1, 1);
  const clocked = new Clocked(before);
  clocked.answer = undefined;
  while (clocked.startsAtMs.length === 0) clocked.run(1);
  const services = before.services.map((s) => ({
    ...s,
    destinations: s.destinations.map((d) => ({ ...d, realServer: { ...d.realServer, rip: ipv4("10.1.0.99") } })),
  }));
  clocked.health.load(services, clocked.nowMs);
  clocked.answer = { kind: "connected" };
  clocked.run(5_000); // the old attempt's time is over in this time
  const told = clocked.events.flatMap((e) => (e.kind === "server" ? [e.to] : []));
  assert.deepEqual(told, ["up"]);
  assert.ok(clocked.connectedTo.has("10.1.0.99:80"));
});

test("a server's words can neither begin a log entry nor command a terminal", () => {
  const check = "{ type: dns, port: 53, name: example.com, recordType: TXT, expect: well }";
  const clocked = new Clocked(clusterOf(1, 1, 2000, check));
  clocked.text = "ill\n<1>failover/transition web: backup -> master\u001b[2J\u009b1m";
  clocked.run(10_000);
  const [event] = clocked.events.flatMap((e) => (e.kind === "server" ? [e] : []));
  assert.equal(event?.to, "down");
  const wanted = "dns: answered ill·<1>failover/transition web: backup -> master·[2J·1m, not well";
  assert.equal(event.reason, wanted);
  assert.equal(clocked.health.view(clocked.nowMs)[0]?.servers[0]?.why, wanted);
});

test("what a check asks where: an exec check is told which server, and a server behind nat is asked at its own port", () => {
  const servers = "realServers: { web1: { port: 8080 }, web2: 1 }";
  const asked = (service: string): string[] => {
    const read = parseCluster(`version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: 10.0.0.2 }
realServers: { web1: 10.0.0.11, web2: 10.0.0.12 }
vips: { web: 10.0.0.100, shop: 10.0.0.101 }
services: [{ vip: [web, shop], forwarding: nat, ${service} }]
`);
    assert.ok(read.ok, JSON.stringify(read.ok ? "" : read.problems));
    const tools = { sha256: () => "", matches: () => true, dipFor: () => ipv4("10.0.0.2") };
    return [...shareChecks<Check>(read.cluster.services).values()].map((shared) => {
      const [effect] = startProbe(checkerOf(shared, tools), 1000, 7, 0).effects;
      if (effect?.kind === "connect") return `${formatIpv4(effect.address)}:${effect.port}`;
      return effect?.kind === "run" ? Object.entries(effect.environment).join(" ") : `${effect?.kind}`;
    });
  };
  assert.deepEqual(asked(`port: 80, ${servers}`), ["10.0.0.11:8080", "10.0.0.12:80"]);
  assert.deepEqual(asked(`port: 80, ${servers}, health: http`), ["10.0.0.11:8080", "10.0.0.12:80"]);
  assert.deepEqual(asked(`port: 80, ${servers}, health: { type: tcp, port: 81 }`), ["10.0.0.11:81", "10.0.0.12:81"]);
  const told = (name: string, rip: string, vip: string, port: string): string =>
    `VIPWARD_NAME,${name} VIPWARD_RIP,${rip} VIPWARD_VIP,${vip}${port}`;
  assert.deepEqual(asked(`port: 80, ${servers}, health: { type: exec, command: [/bin/true] }`), [
    told("web1", "10.0.0.11", "10.0.0.100", " VIPWARD_PORT,8080"),
    told("web1", "10.0.0.11", "10.0.0.101", " VIPWARD_PORT,8080"),
    told("web2", "10.0.0.12", "10.0.0.100", " VIPWARD_PORT,80"),
    told("web2", "10.0.0.12", "10.0.0.101", " VIPWARD_PORT,80"),
  ]);
  const [first] = asked("fwmark: 7, realServers: [web1], health: { type: exec, command: [/bin/true] }");
  assert.equal(first, told("web1", "10.0.0.11", "10.0.0.100", ""));
});
