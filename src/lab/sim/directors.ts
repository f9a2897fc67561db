/** The directors of a simulated cluster: each runs the agent, as a machine does from boot to crash. */
import { createHash } from "node:crypto";
import type { AgentEvent } from "../../agent/event.ts";
import type { Ipv4 } from "../../base/ipv4.ts";
import type { Check, Cluster } from "../../cluster/cluster.ts";
import { SimAgent } from "../../sim/agent.ts";
import type { DirectorState, World } from "./build.ts";

/**
 * The part of the cluster that stands in this world: its machines, and services by tcp and, where the plot has some, by
 * udp. A service whose servers all stand elsewhere is another chapter's.
 */
export function clusterIn({ cluster, plot }: Pick<World, "cluster" | "plot">): Cluster {
  const here = new Set(plot.topology.hosts.map((h) => h.name));
  const wires = new Set(plot.topology.wires);
  const services = cluster.services.flatMap((service) => {
    const destinations = service.destinations.filter(
      (d) => here.has(d.realServer.name) && d.forwarding === plot.forwarding,
    );
    const { match } = service;
    const isSpoken =
      match.kind === "fwmark" || match.protocol === "tcp" || (match.protocol === "udp" && plot.datagrams.length > 0);
    return destinations.length > 0 && isSpoken
      ? [{ ...service, destinations, checks: service.checks.map(anyBody) }]
      : [];
  });
  const instances = cluster.failover.instances.filter((i) => i.vips.every((vip) => wires.has(vip.network.name)));
  const names = new Set(instances.map((i) => i.name));
  const syncGroups = cluster.failover.syncGroups.filter((g) => g.instances.every((name) => names.has(name)));
  return {
    ...cluster,
    services,
    directors: cluster.directors.filter((d) => here.has(d.name)),
    realServers: cluster.realServers.filter((r) => here.has(r.name)),
    failover: { ...cluster.failover, instances, syncGroups },
  };
}

/** Of what an answer says only the status is modelled. */
const anyBody = (check: Check): Check => {
  if (check.type === "dns") return { ...check, expect: undefined };
  if (check.type !== "http" && check.type !== "https") return check;
  return { ...check, bodyRegex: undefined, bodySha256: undefined };
};

export class SimDirector {
  readonly state: DirectorState;
  readonly name: string;
  readonly #cluster: Cluster;
  readonly #report: (name: string, event: AgentEvent) => void;
  #agent: SimAgent | undefined;

  constructor(state: DirectorState, cluster: Cluster, report: (name: string, event: AgentEvent) => void) {
    this.state = state;
    this.name = state.host.name;
    this.#cluster = cluster;
    this.#report = report;
  }

  /** The agent begins on the host as it stands. */
  start(): void {
    const director = this.#cluster.directors.find((d) => d.name === this.name);
    if (director === undefined) throw new RangeError(`no director ${this.name}`);
    this.#agent?.end();
    this.#agent = new SimAgent({
      host: this.state.host,
      ipvs: this.state.ipvs,
      cluster: this.#cluster,
      director,
      http: {
        sha256: (octets) => createHash("sha256").update(octets).digest("hex"),
        matches: (pattern, text) => new RegExp(pattern).test(text),
      },
      report: (event) => this.#report(this.name, event),
    });
  }

  crash(): void {
    this.#agent?.end();
    this.#agent = undefined;
    this.state.host.crash();
  }

  /** Boots without VIPs and with an empty table; the agent starts with the machine. */
  restart(): void {
    const { host, ipvs, bare } = this.state;
    host.restart();
    ipvs.clear();
    host.change(bare);
    this.start();
  }

  /** Since when it holds the VIP, as its agent says; undefined: it does not. */
  holds(vip: Ipv4): number | undefined {
    return this.#agent?.holds.get(vip);
  }
  /** When it last took VIPs or gave them away. */
  get changedUs(): number {
    return this.#agent?.changedUs ?? 0;
  }
  /** It is master for the VIP, or stands by for it; without either it is not asked to answer. */
  standsFor(vip: Ipv4): boolean {
    const nowMs = this.state.host.clockUs / 1000;
    const instances = this.#agent?.failover.status(nowMs) ?? [];
    return instances.some((i) => i.vips.includes(vip) && i.phase !== "initialize");
  }
  /** Its frames reach others, and theirs reach it. */
  get isThere(): boolean {
    const { host } = this.state;
    const deaf = host.nics.every((nic) => host.lan.cableOf(nic.port).options.lossPpm >= 1_000_000);
    return host.isAwake && host.isPlugged && !deaf;
  }

  switchOver(): void {
    if (!this.state.host.isPaused) this.#agent?.switchOver();
  }
  release(): void {
    if (!this.state.host.isPaused) this.#agent?.release();
  }
  serversUp(): readonly string[] {
    const views = this.#agent?.director.health.view(this.state.host.clockUs / 1000) ?? [];
    return [...new Set(views.flatMap((v) => v.servers.filter((s) => s.health === "up").map((s) => s.name)))].sort();
  }
}
