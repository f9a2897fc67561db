/** Switches, trunks, VLANs and cables of the cluster file, on the model. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseCluster } from "../../cluster/index.ts";
import { formatProblem } from "../../cluster/problem.ts";
import { Dice } from "../../sim/dice.ts";
import { framesOf } from "../../testing/pcapng.ts";
import { clusterOfText, scenarioPlotOf, tellScenario } from "../../testing/scenarios.ts";
import { seed } from "../../testing/seed.ts";
import { redOf } from "../../testing/verdicts.ts";
import { methodsOf } from "../spec.ts";
import { addressOn } from "../topology.ts";
import { buildWorld, type World } from "./build.ts";
import { runSimLab } from "./run.ts";
import { runOnce } from "./sample.ts";
import { Scenario, scenarioOptions } from "./scenario.ts";
import { scheduleOf } from "./schedule.ts";

const trunkCut = readFileSync(new URL("../../../examples/trunk-cut.yaml", import.meta.url), "utf8");

test("examples/trunk-cut.yaml: each side has its owner while the trunk is cut, one owner for both after it", async () => {
  const o = await tellScenario(trunkCut);
  const told = o.timeline.map((t) => t.text);
  assert.ok(told.includes("edge's uplink is cut") && told.includes("edge's uplink is mended"), told.join("\n"));
  // only the director behind the trunk notices: nobody else's cable lost its carrier
  assert.ok(told.includes("lb2: backup -> master: 10.10.0.2 no longer heard"), told.join("\n"));
  assert.ok(told.includes("lb2: master -> backup: 10.10.0.2 has priority 150 against our 140"), told.join("\n"));
  assert.deepEqual(o.owners["10.10.0.100"], ["lb1"]);
  assert.equal(o.caches.client?.["10.10.0.100"], "lb1");
  assert.deepEqual(o.breaches, []);
  assert.ok(o.connections.broken > 0, "connections to the server on the other side cannot live");
  assert.ok(o.connections.completed > o.connections.broken);
  const whole = await tellScenario(trunkCut.replace(/ {4}faults:[\s\S]*/, ""));
  assert.deepEqual([whole.connections.broken, whole.connections.refused], [0, 0]);
  assert.deepEqual(Object.keys(whole.connections.servedBy).sort(), ["web1", "web2"]);
});

test("examples/trunk-cut.yaml, tun: the server in VLAN 20 is reached through the router", async () => {
  const o = await tellScenario(trunkCut.replace(/ {4}faults:[\s\S]*/, ""), { method: "tun" });
  assert.deepEqual(Object.keys(o.connections.servedBy).sort(), ["web3", "web4"]);
  assert.deepEqual([o.connections.broken, o.connections.refused, o.breaches.length], [0, 0, 0]);
});

/** The client in VLAN 20: its packets for the VIP come through the router. */
const farClient = trunkCut.replace("client: 10.10.0.200", "client: 10.20.0.200");

test("a capture has the tags of a trunk, each cable by its name, and changes nothing", async () => {
  const cluster = clusterOfText(trunkCut.replace("seconds: 60", "seconds: 20").replace(/ {4}faults:[\s\S]*/, ""));
  const tell = (capture: boolean) => {
    const options = { ...scenarioOptions(cluster, 1, true), capture };
    return new Scenario(cluster, scenarioPlotOf(cluster), options).run();
  };
  const [{ pcap, ...watched }, plain] = [await tell(true), await tell(false)];
  assert.deepEqual(watched, plain);
  const frames = framesOf(pcap?.octets ?? new Uint8Array(28));
  assert.equal(frames.length, pcap?.frames);
  const tags = new Map<string, Set<number>>();
  for (const { cable, octets } of frames) {
    const [high = 0, low = 0, id = 0] = [12, 13, 15].map((at) => octets[at]);
    const seen = tags.get(cable) ?? new Set();
    tags.set(cable, seen.add(high * 256 + low === 0x8100 ? id : 0));
  }
  const untagged = ["client", "lb1", "lb2", "router", "web1", "web2"].map((name) => [`${name} eth0`, [0]] as const);
  const seen = Object.fromEntries([...tags].map(([cable, ids]) => [cable, [...ids].sort()]));
  assert.deepEqual(seen, { ...Object.fromEntries(untagged), "switch-edge <-> switch-core": [10] });
});

test("clients behind the router: the router's cache is the one that counts, and answers come back through it", async () => {
  const o = await tellScenario(farClient.replace(/ {4}faults:[\s\S]*/, ""));
  assert.deepEqual([o.connections.broken, o.connections.refused, o.connections.misrouted], [0, 0, 0]);
  assert.ok(o.connections.completed > 50);
  assert.deepEqual(o.caches, { router: { "10.10.0.100": "lb1" } });
  assert.deepEqual(Object.keys(o.connections.servedBy).sort(), ["web1", "web2"]);
});

const flushAt = (s: number) => ({ atMs: s * 1000, action: "flush" as const, host: "router", name: "", value: 0 });

