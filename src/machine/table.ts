/** A director's table as values: what should stand in it, and what a kernel says stands there. */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Destination, DestinationWish, IpvsProtocol, Service, ServiceWish } from "../wire/ipvsValues.ts";

/** How a director hands a packet on (LVS's words). */
export type ForwardingMethod = "dr" | "tun" | "nat";

export interface TableTunnel {
  readonly type: "ipip" | "gue" | "gre";
  /** gue only. */
  readonly port?: number;
  readonly checksum?: "off" | "on" | "remote";
}

export interface TableRealServer {
  readonly name: string;
  readonly rip: Ipv4;
  /** Same as the service's port, except under nat; 0 with a fwmark: the client's. */
  readonly port: number;
  readonly weight: number;
  readonly forwarding: ForwardingMethod;
  /** Connections; absent or 0: no limit. */
  readonly upperThreshold?: number;
  readonly lowerThreshold?: number;
  /** For tun; absent: plain ipip. */
  readonly tunnel?: TableTunnel;
  /** As the kernel says: it is this host itself, and the way to it is none. */
  readonly local?: boolean;
  /** Nobody has checked it yet: one that stands keeps its weight, a new one begins with 0. */
  readonly unsure?: boolean;
  /** Stays if it stands, and is not put there: the sorry server, while nobody knows whether it is needed. */
  readonly onlyIfThere?: boolean;
}

export interface TableSettings {
  readonly scheduler: string;
  /** 1 is sh-fallback or mh-fallback, 2 is sh-port or mh-port. Ascending. */
  readonly schedulerFlags?: readonly (1 | 2 | 3)[];
  readonly persistence?: { readonly timeoutSeconds: number; readonly netmaskLength: number };
  readonly onePacket?: boolean;
}

export interface PortKey {
  readonly vip: Ipv4;
  /** IANA protocol number: 6 tcp, 17 udp, 132 sctp. */
  readonly protocol: number;
  /** 0: every port, with persistence. */
  readonly port: number;
}
export interface FwmarkKey {
  readonly fwmark: number;
}
export type TableKey = PortKey | FwmarkKey;

export type TableService = TableKey & TableSettings & { readonly realServers: readonly TableRealServer[] };

/** Packets that get a mark before IPVS sees them: how a range of ports becomes one service. Both ends belong to it. */
export interface MarkRule {
  readonly vip: Ipv4;
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
  readonly fwmark: number;
}

const protocolNames: Readonly<Record<number, IpvsProtocol>> = { 6: "tcp", 17: "udp", 132: "sctp" };
const protocolNumbers: Readonly<Record<IpvsProtocol, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** "tcp 10.0.0.100:80", "mark 7": for maps and for people. */
export const keyOf = (key: TableKey): string =>
  "fwmark" in key
    ? `mark ${key.fwmark}`
    : `${protocolNames[key.protocol] ?? key.protocol} ${formatIpv4(key.vip)}:${key.port}`;
/** "10.0.0.11:80", within one service. */
export const serverKeyOf = (server: Pick<TableRealServer, "rip" | "port">): string =>
  `${formatIpv4(server.rip)}:${server.port}`;

/** The kernel's words for a service. Throws RangeError for a protocol that IPVS does not have. */
export function toKernelService(service: TableKey & TableSettings): ServiceWish {
  const { scheduler, schedulerFlags = [], persistence, onePacket = false } = service;
  const settings = {
    scheduler,
    schedulerFlags,
    onePacket,
    ...(persistence && {
      persistenceSeconds: persistence.timeoutSeconds,
      persistencePrefixLength: persistence.netmaskLength,
    }),
  };
  if ("fwmark" in service) return { fwmark: service.fwmark, family: "ipv4", ...settings };
  const protocol = protocolNames[service.protocol];
  if (protocol === undefined) throw new RangeError(`IPVS has no protocol ${service.protocol}`);
  return { protocol, address: service.vip, port: service.port, ...settings };
}

export function toKernelServer(server: TableRealServer): DestinationWish {
  const { rip, port, weight, forwarding, upperThreshold = 0, lowerThreshold = 0, tunnel } = server;
  return {
    address: rip,
    port,
    weight,
    forwarding: forwarding === "nat" ? "masq" : forwarding,
    upperThreshold,
    lowerThreshold,
    ...(forwarding === "tun" && tunnel && { tunnel }),
  };
}

/** The kernel shows `local` for a server that is this host itself, whatever it was given. */
const methods = { dr: "dr", tun: "tun", masq: "nat", local: "dr", bypass: "dr" } as const;

/** What the kernel's dump says, in our words; undefined: an IPv6 service, which is nobody's here. */
export function fromKernel(service: Service, destinations: readonly Destination[]): TableService | undefined {
  let key: TableKey;
  if ("fwmark" in service) {
    if (service.family !== "ipv4") return undefined;
    key = { fwmark: service.fwmark };
  } else {
    if (typeof service.address !== "number") return undefined;
    key = { vip: service.address, protocol: protocolNumbers[service.protocol], port: service.port };
  }
  const realServers = destinations.flatMap((d): TableRealServer[] => {
    if (typeof d.address !== "number") return [];
    const { address: rip, port, weight, upperThreshold, lowerThreshold, tunnel } = d;
    const forwarding = methods[d.forwarding];
    const local = d.forwarding === "local" && { local: true };
    const shown = { name: "", rip, port, weight, forwarding, upperThreshold, lowerThreshold };
    return [{ ...shown, ...(tunnel && { tunnel }), ...local }];
  });
  const {
    scheduler,
    schedulerFlags = [],
    persistenceSeconds,
    persistencePrefixLength = 32,
    onePacket = false,
  } = service;
  return {
    ...key,
    scheduler,
    schedulerFlags,
    onePacket,
    realServers,
    ...(persistenceSeconds !== undefined && {
      persistence: { timeoutSeconds: persistenceSeconds, netmaskLength: persistencePrefixLength },
    }),
  };
}
