import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { InstanceReport } from "../../agent/status.ts";
import { ipv4 } from "../../base/ipv4.ts";
import { BROADCAST_MAC, mac } from "../../base/mac.ts";
import { DirectorLab, type DirectorName, vip } from "../../testing/directorLab.ts";
import { LineThread } from "../../testing/lineThreads.ts";
import { testsInVm } from "../../testing/vm.ts";
import { WireTap } from "../../testing/wireTap.ts";
import { ARP_REPLY } from "../../wire/arp.ts";
import { arpReply, arpRequest, dissect } from "../../wire/frame.ts";
import { openPacketSocket } from "../packetSocket.ts";

const directors = ["lb1", "lb2"] as const;
/** The virtual address of the second network. */
const inner = ipv4("10.51.0.100");
const check = "[{ type: tcp, port: 80, intervalMs: 3000, timeoutMs: 2500, rise: 1, fall: 2 }]";

interface Kind {
  readonly priority?: number;
  readonly failover: string;
  readonly realServers?: string;
  readonly service?: string;
  readonly health?: string;
}
const cluster = ({ priority = 150, failover, realServers, service = "", health = check }: Kind): string => `version: 1
name: kinds
networks:
  lan: { prefix: 10.50.0.0/24, router: 10.50.0.200 }
  inside: { prefix: 10.51.0.0/24 }
directors:
  lb1: { dip: 10.50.0.2, priority: ${priority}, addresses: [{ address: 10.51.0.2, interface: eth1 }] }
  lb2: { dip: 10.50.0.3, priority: 100, addresses: [{ address: 10.51.0.3, interface: eth1 }] }
realServers: ${realServers ?? "{ web1: 10.50.0.11, web2: 10.50.0.12 }"}
vips: { web: ${vip}, inner: 10.51.0.100 }
services:
  - { name: http, vip: web, port: 80, scheduler: rr, onFailure: remove, killSwitch: { sharePercent: 100 }${service}, health: ${health} }
silenceCheck: { intervalMs: 5000 }
failover: ${failover}
agent: { socket: /nowhere }
`;

