import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import {
  type AttributeRow,
  attributes,
  be16,
  be32,
  bytes,
  type DecodedAttributes,
  host16,
  host32,
  host64,
  hostS32,
  message,
  nested,
  struct,
  text,
  u8,
} from "./attributes.ts";
import { fault, type Read } from "./fault.ts";
import { genericHeader } from "./genetlink.ts";
import * as row from "./layout.ts";
import { layout } from "./layout.ts";
import { MessageBuilder, NLM_F } from "./netlink.ts";
import { readU32, writeU32 } from "./octets.ts";

/** linux/ip_vs.h. The message type is asked for by this name (genetlink.ts), at each start anew. */
export const IPVS_FAMILY = "IPVS";
export const IPVS_VERSION = 1;

export const IPVS_CMD = {
  newService: 1,
  setService: 2,
  delService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  delDestination: 7,
  getDestination: 8,
  newDaemon: 9,
  delDaemon: 10,
  getDaemon: 11,
  setConfig: 12,
  getConfig: 13,
  setInfo: 14,
  getInfo: 15,
  zero: 16,
  flush: 17,
} as const;

export const IPVS_PROTOCOL = { tcp: 6, udp: 17, sctp: 132 } as const;
/** Low three bits of `forwarding`; the bits above them are the kernel's own. */
export const FORWARDING = { masquerade: 0, localNode: 1, tunnel: 2, directRoute: 3, bypass: 4 } as const;
export const FORWARDING_MASK = 7;
/** The kernel's own "is in the table". Asking for it makes ip_vs_svc_hash() leave a new service out, so it never passes. */
const HASHED = 0x02;
export const SERVICE_FLAG = {
  persistent: 0x01,
  onePacket: 0x04,
  /** sh-fallback, mh-fallback. */
  scheduler1: 0x08,
  /** sh-port, mh-port. */
  scheduler2: 0x10,
  scheduler3: 0x20,
} as const;
export const TUNNEL_TYPE = { ipip: 0, gue: 1, gre: 2 } as const;
export const TUNNEL_FLAG = { noChecksum: 0, checksum: 1, remoteChecksum: 2 } as const;
export const DAEMON_STATE = { master: 1, backup: 2 } as const;

const AF_INET = 2;
const AF_INET6 = 10;

/** IPv6 as its 16 octets, until there is a type for it. */
export type IpAddress = Ipv4 | Uint8Array;

/** union nf_inet_addr: 16 octets, IPv4 in the first four. Which of the two it is, another attribute says. */
const inetAddress = (type: number): AttributeRow<Uint8Array> => ({
  type,
  // Four octets alone are taken too: some old tools write them so.
  read: (value) =>
    value.length === 4 || value.length >= 16
      ? { ok: true, value: value.subarray(0, 16) }
      : fault("ipvs/address", `ipvs: an address of ${value.length} octets`),
  write: (into, where, value) => {
    if (value.length !== 16) throw new RangeError(`an IPVS address of ${value.length} octets`);
    into.attribute(where, value);
  },
});

function toOctets(address: IpAddress): Uint8Array {
  if (typeof address !== "number") return address;
  const octets = new Uint8Array(16);
  writeU32(octets, 0, address);
  return octets;
}
const familyOf = (address: IpAddress): number => (typeof address === "number" ? AF_INET : AF_INET6);
function toAddress(octets: Uint8Array, family: number): Read<IpAddress> {
  if (family === AF_INET) return { ok: true, value: ipv4FromNumber(readU32(octets, 0)) };
  if (family === AF_INET6 && octets.length === 16) return { ok: true, value: octets };
  return fault("ipvs/family", `ipvs: address family ${family} with ${octets.length} octets`);
}

