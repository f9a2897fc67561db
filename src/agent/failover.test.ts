import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import type { FailoverEvent, FailoverPorts } from "../ports/failover.ts";
import { dissect } from "../wire/frame.ts";
import { VRRP_GROUP, vrrpPacket } from "../wire/vrrp.ts";
import { Failover, graceMs, relayMs, settleMs } from "./failover.ts";
import type { FailoverConfig, InstanceConfig } from "./failoverConfig.ts";

const vip = ipv4("10.0.0.100");
const router = ipv4("10.0.0.1");

function instance(last: number, priority: number, change: Partial<InstanceConfig["vrrp"]> = {}): InstanceConfig {
  const vrrp = {
    name: "web",
    version: 3 as const,
    vrid: 51,
    priority,
    intervalMs: 1000,
    address: ipv4(`10.0.0.${last}`),
    vips: [vip],
    preempt: true,
    preemptDelayMs: 0,
    downAdverts: 3,
    accept: true,
    checksum: "message" as const,
    ...change,
  };
  const own: Mac = mac(`02:00:00:00:00:0${last}`);
  const announcer = { mac: own, count: 2, intervalMs: 100, refreshMs: 0, form: "both" as const, framesAtOnce: 8 };
  return {
    vrrp,
    link: "eth0",
    announcer: { ...announcer, neighbours: [router], verifyWithinMs: 200, verifyAttempts: 1 },
  };
}

/** Directors on one wire, in virtual time. A packet arrives a millisecond after it was sent. */
class Wire {
  nowMs = 0;
  readonly nodes = new Map<string, Node>();
  readonly #flights: { readonly atMs: number; readonly deliver: () => void }[] = [];
  add(name: string, config: FailoverConfig, there: readonly Ipv4[] = []): Node {
    const node = new Node(this, name, config, there);
    this.nodes.set(name, node);
    return node;
  }
  later(deliver: () => void): void {
    this.#flights.push({ atMs: this.nowMs + 1, deliver });
  }
  run(forMs: number, watch: () => void = () => {}): void {
    const endMs = this.nowMs + forMs;
    while (this.nowMs < endMs) {
      this.nowMs += 1;
      while (this.#flights[0] !== undefined && this.#flights[0].atMs <= this.nowMs) this.#flights.shift()?.deliver();
      for (const node of this.nodes.values())
        if (node.alive && node.failover.deadlineMs <= this.nowMs) node.failover.tick(this.nowMs);
      watch();
    }
  }
  holders(): string {
    return [...this.nodes.values()]
      .filter((n) => n.addresses.has(vip))
      .map((n) => n.name)
      .join();
  }
}
class Node {
  readonly name: string;
  readonly failover: Failover;
  readonly addresses: Set<Ipv4>;
  /** Off the link, and packets for it are taken all the same. */
  readonly forwarded = new Set<Ipv4>();
  readonly relays: { readonly vips: readonly Ipv4[]; readonly to: Ipv4; readonly forMs: number }[] = [];
  relaying: { readonly to: Ipv4; readonly untilMs: number } | undefined;
  readonly events: FailoverEvent[] = [];
  alive = true;
  /** Own gratuitous ARP sent while the VIP was not on the link: never right. */
  falseAnnouncements = 0;
  /** Frames in the VIP's name. */
  announcements = 0;
  constructor(wire: Wire, name: string, config: FailoverConfig, there: readonly Ipv4[]) {
    this.name = name;
    this.addresses = new Set(there);
    const others = (): Node[] => [...wire.nodes.values()].filter((n) => n !== this && n.alive);
    const ports: FailoverPorts = {
      sendAdvert: (link, packet) =>
        wire.later(() => {
          for (const n of others()) n.failover.heardVrrp(link, packet, wire.nowMs);
        }),
      addVips: (_, vips) => {
        for (const v of vips) {
          this.addresses.add(v);
          this.forwarded.delete(v);
        }
      },
      yieldVips: (_, vips) => {
        for (const v of vips) if (this.addresses.delete(v)) this.forwarded.add(v);
      },
      removeVips: (_, vips) => {
        for (const v of vips) {
          this.addresses.delete(v);
          this.forwarded.delete(v);
        }
      },
      relay: (vips, to, forMs) => {
        this.relays.push({ vips, to, forMs });
        this.relaying = { to, untilMs: wire.nowMs + forMs };
      },
      endRelay: (_, to) => {
        if (this.relaying?.to === to) this.relaying = undefined;
      },
      sendFrame: (link, frame) => {
        const { inside } = dissect(frame);
        if (inside.kind !== "arp") return;
        if (inside.arp.senderIp === vip && !this.addresses.has(vip)) this.falseAnnouncements++;
        if (inside.arp.senderIp === vip && inside.arp.targetIp === vip) this.announcements++;
        wire.later(() => {
          for (const n of others()) n.failover.heardArp(link, inside.arp, wire.nowMs);
        });
      },
      report: (event) => void this.events.push(event),
    };
    this.failover = new Failover(ports);
    const addresses = new Map([["eth0", new Set(there)]]);
    this.failover.start(config, { addresses, up: new Map([["eth0", true]]) }, wire.nowMs);
  }
  get phase(): string | undefined {
    return this.failover.status(0)[0]?.phase;
  }
}
const one = (i: InstanceConfig): FailoverConfig => ({ groups: [[i]], sole: [] });
function pair(): { wire: Wire; a: Node; b: Node } {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)));
  const b = wire.add("b", one(instance(3, 100)));
  wire.run(6000);
  return { wire, a, b };
}

