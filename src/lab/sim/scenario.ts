/** A cluster under faults, in virtual time: what clients saw, who owned the VIP, which laws broke, and when. */
import type { AgentEvent } from "../../agent/event.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { type Cluster, type LabFault, type Service, virtualServersOf } from "../../cluster/cluster.ts";
import type { GuardKind } from "../../cluster/words.ts";
import type { Frame, IpBody } from "../../sim/frame.ts";
import type { SimHost } from "../../sim/host.ts";
import { Pcap } from "../../sim/pcap.ts";
import type { Plot } from "../plot.ts";
import type { Answers } from "../stage.ts";
import { addressOn, linkOn } from "../topology.ts";
import type { ConnectionResult } from "../traffic.ts";
import type { Breathe } from "./breath.ts";
import { buildWorld, type World } from "./build.ts";
import { clusterIn, SimDirector } from "./directors.ts";
import { describeFault, drifts, inflict, inflictOnUplink, runs } from "./faults.ts";
import { type Breach, isSound, Laws } from "./laws.ts";
import { healingUs } from "./silence.ts";
import { askWhoHas } from "./stage.ts";
import { askByDatagram, type Conversation, converse, serveDatagrams } from "./traffic.ts";

export interface ScenarioOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly faults: readonly LabFault[];
  readonly dropsGratuitous: boolean;
  /** A short connection every so often, and one long-lived connection for each of `longLived`. */
  readonly connectEveryMs: number;
  readonly longLived: number;
  readonly askEveryMs: number;
  /** Policies of the cluster file are applied before the run; false: nobody is silenced. */
  readonly silenced: boolean;
  /** Real servers that are silenced run `vipward guard`. */
  readonly guard?: GuardKind | undefined;
  readonly capture?: boolean;
}

export interface TimelineEntry {
  readonly atMs: number;
  readonly text: string;
}

export interface ScenarioOutcome {
  readonly timeline: readonly TimelineEntry[];
  readonly breaches: readonly Breach[];
  /** Machines that answer who-has for each VIP at the end, quickest first. */
  readonly owners: Readonly<Record<string, readonly string[]>>;
  /** Whose MAC client and router have for each VIP at the end; a client behind the router has none. */
  readonly caches: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly connections: {
    readonly total: number;
    readonly completed: number;
    readonly broken: number;
    readonly brokenLongLived: number;
    readonly refused: number;
    /** Connections that got an error for an answer; where a fault of the story is about answers. */
    readonly failed?: number;
    /** Connections of which a packet reached a real server behind the director's back. */
    readonly misrouted: number;
    readonly servedBy: Readonly<Record<string, number>>;
  };
  /** Questions by udp, where the cluster has such services: a server may have taken one whose answer was lost. */
  readonly datagrams?: {
    readonly asked: number;
    readonly answered: number;
    readonly takenBy: Readonly<Record<string, number>>;
  };
  /** ARP requests in a VIP's name, by real server. */
  readonly leaks: Readonly<Record<string, number>>;
  readonly events: number;
  readonly pcap?: { readonly octets: Uint8Array; readonly frames: number };
}

/** Events of the agents that a person would want to read; what is left out goes without saying. */
const untold = new Set([
  "agent/start",
  "failover/adopted",
  "failover/leaving",
  "failover/left",
  "failover/succeeding",
  "failover/verified",
  "table/loaded",
  "table/foreign",
  "failover/peer-checksum",
  "silence/kept",
]);
/** The same words of the same machine are told so often. */
const mostTold = 3;

/** One operation of `vipward apply` takes so long. */
const operationUs = 1000;
/** So much is computed between two breaths. */
const breathUs = 1_000_000;

export class Scenario {
  readonly world: World;
  readonly directors: readonly SimDirector[];
  readonly #options: ScenarioOptions;
  readonly #timeline: TimelineEntry[] = [];
  readonly #told = new Map<string, number>();
  readonly #laws: Laws;
  readonly #results: ConnectionResult[] = [];
  readonly #leaks: Record<string, number> = {};
  readonly #datagrams = { asked: 0, answered: 0, takenBy: {} as Record<string, number> };
  readonly #misrouted = new Set<string>();
  readonly #pcap: Pcap | undefined;
  readonly #faults: readonly LabFault[];
  /** What guards have to do, as soon as nothing else is at work. */
  readonly #work: (() => Promise<void>)[] = [];
  #next = 0;
  readonly #conversations: Conversation[] = [];
  /** Questions by udp that wait for their answer. */
  #questions = 0;
  #breathe: Breathe | undefined;
  /** When the story begins: failover and health have settled by then. */
  #startUs = Number.POSITIVE_INFINITY;

