/** What should stand in the director's table now: the cluster file, seen through health, quorum and drains. */

import { isAnyPort } from "../base/anyPort.ts";
import type { Ipv4 } from "../base/ipv4.ts";
import type { Drain } from "./health/drain.ts";
import type { QuorumState } from "./health/quorum.ts";
import type { Standing } from "./health/rise.ts";
import type { ForwardingMethod, MarkRule, TableKey, TableRealServer, TableService, TableTunnel } from "./table.ts";
import type { TunnelView } from "./tunnelView.ts";

/** What this needs of a service of the cluster file, which is above this folder; desired.test.ts holds the two together. */
export interface ServiceView {
  readonly name: string;
  readonly vips: readonly { readonly address: Ipv4 }[];
  readonly match:
    | {
        readonly kind: "ports";
        readonly protocol: "tcp" | "udp" | "sctp";
        readonly ports: readonly { readonly first: number; readonly last: number }[];
      }
    | { readonly kind: "fwmark"; readonly fwmark: number };
  readonly scheduler: string;
  readonly schedulerFlags: readonly string[];
  readonly persistence: { readonly timeoutSeconds: number; readonly netmaskLength: number } | undefined;
  readonly onePacket: boolean;
  readonly destinations: readonly DestinationView[];
  readonly sorryServer:
    | {
        readonly address: Ipv4;
        readonly realServer: { readonly name: string } | undefined;
        readonly port: number | undefined;
        readonly forwarding: ForwardingMethod;
        readonly tunnel: TunnelView;
      }
    | undefined;
  readonly checks: readonly unknown[];
  readonly onFailure: "drain" | "remove";
}
export interface DestinationView {
  readonly realServer: { readonly name: string; readonly rip: Ipv4 };
  readonly weight: number;
  readonly forwarding: ForwardingMethod;
  readonly port: number | undefined;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
  readonly tunnel: TunnelView;
}

/** How the host sees a service's server; the kill-switch has spoken already, so a held one is "up". */
export interface ServerHealth {
  readonly kind: Standing["kind"];
  /** Of the file's weight, with a slow start counted in; absent: all of it. */
  readonly weight?: number;
}
export interface Circumstances {
  /** By service name, then by real server's name; absent: not checked yet. */
  readonly health: ReadonlyMap<string, ReadonlyMap<string, ServerHealth>>;
  /** By service name; absent: unknown. */
  readonly quorum: ReadonlyMap<string, QuorumState["kind"]>;
  /** By service name, then by real server's name: asked for by a person, or begun by a failure. */
  readonly drains: ReadonlyMap<string, ReadonlyMap<string, Drain>>;
}

export interface DesiredTable {
  readonly services: readonly TableService[];
  readonly marks: readonly MarkRule[];
}

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;
const flagNumbers: Readonly<Record<string, 1 | 2 | 3>> = {
  "sh-fallback": 1,
  "mh-fallback": 1,
  "flag-1": 1,
  "sh-port": 2,
  "mh-port": 2,
  "flag-2": 2,
  "flag-3": 3,
};
const tunnelChecksums = { none: "off", checksum: "on", remote: "remote" } as const;

/** Marks of ours begin with 0x76 ("v"); the rest is made from what they stand for. */
const markBase = 0x76000000;

/** FNV-1a, 24 bits: every director must come to the same mark, also when other services come and go. */
function hash24(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return ((hash >>> 24) ^ hash) & 0xffffff;
}

