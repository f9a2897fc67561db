import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import type { TableService } from "../machine/table.ts";
import { addressFacts, sketchFacts } from "../testing/modelHosts.ts";
import "../testing/seed.ts";
import { type IpBody, tcpPacket } from "./frame.ts";
import { SimHost } from "./host.ts";
import { Ipvs } from "./ipvs.ts";
import { Lan } from "./lan.ts";
import { type Asker, type Candidate, hash32Bits, hsiphash, maglevTable, schedulers } from "./schedulers.ts";

const server = (n: number, weight = 1): Candidate => ({
  rip: ipv4FromNumber(ipv4("10.0.0.10") + n),
  port: 80,
  weight,
  lastWeight: weight,
  active: 0,
  inactive: 0,
  overloaded: false,
  gone: false,
});
const asker = (n: number): Asker => ({
  source: ipv4FromNumber(ipv4("10.1.0.0") + n),
  sourcePort: 40_000,
  destination: ipv4("10.0.0.100"),
  nowMs: 0,
});
const make = (name: string, destinations: readonly Candidate[], flags = { port: false, fallback: false }) => {
  const scheduler = schedulers[name];
  assert.ok(scheduler);
  return scheduler({ destinations, flags }, 0);
};
const picks = (name: string, list: readonly Candidate[], count: number): number[] => {
  const scheduler = make(name, list);
  return Array.from({ length: count }, (_, i) => {
    const chosen = scheduler.pick(asker(i));
    return chosen === undefined ? -1 : list.indexOf(chosen);
  });
};

test("SipHash-1-3 and the kernel's hash_32 give known values", () => {
  // GOLDEN_RATIO_32 times 1, its upper 8 bits
  assert.equal(hash32Bits(1, 8), 0x61);
  // four octets 00 01 02 03 under the key of zeros: SipHash-1-3's reference, folded as hsiphash folds it
  assert.equal(hsiphash(0x03020100, 0n) === hsiphash(0x03020100, 1n), false);
  assert.equal(hsiphash(7, 2_654_435_761n), hsiphash(7, 2_654_435_761n));
});

test("rr takes turns, wrr by weight, the highest first", () => {
  assert.deepEqual(picks("rr", [server(1), server(2), server(3)], 5), [0, 1, 2, 0, 1]);
  assert.deepEqual(picks("wrr", [server(1, 3), server(2, 1), server(3, 2)], 12), [0, 0, 2, 0, 1, 2, 0, 0, 2, 0, 1, 2]);
  // weights 2 and 4 go down in steps of two: one turn at the top, then one each
  assert.deepEqual(picks("wrr", [server(1, 2), server(2, 4)], 6), [1, 0, 1, 1, 0, 1]);
});

test("sh fills its 256 buckets by weight in list order, and one client always has the same", () => {
  const list = [server(1, 3), server(2, 1)];
  const bucketOf = (source: Ipv4): number => hash32Bits(source | 0, 8);
  for (const [i, chosen] of picks("sh", list, 300).entries()) {
    const bucket = bucketOf(asker(i).source);
    assert.equal(chosen, bucket % 4 === 3 ? 1 : 0, `bucket ${bucket}`);
  }
});

test("mh spreads evenly by weight, and moves few when a server goes", () => {
  const list = [server(1), server(2), server(3), server(4)];
  const share = (table: readonly (Candidate | undefined)[], c: Candidate): number =>
    table.filter((t) => t === c).length;
  const before = maglevTable(list);
  for (const c of list) assert.ok(Math.abs(share(before, c) - 4093 / 4) <= 1);
  const after = maglevTable(list.slice(0, 3));
  const moved = before.filter((c, i) => c !== list[3] && c !== after[i]).length;
  assert.ok(moved < 4093 / 8, `${moved} of the others' places moved`);
  const weighted = maglevTable([server(1, 3), server(2, 1)]);
  assert.ok(Math.abs(weighted.filter((c) => c?.weight === 3).length - (4093 * 3) / 4) <= 3);
});

