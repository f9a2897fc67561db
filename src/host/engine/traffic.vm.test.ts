/** What a cluster file asks for, programmed by the engine, proven by who answers and by the kernel's own counters. */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ipv4 } from "../../base/ipv4.ts";
import { mac } from "../../base/mac.ts";
import { type Cluster, parseCluster } from "../../cluster/index.ts";
import { type DesiredTable, desiredTable } from "../../machine/desired.ts";
import { difference } from "../../machine/difference.ts";
import { type ProbeEffect, startProbe, stepProbe } from "../../machine/health/probe.ts";
import { vipPathCheck } from "../../machine/health/vipPath.ts";
import { keyOf, type TableRealServer, type TableService } from "../../machine/table.ts";
import type { Engine, ServerTraffic, TableEngine } from "../../ports/engine.ts";
import type { ProbeAction } from "../../ports/probes.ts";
import { type Line, LineThread } from "../../testing/lineThreads.ts";
import { testsInVm } from "../../testing/vm.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";
import { DirectorWires } from "../agent/directorWires.ts";
import { ProbeSockets } from "../agent/probeSockets.ts";
import { inetAddress } from "../inetSocket.ts";
import { type Ipvs, openIpvs } from "../ipvs.ts";
import * as libc from "../libc.ts";
import { loadModule } from "../modules.ts";
import { ipvsEngine } from "./ipvs.ts";

const vip = "10.50.0.100";
/** Real servers of nat have addresses of their own, from which the way back leads through the director. */
const hosts = { web1: { rip: "10.50.0.11", inner: "10.60.0.11" }, web2: { rip: "10.50.0.12", inner: "10.60.0.12" } };
const webs = ["web1", "web2"] as const;

function clusterOf(services: readonly string[]): Cluster {
  const read = parseCluster(`version: 1
name: traffic
networks: { lan: { prefix: 10.50.0.0/16 }, inner: { prefix: 10.60.0.0/24 } }
directors: { lb: { dip: 10.50.0.2, addresses: [10.60.0.2] } }
realServers: { web1: 10.50.0.11, web2: 10.50.0.12, in1: 10.60.0.11, in2: 10.60.0.12 }
vips: { web: ${vip} }
health: none
services:
${services.map((text) => `  - { vip: web, scheduler: rr, realServers: ${text} }`).join("\n")}
`);
  if (!read.ok) assert.fail(JSON.stringify(read.problems));
  return read.cluster;
}
const tableOf = (services: readonly string[]): DesiredTable =>
  desiredTable(clusterOf(services).services, { health: new Map(), quorum: new Map(), drains: new Map() });

