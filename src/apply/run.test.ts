import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { HostFacts } from "../model/facts.ts";
import { type Change, effect, net, undoAll } from "../plan/change.ts";
import { worldOf } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import type { Plan } from "../plan/plan.ts";
import { planNamed } from "../policy/auto.ts";
import type { Wish } from "../policy/wish.ts";
import { Killed, MemoryHost } from "../testing/memoryHost.ts";
import { realServer } from "../testing/realServer.ts";
import "../testing/seed.ts";
import { Journal } from "./journal.ts";
import { decodeRecords, encodeRecord } from "./journalCodec.ts";
import { confirm, inherit, type Outcome, type RunRequest, recover, run, undoEverything } from "./run.ts";

const wish: Wish = { vips: ["10.0.0.100", "10.0.0.101"], forwarding: "tun", carrier: "tunl0", services: [] };
const facts: HostFacts = realServer("6.1.0", {
  modules: ["veth"],
  sysctls: {
    "all.rp_filter": 1,
    "default.rp_filter": 1,
    "lo.rp_filter": 0,
    "eth0.rp_filter": 1,
    "all.arp_ignore": 0,
    "eth0.arp_ignore": 0,
    "eth0.arp_announce": 0,
  },
});

const file = { kind: "file", path: "/etc/vipward.conf", before: null, after: { text: "x\n", mode: 420 } } as const;

const request = (policy: string, w: Partial<Wish> = {}): RunRequest => ({
  direction: "apply",
  paths: ["/etc/vipward.conf"],
  kernel: kernelModel,
  plan: (world, owned): Plan => {
    const keep = () => [{ change: file, why: "kept over a reboot", rules: [] }];
    const choice = planNamed(policy, { world, owned, wish: { ...wish, ...w }, kernel: kernelModel, keep });
    if (choice.policy === "none") throw new Error(choice.considered[0]?.why);
    return (choice as { plan: Plan }).plan;
  },
});

const undoRequest = undoEverything(kernelModel);

const why = (o: Outcome): string => JSON.stringify(o, (k, v) => (k === "plan" ? undefined : v));

/** Null files are files that are not there. */
const state = (host: MemoryHost) => ({
  facts: host.facts,
  files: Object.fromEntries(Object.entries(host.files).filter(([, v]) => v !== null)),
});

for (const policy of ["arp-sysctl", "nft-arp", "local-route", "redirect"])
  test(`${policy}: apply, apply again without one write, undo gives back everything`, async () => {
    const host = new MemoryHost(facts);
    const before = structuredClone(state(host));
    const first = await run(host.ports(), request(policy));
    assert.equal(first.kind, "done", why(first));
    assert.notDeepEqual(state(host), before);
    const { writes } = host;
    const again = await run(host.ports(), request(policy));
    assert.equal(again.kind, "nothing", why(again));
    assert.equal(host.writes, writes);
    const back = await run(host.ports(), undoRequest);
    assert.equal(back.kind, "done", why(back));
    assert.deepEqual(state(host), before);
    assert.deepEqual((await Journal.peek(host.ports().journal)).owned, []);
  });

/** Runs until the process is killed at the n-th call; true when it was. */
async function killedAt(host: MemoryHost, fuel: number, r: RunRequest): Promise<boolean> {
  host.fuel = fuel;
  try {
    await run(host.ports(), r);
    return false;
  } catch (error) {
    if (error instanceof Killed) return true;
    throw error;
  } finally {
    host.restart();
  }
}

