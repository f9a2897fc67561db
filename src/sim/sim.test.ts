import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { sketchFacts } from "../testing/modelHosts.ts";
import { framesOf } from "../testing/pcapng.ts";
import "../testing/seed.ts";
import { dissect, faultOf } from "../wire/frame.ts";
import { Dice, hash32, hashBelow } from "./dice.ts";
import { encodeFrame, frameOctets, icmpError, icmpPacket, ipipPacket, Macs, tcpPacket, udpPacket } from "./frame.ts";
import { SimHost } from "./host.ts";
import { type CableOptions, Lan, plainCable } from "./lan.ts";
import { Pcap } from "./pcap.ts";
import { EventQueue } from "./queue.ts";
import { plainSwitch, type Switch } from "./switch.ts";

test("the queue gives events by time, and in the order they came in where the time is one", () => {
  // ahead of the last one taken by little, so that there are ties, or by more than the wheel reaches
  const ahead = fc.oneof(fc.nat(3), fc.nat(40), fc.integer({ min: 4090, max: 4100 }), fc.nat(20_000), fc.nat(2 ** 33));
  const step = fc.oneof(
    { weight: 3, arbitrary: ahead.map((us) => ({ push: us })) },
    { weight: 2, arbitrary: fc.nat(9000).map((us) => ({ popWithin: us })) },
    { weight: 1, arbitrary: fc.constant({ popWithin: Number.POSITIVE_INFINITY }) },
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 100, maxLength: 400 }), (steps) => {
      const queue = new EventQueue(2);
      const slow: { at: number; n: number }[] = [];
      let n = 0;
      let lastUs = 0;
      for (const s of [...steps, ...steps.map(() => ({ popWithin: Number.POSITIVE_INFINITY }))])
        if ("popWithin" in s) {
          slow.sort((a, b) => a.at - b.at || a.n - b.n);
          assert.equal(queue.nextUs, slow[0]?.at ?? Number.POSITIVE_INFINITY);
          const expected = (slow[0]?.at ?? Number.POSITIVE_INFINITY) <= lastUs + s.popWithin ? slow.shift() : undefined;
          assert.equal(queue.pop(lastUs + s.popWithin), expected !== undefined);
          if (expected) {
            assert.deepEqual([queue.timeUs, queue.place], [expected.at, expected.n]);
            lastUs = expected.at;
          }
        } else {
          queue.push(lastUs + s.push, 0, n, undefined);
          slow.push({ at: lastUs + s.push, n: n++ });
        }
      assert.equal(queue.size, slow.length);
    }),
  );
  const queue = new EventQueue();
  queue.push(7, 0, 0, undefined);
  queue.pop();
  assert.throws(() => queue.push(6, 0, 0, undefined), RangeError);
});

test("dice draw the same everywhere: the first draws of seed 1 are known", () => {
  const dice = new Dice(1);
  const drawn = [dice.next(), dice.next(), dice.below(6), dice.between(5, 7)];
  assert.deepEqual(drawn, [1_701_184_131, 869_676_765, 1, 6]);
  assert.equal(hash32(1, 2, 3), 817_096_907);
  for (const limit of [1, 51, 1_000_000, 2 ** 31, 2 ** 32 - 1])
    for (let i = 0; i < 100; i++) assert.equal(hashBelow(limit, 1, i, 3), hash32(1, i, 3) % limit);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 40_000; i++) counts[dice.below(4)] = (counts[dice.below(4)] ?? 0) + 1;
  assert.ok(
    counts.every((c) => c > 8_500),
    counts.join(),
  );
});

const macA = mac("02:00:00:00:00:0a");
const macB = mac("02:00:00:00:00:0b");