test("two directors: the higher holds the VIP, alone; killed, the other takes over in the down interval", () => {
  const { wire, a, b } = pair();
  assert.equal(wire.holders(), "a");
  a.alive = false;
  const atMs = wire.nowMs;
  a.addresses.clear();
  while (wire.holders() !== "b") wire.run(1);
  assert.ok(wire.nowMs - atMs <= 3610, `${wire.nowMs - atMs}`);
  assert.equal(a.falseAnnouncements + b.falseAnnouncements, 0);
});

test("a hand-over leaves no instant without an owner, and the old one does not defend the VIP", () => {
  const { wire, a, b } = pair();
  a.failover.stop(wire.nowMs);
  let gap = 0;
  let both = 0;
  const announcedBefore = a.events.length;
  wire.run(3000, () => {
    if (wire.holders() === "") gap++;
    if (wire.holders() === "a,b") both++;
  });
  assert.equal(gap, 0);
  assert.ok(both <= graceMs + 5, `${both} ms with two`);
  assert.equal(wire.holders(), "b");
  assert.ok(a.failover.stopped);
  assert.ok(!b.events.some((e) => e.kind === "arpConflict"), "the old owner announced the VIP again");
  assert.ok(a.events.slice(announcedBefore).some((e) => e.kind === "note" && e.code === "handed-over"));
});

/** Goes on until `done`, and gives the time that took. */
function until(wire: Wire, done: () => boolean, limitMs = 20_000): number {
  const fromMs = wire.nowMs;
  while (!done()) {
    wire.run(1);
    assert.ok(wire.nowMs - fromMs < limitMs, `not within ${limitMs} ms`);
  }
  return wire.nowMs - fromMs;
}
const said = (node: Node, kind: FailoverEvent["kind"]): FailoverEvent[] => node.events.filter((e) => e.kind === kind);

test("who hands over yields at the successor's announcement, forwards what still comes, and then no more", () => {
  const { wire, a, b } = pair();
  a.failover.stop(wire.nowMs);
  assert.deepEqual(said(a, "leaving"), [{ kind: "leaving", instance: "web", over: false }]);
  until(wire, () => b.addresses.has(vip));
  const bothMs = until(wire, () => !a.addresses.has(vip));
  assert.ok(bothMs <= 5, `two owners for ${bothMs} ms`);
  assert.ok(a.forwarded.has(vip));
  const forwardedMs = until(wire, () => !a.forwarded.has(vip));
  assert.ok(Math.abs(forwardedMs - settleMs) <= 2, `${forwardedMs}`);
  assert.deepEqual(said(a, "leaving").at(-1), { kind: "leaving", instance: "web", over: true });
  assert.ok(a.failover.stopped);
});