testsInVm(import.meta.url, "traffic of every kind of service", () => {
  let wires: Wires;
  let engine: Engine & TableEngine;
  let ipvs: Ipvs;
  let client: LineThread;
  const threads: LineThread[] = [];
  const run = (machine: string, line: string): string => {
    const [command = "", ...args] = line.split(" ");
    return wires.run(machine, command, ...args);
  };

  /** Exactly this stands, brought there by the engine. */
  function serve(...services: string[]): readonly TableService[] {
    const { services: wish, marks } = tableOf(services);
    const actual = engine.read().services;
    const owned = new Set(actual.map(keyOf));
    // Not one by one: connections of the last test are none of the next one's.
    if (actual.length > 0) ipvs.flush();
    const found = difference(wish, [], { owned, maximumDeleteSharePercent: 100, force: true });
    assert.ok(found.ok);
    assert.deepEqual(engine.apply(found.changes), []);
    engine.mark(marks);
    return wish;
  }
  /** The kernel's counts of one service, by real server; `enough` says when its estimator has caught up. */
  async function counted(
    service: TableService | undefined,
    enough: (counts: readonly ServerTraffic[]) => boolean,
  ): Promise<ServerTraffic[]> {
    assert.ok(service);
    const endMs = performance.now() + 20_000;
    for (;;) {
      const found = engine.read().traffic.get(keyOf(service)) ?? new Map<string, ServerTraffic>();
      const counts = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
      if (enough(counts)) return counts;
      assert.ok(performance.now() < endMs, `the kernel counted ${JSON.stringify(counts)}`);
      await sleep(200);
    }
  }
  const connectionsOf = async (service: TableService | undefined, expected: readonly number[]): Promise<void> =>
    void (await counted(service, (all) => all.map((one) => one.connections).join() === expected.join()));

  async function open(port: number, from?: string): Promise<Line> {
    const line = await client.open(vip, port, from);
    assert.ok(line, `no connection to port ${port}`);
    return line;
  }
  /** Who answers each of so many new connections. */
  async function answers(port: number, count: number, from?: string): Promise<(string | undefined)[]> {
    const said: (string | undefined)[] = [];
    for (let i = 0; i < count; i++) {
      const line = await open(port, from);
      said.push(await line.say());
      await line.end();
    }
    return said;
  }
  /** A vip-path check of web1 as the agent makes it: "up", or the code of what is wrong. */
  async function vipPath(service: string): Promise<string> {
    const cluster = clusterOf([service]);
    const [director, tunnel] = [cluster.directors[0], cluster.services[0]?.destinations[0]?.tunnel];
    assert.ok(director && tunnel);
    const lb = wires.machine("lb");
    const question = { vip: ipv4(vip), port: 80, dip: director.dip, rip: ipv4(hosts.web1.rip) };
    const first = startProbe(vipPathCheck({ ...question, way: { kind: "tun", tunnel } }), 5000, randomInt(2 ** 32), 0);
    let { probe } = first;
    const sockets = lb.run(() => new ProbeSockets({ onEvent: () => {}, toNeighbour: () => {} }));
    const perform = (effects: readonly ProbeEffect[]): void =>
      lb.run(() => {
        for (const effect of effects) sockets.perform(1, effect as ProbeAction);
      });
    const ears = new DirectorWires({
      macOf: () => mac("02:00:00:00:00:01"),
      onArp: () => {},
      onPacket(octets, _port, from) {
        const step = stepProbe(probe, { kind: "packet", octets, from }, 1);
        probe = step.probe;
        perform(step.effects);
      },
      onError: (error) => assert.fail(String(error)),
    });
    try {
      lb.run(() => ears.load(cluster, director));
      perform(first.effects);
      assert.ok(await within(10_000, () => probe.verdict !== undefined), `vip-path for ${service} has no answer`);
    } finally {
      ears.close();
      sockets.close();
    }
    const { verdict } = probe;
    return verdict?.up === false ? `${verdict.code}: ${verdict.why}` : "up";
  }
  const each = (said: readonly (string | undefined)[]): number[] =>
    webs.map((web) => said.filter((one) => one === web).length);

  /** What came to a real server in a tunnel, by its kind. */
  function packedPackets(web: string): Record<string, number> {
    const { nftables } = JSON.parse(run(web, "nft -j list counters table ip seen")) as {
      nftables: { counter?: { name: string; packets: number } }[];
    };
    return Object.fromEntries(nftables.flatMap(({ counter }) => (counter ? [[counter.name, counter.packets]] : [])));
  }
  const seen = `table ip seen {
      counter ipip { }
      counter gue { }
      counter gre { }
      chain c {
        type filter hook prerouting priority -300;
        ip protocol 4 counter name ipip
        ip protocol 47 counter name gre
        udp dport 6080 counter name gue
      }
    }`;

  before(async () => {
    for (const module of ["ip_vs", "ip_vs_rr", "ipip", "ip_gre", "fou", "sctp"]) loadModule(module);
    const web = (name: "web1" | "web2"): string[] => [
      `address add ${hosts[name].rip}/16 dev eth0`,
      `address add ${hosts[name].inner}/24 dev eth0`,
      `address add ${vip}/32 dev lo`,
    ];
    wires = buildWires("vw-traffic-", {
      lb: ["address add 10.50.0.2/16 dev eth0", "address add 10.60.0.2/24 dev eth0"],
      web1: web("web1"),
      web2: web("web2"),
      client: ["200/16", "201/16", "202/16"]
        .map((last) => `address add 10.50.0.${last} dev eth0`)
        .concat("address add 10.50.1.200/16 dev eth0"),
    });
    for (const name of webs) {
      for (const setting of ["arp_ignore=1", "arp_announce=2", "rp_filter=0"])
        run(name, `sysctl -qw net.ipv4.conf.all.${setting} net.ipv4.conf.eth0.${setting}`);
      run(name, `ip rule add from 10.60.0.0/24 lookup 60`);
      run(name, `ip route add default via 10.60.0.2 table 60`);
      for (const link of ["tunl0", "gre0"]) {
        run(name, `ip link set ${link} up`);
        run(name, `sysctl -qw net.ipv4.conf.${link}.rp_filter=0`);
      }
      run(name, "ip fou add port 6080 gue");
      wires.run(name, "nft", seen);
    }
    run(
      "lb",
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0",
    );
    run("lb", "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0");
    run("lb", `ip address add ${vip}/32 dev eth0`);
    engine = ipvsEngine(wires.machine("lb"));
    ipvs = openIpvs(wires.machine("lb"));
    for (const name of webs) {
      const thread = await LineThread.start(wires.machine(name), name);
      threads.push(thread);
      for (const port of [80, 81, 8003, 8007, 8080]) await thread.serve(port);
      await thread.serveDatagrams(vip, 53);
    }
    client = await LineThread.start(wires.machine("client"), "client");
    threads.push(client);
  });
  after(async () => {
    for (const thread of threads) await thread.close();
    engine?.mark([]);
    engine?.close();
    ipvs?.close();
    wires?.close();
  });

  test("udp: one client's datagrams stay with one server, another's go to the next", async () => {
    const [service] = serve("[web1, web2], port: 53, protocol: udp");
    const [one, two] = [await client.ask(vip, 53, 4), await client.ask(vip, 53, 4)];
    assert.deepEqual([new Set(one).size, new Set(two).size], [1, 1], `${one} / ${two}`);
    assert.deepEqual(new Set([...one, ...two]), new Set(webs));
    const counts = await counted(service, (all) => all.every((c) => c.packets === 4));
    assert.deepEqual(
      counts.map((c) => c.connections),
      [1, 1],
    );
  });

  test("one-packet: each datagram of one client is scheduled anew", async () => {
    const [service] = serve("[web1, web2], port: 53, protocol: udp, onePacket: true");
    assert.deepEqual(each(await client.ask(vip, 53, 8)), [4, 4]);
    await connectionsOf(service, [4, 4]);
  });

  test("sctp: associations are made through the director, with each server in turn", async () => {
    const [service] = serve("[web1, web2], port: 2905, protocol: sctp");
    const sctp = 132;
    const descriptors: number[] = [];
    const socket = (name: string): number => {
      const fd = libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, sctp, name);
      descriptors.push(fd);
      return fd;
    };
    const associations = (name: string): number => run(name, "cat /proc/net/sctp/assocs").trim().split("\n").length - 1;
    try {
      for (const name of webs)
        wires.machine(name).run(() => {
          const fd = socket(name);
          libc.bind(fd, inetAddress(ipv4(vip), 2905), name);
          libc.listen(fd, 8, name);
        });
      for (let i = 0; i < 4; i++)
        wires.machine("client").run(() => libc.connect(socket("client"), inetAddress(ipv4(vip), 2905), "client"));
      const endMs = performance.now() + 20_000;
      while (webs.some((name) => associations(name) !== 2)) {
        assert.ok(performance.now() < endMs, `${webs.map(associations)} associations`);
        await sleep(100);
      }
      // INIT and COOKIE ECHO at least went through the director.
      const counts = await counted(service, (all) => all.every((c) => c.packets >= 4));
      assert.deepEqual(
        counts.map((c) => c.connections),
        [2, 2],
      );
    } finally {
      for (const fd of descriptors) libc.close(fd);
    }
  });

  test("fwmark: what somebody else's rule marks, and a range of ports by a mark of ours", async () => {
    const table = "add table ip t; add chain ip t c { type filter hook prerouting priority -150; }";
    wires.run("lb", "nft", `${table}; add rule ip t c ip daddr ${vip} tcp dport { 80, 81 } meta mark set 7`);
    const [marked, range] = serve(
      "[web1, web2], fwmark: 7, protocol: tcp",
      "[web1, web2], port: 8000-8010, protocol: tcp",
    );
    assert.deepEqual(each([...(await answers(80, 2)), ...(await answers(81, 2))]), [2, 2]);
    await connectionsOf(marked, [2, 2]);
    assert.deepEqual(each([...(await answers(8003, 2)), ...(await answers(8007, 2))]), [2, 2]);
    await connectionsOf(range, [2, 2]);
    run("lb", "nft delete table ip t");
    assert.equal(await client.open(vip, 80), undefined, "the twin: without the mark nobody serves");
  });

  test("nat: another port on the real server, and the answers come back as the VIP's", async () => {
    const [service] = serve("{ in1: { port: 8080 }, in2: { port: 8080 } }, port: 80, forwarding: nat");
    assert.deepEqual(each(await answers(80, 6)), [3, 3]);
    await connectionsOf(service, [3, 3]);
    const entries = run("lb", "ipvsadm -L -n -c");
    assert.match(entries, /10\.50\.0\.100:80 +10\.60\.0\.11:8080/);
  });

  /** What takes a real server's tunnel away, and brings it back. */
  const devices = {
    ipip: ["ip link set tunl0 down", "ip link set tunl0 up"],
    gre: ["ip link set gre0 down", "ip link set gre0 up"],
    gue: ["ip fou del port 6080 gue", "ip fou add port 6080 gue"],
  } as const;
  for (const [kind, tunnel] of [
    ["ipip", "ipip"],
    ["gue", "{ type: gue, port: 6080 }"],
    ["gre", "gre"],
  ] as const)
    test(`tun by ${kind}: packed by the director, unpacked by the real server`, async () => {
      const before = webs.map(packedPackets);
      const [service] = serve(`[web1, web2], port: 80, forwarding: tun, tunnel: ${tunnel}`);
      assert.deepEqual(each(await answers(80, 6)), [3, 3]);
      // The kernel's own counts are up to 2 s behind; the last packets of a connection may be under way.
      const packed = (): Record<string, number>[] =>
        webs.map((web, i) => {
          const grown = Object.entries(packedPackets(web)).map(
            ([name, n]) => [name, n - (before[i]?.[name] ?? 0)] as const,
          );
          return Object.fromEntries(grown.filter(([, n]) => n > 0));
        });
      const isAll = (all: readonly ServerTraffic[]): boolean =>
        all.every((one, i) => one.connections === 3 && one.packets >= 12 && one.packets === packed()[i]?.[kind]);
      await counted(service, isAll);
      for (const seen of packed()) assert.deepEqual(Object.keys(seen), [kind]);
      const service1 = `[web1], port: 80, forwarding: tun, tunnel: ${tunnel}`;
      assert.equal(await vipPath(service1), "up");
      const [away, back] = devices[kind];
      run("web1", away);
      assert.match(await vipPath(service1), /^vip-path\/unreachable: .* no \w+ device takes the packet$/);
      run("web1", back);
    });

  test("persistence: all clients of one /24 have one server, those of another may have the next", async () => {
    const [service] = serve("[web1, web2], port: 80, persistence: { timeoutSeconds: 60, netmask: 255.255.255.0 }");
    const near = [];
    for (const from of ["10.50.0.200", "10.50.0.201", "10.50.0.202"]) near.push(...(await answers(80, 2, from)));
    assert.equal(new Set(near).size, 1, `${near}`);
    const far = await answers(80, 2, "10.50.1.200");
    assert.deepEqual(new Set([...near, ...far]), new Set(webs), `${far}`);
    await connectionsOf(service, near[0] === "web1" ? [6, 2] : [2, 6]);
  });

  test("persistence: weight 0 alone keeps clients on a dead server, out of the table or with the sysctl they go elsewhere", async () => {
    const setting = "net.ipv4.vs.expire_quiescent_template";
    const text = "[web1, web2], port: 80, persistence: 300";
    const afterFailure = async (change: (dead: TableRealServer) => TableRealServer[]): Promise<boolean> => {
      const [service] = serve(text);
      const [first] = await answers(80, 1);
      assert.ok(service !== undefined && (first === "web1" || first === "web2"));
      const dead = ipv4(hosts[first].rip);
      const realServers = service.realServers.flatMap((r) => (r.rip === dead ? change(r) : [r]));
      const options = { owned: new Set<string>(), maximumDeleteSharePercent: 100, force: true };
      const found = difference([{ ...service, realServers }], engine.read().services, options);
      assert.ok(found.ok);
      assert.deepEqual(engine.apply(found.changes), []);
      const said = new Set(await answers(80, 2));
      assert.equal(said.size, 1);
      return said.has(first);
    };
    const quiet = (r: TableRealServer): TableRealServer[] => [{ ...r, weight: 0 }];
    assert.equal(engine.expiresQuiescent, false);
    assert.equal(await afterFailure(quiet), true, "what leavingAtOnce is for");
    assert.equal(await afterFailure(() => []), false);
    run("lb", `sysctl -q -w ${setting}=1`);
    assert.equal(engine.expiresQuiescent, true);
    assert.equal(await afterFailure(quiet), false);
    run("lb", `sysctl -q -w ${setting}=0`);
  });

  test("thresholds: full at the upper one, taken in again below the lower", async () => {
    // On a port of its own: what an earlier test had open is over for clients, but counts for two minutes more.
    ipvs.setTimeouts({ tcpFinSeconds: 1 });
    const [service] = serve("{ web1: { upperThreshold: 2, lowerThreshold: 2 }, web2: 1 }, port: 81");
    const lines: Line[] = [];
    const said: (string | undefined)[] = [];
    for (let i = 0; i < 8; i++) {
      const line = await open(81);
      lines.push(line);
      said.push(await line.say());
    }
    assert.deepEqual(each(said), [2, 6], run("lb", "ipvsadm -L -n"));
    await connectionsOf(service, [2, 6]);
    serve("{ web1: { upperThreshold: 2, lowerThreshold: 2 }, web2: 1 }, port: 81");
    // Linux before 2026 finds out with the first that comes, which it lets in.
    const again = each(await answers(81, 4))[0] ?? 0;
    assert.ok(again <= 1, `a server that was taken out and put back has what it had: ${again} more`);
    for (const line of lines) await line.end();
    await counted(service, (all) => all.every((c) => c.activeConnections + c.inactiveConnections === 0));
    assert.ok(each(await answers(81, 2))[0] === 1, "web1 serves again");
  });
});
