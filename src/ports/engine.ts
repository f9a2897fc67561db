import type { Ipv4 } from "../base/ipv4.ts";
import type { PortKey, TableRealServer, TableSettings } from "../machine/table.ts";

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