test("the successor knows beforehand from whom, and its relay ends before the other's forwarding", () => {
  const { wire, a, b } = pair();
  a.failover.stop(wire.nowMs);
  until(wire, () => b.relays.length > 0);
  const heardAtMs = wire.nowMs;
  assert.ok(!b.addresses.has(vip), "before it is master");
  until(wire, () => b.addresses.has(vip));
  const [relay] = b.relays;
  assert.ok(relay?.to === ipv4("10.0.0.2") && relay.vips.includes(vip));
  const overAtMs = heardAtMs + relay.forMs;
  assert.ok(overAtMs - wire.nowMs >= relayMs - 5, "at least so long as master");
  until(wire, () => !a.forwarded.has(vip) && !a.addresses.has(vip));
  assert.ok(overAtMs < wire.nowMs);
  assert.equal(b.relays.length, 1);
});

test("two directors that swap twice in a row never relay to each other at the same time", () => {
  const { wire, a, b } = pair();
  const relays = (n: Node): boolean => (n.relaying?.untilMs ?? 0) > wire.nowMs;
  a.failover.switchOver(undefined, wire.nowMs);
  until(wire, () => b.addresses.has(vip));
  assert.ok(relays(b));
  a.failover.release(wire.nowMs);
  b.failover.switchOver(undefined, wire.nowMs);
  until(wire, () => a.addresses.has(vip) && !b.addresses.has(vip));
  assert.ok(relays(a), "what a does not know goes to b");
  assert.ok(!relays(b), "and does not come back");
});

test("a master of lower priority that is taken over from yields too; one that died has no successor to tell", () => {
  const { wire, a, b } = pair();
  a.failover.switchOver(undefined, wire.nowMs);
  wire.run(6000);
  assert.equal(wire.holders(), "b");
  a.events.length = 0;
  a.failover.release(wire.nowMs);
  until(wire, () => a.addresses.has(vip));
  assert.equal(a.relays.at(-1)?.to, ipv4("10.0.0.3"));
  until(wire, () => b.forwarded.has(vip), 10);
  wire.run(5000);
  assert.equal(b.forwarded.size, 0);
  assert.ok(![...a.events, ...b.events].some((e) => e.kind === "arpConflict"));
  b.relays.length = 0;
  a.alive = false;
  a.addresses.clear();
  wire.run(5000);
  assert.equal(wire.holders(), "b");
  assert.deepEqual(b.relays, []);
});

test("whose link is down has nothing to forward; who becomes master again in the middle holds the VIP again", () => {
  const { wire, a, b } = pair();
  a.failover.linkChanged("eth0", false, wire.nowMs);
  assert.equal(a.addresses.size + a.forwarded.size, 0);
  a.failover.linkChanged("eth0", true, wire.nowMs);
  wire.run(8000);
  assert.equal(wire.holders(), "a");
  a.failover.switchOver(undefined, wire.nowMs);
  until(wire, () => a.forwarded.has(vip));
  b.alive = false;
  b.addresses.clear();
  a.failover.release(wire.nowMs);
  until(wire, () => a.addresses.has(vip));
  assert.equal(a.forwarded.size, 0);
  wire.run(settleMs + 1000);
  assert.equal(wire.holders(), "a", "the end of the old hand-over takes nothing away");
});

test("what no neighbour has confirmed is awaited on its link, and traffic for it is as good as an answer", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)));
  assert.equal(a.failover.awaited.size, 0);
  until(wire, () => a.addresses.has(vip));
  assert.deepEqual([...a.failover.awaited], [["eth0", [vip]]]);
  a.failover.heardTraffic("eth1", vip, wire.nowMs);
  assert.equal(a.failover.awaited.size, 1, "on another link");
  a.failover.heardTraffic("eth0", vip, wire.nowMs);
  assert.equal(a.failover.awaited.size, 0);
  const [event] = said(a, "verified");
  assert.ok(event?.kind === "verified" && event.how === "traffic");
});