  constructor(cluster: Cluster, plot: Plot, options: ScenarioOptions) {
    this.#options = options;
    this.#faults = [...options.faults].sort((a, b) => a.atMs - b.atMs);
    this.world = buildWorld(cluster, plot, {
      seed: options.seed,
      dropsGratuitous: options.dropsGratuitous,
      pass: () => this.#pass(),
    });
    const { lan, realServers } = this.world;
    const problems = lan.problems();
    if (problems[0] !== undefined) throw new RangeError(problems.join("; "));
    const here = clusterIn(this.world);
    for (const port of portsOf(here, "tcp")) for (const { web } of realServers) web.listen(port);
    for (const port of portsOf(here, "udp"))
      for (const { host } of realServers) serveDatagrams(host, port, (packet) => this.#taken(host.name, packet));
    this.directors = this.world.directors.map((state) => new SimDirector(state, here, (who, e) => this.#heard(who, e)));
    this.#laws = new Laws({
      world: this.world,
      directors: this.directors,
      settleUs: settleUsOf(here),
      nowMs: () => this.#nowMs,
      onBreach: (b) => this.#tell(`LAW BROKEN, ${b.law}: ${b.host} ${b.what}`),
    });
    if (options.capture === true) {
      const pcap = new Pcap(lan.macs);
      lan.capture((timeUs, cable, frame) => pcap.add(timeUs, cable, frame));
      this.#pcap = pcap;
    }
    lan.taps.push((_, from, frame) => {
      if (!this.#laws.watching) return;
      this.#laws.frame(from, frame);
      this.#count(from, frame);
    });
  }

  #taken(by: string, { destination }: IpBody): void {
    const { takenBy } = this.#datagrams;
    if (this.#laws.watching && this.world.plot.cast.vips.has(destination)) takenBy[by] = (takenBy[by] ?? 0) + 1;
  }

  #count(from: string, frame: Frame): void {
    const { lan, plot, realServers } = this.world;
    const { body } = frame;
    if (body.kind === "arp") {
      if (body.operation === 1 && plot.cast.vips.has(body.senderIp))
        if (realServers.some((r) => r.host.name === from)) this.#leaks[from] = (this.#leaks[from] ?? 0) + 1;
    } else if (this.#isForVip(from, body)) {
      const machine = plot.cast.nameOfMac.get(lan.macs.nameOf(frame.to));
      if (realServers.some((r) => r.host.name === machine)) this.#misrouted.add(`${body.source}:${body.sourcePort}`);
    }
  }

  /** What a client sends to a VIP over tcp, as it comes onto the LAN. */
  #isForVip(from: string, { tcp, destination, source }: IpBody): boolean {
    const { client, router, cast } = this.world.plot;
    if (tcp === undefined || !cast.vips.has(destination)) return false;
    return from === client.name || (from === router.name && cast.nameOfAddress.get(source) === client.name);
  }