test("clients behind the router: once it has the wrong MAC, all of them go past the director", async () => {
  const text = farClient.replace(/policy: arp-sysctl/g, "policy: noarp-carrier");
  const cluster = clusterOfText(text);
  const options = { ...scenarioOptions(cluster, 3, false), faults: [1, 2, 3, 4, 5].map((n) => flushAt(10 * n)) };
  const o = await new Scenario(cluster, scenarioPlotOf(cluster), options).run();
  assert.ok(o.connections.misrouted > 0, JSON.stringify(o.connections));
});

for (const forwarding of ["dr", "tun"] as const)
  test(`the lab's story on switches with a trunk, ${forwarding}: every verdict holds`, async () => {
    const { report } = await runSimLab({
      chapters: [{ cluster: clusterOfText(trunkCut), forwarding }],
      cure: "full",
      trafficMs: 1000,
      seed: 1,
      capture: false,
      tell: () => {},
      signal: new AbortController().signal,
    });
    assert.deepEqual(
      report.chapters.flatMap((c) => redOf(c.verdicts)),
      [],
    );
  });

function worldOf(text: string, method: "dr" | "tun" = "dr"): World {
  const cluster = clusterOfText(text);
  return buildWorld(cluster, scenarioPlotOf(cluster, method), { seed: 1 });
}
/** Virtual time until the answer to an echo request; undefined: none within ten seconds. */
function ping(world: World, from: string, to: string): number | undefined {
  const { lan, hosts, plot } = world;
  const host = hosts.get(from);
  const of = (name: string) => {
    const machine = plot.topology.hosts.find((h) => h.name === name);
    assert.ok(machine);
    return addressOn(machine, machine.links[0]?.wire ?? "");
  };
  let answeredUs: number | undefined;
  const startUs = lan.nowUs;
  host?.icmp.onEcho(7, () => {
    answeredUs = lan.nowUs - startUs;
  });
  host?.icmp.sendEcho(of(from), of(to), 7);
  lan.run(lan.nowUs + 10_000_000, () => answeredUs !== undefined);
  return answeredUs;
}

test("a network stays apart from another VLAN of the same switch, but for the router", () => {
  const world = worldOf(trunkCut, "tun");
  assert.ok(ping(world, "lb1", "web3") !== undefined);
  world.hosts.get("router")?.crash();
  world.hosts.get("lb1")?.neighbours.forget();
  assert.ok(ping(world, "lb1", "web4") !== undefined, "its own VLAN needs no router");
  assert.equal(ping(world, "lb1", "web3"), undefined);
});

const plain = `version: 1
name: plain
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12 }
vips: { web: 10.10.0.100 }
services: [{ port: 80 }]
`;

test("a cable's delay, loss, duplicates and MTU are those of the file", () => {
  const quick = ping(worldOf(plain), "lb1", "web1") ?? 0;
  const slow = ping(worldOf(`${plain}lab: { links: { web1: { delayMs: 20 } } }`), "lb1", "web1") ?? 0;
  // question and answer, after question and answer of ARP
  assert.ok(quick < 5000 && slow > 80_000 && slow < 85_000, `${quick} ${slow}`);
  const cableOf = (cable: string) => {
    const world = worldOf(`${plain}lab: { links: { web1: ${cable} } }`);
    const web1 = world.hosts.get("web1");
    return world.lan.cableOf(web1?.nics[0]?.port ?? -1).options;
  };
  const { lossPpm, duplicatePpm, reorderPpm, mtuOctets, delayUs, jitterUs } = cableOf(
    "{ lossPercent: 0.1, duplicatePercent: 2, reorderPercent: 3, mtu: 1400, jitterMs: 0 }",
  );
  assert.deepEqual(
    { lossPpm, duplicatePpm, reorderPpm, mtuOctets, delayUs, jitterUs },
    { lossPpm: 1000, duplicatePpm: 20_000, reorderPpm: 30_000, mtuOctets: 1400, delayUs: 100, jitterUs: 0 },
  );
  assert.equal(ping(worldOf(`${plain}lab: { links: { web1: { lossPercent: 100 } } }`), "lb1", "web1"), undefined);
});

test("the trunk's delay counts once each way", () => {
  const far = trunkCut.replace("to: core,", "to: core, delayMs: 30,");
  const near = ping(worldOf(far), "client", "web2") ?? 0;
  const across = ping(worldOf(far), "client", "web1") ?? 0;
  assert.ok(near < 5000 && across > 120_000 && across < 125_000, `${near} ${across}`);
});

test("a file that names no switches has one for each network, as it always had", () => {
  const { topology } = scenarioPlotOf(clusterOfText(plain));
  assert.deepEqual(
    topology.switches.map((s) => s.name),
    ["lan"],
  );
  assert.ok(topology.hosts.every((h) => h.links.every((l) => l.plug.switch === "lan" && l.plug.vlan === 1)));
});