test("a weight of one instance counts for its whole sync group, which then moves as one", () => {
  const wire = new Wire();
  const second = ipv4("10.0.0.101");
  const both = (last: number, priority: number): FailoverConfig => ({
    groups: [[instance(last, priority), instance(last, priority, { name: "db", vrid: 52, vips: [second] })]],
    sole: [],
  });
  const [a, b] = [wire.add("a", both(2, 150)), wire.add("b", both(3, 100))];
  wire.run(6000);
  assert.deepEqual([...a.addresses], [vip, second]);
  a.failover.track("web", -100, undefined, wire.nowMs);
  wire.run(6000);
  assert.deepEqual([...a.addresses], []);
  assert.deepEqual([...b.addresses], [vip, second]);
  a.failover.track("web", 0, undefined, wire.nowMs);
  wire.run(6000);
  assert.deepEqual([...a.addresses], [vip, second]);
});

test("a hand-over that nobody takes up ends in time", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)));
  wire.run(6000);
  a.failover.stop(wire.nowMs);
  assert.equal(a.failover.stopped, false);
  wire.run(1000 + 2 * graceMs);
  assert.equal(a.failover.stopped, true);
  assert.equal(wire.holders(), "");
});

test("switched over, a director stays the last choice until it is released, and still takes over from a dead one", () => {
  const { wire, a, b } = pair();
  assert.deepEqual(a.failover.switchOver(undefined, wire.nowMs), ["web"]);
  wire.run(6000);
  assert.equal(wire.holders(), "b");
  b.alive = false;
  b.addresses.clear();
  wire.run(5000);
  assert.equal(wire.holders(), "a");
  b.alive = true;
  b.addresses.add(vip);
  wire.run(6000);
  assert.equal(wire.holders(), "b");
  assert.deepEqual(a.failover.release(wire.nowMs), ["web"]);
  wire.run(6000);
  assert.equal(wire.holders(), "a");
  assert.deepEqual(b.failover.switchOver(undefined, wire.nowMs), [], "a backup has nothing to hand over");
});

test("an address owner cannot be switched over, and says so", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 255)));
  assert.equal(wire.holders(), "a");
  assert.throws(() => a.failover.switchOver(undefined, wire.nowMs), /owns its addresses/);
  assert.throws(() => a.failover.switchOver("nobody", wire.nowMs), /no instance nobody/);
  assert.equal(wire.holders(), "a");
});

test("restarted with the VIP still on the link: it stays, and the others never notice", () => {
  const { wire, a, b } = pair();
  a.alive = false;
  wire.run(500);
  const again = wire.add("a", one(instance(2, 150)), [vip]);
  wire.run(6000, () => assert.equal(wire.holders(), "a"));
  assert.equal(again.phase, "master");
  assert.ok(!b.events.some((e) => e.kind === "transition" && e.to === "master"));
});

test("restarted too late: a VIP left from before goes when another master is heard", () => {
  const wire = new Wire();
  wire.add("b", one(instance(3, 200)));
  wire.run(6000);
  wire.add("a", one(instance(2, 150)), [vip]);
  assert.equal(wire.holders(), "b,a");
  wire.run(1100);
  assert.equal(wire.holders(), "b");
});

test("restarted into a fault: a VIP left from before goes when another master is heard, and not before", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)), [vip]);
  a.failover.track("web", 0, "uplink", wire.nowMs);
  wire.run(3000);
  assert.equal(a.phase, "initialize");
  assert.equal(wire.holders(), "a", "nobody else is there for the clients");
  const b = wire.add("b", one(instance(3, 100)));
  until(wire, () => b.addresses.has(vip));
  const bothMs = until(wire, () => !a.addresses.has(vip));
  assert.ok(bothMs <= 5, `two owners for ${bothMs} ms`);
});

