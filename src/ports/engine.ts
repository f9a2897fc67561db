import type { Ipv4 } from "../base/ipv4.ts";

/** How a director hands a packet on (LVS's words). */
export type ForwardingMethod = "dr" | "tun" | "nat";

export interface EngineRealServer {
  readonly name: string;
  readonly rip: Ipv4;
  /** Same as the service's port, except under nat. */
  readonly port: number;
  readonly weight: number;
  readonly forwarding: ForwardingMethod;
}

/** One virtual service as a director programs it. */
export interface EngineService {
  readonly vip: Ipv4;
  /** IANA protocol number: 6 tcp, 17 udp, 132 sctp. */
  readonly protocol: number;
  readonly port: number;
  readonly scheduler: string;
  readonly realServers: readonly EngineRealServer[];
}

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
