import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { prefix } from "../../base/prefix.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { parseCluster, schedulerFlags, schedulers } from "../../cluster/index.ts";
import { desiredTable } from "../../machine/desired.ts";
import { difference, type TableChange } from "../../machine/difference.ts";
import { keyOf, type TableRealServer, type TableService } from "../../machine/table.ts";
import type { Engine, TableEngine } from "../../ports/engine.ts";
import { clients, diceFor, story, told } from "../../testing/truthTable.ts";
import { testsInVm } from "../../testing/vm.ts";
import { isLearnt, readConnection, syncMessage, TCP_STATES } from "../../wire/ipvsSync.ts";
import { inetAddress } from "../inetSocket.ts";
import * as libc from "../libc.ts";
import { createNamespace, type Namespace, removeNamespace } from "../namespace.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { ConnectionTeller } from "./connections.ts";
import { ipvsEngine } from "./ipvs.ts";

const vip = ipv4("10.0.0.100");
const server = (last: number, more: Partial<TableRealServer> = {}): TableRealServer => ({
  name: `web${last}`,
  rip: ipv4(`10.0.0.${last}`),
  port: 80,
  weight: 1,
  forwarding: "dr",
  ...more,
});
const web = (realServers: readonly TableRealServer[], more: Partial<TableService> = {}): TableService =>
  ({ vip, protocol: 6, port: 80, scheduler: "wrr", realServers, ...more }) as TableService;

const clusterOf = (services: readonly string[]): Cluster => {
  const read = parseCluster(`version: 1
name: matrix
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb: 10.0.0.254 }
realServers: { web1: 10.0.0.1, web2: 10.0.0.2 }
vips: { web: 10.0.0.100, two: 10.0.0.101 }
health: none
services:
${services.join("\n")}
`);
  if (!read.ok) assert.fail(JSON.stringify(read.problems));
  return read.cluster;
};
const tableOf = (services: readonly string[]): TableService[] => [
  ...desiredTable(clusterOf(services).services, { health: new Map(), quorum: new Map(), drains: new Map() }).services,
];

/** A namespace with IPVS, in which clients live too. */
interface Place {
  readonly ns: Namespace;
  readonly engine: Engine & TableEngine;
}
function placeOf(name: string, addresses: readonly string[]): Place {
  const ns = createNamespace(name);
  const rt = openRtnetlink(ns);
  rt.setLink("lo", { up: true });
  rt.createDummy("d0");
  rt.setLink("d0", { up: true });
  for (const address of addresses) rt.addAddress("d0", { prefix: prefix(address) });
  rt.close();
  return { ns, engine: ipvsEngine(ns) };
}