const killed: readonly [policy: string, name: string, request: RunRequest][] = [
  ["arp-sysctl", "tunl0", request("arp-sysctl")],
  ["nft-arp", "tunl0", request("nft-arp")],
  // A dummy is made by two operations: between them it is neither as before nor as after.
  ["arp-sysctl", "a new dummy", request("arp-sysctl", { carrier: "dummy", forwarding: "dr" })],
];
for (const [policy, name, asked] of killed)
  test(`${policy} on ${name}: killed before and after every single step, the next run finishes or takes back, and undo is exact`, async () => {
    const whole = new MemoryHost(facts);
    const before = structuredClone(state(whole));
    await run(whole.ports(), asked);
    const after = structuredClone(state(whole));
    let kills = 0;
    const results = new Set<string>();
    for (let fuel = 0; ; fuel++) {
      const host = new MemoryHost(facts);
      if (!(await killedAt(host, fuel, asked))) break;
      kills++;
      const recovered = await recover(host.ports(), kernelModel);
      assert.notEqual(recovered, "busy");
      if (recovered !== undefined && recovered !== "busy") {
        results.add(recovered.result);
        assert.deepEqual(recovered.left, [], `killed at ${fuel}`);
        assert.deepEqual(state(host), recovered.result === "finished" ? after : before, `killed at ${fuel}`);
      }
      assert.equal(await recover(host.ports(), kernelModel), undefined);
      const back = await run(host.ports(), undoRequest);
      assert.ok(["done", "nothing"].includes(back.kind), why(back));
      assert.deepEqual(state(host), before, `killed at ${fuel}, then undone`);
    }
    assert.ok(kills > 30, `only ${kills} places to die`);
    assert.deepEqual(results, new Set(["took back", "finished"]));
  });

test("--confirm killed at every step before the word: always taken back, also when all of it was made", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  let kills = 0;
  for (let fuel = 0; fuel < 1000; fuel++) {
    const host = new MemoryHost(facts);
    const asked = { ...request("arp-sysctl"), confirmMs: 300 };
    host.onSleep = () => {
      host.fuel = 0;
    };
    if (!(await killedAt(host, fuel, asked))) break;
    kills++;
    await recover(host.ports(), kernelModel);
    assert.deepEqual(state(host), before, `killed at ${fuel}`);
    if (host.nowMs > 1_000_000) break; // it had come to the waiting
  }
  assert.ok(kills > 20, `${kills}`);
});

test("undo killed at every step is finished by the next run", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  let kills = 0;
  for (let fuel = 0; ; fuel++) {
    const host = new MemoryHost(facts);
    await run(host.ports(), request("nft-arp"));
    if (!(await killedAt(host, fuel, undoRequest))) break;
    kills++;
    await recover(host.ports(), kernelModel);
    const back = await run(host.ports(), undoRequest);
    assert.ok(["done", "nothing"].includes(back.kind), why(back));
    assert.deepEqual(state(host), before, `killed at ${fuel}`);
  }
  assert.ok(kills > 20);
});

test("the journal torn in every record: the next run sees a whole journal and takes back", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  let tears = 0;
  for (let fuel = 0; ; fuel++) {
    const probe = new MemoryHost(facts);
    if (!(await killedAt(probe, fuel, request("arp-sysctl")))) break;
    for (const tearAt of [1, 7, 30]) {
      const host = new MemoryHost(facts);
      host.tearAt = tearAt;
      await killedAt(host, fuel, request("arp-sysctl"));
      if (decodeRecords(host.journal).tornOctets === 0) break;
      tears++;
      await recover(host.ports(), kernelModel);
      const done = await run(host.ports(), request("arp-sysctl"));
      assert.ok(["done", "nothing"].includes(done.kind), why(done));
      await run(host.ports(), undoRequest);
      assert.deepEqual(state(host), before, `fuel ${fuel}, torn at ${tearAt}`);
    }
  }
  assert.ok(tears > 20, `${tears} tears`);
});

test("a journal cut at every single octet reads as the records before the cut, and appending goes on from there", async () => {
  const host = new MemoryHost(facts);
  await run(host.ports(), request("arp-sysctl"));
  const whole = host.journal;
  const { values } = decodeRecords(whole);
  for (let cut = 0; cut <= whole.length; cut++) {
    const read = decodeRecords(whole.subarray(0, cut));
    assert.equal(read.goodOctets + read.tornOctets, cut);
    assert.ok(read.values.length === values.length || cut < whole.length);
    if (read.tornOctets === 0 || cut % 101 === 0) {
      host.journal = whole.slice(0, cut);
      const journal = await Journal.open(host.ports().journal);
      await journal.append({ type: "intent", run: 9, range: { from: 0, to: 0 } });
      assert.equal(decodeRecords(host.journal).values.length, read.values.length + 1);
    }
  }
});

