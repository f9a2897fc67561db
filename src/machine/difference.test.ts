import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { applyChanges, type Difference, type DifferenceOptions, difference, type TableChange } from "./difference.ts";
import {
  fromKernel,
  keyOf,
  type TableRealServer,
  type TableService,
  toKernelServer,
  toKernelService,
} from "./table.ts";

const server = (n: number, weight = 1, more: Partial<TableRealServer> = {}): TableRealServer => ({
  name: `web${n}`,
  rip: ipv4FromNumber(ipv4("10.0.0.0") + n),
  port: 80,
  weight,
  forwarding: "dr",
  ...more,
});
const service = (port: number, realServers: readonly TableRealServer[], scheduler = "wlc"): TableService => ({
  vip: ipv4("10.0.0.100"),
  protocol: 6,
  port,
  scheduler,
  realServers,
});
const options = (owned: readonly TableService[], change: Partial<DifferenceOptions> = {}): DifferenceOptions => ({
  owned: new Set(owned.map(keyOf)),
  maximumDeleteSharePercent: 50,
  force: false,
  ...change,
});
function changesOf(d: Difference): readonly TableChange[] {
  assert.ok(d.ok, d.ok ? "" : d.why);
  return d.changes;
}
const brief = (changes: readonly TableChange[]): string[] =>
  changes.map(
    (c) => `${c.kind}${"server" in c ? ` ${c.server.name}*${c.server.weight}` : ""}${"what" in c ? ` ${c.what}` : ""}`,
  );

test("no difference, no change; one weight, one change", () => {
  const now = [service(80, [server(1), server(2)])];
  assert.deepEqual(changesOf(difference(now, now, options(now))), []);
  const wanted = [service(80, [server(1), server(2, 5)])];
  assert.deepEqual(brief(changesOf(difference(wanted, now, options(now)))), ["editServer web2*5 weight"]);
});

test("more before less: a swap of servers never leaves the service with fewer", () => {
  const now = [service(80, [server(1), server(2, 5)])];
  const wanted = [service(80, [server(2, 1), server(3)])];
  const expected = ["addServer web3*1", "editServer web2*1 weight", "removeServer web1*1"];
  assert.deepEqual(brief(changesOf(difference(wanted, now, options(now)))), expected);
});

test("settings are edited in place: no service is taken out for them", () => {
  const now = [service(80, [server(1)])];
  const wanted = [{ ...service(80, [server(1, 1, { upperThreshold: 9 })], "mh"), schedulerFlags: [1, 2] as const }];
  const expected = ["editServer web1*1 upperThreshold", "editService scheduler,flags"];
  assert.deepEqual(brief(changesOf(difference(wanted, now, options(now)))), expected);
});

test("what is not ours is left and reported; inside our services every server is ours", () => {
  const foreign = service(8080, [server(9)]);
  const now = [service(80, [server(1), server(7)]), foreign];
  const d = difference([service(80, [server(1)])], now, options([now[0] as TableService]));
  assert.deepEqual(brief(changesOf(d)), ["removeServer web7*1"]);
  assert.deepEqual(d.ok && d.foreign.map(keyOf), ["tcp 10.0.0.100:8080"]);
});

test("one that nobody has checked keeps the weight it has, and begins with none", () => {
  const now = [service(80, [server(1, 7)])];
  const wanted = [service(80, [server(1, 0, { unsure: true }), server(2, 0, { unsure: true })])];
  assert.deepEqual(brief(changesOf(difference(wanted, now, options(now)))), ["addServer web2*0"]);
});

test("a reload that would remove more than the share is refused, unless forced; foreign services do not count", () => {
  const now = [80, 81, 82, 83].map((port) => service(port, [server(1)]));
  const foreign = [90, 91, 92, 93].map((port) => service(port, []));
  const half = difference(now.slice(0, 2), [...now, ...foreign], options(now));
  assert.deepEqual(brief(changesOf(half)), ["removeService", "removeService"]);
  const most = difference(now.slice(0, 1), [...now, ...foreign], options(now));
  assert.ok(!most.ok);
  assert.match(most.why, /^3 of 4 services would be removed, more than 50 %/);
  assert.equal(changesOf(difference(now.slice(0, 1), now, options(now, { force: true }))).length, 3);
  assert.equal(changesOf(difference([], [], options([]))).length, 0);
});

