import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, beforeEach, test } from "node:test";
import { ipv4 } from "../../base/ipv4.ts";
import { prefix } from "../../base/prefix.ts";
import { difference, type TableChange } from "../../machine/difference.ts";
import { keyOf, type TableRealServer, type TableService } from "../../machine/table.ts";
import type { Engine, TableEngine } from "../../ports/engine.ts";
import { testsInVm } from "../../testing/vm.ts";
import { createNamespace, type Namespace, removeNamespace } from "../namespace.ts";
import { openRtnetlink } from "../rtnetlink.ts";
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

testsInVm(import.meta.url, "the IPVS engine by difference, on a kernel that has it", () => {
  let ns: Namespace;
  let engine: Engine & TableEngine;
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
    ns = createNamespace("vw-engine");
    const rt = openRtnetlink(ns);
    rt.setLink("lo", { up: true });
    rt.createDummy("d0");
    rt.setLink("d0", { up: true });
    rt.addAddress("d0", { prefix: prefix("10.0.0.254/24") });
    rt.close();
    engine = ipvsEngine(ns);
  });
  after(() => {
    engine?.close();
    ns?.close();
    removeNamespace("vw-engine");
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

  test("the lab's face: what is programmed stands, is counted, and clears", () => {
    const one = { vip, protocol: 6, port: 80, scheduler: "rr", realServers: [server(1), server(2)] };
    engine.program([one]);
    assert.equal(engine.counts().length, 2);
    engine.program([{ ...one, realServers: [server(2)] }]);
    assert.equal(saved().length, 2);
    engine.clear();
    assert.deepEqual(saved(), []);
  });
});