// Integers are in the machine's order except where marked be: ip_vs.h has __be16 and __be32 for these.
/** IPVS_STATS_ATTR_*; rates are per second. */
const stats32 = attributes("ipvs-stats", {
  connections: host32(1),
  inPackets: host32(2),
  outPackets: host32(3),
  inOctets: host64(4),
  outOctets: host64(5),
  connectionRate: host32(6),
  inPacketRate: host32(7),
  outPacketRate: host32(8),
  inOctetRate: host32(9),
  outOctetRate: host32(10),
});
const stats64 = attributes("ipvs-stats64", {
  connections: host64(1),
  inPackets: host64(2),
  outPackets: host64(3),
  inOctets: host64(4),
  outOctets: host64(5),
  connectionRate: host64(6),
  inPacketRate: host64(7),
  outPacketRate: host64(8),
  inOctetRate: host64(9),
  outOctetRate: host64(10),
});
export type IpvsStats = Required<DecodedAttributes<(typeof stats64)["table"]>>;

/** In a request, only the bits of `mask` are set. */
const flagsAndMask = layout("ipvs-flags", 8, { flags: row.host32(0), mask: row.host32(4) });

/** IPVS_SVC_ATTR_*. */
const serviceTable = attributes("ipvs-service", {
  family: host16(1),
  protocol: host16(2),
  address: inetAddress(3),
  port: be16(4),
  mark: host32(5),
  scheduler: text(6),
  flags: struct(7, flagsAndMask),
  timeoutSeconds: host32(8),
  /** IPv4: the mask, network order. IPv6: a prefix length in the machine's order, hence octets here. */
  netmask: bytes(9),
  stats: nested(10, stats32),
  persistenceEngine: text(11),
  stats64: nested(12, stats64),
});

/** IPVS_DEST_ATTR_* without the counters, which are most of an answer. */
const destinationRows = {
  address: inetAddress(1),
  port: be16(2),
  forwarding: host32(3),
  weight: hostS32(4),
  upperThreshold: host32(5),
  lowerThreshold: host32(6),
  activeConnections: host32(7),
  inactiveConnections: host32(8),
  persistentConnections: host32(9),
  family: host16(11),
  tunnelType: u8(13),
  tunnelPort: be16(14),
  tunnelFlags: host16(15),
} as const;
const destinationTable = attributes("ipvs-destination", {
  ...destinationRows,
  stats: nested(10, stats32),
  stats64: nested(12, stats64),
});

/** IPVS_DAEMON_ATTR_*. */
const daemonTable = attributes("ipvs-daemon", {
  state: host32(1),
  device: text(2),
  syncId: host32(3),
  largestMessageOctets: host16(4),
  group: be32(5),
  group6: bytes(6),
  port: host16(7),
  ttl: u8(8),
});
export type IpvsDaemon = DecodedAttributes<(typeof daemonTable)["table"]>;

const header = genericHeader;
/** IPVS_CMD_ATTR_*, what every command and answer but INFO is made of. */
const command = message(
  header,
  attributes("ipvs", {
    service: nested(1, serviceTable),
    destination: nested(2, destinationTable),
    daemon: nested(3, daemonTable),
    tcpTimeoutSeconds: host32(4),
    tcpFinTimeoutSeconds: host32(5),
    udpTimeoutSeconds: host32(6),
  }),
);
const uncounted = message(
  header,
  attributes("ipvs", { destination: nested(2, attributes("ipvs-destination", destinationRows)) }),
);
/** IPVS_INFO_ATTR_*: numbers of their own, directly after the header. */
const information = message(header, attributes("ipvs-info", { moduleVersion: host32(1), tableSize: host32(2) }));

/** What names a virtual service. For a mark, the family of what the mark stands for is told, IPv4 unless said. */
export type ServiceKey =
  | { readonly kind: "address"; readonly protocol: number; readonly address: IpAddress; readonly port: number }
  | { readonly kind: "mark"; readonly mark: number; readonly family?: "ipv4" | "ipv6" };

export interface ServiceSettings {
  readonly scheduler: string;
  /** Bits of SERVICE_FLAG. */
  readonly flags: number;
  /** Persistence; 0 without. */
  readonly timeoutSeconds: number;
  /** Granularity of persistence: a mask for IPv4, a prefix length for IPv6. */
  readonly netmask: number;
  /** Only "sip" exists. */
  readonly persistenceEngine?: string;
}
export interface IpvsService extends ServiceSettings {
  readonly key: ServiceKey;
  readonly stats?: IpvsStats;
}