test("every frame the simulator makes is one that wire/ reads without a fault, and has the length it says", () => {
  const macs = new Macs();
  const around = { to: macs.idOf(macA), from: macs.idOf(macB), vlan: 0, serial: 1 };
  const address = fc.nat(0xffffffff).map(ipv4FromNumber);
  const port = fc.nat(65_535);
  const payload = fc.uint8Array({ maxLength: 60 });
  fc.assert(
    fc.property(address, address, port, port, payload, fc.nat(63), fc.nat(4094), (a, b, p, q, data, flags, vlan) => {
      const ends = { source: a, destination: b, id: p };
      const stamps = {
        stamp: p % 3 === 0 ? 0 : a,
        echo: b,
        twiceFrom: 0,
        twiceEnd: p % 3 === 1 && (flags & 2) === 0 ? 1 : 0,
      };
      const numbers = { sourcePort: p, destinationPort: q, sequence: a, acknowledgment: b, flags, ...stamps };
      const tcp = tcpPacket(ends, numbers, (flags & 2) === 0 ? data : undefined);
      for (const body of [
        tcp,
        udpPacket(ends, p, q, data),
        icmpPacket(ends, { kind: "echo-request", id: p, sequence: q }, data),
        icmpError(ends, { kind: "unreachable", code: 4, mtuOctets: 1480 }, tcp),
        ipipPacket(ends, tcp),
      ]) {
        const frame = { ...around, vlan, body };
        const octets = encodeFrame(frame, macs);
        assert.equal(faultOf(dissect(octets).inside), undefined);
        assert.equal(octets.length, frameOctets(frame));
      }
    }),
  );
});

/** Hosts 10.0.0.1, .2, ... on one switch, cabled alike. */
function lanOf(
  count: number,
  cable: Partial<CableOptions> = {},
  seed = 1,
  exhaustive = false,
): { lan: Lan; hosts: SimHost[] } {
  const lan = new Lan({ seed, exhaustive });
  const at = lan.addSwitch("switch");
  const hosts = Array.from({ length: count }, (_, i) => {
    const own = mac(`02:00:00:00:00:${(i + 1).toString(16).padStart(2, "0")}`);
    const sketch = sketchFacts({ eth0: [`10.0.0.${i + 1}/24`], links: [{ name: "eth0", mac: own }] });
    const host = new SimHost(lan, { ...sketch, hostname: `h${i + 1}` });
    host.wire("eth0", lan.plug(host.id, 0, own, at, { ...plainCable, ...cable }));
    return host;
  });
  return { lan, hosts };
}

test("data arrives whole, once and in order, over cables that lose, double and reorder", () => {
  fc.assert(
    fc.property(
      fc.nat(1_000_000),
      fc.nat(200_000),
      fc.nat(200_000),
      fc.nat(200_000),
      (seed, loss, duplicate, reorder) => {
        const cable = { lossPpm: loss, duplicatePpm: duplicate, reorderPpm: reorder, reorderUs: 900, jitterUs: 300 };
        const { lan, hosts } = lanOf(2, cable, seed);
        const [client, server] = hosts as [SimHost, SimHost];
        const sent = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7) & 255);
        const heard: number[] = [];
        let ended = 0;
        server.tcp.listen(80, () => ({
          data: (_, octets) => heard.push(...octets),
          ended: (c) => {
            ended++;
            c.close();
          },
        }));
        let broken = "";
        client.tcp.connect(ipv4("10.0.0.1"), ipv4("10.0.0.2"), 80, {
          connected: (c) => {
            c.send(sent);
            c.close();
          },
          broken: (_, why) => {
            broken = why;
          },
        });
        lan.run(3_600_000_000);
        if (broken !== "") return; // a fifth lost at every step may defeat a handshake: then nothing may have arrived
        assert.equal(heard.length, sent.length);
        assert.ok(heard.every((octet, i) => octet === sent[i]));
        assert.equal(ended, 1);
        assert.equal(client.tcp.count + server.tcp.count, 0, "both ends forget it");
      },
    ),
    { numRuns: 8 },
  );
});

