/** The IPVS table in the field's words: names instead of numbers, what is absent left out. From wire's tables. */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { type Ipv6, ipv6FromOctets, ipv6Octets } from "../base/ipv6.ts";
import { maskOf } from "../base/prefix.ts";
import * as wire from "./ipvs.ts";

function nameOf<T extends string>(table: Readonly<Record<T, number>>, value: number | undefined): T | undefined {
  return (Object.keys(table) as T[]).find((name) => table[name] === value);
}

export type IpvsProtocol = keyof typeof wire.IPVS_PROTOCOL;

export type IpAddress = Ipv4 | Ipv6;

/** What names a virtual service: protocol, VIP and port, or a firewall mark. */
export type ServiceKey =
  | { readonly protocol: IpvsProtocol; readonly address: IpAddress; readonly port: number }
  | { readonly fwmark: number; readonly family: "ipv4" | "ipv6" };

/** Settings of a service; what is left out takes the default that ipvsadm takes. */
export interface ServiceSettings {
  /** "wlc", "wrr", "mh": the module ip_vs_NAME. */
  readonly scheduler: string;
  /** Clients stay with their real server for so long after the last connection; absent: not persistent. */
  readonly persistenceSeconds?: number;
  /** Clients of one such prefix count as one: 32 when absent (128 for IPv6). */
  readonly persistencePrefixLength?: number;
  /** "sip" is the only one. */
  readonly persistenceEngine?: string;
  /** UDP only: a connection for each packet. */
  readonly onePacket?: boolean;
  /** Meaning is the scheduler's: 1 is sh-fallback or mh-fallback, 2 is sh-port or mh-port. */
  readonly schedulerFlags?: readonly (1 | 2 | 3)[];
}

export type ServiceWish = ServiceKey & ServiceSettings;

/**
 * Counters since the last zeroing, and rates estimated over some seconds. The kernel sums both up every two seconds, so
 * they lag that far behind (seen on Linux 6.1).
 */
export interface IpvsStatistics {
  readonly connections: bigint;
  readonly packetsIn: bigint;
  readonly packetsOut: bigint;
  readonly octetsIn: bigint;
  readonly octetsOut: bigint;
  readonly connectionsPerSecond: number;
  readonly packetsInPerSecond: number;
  readonly packetsOutPerSecond: number;
  readonly octetsInPerSecond: number;
  readonly octetsOutPerSecond: number;
}

export type Service = ServiceWish & { readonly statistics: IpvsStatistics };

const METHODS = {
  masq: wire.FORWARDING.masquerade,
  local: wire.FORWARDING.localNode,
  tun: wire.FORWARDING.tunnel,
  dr: wire.FORWARDING.directRoute,
  bypass: wire.FORWARDING.bypass,
} as const;
/** `dr` and `tun` are ours; `masq` is NAT; `local` the kernel shows for an address of its own. */
export type ForwardingMethod = keyof typeof METHODS;

const TUNNEL_CHECKSUMS = {
  off: wire.TUNNEL_FLAG.noChecksum,
  on: wire.TUNNEL_FLAG.checksum,
  remote: wire.TUNNEL_FLAG.remoteChecksum,
} as const;
export interface TunnelSettings {
  readonly type: keyof typeof wire.TUNNEL_TYPE;
  /** For gue, where it must not be 0. */
  readonly port?: number;
  /** For gue and gre; `off` when absent. */
  readonly checksum?: keyof typeof TUNNEL_CHECKSUMS;
}

export interface DestinationKey {
  readonly address: IpAddress;
  readonly port: number;
}

export interface DestinationWish extends DestinationKey {
  readonly forwarding: ForwardingMethod;
  /** 1 when absent; 0 takes no new connections. */
  readonly weight?: number;
  /** No new connections from so many on; 0 or absent: no limit. */
  readonly upperThreshold?: number;
  /** New ones again below so many; 0 or absent: three quarters of the upper one. */
  readonly lowerThreshold?: number;
  /** For `tun` only; plain ipip when absent. */
  readonly tunnel?: TunnelSettings;
}

export interface Destination extends DestinationWish {
  readonly weight: number;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
  readonly statistics: IpvsStatistics;
}

export interface SyncDaemon {
  readonly role: "master" | "backup";
  /** Interface for the multicast. */
  readonly link: string;
  /** 0 to 255: only messages of the same number are taken. */
  readonly syncId: number;
  /** Largest message; 0 or absent: what the interface's MTU allows. */
  readonly maxOctets?: number;
  /** 224.0.0.81 when absent. */
  readonly group?: IpAddress;
  /** 8848 when absent. */
  readonly port?: number;
  /** 1 when absent. */
  readonly ttl?: number;
}

export interface IpvsTimeouts {
  readonly tcpSeconds: number;
  readonly tcpFinSeconds: number;
  readonly udpSeconds: number;
}

export interface IpvsInfo {
  /** "1.2.1". */
  readonly version: string;
  /** Buckets of the connection table. */
  readonly connectionTableSize: number;
}