testsInVm(import.meta.url, "the IPVS engine by difference, on a kernel that has it", () => {
  let ns: Namespace;
  let engine: Engine & TableEngine;
  let place: Place;
  const admin = (...args: string[]): string => ns.run(() => execFileSync("ipvsadm", args, { encoding: "utf8" }));
  const saved = (): string[] =>
    admin("-S", "-n")
      .split("\n")
      .map((l) => l.trim())
      .filter((l) => l !== "")
      .sort();
  /** Brings the kernel to the wish; gives the kinds of the changes made. */
  function bring(wish: readonly TableService[], owned: readonly TableService[] = []): string[] {
    const options = { owned: new Set(owned.map(keyOf)), maximumDeleteSharePercent: 100, force: true };
    const found = difference(wish, engine.read().services, options);
    assert.ok(found.ok);
    assert.deepEqual(engine.apply(found.changes), []);
    return found.changes.map((c: TableChange) => c.kind);
  }
  before(() => {
    ({ ns, engine } = placeOf("vw-engine", ["10.0.0.254/24"]));
    // of their own: no other test shall find the connections that they leave
    place = placeOf("vw-truth", ["10.0.0.254/24", ...clients.map((client) => `${formatIpv4(client)}/32`)]);
  });
  after(() => {
    engine?.close();
    ns?.close();
    removeNamespace("vw-engine");
    place?.engine.close();
    place?.ns.close();
    removeNamespace("vw-truth");
  });
  beforeEach(() => void admin("-C"));

  test("what was written is what is read: every setting, and then nothing is left to change", () => {
    const wish: TableService[] = [
      web([
        server(1, { weight: 7, upperThreshold: 100, lowerThreshold: 50 }),
        server(2, { forwarding: "tun" }),
        server(3, { forwarding: "tun", tunnel: { type: "gue", port: 6080, checksum: "on" } }),
        server(4, { forwarding: "tun", tunnel: { type: "gre", checksum: "off" } }),
        server(5, { forwarding: "nat", port: 8080 }),
        server(6, { weight: 0 }),
      ]),
      web([server(1, { port: 0 })], { port: 0, persistence: { timeoutSeconds: 300, netmaskLength: 24 } }),
      web([server(1, { port: 53 })], {
        port: 53,
        protocol: 17,
        scheduler: "sh",
        schedulerFlags: [1, 2],
        onePacket: true,
      }),
      { fwmark: 9, scheduler: "mh", schedulerFlags: [2], realServers: [server(1, { port: 0 })] },
    ];
    assert.equal(bring(wish).length, 4 + 9);
    assert.deepEqual(bring(wish), []);
    assert.ok(saved().includes("-a -t 10.0.0.100:80 -r 10.0.0.1:80 -g -w 7"), saved().join("\n"));
    assert.ok(saved().includes("-A -f 9 -s mh -b mh-port"), saved().join("\n"));
  });

  test("every scheduler and flag of a cluster file, by the kernel's own list", () => {
    const settings = schedulers.flatMap((scheduler) => [
      { scheduler, flags: [] as string[] },
      ...schedulerFlags
        .filter((flag) => flag.startsWith(`${scheduler}-`) || (flag.startsWith("flag-") && scheduler === "rr"))
        .map((flag) => ({ scheduler, flags: [flag] })),
    ]);
    const lines = settings.map(
      ({ scheduler, flags }, i) =>
        `  - { vip: web, port: ${1000 + i}, scheduler: ${scheduler}, schedulerFlags: [${flags.join(", ")}] }`,
    );
    const wish = tableOf(lines);
    bring(wish);
    assert.deepEqual(bring(wish), []);
    for (const [i, { scheduler, flags }] of settings.entries()) {
      const shown = flags.map((flag) =>
        scheduler === "rr" ? flag : flag.replace(/^.*-(fallback|port)$/, `${scheduler}-$1`),
      );
      const line = `-A -t 10.0.0.100:${1000 + i} -s ${scheduler}${shown.length > 0 ? ` -b ${shown.join()}` : ""}`;
      assert.ok(saved().includes(line), `${line}\n${saved().join("\n")}`);
    }
  });

  test("every kind of service of a cluster file, by the kernel's own list", () => {
    const wish = tableOf([
      "  - { vip: web, port: 53, protocol: udp, scheduler: rr, onePacket: true, realServers: { web1: 3 } }",
      "  - { vip: web, port: 2905, protocol: sctp, scheduler: wrr, realServers: { web1: { upperThreshold: 90, lowerThreshold: 60 } } }",
      "  - { fwmark: 7, protocol: tcp, scheduler: wlc, realServers: [web1], persistence: { timeoutSeconds: 90, netmask: 255.255.255.0 } }",
      "  - { vip: two, port: 8000-8010, scheduler: rr, realServers: [web1] }",
      "  - { vip: web, port: any, protocol: tcp, persistence: 300, scheduler: rr, realServers: [web2] }",
      "  - { vip: two, port: 80, scheduler: rr, forwarding: nat, realServers: { web1: { port: 8080 }, web2: { forwarding: dr } } }",
      "  - { vip: two, port: 81, scheduler: rr, forwarding: tun, realServers: { web1: { tunnel: { type: gue, port: 6080, checksum: remote } }, web2: { tunnel: gre } } }",
    ]);
    bring(wish);
    assert.deepEqual(bring(wish), []);
    const mark = wish.flatMap((service) => ("fwmark" in service && service.fwmark !== 7 ? [service.fwmark] : []))[0];
    for (const line of [
      "-A -u 10.0.0.100:53 -s rr -o",
      "-a -u 10.0.0.100:53 -r 10.0.0.1:53 -g -w 3",
      "-A --sctp-service 10.0.0.100:2905 -s wrr",
      "-A -f 7 -s wlc -p 90 -M 255.255.255.0",
      `-A -f ${mark} -s rr`,
      `-a -f ${mark} -r 10.0.0.1:0 -g -w 1`,
      "-A -t 10.0.0.100:0 -s rr -p 300",
      "-a -t 10.0.0.101:80 -r 10.0.0.1:8080 -m -w 1",
      "-a -t 10.0.0.101:80 -r 10.0.0.2:80 -g -w 1",
      "-a -t 10.0.0.101:81 -r 10.0.0.1:81 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
      "-a -t 10.0.0.101:81 -r 10.0.0.2:81 -i -w 1 --tun-type gre --tun-nocsum",
    ])
      assert.ok(saved().includes(line), `${line}\n${saved().join("\n")}`);
    assert.match(admin("-L", "-n", "--thresholds"), /10\.0\.0\.1:2905\s+90\s+60/);
  });

  test("sorry server: in with weight 1 while the quorum is lost, the others at 0, and out again", () => {
    const cluster = clusterOf([
      "  - { name: s, vip: web, port: 80, scheduler: rr, sorryServer: 10.0.0.9, realServers: [web1] }",
    ]);
    const at = (kind: "held" | "lost"): TableService[] => {
      const health = new Map([
        ["s", new Map([["web1", { kind: kind === "held" ? ("up" as const) : ("down" as const) }]])],
      ]);
      return [
        ...desiredTable(cluster.services, { health, quorum: new Map([["s", kind]]), drains: new Map() }).services,
      ];
    };
    bring(at("held"));
    assert.deepEqual(bring(at("lost")), ["addServer", "editServer"]);
    assert.ok(saved().includes("-a -t 10.0.0.100:80 -r 10.0.0.9:80 -g -w 1"));
    assert.ok(saved().includes("-a -t 10.0.0.100:80 -r 10.0.0.1:80 -g -w 0"));
    assert.deepEqual(bring(at("held")), ["editServer", "removeServer"]);
  });

  test("one weight is one edit; a drain is an edit, too; a server leaves alone", () => {
    bring([web([server(1), server(2), server(3)])]);
    assert.deepEqual(bring([web([server(1), server(2, { weight: 0 }), server(3)])]), ["editServer"]);
    assert.deepEqual(bring([web([server(1), server(3)])]), ["removeServer"]);
    assert.deepEqual(bring([web([server(1), server(3)], { scheduler: "wlc" })]), ["editService"]);
  });

  test("a service of somebody else is seen and left; ours goes", () => {
    admin("-A", "-t", "10.0.0.99:22", "-s", "rr");
    const ours = web([server(1)]);
    bring([ours]);
    assert.deepEqual(bring([], [ours]), ["removeService"]);
    assert.deepEqual(saved(), ["-A -t 10.0.0.99:22 -s rr"]);
  });

  test("what the kernel refuses is named with its change, and the rest is done", () => {
    const changes: TableChange[] = [
      { kind: "addService", service: { vip, protocol: 6, port: 80, scheduler: "nosuch" } },
      { kind: "addService", service: { vip, protocol: 6, port: 81, scheduler: "rr" } },
    ];
    const failures = engine.apply(changes);
    assert.equal(failures.length, 1);
    assert.match(failures[0]?.why ?? "", /no scheduler nosuch/);
    assert.equal(failures[0]?.change, changes[0]);
    assert.deepEqual(saved(), ["-A -t 10.0.0.100:81 -s rr"]);
  });

  test("port ranges are marked by a table of our own, replaced as a whole and taken away", () => {
    const list = (): string => ns.run(() => execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" }));
    engine.mark([{ vip, protocol: 6, first: 8000, last: 8100, fwmark: 0x76000001 }]);
    assert.match(list(), /ip daddr 10\.0\.0\.100 tcp dport 8000-8100 meta mark set 0x76000001/);
    engine.mark([{ vip, protocol: 17, first: 5000, last: 5010, fwmark: 0x76000002 }]);
    assert.match(list(), /udp dport 5000-5010/);
    assert.doesNotMatch(list(), /8000-8100/);
    engine.mark([]);
    assert.doesNotMatch(list(), /vipward_marks/);
  });

  test("sync daemons: those that are wanted run, with what is wanted, and no others", () => {
    const daemon = { interface: "d0", id: 7, group: ipv4("224.0.0.81"), port: 8848, ttl: 1 };
    assert.deepEqual(engine.synchronise([{ role: "master", ...daemon }]), []);
    assert.match(admin("-L", "--daemon"), /master sync daemon \(mcast=d0, syncid=7/);
    assert.deepEqual(engine.synchronise([{ role: "backup", ...daemon }]), []);
    assert.doesNotMatch(admin("-L", "--daemon"), /master/);
    assert.deepEqual(engine.synchronise([]), []);
    assert.doesNotMatch(admin("-L", "--daemon"), /sync daemon/);
  });

  test("sync daemons: a link that is made again under its name has them, and one that stays keeps those that it has", () => {
    const rt = openRtnetlink(ns);
    const make = (address: string): void => {
      rt.createDummy("d1");
      rt.setLink("d1", { up: true });
      rt.addAddress("d1", { prefix: prefix(address) });
    };
    const daemon = { interface: "d1", id: 7, group: ipv4("224.0.0.81"), port: 8848, ttl: 1 };
    const both = (["master", "backup"] as const).map((role) => ({ role, ...daemon }));
    const read = (name: string): string => ns.run(() => readFileSync(`/proc/thread-self/net/${name}`, "utf8"));
    /** The master's socket has the link's address; the backup's group is on the link. */
    const sockets = (): string => read("udp");
    const hears = (): boolean => /\bd1\b[^:]*:[^:]*\n(\s+[0-9A-F]{8}.*\n)*\s+510000E0/.test(read("igmp"));
    try {
      make("10.9.0.1/24");
      assert.deepEqual(engine.synchronise(both), []);
      const before = sockets();
      assert.match(before, / 0100090A:/);
      assert.ok(hears(), read("igmp"));
      assert.deepEqual(engine.synchronise(both), []);
      assert.equal(sockets(), before);
      rt.deleteLink("d1");
      assert.deepEqual(engine.synchronise(both), [], "nothing to bind them to: they stay as they are");
      make("10.9.0.2/24");
      assert.ok(!hears(), "the twin: nobody told the kernel's daemon");
      assert.deepEqual(engine.synchronise(both), []);
      assert.match(sockets(), / 0200090A:/);
      assert.ok(hears(), read("igmp"));
    } finally {
      engine.synchronise([]);
      rt.deleteLink("d1");
      rt.close();
    }
  });

  test("the lab's face: what is programmed stands, is counted, and clears", () => {
    const one = { vip, protocol: 6, port: 80, scheduler: "rr", realServers: [server(1), server(2)] };
    engine.program([one]);
    assert.equal(engine.counts().length, 2);
    engine.program([{ ...one, realServers: [server(2)] }]);
    assert.equal(saved().length, 2);
    engine.clear();
    assert.deepEqual(saved(), []);
  });

  const connections = (): string[] =>
    place.ns.run(() => readFileSync("/proc/thread-self/net/ip_vs_conn", "utf8")).split("\n");
  /** One datagram to the VIP, from there. */
  const ask = (source: Ipv4, sourcePort: number, port: number): void =>
    place.ns.run(() => {
      const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0, "test");
      try {
        libc.bind(fd, inetAddress(source, sourcePort), "test");
        libc.sendto(fd, new Uint8Array(1), inetAddress(vip, port), "test");
      } catch (error) {
        // a datagram that nobody takes is dropped, which its sender may be told
        if (!/EPERM|EACCES/.test(String(error))) throw error;
      } finally {
        libc.close(fd);
      }
    });

  test("the simulated director's schedulers give what the kernel's give, whatever becomes of the table", () => {
    const seen = new Set<Ipv4 | undefined>();
    let port = 1000;
    for (const scheduler of schedulers)
      for (const round of [1, 2, 3]) {
        const steps = [...story(scheduler, ++port, diceFor(scheduler, round))];
        for (const step of steps)
          if (step.kind === "ask") ask(step.source, step.sourcePort, port);
          else assert.deepEqual(place.engine.apply([step]), []);
        const servers = new Map(
          connections().flatMap((line) => {
            const c = readConnection(line);
            return c === undefined || c.virtualPort !== port ? [] : [[c.clientPort, c.server] as const];
          }),
        );
        const got = steps.flatMap((step) => (step.kind === "ask" ? [servers.get(step.sourcePort)] : []));
        const last = (rip: Ipv4 | undefined): string => (rip === undefined ? "-" : `${rip & 0xff}`);
        assert.equal(told(steps, port).map(last).join(" "), got.map(last).join(" "), `${scheduler}, round ${round}`);
        for (const rip of got) seen.add(rip);
      }
    assert.equal(seen.size, 6, "all five, and nobody");
  });

  test("a template's timer that has found connections once runs a minute from then on (ip_vs_conn_expire)", async () => {
    const settings = { scheduler: "rr", persistence: { timeoutSeconds: 1, netmaskLength: 32 } };
    place.engine.program([{ vip, protocol: 17, port: 53, ...settings, realServers: [server(1, { port: 53 })] }]);
    const [client] = clients;
    assert.ok(client);
    const secondsLeft = (): number => {
      const line = connections().find((l) => /^UDP [0-9A-F]{8} 0000 [0-9A-F]{8} 0035 /.test(l));
      return Number(/(\d+) *$/.exec(line ?? "")?.[1] ?? Number.NaN);
    };
    ask(client, 30_000, 53);
    assert.ok(secondsLeft() <= 1, connections().join("\n"));
    for (const endMs = performance.now() + 30_000; !(secondsLeft() > 2); await sleep(100))
      assert.ok(performance.now() < endMs, connections().join("\n"));
    ask(client, 30_001, 53);
    assert.ok(secondsLeft() > 2, connections().join("\n"));
  });

  /** Stands last: the thread enters the namespace for good, as an agent does. */
  test("hand-over: what is open here is told, but what the next master says meanwhile is not told back", async () => {
    ns.enter();
    execFileSync("ip", ["route", "add", "224.0.0.0/4", "dev", "d0"]);
    bring([web([server(1)])]);
    const way = { interface: "d0", id: 7, group: ipv4("224.0.0.81"), port: 8848, ttl: 1 };
    const forwardingOf = () => ({ method: "dr", fwmark: 0 }) as const;
    assert.deepEqual(engine.synchronise([{ role: "backup", ...way }]), []);
    const descriptors: number[] = [];
    const open = (kind: number): number => {
      const fd = libc.socket(libc.AF_INET, kind | libc.SOCK_NONBLOCK, 0, "test");
      descriptors.push(fd);
      return fd;
    };
    const begin = (): void => void libc.connect(open(libc.SOCK_STREAM), inetAddress(vip, 80), "test");
    /** As another director says it: its datagrams come back to the daemon here. */
    const hear = (clientPort: number, state: (typeof TCP_STATES)[number]): void => {
      const ends = { client: ipv4("10.0.0.200"), clientPort, virtual: vip, virtualPort: 80 };
      const connection = { ...ends, protocol: 6, server: ipv4("10.0.0.1"), serverPort: 80 };
      const message = syncMessage(way.id, [{ ...connection, state: TCP_STATES.indexOf(state) }], forwardingOf);
      libc.sendto(open(libc.SOCK_DGRAM), message, inetAddress(way.group, way.port), "test");
    };
    const known = (): string =>
      readFileSync("/proc/thread-self/net/ip_vs_conn_sync", "utf8")
        .split("\n")
        .flatMap((line) => {
          const c = readConnection(line);
          return c === undefined ? [] : [`${isLearnt(line) ? c.clientPort : "own"} ${TCP_STATES[c.state]}`];
        })
        .sort()
        .join(", ");
    const until = async (holds: () => boolean, what: () => unknown): Promise<void> => {
      for (const endMs = performance.now() + 20_000; !holds(); await sleep(20))
        assert.ok(performance.now() < endMs, String(what()));
    };
    hear(1, "ESTABLISHED");
    begin();
    await until(() => known() === "1 ESTABLISHED, own SYN_RECV", known);
    const teller = new ConnectionTeller({ ...way, forwardingOf }, assert.fail);
    try {
      await until(
        () => teller.sent === 2,
        () => teller.sent,
      );
      await setImmediate(); // its first reading is over: what is learnt from here on is learnt since it began
      hear(1, "TIME_WAIT");
      hear(2, "ESTABLISHED");
      await until(() => known() === "1 TIME_WAIT, 2 ESTABLISHED, own SYN_RECV", known);
      begin();
      await until(
        () => teller.sent > 2,
        () => teller.sent,
      );
      assert.equal(teller.sent, 3, "the one that began here");
    } finally {
      teller.end();
      for (const fd of descriptors) libc.close(fd);
    }
  });
});
