import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import { applyChanges, type TableChange } from "../machine/difference.ts";
import { keyOf, type TableService } from "../machine/table.ts";
import type { PhaseName } from "../machine/vrrpTypes.ts";
import type { GateWish, OwnRules, TableEngine } from "../ports/engine.ts";
import type { FailoverEvent } from "../ports/failover.ts";
import type { ProbeAction } from "../ports/probes.ts";
import { ARP_REPLY } from "../wire/arp.ts";
import { Director } from "./director.ts";
import type { AgentEvent } from "./event.ts";
import { settleMs } from "./failover.ts";

interface Change {
  readonly servers?: number;
  readonly extra?: string;
  readonly services?: readonly string[];
  readonly service?: string;
  readonly onFailure?: string;
  readonly health?: string;
}
const tcpEachSecond = "[{ type: tcp, port: 80, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 1 }]";
function clusterOf(change: Change = {}): Cluster {
  const { servers = 4, extra = "", services = ["80"], service = "", onFailure = "remove" } = change;
  const { health = tcpEachSecond } = change;
  const names = Array.from({ length: servers }, (_, i) => `web${i + 1}: 10.0.0.${11 + i}`).join(", ");
  const text = `version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: 10.0.0.2, lb2: 10.0.0.3 }
realServers: { ${names} }
vips: { web: 10.0.0.100 }
services:
${services.map((port) => `  - { vip: web, port: ${port}, scheduler: rr, onFailure: ${onFailure}${service}, health: ${health} }`).join("\n")}
failover: { vrrp: { id: 7 } }
${extra}
`;
  const read = parseCluster(text, { fileName: "test.yaml" });
  assert.ok(read.ok, read.ok ? "" : JSON.stringify(read.problems));
  return read.cluster;
}

/** A director on a table in memory; real servers answer a connect unless they are in `dead`. */
class Bench {
  nowMs = 0;
  table: readonly TableService[] = [];
  readonly dead = new Set<string>();
  readonly deadPorts = new Set<number>();
  readonly events: AgentEvent[] = [];
  readonly tracked: string[] = [];
  readonly batches: number[] = [];
  /** Refuses the next change, as if somebody else had been quicker. */
  refuseNext: (() => void) | undefined;
  /** What the host answers when rules or daemons are made; undefined: that they stand. */
  refusing: string | undefined;
  readonly gates: GateWish[] = [];
  /** How many marks, each time that they were made. */
  readonly marks: number[] = [];
  /** What others have taken away since it was made. */
  readonly lost = new Set<OwnRules>();
  readonly told: string[] = [];
  /** Of connection sync: those that run, each time that they were others. */
  readonly daemons: string[] = [];
  backupOnly = false;
  expiresQuiescent = false;
  connections = 0;
  readonly #answers: (() => void)[] = [];
  readonly director: Director;
  readonly engine: TableEngine;
  cluster: Cluster;

