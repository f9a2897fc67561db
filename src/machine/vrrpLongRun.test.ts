import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { seed } from "../testing/seed.ts";
import { decodeVrrp, encodeVrrp, VRRP_GROUP } from "../wire/vrrp.ts";
import { type AnnouncerConfig, announcerDeadlineMs, initialAnnouncer, stepAnnouncer } from "./announcer.ts";
import { initialVrrp, stepVrrp, vrrpDeadlineMs } from "./vrrp.ts";
import type { VrrpConfig, VrrpEvent, VrrpState } from "./vrrpTypes.ts";

// Virtual routers on one LAN, with every fault we could think of, on virtual time. A failure prints the seed.

/** mulberry32. */
function dice(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x100000000;
  };
}

interface Item {
  readonly atMs: number;
  readonly order: number;
  readonly act: () => void;
}
/** A binary heap by time, then by order of arrival. */
class Agenda {
  readonly #heap: Item[] = [];
  #order = 0;
  static before(a: Item, b: Item): boolean {
    return a.atMs !== b.atMs ? a.atMs < b.atMs : a.order < b.order;
  }
  add(atMs: number, act: () => void): void {
    const heap = this.#heap;
    const item = { atMs, act, order: this.#order++ };
    let i = heap.length;
    heap.push(item);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up] as Item;
      if (!Agenda.before(item, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = item;
  }
  take(): Item | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && Agenda.before(heap[child + 1] as Item, heap[child] as Item)) child++;
      if (!Agenda.before(heap[child] as Item, last)) break;
      heap[i] = heap[child] as Item;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

interface Settings {
  readonly hosts: number;
  readonly version: 2 | 3;
  readonly intervalMs: number;
  readonly preempt: boolean;
  readonly preemptDelayMs?: number;
  readonly hours: number;
  readonly faultEveryMs: number;
  readonly equalPriorities?: boolean;
}

const [vip, latencyMs] = [ipv4("10.0.0.100"), 2];
const refreshOf = (s: Settings): number => Math.max(5000, 5 * s.intervalMs);

class Router {
  config: VrrpConfig;
  state: VrrpState = initialVrrp({ linkUp: true });
  announcer = initialAnnouncer;
  readonly announcerConfig: AnnouncerConfig;
  readonly index: number;
  alive = true;
  frozenUntilMs = 0;
  linkUp = true;
  inbox: VrrpEvent[] = [];
  wakeAtMs = Number.POSITIVE_INFINITY;
  constructor(index: number, s: Settings) {
    this.index = index;
    this.config = {
      name: "main",
      version: s.version,
      vrid: 51,
      priority: s.equalPriorities ? 100 : 200 - index * 40,
      intervalMs: s.intervalMs,
      address: ipv4FromNumber(ipv4("10.0.0.1") + index),
      vips: [vip],
      preempt: s.preempt,
      preemptDelayMs: s.preemptDelayMs ?? 0,
      downAdverts: 3,
      accept: true,
      checksum: index === 1 && s.hosts === 2 ? "pseudo-header" : "message", // both forms where there are two
    };
    this.announcerConfig = {
      mac: mac(`02:00:00:00:00:0${index}`),
      count: 3,
      intervalMs: 100,
      refreshMs: refreshOf(s),
      form: "both",
      framesAtOnce: 64,
      neighbours: [],
      verifyWithinMs: 0,
      verifyAttempts: 1,
    };
  }
  get isMaster(): boolean {
    return this.alive && this.state.phase.kind === "master";
  }
}

class Lan {
  readonly #s: Settings;
  readonly #random: () => number;
  readonly #agenda = new Agenda();
  readonly routers: Router[];
  nowMs = 0;
  loss = 0;
  /** `from * 8 + to`: nothing passes. */
  readonly cut = new Set<number>();
  /** When two routers last could not hear each other, or one of them changed, by the pair's number. */
  readonly #disturbedAtMs = new Map<number, number>();
  #anyDisturbedAtMs = 0;
  /** Faults that last: liveness is asked for only when there are none. */
  #open = 0;
  /** Whose MAC a client has for the VIP. */
  neighbour = -1;
  /** Octets seen on the wire, for replays. */
  readonly #seen: { octets: Uint8Array; source: Ipv4; ttl: number }[] = [];
  readonly tally = { faults: 0, adverts: 0, takeOvers: 0, steadyChecks: 0, pairsSeen: 0, dropped: 0, conflicts: 0 };

  constructor(settings: Settings, from: number) {
    this.#s = settings;
    this.#random = dice(from);
    this.routers = Array.from({ length: settings.hosts }, (_, i) => new Router(i, settings));
  }

  #int(below: number): number {
    return Math.floor(this.#random() * below);
  }
  #disturb(): void {
    this.#anyDisturbedAtMs = this.nowMs;
    for (const a of this.routers)
      for (const b of this.routers) this.#disturbedAtMs.set(a.index * 8 + b.index, this.nowMs);
  }

  give(r: Router, event: VrrpEvent): void {
    if (!r.alive) return;
    if (this.nowMs < r.frozenUntilMs) {
      if (event.kind !== "advert" || r.inbox.length < 64) r.inbox.push(event);
      return;
    }
    const wasMaster = r.isMaster;
    const step = stepVrrp(r.config, r.state, event, this.nowMs);
    r.state = step.state;
    if (event.kind === "reload") r.config = event.config;
    for (const effect of step.effects) {
      if (effect.kind === "sendAdvert") {
        this.tally.adverts++;
        const around = { source: r.config.address, destination: VRRP_GROUP };
        this.#broadcast(r, encodeVrrp(effect.advert, around, effect.checksum), 255);
      } else if (effect.kind === "announce") this.#announce(r, { kind: "announce", vips: effect.vips });
      else if (effect.kind === "removeVips") this.#announce(r, { kind: "withdraw", vips: effect.vips });
      else if (effect.kind === "conflict") this.tally.conflicts++;
    }
    if (r.isMaster !== wasMaster) {
      if (r.isMaster) this.tally.takeOvers++;
      for (const o of this.routers) this.#touch(r, o);
    }
    this.#wake(r);
  }
  #touch(a: Router, b: Router): void {
    this.#disturbedAtMs.set(a.index * 8 + b.index, this.nowMs);
    this.#disturbedAtMs.set(b.index * 8 + a.index, this.nowMs);
  }