test("a host that does not know a connection resets it", () => {
  const { lan, hosts } = lanOf(2);
  const [client, server] = hosts as [SimHost, SimHost];
  server.tcp.listen(80, () => ({}));
  let broken = "";
  const connection = client.tcp.connect(ipv4("10.0.0.1"), ipv4("10.0.0.2"), 80, {
    broken: (_, why) => {
      broken = why;
    },
  });
  lan.run(1_000_000);
  server.tcp.forget();
  connection.send(new Uint8Array(3));
  lan.run(2_000_000);
  assert.equal(broken, "reset");
  client.tcp.connect(ipv4("10.0.0.1"), ipv4("10.0.0.2"), 81, {
    broken: (_, why) => {
      broken = why;
    },
  });
  lan.run(3_000_000);
  assert.equal(broken, "refused");
});

test("nobody there: three questions a second apart, then the connection is told", () => {
  const { lan, hosts } = lanOf(2);
  const client = hosts[0] as SimHost;
  let asked = 0;
  lan.taps.push((_, __, frame) => {
    if (frame.body.kind === "arp") asked++;
  });
  let broken = "";
  client.tcp.connect(ipv4("10.0.0.1"), ipv4("10.0.0.77"), 80, {
    broken: (_, why) => {
      broken = why;
    },
  });
  lan.run(10_000_000);
  assert.equal(asked, 3);
  assert.equal(broken, "unreachable");
});

test("a packet like the one before takes no way round what has changed: frozen, listened to, a service closed, power gone", () => {
  const { lan, hosts } = lanOf(2);
  const [a, b] = hosts as [SimHost, SimHost];
  let served = 0;
  let sniffed = 0;
  const sniffer = (): void => {
    sniffed++;
  };
  const service = (): undefined => {
    served++;
  };
  b.serveUdp(7, service);
  const say = (): [number, number] => {
    [served, sniffed] = [0, 0];
    a.sendUdp(ipv4("10.0.0.1"), ipv4("10.0.0.2"), 5000, 7);
    lan.run(lan.nowUs + 10_000);
    return [served, sniffed];
  };
  const before = (): void => {
    for (let i = 0; i < 3; i++) assert.deepEqual(say(), [1, 0]);
  };
  before();
  b.pause();
  assert.deepEqual(say(), [0, 0]);
  b.resume();
  assert.equal(served, 1, "what it heard meanwhile");
  before();
  b.sniff(sniffer);
  for (let i = 0; i < 3; i++) assert.deepEqual(say(), [1, 1]);
  b.unsniff(sniffer);
  before();
  b.closeUdp(7);
  assert.deepEqual(say(), [0, 0]);
  b.serveUdp(7, service);
  before();
  b.crash();
  assert.deepEqual(say(), [0, 0]);
});

test("a switch floods what it does not know, sends on what it has learned, and forgets after its ageing time", () => {
  const { lan, hosts } = lanOf(3, {}, 1, true);
  const [a, b] = hosts as [SimHost, SimHost, SimHost];
  const heard = [0, 0, 0];
  for (const [i, host] of hosts.entries())
    host.sniff(() => {
      heard[i] = (heard[i] ?? 0) + 1;
    });
  a.icmp.sendEcho(ipv4("10.0.0.1"), ipv4("10.0.0.2"), 1);
  lan.run(1_000_000);
  assert.deepEqual(heard, [2, 2, 1], "the question to all, the rest to two");
  const at = lan.switches[0];
  const macId = b.nics[0]?.macId ?? 0;
  assert.ok((at?.whereIs(macId, 1, lan.nowUs) ?? -1) >= 0);
  assert.equal(at?.whereIs(macId, 1, lan.nowUs + plainSwitch.ageingUs + 1), -1);
});