  constructor(
    cluster: Cluster,
    before: {
      readonly table?: readonly TableService[];
      readonly owned?: readonly string[];
      readonly refusing?: string;
      readonly drained?: readonly { service: string; server: string }[];
    } = {},
  ) {
    const { table = [], owned = [], drained = [], refusing } = before;
    this.table = table;
    this.cluster = cluster;
    this.refusing = refusing;
    const isBackupOnly = (): boolean => this.backupOnly;
    const isExpiring = (): boolean => this.expiresQuiescent;
    const engine: TableEngine = {
      get backupOnly() {
        return isBackupOnly();
      },
      get expiresQuiescent() {
        return isExpiring();
      },
      read: () => ({
        services: this.table,
        traffic: new Map(
          this.table.map((s) => [
            keyOf(s),
            new Map(
              s.realServers.map((r) => [
                `10.0.0.${r.rip & 0xff}:${r.port}`,
                {
                  activeConnections: this.connections,
                  inactiveConnections: 0,
                  connections: 0,
                  packets: 0,
                  octets: 0,
                  connectionRate: 0,
                  packetRate: 0,
                  octetRate: 0,
                },
              ]),
            ),
          ]),
        ),
      }),
      apply: (changes) => {
        const refuse = this.refuseNext;
        this.refuseNext = undefined;
        if (refuse !== undefined) {
          refuse();
          return changes.map((change) => ({ change, why: "the service has this real server already", remedy: "" }));
        }
        if (changes.length > 0) this.batches.push(changes.length);
        this.table = applyChanges(this.table, changes);
        return [];
      },
      mark: (rules) => {
        this.marks.push(rules.length);
        if (this.refusing === undefined) this.lost.delete("marks");
        return this.refusing;
      },
      gate: (wish) => {
        this.gates.push(wish);
        if (this.refusing === undefined) this.lost.delete("gate");
        return this.refusing;
      },
      lost: () => [...this.lost],
      tellConnections: (way) => void this.told.push(way === undefined ? "end" : "begin"),
      synchronise: (daemons) => {
        if (this.refusing !== undefined) return [this.refusing];
        const roles = daemons.map((d) => d.role).join();
        if (roles !== this.daemons.at(-1)) this.daemons.push(roles);
        return [];
      },
      close: () => {},
    };
    this.engine = engine;
    let dice = 0;
    this.director = new Director({
      ports: {
        engine,
        probes: { perform: (attempt, action) => this.#perform(attempt, action) },
        sendFrame: () => {},
        macOf: () => mac("02:00:00:00:00:02"),
        track: (instance, delta, fault) => void this.tracked.push(`${instance} ${delta} ${fault ?? ""}`),
        saveOwned: () => {},
      },
      owned,
      drained,
      random: () => {
        dice = (dice + 0.37) % 1;
        return dice;
      },
      sha256: () => "",
      matches: () => true,
      report: (event) => void this.events.push(event),
    });
    this.director.links([["eth0", true]], 0);
    const loaded = this.load(cluster);
    assert.ok(loaded.ok);
  }
  load(cluster: Cluster, force = false) {
    const host = cluster.directors[0];
    assert.ok(host);
    this.cluster = cluster;
    return this.director.load(cluster, host, { force }, this.nowMs);
  }
  #perform(attempt: number, action: ProbeAction): void {
    if (action.kind !== "connect") return;
    const name = this.cluster.realServers.find((r) => r.rip === action.address)?.name ?? "";
    if (!this.dead.has(name) && !this.deadPorts.has(action.port))
      this.#answers.push(() => this.director.probe(attempt, { kind: "connected" }, this.nowMs));
  }
  run(forMs: number): this {
    const endMs = this.nowMs + forMs;
    while (this.nowMs < endMs) {
      this.nowMs += 1;
      for (const answer of this.#answers.splice(0)) answer();
      if (this.director.deadlineMs <= this.nowMs) this.director.tick(this.nowMs);
    }
    return this;
  }
  weights(at = 0): string {
    return (this.table[at]?.realServers ?? []).map((r) => `${(r.rip & 0xff) - 10}:${r.weight}`).join(" ");
  }
  codes(): string[] {
    return this.events.map((e) => e.code);
  }
}

test("servers come in by their first good check; one that fails goes, and comes back", () => {
  const bench = new Bench(clusterOf());
  assert.equal(bench.weights(), "1:0 2:0 3:0 4:0");
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 2:1 3:1 4:1");
  bench.dead.add("web2");
  bench.run(2000);
  assert.equal(bench.weights(), "1:1 3:1 4:1");
  bench.dead.clear();
  bench.run(2000);
  assert.equal(bench.weights(), "1:1 3:1 4:1 2:1");
  assert.ok(bench.codes().includes("health/down") && bench.codes().includes("health/up"));
});

test("a broken checker empties nothing: the share goes, the rest stays, the alarm is raised, a person lets them go", () => {
  const bench = new Bench(clusterOf()).run(1500);
  for (const name of ["web1", "web2", "web3", "web4"]) bench.dead.add(name);
  bench.run(3000);
  assert.equal(bench.table[0]?.realServers.length, 2);
  assert.ok(bench.codes().includes("health/kill-switch"));
  const [name] = bench.cluster.services.map((s) => s.name);
  assert.ok(bench.director.releaseKillSwitch(name ?? "", bench.nowMs));
  assert.equal(bench.table[0]?.realServers.length, 0);
  assert.ok(bench.codes().includes("health/quorum-lost"));
});

test("a restart finds its table and touches nothing while nothing is known yet", () => {
  const first = new Bench(clusterOf()).run(1500);
  const second = new Bench(clusterOf(), { table: first.table, owned: first.table.map(keyOf) });
  for (const { weight, wantedWeight } of second.director.services(0).services.flatMap((s) => s.servers))
    assert.deepEqual([weight, wantedWeight], [1, 1], "and status calls nothing wrong");
  assert.deepEqual(second.run(1500).batches, []);
});

test("a restart while the sorry server serves leaves it in until it is known whether it is needed; none is put there", () => {
  const cluster = clusterOf({ service: ", sorryServer: 10.0.0.50" });
  const first = new Bench(cluster);
  assert.doesNotMatch(first.weights(), /40:/, "nothing is known yet, and nothing served before");
  for (const name of ["web1", "web2", "web3", "web4"]) first.dead.add(name);
  first.run(4000);
  first.director.releaseKillSwitch(cluster.services[0]?.name ?? "", first.nowMs);
  assert.equal(first.run(100).weights(), "40:1");
  const again = () => new Bench(cluster, { table: first.table, owned: first.table.map(keyOf) });
  const second = again();
  assert.match(second.weights(), /40:1/);
  const [service] = second.director.services(second.nowMs).services;
  assert.deepEqual(
    service?.servers.flatMap((s) => (s.health === "sorry" ? [`${s.address} ${s.weight} ${s.why}`] : [])),
    ["10.0.0.50:80 1 it served before the restart"],
  );
  assert.equal(second.run(2500).weights(), "1:1 2:1 3:1 4:1", "they are back: it goes");
  const third = again();
  for (const name of first.dead) third.dead.add(name);
  third.run(4000);
  third.director.releaseKillSwitch(service?.name ?? "", third.nowMs);
  assert.equal(third.run(100).weights(), "40:1", "they are not");
});

test("services of others are left and told once; ours that left the file go", () => {
  const bench = new Bench(clusterOf({ services: ["80", "81", "82"] }));
  const foreign = { vip: ipv4("10.0.0.100"), protocol: 6, port: 999, scheduler: "rr", realServers: [] };
  bench.table = [...bench.table, foreign];
  const loaded = bench.load(clusterOf({ services: ["80", "81"] }));
  assert.ok(loaded.ok);
  bench.run(1500); // a reload trusts the last reading, and looks again a second later
  assert.deepEqual(
    bench.table.map((s) => ("port" in s ? s.port : 0)),
    [80, 81, 999],
  );
  assert.equal(bench.codes().filter((c) => c === "table/foreign").length, 1);
  bench.load(clusterOf({ services: ["80", "81"] }));
  assert.equal(bench.codes().filter((c) => c === "table/foreign").length, 1);
});

test("a reload that would delete too much is refused as a whole, unless forced", () => {
  const bench = new Bench(clusterOf({ services: ["80", "81", "82", "83"] })).run(1500);
  const before = bench.table;
  const refused = bench.load(clusterOf({ services: ["80"] }));
  assert.ok(!refused.ok && /75|3 of 4/.test(refused.why), JSON.stringify(refused));
  assert.deepEqual(bench.table, before);
  bench.run(1500);
  assert.equal(bench.table.length, 4, "the old file stays in force");
  assert.ok(bench.load(clusterOf({ services: ["80"] }), true).ok);
  assert.equal(bench.table.length, 1);
});

test("the same file at a start, after a crash: the agent runs, what would go stays and is an alarm until it is forced", () => {
  const first = new Bench(clusterOf({ services: ["80", "81", "82", "83"] })).run(1500);
  const few = clusterOf({ services: ["80"] });
  const bench = new Bench(few, { table: first.table, owned: first.table.map(keyOf) });
  bench.run(35_000);
  assert.deepEqual(bench.table, first.table);
  assert.equal(bench.codes().filter((c) => c === "table/spared").length, 1);
  const problems = () => bench.director.problems().map((p) => p.text);
  assert.match(problems().join(), /^3 of 4 services would be removed/);
  assert.equal(bench.load(few).ok, false, "a reload does not take them unasked either");
  assert.equal(problems().length, 1);
  assert.ok(bench.load(few, true).ok);
  assert.equal(bench.table.length, 1);
  assert.deepEqual(problems(), []);
});

test("what the kernel refuses beside the table, and is an alarm, is a problem as long as it stands", () => {
  const bench = new Bench(clusterOf({ services: ["8000-8010"] }), { refusing: "no nft" });
  assert.match(
    bench.director
      .problems()
      .map((p) => p.text)
      .join(),
    /cannot be marked.*no nft/,
  );
  bench.refusing = undefined;
  assert.deepEqual(bench.run(31_000).director.problems(), []);
});

test("what else a file asks for is made ready once, not for one that is refused, and before anything of it is in force", () => {
  const bench = new Bench(clusterOf({ services: ["80", "81", "82", "83"] })).run(1500);
  const before = bench.table;
  const ready: number[] = [];
  const load = (services: string[], prepare = () => void ready.push(bench.table.length)) => {
    const cluster = clusterOf({ services });
    const [host] = cluster.directors;
    assert.ok(host);
    return bench.director.load(cluster, host, { force: false, prepare }, bench.nowMs);
  };
  assert.equal(load(["80"]).ok, false);
  assert.deepEqual(ready, []);
  const fails = (): never => {
    throw new RangeError("no such link");
  };
  assert.throws(() => load(["80", "81"], fails), RangeError);
  bench.run(1500);
  assert.deepEqual(bench.table, before, "the old file stays in force");
  assert.ok(load(["80", "81"]).ok);
  assert.deepEqual(ready, [4]);
});

test("a reload with one weight changed is one change", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.batches.length = 0;
  const next = clusterOf({ service: ", realServers: { web1: 5, web2: 1, web3: 1, web4: 1 }" });
  assert.ok(bench.load(next).ok);
  assert.deepEqual(bench.batches, [1]);
  assert.equal(bench.weights(), "1:5 2:1 3:1 4:1");
});