const isIpv4 = (address: IpAddress): address is Ipv4 => typeof address === "number";
const toWire = (address: IpAddress): wire.IpAddress =>
  isIpv4(address) ? address : (ipv6Octets(address) ?? new Uint8Array(16));
const fromWire = (address: wire.IpAddress): IpAddress =>
  typeof address === "number" ? address : ipv6FromOctets(address);

const isIpv6Service = (key: ServiceKey): boolean => ("fwmark" in key ? key.family === "ipv6" : !isIpv4(key.address));

/** A key as wire has it. */
export function wireKey(key: ServiceKey): wire.ServiceKey {
  if ("fwmark" in key) return { kind: "mark", mark: key.fwmark, family: key.family };
  const protocol = wire.IPVS_PROTOCOL[key.protocol];
  return { kind: "address", protocol, address: toWire(key.address), port: key.port };
}

const SCHEDULER_FLAGS = [
  wire.SERVICE_FLAG.scheduler1,
  wire.SERVICE_FLAG.scheduler2,
  wire.SERVICE_FLAG.scheduler3,
] as const;

export function wireSettings(wish: ServiceWish): wire.ServiceSettings {
  let flags = wish.persistenceSeconds === undefined ? 0 : wire.SERVICE_FLAG.persistent;
  if (wish.onePacket) flags |= wire.SERVICE_FLAG.onePacket;
  for (const n of wish.schedulerFlags ?? []) flags |= SCHEDULER_FLAGS[n - 1] as number;
  const length = wish.persistencePrefixLength;
  return {
    scheduler: wish.scheduler,
    flags,
    timeoutSeconds: wish.persistenceSeconds ?? 0,
    netmask: isIpv6Service(wish) ? (length ?? 128) : maskOf(length ?? 32),
    ...(wish.persistenceEngine === undefined ? {} : { persistenceEngine: wish.persistenceEngine }),
  };
}

export const wireDestinationKey = ({ address, port }: DestinationKey): wire.DestinationKey => ({
  address: toWire(address),
  port,
});

export function wireDestination(wish: DestinationWish): wire.DestinationSettings {
  const { tunnel } = wish;
  return {
    forwarding: METHODS[wish.forwarding],
    weight: wish.weight ?? 1,
    upperThreshold: wish.upperThreshold ?? 0,
    lowerThreshold: wish.lowerThreshold ?? 0,
    ...(tunnel === undefined
      ? {}
      : {
          tunnelType: wire.TUNNEL_TYPE[tunnel.type],
          tunnelPort: tunnel.port ?? 0,
          tunnelFlags: TUNNEL_CHECKSUMS[tunnel.checksum ?? "off"],
        }),
  };
}

/** Only what is said goes out: the kernel has its own defaults. */
export function wireDaemon(daemon: Partial<SyncDaemon> & Pick<SyncDaemon, "role">): wire.IpvsDaemon {
  const { group } = daemon;
  return {
    state: wire.DAEMON_STATE[daemon.role],
    ...(daemon.link === undefined ? {} : { device: daemon.link }),
    ...(daemon.syncId === undefined ? {} : { syncId: daemon.syncId }),
    ...(daemon.maxOctets === undefined ? {} : { largestMessageOctets: daemon.maxOctets }),
    ...(group === undefined ? {} : isIpv4(group) ? { group } : { group6: ipv6Octets(group) ?? new Uint8Array(16) }),
    ...(daemon.port === undefined ? {} : { port: daemon.port }),
    ...(daemon.ttl === undefined ? {} : { ttl: daemon.ttl }),
  };
}

/** 0 leaves a timeout as it is. */
export const wireTimeouts = (timeouts: Partial<IpvsTimeouts>): wire.IpvsTimeouts => ({
  tcpTimeoutSeconds: timeouts.tcpSeconds ?? 0,
  tcpFinTimeoutSeconds: timeouts.tcpFinSeconds ?? 0,
  udpTimeoutSeconds: timeouts.udpSeconds ?? 0,
});

function statisticsOf(stats: wire.IpvsStats | undefined): IpvsStatistics {
  return {
    connections: stats?.connections ?? 0n,
    packetsIn: stats?.inPackets ?? 0n,
    packetsOut: stats?.outPackets ?? 0n,
    octetsIn: stats?.inOctets ?? 0n,
    octetsOut: stats?.outOctets ?? 0n,
    connectionsPerSecond: Number(stats?.connectionRate ?? 0),
    packetsInPerSecond: Number(stats?.inPacketRate ?? 0),
    packetsOutPerSecond: Number(stats?.outPacketRate ?? 0),
    octetsInPerSecond: Number(stats?.inOctetRate ?? 0),
    octetsOutPerSecond: Number(stats?.outOctetRate ?? 0),
  };
}

function keyOf(key: wire.ServiceKey): ServiceKey | undefined {
  if (key.kind === "mark") return { fwmark: key.mark, family: key.family ?? "ipv4" };
  const protocol = nameOf(wire.IPVS_PROTOCOL, key.protocol);
  return protocol === undefined ? undefined : { protocol, address: fromWire(key.address), port: key.port };
}