test("by load: lc, wlc, sed and nq pick the one they promise; fo and ovf by weight", () => {
  const loaded = (weight: number, active: number, inactive = 0): Candidate => ({
    ...server(weight, weight),
    active,
    inactive,
  });
  const one = (name: string, list: readonly Candidate[]): number => picks(name, list, 1)[0] ?? -1;
  assert.equal(one("lc", [loaded(1, 2), loaded(1, 1, 9)]), 1);
  assert.equal(one("wlc", [loaded(4, 4), loaded(1, 2)]), 0);
  assert.equal(one("sed", [loaded(1, 0), loaded(5, 3)]), 1, "4/5 is less than 1/1");
  assert.equal(one("nq", [loaded(5, 3), loaded(1, 0)]), 1, "who has nothing to do comes first");
  assert.equal(one("fo", [loaded(1, 0), loaded(7, 99)]), 1);
  assert.equal(one("ovf", [loaded(1, 0), loaded(7, 7)]), 1, "ip_vs_ovf passes over who has more than his weight");
  assert.equal(one("ovf", [loaded(1, 0), loaded(7, 8)]), 0, "eight are more than seven");
  assert.equal(one("ovf", [loaded(1, 2), loaded(7, 8)]), -1, "nobody has room");
});

test("weight 0 and overloaded servers get nothing, whatever the scheduler", () => {
  const list = [server(1, 0), { ...server(2), overloaded: true }, server(3)];
  for (const name of Object.keys(schedulers)) {
    const chosen = new Set(picks(name, list, 200));
    assert.ok(!chosen.has(0) && !chosen.has(1), `${name}: ${[...chosen].join()}`);
    assert.deepEqual(picks(name, [], 1), [-1], name);
  }
});

test("fallback: a client of a drained server goes to another one", () => {
  const list = [server(1, 0), server(2)];
  for (const name of ["sh", "mh"]) {
    const scheduler = make(name, list, { port: false, fallback: true });
    for (let i = 0; i < 50; i++) assert.equal(scheduler.pick(asker(i)), list[1]);
  }
});

/** The real server, 1 to n, that each new connection goes to; before each one the table says these weights. */
function shares(scheduler: string, tables: readonly (readonly number[])[], flags: readonly number[] = [SYN]): number[] {
  const { ipvs, deliver } = director();
  ipvs.program([]);
  let known: readonly number[] | undefined;
  return tables.map((weights, i) => {
    if (weights.join() !== known?.join()) ipvs.program([service(scheduler, weights)]);
    known = weights;
    const before = ipvs.counts().map((c) => c.connections);
    for (const some of flags) deliver(segment(i, some));
    return ipvs.counts().findIndex((c, n) => c.connections > (before[n] ?? 0)) + 1;
  });
}
const service = (scheduler: string, weights: readonly number[]): PortService => ({
  ...{ vip, protocol: 6, port: 80, scheduler },
  realServers: weights.map((weight, i) => ({
    ...{ name: `web${i + 1}`, rip: ipv4(`10.0.0.1${i + 1}`), port: 80, weight, forwarding: "dr" as const },
  })),
});
type PortService = Extract<TableService, { port: number }>;

// What follows was seen of a kernel first: host/engine/ipvs.vm.test.ts compares stories of all schedulers.
test("rr goes on where it was when a weight changes or a server joins, and steps back when its last one goes", () => {
  // as slowStartMs does it: the third server's weight grows with each step
  const growing = [1, 2, 3, 4, 5, 6].map((weight) => [1, 1, weight]);
  assert.deepEqual(shares("rr", growing), [3, 2, 1, 3, 2, 1]);
  const list = [server(3), server(2), server(1)];
  const scheduler = make("rr", list);
  const next = (): number => ((scheduler.pick(asker(1))?.rip ?? 0) & 0xff) - 10;
  assert.deepEqual([next(), next()], [3, 2]);
  list.unshift(server(4));
  scheduler.added?.();
  assert.deepEqual([next(), next()], [1, 4]);
  list.shift();
  scheduler.removed?.(0);
  assert.deepEqual([next(), next()], [3, 2]);
  list.splice(1, 1);
  scheduler.removed?.(1);
  assert.equal(next(), 1);
});

test("wrr keeps its level: a heavy server that joins later gets no more than the others until the next round", () => {
  const [before, after] = [
    [1, 4],
    [3, 4],
  ];
  // level 1 as the first server left it, then 4 and 3; the change begins at the head, at level 3
  const got = shares("wrr", [before, before, before, before, after, after, after, after]);
  assert.deepEqual(got, [2, 1, 2, 2, 2, 1, 2, 1]);
  // at level 2 the steps become two wide: 3 and 1 are the levels then
  const wider = Array.from({ length: 11 }, (_, i) => (i < 5 ? before : [2, 4]));
  assert.deepEqual(shares("wrr", wider), [2, 1, 2, 2, 2, 2, 2, 1, 2, 2, 1]);
});