const checkOf = (intervalMs: number, port = 80, fall = 1): string =>
  `{ type: tcp, port: ${port}, intervalMs: ${intervalMs}, timeoutMs: 500, rise: 1, fall: ${fall} }`;

test("a reload that changes when a check is made keeps every server in: no quorum is lost, no sorry server comes", () => {
  const of = (intervalMs: number): Cluster => {
    const health = `[${checkOf(intervalMs, 80, 3)}]`;
    const cluster = clusterOf({ servers: 2, service: ", sorryServer: 10.0.0.50", health });
    const [instance] = cluster.failover.instances;
    assert.ok(instance);
    const track = [{ type: "quorum" as const, service: cluster.services[0]?.name ?? "", weight: 0 }];
    return { ...cluster, failover: { ...cluster.failover, instances: [{ ...instance, track }] } };
  };
  const bench = new Bench(of(1000)).run(2500);
  const told = bench.tracked.length;
  bench.batches.length = 0;
  assert.ok(bench.load(of(2000)).ok);
  bench.run(5000);
  assert.deepEqual(bench.batches, []);
  assert.ok(!bench.codes().includes("health/quorum-lost"));
  assert.deepEqual(
    bench.tracked.slice(told).filter((t) => /quorum/.test(t)),
    [],
    "and no VIP moves",
  );
  bench.dead.add("web1");
  assert.ok(bench.load(of(2500)).ok);
  bench.run(3100); // a bad answer, or two: not the first ever, which would count alone
  assert.equal(bench.weights(), "1:1 2:1");
  bench.run(6000);
  assert.equal(bench.weights(), "2:1");
});