/** Bits set from the left: netmasks that the kernel took are contiguous in practice. */
const lengthOfMask = (mask: number): number => Math.clz32(~mask);

/** A payload of NEW_SERVICE as dumps give it; undefined when it is not one. */
export function decodeService(payload: Uint8Array): Service | undefined {
  const read = wire.decodeService(payload);
  const key = read.ok ? keyOf(read.value.key) : undefined;
  if (!read.ok || key === undefined) return undefined;
  const { scheduler, flags, timeoutSeconds, netmask, persistenceEngine, stats } = read.value;
  const schedulerFlags = ([1, 2, 3] as const).filter((n) => (flags & (SCHEDULER_FLAGS[n - 1] as number)) !== 0);
  const persistence = {
    persistenceSeconds: timeoutSeconds,
    persistencePrefixLength: isIpv6Service(key) ? netmask : lengthOfMask(netmask),
  };
  return {
    ...key,
    scheduler,
    ...((flags & wire.SERVICE_FLAG.persistent) === 0 ? {} : persistence),
    ...(persistenceEngine === undefined ? {} : { persistenceEngine }),
    ...((flags & wire.SERVICE_FLAG.onePacket) === 0 ? {} : { onePacket: true }),
    ...(schedulerFlags.length === 0 ? {} : { schedulerFlags }),
    statistics: statisticsOf(stats),
  };
}

function tunnelOf(d: wire.DestinationSettings): TunnelSettings | undefined {
  const type = nameOf(wire.TUNNEL_TYPE, d.tunnelType);
  if (d.forwarding !== wire.FORWARDING.tunnel || type === undefined) return undefined;
  if (type === "ipip") return { type };
  const checksum = nameOf(TUNNEL_CHECKSUMS, (d.tunnelFlags ?? 0) & 3);
  return { type, ...(d.tunnelPort ? { port: d.tunnelPort } : {}), ...(checksum === undefined ? {} : { checksum }) };
}

const methodNames = new Map<number, ForwardingMethod>(
  (Object.keys(METHODS) as ForwardingMethod[]).map((name) => [METHODS[name], name]),
);

/** A payload of NEW_DEST as dumps give it; undefined when it is not one. */
export function decodeDestination(payload: Uint8Array): Destination | undefined {
  const read = wire.decodeUncounted(payload);
  const forwarding = read.ok ? methodNames.get(read.value.forwarding) : undefined;
  if (!read.ok || forwarding === undefined) return undefined;
  const { key, weight, upperThreshold, lowerThreshold } = read.value;
  const { activeConnections, inactiveConnections, persistentConnections } = read.value;
  const tunnel = tunnelOf(read.value);
  let statistics: IpvsStatistics | undefined;
  return {
    address: fromWire(key.address),
    port: key.port,
    forwarding,
    weight,
    upperThreshold,
    lowerThreshold,
    ...(tunnel === undefined ? {} : { tunnel }),
    activeConnections,
    inactiveConnections,
    persistentConnections,
    /** Read when asked for: whoever compares tables needs no counters, and they are most of an answer. */
    get statistics(): IpvsStatistics {
      if (statistics === undefined) {
        const counted = wire.decodeDestination(payload);
        statistics = statisticsOf(counted.ok ? counted.value.stats : undefined);
      }
      return statistics;
    },
  };
}

/** A payload of NEW_DAEMON as dumps give it; undefined when it is not one. */
export function decodeDaemon(payload: Uint8Array): SyncDaemon | undefined {
  const read = wire.decodeDaemon(payload);
  const role = read.ok ? nameOf(wire.DAEMON_STATE, read.value.state) : undefined;
  if (!read.ok || role === undefined) return undefined;
  const { device = "", syncId = 0, largestMessageOctets = 0, group, group6, port = 0, ttl = 0 } = read.value;
  const where = group === undefined ? group6 && group6.length >= 16 && ipv6FromOctets(group6) : ipv4FromNumber(group);
  return {
    role,
    link: device,
    syncId,
    maxOctets: largestMessageOctets,
    ...(where === undefined || where === false ? {} : { group: where }),
    port,
    ttl,
  };
}

/** The answer to GET_CONFIG. */
export function decodeTimeouts(payload: Uint8Array): IpvsTimeouts | undefined {
  const read = wire.decodeTimeouts(payload);
  if (!read.ok) return undefined;
  const { tcpTimeoutSeconds, tcpFinTimeoutSeconds, udpTimeoutSeconds } = read.value;
  return { tcpSeconds: tcpTimeoutSeconds, tcpFinSeconds: tcpFinTimeoutSeconds, udpSeconds: udpTimeoutSeconds };
}

/** The answer to GET_INFO. */
export function decodeInfo(payload: Uint8Array): IpvsInfo | undefined {
  const read = wire.decodeInfo(payload);
  if (!read.ok) return undefined;
  const { version, tableSize } = read.value;
  return {
    version: `${(version >>> 16) & 255}.${(version >>> 8) & 255}.${version & 255}`,
    connectionTableSize: tableSize,
  };
}