class Marks {
  readonly rules: MarkRule[] = [];
  readonly #taken: Set<number>;
  constructor(taken: Iterable<number>) {
    this.#taken = new Set(taken);
  }
  give(vip: Ipv4, protocol: number, first: number, last: number): number {
    let fwmark = markBase + hash24(`${vip} ${protocol} ${first} ${last}`);
    while (this.#taken.has(fwmark)) fwmark = markBase + ((fwmark + 1 - markBase) & 0xffffff);
    this.#taken.add(fwmark);
    this.rules.push({ vip, protocol, first, last, fwmark });
    return fwmark;
  }
}

/** One port is a port; every port is port 0 where persistence allows it; other ranges are marked. */
function keysOf(service: ServiceView, marks: Marks): TableKey[] {
  const { match, vips } = service;
  if (match.kind === "fwmark") return [{ fwmark: match.fwmark }];
  const protocol = protocolNumbers[match.protocol];
  return vips.flatMap(({ address: vip }) =>
    match.ports.map(({ first, last }): TableKey => {
      if (first === last) return { vip, protocol, port: first };
      if (isAnyPort({ first, last }) && service.persistence !== undefined) return { vip, protocol, port: 0 };
      return { fwmark: marks.give(vip, protocol, first, last) };
    }),
  );
}

type Stand = { readonly kind: "out" } | { readonly kind: "in"; readonly weight: number; readonly unsure?: true };

/** Where one server stands, the strongest reason first. */
function standOf(service: ServiceView, d: DestinationView, c: Circumstances): Stand {
  const { name } = d.realServer;
  const drain = c.drains.get(service.name)?.get(name);
  if (drain?.kind === "drained") return { kind: "out" };
  const health: ServerHealth | undefined =
    service.checks.length === 0 ? { kind: "up" } : c.health.get(service.name)?.get(name);
  if (health?.kind === "down" && service.onFailure === "remove") return { kind: "out" };
  if (drain?.kind === "draining" || health?.kind === "down") return { kind: "in", weight: 0 };
  if (health === undefined || health.kind === "unknown") return { kind: "in", weight: 0, unsure: true };
  return { kind: "in", weight: Math.min(d.weight, health.weight ?? d.weight) };
}

/** Nothing where the forwarding is no tunnel. */
function tunnelOf(forwarding: ForwardingMethod, { type, port, checksum }: TunnelView): { tunnel?: TableTunnel } {
  if (forwarding !== "tun") return {};
  return {
    tunnel: { type, checksum: tunnelChecksums[checksum], ...(type === "gue" && port !== undefined && { port }) },
  };
}

/** Without a server port of its own, a server listens where the clients ask. */
const portAt = (key: TableKey, own: number | undefined): number => own ?? ("fwmark" in key ? 0 : key.port);

function serversOf(service: ServiceView, key: TableKey, c: Circumstances): TableRealServer[] {
  const sorry = service.sorryServer;
  const quorum = c.quorum.get(service.name);
  const isLost = quorum === "lost" && sorry !== undefined;
  const servers: TableRealServer[] = [];
  for (const d of service.destinations) {
    const stand = standOf(service, d, c);
    if (stand.kind === "out") continue;
    const server: TableRealServer = {
      name: d.realServer.name,
      rip: d.realServer.rip,
      port: portAt(key, d.port),
      // What is too few to serve is relieved: clients are told sorry instead of half of them being served.
      weight: isLost ? 0 : stand.weight,
      forwarding: d.forwarding,
      upperThreshold: d.upperThreshold,
      lowerThreshold: d.lowerThreshold,
    };
    const isUnsure = stand.unsure === true && !isLost;
    if (d.forwarding !== "tun" && !isUnsure) servers.push(server);
    else
      servers.push({
        ...server,
        ...tunnelOf(d.forwarding, d.tunnel),
        ...(isUnsure && { unsure: true }),
      });
  }
  if (sorry === undefined || quorum === "held") return servers;
  const entry: TableRealServer = {
    name: sorry.realServer?.name ?? "sorry",
    rip: sorry.address,
    port: portAt(key, sorry.port),
    weight: 1,
    forwarding: sorry.forwarding,
    ...tunnelOf(sorry.forwarding, sorry.tunnel),
  };
  // A real server can be the sorry server too: one entry in the kernel's table. While it is lost this one wins.
  const isEntry = (s: TableRealServer): boolean => s.rip === entry.rip && s.port === entry.port;
  if (isLost) return [...servers.filter((s) => !isEntry(s)), entry];
  // After a restart: what serves goes on until it is known whether it is needed.
  return servers.some(isEntry) ? servers : [...servers, { ...entry, unsure: true, onlyIfThere: true }];
}

const marksFor = (services: readonly ServiceView[]): Marks =>
  new Marks(services.flatMap(({ match }) => (match.kind === "fwmark" ? [match.fwmark] : [])));

/**
 * What names the services of the desired table, by the service's name: no circumstances change that, but all services
 * do, as two ranges may come to one mark.
 */
export function desiredKeys(services: readonly ServiceView[]): Map<string, TableKey[]> {
  const marks = marksFor(services);
  return new Map(services.map((service) => [service.name, keysOf(service, marks)]));
}

/** Same input, same table, in the order of the file. */
export function desiredTable(services: readonly ServiceView[], circumstances: Circumstances): DesiredTable {
  const marks = marksFor(services);
  const table = services.flatMap((service) => {
    const flags = service.schedulerFlags.flatMap((name) => flagNumbers[name] ?? []);
    const settings = {
      scheduler: service.scheduler,
      schedulerFlags: [...new Set(flags)].sort(),
      onePacket: service.onePacket,
      ...(service.persistence && { persistence: service.persistence }),
    };
    return keysOf(service, marks).map((key): TableService => {
      const realServers = serversOf(service, key, circumstances);
      // Written out, as copying key and settings together costs more than all the rest of it.
      if ("fwmark" in key) return { fwmark: key.fwmark, ...settings, realServers };
      const { vip, protocol, port } = key;
      const { scheduler, schedulerFlags, onePacket, persistence } = settings;
      const wish = { vip, protocol, port, scheduler, schedulerFlags, onePacket, realServers };
      return persistence === undefined ? wish : { ...wish, persistence };
    });
  });
  return { services: table, marks: marks.rules };
}