test("a reload that adds a check, or a VIP, keeps what is up until it is asked, and then that answer decides", () => {
  const bench = new Bench(clusterOf({ health: `[${checkOf(1000)}]` })).run(2500);
  bench.deadPorts.add(81);
  bench.batches.length = 0;
  assert.ok(bench.load(clusterOf({ health: `[${checkOf(1000)}, ${checkOf(1000, 82)}]` })).ok);
  const known = bench.director.health.view(bench.nowMs).flatMap((s) => s.servers.map((server) => server.health));
  assert.deepEqual(known, ["up", "up", "up", "up"]);
  bench.run(2500);
  assert.deepEqual(bench.batches, []);
  assert.ok(bench.load(clusterOf({ health: `[${checkOf(1000)}, ${checkOf(1000, 81, 9)}]` })).ok);
  assert.equal(bench.weights(), "1:1 2:1 3:1 4:1");
  bench.run(1500);
  assert.equal(bench.table[0]?.realServers.length, 2, "the first answers take out what the kill-switch lets go");
  assert.ok(!bench.codes().includes("health/quorum-lost"));
});

test("a reload that brings other machines loses no quorum before they are asked", () => {
  const moved = (cluster: Cluster, by: number): Cluster => {
    const to = new Map(cluster.realServers.map((r) => [r.name, { ...r, rip: (r.rip + by) as typeof r.rip }]));
    const at = <T extends { readonly name: string }>(r: T) => to.get(r.name) ?? r;
    const services = cluster.services.map((s) => ({
      ...s,
      destinations: s.destinations.map((d) => ({ ...d, realServer: at(d.realServer) })),
    }));
    return { ...cluster, realServers: [...to.values()], services } as Cluster;
  };
  const bench = new Bench(clusterOf()).run(2500);
  assert.ok(bench.load(moved(clusterOf(), 100)).ok);
  assert.equal(bench.weights(), "101:0 102:0 103:0 104:0", "nobody knows them");
  assert.ok(!bench.codes().includes("health/quorum-lost"));
  for (const { name } of bench.cluster.realServers) bench.dead.add(name);
  while (!bench.codes().includes("health/down") && bench.nowMs < 10_000) bench.run(1);
  assert.ok(!bench.codes().includes("health/quorum-lost"), "the first one is dead: three may be well");
  bench.run(2500);
  bench.director.releaseKillSwitch(bench.cluster.services[0]?.name ?? "", bench.nowMs);
  assert.ok(bench.codes().includes("health/quorum-lost"), "all of them were asked, and none answered");
});

test("a reload that asks for more than there is loses the quorum at once", () => {
  const bench = new Bench(clusterOf()).run(2500);
  bench.dead.add("web4");
  bench.run(2500);
  assert.ok(bench.load(clusterOf({ service: ", quorum: { minimum: 3 }" })).ok);
  assert.ok(!bench.codes().includes("health/quorum-lost"), "the twin: as many as there are");
  assert.ok(bench.load(clusterOf({ service: ", quorum: { minimum: 4 }" })).ok);
  assert.ok(bench.codes().includes("health/quorum-lost"));
});

test("drain: weight 0 until the connections have ended, then out; undrain brings it back", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.connections = 3;
  assert.equal(bench.director.drain("web1", undefined, 60_000, "test", bench.nowMs).length, 1);
  assert.equal(bench.weights(), "1:0 2:1 3:1 4:1");
  bench.run(5000);
  assert.equal(bench.weights(), "1:0 2:1 3:1 4:1", "connections are still open");
  bench.connections = 0;
  bench.run(2000);
  assert.equal(bench.weights(), "2:1 3:1 4:1");
  bench.director.undrain("web1", undefined, bench.nowMs);
  assert.equal(bench.weights(), "2:1 3:1 4:1 1:1");
  assert.deepEqual(bench.director.drain("nobody", undefined, undefined, "test", bench.nowMs), []);
});

test("a drain that is asked for again takes the new time, from now", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.connections = 3;
  bench.director.drain("web1", undefined, undefined, "first", bench.nowMs);
  bench.director.drain("web1", undefined, 5000, "quicker", bench.nowMs);
  bench.run(7000);
  assert.equal(bench.weights(), "2:1 3:1 4:1");
});