test("a change that the kernel refuses half way: all of it is taken back, and the reason is named", async () => {
  const host = new MemoryHost(facts);
  const before = structuredClone(state(host));
  host.refuse = (o) => (o.op === "address" && o.ip === "10.0.0.101" ? "no more addresses" : undefined);
  const outcome = await run(host.ports(), request("nft-arp"));
  assert.equal(outcome.kind, "tookBack", why(outcome));
  assert.match(why(outcome), /no more addresses/);
  assert.deepEqual(state(host), before);
});

test("verify reads again: a kernel that says yes and does nothing is found out", async () => {
  const host = new MemoryHost(facts);
  const before = structuredClone(state(host));
  const ports = host.ports();
  const deaf = {
    ...ports,
    performer: {
      perform: (ops: Parameters<typeof ports.performer.perform>[0]) =>
        ports.performer.perform(ops.filter((o) => o.op !== "nft")),
    },
  };
  const outcome = await run(deaf, request("nft-arp"));
  assert.equal(outcome.kind, "tookBack");
  assert.match(why(outcome), /nft table/);
  assert.deepEqual(state(host), before);
});

test("a disk that is full refuses before anything is touched", async () => {
  const host = new MemoryHost(facts);
  const before = structuredClone(state(host));
  const ports = host.ports();
  const full = { ...ports, journal: { ...ports.journal, append: () => Promise.reject(new Error("ENOSPC")) } };
  await assert.rejects(run(full, request("arp-sysctl")), /ENOSPC/);
  assert.deepEqual(state(host), before);
  assert.equal(host.locked, false);
});

test("a disk that becomes full at any write: what was made is taken back, and the next run finds its journal in order", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  for (let room = 0; ; room++) {
    const host = new MemoryHost(facts);
    const ports = host.ports();
    let writes = 0;
    const append = async (octets: Uint8Array): Promise<void> => {
      if (writes++ >= room) throw new Error("ENOSPC");
      return ports.journal.append(octets);
    };
    const outcome = await run({ ...ports, journal: { ...ports.journal, append } }, request("arp-sysctl")).catch(
      (error: Error) => error,
    );
    if (!(outcome instanceof Error)) {
      assert.equal(outcome.kind, "done", why(outcome));
      assert.ok(room > 4);
      return;
    }
    assert.match(outcome.message, /ENOSPC/);
    assert.deepEqual(state(host), before, `room for ${room} writes`);
    await recover(host.ports(), kernelModel);
    assert.equal((await Journal.peek(host.ports().journal)).open, undefined);
    assert.deepEqual(state(host), before);
  }
});

test("two runs at once: the second is told", async () => {
  const host = new MemoryHost(facts);
  host.locked = true;
  assert.equal((await run(host.ports(), request("arp-sysctl"))).kind, "busy");
});

test("--confirm: without the word it is all taken back, with it kept, after a kill only the word counts", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  const late = new MemoryHost(facts);
  const outcome = await run(late.ports(), { ...request("arp-sysctl"), confirmMs: 60_000 });
  assert.equal(outcome.kind, "tookBack");
  assert.match(why(outcome), /not confirmed within 60 s/);
  assert.deepEqual(state(late), before);

  const kept = new MemoryHost(facts);
  const other = kept.ports();
  kept.onSleep = () => void confirm(other);
  const done = await run(kept.ports(), { ...request("arp-sysctl"), confirmMs: 60_000 });
  assert.equal(done.kind, "done");
  assert.notDeepEqual(state(kept), before);

  for (const word of [false, true]) {
    const dead = new MemoryHost(facts);
    dead.onSleep = () => {
      dead.fuel = 0;
    };
    await assert.rejects(run(dead.ports(), { ...request("arp-sysctl"), confirmMs: 60_000 }), Killed);
    dead.restart();
    if (word) assert.equal((await confirm(dead.ports())).kind, "confirmed");
    const recovered = await recover(dead.ports(), kernelModel);
    assert.ok(recovered !== undefined && recovered !== "busy");
    assert.equal(recovered.result, word ? "finished" : "took back");
  }
});