test("mh: who is drained keeps his places in the table, so that the others' clients stay where they were", () => {
  const many = Array.from({ length: 60 }, () => [1, 1, 1]);
  const all = shares("mh", many);
  const drained = shares(
    "mh",
    many.map(() => [1, 1, 1]).map((weights, i) => (i === 0 ? weights : [1, 0, 1])),
  );
  for (const [i, chosen] of drained.entries()) if (i > 0) assert.equal(chosen, all[i] === 2 ? 0 : all[i]);
});

test("lblc: a VIP stays with its server whatever changes beside it, above its threshold, and till a day unused", () => {
  const tables = [
    [9, 9],
    [9, 9],
    [9, 8],
    [9, 9],
    [9, 8],
  ];
  assert.deepEqual(shares("lblc", tables, [SYN, ACK]), [2, 2, 2, 2, 2]);
  for (const name of ["lblc", "lblcr"]) {
    const list = [server(1, 1), server(2, 1)];
    const scheduler = make(name, list);
    const at = (hours: number): number =>
      list.indexOf(scheduler.pick({ ...asker(1), nowMs: hours * 3_600_000 }) as Candidate);
    const [first, second] = list as [Candidate, Candidate];
    assert.equal(at(0), 0, name);
    first.inactive = 50;
    assert.equal(at(23), 0, name);
    first.overloaded = true;
    assert.equal(at(24), name === "lblc" ? 0 : 1, name);
    first.overloaded = false;
    second.inactive = 99;
    assert.equal(at(46), 0, name);
    first.inactive = 200;
    assert.equal(at(70.6), 1, `${name}: unused for more than a day`);
    second.gone = true;
    second.inactive = 300;
    assert.equal(at(71), 0, `${name}: gone`);
  }
});

const vip = ipv4("10.0.0.100");
function director(scheduler = "rr"): {
  lan: Lan;
  ipvs: Ipvs;
  sent: IpBody[];
  deliver: (packet: IpBody) => boolean;
} {
  const lan = new Lan({ seed: 1 });
  const own = mac("02:00:00:00:00:02");
  const facts = sketchFacts({ eth0: ["10.0.0.2/24"], addresses: [addressFacts("eth0", "10.0.0.100/32")] });
  const host = new SimHost(lan, { ...facts, hostname: "lb1" });
  host.wire("eth0", lan.plug(host.id, 0, own, lan.addSwitch("switch")));
  const ipvs = new Ipvs(host);
  const realServers = [1, 2].map((n) => ({
    name: `web${n}`,
    rip: ipv4(`10.0.0.1${n}`),
    port: 80,
    weight: 1,
    forwarding: "dr" as const,
  }));
  ipvs.program([{ vip, protocol: 6, port: 80, scheduler, realServers }]);
  const sent: IpBody[] = [];
  host.output = (packet) => {
    sent.push(packet);
    return undefined;
  };
  return { lan, ipvs, sent, deliver: (packet) => ipvs.take(packet) };
}
const segment = (client: number, flags: number, length = 0): IpBody =>
  tcpPacket(
    { source: ipv4FromNumber(ipv4("10.1.0.0") + client), destination: vip, id: 0 },
    {
      sourcePort: 40_000,
      destinationPort: 80,
      sequence: 0,
      acknowledgment: 0,
      flags,
      stamp: 0,
      echo: 0,
      twiceFrom: 0,
      twiceEnd: 0,
    },
    new Uint8Array(length),
  );
const [SYN, ACK, FIN, RST] = [2, 16, 17, 4];

test("the director sends every packet of a connection on, counts each once, and conserves connections", () => {
  const step = fc.tuple(fc.nat(5), fc.constantFrom(SYN, ACK, FIN, RST), fc.nat(400));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { lan, ipvs, sent, deliver } = director();
      let taken = 0;
      for (const [client, flags, seconds] of steps) {
        lan.run(lan.nowUs + seconds * 1_000_000);
        if (deliver(segment(client, flags))) taken++;
      }
      const counts = ipvs.counts();
      assert.equal(taken, sent.length);
      assert.equal(
        counts.reduce((sum, c) => sum + c.packets, 0),
        sent.length,
      );
      assert.ok(ipvs.size <= counts.reduce((sum, c) => sum + c.connections, 0));
      assert.ok(sent.every((p) => p.destination === vip && p.ttl === 63));
    }),
  );
});

test("a packet from the middle of an unknown connection is not taken: the director's own TCP answers it", () => {
  const { deliver, ipvs } = director();
  assert.equal(deliver(segment(1, ACK)), false);
  assert.equal(deliver(segment(1, SYN)), true);
  assert.equal(deliver(segment(1, ACK)), true);
  assert.equal(ipvs.size, 1);
});

