/** What `vipward status` shows and --json prints: plain values, addresses as text. */
import { formatIpv4 } from "../base/ipv4.ts";
import type { Cluster, Service } from "../cluster/cluster.ts";
import { type DesiredTable, desiredKeys } from "../machine/desired.ts";
import { keyOf, serverKeyOf, type TableRealServer } from "../machine/table.ts";
import type { ServerTraffic, TableReading } from "../ports/engine.ts";
import type { AgentEvent } from "./event.ts";
import type { InstanceStatus } from "./failoverStatus.ts";
import type { ServiceView } from "./health.ts";

export interface ServerStatus {
  readonly name: string;
  readonly address: string;
  /** As the kernel has it; undefined: not in the table. */
  readonly weight: number | undefined;
  readonly wantedWeight: number | undefined;
  readonly forwarding: string;
  readonly health: "up" | "down" | "unknown" | "sorry";
  readonly why: string;
  readonly forMs: number;
  readonly drain: "none" | "draining" | "drained";
  /** Failing, and kept in by the kill-switch. */
  readonly held: boolean;
  readonly traffic: ServerTraffic | undefined;
}
export interface ServiceStatus {
  readonly name: string;
  /** "tcp 10.0.0.100:80". */
  readonly key: string;
  readonly scheduler: string;
  readonly quorum: "unknown" | "held" | "lost";
  readonly alarm: boolean;
  readonly servers: readonly ServerStatus[];
}

export interface InstanceReport {
  readonly name: string;
  readonly link: string;
  readonly phase: InstanceStatus["phase"];
  readonly vips: readonly string[];
  readonly unverified: number;
  readonly conflicts: number;
  readonly id?: number;
  readonly version?: number;
  readonly intervalMs?: number;
  readonly priority?: number;
  readonly effectivePriority?: number;
  readonly forMs?: number;
  readonly why?: string | undefined;
  readonly rule?: string | undefined;
  /** Address and, where it is known, name of the director that owns the VIPs. */
  readonly owner?: string | undefined;
  readonly switchedOver?: boolean;
  readonly fault?: string | undefined;
  readonly peers?: readonly {
    readonly address: string;
    readonly priority: number;
    readonly intervalMs: number;
    readonly checksum: string;
    readonly heardAgoMs: number;
  }[];
  readonly counts?: Readonly<Record<string, number>>;
}
export interface StampedEvent extends AgentEvent {
  readonly at: string;
  readonly sequence: number;
}
export interface AgentStatus {
  readonly version: 1;
  readonly cluster: string;
  readonly host: string;
  readonly role: "director" | "realServer" | "both";
  readonly forMs: number;
  readonly instances: readonly InstanceReport[];
  readonly services: readonly ServiceStatus[];
  readonly foreign: readonly string[];
  readonly guilty: readonly {
    readonly who: string;
    readonly vip: string;
    readonly how: string;
    readonly seen: number;
    readonly link: string;
  }[];
  /** Alarms of this director whose cause stands still. */
  readonly problems: readonly Pick<AgentEvent, "subject" | "text" | "remedy">[];
  /** Of a real server: what its last look at itself said. */
  readonly silence: { readonly state: string; readonly text: string } | undefined;
  readonly configuration: { readonly loadedAt: string; readonly error: string | undefined };
  readonly gauges: Readonly<Record<string, number>>;
  readonly counters: Readonly<Record<string, number>>;
  readonly events: readonly StampedEvent[];
}

export function instanceReport(s: InstanceStatus, cluster: Cluster): InstanceReport {
  const { name, link, phase, unverified, conflicts, vrrp } = s;
  const base = { name, link, phase, vips: s.vips.map(formatIpv4), unverified, conflicts };
  if (vrrp === undefined) return base;
  const { id, version, intervalMs, priority, effectivePriority, forMs, why, rule, switchedOver, counts } = vrrp;
  const address = vrrp.master?.address;
  const owner = cluster.directors.find((d) => d.addresses.some((a) => a.address === address));
  return {
    ...base,
    id,
    version,
    intervalMs,
    priority,
    effectivePriority,
    forMs,
    why,
    rule,
    owner: address === undefined ? undefined : `${owner === undefined ? "" : `${owner.name} `}${formatIpv4(address)}`,
    switchedOver,
    fault: vrrp.trackFault,
    peers: vrrp.peers.map((p) => ({ ...p, address: formatIpv4(p.address) })),
    counts,
  };
}

/** One entry for each virtual service of the kernel's table that the file names. */
export function serviceStatuses(
  cluster: Cluster,
  desired: DesiredTable,
  views: readonly ServiceView[],
  reading: TableReading,
): ServiceStatus[] {
  const wanted = new Map(desired.services.map((s) => [keyOf(s), s]));
  const actual = new Map(reading.services.map((s) => [keyOf(s), s]));
  const viewOf = new Map(views.map((v) => [v.name, v]));
  const entry = (service: Service, key: string): ServiceStatus => {
    const view = viewOf.get(service.name);
    const wish = wanted.get(key);
    const stands = actual.get(key);
    const standing = new Map(stands?.realServers.map((s) => [serverKeyOf(s), s]));
    // What is not known yet keeps the weight that it has.
    const weightOf = (wish: TableRealServer | undefined, at: string): number | undefined =>
      (wish?.unsure === true ? standing.get(at)?.weight : undefined) ?? wish?.weight;
    const inFile = service.destinations.map((d): ServerStatus => {
      const seen = view?.servers.find((s) => s.name === d.realServer.name);
      const wishFor = wish?.realServers.find((s) => s.rip === d.realServer.rip);
      const port = wishFor?.port ?? d.port ?? Number(key.split(":")[1] ?? 0);
      const serverKey = serverKeyOf({ rip: d.realServer.rip, port });
      return {
        name: d.realServer.name,
        address: serverKey,
        weight: standing.get(serverKey)?.weight,
        wantedWeight: weightOf(wishFor, serverKey),
        forwarding: d.forwarding,
        health: seen?.health ?? "unknown",
        why: seen?.why ?? "",
        forMs: seen?.forMs ?? 0,
        drain: seen?.drain ?? "none",
        held: seen?.held ?? false,
        traffic: reading.traffic.get(key)?.get(serverKey),
      };
    });
    const sorry = (wish?.realServers ?? []).flatMap((s): ServerStatus[] => {
      if (service.destinations.some((d) => d.realServer.rip === s.rip)) return [];
      const address = serverKeyOf(s);
      if (s.onlyIfThere === true && !standing.has(address)) return [];
      return [
        {
          name: s.name,
          address,
          weight: standing.get(address)?.weight,
          wantedWeight: weightOf(s, address),
          forwarding: s.forwarding,
          health: "sorry",
          why: s.onlyIfThere === true ? "it served before the restart" : "the quorum is lost",
          forMs: 0,
          drain: "none",
          held: false,
          traffic: reading.traffic.get(key)?.get(address),
        },
      ];
    });
    return {
      name: service.name,
      key,
      scheduler: stands?.scheduler ?? service.scheduler,
      quorum: view?.quorum ?? "unknown",
      alarm: view?.alarm ?? false,
      servers: [...inFile, ...sorry],
    };
  };
  const keys = desiredKeys(cluster.services);
  return cluster.services.flatMap((service) => (keys.get(service.name) ?? []).map((key) => entry(service, keyOf(key))));
}
