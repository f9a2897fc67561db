/**
 * Random hosts, each planned for, applied and asked on the wire: the laws hold there, or the plan was refused with a
 * reason. A refusal that says that a packet would not be taken in is tried with force, and must be seen to be true.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, undoEverything } from "../apply/run.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../base/ipv4.ts";
import { inetAddress } from "../host/inetSocket.ts";
import { machinePorts } from "../host/perform/machine.ts";
import type { HostFacts } from "../model/facts.ts";
import type { World } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import { lanLinks } from "../plan/lan.ts";
import type { Plan } from "../plan/plan.ts";
import { planAuto } from "../policy/auto.ts";
import type { Wish } from "../policy/wish.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { Dice } from "./dice.ts";
import { askerMac, frameOf, packetId, packetOctets, readArp, receiverName } from "./frames.ts";
import { type Abilities, drawHost, drawTopology, outerLinks } from "./generate.ts";
import type { PacketPlan, Question } from "./plan.ts";
import { Stage, sleep } from "./stage.ts";

const HOSTS_ON_A_STAGE = 6;
const someVips = ["10.1.0.100", "10.1.1.100", "192.168.7.7", "172.16.0.1", "203.0.113.9"];

export interface PlansReport {
  readonly hosts: number;
  /** Policy -> hosts where it was applied. */
  readonly applied: Readonly<Record<string, number>>;
  readonly refused: number;
  /** Refusals that were tried with force, and seen to be true. */
  readonly refusalsSeenTrue: number;
  readonly questions: number;
  /** "tun tunl0" -> hosts that were to be so. */
  readonly wishes: Readonly<Record<string, number>>;
  /** What must not be: each names seed, stage and host. */
  readonly faults: readonly string[];
}

interface Counts {
  hosts: number;
  readonly applied: Record<string, number>;
  refused: number;
  refusalsSeenTrue: number;
  questions: number;
  readonly wishes: Record<string, number>;
  readonly faults: string[];
}

/** Leaves the calling thread in a namespace made here: call it in a thread of its own. */
export async function examinePlans(
  seed: number,
  hosts: number,
  abilities: Abilities,
  name: string,
  {
    only,
    onHost = () => {},
  }: { readonly only?: string | undefined; readonly onHost?: (report: PlansReport) => void } = {},
): Promise<PlansReport> {
  const applied: Record<string, number> = {};
  const faults: string[] = [];
  const report: Counts = { hosts: 0, applied, refused: 0, refusalsSeenTrue: 0, questions: 0, wishes: {}, faults };
  for (let group = 0; report.hosts < hosts; group++) {
    // The kernel never forgets the first local route or rule, and a reader cannot see that it had one.
    const topology = { ...drawTopology(new Dice(seed, 7000 + group), abilities), withLocalRoutes: false };
    const stage = new Stage(topology, name);
    try {
      for (let host = 0; host < HOSTS_ON_A_STAGE && report.hosts < hosts; host++) {
        report.hosts++;
        // What a host leaves behind may be what the next one stumbles over, so those before it on its stage are run, too.
        if (only !== undefined && Number(only.split(".")[0]) !== group) continue;
        const dice = new Dice(seed, 7000 + group, host + 1);
        await examineOne(stage, abilities, dice, report, (what) =>
          faults.push(`seed ${seed}, ${group}.${host}: ${what}`),
        );
        onHost(report);
      }
    } finally {
      stage.close();
    }
  }
  return report;
}

/** What is not as it was; neighbours come and go by themselves, and modules belong to the whole machine. */
function* unlike(before: HostFacts, after: HostFacts): Generator<string> {
  for (const part of ["links", "addresses", "rules", "filters"] as const)
    if (JSON.stringify(before[part]) !== JSON.stringify(after[part]))
      yield `${part} ${JSON.stringify(before[part])}, then ${JSON.stringify(after[part])}`;
  const routes = (facts: HostFacts): string[] => facts.routes.map((r) => JSON.stringify(r)).sort();
  const [was, is] = [routes(before), routes(after)];
  for (const r of was) if (!is.includes(r)) yield `the route ${r} is gone`;
  for (const r of is) if (!was.includes(r)) yield `the route ${r} is new`;
  for (const name of new Set([...Object.keys(before.sysctls), ...Object.keys(after.sysctls)]))
    if (before.sysctls[name] !== after.sysctls[name])
      yield `${name} was ${before.sysctls[name]} and is ${after.sysctls[name]}`;
}