test("a failed server drains, too: weight 0 while its connections last, then out, and back when it is well", () => {
  const bench = new Bench(clusterOf({ onFailure: "drain", service: ", drainTimeoutMs: 20000" })).run(1500);
  bench.connections = 3;
  bench.dead.add("web2");
  bench.run(5000);
  assert.equal(bench.weights(), "1:1 2:0 3:1 4:1", "connections are still open");
  bench.connections = 0;
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 3:1 4:1", "no connections left");
  assert.ok(bench.events.some((e) => e.code === "drain/drained" && /it failed/.test(e.text)));
  bench.dead.clear();
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 3:1 4:1 2:1");
  bench.connections = 3;
  bench.dead.add("web3");
  bench.run(19_000);
  assert.equal(bench.weights(), "1:1 3:0 4:1 2:1");
  bench.run(3000);
  assert.equal(bench.weights(), "1:1 4:1 2:1", "its time is over");
});

test("a failed server that comes back while it drains keeps its place, and the next failure has the whole time", () => {
  const bench = new Bench(clusterOf({ onFailure: "drain", service: ", drainTimeoutMs: 5000" })).run(1500);
  bench.connections = 3;
  bench.dead.add("web1");
  bench.run(4000);
  assert.equal(bench.weights(), "1:0 2:1 3:1 4:1");
  bench.dead.clear();
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 2:1 3:1 4:1");
  bench.dead.add("web1");
  bench.run(4000);
  assert.equal(bench.weights(), "1:0 2:1 3:1 4:1");
});

test("a failed server of a persistent service goes at once where its clients would still be sent to it", () => {
  const of = (service: string): Cluster => clusterOf({ onFailure: "drain", service });
  const persistent = of(", persistence: 300");
  const told = (bench: Bench) => bench.events.filter((e) => e.code === "table/leaving-at-once");
  const afterFailure = (bench: Bench): string => {
    bench.connections = 3;
    bench.dead.add("web2");
    return bench.run(3000).weights();
  };
  const plain = new Bench(of("")).run(1500);
  assert.equal(afterFailure(plain), "1:1 2:0 3:1 4:1", "the twin: nobody has a template");
  assert.equal(told(plain).length, 0);
  const bench = new Bench(persistent).run(1500);
  assert.ok(bench.load(persistent).ok);
  assert.equal(afterFailure(bench), "1:1 3:1 4:1");
  assert.equal(told(bench).length, 1, "once");
  bench.dead.clear();
  bench.run(3000);
  bench.director.drain("web1", undefined, 60_000, "test", bench.nowMs);
  assert.equal(bench.weights(), "1:0 3:1 4:1 2:1", "who is drained by a person is well, and keeps the clients it has");
  bench.director.undrain("web1", undefined, bench.nowMs);
  bench.expiresQuiescent = true;
  assert.ok(bench.load(persistent).ok);
  assert.equal(afterFailure(bench), "1:1 3:1 4:1 2:0");
});

test("what was drained before a restart never has a weight after it, also where nothing is checked", () => {
  const cluster = clusterOf({ health: "none" });
  const [service] = cluster.services.map((s) => s.name);
  const bench = new Bench(cluster, { drained: [{ service: service ?? "", server: "web3" }] });
  assert.equal(bench.weights(), "1:1 2:1 3:0 4:1");
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 2:1 4:1");
});

test("a change refused because somebody else was quicker is made from what stands then, and is no alarm", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.dead.add("web2");
  bench.refuseNext = () => {
    bench.table = bench.table.map((s) => ({ ...s, realServers: s.realServers.filter((r) => r.rip % 256 !== 13) }));
  };
  bench.run(1500);
  assert.equal(bench.weights(), "1:1 4:1 3:1");
  assert.ok(!bench.codes().includes("table/refused"));
});

test("a real server that answers for the VIP is named, and taken out where the file says so", () => {
  const bench = new Bench(clusterOf({ extra: "silenceCheck: { intervalMs: 1000, action: remove }" })).run(1500);
  const own = mac("02:00:00:00:00:11");
  const arp = (senderIp: string) => ({
    operation: ARP_REPLY,
    senderMac: own,
    senderIp: ipv4(senderIp),
    targetMac: mac("02:00:00:00:00:02"),
    targetIp: ipv4("10.0.0.2"),
  });
  const heard = (ip: string): void => bench.director.heardArp("eth0", arp(ip), bench.nowMs);
  heard("10.0.0.11");
  heard("10.0.0.100");
  bench.run(50);
  assert.equal(bench.weights(), "2:1 3:1 4:1");
  assert.ok(bench.events.some((e) => e.code === "silence/broken" && e.subject === "web1"));
  bench.run(6000);
  assert.equal(bench.weights(), "2:1 3:1 4:1 1:1", "silent again");
});

test("what others do to the table is found and put right", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.table = [];
  bench.run(31_000);
  assert.equal(bench.weights(), "1:1 2:1 3:1 4:1");
  assert.ok(bench.codes().includes("table/drift"));
});

