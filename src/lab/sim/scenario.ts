/** A cluster under faults, in virtual time: what clients saw, who owned the VIP, which laws broke, and when. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Cluster, LabFault } from "../../cluster/cluster.ts";
import type { HostFacts } from "../../model/facts.ts";
import type { SimHost } from "../../sim/host.ts";
import { Pcap } from "../../sim/pcap.ts";
import type { Plot } from "../plot.ts";
import { addressOn } from "../topology.ts";
import type { ConnectionResult } from "../traffic.ts";
import { buildWorld, holding, type World, withoutAddresses } from "./build.ts";
import { disciplined } from "./discipline.ts";
import { type Breach, Laws } from "./laws.ts";
import { askWhoHas } from "./stage.ts";
import { Standby } from "./standby.ts";
import { converse, serveWeb } from "./traffic.ts";

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
  /** Whose MAC client and router have for each VIP at the end. */
  readonly caches: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly connections: {
    readonly total: number;
    readonly completed: number;
    readonly broken: number;
    readonly refused: number;
    /** Connections of which a packet reached a real server behind the director's back. */
    readonly misrouted: number;
    readonly servedBy: Readonly<Record<string, number>>;
  };
  /** ARP requests in a VIP's name, by real server. */
  readonly leaks: Readonly<Record<string, number>>;
  readonly events: number;
  readonly pcap?: { readonly octets: Uint8Array; readonly frames: number };
}

export class Scenario {
  readonly world: World;
  readonly standbys: readonly Standby[];
  readonly #options: ScenarioOptions;
  readonly #timeline: TimelineEntry[] = [];
  readonly #laws: Laws;
  readonly #results: ConnectionResult[] = [];
  readonly #leaks: Record<string, number> = {};
  readonly #misrouted = new Set<string>();
  readonly #pcap: Pcap | undefined;

  constructor(plot: Plot, options: ScenarioOptions) {
    this.#options = options;
    this.world = buildWorld(plot, { seed: options.seed, dropsGratuitous: options.dropsGratuitous });
    const { lan, directors, realServers } = this.world;
    if (options.silenced)
      for (const one of realServers) one.host.change(disciplined(one.plain, one.subject, one.policy, "full"));
    for (const port of new Set(plot.services.map(({ service }) => service.port)))
      for (const { host } of realServers) serveWeb(host, port);
    const services = plot.services.map(({ service }) => service);
    const dips = plot.topology.hosts.filter((h) => h.role === "director").map((h) => addressOn(h, plot.lan));
    this.standbys = directors.map(
      ({ host, ipvs, lanLink }, i) =>
        new Standby(
          {
            host,
            ipvs,
            link: lanLink,
            dip: dips[i] as Ipv4,
            peers: dips.filter((_, n) => n !== i),
            vips: plot.vips,
            priority: Math.max(1, 150 - 10 * i),
            services,
            tell: (text) => this.#tell(text),
          },
          host.name === plot.director.name,
        ),
    );
    this.#laws = new Laws(this.world, this.standbys, (b) => this.#tell(`LAW BROKEN, ${b.law}: ${b.host} ${b.what}`));
    this.#pcap = options.capture === true ? new Pcap(lan.macs) : undefined;
    lan.taps.push((timeUs, from, frame) => {
      this.#laws.frame(from, frame);
      this.#pcap?.add(timeUs, frame);
      const { body } = frame;
      if (body.kind === "arp") {
        if (body.operation === 1 && body.senderIp !== body.targetIp && plot.cast.vips.has(body.senderIp))
          if (realServers.some((r) => r.host.name === from)) this.#leaks[from] = (this.#leaks[from] ?? 0) + 1;
      } else if (from === plot.client.name && body.tcp !== undefined && plot.cast.vips.has(body.destination)) {
        const machine = plot.cast.nameOfMac.get(lan.macs.nameOf(frame.to));
        if (realServers.some((r) => r.host.name === machine)) this.#misrouted.add(`${body.source}:${body.sourcePort}`);
      }
    });
  }

