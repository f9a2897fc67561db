/** What a story says of machines that died, froze, or never were, and when a law counts as broken. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { scenarioOf, tellScenario } from "../../testing/scenarios.ts";
import type { ScenarioOutcome } from "./scenario.ts";

const services = "  - { name: http, vip: web, port: 80, scheduler: rr }";
const file = (scenario: string, more: { services?: string; clients?: string } = {}): string => `version: 1
name: t
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2, lb2: 10.10.0.3 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12 }
vips: { web: 10.10.0.100, mail: 10.10.0.101 }
services:
${more.services ?? services}
forwarding: dr
failover: { vrrp: { id: 77 } }
lab:
  clients: ${more.clients ?? "{ client: 10.10.0.200 }"}
  scenario:
${scenario}
`;
const faults = (seconds: number, ...lines: readonly string[]): string =>
  [`    seconds: ${seconds}`, "    faults:", ...lines.map((line) => `      - { ${line} }`)].join("\n");
const lawsOf = ({ breaches }: ScenarioOutcome): string[] => breaches.map((b) => `${b.law}: ${b.host} ${b.what}`);
const told = ({ timeline }: ScenarioOutcome, words: RegExp): string[] =>
  timeline.map((entry) => entry.text).filter((text) => words.test(text));

test("a director that boots faster than its last deadline leaves no second agent behind", async () => {
  for (const [host, at] of [
    ["lb2", 10.5],
    ["lb2", 11.5],
    ["lb1", 10.1],
  ] as const) {
    const story = faults(40, `at: 10, do: crash, host: ${host}`, `at: ${at}, do: restart, host: ${host}`);
    const outcome = await tellScenario(file(story));
    assert.deepEqual(lawsOf(outcome), [], `${host} back at ${at}`);
    assert.equal(outcome.owners["10.10.0.100"]?.length, 1);
    assert.deepEqual(told(outcome, /vip-path: no answer|somebody else had changed/), []);
  }
});

test("acceptance is asked of the servers of a service, not of the others", async () => {
  const split = `  - { name: http, vip: web, port: 80, scheduler: rr, realServers: [web1] }
  - { name: smtp, vip: mail, port: 25, scheduler: rr, realServers: [web2] }`;
  const outcome = await tellScenario(file("    seconds: 30", { services: split }));
  assert.deepEqual(lawsOf(outcome), []);
  assert.equal(outcome.connections.completed, outcome.connections.total);
  const twoVips = readFileSync(new URL("../../../examples/two-vips.yaml", import.meta.url), "utf8");
  const example = /\n {2}scenario:/.test(twoVips)
    ? twoVips
    : twoVips.replace(/\nlab:\n/, "\nlab:\n  scenario: { seconds: 20 }\n");
  assert.deepEqual(lawsOf(await tellScenario(example)), []);
});

test("who still waits for an answer at the end has not got one", async () => {
  const dead = await tellScenario(file(faults(30, "at: 22, do: crash, host: lb1", "at: 22, do: crash, host: lb2")));
  assert.equal(dead.connections.brokenLongLived, 12);
  const { total, completed, broken, refused } = dead.connections;
  assert.equal(total, completed + broken + refused);
  assert.ok(refused > 20, String(refused)); // those that begin when both are gone
  const atOnce = await tellScenario(file(faults(1, "at: 0, do: crash, host: lb1", "at: 0, do: crash, host: lb2")));
  assert.ok(atOnce.connections.refused > 0);
  assert.equal(atOnce.connections.completed, 0);
});

test("a director that lost power knows no connections, and counts none", async () => {
  const bounded =
    "  - { name: http, vip: web, port: 80, scheduler: rr, realServers: { web1: { upperThreshold: 8 }, web2: { upperThreshold: 8 } } }";
  const story = `    connectEveryMs: 20000
    longLived: 12
${faults(200, "at: 20, do: crash, host: lb1", "at: 20, do: crash, host: lb2", "at: 40, do: restart, host: lb1")}`;
  const [withBounds, without] = [
    await tellScenario(file(story, { services: bounded })),
    await tellScenario(file(story)),
  ];
  assert.equal(withBounds.connections.refused, without.connections.refused);
  assert.equal(withBounds.connections.completed, without.connections.completed);
});

test("what is down cannot freeze, and what is frozen says nothing", async () => {
  const paused = faults(
    60,
    "at: 10, do: crash, host: web1",
    "at: 12, do: pause, host: web1",
    "at: 14, do: restart, host: web1",
  );
  const back = await tellScenario(file(paused));
  assert.ok((back.connections.servedBy.web1 ?? 0) > 20, JSON.stringify(back.connections));
  const mute = faults(
    30,
    "at: 12, do: pause, host: web1",
    "at: 13, do: sysctl, host: web1, name: eth0.arp_announce, value: 0",
    "at: 14, do: speak, host: web1",
    "at: 15, do: announce, host: web1",
  );
  assert.deepEqual(lawsOf(await tellScenario(file(mute))), []);
});

for (const host of ["client", "router", "lb1", "web1"])
  test(`while ${host} is frozen no frame comes from it`, async () => {
    const scenario = scenarioOf(
      file(faults(40, `at: 10, do: pause, host: ${host}`, `at: 30, do: resume, host: ${host}`)),
    );
    const { hosts, lan } = scenario.world;
    const frozen = hosts.get(host);
    assert.ok(frozen !== undefined);
    let sinceUs = Number.POSITIVE_INFINITY;
    const pause = frozen.pause.bind(frozen);
    frozen.pause = () => {
      sinceUs = lan.nowUs;
      pause();
    };
    const said = { before: 0, frozen: 0, after: 0 };
    lan.taps.push((timeUs, from) => {
      if (from !== host) return;
      // what was on its cable when it froze arrives
      if (!frozen.isPaused) said[timeUs < sinceUs ? "before" : "after"]++;
      else if (timeUs > sinceUs + 2000) said.frozen++;
    });
    await scenario.run();
    assert.ok(said.before > 0 && said.after > 0, JSON.stringify(said));
    assert.equal(said.frozen, 0);
  });

test("a client that is frozen or down begins nothing; frozen, what it has begun goes on late, without power it is lost", async () => {
  const udp = `${services}\n  - { name: dns, vip: web, port: 53, protocol: udp, scheduler: rr, health: tcp }`;
  const told = (...lines: readonly string[]): Promise<ScenarioOutcome> =>
    tellScenario(file(faults(60, ...lines), { services: udp }));
  const whole = await told("at: 1, do: flush, host: client");
  const frozen = await told("at: 10.1, do: pause, host: client", "at: 40, do: resume, host: client");
  const dead = await told("at: 10.1, do: crash, host: client", "at: 40, do: restart, host: client");
  for (const { connections, datagrams } of [frozen, dead]) {
    assert.ok(connections.total < whole.connections.total * 0.6, JSON.stringify(connections));
    assert.ok((datagrams?.asked ?? 0) < (whole.datagrams?.asked ?? 0) * 0.6, JSON.stringify(datagrams));
    assert.ok((datagrams?.asked ?? 0) - (datagrams?.answered ?? 0) <= 1, JSON.stringify(datagrams));
    assert.equal(connections.refused, 0);
  }
  assert.equal(frozen.connections.completed, frozen.connections.total);
  assert.equal(dead.connections.brokenLongLived, 12);
  // one that never goes on never gets its answers
  const stuck = await told("at: 10.1, do: pause, host: client");
  assert.equal(stuck.connections.brokenLongLived, 12);
  assert.ok(stuck.connections.completed > 20, JSON.stringify(stuck.connections));
});

test("power that goes takes along what was set by hand, at client and router too", async () => {
  const set = (host: string, fault: string): string[] => [
    `at: 5, do: ${fault}`,
    `at: 10, do: crash, host: ${host}`,
    `at: 15, do: restart, host: ${host}`,
  ];
  const scenario = scenarioOf(
    file(
      faults(
        60,
        ...set("client", "add-vip, host: client"),
        ...set("router", "sysctl, host: router, name: all.arp_ignore, value: 8"),
      ),
    ),
  );
  const { hosts } = scenario.world;
  const before = ["client", "router"].map((name) => hosts.get(name)?.facts);
  const { owners } = await scenario.run();
  assert.deepEqual(owners["10.10.0.100"], ["lb1"]);
  assert.deepEqual(
    ["client", "router"].map((name) => hosts.get(name)?.facts),
    before,
  );
});

test("who owns the VIP is asked from a machine that can ask, and that does not hold it itself", async () => {
  const asked = async (...lines: readonly string[]): Promise<readonly string[] | undefined> => {
    const { owners } = await tellScenario(file(faults(30, ...lines)));
    return [...(owners["10.10.0.100"] ?? [])].sort();
  };
  const router = "at: 5, do: crash, host: router";
  assert.deepEqual(await asked("at: 5, do: crash, host: client"), ["lb1"]);
  assert.deepEqual(await asked("at: 5, do: add-vip, host: client"), ["client", "lb1"]);
  assert.deepEqual(await asked("at: 5, do: add-vip, host: client", router), ["client", "lb1"]);
  assert.deepEqual(await asked("at: 5, do: loss, host: client, value: 100"), ["lb1"]);
  assert.deepEqual(await asked("at: 5, do: loss, host: client, value: 100", router), ["lb1"]);
});

test("one owner: a question that the router never asked is not one that nobody answered", async () => {
  const seldom = "    askEveryMs: 20000\n";
  for (const [stop, go] of [
    ["pause", "resume"],
    ["cut", "mend"],
  ]) {
    // nobody else asks in that time
    const silent = "at: 1, do: crash, host: client";
    const story = faults(60, silent, `at: 15, do: ${stop}, host: router`, `at: 30, do: ${go}, host: router`);
    const alone = file(seldom + story).replace(", lb2: 10.10.0.3", "");
    assert.deepEqual(lawsOf(await tellScenario(alone)), [], stop);
  }
});

test("a machine that plays no part is said to play none", async () => {
  const clients = "{ client: 10.10.0.200, client2: 10.10.0.201 }";
  const outcome = await tellScenario(file(faults(20, "at: 10.1, do: crash, host: client2"), { clients }));
  assert.deepEqual(told(outcome, /client2/), ['client2 plays no part here: "client2 crashes" does not happen']);
});

test("one owner: that nobody answers is a breach, too, where a director stands by and could", async () => {
  const deaf = await tellScenario(file(faults(60, "at: 10, do: sysctl, host: lb1, name: eth0.arp_ignore, value: 8")));
  assert.deepEqual(lawsOf(deaf), ["one owner: lb1 does not answer for 10.10.0.100, and nobody else does"]);
  const dead = await tellScenario(file(faults(60, "at: 10, do: crash, host: lb1", "at: 10, do: crash, host: lb2")));
  assert.deepEqual(lawsOf(dead), [], "no law can hold where nobody is left");
});