test("a wish that names a service twice is our own mistake", () => {
  assert.throws(() => difference([service(80, []), service(80, [])], [], options([])), RangeError);
});

const anyServer = fc
  .record({
    n: fc.integer({ min: 1, max: 6 }),
    weight: fc.nat(3),
    forwarding: fc.constantFrom("dr" as const, "tun" as const, "nat" as const),
    upperThreshold: fc.constantFrom(0, 10),
    tunnel: fc.constantFrom({ type: "ipip" as const }, { type: "gue" as const, port: 6080, checksum: "on" as const }),
  })
  .map(({ n, weight, ...more }) => server(n, weight, more));
const anyTable = fc.uniqueArray(
  fc
    .record({
      port: fc.integer({ min: 1, max: 6 }),
      scheduler: fc.constantFrom("rr", "wlc"),
      servers: fc.uniqueArray(anyServer, { selector: (s) => s.rip, maxLength: 6 }),
    })
    .map(({ port, scheduler, servers }) => service(port, servers, scheduler)),
  { selector: keyOf, maxLength: 6 },
);

test("any table becomes any other, by changes that a kernel takes, none to spare, and nothing that stays is dropped", () => {
  fc.assert(
    fc.property(anyTable, anyTable, (before, wanted) => {
      const all = options(before, { force: true });
      const changes = changesOf(difference(wanted, before, all));
      const after = applyChanges(before, changes);
      assert.deepEqual(changesOf(difference(wanted, after, all)), [], "it is what was wanted");
      const places = (table: readonly TableService[]): Set<string> =>
        new Set(table.flatMap((s) => [keyOf(s), ...s.realServers.map((r) => `${keyOf(s)} ${r.rip}`)]));
      const [had, wants] = [places(before), places(wanted)];
      const weight = (table: readonly TableService[], key: string): number | undefined =>
        table.find((s) => keyOf(s) === key)?.realServers.reduce((sum, r) => sum + r.weight, 0);
      // After every single change: what was there and is wanted is there, with no less weight than before or after.
      for (let i = 1; i <= changes.length; i++) {
        const table = applyChanges(before, changes.slice(0, i));
        const now = places(table);
        for (const key of wanted.map(keyOf)) {
          const [first, last] = [weight(before, key), weight(wanted, key)];
          if (first !== undefined && last !== undefined)
            assert.ok((weight(table, key) ?? 0) >= Math.min(first, last), `${key} has less than before and after`);
        }
        for (const place of had) if (wants.has(place)) assert.ok(now.has(place), place);
      }
      const touched = changes.map((c) => `${keyOf(c.service)} ${"server" in c ? c.server.rip : "-"}`);
      assert.equal(new Set(touched).size, touched.length, "one change for each thing that differs");
    }),
  );
});

test("to the kernel's words and back", () => {
  fc.assert(
    fc.property(anyTable, (table) => {
      const zero = {
        connections: 0n,
        packetsIn: 0n,
        packetsOut: 0n,
        octetsIn: 0n,
        octetsOut: 0n,
        connectionsPerSecond: 0,
        packetsInPerSecond: 0,
        packetsOutPerSecond: 0,
        octetsInPerSecond: 0,
        octetsOutPerSecond: 0,
      };
      const dumped = table.map((s) =>
        fromKernel(
          { ...toKernelService(s), statistics: zero },
          s.realServers.map((r) => ({
            weight: 1,
            upperThreshold: 0,
            lowerThreshold: 0,
            ...toKernelServer(r),
            activeConnections: 0,
            inactiveConnections: 0,
            persistentConnections: 0,
            statistics: zero,
          })),
        ),
      );
      const actual = dumped.flatMap((s) => (s === undefined ? [] : [s]));
      assert.deepEqual(changesOf(difference(table, actual, options(actual, { maximumDeleteSharePercent: 0 }))), []);
    }),
  );
});