test("what the kernel takes and does not keep is told once, and as that: nobody else has done it", () => {
  const bench = new Bench(clusterOf({ service: ", forwarding: tun, tunnel: gre" }));
  const { read } = bench.engine;
  let isOld = true;
  bench.engine.read = (only) => {
    const { services, traffic } = read(only);
    if (!isOld) return { services, traffic };
    const bare = services.map((s) => ({ ...s, realServers: s.realServers.map(({ tunnel: _, ...r }) => r) }));
    return { traffic, services: bare };
  };
  bench.run(95_000);
  const told = () => bench.events.filter((e) => /drift|not-kept/.test(e.code)).map((e) => e.text);
  assert.deepEqual(told(), [
    "the kernel takes a change and does not keep it: tunnel of 10.0.0.11:80 in tcp 10.0.0.100:80, and 3 more such changes",
  ]);
  bench.table = [];
  bench.run(31_000);
  assert.match(told()[1] ?? "", /^somebody else had changed the table: 5 changes/);
  isOld = false;
  bench.run(31_000);
  isOld = true;
  bench.run(31_000);
  assert.equal(told().length, 3, "again after it was well");
});

test("what the kernel refuses is told once for each service, with a count, and again when it was well meanwhile", () => {
  const services = Array.from({ length: 16 }, (_, i) => String(80 + i));
  const bench = new Bench(clusterOf({ services: ["80"] })).run(2500);
  const { apply } = bench.engine;
  const told = () => bench.events.filter((e) => e.code === "table/refused");
  const refuse: TableEngine["apply"] = (changes) =>
    changes.map((change, i) => ({ change, why: `no scheduler in ${keyOf(change.service)} ${i}`, remedy: "" }));
  bench.engine.apply = refuse;
  assert.ok(bench.load(clusterOf({ servers: 80, services, health: "none" })).ok);
  bench.run(95_000);
  assert.equal(told().length, 16);
  assert.match(told()[1]?.text ?? "", /^no scheduler in tcp 10.0.0.100:81 \d+; with it 80 more changes$/);
  bench.engine.apply = apply;
  assert.equal(bench.run(35_000).table[15]?.realServers.length, 80);
  bench.engine.apply = refuse;
  bench.director.drain("web1", undefined, undefined, "test", bench.nowMs);
  assert.equal(told().length, 32);
});

test("an error of the kernel's interface delays a failed server's removal by half a second, not by half a minute", () => {
  const bench = new Bench(clusterOf()).run(1500);
  const { apply } = bench.engine;
  const failOnce = (first: (changes: readonly TableChange[]) => void): void => {
    let faults = 0;
    bench.engine.apply = (changes) => {
      faults++;
      bench.engine.apply = apply;
      first(changes);
      throw new Error("netlink/ENOBUFS");
    };
    while (faults === 0)
      try {
        bench.run(1);
      } catch (error) {
        assert.match(String(error), /ENOBUFS/); // the agent tells it, and goes on
      }
  };
  bench.dead.add("web2");
  failOnce(() => {});
  assert.equal(bench.weights(), "1:1 2:1 3:1 4:1");
  assert.equal(bench.run(510).weights(), "1:1 3:1 4:1");
  bench.dead.add("web3");
  failOnce(apply); // all of it was done, and only the answer is lost
  bench.dead.delete("web3");
  bench.run(2500);
  assert.equal(bench.weights(), "1:1 4:1 3:1");
  assert.ok(!bench.codes().includes("table/refused"), "what stands was read anew");
});

test("a reload whose change of the table fails is in force, and the table follows", () => {
  const bench = new Bench(clusterOf({ services: ["80", "81"] })).run(1500);
  const { apply } = bench.engine;
  bench.engine.apply = () => {
    bench.engine.apply = apply;
    throw new Error("netlink/ETIMEDOUT");
  };
  const loaded = bench.load(clusterOf({ services: ["80", "82"] }));
  assert.ok(loaded.ok && /ETIMEDOUT/.test(String(loaded.fault)), JSON.stringify(loaded));
  bench.run(600);
  assert.deepEqual(
    bench.table.map((s) => ("port" in s ? s.port : 0)),
    [80, 82],
  );
});

test("what changed in health at the very moment of the look is not laid to others", () => {
  const bench = new Bench(clusterOf({ extra: "silenceCheck: { intervalMs: 1000, action: remove }" })).run(29_995);
  const own = mac("02:00:00:00:00:11");
  const asker = { targetMac: mac("02:00:00:00:00:02"), targetIp: ipv4("10.0.0.2") };
  for (const ip of ["10.0.0.11", "10.0.0.100"]) {
    const arp = { operation: ARP_REPLY, senderMac: own, senderIp: ipv4(ip), ...asker };
    bench.director.heardArp("eth0", arp, bench.nowMs);
  }
  bench.run(10); // the look comes before the change that was gathered
  assert.equal(bench.weights(), "2:1 3:1 4:1");
  assert.ok(!bench.codes().includes("table/drift"));
});