test("VLANs keep frames apart, also over a trunk", () => {
  const lan = new Lan({ seed: 1 });
  const [left, right] = [lan.addSwitch("left"), lan.addSwitch("right")];
  lan.trunk(left, right);
  const host = (n: number, into: typeof left, vlan: number): SimHost => {
    const own = mac(`02:00:00:00:00:0${n}`);
    const facts = sketchFacts({ eth0: [`10.0.0.${n}/24`], links: [{ name: "eth0", mac: own }] });
    const made = new SimHost(lan, { ...facts, hostname: `h${n}` });
    made.wire("eth0", lan.plug(made.id, 0, own, into, plainCable, { kind: "access", vlan }));
    return made;
  };
  const [one, two, three] = [host(1, left, 10), host(2, right, 10), host(3, right, 20)];
  const answered: number[] = [];
  for (const n of [2, 3]) {
    one.icmp.onEcho(n, () => answered.push(n));
    one.icmp.sendEcho(ipv4("10.0.0.1"), ipv4(`10.0.0.${n}`), n);
  }
  lan.run(5_000_000);
  assert.deepEqual(answered, [2]);
  assert.equal(three.neighbours.size, 0);
  assert.equal(two.neighbours.size, 1);
});

test("a loop of switches and a host without a cable are said, not run into", () => {
  const lan = new Lan({ seed: 1 });
  const [a, b, c] = [lan.addSwitch("a"), lan.addSwitch("b"), lan.addSwitch("c")];
  lan.trunk(a, b);
  lan.trunk(b, c);
  assert.deepEqual(lan.problems(), []);
  new SimHost(lan, { ...sketchFacts(), hostname: "alone" });
  lan.trunk(c, a);
  const [loop, alone] = lan.problems();
  assert.match(loop ?? "", /form a loop/);
  assert.match(alone ?? "", /alone is not plugged/);
});

test("a capture file is pcapng, frame after frame, each cable an interface", () => {
  const macs = new Macs();
  const pcap = new Pcap(macs);
  const body = udpPacket({ source: ipv4("10.0.0.1"), destination: ipv4("10.0.0.2"), id: 1 }, 5, 9, new Uint8Array(4));
  pcap.add(3_000_007, "web1", { to: macs.idOf(macA), from: macs.idOf(macB), vlan: 0, serial: 1, body });
  pcap.add(2 ** 32 + 5, "a-b", { to: macs.idOf(macA), from: macs.idOf(macB), vlan: 10, serial: 1, body });
  const file = pcap.octets();
  assert.equal(file.length, 28 + 32 + (32 + 48) + 32 + (32 + 52));
  const told = framesOf(file).map(({ cable, timeUs, octets }) => [cable, timeUs, octets.length]);
  assert.deepEqual(told, [
    ["web1", 3_000_007, 46],
    ["a-b", 2 ** 32 + 5, 50],
  ]);
});

test("a capture has each frame as it is put on a cable: by its sender, lost or not, and by switches on uplinks", () => {
  const lan = new Lan({ seed: 1 });
  const [left, right] = [lan.addSwitch("left"), lan.addSwitch("right")];
  const own = (n: number) => mac(`02:00:00:00:00:0${n}`);
  const access = { kind: "access", vlan: 10 } as const;
  const on = (n: number, at: Switch, cable: CableOptions): SimHost => {
    const links = [{ name: "eth0", mac: own(n) }];
    const made = new SimHost(lan, { ...sketchFacts({ eth0: [`10.0.0.${n}/24`], links }), hostname: `h${n}` });
    made.wire("eth0", lan.plug(made.id, 0, own(n), at, cable, access));
    return made;
  };
  const one = on(1, left, plainCable);
  const two = on(2, right, plainCable);
  const captured: unknown[] = [];
  lan.capture((timeUs, cable, frame) => captured.push([timeUs, cable, frame.vlan]));
  // what comes later is captured as well
  lan.trunk(left, right);
  const deaf = on(3, right, { ...plainCable, lossPpm: 1_000_000 });
  const ask = (host: SimHost, n: number): void => {
    const [nic] = host.nics;
    assert.ok(nic);
    host.arp.send(nic, { operation: 1, senderIp: ipv4(`10.0.0.${n}`), targetIp: ipv4("10.0.0.2") });
  };
  ask(one, 1);
  lan.run(1000);
  const [there, back] = captured.splice(0, 4).map((c) => JSON.stringify(c));
  assert.deepEqual([there, back], ['[0,"h1 eth0",0]', '[5,"left <-> right",10]']);
  assert.equal(two.neighbours.size, 1);
  ask(deaf, 3);
  lan.run(2000);
  assert.deepEqual(captured, [[1000, "h3 eth0", 0]]);
});