test("stopped before it was master again: a VIP left from before is handed over, and does not outlive the agent", () => {
  const { wire, a, b } = pair();
  a.alive = false;
  const again = wire.add("again", one(instance(2, 150)), [vip]);
  wire.run(10);
  again.failover.stop(wire.nowMs);
  assert.equal(again.failover.stopped, false);
  until(wire, () => again.failover.stopped);
  assert.ok(!again.addresses.has(vip) && !again.forwarded.has(vip));
  a.addresses.clear();
  wire.run(4000);
  assert.equal(b.phase, "master");
  assert.equal(wire.holders(), "b");
});

test("a reload that drops an instance, or a VIP of it, takes away what was left from before", () => {
  const [wire, second] = [new Wire(), ipv4("10.0.0.101")];
  const file = (vips: readonly Ipv4[]): FailoverConfig => one(instance(2, 150, { vips }));
  const a = wire.add("a", file([vip, second]), [vip, second]);
  a.failover.reload(file([vip]), () => new Map(), wire.nowMs);
  assert.deepEqual([...a.addresses], [vip]);
  a.failover.reload({ groups: [], sole: [] }, () => new Map(), wire.nowMs);
  assert.equal(a.addresses.size, 0);
});

test("an advert that is refused makes nobody a predecessor, and takes no VIP away", () => {
  const wire = new Wire();
  const other = wire.add("other", one(instance(9, 200, { version: 2 })));
  wire.run(6000);
  assert.equal(other.phase, "master");
  const b = wire.add("b", one(instance(3, 100)), [vip]);
  b.failover.track("web", 0, "uplink", wire.nowMs);
  wire.run(3000);
  assert.ok(b.addresses.has(vip), "nobody of its own virtual router is heard");
  b.failover.track("web", 0, undefined, wire.nowMs);
  wire.run(6000);
  assert.equal(b.phase, "master");
  assert.deepEqual([b.relays, said(b, "succeeding")], [[], []]);
  const third = wire.add("third", one(instance(4, 50)));
  wire.run(3000);
  b.failover.switchOver(undefined, wire.nowMs);
  until(wire, () => third.addresses.has(vip));
  assert.deepEqual([...new Set(third.relays.map((r) => r.to))], [ipv4("10.0.0.3")], "the twin: one that counts");
});

test("an owner that stops hears its successor, though an owner discards what others say", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 255)));
  const b = wire.add("b", one(instance(3, 100)));
  wire.run(2000);
  a.failover.heardArp = () => {}; // the successor's announcement is lost
  a.failover.stop(wire.nowMs);
  until(wire, () => b.addresses.has(vip));
  assert.ok(until(wire, () => !a.addresses.has(vip)) <= graceMs + 5);
});

test("a second master is told once a minute, and each is told", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150, { intervalMs: 100 })));
  wire.run(1000);
  const deaf = (last: number): void => {
    const advert = { version: 3, vrid: 51, priority: 100, intervalMs: 100, addresses: [vip] } as const;
    const around = { source: ipv4(`10.0.0.${last}`), destination: VRRP_GROUP };
    a.failover.heardVrrp("eth0", vrrpPacket(advert, around, "message"), wire.nowMs);
  };
  const minute = (sources: readonly number[]): number => {
    a.events.length = 0;
    for (let i = 0; i < 600; i++) {
      wire.run(100);
      deaf(sources[i % sources.length] as number);
    }
    return said(a, "vrrpConflict").length;
  };
  assert.equal(minute([8]), 1);
  assert.equal(minute([8]), 1, "still there a minute later");
  assert.equal(minute([8, 9]), 2);
});