test("a lost quorum and a cut link are told to failover as the file weighs them", () => {
  const text = clusterOf().services[0]?.name;
  const cluster = clusterOf();
  const instance = cluster.failover.instances[0];
  assert.ok(instance && text);
  const tracked: Cluster = {
    ...cluster,
    failover: {
      ...cluster.failover,
      instances: [
        {
          ...instance,
          track: [
            { type: "quorum", service: text, weight: -30 },
            { type: "interface", interface: "eth9", weight: 0 },
          ],
        },
      ],
    },
  };
  const bench = new Bench(tracked);
  const last = (): string | undefined => bench.tracked.at(-1)?.replace(instance.name, "x");
  assert.equal(last(), "x 0 interface eth9");
  bench.director.links([["eth9", true]], bench.nowMs);
  assert.equal(last(), "x 0 ");
  for (const name of ["web1", "web2", "web3", "web4"]) bench.dead.add(name);
  bench.run(3000);
  bench.director.releaseKillSwitch(text, bench.nowMs);
  bench.run(100);
  assert.equal(last(), "x -30 ");
});

const passing = (from: PhaseName, to: PhaseName, instance = "main"): FailoverEvent => ({
  kind: "transition",
  instance,
  from,
  to,
  reason: "",
  rule: "",
});

test("the sync daemons run from the first state on, whatever the role: a hand-over may come at any time", () => {
  const bench = new Bench(clusterOf()).run(1500);
  const { director } = bench;
  const pass = (from: PhaseName, to: PhaseName, forMs: number): readonly string[] => {
    director.failover(passing(from, to), bench.nowMs);
    return bench.run(forMs).daemons;
  };
  assert.deepEqual(pass("initialize", "backup", 5), ["master,backup"], "at once");
  assert.deepEqual(pass("backup", "master", 4000), ["master,backup"]);
  assert.deepEqual(pass("master", "backup", 4000), ["master,backup"]);
  assert.deepEqual(pass("backup", "master", 5), ["master,backup"]);
  assert.deepEqual(pass("master", "initialize", settleMs), ["master,backup"], "what still comes here is told");
  assert.deepEqual(pass("initialize", "backup", 4000), ["master,backup"], "back before they ended");
  assert.deepEqual(pass("backup", "initialize", 4000), ["master,backup", ""]);
  assert.deepEqual(pass("initialize", "master", 5), ["master,backup", "", "master,backup"]);
});

test("an instance that a reload takes out is shut down, and leaves nothing behind", () => {
  const bench = new Bench(clusterOf()).run(1500);
  const { director } = bench;
  const names = ["first", "second"];
  for (const instance of names) director.failover(passing("initialize", "backup", instance), bench.nowMs);
  assert.deepEqual([...director.phases.keys()], names);
  // Failover reports the shutdown of what its new configuration does not name (failover.test.ts).
  director.failover(passing("backup", "initialize", "second"), bench.nowMs);
  assert.deepEqual([...director.phases], [["first", "backup"]]);
  assert.deepEqual(bench.run(4000).daemons, ["master,backup"], "the first goes on");
});

test("hand-over: connections are told while any instance leaves", () => {
  const bench = new Bench(clusterOf()).run(1500);
  const { director } = bench;
  for (const instance of ["main", "other"]) director.failover({ kind: "leaving", instance, over: false }, bench.nowMs);
  director.failover({ kind: "leaving", instance: "other", over: true }, bench.nowMs);
  assert.deepEqual(bench.told, ["begin"]);
  director.failover({ kind: "leaving", instance: "main", over: true }, bench.nowMs);
  assert.deepEqual(bench.told, ["begin", "end"]);
});

test("a host that forwards nothing while it receives connections changes its daemons at once", () => {
  const bench = new Bench(clusterOf()).run(1500);
  bench.backupOnly = true;
  for (const [from, to] of [
    ["initialize", "backup"],
    ["backup", "master"],
    ["master", "backup"],
  ] as const) {
    bench.director.failover(passing(from, to), bench.nowMs);
    bench.run(5);
  }
  assert.deepEqual(bench.daemons, ["backup", "master", "backup"]);
});

test("a director that is a real server too: that it would schedule twice is told once, with what ends it", () => {
  const plain = clusterOf({ extra: "" });
  const own = ipv4("10.0.0.2");
  const services = plain.services.map((s) => ({
    ...s,
    destinations: s.destinations.map((d, i) => (i === 0 ? { ...d, realServer: { ...d.realServer, rip: own } } : d)),
  }));
  const told = (bench: Bench) => bench.events.filter((e) => e.code === "table/scheduled-twice");
  assert.equal(told(new Bench(plain).run(1500)).length, 0, "the twin: real servers elsewhere");
  const bench = new Bench({ ...plain, services }).run(65_000);
  assert.equal(told(bench).length, 1);
  assert.match(told(bench)[0]?.remedy ?? "", /backup_only=1$/);
  bench.backupOnly = true;
  bench.run(35_000);
  bench.backupOnly = false;
  bench.run(35_000);
  assert.equal(told(bench).length, 2, "it was well meanwhile");
  const { failover } = plain;
  const unsynced = { ...failover, connectionSync: { ...failover.connectionSync, enabled: false } };
  bench.backupOnly = true;
  bench.load({ ...plain, services, failover: unsynced });
  assert.equal(told(bench).length, 2, "still the same");
  bench.load({ ...plain, services });
  bench.load({ ...plain, services, failover: unsynced });
  assert.match(told(bench)[2]?.remedy ?? "", /connectionSync/);
});