/** How the VIPs come in and what holds them, of what the kernel has; a dummy is now and then one of its own. */
function drawCarrier(dice: Dice, { dummy, ipip }: Abilities): Pick<Wish, "forwarding" | "carrier" | "carrierName"> {
  const forwarding = ipip && dice.chance(0.5) ? "tun" : "dr";
  const carrier = dice.pick([
    "lo",
    "lo",
    ...(dummy ? (["dummy"] as const) : []),
    ...(ipip ? (["tunl0"] as const) : []),
  ] as const);
  return { forwarding, carrier, ...(carrier === "dummy" && dice.chance(0.5) ? { carrierName: "vips" } : {}) };
}

async function examineOne(
  stage: Stage,
  abilities: Abilities,
  dice: Dice,
  report: Counts,
  fault: (what: string) => void,
): Promise<void> {
  const drawn = drawHost(dice, stage.topology);
  const wish: Wish = {
    vips: [...new Set([dice.pick(someVips), dice.pick(someVips)])],
    ...drawCarrier(dice, abilities),
    services: [],
    programs: { nft: true, iptables: true, arptables: false },
  };
  const vips = wish.vips.map((v) => ipv4(v));
  // Most hosts hold none of the VIPs yet, or nearly all plans would be refused.
  const kept = dice.chance(0.75)
    ? drawn.parts.filter((p) => p.part !== "address" || !vips.includes(p.prefix.address))
    : drawn.parts;
  stage.apply({ parts: kept });
  const folder = mkdtempSync(join(tmpdir(), "vipward-plans-"));
  const ports = machinePorts({ stateDir: folder });
  const before = await ports.reader.read([]);
  let force = false;
  let why = "";
  let policy = "";
  const asked = `${wish.forwarding} ${wish.carrierName ?? wish.carrier}`;
  report.wishes[asked] = (report.wishes[asked] ?? 0) + 1;
  const apply = () =>
    run(ports, {
      direction: "apply",
      paths: [],
      kernel: kernelModel,
      force,
      plan: (world, owned): Plan => {
        const choice = planAuto({ world, owned, wish, kernel: kernelModel });
        why = choice.considered.map((c) => c.why).join("\n");
        policy = choice.policy;
        if (!("plan" in choice)) throw new Error("none suits");
        return choice.plan;
      },
    });
  try {
    const outcome = await apply().catch((error: Error) => error);
    if (outcome instanceof Error) {
      report.refused++;
      if (policy !== "none" || why === "") fault(`no plan: ${outcome.message}`);
    } else if (outcome.kind === "refused") {
      report.refused++;
      if (outcome.why.length === 0) fault("refused without a reason");
      const witness = outcome.plan.proof.laws[1]?.broken[0];
      const link = / in on (\S+)/.exec(witness?.asked ?? "")?.[1];
      const isOnWire = [...wires(stage, before, vips)].some((w) => w.link === link);
      if (outcome.plan.conflicts.length === 0 && witness !== undefined && isOnWire) {
        force = true;
        const forced = await apply();
        const world = await ports.reader.read([]);
        if (forced.kind !== "done" && forced.kind !== "nothing") fault(`forced, it went ${forced.kind}`);
        else if (notTaken(stage, world, wish, report).length > 0) report.refusalsSeenTrue++;
        else fault(`refused for ${witness.asked}: ${witness.answer} (${witness.rule}), but all were taken`);
      }
    } else if (outcome.kind === "done" || outcome.kind === "nothing") {
      report.applied[policy] = (report.applied[policy] ?? 0) + 1;
      const world = await ports.reader.read([]);
      for (const what of answered(stage, world, vips, report)) fault(`${policy}: ${what}`);
      for (const what of leaked(stage, world, vips, report)) fault(`${policy}: ${what}`);
      if (policy !== "redirect") for (const what of notTaken(stage, world, wish, report)) fault(`${policy}: ${what}`);
      const again = await apply();
      if (again.kind !== "nothing") fault(`${policy}: a second apply was not idle: ${again.kind}`);
    } else fault(`${policy}: ${outcome.kind}${outcome.kind === "tookBack" ? `: ${outcome.why}` : ""}`);
    await run(ports, undoEverything(kernelModel));
    const after = await ports.reader.read([]);
    for (const what of unlike(before.facts, after.facts)) fault(`${policy}: undo did not give back the facts: ${what}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Links with a wire on which somebody can be asked as, with neighbours as the proof has them. */
function* wires(stage: Stage, { facts }: World, vips: readonly Ipv4[]) {
  const lan = new Map(lanLinks(facts, new Set(vips)).map((l) => [l.name, l]));
  const up = new Set(facts.links.filter((l) => l.flags.includes("UP")).map((l) => l.name));
  for (const { name } of outerLinks(stage.topology)) {
    // A port that is down brings nothing to its bridge, which is up by another one.
    if (!up.has(name)) continue;
    const link = lan.get(receiverName(stage.topology, name));
    if (link === undefined) continue;
    for (const { ip, seenFrom } of link.neighbours) yield { wire: name, link: link.name, neighbour: ip, seenFrom };
  }
}

/** All that the wire brings within some milliseconds. */
function listen(stage: Stage, visit: (octets: Uint8Array, link: string) => void): void {
  for (let i = 0; i < 4; i++) {
    stage.wire.receive((frame) => {
      const link = stage.linkOfFar.get(frame.interfaceIndex);
      if (link !== undefined) visit(frame.octets, link);
    }, 1 << 20);
    sleep(2);
  }
}

function answered(stage: Stage, world: World, vips: readonly Ipv4[], report: Counts): string[] {
  listen(stage, () => undefined);
  const found: string[] = [];
  const frames = [...wires(stage, world, vips)].flatMap(({ wire, neighbour }) =>
    vips.map((vip, n) => {
      const q: Question = {
        n,
        ask: "arp",
        link: wire,
        frame: "broadcast",
        operation: 1,
        senderIp: neighbour,
        targetIp: vip,
        targetMac: "zero",
      };
      return { link: wire, octets: frameOf(stage.topology, q, 1) };
    }),
  );
  report.questions += frames.length;
  stage.send(frames);
  listen(stage, (octets, link) => {
    const arp = readArp(octets, link);
    if (arp?.operation === 2 && arp.source.startsWith("02:c0:") && vips.includes(arp.senderIp))
      found.push(`${formatIpv4(arp.senderIp)} was answered for on ${link}`);
  });
  return found;
}

function leaked(stage: Stage, world: World, vips: readonly Ipv4[], report: Counts): string[] {
  const found: string[] = [];
  for (const { link, neighbour } of wires(stage, world, vips))
    for (const source of vips) {
      const packet = packetOctets({ source, destination: neighbour, protocol: "other", destinationPort: 9 }, 0);
      if (stage.sendFromHost(link, packet, inetAddress(neighbour, 0))) report.questions++;
    }
  listen(stage, (octets, link) => {
    const arp = readArp(octets, link);
    if (arp?.operation === 1 && arp.source.startsWith("02:c0:") && vips.includes(arp.senderIp))
      found.push(`an own request on ${link} carried ${formatIpv4(arp.senderIp)}`);
  });
  return found;
}

/** A client's packets as the director sends them on: as they are, or inside IPIP to this host's own address. */
function notTaken(stage: Stage, world: World, wish: Wish, report: Counts): string[] {
  const vips = wish.vips.map((v) => ipv4(v));
  stage.delivered(() => undefined);
  const asked = [...wires(stage, world, vips)].flatMap((w) => vips.map((vip) => ({ ...w, vip })));
  report.questions += asked.length;
  stage.send(
    asked.map(({ wire, neighbour, seenFrom, vip }, n) => {
      const packet = { source: neighbour, destination: vip, protocol: "tcp", destinationPort: 80 } as const;
      const outer = { source: neighbour, destination: seenFrom, protocol: "ipip", destinationPort: 0 } as const;
      const header: PacketPlan = wish.forwarding === "tun" ? { ...outer, inner: packet } : packet;
      return { link: wire, octets: frameOf(stage.topology, { n, ask: "ip", link: wire, frame: "unicast", header }, 1) };
    }),
  );
  const taken = new Set<number>();
  for (let i = 0; i < 8 && taken.size < asked.length; i++) {
    // Of IPIP the outer packet is delivered, too, whatever becomes of the inner one.
    stage.delivered((p) => void (p[9] === PROTOCOL.tcp && taken.add(((p[4] ?? 0) << 8) | (p[5] ?? 0))));
    sleep(i < 4 ? 2 : 8);
  }
  return asked.flatMap(({ wire, neighbour, vip }, n) =>
    taken.has(packetId(1, n))
      ? []
      : [`a packet of ${formatIpv4(neighbour)} for ${formatIpv4(vip)} in on ${wire} (${askerMac(1, n)}) was not taken`],
  );
}
