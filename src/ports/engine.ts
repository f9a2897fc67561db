import type { Ipv4 } from "../base/ipv4.ts";
import type { TableChange } from "../machine/difference.ts";
import type { MarkRule, PortKey, TableKey, TableRealServer, TableService, TableSettings } from "../machine/table.ts";

import type { Connection, Forwarding } from "../wire/ipvsSync.ts";

export type { ForwardingMethod, TableService } from "../machine/table.ts";

export type EngineRealServer = TableRealServer;

/** One virtual service as a director programs it: machine/table.ts has those known by a fwmark too. */
export type EngineService = PortKey & TableSettings & { readonly realServers: readonly EngineRealServer[] };

/** As counted by what forwards, since it was programmed. */
export interface EngineCount {
  readonly service: { readonly vip: Ipv4; readonly protocol: number; readonly port: number };
  readonly realServer: Ipv4;
  readonly connections: number;
  readonly packets: number;
  readonly octets: number;
}

/** What forwards on a director. One file per engine in host/engine/. */
export interface Engine {
  readonly name: string;
  /** How old a count may be when it is read: IPVS brings its own up to date every two seconds only. */
  readonly countsLagMs: number;
  /** What of this service the engine cannot do, each with the remedy; none when it can do all of it. */
  refusals(service: EngineService): string[];
  /** Makes exactly these services stand. Throws HostError when the kernel refuses. */
  program(services: readonly EngineService[]): void;
  counts(): EngineCount[];
  /** Takes away what program() made. */
  clear(): void;
  /** Lets go of the engine; what it programmed stays. */
  close(): void;
}

/** What the engine counts for one real server of one service. Rates are per second. */
export interface ServerTraffic {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly connections: number;
  readonly packets: number;
  readonly octets: number;
  readonly connectionRate: number;
  readonly packetRate: number;
  readonly octetRate: number;
}

/** A table as it stands, and what it counts, by keyOf(service) and then serverKeyOf(server). */
export interface TableReading {
  readonly services: readonly TableService[];
  readonly traffic: ReadonlyMap<string, ReadonlyMap<string, ServerTraffic>>;
}

export interface TableFailure {
  readonly change: TableChange;
  readonly why: string;
  readonly remedy: string;
}

export interface SyncDaemonWish {
  readonly role: "master" | "backup";
  readonly interface: string;
  readonly id: number;
  readonly group: Ipv4;
  readonly port: number;
  readonly ttl: number;
}

export interface GateDoor {
  readonly vip: Ipv4;
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}
/** What becomes of packets for the VIPs that the engine does not take. */
export interface GateWish {
  /** Nothing on this host takes them, except through a door of `open`. */
  readonly closed: readonly Ipv4[];
  readonly open: readonly GateDoor[];
  /** Other directors, to whom FailoverPorts.relay may send what belongs to connections that only they know. */
  readonly peers: readonly Ipv4[];
}

/** Rules of the host's packet filter that are ours: TableEngine.mark and TableEngine.gate. */
export type OwnRules = "marks" | "gate";

/** How connections are told to other directors: the wire of the sync daemons. */
export interface HandOverWay extends Omit<SyncDaemonWish, "role"> {
  readonly forwardingOf: (connection: Connection) => Forwarding;
}

/** An engine whose table outlives us: the agent reads it, and changes what differs. */
export interface TableEngine {
  /**
   * Services of other owners are in it. `only`: these services, as far as they are there. A table that somebody else
   * changes meanwhile may be read in halves: what is refused afterwards says so. Throws HostError when it cannot be read.
   */
  read(only?: readonly TableKey[]): TableReading;
  /** In order, each for itself; gives those that were refused. */
  apply(changes: readonly TableChange[]): TableFailure[];
  /** Exactly these packets are marked for us; none: our rules go away. Says why not, and what to do. */
  mark(rules: readonly MarkRule[]): string | undefined;
  /** Exactly this gate stands; nothing closed and no peers: our rules go away. Says why not, and what to do. */
  gate(wish: GateWish): string | undefined;
  /** Which of our rules somebody else has changed or taken away since they were made. */
  lost(): readonly OwnRules[];
  /**
   * Tells other directors every connection that the engine knows, at once, and each new one after it; undefined: the
   * last ones, and no more. What goes wrong is told to `onFault`.
   */
  tellConnections(way: HandOverWay | undefined, onFault: (why: string) => void): void;
  /** The host's setting: a director that receives connection sync forwards nothing meanwhile. */
  readonly backupOnly: boolean;
  /** The host's setting: with weight 0 a server gets nothing new from persistent clients either. */
  readonly expiresQuiescent: boolean;
  /** Exactly these daemons of connection sync run, of the roles named; gives what was refused. */
  synchronise(daemons: readonly SyncDaemonWish[]): string[];
  close(): void;
}