test("explore cuts trunks, too, and finds no law broken by it", async () => {
  const cluster = clusterOfText(trunkCut);
  const plot = scenarioPlotOf(cluster);
  const hour = 3_600_000;
  const runs = Array.from({ length: 400 }, (_, run) => ({ run, faults: scheduleOf(cluster, plot, 1, run, hour) }));
  const splits = runs.filter(({ faults }) => faults.length > 0 && faults.every((f) => f.host === "edge"));
  assert.ok(splits.length > 2, `${splits.length}`);
  for (const { run, faults } of splits.slice(0, 4)) {
    const soon = faults.map((f) => ({ ...f, atMs: f.atMs - (faults[0]?.atMs ?? 0) + 1000 }));
    const options = { seed: 1, runs: 1, durationMs: 60_000, dropsGratuitous: false, silenced: true };
    const { breaches, timeline } = await runOnce(cluster, plot, options, run, soon);
    assert.deepEqual(breaches, [], JSON.stringify(timeline));
  }
});

/** A file whose switches, VLANs and links are drawn at random: half of them cannot be. */
function drawnFile(dice: Dice): string {
  const count = dice.between(1, 4);
  const name = (i: number): string => `s${i}`;
  const switches = Array.from({ length: count }, (_, i) => {
    const to = name(dice.below(count + (dice.below(8) === 0 ? 1 : 0)));
    const vlans = dice.below(4) === 0 ? `, vlans: [${dice.pick([10, 20, 4095])}]` : "";
    // mostly a tree: each switch below an earlier one
    const uplink = i === 0 ? "" : dice.below(3) > 0 ? name(dice.below(i)) : to;
    return `${name(i)}: ${uplink === "" ? "{}" : `{ uplink: { to: ${uplink}${vlans} } }`}`;
  });
  const keys = ["delayMs: 3", "lossPercent: 5", "duplicatePercent: 9", "reorderPercent: 9", "mtu: 1200", "jitterMs: 0"];
  const link = (host: string): string => {
    if (dice.below(25) === 0) return "";
    const more = [
      dice.below(12) === 0 ? [`vlan: ${dice.pick([0, 10, 20])}`] : [],
      dice.below(3) === 0 ? [dice.pick(keys)] : [],
    ];
    return `${host}: { ${[`switch: ${name(dice.below(count))}`, `port: ${dice.between(1, 60)}`, ...more.flat()].join(", ")} }`;
  };
  const hosts = ["lb1", "lb2", "web1", "web2", "client", "router"];
  const host = dice.pick(["lb1", "web1", "s1", "nobody"]);
  const fault = dice.pick([
    "do: cut",
    "do: mend",
    "do: loss, value: 30",
    "do: crash",
    "do: delay",
    "do: mtu, value: 900",
  ]);
  return `${plain.replace("directors: { lb1: 10.10.0.2 }", "directors: { lb1: 10.10.0.2, lb2: 10.10.0.3 }").replace("port: 80", "port: 80, forwarding: dr")}failover: { vrrp: { id: 9 } }
lab:
  clients: { client: 10.10.0.200 }
  vlans: { lan: ${dice.pick([1, 10, 10, 10])} }
  switches: { ${switches.join(", ")} }
  links: { ${hosts
    .map(link)
    .filter((l) => l !== "")
    .join(", ")} }
  scenario:
    seconds: 6
    faults: [{ at: ${dice.below(7)}, ${fault}, host: ${host} }]
`;
}

test(`random topologies are refused with their place and a remedy, or run and end (seed ${seed})`, async () => {
  const dice = new Dice(seed);
  let ran = 0;
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const text = drawnFile(dice);
    const read = parseCluster(text);
    if (!read.ok) {
      refused++;
      for (const p of read.problems) {
        assert.ok(p.line > 1 && p.column >= 1 && p.remedy !== "", text);
        assert.match(formatProblem(p, "c.yaml", text), /^c\.yaml:\d+:\d+: (error|warning): /);
      }
      continue;
    }
    if (++ran > 40) continue;
    const { cluster } = read;
    const o = await new Scenario(cluster, scenarioPlotOf(cluster), scenarioOptions(cluster, i, true)).run();
    assert.ok(o.events > 0 && o.timeline.length > 0, text);
  }
  assert.ok(ran > 10 && refused > 50, `${ran} ran, ${refused} refused`);
});

test("what is heard behind a trunk is learned there, and what the trunk does not carry is not", () => {
  const text = trunkCut.replace("vlans: [10, 20]", "vlans: [10, 20, 30]");
  assert.deepEqual(methodsOf(clusterOfText(text)), ["dr", "tun"]);
  const world = worldOf(text);
  ping(world, "client", "lb1");
  const { lan, switches, hosts } = world;
  const mac = hosts.get("client")?.nics[0]?.macId ?? -1;
  const core = switches.get("core");
  const port = core?.whereIs(mac, 10, lan.nowUs) ?? -1;
  assert.ok(port >= 0 && core?.trunks.includes(port));
  assert.equal(core?.whereIs(mac, 20, lan.nowUs), -1);
  lan.run(lan.nowUs + 60_000_000); // until the neighbours have asked each other once more
  lan.run(lan.nowUs + 301_000_000);
  assert.equal(core?.whereIs(mac, 10, lan.nowUs), -1, "forgotten after 300 s");
});