export interface DestinationKey {
  readonly address: IpAddress;
  readonly port: number;
}
export interface DestinationSettings {
  /** One of FORWARDING. */
  readonly forwarding: number;
  /** 0 drains: no new connections. */
  readonly weight: number;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
  readonly tunnelType?: number;
  readonly tunnelPort?: number;
  readonly tunnelFlags?: number;
}
export interface IpvsDestination extends DestinationSettings {
  readonly key: DestinationKey;
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
  readonly stats?: IpvsStats;
}
export interface IpvsTimeouts {
  /** Seconds; 0 in a request leaves it as it is. */
  readonly tcpTimeoutSeconds: number;
  readonly tcpFinTimeoutSeconds: number;
  readonly udpTimeoutSeconds: number;
}
export interface IpvsInfo {
  /** 0x010201 is 1.2.1. */
  readonly version: number;
  readonly tableSize: number;
}

// Reading -------------------------------------------------------------------------------------------------------------

type RawService = DecodedAttributes<(typeof serviceTable)["table"]>;
type RawDestination = DecodedAttributes<(typeof destinationTable)["table"]>;

/** Both sorts as one; a kernel before 4.1 has only the first. Absent members are 0. */
function statsOf(raw: RawService | RawDestination): { readonly stats?: IpvsStats } {
  const given = raw.stats64 ?? raw.stats;
  if (given === undefined) return {};
  const told = given as Readonly<Record<string, number | bigint | undefined>>;
  const stats = Object.fromEntries(Object.keys(stats64.table).map((name) => [name, BigInt(told[name] ?? 0)]));
  return { stats: stats as unknown as IpvsStats };
}

const missing = (what: string) => fault("ipvs/missing", `ipvs: ${what} is missing`);

function keyOf(raw: RawService): Read<ServiceKey> {
  const family = raw.family ?? AF_INET;
  if (raw.mark !== undefined && raw.mark !== 0)
    return { ok: true, value: { kind: "mark", mark: raw.mark, family: family === AF_INET6 ? "ipv6" : "ipv4" } };
  if (raw.protocol === undefined || raw.address === undefined || raw.port === undefined)
    return missing("a service's protocol, address or port");
  const address = toAddress(raw.address, family);
  if (!address.ok) return address;
  return { ok: true, value: { kind: "address", protocol: raw.protocol, address: address.value, port: raw.port } };
}

/** A NEW_SERVICE answer to getService or dumpServices. `payload` follows the netlink header. */
export function decodeService(payload: Uint8Array): Read<IpvsService> {
  const read = command.decode(payload);
  if (!read.ok) return read;
  const raw = read.value.service;
  if (raw === undefined) return missing("the service");
  const key = keyOf(raw);
  if (!key.ok) return key;
  const mask = raw.netmask;
  if (mask !== undefined && mask.length < 4) return fault("ipvs/netmask", `ipvs: a netmask of ${mask.length} octets`);
  const readMask = raw.family === AF_INET6 ? row.host32(0).read : readU32;
  return {
    ok: true,
    value: {
      key: key.value,
      scheduler: raw.scheduler ?? "",
      flags: ((raw.flags?.flags ?? 0) & ~HASHED) >>> 0,
      timeoutSeconds: raw.timeoutSeconds ?? 0,
      netmask: mask === undefined ? 0 : readMask(mask, 0),
      ...(raw.persistenceEngine && { persistenceEngine: raw.persistenceEngine }),
      ...statsOf(raw),
    },
  };
}

const tunnelOf = (raw: RawDestination): Partial<DestinationSettings> => ({
  ...(raw.tunnelType !== undefined && { tunnelType: raw.tunnelType }),
  ...(raw.tunnelPort !== undefined && { tunnelPort: raw.tunnelPort }),
  ...(raw.tunnelFlags !== undefined && { tunnelFlags: raw.tunnelFlags }),
});

/**
 * A NEW_DEST answer to dumpDestinations, without its counters. `serviceFamily` counts where a kernel before 3.18 names none.
 */