  get #nowMs(): number {
    return Math.max(0, Math.floor((this.world.lan.nowUs - this.#startUs) / 1000));
  }

  #tell(text: string): void {
    this.#timeline.push({ atMs: this.#nowMs, text });
  }
  #heard(who: string, { code, text, subject }: AgentEvent): void {
    if (!this.#laws.watching || untold.has(code)) return;
    const about = code.startsWith("failover/") || subject === who ? "" : `${subject}: `;
    this.#tellOften(`${who}: ${about}${text}`);
  }
  #tellOften(line: string): void {
    const times = (this.#told.get(line) ?? 0) + 1;
    this.#told.set(line, times);
    if (times <= mostTold) this.#tell(`${line}${times === mostTold ? " (not told again)" : ""}`);
  }

  async run(breathe?: Breathe): Promise<ScenarioOutcome> {
    const { plot } = this.world;
    this.#breathe = breathe;
    const { durationMs } = this.#options;
    await this.#begin();
    this.#laws.hosts();
    this.#traffic();
    this.#ask();
    for (;;) {
      const fault = this.#faults[this.#next];
      if (fault === undefined || fault.atMs > durationMs) break;
      await this.#until(this.#startUs + fault.atMs * 1000);
      // one that came due while a guard was at work is done already
      if (this.#faults[this.#next] !== fault) continue;
      this.#next++;
      await this.#do(fault);
    }
    await this.#until(this.#startUs + durationMs * 1000);
    // whoever still waits for an answer is waited for: patience ends each of them
    const { lan } = this.world;
    for (const latestUs = lan.nowUs + plot.traffic.patienceMs * 1000; this.#isUnderWay && lan.nowUs < latestUs; )
      await this.#until(Math.min(latestUs, lan.nowUs + 100_000));
    // a client that is frozen, or lost power, ends nothing itself
    for (const one of this.#conversations) one.giveUp();
    return this.#outcome(plot);
  }

  get #isUnderWay(): boolean {
    return this.#questions > 0 || this.#conversations.some((one) => !one.isOver);
  }

  /** Lets time pass, and guards work in it, one after another. */
  async #until(us: number): Promise<void> {
    const { lan } = this.world;
    const guarded = this.#options.guard === undefined ? undefined : () => this.#work.length > 0;
    for (;;) {
      await this.#breathe?.(this.#nowMs);
      const untilUs = this.#breathe === undefined ? us : Math.min(us, lan.nowUs + breathUs);
      lan.run(Math.max(lan.nowUs, untilUs), guarded);
      const work = this.#work.shift();
      if (work !== undefined) {
        await work();
        this.#laws.hosts();
      } else if (lan.nowUs >= us) return;
    }
  }

  #guard(): string[] {
    const { guard } = this.#options;
    if (guard === undefined || !this.#options.silenced) return [];
    return this.world.realServers.flatMap(({ host, silenced }) => {
      const why = silenced.guard(
        guard,
        (work) => void this.#work.push(work),
        (text) => this.#tellOften(text),
      );
      return why === undefined ? [] : [`${host.name} is not guarded: ${why}`];
    });
  }

  /** Policies are in force, directors have found out who is master, and every server has been checked. */
  async #begin(): Promise<void> {
    const { lan, realServers } = this.world;
    const unsilenced: string[] = [];
    for (const { host, silenced } of realServers) {
      const { policy, refused } = silenced.silence;
      if (this.#options.silenced && !silenced.standApplied())
        unsilenced.push(`${host.name} is not silenced: ${policy} does not suit: ${refused}`);
      else if (this.#options.silenced && refused !== undefined)
        unsilenced.push(`${host.name}: ${policy} was forced on it: ${refused}`);
    }
    for (const director of this.directors) director.start();
    unsilenced.push(...this.#guard());
    await this.#until(lan.nowUs + settleUsOf(clusterIn(this.world)) + 2_000_000);
    this.#startUs = lan.nowUs;
    this.#laws.watching = true;
    for (const text of unsilenced) this.#tell(text);
    for (const vip of this.world.plot.vips) {
      const owner = this.directors.find((d) => d.holds(vip) !== undefined);
      this.#tell(`${owner?.name ?? "nobody"} holds ${formatIpv4(vip)}; in service: ${owner?.serversUp().join(", ")}`);
    }
  }

  /** Time passes in the middle of a run of `vipward apply`: what is due then happens. */
  #pass(): void {
    const { lan } = this.world;
    lan.run(lan.nowUs + operationUs);
    for (;;) {
      const fault = this.#faults[this.#next];
      if (fault === undefined || runs(fault) || this.#startUs + fault.atMs * 1000 > lan.nowUs) return;
      this.#next++;
      this.#doAtOnce(fault);
    }
  }

  /** A host of the file may play no part in this chapter. */
  #isHere({ host }: LabFault): boolean {
    return this.world.hosts.has(host) || this.world.uplinks.has(host);
  }

  async #do(fault: LabFault): Promise<void> {
    if (!runs(fault) || !this.#isHere(fault)) {
      this.#doAtOnce(fault);
      return;
    }
    this.#tell(describeFault(fault));
    const one = this.world.realServers.find((r) => r.host.name === fault.host);
    const broken = await one?.silenced.run(fault.action, fault.value, (text) => this.#tell(text));
    if (broken !== undefined) this.#laws.breach("reversible", fault.host, broken);
    this.#laws.hosts();
  }

  #doAtOnce(fault: LabFault): void {
    if (!this.#isHere(fault)) {
      this.#tell(`${fault.host} plays no part here: "${describeFault(fault)}" does not happen`);
      return;
    }
    const isUplink = this.world.uplinks.has(fault.host);
    this.#tell(describeFault(fault, isUplink ? "uplink" : "cable"));
    this.#inflict(fault);
    const realServer = this.world.realServers.find((r) => r.host.name === fault.host);
    if (realServer?.silenced.heals === true && drifts(fault)) this.#laws.drifted(fault.host, healingUs);
    if (isUplink || this.directors.some((d) => d.name === fault.host)) this.#laws.disturbed();
    this.#laws.hosts();
  }

  #traffic(): void {
    const { lan, plot } = this.world;
    const { connectEveryMs, longLived, durationMs } = this.#options;
    const client = this.#host(plot.client.name);
    const startUs = this.#startUs;
    const untilUs = startUs + durationMs * 1000;
    const start = (kind: "long" | "short", i: number): void => {
      const { targets, from } = plot.traffic;
      const target = targets[i % targets.length];
      const source = from[i % from.length];
      if (target === undefined || source === undefined || !client.isAwake) return;
      const plan = { ...plot.traffic, pauseMs: 1000 };
      const done = (result: ConnectionResult): void => void this.#results.push(result);
      this.#conversations.push(converse(client, plan, kind, target, source, untilUs, done));
    };
    for (let i = 0; i < longLived; i++) lan.at(startUs + i * 1000, () => start("long", i));
    let n = 0;
    const next = (): void => {
      this.#askByDatagram(client, n);
      start("short", n++);
      const at = lan.nowUs + connectEveryMs * 1000;
      if (at < untilUs) lan.at(at, next);
    };
    lan.at(startUs + 500_000, next);
  }

  #askByDatagram(client: SimHost, n: number): void {
    const { datagrams, traffic } = this.world.plot;
    const target = datagrams[n % Math.max(1, datagrams.length)];
    const from = traffic.from[n % traffic.from.length];
    if (target === undefined || from === undefined || !client.isAwake) return;
    this.#datagrams.asked++;
    this.#questions++;
    askByDatagram(client, n, target, ipv4(from), (answered) => {
      this.#questions--;
      if (answered) this.#datagrams.answered++;
    });
  }