  #announce(r: Router, event: Parameters<typeof stepAnnouncer>[2]): void {
    const step = stepAnnouncer(r.announcerConfig, r.announcer, event, this.nowMs);
    r.announcer = step.state;
    for (const e of step.effects)
      if (e.kind === "sendGarp" && r.linkUp && this.#random() >= this.loss) this.neighbour = r.index;
    this.#wake(r);
  }

  #wake(r: Router): void {
    const due = Math.max(this.nowMs, Math.min(vrrpDeadlineMs(r.state), announcerDeadlineMs(r.announcer)));
    if (due === Number.POSITIVE_INFINITY || r.wakeAtMs <= due) return;
    r.wakeAtMs = due;
    this.#agenda.add(due + this.#random() * 0.5, () => {
      if (r.wakeAtMs !== due) return;
      r.wakeAtMs = Number.POSITIVE_INFINITY;
      if (!r.alive || this.nowMs < r.frozenUntilMs) return;
      this.#announce(r, { kind: "tick" });
      this.give(r, { kind: "tick" });
      this.#wake(r);
    });
  }

  #broadcast(r: Router, octets: Uint8Array, ttl: number): void {
    if (this.#seen.length < 200) this.#seen.push({ octets, source: r.config.address, ttl });
    else this.#seen[this.#int(200)] = { octets, source: r.config.address, ttl };
    for (const to of this.routers) {
      if (to === r) continue;
      if (!r.linkUp || !to.linkUp || this.cut.has(r.index * 8 + to.index) || this.#random() < this.loss) {
        this.#touch(r, to);
        continue;
      }
      const copies = this.#random() < 0.01 ? 2 : 1;
      for (let i = 0; i < copies; i++) this.#deliver(to, octets, r.config.address, ttl);
    }
  }
  #deliver(to: Router, octets: Uint8Array, source: Ipv4, ttl: number): void {
    this.#agenda.add(this.nowMs + 0.1 + this.#random() * (latencyMs - 0.1), () => {
      const read = decodeVrrp(octets, { source, destination: VRRP_GROUP, ttl });
      if (read.ok) this.give(to, { kind: "advert", advert: { ...read.value, source, ttl } });
      else {
        this.tally.dropped++;
        this.give(to, { kind: "malformed", code: read.code });
      }
    });
  }

  /** A fault that ends by itself, after some time. */
  #lasting(forMs: number, end: () => void): void {
    this.#open++;
    this.#agenda.add(this.nowMs + forMs, () => {
      end();
      this.#open--;
      this.#disturb();
    });
  }

  #fault(): void {
    this.tally.faults++;
    const r = this.routers[this.#int(this.routers.length)] as Router;
    const forMs = 50 + this.#random() ** 3 * 30_000;
    this.#disturb();
    const faults: readonly (() => void)[] = [
      () => {
        if (!r.alive) return;
        r.alive = false; // a crash: nothing is said, and the VIPs are gone with the host
        r.announcer = initialAnnouncer;
        this.#lasting(forMs, () => {
          r.alive = true;
          r.state = initialVrrp({ linkUp: r.linkUp });
          r.frozenUntilMs = 0;
          r.inbox = [];
          this.give(r, { kind: "start" });
        });
      },
      () => {
        this.give(r, { kind: "shutdown" });
        this.#lasting(forMs, () => this.give(r, { kind: "start" }));
      },
      () => {
        r.frozenUntilMs = Math.max(r.frozenUntilMs, this.nowMs + forMs);
        this.#lasting(forMs, () => {
          if (this.nowMs < r.frozenUntilMs) return;
          const queued = r.inbox;
          r.inbox = [];
          // What the socket holds comes before the tick; but not every driver is so careful.
          if (this.#random() < 0.3) this.give(r, { kind: "tick" });
          for (const event of queued) this.give(r, event);
          this.give(r, { kind: "tick" });
          this.#wake(r);
        });
      },
      () => {
        r.linkUp = false;
        this.give(r, { kind: "linkDown" });
        this.#lasting(forMs, () => {
          r.linkUp = true;
          this.give(r, { kind: "linkUp" });
        });
      },
      () => {
        // The switch loses one direction, or both, and the link stays up: the case that makes two masters.
        const both = this.#random() < 0.6;
        for (const o of this.routers) {
          this.cut.add(r.index * 8 + o.index);
          if (both) this.cut.add(o.index * 8 + r.index);
        }
        this.#lasting(forMs, () => this.cut.clear());
      },
      () => {
        this.loss = [0.02, 0.2, 0.6][this.#int(3)] ?? 0;
        this.#lasting(forMs, () => {
          this.loss = 0;
        });
      },
      () => {
        this.give(r, { kind: "trackChanged", priorityDelta: -this.#int(120) });
        this.#lasting(forMs, () => this.give(r, { kind: "trackChanged", priorityDelta: 0 }));
      },
      () => {
        this.give(r, { kind: "trackChanged", priorityDelta: 0, fault: "eth1" });
        this.#lasting(forMs, () => {
          this.give(r, { kind: "trackChanged", priorityDelta: 0 });
        });
      },
      () => {
        // A burst of what was once said, of noise, and of what was routed here.
        for (let i = 0; i < 20; i++) {
          const old = this.#seen[this.#int(this.#seen.length)];
          if (old === undefined) continue;
          const octets = old.octets.slice();
          const how = this.#random();
          if (how < 0.4) octets[this.#int(octets.length)] = this.#int(256);
          const to = this.routers[this.#int(this.routers.length)] as Router;
          this.#deliver(to, how < 0.5 ? octets.subarray(0, this.#int(20)) : octets, old.source, how > 0.9 ? 254 : 255);
        }
        this.#lasting(latencyMs + 1, () => undefined);
      },
      () => {
        if (this.#s.version === 2) return; // there another interval means two masters, by RFC 3768 section 7.1
        const intervalMs = [this.#s.intervalMs, this.#s.intervalMs * 2, this.#s.intervalMs / 2][this.#int(3)] ?? 10;
        this.give(r, { kind: "reload", config: { ...r.config, intervalMs } });
      },
    ];
    faults[this.#int(faults.length)]?.();
  }

  #scheduleFault(): void {
    this.#agenda.add(this.nowMs - Math.log(1 - this.#random()) * this.#s.faultEveryMs, () => {
      this.#fault();
      this.#scheduleFault();
    });
  }

  /** No longer than the winner's interval, and the time a packet takes: its next advert sends the other back. */
  #noTwoMasters(): void {
    for (const a of this.routers)
      for (const b of this.routers) {
        if (a.index >= b.index || !a.isMaster || !b.isMaster || !a.linkUp || !b.linkUp) continue;
        if (this.nowMs < a.frozenUntilMs || this.nowMs < b.frozenUntilMs) {
          this.#touch(a, b);
          continue;
        }
        this.tally.pairsSeen++;
        const forMs = this.nowMs - (this.#disturbedAtMs.get(a.index * 8 + b.index) ?? 0);
        const allowedMs = Math.max(a.config.intervalMs, b.config.intervalMs) + latencyMs + 2;
        assert.ok(
          forMs <= allowedMs,
          `seed ${seed}: ${a.index} and ${b.index} are masters and hear each other for ${forMs} ms at ${this.nowMs} ms`,
        );
      }
  }

  /** Long enough without a fault, there is exactly one, the one that the election names, and neighbours know it. */
  #oneMasterWhenQuiet(): void {
    if (this.#open > 0) return;
    const quietMs = this.nowMs - this.#anyDisturbedAtMs;
    const longestMs = Math.max(...this.routers.map((r) => r.config.intervalMs)) * 2;
    if (quietMs < 12 * longestMs + refreshOf(this.#s) + (this.#s.preemptDelayMs ?? 0) + 3000) return;
    this.tally.steadyChecks++;
    const masters = this.routers.filter((r) => r.isMaster);
    const where = `seed ${seed}: at ${this.nowMs} ms, quiet for ${quietMs} ms, masters ${masters.map((r) => r.index)}`;
    assert.equal(masters.length, 1, where);
    assert.equal(this.neighbour, masters[0]?.index, `${where}, neighbours know ${this.neighbour}`);
    if (!this.#s.preempt) return;
    const best = [...this.routers].sort(
      (x, y) => y.config.priority - x.config.priority || y.config.address - x.config.address,
    )[0];
    // Of equals, the one that is master stays (RFC 9568 section 6.4.2: not lower).
    if (!this.#s.equalPriorities) assert.equal(masters[0], best, where);
  }

  run(): void {
    const endMs = this.#s.hours * 3_600_000;
    for (const r of this.routers) this.give(r, { kind: "start" });
    this.#scheduleFault();
    let askAtMs = 0;
    for (let item = this.#agenda.take(); item !== undefined && item.atMs <= endMs; item = this.#agenda.take()) {
      this.nowMs = Math.max(this.nowMs, item.atMs);
      item.act();
      this.#noTwoMasters();
      if (this.nowMs < askAtMs) continue;
      askAtMs = this.nowMs + 500;
      this.#oneMasterWhenQuiet();
    }
    const { faults, steadyChecks, pairsSeen } = this.tally;
    assert.ok(faults > 10 && steadyChecks > 10 && pairsSeen > 0, JSON.stringify(this.tally));
  }
}

test("72 hours with three directors: no two masters that hear each other for longer than one interval", () => {
  new Lan({ hosts: 3, version: 3, intervalMs: 4000, preempt: true, hours: 72, faultEveryMs: 120_000 }, seed).run();
});

const others: readonly (readonly [string, Settings])[] = [
  ["version 2", { hosts: 2, version: 2, intervalMs: 1000, preempt: true, hours: 3, faultEveryMs: 60_000 }],
  ["nopreempt", { hosts: 3, version: 3, intervalMs: 1000, preempt: false, hours: 3, faultEveryMs: 60_000 }],
  ["intervals of 20 ms", { hosts: 2, version: 3, intervalMs: 20, preempt: true, hours: 0.1, faultEveryMs: 10_000 }],
  [
    "a preempt delay",
    { hosts: 2, version: 3, intervalMs: 100, preempt: true, preemptDelayMs: 4000, hours: 1, faultEveryMs: 40_000 },
  ],
  [
    "equal priorities",
    { hosts: 3, version: 3, intervalMs: 1000, preempt: true, hours: 3, faultEveryMs: 60_000, equalPriorities: true },
  ],
];
for (const [name, settings] of others)
  test(`the same with ${name}`, () => {
    new Lan(settings, seed + 1).run();
  });