export function decodeUncounted(payload: Uint8Array, serviceFamily: "ipv4" | "ipv6" = "ipv4"): Read<IpvsDestination> {
  const read = uncounted.decode(payload);
  return read.ok ? destinationOf(read.value.destination, serviceFamily) : read;
}
export function decodeDestination(payload: Uint8Array, serviceFamily: "ipv4" | "ipv6" = "ipv4"): Read<IpvsDestination> {
  const read = command.decode(payload);
  return read.ok ? destinationOf(read.value.destination, serviceFamily) : read;
}
function destinationOf(raw: RawDestination | undefined, serviceFamily: "ipv4" | "ipv6"): Read<IpvsDestination> {
  if (raw === undefined) return missing("the destination");
  if (raw.address === undefined || raw.port === undefined) return missing("a destination's address or port");
  const address = toAddress(raw.address, raw.family ?? (serviceFamily === "ipv4" ? AF_INET : AF_INET6));
  if (!address.ok) return address;
  return {
    ok: true,
    value: {
      key: { address: address.value, port: raw.port },
      forwarding: (raw.forwarding ?? 0) & FORWARDING_MASK,
      weight: raw.weight ?? 0,
      upperThreshold: raw.upperThreshold ?? 0,
      lowerThreshold: raw.lowerThreshold ?? 0,
      activeConnections: raw.activeConnections ?? 0,
      inactiveConnections: raw.inactiveConnections ?? 0,
      persistentConnections: raw.persistentConnections ?? 0,
      ...tunnelOf(raw),
      ...statsOf(raw),
    },
  };
}

export function decodeDaemon(payload: Uint8Array): Read<IpvsDaemon> {
  const read = command.decode(payload);
  if (!read.ok) return read;
  return read.value.daemon === undefined ? missing("the daemon") : { ok: true, value: read.value.daemon };
}

/** The SET_CONFIG answer to getConfig. */
export function decodeTimeouts(payload: Uint8Array): Read<IpvsTimeouts> {
  const read = command.decode(payload);
  if (!read.ok) return read;
  const { tcpTimeoutSeconds, tcpFinTimeoutSeconds, udpTimeoutSeconds } = read.value;
  if (tcpTimeoutSeconds === undefined || tcpFinTimeoutSeconds === undefined || udpTimeoutSeconds === undefined)
    return missing("a timeout");
  return { ok: true, value: { tcpTimeoutSeconds, tcpFinTimeoutSeconds, udpTimeoutSeconds } };
}

/** The SET_INFO answer to getInfo. */
export function decodeInfo(payload: Uint8Array): Read<IpvsInfo> {
  const read = information.decode(payload);
  if (!read.ok) return read;
  const { moduleVersion: version, tableSize } = read.value;
  return version === undefined || tableSize === undefined
    ? missing("version or table size")
    : { ok: true, value: { version, tableSize } };
}

// Requests ------------------------------------------------------------------------------------------------------------

/** `type` is the family's message type. */
export interface IpvsRequest {
  readonly type: number;
  readonly sequence: number;
}
type Body = Omit<Parameters<typeof command.encode>[1], "command" | "version">;

const request = (r: IpvsRequest, number: number, body: Body = {}, flags: number = NLM_F.ack): Uint8Array =>
  command.encode(new MessageBuilder({ ...r, flags }), { command: number, version: IPVS_VERSION, ...body }).finish();

const isIpv6 = (key: ServiceKey): boolean =>
  key.kind === "mark" ? key.family === "ipv6" : typeof key.address !== "number";

function rawKey(key: ServiceKey): RawService {
  const family = isIpv6(key) ? AF_INET6 : AF_INET;
  if (key.kind === "mark") return { family, mark: key.mark };
  return { family, protocol: key.protocol, address: toOctets(key.address), port: key.port };
}

