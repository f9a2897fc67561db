/** The story's machines on the simulator: no root, any kernel generation, the same seed gives the same octets. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { withAddresses, withoutAddresses } from "../../sim/addresses.ts";
import { encodeFrame, type Frame } from "../../sim/frame.ts";
import type { SimHost } from "../../sim/host.ts";
import type { Pcap } from "../../sim/pcap.ts";
import { Observations } from "../observations.ts";
import type { Plot } from "../plot.ts";
import type { LabMachine } from "../report.ts";
import type { Answers, Stage } from "../stage.ts";
import type { LabHost } from "../topology.ts";
import type { ConnectionResult, TrafficPlan, TrafficResult } from "../traffic.ts";
import type { Breathe } from "./breath.ts";
import { buildWorld, type World, type WorldOptions } from "./build.ts";
import { changesBetween } from "./changes.ts";
import type { Silence } from "./silence.ts";
import { startTraffic } from "./traffic.ts";

export interface SimStage extends Stage {
  readonly world: World;
  readonly nowMs: () => number;
}

export interface SimStageOptions extends WorldOptions {
  /** Takes every frame that is put on a cable; see Lan.capture. */
  readonly pcap?: (stage: World) => Pcap;
  readonly breathe?: Breathe;
}

const askEveryMs = 60;
const lastAnswersMs = 1000;
/** So much of the traffic is computed between two breaths. */
const breathUs = 1_000_000;

function describe(host: LabHost, holder: SimHost, vips: readonly Ipv4[]): LabMachine {
  const held = vips.filter((vip) => holder.facts.addresses.some((a) => a.ip === formatIpv4(vip)));
  return {
    name: host.name,
    role: host.role === "realServer" ? "real server" : host.role,
    addresses: [
      ...host.links.map((l) => formatIpv4(l.addresses[0]?.address ?? (0 as Ipv4))),
      ...held.map((v) => `VIP ${formatIpv4(v)}`),
    ],
    macs: host.links.map((l) => l.mac),
    wires: host.links.map((l) => l.wire),
  };
}

/** "2.2.14, 6.18.0": every kernel of the LAN, in the order of their first host. */
const kernelsOf = (world: World): string =>
  [...new Set([...world.hosts.values()].map((h) => h.facts.kernel.release))].join(", ");

/** Asks by broadcast from the host's own address, and counts who answers and who is first. */
export function askWhoHas(
  host: SimHost,
  targets: readonly Ipv4[],
  times: number,
  pause: (ms: number) => void,
): Answers[] {
  const { lan } = host;
  const by = new Map(targets.map((t) => [t, new Map<Mac, { answers: number; first: number }>()]));
  const answered = new Set<Ipv4>();
  const [target] = targets;
  if (target === undefined) return [];
  const nic = host.nicTowards(target);
  const senderIp = host.sourceFor(target);
  if (senderIp === undefined) throw new RangeError(`${host.name} has no way to ${formatIpv4(target)}`);
  const hear = (frame: Frame): void => {
    const { body } = frame;
    if (body.kind !== "arp" || body.operation !== 2 || body.targetMac !== nic.mac) return;
    const counts = by.get(body.senderIp);
    if (counts === undefined) return;
    const count = counts.get(body.senderMac) ?? { answers: 0, first: 0 };
    count.answers += 1;
    if (!answered.has(body.senderIp)) count.first += 1;
    answered.add(body.senderIp);
    counts.set(body.senderMac, count);
  };
  host.sniff(hear);
  for (let round = 0; round < times; round++) {
    answered.clear();
    lan.at(lan.nowUs, () => {
      for (const targetIp of targets) host.arp.send(nic, { operation: 1, senderIp, targetIp });
    });
    pause(round === times - 1 ? lastAnswersMs : askEveryMs);
  }
  host.unsniff(hear);
  return [...by].map(([asked, counts]) => ({
    target: asked,
    asked: times,
    by: [...counts].map(([mac, c]) => ({ mac, ...c })),
  }));
}