  /** A question for each VIP now and then: laws on the wire show only when somebody asks. */
  #ask(): void {
    const { lan, plot } = this.world;
    const router = this.#host(plot.router.name);
    const [vip] = plot.vips;
    if (vip === undefined) return;
    const nic = router.nicTowards(vip);
    const senderIp = addressOn(plot.router, plot.lan);
    const ask = (): void => {
      this.#laws.asked();
      for (const targetIp of plot.vips) router.arp.send(nic, { operation: 1, senderIp, targetIp });
      lan.at(lan.nowUs + this.#options.askEveryMs * 1000, ask);
    };
    lan.at(this.#startUs + 750_000, ask);
  }

  #host(name: string): SimHost {
    const host = this.world.hosts.get(name);
    if (host === undefined) throw new RangeError(`no machine ${name}`);
    return host;
  }

  #inflict(fault: LabFault): void {
    const uplink = this.world.uplinks.get(fault.host);
    if (uplink !== undefined) inflictOnUplink(this.world, uplink, fault);
    const host = this.world.hosts.get(fault.host);
    if (host === undefined) return; // not part of this chapter
    inflict({
      fault,
      host,
      world: this.world,
      director: this.directors.find((d) => d.name === fault.host),
      directors: this.directors,
      realServer: this.world.realServers.find((r) => r.host === host),
      silenced: this.#options.silenced,
    });
  }

  /** A machine on the VIPs' network that can ask for it and hear who answers: whoever holds it would ask in its name. */
  #askerFor(vip: Ipv4): SimHost | undefined {
    const { plot } = this.world;
    const near = [plot.client, plot.router, ...plot.topology.hosts].filter((h) => linkOn(h, plot.lan) !== undefined);
    const able = near
      .map((h) => this.#host(h.name))
      .filter((h) => h.isAwake && h.isPlugged && !h.facts.addresses.some((a) => a.ip === formatIpv4(vip)));
    return able.find((h) => isSound(this.world, h.name)) ?? able[0];
  }

  #askWhoHas(): Map<Ipv4, Answers> {
    const { lan, plot } = this.world;
    const askers = new Map<SimHost, Ipv4[]>();
    for (const vip of plot.vips) {
      const asker = this.#askerFor(vip);
      if (asker !== undefined) askers.set(asker, [...(askers.get(asker) ?? []), vip]);
    }
    const pause = (ms: number): void => lan.run(lan.nowUs + ms * 1000);
    const answers = [...askers].flatMap(([asker, vips]) => askWhoHas(asker, vips, 3, pause));
    return new Map(answers.map((a) => [a.target, a]));
  }

  #outcome(plot: Plot): ScenarioOutcome {
    const { lan } = this.world;
    const nameOf = (mac: string | undefined): string =>
      mac === undefined ? "nobody" : (plot.cast.nameOfMac.get(mac as never) ?? mac);
    // a client behind the router has no neighbour on the VIPs' network
    const near = [plot.client, plot.router].filter((h) => linkOn(h, plot.lan) !== undefined).map((h) => h.name);
    const caches = Object.fromEntries(
      near.map((name) => [
        name,
        Object.fromEntries(plot.vips.map((v) => [formatIpv4(v), nameOf(this.#host(name).neighbourOf(v)?.mac)])),
      ]),
    );
    const { events } = lan;
    const asked = this.#askWhoHas();
    const owners = Object.fromEntries(
      plot.vips.map((vip) => [
        formatIpv4(vip),
        [...(asked.get(vip)?.by ?? [])]
          .sort((x, y) => y.first - x.first || (x.mac < y.mac ? -1 : 1))
          .map((b) => nameOf(b.mac)),
      ]),
    );
    const ended = (...outcomes: string[]) => this.#results.filter((r) => outcomes.includes(r.outcome));
    const broken = ended("reset", "hang");
    const servedBy: Record<string, number> = {};
    for (const { servedBy: by } of this.#results) for (const name of by) servedBy[name] = (servedBy[name] ?? 0) + 1;
    return {
      timeline: this.#timeline,
      breaches: this.#laws.breaches,
      owners,
      caches,
      connections: {
        total: this.#results.length,
        completed: ended("completed").length,
        broken: broken.length,
        brokenLongLived: broken.filter((r) => r.kind === "long").length,
        refused: ended("refused").length,
        ...(this.#faults.some((f) => f.action === "answers")
          ? { failed: this.#results.filter((r) => r.errors > 0).length }
          : {}),
        misrouted: this.#misrouted.size,
        servedBy,
      },
      ...(plot.datagrams.length === 0 ? {} : { datagrams: this.#datagrams }),
      leaks: this.#leaks,
      events,
      ...(this.#pcap === undefined ? {} : { pcap: { octets: this.#pcap.octets(), frames: this.#pcap.frames } }),
    };
  }
}

/** Ports that services and their checks ask for by that protocol. */
function portsOf(cluster: Cluster, protocol: "tcp" | "udp"): ReadonlySet<number> {
  const ofChecks = (service: Service): number[] =>
    service.checks.flatMap((check) =>
      "port" in check &&
      check.port !== undefined &&
      (protocol === "udp") === (check.type === "dns" || check.type === "udp")
        ? [check.port]
        : [],
    );
  const ofServices = (service: Service): number[] =>
    virtualServersOf(service).flatMap((v) => (v.kind === "port" && v.protocol === protocol ? [v.ports.first] : []));
  return new Set(cluster.services.flatMap((s) => [...ofServices(s), ...ofChecks(s)]));
}

/** What failover may take: a master is missed, its successor announces itself, or hands over again. */
const settleUsOf = ({ failover }: Cluster): number => {
  const waits = failover.instances.map((i) => (i.downAdverts + 1) * i.intervalMs + i.preemptDelayMs);
  return 1000 * (1000 + Math.max(0, ...waits));
};

/** What a cluster file's own scenario means; `seed` where one is asked for. Throws RangeError where it has none. */
export function scenarioOptions(
  cluster: Cluster,
  seed: number | undefined,
  silenced: boolean,
  capture = false,
): ScenarioOptions {
  const { scenario, ignoresGratuitous } = cluster.lab;
  if (scenario === undefined) throw new RangeError("the cluster file holds no scenario");
  const { durationMs, faults, longLived, guard } = scenario;
  // at most a few thousand connections, however long it lasts
  const often = Math.round(durationMs / 500);
  return {
    seed: seed ?? scenario.seed ?? 1,
    durationMs,
    faults,
    dropsGratuitous: ignoresGratuitous,
    silenced,
    guard,
    capture,
    connectEveryMs: scenario.connectEveryMs ?? Math.max(250, often),
    longLived,
    askEveryMs: scenario.askEveryMs ?? Math.max(2000, often),
  };
}