function rawService(key: ServiceKey, s: ServiceSettings): RawService {
  const netmask = new Uint8Array(4);
  if (isIpv6(key)) row.host32(0).write(netmask, 0, s.netmask);
  else row.u32(0).write(netmask, 0, s.netmask);
  return {
    ...rawKey(key),
    scheduler: s.scheduler,
    flags: { flags: (s.flags & ~HASHED) >>> 0, mask: 0xffffffff },
    timeoutSeconds: s.timeoutSeconds,
    netmask,
    ...(s.persistenceEngine !== undefined && { persistenceEngine: s.persistenceEngine }),
  };
}

const rawDestinationKey = ({ address, port }: DestinationKey): RawDestination => ({
  address: toOctets(address),
  port,
  family: familyOf(address),
});

/** Written out, undefined members and all: a table of tens of thousands is made of these. */
const rawDestination = ({ address, port }: DestinationKey, d: DestinationSettings): RawDestination =>
  ({
    address: toOctets(address),
    port,
    forwarding: d.forwarding,
    weight: d.weight,
    upperThreshold: d.upperThreshold,
    lowerThreshold: d.lowerThreshold,
    family: familyOf(address),
    tunnelType: d.tunnelType,
    tunnelPort: d.tunnelPort,
    tunnelFlags: d.tunnelFlags,
  }) as RawDestination;

/** One function a command: octets of one request. All ask for an acknowledgement, or are dumps. */
export const ipvs = {
  newService: (r: IpvsRequest, key: ServiceKey, settings: ServiceSettings) =>
    request(r, IPVS_CMD.newService, { service: rawService(key, settings) }),
  setService: (r: IpvsRequest, key: ServiceKey, settings: ServiceSettings) =>
    request(r, IPVS_CMD.setService, { service: rawService(key, settings) }),
  delService: (r: IpvsRequest, key: ServiceKey) => request(r, IPVS_CMD.delService, { service: rawKey(key) }),
  getService: (r: IpvsRequest, key: ServiceKey) => request(r, IPVS_CMD.getService, { service: rawKey(key) }),
  dumpServices: (r: IpvsRequest) => request(r, IPVS_CMD.getService, {}, NLM_F.dump),
  newDestination: (r: IpvsRequest, service: ServiceKey, key: DestinationKey, settings: DestinationSettings) =>
    request(r, IPVS_CMD.newDestination, { service: rawKey(service), destination: rawDestination(key, settings) }),
  setDestination: (r: IpvsRequest, service: ServiceKey, key: DestinationKey, settings: DestinationSettings) =>
    request(r, IPVS_CMD.setDestination, { service: rawKey(service), destination: rawDestination(key, settings) }),
  delDestination: (r: IpvsRequest, service: ServiceKey, key: DestinationKey) =>
    request(r, IPVS_CMD.delDestination, { service: rawKey(service), destination: rawDestinationKey(key) }),
  dumpDestinations: (r: IpvsRequest, service: ServiceKey) =>
    request(r, IPVS_CMD.getDestination, { service: rawKey(service) }, NLM_F.dump),
  newDaemon: (r: IpvsRequest, daemon: IpvsDaemon) => request(r, IPVS_CMD.newDaemon, { daemon }),
  /** Only the state is needed. */
  delDaemon: (r: IpvsRequest, daemon: IpvsDaemon) => request(r, IPVS_CMD.delDaemon, { daemon }),
  dumpDaemons: (r: IpvsRequest) => request(r, IPVS_CMD.getDaemon, {}, NLM_F.dump),
  setConfig: (r: IpvsRequest, timeouts: IpvsTimeouts) => request(r, IPVS_CMD.setConfig, timeouts),
  getConfig: (r: IpvsRequest) => request(r, IPVS_CMD.getConfig),
  getInfo: (r: IpvsRequest) => request(r, IPVS_CMD.getInfo),
  /** Of one service, or of all. */
  zero: (r: IpvsRequest, key?: ServiceKey) =>
    request(r, IPVS_CMD.zero, key === undefined ? {} : { service: rawKey(key) }),
  flush: (r: IpvsRequest) => request(r, IPVS_CMD.flush),
} as const;

/** The tables, for the fuzzer and for whoever plays the kernel's side. */
export const ipvsFormats = { command, information } as const;