test("while it waits for its word, nothing is there that a reboot would make again; after the word it is", async () => {
  const host = new MemoryHost(facts);
  const other = host.ports();
  const seen: unknown[] = [];
  host.onSleep = () => {
    seen.push(host.files["/etc/vipward.conf"] ?? null);
    void confirm(other);
  };
  const outcome = await run(host.ports(), { ...request("arp-sysctl"), confirmMs: 60_000 });
  assert.equal(outcome.kind, "done", why(outcome));
  assert.ok(seen.length > 0 && seen.every((f) => f === null));
  assert.deepEqual(host.files["/etc/vipward.conf"], file.after);
});

test("killed at every step after the word: the next run finishes it, the part that keeps it too", async () => {
  const asked = { ...request("arp-sysctl"), confirmMs: 60_000 };
  const whole = new MemoryHost(facts);
  const word = (host: MemoryHost): void => {
    host.onSleep = () => void host.confirmations.add(1);
  };
  word(whole);
  await run(whole.ports(), asked);
  let kills = 0;
  for (let fuel = 0; ; fuel++) {
    const host = new MemoryHost(facts);
    word(host);
    if (!(await killedAt(host, fuel, asked))) break;
    if (!host.confirmations.has(1)) continue;
    kills++;
    const recovered = await recover(host.ports(), kernelModel);
    if (recovered !== undefined && recovered !== "busy")
      assert.deepEqual([recovered.result, recovered.left], ["finished", []]);
    assert.deepEqual(state(host), state(whole), `killed at ${fuel}`);
  }
  assert.ok(kills >= 6, `${kills}`);
});

test("the heir of a run that died takes it back: at once when it was half made, at the end of its time when it waited", async () => {
  const before = structuredClone(state(new MemoryHost(facts)));
  const asked = { ...request("arp-sysctl"), confirmMs: 60_000 };
  for (let fuel = 0, half = 0; fuel < 1000; fuel++) {
    const host = new MemoryHost(facts);
    host.onSleep = () => {
      host.fuel = 0;
    };
    assert.equal(await killedAt(host, fuel, asked), true);
    host.onSleep = () => undefined;
    const { open } = await Journal.peek(host.ports().journal);
    const diedAtMs = host.nowMs;
    const recovered = await inherit(host.ports(), 1, kernelModel, () => false);
    assert.deepEqual(state(host), before, `killed at ${fuel}`);
    assert.equal(recovered === undefined, open === undefined);
    const waitedMs = host.nowMs - diedAtMs;
    if (open?.waitingUntilMs === undefined) {
      half++;
      assert.equal(waitedMs, 0);
      continue;
    }
    assert.ok(waitedMs >= 59_000, `after ${waitedMs} ms`);
    assert.ok(half > 10);
    return;
  }
  assert.fail("it never came to the waiting");
});

test("the heir leaves alone what has ended, and what the next run is at; a word that comes after the death is kept", async () => {
  const host = new MemoryHost(facts);
  const asked = { ...request("arp-sysctl"), confirmMs: 60_000 };
  host.onSleep = () => {
    host.fuel = 0;
  };
  await killedAt(host, 1000, asked);
  assert.equal(await inherit(host.ports(), 7, kernelModel, () => false), undefined);
  host.onSleep = () => void host.confirmations.add(1);
  const recovered = await inherit(host.ports(), 1, kernelModel, () => false);
  assert.equal(recovered?.result, "finished");
  assert.deepEqual(host.files["/etc/vipward.conf"], file.after);
});