test("a connection lives fifteen minutes from its last packet, a closed one two", () => {
  const { lan, deliver } = director();
  deliver(segment(1, SYN));
  deliver(segment(1, ACK));
  lan.run(lan.nowUs + 899_000_000);
  assert.equal(deliver(segment(1, ACK)), true);
  lan.run(lan.nowUs + 901_000_000);
  assert.equal(deliver(segment(1, ACK)), false);
  deliver(segment(1, SYN));
  deliver(segment(1, ACK));
  deliver(segment(1, FIN));
  lan.run(lan.nowUs + 119_000_000);
  assert.equal(deliver(segment(1, ACK)), true);
});

test("a port comes again: scheduled anew in TIME_WAIT and CLOSE, not in FIN_WAIT, and never under a template", () => {
  const realServers = [1, 2].map((n) => ({
    ...{ name: `web${n}`, rip: ipv4(`10.0.0.1${n}`), port: 80, weight: 1, forwarding: "dr" as const },
  }));
  const service = { vip, protocol: 6 as const, port: 80, scheduler: "rr", realServers };
  const persistent = { ...service, persistence: { timeoutSeconds: 300, netmaskLength: 32 } };
  /** Connections of each server after packets with these flags and one more SYN. */
  const shares = (wanted: typeof service, ...flags: number[]): number[] => {
    const { ipvs, deliver } = director();
    ipvs.program([wanted]);
    for (const some of [...flags, SYN]) deliver(segment(1, some));
    return ipvs.counts().map((c) => c.connections);
  };
  const [same, anew] = [
    [0, 1],
    [1, 1],
  ];
  assert.deepEqual(shares(service, SYN, FIN), anew, "TIME_WAIT");
  assert.deepEqual(shares(service, SYN, ACK, RST), anew, "CLOSE");
  assert.deepEqual(shares(service, SYN, ACK, FIN), same, "FIN_WAIT");
  assert.deepEqual(shares(service, SYN, ACK), same, "ESTABLISHED");
  assert.deepEqual(shares(persistent, SYN, FIN), same, "TIME_WAIT under a template");
  assert.deepEqual(shares(persistent, SYN, ACK, RST), same, "CLOSE under a template");
});

test("a template outlives its timer while its connections live, by a minute each time, and for good", () => {
  const { lan, ipvs, deliver } = director();
  const wanted = { ...service("rr", [1, 1]), persistence: { timeoutSeconds: 100, netmaskLength: 32 } };
  ipvs.program([wanted]);
  const served = (): number => {
    const before = ipvs.counts().map((c) => c.connections);
    deliver({ ...segment(1, SYN), sourcePort: ++port });
    return ipvs.counts().findIndex((c, n) => c.connections > (before[n] ?? 0));
  };
  let port = 40_000;
  const first = served();
  for (let seconds = 0; seconds <= 150; seconds += 15) {
    lan.run(seconds * 1_000_000);
    deliver({ ...segment(1, ACK), sourcePort: port });
  }
  deliver({ ...segment(1, RST), sourcePort: port }); // it goes at 160 s; the timer fired at 100 s, and does at 160 s
  lan.run(158_000_000);
  assert.equal(served(), first);
  deliver({ ...segment(1, RST), sourcePort: port }); // at 168 s
  lan.run(217_000_000);
  assert.equal(served(), first, "a minute from the last connection");
  deliver({ ...segment(1, RST), sourcePort: port });
  lan.run(278_000_000);
  assert.notEqual(served(), first, "and no more than that minute, though the service says 100 seconds");
});

test("what comes for a server that was taken out is dropped in silence while its connection is known, a new SYN too", () => {
  const { ipvs, sent, deliver } = director();
  for (const client of [1, 2]) for (const flags of [SYN, ACK]) deliver(segment(client, flags));
  assert.equal(sent.length, 4);
  const realServers = [{ name: "web1", rip: ipv4("10.0.0.11"), port: 80, weight: 1, forwarding: "dr" as const }];
  const one = { vip, protocol: 6 as const, port: 80, scheduler: "rr", realServers };
  for (const [services, stillServed] of [
    [[one], 1],
    [[], 0],
  ] as const) {
    ipvs.program(services);
    for (const flags of [ACK, SYN]) {
      const sentBefore: number = sent.length;
      const refusedBefore: number = ipvs.refused;
      for (const client of [1, 2]) assert.equal(deliver(segment(client, flags)), true);
      assert.equal(sent.length - sentBefore, stillServed);
      assert.equal(ipvs.refused - refusedBefore, 2 - stillServed);
    }
  }
});