export function simStage(cluster: Cluster, plot: Plot, options: SimStageOptions): SimStage {
  const world = buildWorld(cluster, plot, options);
  const { lan } = world;
  const problems = lan.problems();
  if (problems[0] !== undefined) throw new RangeError(problems.join("; "));
  const machine = (name: string): SimHost => {
    const host = world.hosts.get(name);
    if (host === undefined) throw new RangeError(`no machine ${name}`);
    return host;
  };
  for (const port of new Set(plot.services.map(({ service }) => service.port)))
    for (const { web } of world.realServers) web.listen(port);
  let observations = new Observations(plot.cast);
  lan.taps.push((_, from, frame) => observations.frame(from, encodeFrame(frame, lan.macs)));
  const pcap = options.pcap?.(world);
  if (pcap !== undefined) lan.capture((timeUs, cable, frame) => pcap.add(timeUs, cable, frame));
  const pause = (ms: number): void => lan.run(lan.nowUs + Math.round(ms * 1000));
  const director = world.directors.find((d) => d.host.name === plot.director.name);
  if (director === undefined) throw new RangeError("a lab needs a director");
  let echoes = 0;
  const silenceOf = (name: string): Silence | undefined =>
    world.realServers.find((r) => r.host.name === name)?.silenced.silence;

  const run = async (plan: TrafficPlan, refreshMs: number): Promise<TrafficResult> => {
    const startUs = lan.nowUs;
    const results: ConnectionResult[] = [];
    const wanted = plan.longLived + plan.shortLived;
    startTraffic(machine(plot.client.name), plan, (result) => results.push(result));
    // each cache at its own moments, as caches do: in step with the traffic, the same packet would win every time
    const expire = (host: SimHost): void => {
      if (results.length >= wanted) return;
      host.neighbours.forget();
      lan.at(lan.nowUs + refreshMs * 1000 + lan.dice.below(20_000), () => expire(host));
    };
    for (const host of world.hosts.values()) lan.at(lan.nowUs + lan.dice.below(refreshMs * 1000), () => expire(host));
    // whoever has not ended by then hangs: patience ends each of them
    const latestUs = startUs + (plan.durationMs + 10 * plan.patienceMs) * 1000;
    while (lan.nowUs < latestUs && results.length < wanted) {
      lan.run(Math.min(latestUs, lan.nowUs + breathUs), () => results.length >= wanted);
      await options.breathe?.(lan.nowUs / 1000);
    }
    return { connections: results, tookMs: (lan.nowUs - startUs) / 1000 };
  };

  return {
    world,
    nowMs: () => lan.nowUs / 1000,
    backend: "sim",
    kernel: kernelsOf(world),
    engine: "ipvs",
    countsLagMs: 0,
    machines: plot.topology.hosts.map((h) => describe(h, machine(h.name), plot.vips)),
    whoHas: async (from, targets, times) => askWhoHas(machine(from), targets, times, pause),
    traffic: run,
    observe: async () => {
      observations = new Observations(plot.cast);
    },
    observed: async () => observations.report(),
    lostFrames: async () => 0,
    setSysctls(name, values) {
      const host = machine(name);
      const sysctls = { ...host.facts.sysctls };
      for (const { link, name: file, value } of values) sysctls[`${link}.${file}`] = Number(value);
      const before = host.facts;
      host.change({ ...before, sysctls });
      return changesBetween(name, before, host.facts);
    },
    silence: {
      apply(name, cure) {
        const one = world.realServers.find((r) => r.host.name === name);
        if (one === undefined) return [];
        const before = one.host.facts;
        one.host.change(cure === "none" ? one.naive : (one.silenced.facts(cure) ?? one.naive));
        return changesBetween(name, before, one.host.facts);
      },
      policyOf: (name) => silenceOf(name)?.policy ?? "none",
      hasHalves: (name) => silenceOf(name)?.hasHalves === true,
      quietByNature: world.realServers.every((r) => r.silenced.silence.byNature),
    },
    forgetNeighbours: (name) => machine(name).neighbours.forget(),
    neighbour: (name, address) => machine(name).neighbourOf(address)?.mac,
    speak(name, from, to) {
      machine(name).sendUdp(from, to, 40_000, 9, new TextEncoder().encode("vipward"));
    },
    address(name, action, addresses) {
      const host = machine(name);
      const without = withoutAddresses(host.facts, addresses);
      host.change(action === "add" ? withAddresses(without, host.nics[0]?.link ?? "eth0", addresses) : without);
    },
    plug: (name, plugged) => machine(name).plugged(plugged),
    async ping(name, from, to, patienceMs) {
      const id = ++echoes & 0xffff;
      let answered = false;
      machine(name).icmp.onEcho(id, () => {
        answered = true;
      });
      machine(name).icmp.sendEcho(from, to, id);
      lan.run(lan.nowUs + patienceMs * 1000, () => answered);
      return answered;
    },
    program: (services) => director.ipvs.program(services),
    counts: () => director.ipvs.counts(),
    pause: async (ms) => pause(ms),
    remove: async () => {},
  };
}