/** Two directors with what they need for every kind; what runs on them is the caller's. */
async function started(prefix: string): Promise<DirectorLab> {
  const lab = new DirectorLab(prefix);
  try {
    for (const lb of directors) lab.run(lb, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
    await lab.serve("web1");
    await lab.serve("web2");
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function instance(lab: DirectorLab, name: DirectorName, which = 0): Promise<InstanceReport | undefined> {
  return (await lab.status(name)).instances[which];
}

testsInVm(
  import.meta.url,
  "kinds of directors: groups, tracking, unicast, preemption, owners, accept, sync, one-box",
  () => {
    // Each half on directors of its own, its tests one after another; while one waits for VRRP's clock the other works.
    describe("kinds of directors", { concurrency: 2 }, () => {
      describe("two instances of one group", { concurrency: 1 }, grouped);
      describe("one instance, each kind by a reload", { concurrency: 1 }, reloaded);
    });
  },
);

function grouped(): void {
  let lab: DirectorLab;
  let folder: string;
  /** What the tracked script asks: it fails where this file is. */
  const flag = (name: DirectorName): string => join(folder, `${name}-is-bad`);
  const text = (name: DirectorName): string =>
    cluster({
      failover: `
  syncGroups: [{ name: both, instances: [outer, inner] }]
  vrrp: { version: 3, intervalMs: 1000 }
  instances:
    - name: outer
      id: 51
      vips: [web]
      track:
        - { type: script, command: [/bin/bash, -c, "[[ ! -e ${flag(name)} ]]"], intervalMs: 1000, timeoutMs: 8000, rise: 1, fall: 1 }
        - { type: interface, interface: track0, weight: -100 }
        - { type: quorum, service: http, weight: -90 }
    - { name: inner, id: 52, vips: [inner], interface: eth1, unicast: [10.51.0.2, 10.51.0.3] }`,
    });
  const both = (name: DirectorName) => (): boolean =>
    lab.holders().join() === name && lab.holders("eth1", inner).join() === name;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "vipward-kinds-"));
    chmodSync(folder, 0o755); // the script runs as nobody
    lab = await started("vw-kinds-");
    lab.secondNetwork(["lb1", "lb2", "client"]);
    for (const lb of directors) {
      lab.run(lb, "ip", "link", "add", "track0", "type", "dummy");
      lab.run(lb, "ip", "link", "set", "track0", "up");
      lab.vipward(lb, text(lb));
    }
    await lab.until("lb1 has both VIPs", both("lb1"), 200_000);
    await lab.until("lb2 stands by", async () => (await instance(lab, "lb2"))?.phase === "backup", 90_000);
  });
  after(async () => {
    await lab?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("unicast: nobody but the peers hears the adverts of that instance, and everybody those of the other", async () => {
    const taps = ["eth0", "eth1"].map((link) => new WireTap(lab.namespace("client"), vip, link));
    await sleep(1500);
    for (const tap of taps) tap.read();
    const [multicast, unicast] = taps.map((tap) => tap.adverts.length);
    for (const tap of taps) tap.close();
    assert.ok(multicast !== undefined && multicast > 0);
    assert.equal(unicast, 0);
    const peer = (await instance(lab, "lb2", 1))?.peers?.find((p) => p.address === "10.51.0.2");
    assert.equal(peer?.priority, 150);
  });

  for (const [what, harm, heal] of [
    ["one link of the group cut", () => lab.wire("lb1", "down", "eth1"), () => lab.wire("lb1", "up", "eth1")],
    ["a tracked script fails", () => writeFileSync(flag("lb1"), ""), () => rmSync(flag("lb1"))],
    [
      "a tracked link down, by its weight",
      () => lab.run("lb1", "ip", "link", "set", "track0", "down"),
      () => lab.run("lb1", "ip", "link", "set", "track0", "up"),
    ],
    [
      "the quorum of a service lost on this director",
      () => ["11", "12"].map((last) => lab.run("lb1", "ip", "route", "add", "blackhole", `10.50.0.${last}`)),
      () => ["11", "12"].map((last) => lab.run("lb1", "ip", "route", "del", "blackhole", `10.50.0.${last}`)),
    ],
  ] as const)
    test(`${what}: both VIPs move together, and come back`, async () => {
      harm();
      await lab.until("lb2 has both", both("lb2"), 90_000);
      heal();
      await lab.until("lb1 has both", both("lb1"), 90_000);
    });

  test("a second owner on the wire is told at once, and announced against", async () => {
    await sleep(3000); // for a moment after a hand-over the predecessor's claim would be none
    const tap = new WireTap(lab.namespace("client"), vip);
    const intruder = openPacketSocket({ interface: "eth0", namespace: lab.namespace("web1") });
    try {
      const [from, to] = [mac("02:00:00:00:00:03"), mac("02:00:00:00:00:05")];
      const claim = { senderMac: from, senderIp: ipv4(vip), targetMac: to, targetIp: ipv4("10.50.0.200") };
      intruder.send([arpReply({ ...claim, to: BROADCAST_MAC })]);
      const told = (): boolean => /failover\/vip-claimed outer: 02:00:00:00:00:03/.test(lab.output.get("lb1") ?? "");
      await lab.until("it is told", told, 20_000);
      await lab.until(
        "the VIP is announced again",
        () => {
          tap.read();
          return tap.announcements.some((a) => a.mac === "02:00:00:00:00:01");
        },
        20_000,
      );
    } finally {
      tap.close();
      intruder.close();
    }
  });
}

function reloaded(): void {
  let lab: DirectorLab;
  let client: LineThread;
  async function knocks(port: number, times: number): Promise<(string | undefined)[]> {
    const said = [];
    for (let i = 0; i < times; i++) said.push(await client.knock(vip, port));
    return said;
  }

  before(async () => {
    lab = await started("vw-kind-");
    client = await LineThread.start(lab.namespace("client"), "client");
    for (const lb of directors) lab.vipward(lb, cluster({ failover: "{ vrrp: { id: 51, intervalMs: 1000 } }" }));
    await lab.until("lb1 has it", () => lab.holders().join() === "lb1", 200_000);
    await lab.until("lb2 stands by", async () => (await instance(lab, "lb2"))?.phase === "backup", 90_000);
  });
  after(async () => {
    await client?.close();
    await lab?.close();
  });

  test("accept: false: IPVS serves, and nothing else for the VIP is taken", async () => {
    assert.equal(await client.knock(vip, 9999), "refused", "the twin: with accept the host answers");
    const text = cluster({ failover: "{ vrrp: { id: 51, intervalMs: 1000, accept: false } }" });
    for (const lb of ["lb2", "lb1"] as const) await lab.reload(lb, text);
    await lab.until("lb1 has it", () => lab.holders().join() === "lb1", 90_000);
    assert.equal(await client.knock(vip, 9999), "silence");
    assert.match((await client.knock(vip, 80)) ?? "", /web/);
    assert.match(lab.run("lb1", "nft", "list", "table", "ip", "vipward_gate"), /@closed drop/);
  });

  test("preempt delay: a master of lower priority is left alone for so long after it was heard", async () => {
    const failover = "{ vrrp: { id: 51, intervalMs: 1000, preemptDelayMs: 4000 } }";
    for (const lb of ["lb2", "lb1"] as const) await lab.reload(lb, cluster({ failover }));
    lab.wire("lb1", "down");
    await lab.until("lb2 has it", () => lab.holders().includes("lb2"), 90_000);
    await sleep(500);
    lab.wire("lb1", "up");
    const fromMs = performance.now();
    await lab.until("lb1 has it again", () => lab.holders().join() === "lb1", 120_000);
    assert.ok(performance.now() - fromMs >= 4000, `after ${performance.now() - fromMs} ms`);
    assert.match(lab.output.get("lb1") ?? "", /preempt-delayed/);
  });

  test("connection sync: both daemons on both directors, and a connection outlives its director", async () => {
    const daemons = (lb: DirectorName): string[] =>
      lab.run(lb, "ipvsadm", "--list", "--daemon").match(/^(master|backup)/gm) ?? [];
    const both = (): boolean => daemons("lb1").length === 2 && daemons("lb2").length === 2;
    await lab.until("daemons", both, 90_000);
    const report = await lab.load({ short: 0, long: 4, pauseMs: 100, patienceMs: 15_000 });
    await sleep(6000); // three packets, and two seconds until the kernel has sent what it gathered
    assert.ok((await report()).requests > 0);
    lab.wire("lb1", "down");
    await lab.until("lb2 has it", () => lab.holders().includes("lb2"), 90_000);
    await sleep(3000);
    const after = await report();
    assert.equal(after.failures.join(), "");
    assert.ok(after.requests > 0 && after.connections === 0, JSON.stringify(after));
    lab.wire("lb1", "up");
    await lab.until("lb1 has it again", () => lab.holders().join() === "lb1", 120_000);
    await lab.until("daemons again", both, 90_000);
  });

  test("an address owner (255) is master as soon as it can be, and cannot be switched over", async () => {
    const text = cluster({ priority: 255, failover: "{ vrrp: { id: 51, intervalMs: 1000 } }" });
    for (const lb of ["lb2", "lb1"] as const) await lab.reload(lb, text);
    lab.wire("lb1", "down");
    await lab.until("lb2 has it", () => lab.holders().includes("lb2"), 90_000);
    lab.wire("lb1", "up");
    await lab.until("lb1 has it", () => lab.holders().join() === "lb1", 90_000);
    const status = await instance(lab, "lb1");
    assert.equal(status?.rule, "rfc9568/6.4.1/110");
    assert.equal((await lab.ask("lb1", "switchover")).ok, false);
  });

  test("tun: the check through the VIP path goes in IPIP, and sees a VIP that is gone", async () => {
    for (const web of ["web1", "web2"] as const) {
      lab.run(web, "ip", "link", "set", "tunl0", "up");
      for (const scope of ["all", "tunl0"]) lab.run(web, "sysctl", "-qw", `net.ipv4.conf.${scope}.rp_filter=0`);
    }
    const health = "[{ type: vip-path, port: 80, intervalMs: 3000, timeoutMs: 2500, rise: 1, fall: 2 }]";
    const failover = "{ vrrp: { id: 51, intervalMs: 1000 } }";
    await lab.reload("lb1", cluster({ failover, service: ", forwarding: tun", health }));
    const table = (): string => lab.run("lb1", "ipvsadm", "-S", "-n");
    await lab.until("both are in", () => (table().match(/-i -w 1/g) ?? []).length === 2, 90_000);
    assert.match((await client.knock(vip, 80)) ?? "", /web/);
    lab.run("web2", "ip", "address", "del", `${vip}/32`, "dev", "lo");
    await lab.until("web2 is out", () => !table().includes("10.50.0.12"), 90_000);
    lab.run("web2", "ip", "address", "add", `${vip}/32`, "dev", "lo");
    await lab.until("web2 is back", () => table().includes("10.50.0.12:80 -i -w 1"), 90_000);
  });

  test("one-box: directors that are real servers too; the one that stands by serves and is silent", async () => {
    for (const lb of directors) lab.signal(lb, "SIGTERM");
    for (const lb of directors) await lab.ended(lb, 90_000);
    const text = cluster({
      failover: "{ vrrp: { id: 51, intervalMs: 1000, accept: false } }",
      realServers: "{ lb1: 10.50.0.2, lb2: 10.50.0.3, web1: 10.50.0.11 }",
      health: check.replace("tcp", "vip-path"), // web1 by it, the directors by tcp: IPVS would take their handshakes
    });
    for (const lb of directors) {
      await lab.serve(lb);
      lab.run(lb, "sysctl", "-qw", "net.ipv4.vs.backup_only=1");
      lab.vipward(lb, text);
    }
    const servers = (lb: DirectorName): number => (lab.run(lb, "ipvsadm", "-S", "-n").match(/-w 1/g) ?? []).length;
    await lab.until("lb1 has it", () => lab.holders().join() === "lb1", 120_000);
    await lab.until("three servers", () => servers("lb1") === 3 && servers("lb2") === 3, 120_000);
    await lab.until("lb2 stands by", () => /^backup/m.test(lab.run("lb2", "ipvsadm", "--list", "--daemon")), 90_000);
    assert.match(lab.run("lb2", "ip", "address"), /10\.50\.0\.100\/32/, "it holds the VIP as a real server does");
    assert.deepEqual(await owners(lab), ["02:00:00:00:00:01"]);
    assert.deepEqual(new Set(await knocks(80, 3)), new Set(["lb1", "lb2", "web1"]));
    assert.equal(await client.knock(vip, 9999), "silence", "accept: false leaves only the service open");
    lab.wire("lb1", "down");
    await lab.until("lb2 has it", () => lab.holders().includes("lb2"), 90_000);
    assert.deepEqual(await owners(lab), ["02:00:00:00:00:02"]);
    await lab.until("lb1 is out", () => servers("lb2") === 2, 90_000);
    assert.deepEqual(new Set(await knocks(80, 2)), new Set(["lb2", "web1"]));
    lab.wire("lb1", "up");
    await lab.until("lb1 has it again", () => lab.holders().join() === "lb1", 90_000);
    await sleep(3000);
    assert.deepEqual(await owners(lab), ["02:00:00:00:00:01"]);
    // An owner of the VIP is no real server that answers: neither told so, nor advised to take the VIP off its link.
    for (const lb of directors) assert.doesNotMatch(lab.output.get(lb) ?? "", /silence\/(failed|refused)/);
  });
}

/** Who answers the client's question for the VIP. */
async function owners(lab: DirectorLab): Promise<string[]> {
  const socket = openPacketSocket({ interface: "eth0", namespace: lab.namespace("client") });
  const found = new Set<string>();
  try {
    const [own, target] = [mac("02:00:00:00:00:05"), ipv4(vip)];
    socket.send([arpRequest({ senderMac: own, senderIp: ipv4("10.50.0.200"), targetIp: target })]);
    await sleep(1000);
    socket.receive(({ octets }) => {
      const { inside } = dissect(octets.slice());
      if (inside.kind !== "arp" || inside.arp.operation !== ARP_REPLY || inside.arp.targetMac !== own) return;
      if (inside.arp.senderIp === target) found.add(inside.arp.senderMac);
    }, 10_000);
  } finally {
    socket.close();
  }
  return [...found];
}