  #tell(text: string): void {
    this.#timeline.push({ atMs: Math.floor(this.world.lan.nowUs / 1000), text });
  }

  run(): ScenarioOutcome {
    const { lan, plot } = this.world;
    const { durationMs, faults } = this.#options;
    for (const standby of this.standbys) standby.start();
    this.#laws.hosts();
    for (const fault of faults)
      lan.at(fault.atMs * 1000, () => {
        this.#tell(describeFault(fault));
        this.#do(fault);
        this.#laws.hosts();
      });
    this.#traffic();
    this.#ask();
    lan.run(durationMs * 1000);
    return this.#outcome(plot);
  }

  #traffic(): void {
    const { lan, plot } = this.world;
    const { connectEveryMs, longLived, durationMs } = this.#options;
    const client = this.#host(plot.client.name);
    const untilUs = durationMs * 1000;
    const start = (kind: "long" | "short", i: number): void => {
      const { targets, from } = plot.traffic;
      const target = targets[i % targets.length];
      const source = from[i % from.length];
      if (target !== undefined && source !== undefined)
        converse(client, { ...plot.traffic, pauseMs: 1000 }, kind, target, source, untilUs, (r) =>
          this.#results.push(r),
        );
    };
    for (let i = 0; i < longLived; i++) lan.at(i * 1000, () => start("long", i));
    let n = 0;
    const next = (): void => {
      start("short", n++);
      const at = lan.nowUs + connectEveryMs * 1000;
      if (at < untilUs - plot.traffic.patienceMs * 1000) lan.at(at, next);
    };
    lan.at(500_000, next);
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
      for (const targetIp of plot.vips) router.sendArp(nic, { operation: 1, senderIp, targetIp });
      lan.at(lan.nowUs + this.#options.askEveryMs * 1000, ask);
    };
    lan.at(750_000, ask);
  }

  #host(name: string): SimHost {
    const host = this.world.hosts.get(name);
    if (host === undefined) throw new RangeError(`no machine ${name}`);
    return host;
  }

  #do(fault: LabFault): void {
    const host = this.world.hosts.get(fault.host);
    if (host === undefined) return; // not part of this chapter
    const { lan, plot } = this.world;
    const standby = this.standbys.find((s) => s.options.host === host);
    const edit = (change: (facts: HostFacts) => HostFacts): void => host.change(change(host.facts));
    const wire = host.nics[0]?.link ?? "eth0";
    switch (fault.action) {
      case "crash":
        host.crash();
        break;
      case "restart":
        if (!host.down) break;
        host.restart();
        standby?.rebooted();
        break;
      case "pause":
        host.pause();
        break;
      case "resume":
        host.resume();
        break;
      case "cut":
      case "mend":
        for (const nic of host.nics) lan.cableOf(nic.port).up = fault.action === "mend";
        break;
      case "loss":
        for (const nic of host.nics) {
          const cable = lan.cableOf(nic.port);
          lan.setCable(cable, { ...cable.options, lossPpm: Math.round(Math.max(0, fault.value) * 10_000) });
        }
        break;
      case "drift":
        host.driftPpm = Math.round(fault.value);
        break;
      case "sysctl":
        edit((f) => ({ ...f, sysctls: { ...f.sysctls, [fault.name]: fault.value } }));
        break;
      case "add-vip":
        edit((f) => holding(withoutAddresses(f, plot.vips), wire, plot.vips));
        break;
      case "remove-vip":
        edit((f) => withoutAddresses(f, plot.vips));
        break;
      case "flush":
        host.forgetNeighbours();
        break;
      case "take-over":
        standby?.takeOver(`${host.name} is told to`);
        break;
      case "release":
        standby?.release(`${host.name} gives the VIPs up`);
        break;
      case "speak":
        host.forgetNeighbours();
        for (const vip of plot.vips) host.sendUdp(vip, addressOn(plot.router, plot.lan), 40_000, 9);
        break;
      case "announce":
        for (const vip of plot.vips) for (const nic of host.nics.slice(0, 1)) host.announceAddress(nic, vip);
    }
  }

  #outcome(plot: Plot): ScenarioOutcome {
    const { lan } = this.world;
    const nameOf = (mac: string | undefined): string =>
      mac === undefined ? "nobody" : (plot.cast.nameOfMac.get(mac as never) ?? mac);
    const caches = Object.fromEntries(
      [plot.client.name, plot.router.name].map((name) => [
        name,
        Object.fromEntries(plot.vips.map((v) => [formatIpv4(v), nameOf(this.#host(name).neighbourOf(v)?.mac)])),
      ]),
    );
    const { events } = lan;
    const asked = askWhoHas(this.#host(plot.client.name), plot.vips, 3, (ms) => lan.run(lan.nowUs + ms * 1000));
    const owners = Object.fromEntries(
      asked.map((a) => [
        formatIpv4(a.target),
        [...a.by].sort((x, y) => y.first - x.first || (x.mac < y.mac ? -1 : 1)).map((b) => nameOf(b.mac)),
      ]),
    );
    const count = (...outcomes: string[]): number => this.#results.filter((r) => outcomes.includes(r.outcome)).length;
    const servedBy: Record<string, number> = {};
    for (const { servedBy: by } of this.#results) for (const name of by) servedBy[name] = (servedBy[name] ?? 0) + 1;
    return {
      timeline: this.#timeline,
      breaches: this.#laws.breaches,
      owners,
      caches,
      connections: {
        total: this.#results.length,
        completed: count("completed"),
        broken: count("reset", "hang"),
        refused: count("refused"),
        misrouted: this.#misrouted.size,
        servedBy,
      },
      leaks: this.#leaks,
      events,
      ...(this.#pcap === undefined ? {} : { pcap: { octets: this.#pcap.octets(), frames: this.#pcap.frames } }),
    };
  }
}

/** What a cluster file's own scenario means. Throws RangeError where it has none. */
export function scenarioOptions(cluster: Cluster, seed: number, silenced: boolean, capture = false): ScenarioOptions {
  const { scenario, ignoresGratuitous } = cluster.lab;
  if (scenario === undefined) throw new RangeError("the cluster file holds no scenario");
  return {
    seed,
    durationMs: scenario.durationMs,
    faults: scenario.faults,
    dropsGratuitous: ignoresGratuitous,
    silenced,
    capture,
    // at most a few thousand connections, however long it lasts
    connectEveryMs: Math.max(250, Math.round(scenario.durationMs / 500)),
    longLived: 12,
    askEveryMs: Math.max(2000, Math.round(scenario.durationMs / 500)),
  };
}

const words: Readonly<Record<string, (f: LabFault) => string>> = {
  loss: (f) => `${f.host}'s cable loses ${f.value} % of its frames`,
  drift: (f) => `${f.host}'s clock is ${f.value} millionths fast`,
  sysctl: (f) => `${f.host}: ${f.name} = ${f.value}`,
  "add-vip": (f) => `${f.host}: somebody puts the VIPs on its network card`,
  "remove-vip": (f) => `${f.host} loses the VIPs`,
  flush: (f) => `${f.host} forgets its neighbours`,
  speak: (f) => `${f.host} says a word in the VIPs' name`,
  announce: (f) => `${f.host} announces the VIPs`,
  "take-over": (f) => `${f.host} is told to take over`,
  release: (f) => `${f.host} is told to give up`,
  crash: (f) => `${f.host} crashes`,
  restart: (f) => `${f.host} comes back`,
  pause: (f) => `${f.host} freezes`,
  resume: (f) => `${f.host} goes on`,
  cut: (f) => `${f.host}'s cable is cut`,
  mend: (f) => `${f.host}'s cable is mended`,
};
export const describeFault = (fault: LabFault): string => words[fault.action]?.(fault) ?? fault.action;