test("who never hears us is announced against at once, and then seldom; no claim is the last word", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150, { intervalMs: 100 })));
  wire.add("tap", { groups: [], sole: [] });
  wire.run(2000);
  const claim = (): void => {
    const advert = { version: 3, vrid: 51, priority: 100, intervalMs: 100, addresses: [vip] } as const;
    const around = { source: ipv4("10.0.0.8"), destination: VRRP_GROUP };
    a.failover.heardVrrp("eth0", vrrpPacket(advert, around, "message"), wire.nowMs);
  };
  const framesOf = (claims: number): number => {
    const before = a.announcements;
    for (let i = 0; i < claims; i++) {
      claim();
      wire.run(100);
    }
    return a.announcements - before;
  };
  const before = a.announcements;
  claim();
  assert.equal(a.announcements - before, 2, "both forms at once");
  assert.equal(said(a, "vrrpConflict").length, 1);
  framesOf(599);
  // Two rounds of two frames each ten seconds.
  const minute = framesOf(600);
  assert.ok(minute > 0 && minute <= 28, `${minute} frames in a minute`);
  wire.run(40_000);
  assert.equal(framesOf(1), 4, "after some quiet the first is answered at once again");
});

test("one stray claim to the VIP is a conflict in the status for some minutes, not for as long as we are master", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)));
  wire.run(6000);
  const stray = {
    senderMac: mac("02:00:00:00:00:66"),
    senderIp: vip,
    targetMac: mac("02:00:00:00:00:02"),
    targetIp: router,
  };
  a.failover.heardArp("eth0", { operation: 2, ...stray }, wire.nowMs);
  const conflicts = (laterMs: number): number | undefined => a.failover.status(wire.nowMs + laterMs)[0]?.conflicts;
  assert.equal(conflicts(1000), 1);
  assert.equal(conflicts(600_000), 0);
});

test("a VIP that somebody takes away while we are master is put back and announced; others' addresses are not ours", () => {
  const { wire, a } = pair();
  a.addresses.delete(vip);
  a.failover.addressRemoved("eth0", vip, wire.nowMs);
  a.failover.addressRemoved("eth0", ipv4("10.0.0.77"), wire.nowMs);
  assert.deepEqual([...a.addresses], [vip]);
  assert.ok(a.events.some((e) => e.kind === "note" && e.code === "vip-restored"));
});

test("a cluster of one director holds its VIPs, and keeps them when it stops", () => {
  const wire = new Wire();
  const { announcer } = instance(2, 150);
  const a = wire.add("a", { groups: [], sole: [{ name: "eth0", link: "eth0", vips: [vip], announcer }] });
  assert.equal(wire.holders(), "a");
  a.failover.stop(wire.nowMs);
  assert.ok(a.failover.stopped);
  assert.equal(wire.holders(), "a");
});

test("reload: an instance that is gone gives its VIPs back, one that stays is not touched", () => {
  const { wire, a } = pair();
  const events = a.events.length;
  a.failover.reload(one(instance(2, 150)), () => new Map(), wire.nowMs);
  assert.equal(a.events.length, events);
  assert.equal(wire.holders(), "a");
  a.failover.reload({ groups: [], sole: [] }, () => new Map(), wire.nowMs);
  assert.equal(a.addresses.size, 0);
  const last = a.events.findLast((e) => e.kind === "transition");
  assert.equal(last?.kind === "transition" && last.to, "initialize", "it is told that it is over");
  assert.equal(a.failover.deadlineMs, Number.POSITIVE_INFINITY);
});

test("reload: an instance of another name begins anew: it waits its time, and finds nothing from before", () => {
  const wire = new Wire();
  const a = wire.add("a", one(instance(2, 150)));
  wire.run(6000);
  assert.equal(a.phase, "master");
  a.events.length = 0;
  const renamed = one(instance(2, 150, { name: "shop" }));
  a.failover.reload(renamed, () => new Map([["eth0", new Set(a.addresses)]]), wire.nowMs);
  assert.equal(said(a, "note").filter((e) => e.kind === "note" && e.code === "adopted").length, 0);
  assert.equal(a.addresses.size, 0);
  wire.run(3000);
  assert.equal(a.phase, "backup", "three intervals and the skew");
  wire.run(1000);
  assert.equal(wire.holders(), "a");
});

test("whatever comes off the wire is counted and changes nothing", () => {
  const { wire, a } = pair();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
      a.failover.heardVrrp("eth0", octets, wire.nowMs);
      assert.equal(a.phase, "master");
    }),
  );
  assert.ok(Object.values(a.failover.strays).reduce((x, y) => x + y, 0) > 0);
});
