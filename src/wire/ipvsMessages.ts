/** The generic-netlink family IPVS: payloads to values and back (linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c). */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { type Ipv6, ipv6FromOctets, ipv6Octets } from "../base/ipv6.ts";
import { maskOf } from "../base/prefix.ts";
import { Attributes, AttributeWriter, LITTLE_ENDIAN } from "./netlinkAttributes.ts";

export const IPVS_CMD = {
  NEW_SERVICE: 1,
  SET_SERVICE: 2,
  DEL_SERVICE: 3,
  GET_SERVICE: 4,
  NEW_DEST: 5,
  SET_DEST: 6,
  DEL_DEST: 7,
  GET_DEST: 8,
  NEW_DAEMON: 9,
  DEL_DAEMON: 10,
  GET_DAEMON: 11,
  SET_CONFIG: 12,
  GET_CONFIG: 13,
  SET_INFO: 14,
  GET_INFO: 15,
  ZERO: 16,
  FLUSH: 17,
} as const;
export type IpvsCommand = (typeof IPVS_CMD)[keyof typeof IPVS_CMD];

const CMD_ATTR = { SERVICE: 1, DEST: 2, DAEMON: 3, TIMEOUT_TCP: 4, TIMEOUT_TCP_FIN: 5, TIMEOUT_UDP: 6 } as const;
const SVC = {
  AF: 1,
  PROTOCOL: 2,
  ADDR: 3,
  PORT: 4,
  FWMARK: 5,
  SCHED_NAME: 6,
  FLAGS: 7,
  TIMEOUT: 8,
  NETMASK: 9,
  STATS: 10,
  PE_NAME: 11,
  STATS64: 12,
} as const;
const DEST = {
  ADDR: 1,
  PORT: 2,
  FWD_METHOD: 3,
  WEIGHT: 4,
  U_THRESH: 5,
  L_THRESH: 6,
  ACTIVE_CONNS: 7,
  INACT_CONNS: 8,
  PERSIST_CONNS: 9,
  STATS: 10,
  ADDR_FAMILY: 11,
  STATS64: 12,
  TUN_TYPE: 13,
  TUN_PORT: 14,
  TUN_FLAGS: 15,
} as const;
const DAEMON = {
  STATE: 1,
  MCAST_IFN: 2,
  SYNC_ID: 3,
  SYNC_MAXLEN: 4,
  MCAST_GROUP: 5,
  MCAST_GROUP6: 6,
  MCAST_PORT: 7,
  MCAST_TTL: 8,
} as const;
const STATS = {
  CONNS: 1,
  INPKTS: 2,
  OUTPKTS: 3,
  INBYTES: 4,
  OUTBYTES: 5,
  CPS: 6,
  INPPS: 7,
  OUTPPS: 8,
  INBPS: 9,
  OUTBPS: 10,
} as const;
const INFO = { VERSION: 1, CONN_TAB_SIZE: 2 } as const;

const AF_INET = 2;
const AF_INET6 = 10;
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
export type IpvsProtocol = keyof typeof PROTOCOLS;

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

const METHODS = { masq: 0, local: 1, tun: 2, dr: 3, bypass: 4 } as const;
const METHOD_MASK = 7;
/** `dr` and `tun` are ours; `masq` is NAT; `local` the kernel shows for an address of its own. */
export type ForwardingMethod = keyof typeof METHODS;