test("no heir can be had: nothing is changed", async () => {
  const host = new MemoryHost(facts);
  const before = structuredClone(state(host));
  const heirs = { appoint: () => Promise.reject(new Error("no memory")) };
  await assert.rejects(run({ ...host.ports(), heirs }, { ...request("arp-sysctl"), confirmMs: 60_000 }), /no memory/);
  assert.deepEqual(state(host), before);
  assert.equal(host.journal.length, 0);
});

test("what others changed meanwhile is reported and left, the rest is undone", async () => {
  const host = new MemoryHost(facts);
  await run(host.ports(), request("arp-sysctl"));
  host.facts.sysctls = { ...host.facts.sysctls, "eth0.arp_ignore": 8 };
  const back = await run(host.ports(), undoRequest);
  assert.equal(back.kind, "done", why(back));
  assert.equal(host.facts.sysctls["eth0.arp_ignore"], 8);
  assert.equal(host.facts.addresses.length, 2);
  assert.ok(back.kind === "done" && back.plan.changedByOthers.some((t) => t.includes("arp_ignore")));
  assert.deepEqual((await Journal.peek(host.ports().journal)).owned, []);
});

test("a reboot forgot the kernel's part: undo takes the files away and needs nothing else", async () => {
  const host = new MemoryHost(facts);
  await run(host.ports(), request("nft-arp"));
  host.facts = structuredClone(facts);
  const back = await run(host.ports(), undoRequest);
  assert.equal(back.kind, "done", why(back));
  assert.deepEqual(state(host), { facts, files: {} });
  assert.deepEqual((await Journal.peek(host.ports().journal)).owned, []);
});

test("VIPs come and go in later runs without touching the others; another policy takes over; undo is still exact", async () => {
  const host = new MemoryHost(facts);
  const before = structuredClone(state(host));
  const steps: [string, string[], number][] = [
    ["nft-arp", ["10.0.0.100"], 1],
    ["nft-arp", ["10.0.0.100", "10.0.0.101", "10.0.0.102"], 3],
    ["nft-arp", ["10.0.0.101", "10.0.0.102"], 2],
    ["arp-sysctl", ["10.0.0.101"], 1],
  ];
  for (const [policy, vips, count] of steps) {
    const outcome = await run(host.ports(), request(policy, { vips }));
    assert.equal(outcome.kind, "done", why(outcome));
    assert.equal(host.facts.addresses.filter((a) => a.link === "tunl0").length, count);
  }
  assert.deepEqual(host.facts.filters, []);
  await run(host.ports(), undoRequest);
  assert.deepEqual(state(host), before);
});

test("random cuts and flips of a journal never crash the reader, and a cut never invents a record", () => {
  const records = [1, 2, 3].map((n) => ({ type: "done", run: n, range: { from: 0, to: n } }));
  const whole = Uint8Array.from(records.flatMap((r) => [...encodeRecord(r)]));
  fc.assert(
    fc.property(fc.nat(whole.length), fc.nat(255), fc.nat(whole.length - 1), (cut, octet, at) => {
      const short = decodeRecords(whole.slice(0, cut));
      assert.deepEqual(short.values, records.slice(0, short.values.length));
      const flipped = whole.slice();
      flipped[at] = octet;
      const read = decodeRecords(flipped);
      assert.ok(read.values.every((v, i) => JSON.stringify(v) === JSON.stringify(records[i])));
    }),
  );
});

test("net: changes of one thing fold into one, and one that came back is gone", () => {
  const set = (before: number, after: number): Change => ({ kind: "sysctl", name: "all.arp_ignore", before, after });
  assert.deepEqual(net([set(0, 1), set(1, 2)]), [set(0, 2)]);
  assert.deepEqual(net([set(0, 1), set(1, 0)]), []);
  const world = worldOf(facts);
  assert.deepEqual(effect(effect(world, [set(0, 2)]), undoAll([set(0, 2)])), world);
});