const macOf = (host: SimHost) => host.nics[0]?.mac ?? macB;

/** Two hosts on one switch, each with a cable of its own. */
function twoHosts(seed: number, ...cables: readonly Partial<CableOptions>[]) {
  const lan = new Lan({ seed });
  const at = lan.addSwitch("switch");
  const [from, to] = [1, 2].map((n) => {
    const own = mac(`02:00:00:00:00:0${n}`);
    const links = [{ name: "eth0", mac: own }];
    const host = new SimHost(lan, { ...sketchFacts({ eth0: [`10.0.0.${n}/24`], links }), hostname: `h${n}` });
    host.wire("eth0", lan.plug(host.id, 0, own, at, { ...plainCable, ...cables[n - 1] }));
    return host;
  });
  const nic = from?.nics[0];
  assert.ok(from && to && nic);
  let heard = 0;
  to.sniff(() => {
    heard++;
  });
  return { lan, from, to, nic, heard: () => heard };
}

test("two copies of one frame are lost each by itself", () => {
  let apart = 0;
  for (let seed = 1; seed <= 400; seed++) {
    const { lan, from, to, nic, heard } = twoHosts(seed, { duplicatePpm: 1_000_000 }, { lossPpm: 500_000 });
    from.arp.send(nic, { operation: 2, senderIp: ipv4("10.0.0.1"), targetIp: ipv4("10.0.0.2"), to: macOf(to) });
    lan.run(1_000_000);
    if (heard() === 1) apart++;
  }
  // one of two in half of the cases: 200 of 400, 10 is a standard deviation
  assert.ok(Math.abs(apart - 200) < 60, `${apart} of 400 pairs`);
});

for (const [first, then] of [
  [500, 1000],
  [1000, 500],
  [500, 5],
] as const)
  test(`a broadcast on a cable whose delay goes from ${first} to ${then} us meanwhile arrives once, when it was to`, () => {
    for (const isQuicker of [false, true]) {
      const { lan, from, to, nic, heard } = twoHosts(1, {}, { delayUs: first });
      // another cable as long as this one becomes: there are events for both
      if (isQuicker) lan.setCable(lan.cableOf(nic.port), { ...plainCable, delayUs: then });
      const startUs = lan.cableOf(nic.port).options.delayUs;
      from.arp.send(nic, { operation: 1, senderIp: ipv4("10.0.0.1"), targetIp: ipv4("10.0.0.2") });
      lan.at(startUs + 1, () => {
        lan.setCable(lan.cableOf(to.nics[0]?.port ?? -1), { ...plainCable, delayUs: then });
      });
      lan.run(startUs + first - 1);
      assert.equal(heard(), 0);
      lan.run(startUs + first);
      assert.equal(heard(), 1);
      lan.run(1_000_000);
      assert.equal(heard(), 1);
    }
  });

test("who pings with a TTL that ends on the way is told so, as traceroute -I asks; an error tells of no error", () => {
  const { lan, to } = twoHosts(1);
  const told: string[] = [];
  lan.taps.push((_, who, { body }) => {
    if (body.kind === "ip" && body.icmp?.message.kind === "time-exceeded") told.push(who);
  });
  const ends = { source: ipv4("10.0.0.1"), destination: ipv4("10.9.9.9"), id: 1 };
  const ping = { ...icmpPacket(ends, { kind: "echo-request", id: 1, sequence: 1 }), ttl: 1 };
  to.icmp.timeExceeded(ping);
  to.icmp.timeExceeded(icmpError(ends, { kind: "time-exceeded", code: 0 }, ping));
  to.icmp.timeExceeded(icmpPacket(ends, { kind: "echo-reply", id: 1, sequence: 1 }));
  lan.run(1_000_000);
  assert.deepEqual(told, ["h2"]);
});