test("the gate: a way to the other director at once, accept: false when the file says so, nothing at the end", () => {
  const bench = new Bench(clusterOf()).run(1500);
  const [vip, peer] = [ipv4("10.0.0.100"), ipv4("10.0.0.3")];
  assert.deepEqual(bench.gates, [{ closed: [], open: [], peers: [peer] }]);
  assert.ok(bench.load({ ...clusterOf(), ...refusing(clusterOf()) }).ok);
  assert.deepEqual(bench.gates.at(-1), { closed: [vip], open: [], peers: [peer] });
  bench.director.stop({ clear: false }, bench.nowMs);
  assert.deepEqual(bench.gates.at(-1), { closed: [], open: [], peers: [] });
});

test("a gate that cannot be made is an alarm where it must be closed, a warning else", () => {
  for (const [cluster, level] of [
    [clusterOf(), "warning"],
    [{ ...clusterOf(), ...refusing(clusterOf()) }, "alarm"],
  ] as const) {
    const bench = new Bench(cluster, { refusing: "no nft" });
    assert.deepEqual(
      bench.events.filter((e) => e.code === "gate/refused").map((e) => e.level),
      [level],
    );
  }
});

test("marks that are refused keep nothing else from being made: told once, and tried again until they stand", () => {
  const range = { services: ["80", '"8000-8010"'] };
  const bench = new Bench(clusterOf()).run(1500);
  bench.refusing = "no nft";
  const loaded = bench.load(clusterOf(range));
  assert.ok(loaded.ok && loaded.changes > 0, "the rest of the file is in force");
  bench.dead.add("web2");
  bench.run(65_000);
  assert.equal(bench.table.length, 2);
  assert.equal(bench.weights(), "1:1 3:1 4:1", "and health goes on");
  assert.equal(bench.codes().filter((c) => c === "marks/refused").length, 1);
  bench.refusing = undefined;
  bench.marks.length = 0;
  assert.deepEqual(bench.run(65_000).marks, [1], "once, and they stand");
});

test("rules of ours that somebody took away are made again, and that is said", () => {
  const bench = new Bench(clusterOf({ services: ['"8000-8010"'] })).run(35_000);
  assert.equal(bench.marks.length + bench.gates.length, 2, "the twin: what stands is left alone");
  for (const what of ["marks", "gate"] as const) bench.lost.add(what);
  bench.run(65_000);
  assert.deepEqual([...bench.lost], []);
  assert.equal(bench.marks.length + bench.gates.length, 4);
  const told = bench.events.filter((e) => e.code === "table/drift").map((e) => e.text);
  assert.match(told.join("\n"), /^.* vipward_marks: .*\n.* vipward_gate: .*$/);
});

test("sync daemons that are refused, or that somebody ended, run after the next look", () => {
  const bench = new Bench(clusterOf());
  bench.refusing = "no such device";
  bench.director.failover(passing("initialize", "backup"), bench.nowMs);
  bench.run(65_000);
  assert.equal(bench.daemons.length, 0);
  assert.equal(bench.codes().filter((c) => c === "sync/refused").length, 1);
  bench.refusing = undefined;
  assert.deepEqual(bench.run(31_000).daemons, ["master,backup"]);
  bench.daemons.push("master");
  assert.equal(bench.run(31_000).daemons.at(-1), "master,backup");
});

test("the link of the sync daemons comes up: they are looked at, for it may be another one of that name", () => {
  const bench = new Bench(clusterOf());
  const { director } = bench;
  director.failover(passing("initialize", "master"), bench.nowMs);
  bench.run(5);
  const goes = (link: string): void => {
    bench.daemons.push("gone");
    for (const isUp of [false, true]) director.links([[link, isUp]], bench.nowMs);
    bench.run(5);
  };
  goes("eth1");
  assert.equal(bench.daemons.at(-1), "gone", "the twin: a link that is not theirs");
  goes("eth0");
  assert.equal(bench.daemons.at(-1), "master,backup");
  director.failover(passing("master", "initialize"), bench.nowMs);
  goes("eth0");
  assert.equal(bench.daemons.at(-1), "gone", "not before the hand-over is over");
  assert.equal(bench.run(4000).daemons.at(-1), "");
});

test("the look does not change the daemons' roles before a hand-over is over", () => {
  const bench = new Bench(clusterOf());
  bench.director.failover(passing("initialize", "master"), bench.nowMs);
  bench.run(29_000);
  bench.director.failover(passing("master", "initialize"), bench.nowMs);
  assert.deepEqual(bench.run(2000).daemons, ["master,backup"]);
  assert.deepEqual(bench.run(1000).daemons, ["master,backup", ""]);
});

/** The same file with `accept: false`. */
const refusing = ({ failover }: Cluster): Pick<Cluster, "failover"> => ({
  failover: { ...failover, instances: failover.instances.map((i) => ({ ...i, accept: false })) },
});