const TUNNELS = { ipip: 0, gue: 1, gre: 2 } as const;
const TUNNEL_CHECKSUMS = { off: 0, on: 1, remote: 2 } as const;
export interface TunnelSettings {
  readonly type: keyof typeof TUNNELS;
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
const familyOf = (address: IpAddress): number => (isIpv4(address) ? AF_INET : AF_INET6);

function addressOctets(address: IpAddress): Uint8Array {
  if (!isIpv4(address)) return ipv6Octets(address) ?? new Uint8Array(16);
  const octets = new Uint8Array(16);
  new DataView(octets.buffer).setUint32(0, address, false);
  return octets;
}

function readAddress(octets: Uint8Array | undefined, family: number): IpAddress | undefined {
  if (octets === undefined || octets.length < (family === AF_INET ? 4 : 16)) return undefined;
  if (family === AF_INET6) return ipv6FromOctets(octets);
  return ipv4FromNumber(new DataView(octets.buffer, octets.byteOffset).getUint32(0, false));
}

const IPVS_VERSION = 1;
const begin = (command: IpvsCommand): AttributeWriter =>
  new AttributeWriter(Uint8Array.of(command, IPVS_VERSION, 0, 0));

function writeKey(w: AttributeWriter, key: ServiceKey): void {
  if ("fwmark" in key) {
    w.u16(SVC.AF, key.family === "ipv4" ? AF_INET : AF_INET6).u32(SVC.FWMARK, key.fwmark);
    return;
  }
  w.u16(SVC.AF, familyOf(key.address))
    .u16(SVC.PROTOCOL, PROTOCOLS[key.protocol])
    .octets(SVC.ADDR, addressOctets(key.address))
    .u16Network(SVC.PORT, key.port);
}

const FLAG = { PERSISTENT: 0x1, ONEPACKET: 0x4, SCHED: [0x8, 0x10, 0x20] } as const;

function isIpv6Service(key: ServiceKey): boolean {
  return "fwmark" in key ? key.family === "ipv6" : !isIpv4(key.address);
}

function writeSettings(w: AttributeWriter, wish: ServiceWish): void {
  let flags = wish.persistenceSeconds === undefined ? 0 : FLAG.PERSISTENT;
  if (wish.onePacket) flags |= FLAG.ONEPACKET;
  for (const n of wish.schedulerFlags ?? []) flags |= FLAG.SCHED[n - 1] as number;
  const pair = new Uint8Array(8);
  new DataView(pair.buffer).setUint32(0, flags, LITTLE_ENDIAN);
  new DataView(pair.buffer).setUint32(4, 0xffffffff, LITTLE_ENDIAN); // the mask: all flags are as said here
  w.text(SVC.SCHED_NAME, wish.scheduler)
    .octets(SVC.FLAGS, pair)
    .u32(SVC.TIMEOUT, wish.persistenceSeconds ?? 0);
  if (isIpv6Service(wish)) w.u32(SVC.NETMASK, wish.persistencePrefixLength ?? 128);
  else w.ipv4(SVC.NETMASK, maskOf(wish.persistencePrefixLength ?? 32));
  if (wish.persistenceEngine !== undefined) w.text(SVC.PE_NAME, wish.persistenceEngine);
}

function writeDestinationKey(w: AttributeWriter, key: DestinationKey): void {
  w.octets(DEST.ADDR, addressOctets(key.address))
    .u16Network(DEST.PORT, key.port)
    .u16(DEST.ADDR_FAMILY, familyOf(key.address));
}

function writeDestination(w: AttributeWriter, wish: DestinationWish): void {
  writeDestinationKey(w, wish);
  w.u32(DEST.FWD_METHOD, METHODS[wish.forwarding])
    .u32(DEST.WEIGHT, wish.weight ?? 1)
    .u32(DEST.U_THRESH, wish.upperThreshold ?? 0)
    .u32(DEST.L_THRESH, wish.lowerThreshold ?? 0);
  const { tunnel } = wish;
  if (tunnel === undefined) return;
  w.u8(DEST.TUN_TYPE, TUNNELS[tunnel.type])
    .u16Network(DEST.TUN_PORT, tunnel.port ?? 0)
    .u16(DEST.TUN_FLAGS, TUNNEL_CHECKSUMS[tunnel.checksum ?? "off"]);
}

function writeDaemon(w: AttributeWriter, daemon: SyncDaemon): void {
  w.u32(DAEMON.STATE, daemon.role === "master" ? 1 : 2)
    .text(DAEMON.MCAST_IFN, daemon.link)
    .u32(DAEMON.SYNC_ID, daemon.syncId);
  if (daemon.maxOctets !== undefined) w.u16(DAEMON.SYNC_MAXLEN, daemon.maxOctets);
  const { group } = daemon;
  if (group !== undefined && isIpv4(group)) w.ipv4(DAEMON.MCAST_GROUP, group);
  else if (group !== undefined) w.octets(DAEMON.MCAST_GROUP6, addressOctets(group));
  if (daemon.port !== undefined) w.u16(DAEMON.MCAST_PORT, daemon.port);
  if (daemon.ttl !== undefined) w.u8(DAEMON.MCAST_TTL, daemon.ttl);
}

/** Payloads, generic-netlink header included. */
export const encodeIpvs = {
  bare: (command: IpvsCommand): Uint8Array => begin(command).finish(),
  service: (command: IpvsCommand, wish: ServiceWish): Uint8Array =>
    begin(command)
      .nest(CMD_ATTR.SERVICE, (w) => {
        writeKey(w, wish);
        writeSettings(w, wish);
      })
      .finish(),
  serviceKey: (command: IpvsCommand, key: ServiceKey): Uint8Array =>
    begin(command)
      .nest(CMD_ATTR.SERVICE, (w) => writeKey(w, key))
      .finish(),
  destination: (command: IpvsCommand, service: ServiceKey, wish: DestinationWish): Uint8Array =>
    begin(command)
      .nest(CMD_ATTR.SERVICE, (w) => writeKey(w, service))
      .nest(CMD_ATTR.DEST, (w) => writeDestination(w, wish))
      .finish(),
  destinationKey: (command: IpvsCommand, service: ServiceKey, key: DestinationKey): Uint8Array =>
    begin(command)
      .nest(CMD_ATTR.SERVICE, (w) => writeKey(w, service))
      .nest(CMD_ATTR.DEST, (w) => writeDestinationKey(w, key))
      .finish(),
  startDaemon: (daemon: SyncDaemon): Uint8Array =>
    begin(IPVS_CMD.NEW_DAEMON)
      .nest(CMD_ATTR.DAEMON, (w) => writeDaemon(w, daemon))
      .finish(),
  stopDaemon: (role: SyncDaemon["role"]): Uint8Array =>
    begin(IPVS_CMD.DEL_DAEMON)
      .nest(CMD_ATTR.DAEMON, (w) => w.u32(DAEMON.STATE, role === "master" ? 1 : 2))
      .finish(),
  timeouts: (timeouts: Partial<IpvsTimeouts>): Uint8Array => {
    const w = begin(IPVS_CMD.SET_CONFIG);
    if (timeouts.tcpSeconds !== undefined) w.u32(CMD_ATTR.TIMEOUT_TCP, timeouts.tcpSeconds);
    if (timeouts.tcpFinSeconds !== undefined) w.u32(CMD_ATTR.TIMEOUT_TCP_FIN, timeouts.tcpFinSeconds);
    if (timeouts.udpSeconds !== undefined) w.u32(CMD_ATTR.TIMEOUT_UDP, timeouts.udpSeconds);
    return w.finish();
  },
} as const;

const GENERIC_HEADER_OCTETS = 4;
const attributesOf = (payload: Uint8Array): Attributes => new Attributes(payload, GENERIC_HEADER_OCTETS);

function decodeStatistics(of: Attributes, wide: number, narrow: number): IpvsStatistics {
  const modern = of.nested(wide);
  const values = modern ?? of.nested(narrow);
  // Before Linux 4.1 only the narrow form; there octet counters are 64 bits wide, all others 32.
  const counter = (type: number): bigint => (values?.u64(type) ?? BigInt(values?.u32(type) ?? 0)) as bigint;
  const rate = (type: number): number => Number(counter(type));
  return {
    connections: counter(STATS.CONNS),
    packetsIn: counter(STATS.INPKTS),
    packetsOut: counter(STATS.OUTPKTS),
    octetsIn: counter(STATS.INBYTES),
    octetsOut: counter(STATS.OUTBYTES),
    connectionsPerSecond: rate(STATS.CPS),
    packetsInPerSecond: rate(STATS.INPPS),
    packetsOutPerSecond: rate(STATS.OUTPPS),
    octetsInPerSecond: rate(STATS.INBPS),
    octetsOutPerSecond: rate(STATS.OUTBPS),
  };
}

function decodeKey(of: Attributes): ServiceKey | undefined {
  const family = of.u16(SVC.AF);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const fwmark = of.u32(SVC.FWMARK);
  if (fwmark !== undefined && fwmark !== 0) return { fwmark, family: family === AF_INET ? "ipv4" : "ipv6" };
  const number = of.u16(SVC.PROTOCOL);
  const protocol = (Object.keys(PROTOCOLS) as IpvsProtocol[]).find((name) => PROTOCOLS[name] === number);
  const address = readAddress(of.octets(SVC.ADDR), family);
  const port = of.u16Network(SVC.PORT);
  return protocol === undefined || address === undefined || port === undefined
    ? undefined
    : { protocol, address, port };
}

/** Bits set from the left: netmasks that the kernel took are contiguous in practice. */
const lengthOfMask = (mask: number): number => Math.clz32(~mask);

/** A payload of NEW_SERVICE as dumps give it; undefined when it is not one. */
export function decodeService(payload: Uint8Array): Service | undefined {
  const of = attributesOf(payload).nested(CMD_ATTR.SERVICE);
  const key = of === undefined ? undefined : decodeKey(of);
  if (of === undefined || key === undefined) return undefined;
  const flags = of.u32(SVC.FLAGS) ?? 0;
  const wide = isIpv6Service(key);
  const mask = (wide ? of.u32(SVC.NETMASK) : of.ipv4(SVC.NETMASK)) ?? 0;
  const engine = of.text(SVC.PE_NAME);
  const schedulerFlags = ([1, 2, 3] as const).filter((n) => (flags & (FLAG.SCHED[n - 1] as number)) !== 0);
  return {
    ...key,
    scheduler: of.text(SVC.SCHED_NAME) ?? "",
    ...((flags & FLAG.PERSISTENT) === 0
      ? {}
      : {
          persistenceSeconds: of.u32(SVC.TIMEOUT) ?? 0,
          persistencePrefixLength: wide ? mask : lengthOfMask(mask),
        }),
    ...(engine === undefined || engine === "" ? {} : { persistenceEngine: engine }),
    ...((flags & FLAG.ONEPACKET) === 0 ? {} : { onePacket: true }),
    ...(schedulerFlags.length === 0 ? {} : { schedulerFlags }),
    statistics: decodeStatistics(of, SVC.STATS64, SVC.STATS),
  };
}

function nameOf<T extends string>(table: Readonly<Record<T, number>>, value: number | undefined): T | undefined {
  return (Object.keys(table) as T[]).find((name) => table[name] === value);
}

function decodeTunnel(of: Attributes, forwarding: ForwardingMethod): TunnelSettings | undefined {
  const type = nameOf(TUNNELS, of.u8(DEST.TUN_TYPE));
  if (forwarding !== "tun" || type === undefined) return undefined;
  const port = of.u16Network(DEST.TUN_PORT) ?? 0;
  const checksum = nameOf(TUNNEL_CHECKSUMS, (of.u16(DEST.TUN_FLAGS) ?? 0) & 3);
  if (type === "ipip") return { type };
  return { type, ...(port === 0 ? {} : { port }), ...(checksum === undefined ? {} : { checksum }) };
}

/** A payload of NEW_DEST as dumps give it; undefined when it is not one. */
export function decodeDestination(payload: Uint8Array): Destination | undefined {
  const of = attributesOf(payload).nested(CMD_ATTR.DEST);
  if (of === undefined) return undefined;
  const address = readAddress(of.octets(DEST.ADDR), of.u16(DEST.ADDR_FAMILY) ?? AF_INET);
  const port = of.u16Network(DEST.PORT);
  const forwarding = nameOf(METHODS, (of.u32(DEST.FWD_METHOD) ?? 0) & METHOD_MASK);
  if (address === undefined || port === undefined || forwarding === undefined) return undefined;
  const tunnel = decodeTunnel(of, forwarding);
  return {
    address,
    port,
    forwarding,
    weight: of.u32(DEST.WEIGHT) ?? 0,
    upperThreshold: of.u32(DEST.U_THRESH) ?? 0,
    lowerThreshold: of.u32(DEST.L_THRESH) ?? 0,
    ...(tunnel === undefined ? {} : { tunnel }),
    activeConnections: of.u32(DEST.ACTIVE_CONNS) ?? 0,
    inactiveConnections: of.u32(DEST.INACT_CONNS) ?? 0,
    persistentConnections: of.u32(DEST.PERSIST_CONNS) ?? 0,
    statistics: decodeStatistics(of, DEST.STATS64, DEST.STATS),
  };
}

/** A payload of NEW_DAEMON as dumps give it; undefined when it is not one. */
export function decodeDaemon(payload: Uint8Array): SyncDaemon | undefined {
  const of = attributesOf(payload).nested(CMD_ATTR.DAEMON);
  const state = of?.u32(DAEMON.STATE);
  if (of === undefined || (state !== 1 && state !== 2)) return undefined;
  const group = of.ipv4(DAEMON.MCAST_GROUP) ?? readAddress(of.octets(DAEMON.MCAST_GROUP6), AF_INET6);
  return {
    role: state === 1 ? "master" : "backup",
    link: of.text(DAEMON.MCAST_IFN) ?? "",
    syncId: of.u32(DAEMON.SYNC_ID) ?? 0,
    maxOctets: of.u16(DAEMON.SYNC_MAXLEN) ?? 0,
    ...(group === undefined ? {} : { group }),
    port: of.u16(DAEMON.MCAST_PORT) ?? 0,
    ttl: of.u8(DAEMON.MCAST_TTL) ?? 0,
  };
}

/** The answer to GET_CONFIG. */
export function decodeTimeouts(payload: Uint8Array): IpvsTimeouts {
  const of = attributesOf(payload);
  return {
    tcpSeconds: of.u32(CMD_ATTR.TIMEOUT_TCP) ?? 0,
    tcpFinSeconds: of.u32(CMD_ATTR.TIMEOUT_TCP_FIN) ?? 0,
    udpSeconds: of.u32(CMD_ATTR.TIMEOUT_UDP) ?? 0,
  };
}

/** The answer to GET_INFO. */
export function decodeInfo(payload: Uint8Array): IpvsInfo {
  const of = attributesOf(payload);
  const version = of.u32(INFO.VERSION) ?? 0;
  return {
    version: `${(version >>> 16) & 255}.${(version >>> 8) & 255}.${version & 255}`,
    connectionTableSize: of.u32(INFO.CONN_TAB_SIZE) ?? 0,
  };
}