test("a server that is put back has the connections that it had, and they count for its threshold", () => {
  const { ipvs, sent, deliver } = director();
  for (const client of [1, 2]) for (const flags of [SYN, ACK]) deliver(segment(client, flags));
  const one = (upperThreshold: number) => ({
    ...{ vip, protocol: 6 as const, port: 80, scheduler: "rr" },
    realServers: [1, 2].map((n) => ({
      ...{ name: `web${n}`, rip: ipv4(`10.0.0.1${n}`), port: 80, weight: 1, forwarding: "dr" as const },
      ...(n === 1 && { upperThreshold }),
    })),
  });
  const shares = (): number[] => ipvs.counts().map((c) => c.connections);
  for (const [upperThreshold, added] of [
    [1, [0, 4]],
    [2, [1, 3]],
    [0, [2, 2]],
  ] as const) {
    ipvs.program([]);
    ipvs.program([one(upperThreshold)]);
    const before = shares();
    const sentBefore = sent.length;
    for (const client of [1, 2]) assert.equal(deliver(segment(client, ACK)), true);
    assert.equal(sent.length - sentBefore, 2, "they go on");
    const fresh = [1, 2, 3, 4].map((n) => 100 * (upperThreshold + 1) + n);
    for (const client of fresh) deliver(segment(client, SYN));
    assert.deepEqual(
      shares().map((n, i) => n - (before[i] ?? 0)),
      added,
      `at most ${upperThreshold}`,
    );
    for (const client of fresh) deliver(segment(client, RST));
    ipvs.program([one(0)]);
  }
});

test("connection sync: what the third packet tells waits for two seconds, and then for the thread that looks once a second", () => {
  const { lan, ipvs, deliver } = director();
  ipvs.synchronise([{ role: "master", interface: "eth0", id: 0, group: ipv4("224.0.0.81"), port: 8848, ttl: 1 }]);
  const toldMs: number[] = [];
  lan.taps.push((atUs, _, { body }) => {
    if (body.kind === "ip" && body.destinationPort === 8848) toldMs.push(Math.floor(atUs / 1000));
  });
  lan.run(300_000);
  for (const flags of [SYN, ACK, ACK]) deliver(segment(1, flags));
  lan.run(10_000_000);
  assert.deepEqual(toldMs, [3000]);
});

test("C-DIR-04: a packet with DF that is too long for the tunnel is answered with the smaller MTU", () => {
  const { ipvs, sent, deliver } = director();
  const realServers = [{ name: "web1", rip: ipv4("10.0.0.11"), port: 80, weight: 1, forwarding: "tun" as const }];
  ipvs.program([{ vip, protocol: 6, port: 80, scheduler: "rr", realServers }]);
  deliver({ ...segment(1, SYN), source: ipv4("10.0.0.200") });
  deliver({ ...segment(1, ACK, 1460), source: ipv4("10.0.0.200") });
  assert.equal(sent[0]?.inner?.destination, vip);
  assert.deepEqual([sent[0]?.ttl, sent[0]?.inner?.ttl], [63, 63], "the outer header has the inner one's");
  assert.deepEqual(sent[1]?.icmp?.message, { kind: "unreachable", code: 4, mtuOctets: 1480 });
  assert.equal(sent[1]?.source, vip, "icmp_send: from where the packet was for");
});

test("a packet whose TTL ends at the director is answered for by the VIP, and goes no further", () => {
  const { ipvs, sent, deliver } = director();
  deliver({ ...segment(1, SYN), ttl: 2 });
  deliver({ ...segment(1, ACK), ttl: 1 });
  assert.deepEqual(
    sent.map((p) => [p.source === vip, p.ttl, p.icmp?.message.kind]),
    [
      [false, 1, undefined],
      [true, 64, "time-exceeded"],
    ],
  );
  assert.equal(ipvs.refused, 1);
  assert.equal(
    ipvs.counts().reduce((sum, c) => sum + c.packets, 0),
    2,
    "counted before it is sent",
  );
});

test("relay: what belongs to no connection goes on with one hop less, and ends where there is none left", () => {
  const { ipvs, sent, deliver } = director();
  ipvs.relay([vip], ipv4("10.0.0.3"), 2000);
  for (const ttl of [64, 2, 1]) assert.equal(deliver({ ...segment(1, ACK), ttl }), true);
  assert.deepEqual(
    sent.map((p) => p.ttl),
    [63, 1],
  );
  assert.equal(ipvs.refused, 1);
});
