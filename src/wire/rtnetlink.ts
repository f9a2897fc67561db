import type { Ipv4 } from "../base/ipv4.ts";
import {
  type AttributeRow,
  type AttributeTable,
  attributes,
  be16,
  be32,
  bytes,
  type DecodedAttributes,
  flag,
  host16,
  host32,
  host64,
  hostS32,
  ipv4,
  linkAddress,
  type Message,
  message,
  nested,
  struct,
  text,
  u8,
} from "./attributes.ts";
import { fault, type Read } from "./fault.ts";
import * as row from "./layout.ts";
import { layout, type Table } from "./layout.ts";
import { MessageBuilder, NLM_F } from "./netlink.ts";
import { readHost64 } from "./octets.ts";

export const AF = { unspecified: 0, inet: 2, bridge: 7, inet6: 10 } as const;

/** Message types, linux/rtnetlink.h. */
export const RTM = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
  newNeighbourTable: 64,
  getNeighbourTable: 66,
  setNeighbourTable: 67,
} as const;

/** Multicast groups to hear changes by (RTNLGRP_*). */
export const GROUP = { link: 1, neighbour: 3, ipv4Address: 5, ipv4Route: 7, ipv4Rule: 8 } as const;

// Links ---------------------------------------------------------------------------------------------------------------

/** IFF_*, as in ioctl; `change` in a request says which of them are meant. */
export const IFF = {
  up: 0x1,
  broadcast: 0x2,
  loopback: 0x8,
  pointToPoint: 0x10,
  running: 0x40,
  noArp: 0x80,
  promiscuous: 0x100,
  allMulticast: 0x200,
  multicast: 0x1000,
  lowerUp: 0x10000,
} as const;
/** ARPHRD_*: `hardwareType` of a link. */
export const ARPHRD = { ethernet: 1, infiniband: 32, tunnel: 768, loopback: 772, none: 0xfffe } as const;
export const MACVLAN_MODE = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;
/** By number (if_bonding.h). */
export const BOND_MODES = [
  "balance-rr",
  "active-backup",
  "balance-xor",
  "broadcast",
  "802.3ad",
  "balance-tlb",
  "balance-alb",
] as const;
export const OPERSTATE = ["unknown", "not-present", "down", "lower-layer-down", "testing", "dormant", "up"] as const;

const linkHeader = layout("link", 16, {
  family: row.u8(0),
  padding: row.unused(1, 1),
  hardwareType: row.host16(2),
  index: row.hostS32(4),
  flags: row.host32(8),
  change: row.host32(12),
});

/** First members of struct rtnl_link_stats64; the rest are causes of errors. */
const counterNames = [
  "receivedPackets",
  "sentPackets",
  "receivedOctets",
  "sentOctets",
  "receiveErrors",
  "sendErrors",
  "receiveDropped",
  "sendDropped",
  "multicast",
  "collisions",
] as const;
export type LinkCounters = Readonly<Record<(typeof counterNames)[number], bigint>>;
const counters = (type: number): AttributeRow<LinkCounters> => ({
  type,
  read: (value) => {
    if (value.length < counterNames.length * 8)
      return fault("link/counters", `link: counters of ${value.length} octets`);
    const pairs = counterNames.map((name, i) => [name, readHost64(value, i * 8)] as const);
    return { ok: true, value: Object.fromEntries(pairs) as LinkCounters };
  },
  write: () => {
    throw new Error("counters are only read");
  },
});

/** The other end of a veth pair, for making one. */
const vethPeer = message(
  linkHeader,
  attributes("veth-peer", {
    address: linkAddress(1),
    name: text(3),
    mtu: host32(4),
    netNsPid: host32(19),
    netNsFd: host32(28),
  }),
);
type VethPeer = Parameters<typeof vethPeer.encode>[1];
const peer = (type: number): AttributeRow<VethPeer> => ({
  type,
  read: (value) => vethPeer.decode(value),
  write: (into, where, value) => {
    into.nest(where, () => vethPeer.encode(into, value));
  },
});

/** IFLA_IPTUN_*: `local` and `remote` 0.0.0.0 make the one device (tunl0) that takes any IPIP packet. */
const tunnel = attributes("link-ipip", {
  link: host32(1),
  local: ipv4(2),
  remote: ipv4(3),
  ttl: u8(4),
  tos: u8(5),
  flags: be16(8),
  /** 4 IPIP, 0 any. */
  protocol: u8(9),
  pathMtuDiscovery: u8(10),
  encapType: host16(15),
  encapFlags: host16(16),
  encapSourcePort: be16(17),
  encapDestinationPort: be16(18),
  collectMetadata: flag(19),
  mark: host32(20),
});

/** IFLA_INFO_DATA is read with the table its IFLA_INFO_KIND names. Adding a kind of device is a line here. */
const linkKinds = {
  veth: attributes("link-veth", { peer: peer(1) }),
  dummy: attributes("link-dummy", {}),
  bridge: attributes("link-bridge", {
    /** Clock ticks of 10 ms, all four. */
    forwardDelayTicks: host32(1),
    helloTimeTicks: host32(2),
    maxAgeTicks: host32(3),
    ageingTimeTicks: host32(4),
    stpState: host32(5),
    priority: host16(6),
    vlanFiltering: u8(7),
    vlanProtocol: be16(8),
    groupForwardMask: host16(9),
    multicastSnooping: u8(23),
    vlanDefaultPvid: host16(39),
    callIptables: u8(36),
    callIp6tables: u8(37),
    callArptables: u8(38),
  }),
  ipip: tunnel,
  macvlan: attributes("link-macvlan", { mode: host32(1), flags: host16(2) }),
  vlan: attributes("link-vlan", { id: host16(1), protocol: be16(5) }),
  bond: attributes("link-bond", { mode: u8(1) }),
  vrf: attributes("link-vrf", { table: host32(1) }),
} as const;
type Kinds = typeof linkKinds;
export type LinkKind = keyof Kinds;
export type LinkInfo =
  | {
      [K in LinkKind]: {
        readonly kind: K;
        readonly data?: Kinds[K] extends { readonly table: infer T extends AttributeTable }
          ? DecodedAttributes<T>
          : never;
        /** Kind of the device this one is a port of: "bridge", "bond". */
        readonly portOf?: string;
      };
    }[LinkKind]
  | { readonly kind: "other"; readonly name: string; readonly portOf?: string };

const infoAttributes = attributes("link-info", { kind: text(1), data: bytes(2), portOf: text(4) });
const isKind = (name: string): name is LinkKind => Object.hasOwn(linkKinds, name);

function readInfo(value: Uint8Array): Read<LinkInfo> {
  const info = infoAttributes.decode(value);
  if (!info.ok) return info;
  const { kind = "", data, portOf } = info.value;
  const port = portOf === undefined ? {} : { portOf };
  if (!isKind(kind)) return { ok: true, value: { kind: "other", name: kind, ...port } };
  if (data === undefined) return { ok: true, value: { kind, ...port } };
  const read = linkKinds[kind].decode(data);
  return read.ok ? { ok: true, value: { kind, data: read.value, ...port } as LinkInfo } : read;
}
const linkInfo = (type: number): AttributeRow<LinkInfo> => ({
  type,
  read: readInfo,
  write: (into, where, info) => {
    into.nest(where, () => {
      if (info.kind === "other") return infoAttributes.encode(into, { kind: info.name });
      infoAttributes.encode(into, { kind: info.kind });
      const data = info.data;
      // The union of tables and the union of values are one choice, which the type of a loop cannot say.
      const table = linkKinds[info.kind] as { encode(builder: MessageBuilder, value: unknown): void };
      if (data !== undefined) into.nest(2, () => table.encode(into, data));
    });
  },
});

/** IFLA_AF_SPEC by family. `conf`: every file of net.ipv4.conf.IFACE, int32 each, IPV4_DEVCONF_* numbered from 1. */
const families = attributes("link-families", { inet: nested(2, attributes("link-inet", { conf: bytes(1) })) });

/** IFLA_*. */
export const link = message(
  linkHeader,
  attributes("link", {
    address: linkAddress(1),
    broadcast: linkAddress(2),
    name: text(3),
    mtu: host32(4),
    /** Index of the device below, or of the veth's other end (in namespace `peerNetNsId`). */
    lowerIndex: host32(5),
    queueing: text(6),
    /** Index of the bridge or bond this one is a port of; 0 in a request takes it out. */
    master: host32(10),
    transmitQueueLength: host32(13),
    /** Position in OPERSTATE. */
    operState: u8(16),
    info: linkInfo(18),
    netNsPid: host32(19),
    alias: text(20),
    counters: counters(23),
    families: nested(26, families),
    group: host32(27),
    /** Open file of the namespace to move it to. */
    netNsFd: host32(28),
    extendedMask: host32(29),
    promiscuity: host32(30),
    carrier: u8(33),
    carrierChanges: host32(35),
    peerNetNsId: hostS32(37),
    permanentAddress: linkAddress(54),
  }),
);
type ValueOf<M> = M extends { readonly encode: (into: MessageBuilder, value: infer V) => unknown } ? V : never;
export type Link = ValueOf<typeof link>;

// Addresses -----------------------------------------------------------------------------------------------------------

/** RT_SCOPE_*, for addresses and routes. */
export const SCOPE = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
/** IFA_F_*. */
export const IFA_F = {
  secondary: 0x01,
  noDad: 0x02,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  noPrefixRoute: 0x200,
} as const;

/** Seconds; 0xffffffff is for ever. The two stamps are 1/100 s since boot. */
const addressTimes = layout("address-times", 16, {
  preferredSeconds: row.host32(0),
  validSeconds: row.host32(4),
  createdTicks: row.host32(8),
  updatedTicks: row.host32(12),
});
/** IFA_*. `local` is the host's own address; `address` is the same, or the peer's on a point-to-point device. */
export const address = message(
  layout("address", 8, {
    family: row.u8(0),
    prefixLength: row.u8(1),
    /** The low eight bits only; `flags`, where given, has all. */
    shortFlags: row.u8(2),
    scope: row.u8(3),
    index: row.host32(4),
  }),
  attributes("address", {
    address: ipv4(1),
    local: ipv4(2),
    label: text(3),
    broadcast: ipv4(4),
    times: struct(6, addressTimes),
    flags: host32(8),
    routeMetric: host32(9),
    origin: u8(11),
  }),
);
export type Address = ValueOf<typeof address>;
export const addressFlags = (a: Address): number => a.flags ?? a.shortFlags;

// Routes --------------------------------------------------------------------------------------------------------------

/** RTN_*. */
export const ROUTE_TYPE = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;
export const TABLE = { unspecified: 0, compat: 252, default: 253, main: 254, local: 255 } as const;
export const ROUTE_PROTOCOL = { redirect: 1, kernel: 2, boot: 3, static: 4, dhcp: 16 } as const;

/** RTAX_*. `locked` has bit n set when metric n is fixed by the administrator. */
const metrics = attributes("route-metrics", {
  locked: host32(1),
  mtuOctets: host32(2),
  window: host32(3),
  roundTripTime: host32(4),
  advertisedMssOctets: host32(8),
  hopLimit: host32(10),
  initialWindow: host32(11),
  minimumRetransmitMs: host32(13),
});

const hopHeader = layout("next-hop", 8, {
  length: row.host16(0),
  flags: row.u8(2),
  weightLessOne: row.u8(3),
  index: row.hostS32(4),
});
const hopAttributes = attributes("next-hop", { gateway: ipv4(5), realms: host32(11) });
export interface NextHop {
  readonly index: number;
  readonly flags: number;
  /** 1 to 256. */
  readonly weight: number;
  readonly gateway?: Ipv4;
  readonly realms?: number;
}

function readHops(octets: Uint8Array): Read<readonly NextHop[]> {
  const hops: NextHop[] = [];
  for (let at = 0; at < octets.length; ) {
    const header = hopHeader.decode(octets, at);
    if (!header.ok) return header;
    const { length, flags, weightLessOne, index } = header.value;
    if (length < 8 || at + length > octets.length)
      return fault("next-hop/length", `next-hop: length ${length}, ${octets.length - at} octets are there`);
    const rest = hopAttributes.decode(octets.subarray(at, at + length), 8);
    if (!rest.ok) return rest;
    hops.push({ index, flags, weight: weightLessOne + 1, ...rest.value });
    at += (length + 3) & ~3;
  }
  return { ok: true, value: hops };
}
const nextHops = (type: number): AttributeRow<readonly NextHop[]> => ({
  type,
  read: readHops,
  write: (into, where, hops) => {
    // Not attributes inside, so not marked as nested.
    const fill = (): void => {
      for (const hop of hops)
        into.measured(() => {
          const { flags, index, weight } = hop;
          into.fixed(hopHeader, { length: 0, flags, weightLessOne: weight - 1, index });
          hopAttributes.encode(into, hop);
        });
    };
    into.nest(where, fill, 0);
  },
});

/** RTA_*. */
export const route = message(
  layout("route", 12, {
    family: row.u8(0),
    destinationLength: row.u8(1),
    sourceLength: row.u8(2),
    tos: row.u8(3),
    /** Tables above 255 are 252 here and told in `table`. */
    shortTable: row.u8(4),
    protocol: row.u8(5),
    scope: row.u8(6),
    type: row.u8(7),
    flags: row.host32(8),
  }),
  attributes("route", {
    destination: ipv4(1),
    source: ipv4(2),
    inIndex: host32(3),
    outIndex: host32(4),
    gateway: ipv4(5),
    priority: host32(6),
    preferredSource: ipv4(7),
    metrics: nested(8, metrics),
    nextHops: nextHops(9),
    realms: host32(11),
    table: host32(15),
    mark: host32(16),
    userId: host32(25),
    ipProtocol: u8(27),
    sourcePort: be16(28),
    destinationPort: be16(29),
    nextHopId: host32(30),
  }),
);
export type Route = ValueOf<typeof route>;
export const routeTable = (r: Route): number => r.table ?? r.shortTable;

// Rules ---------------------------------------------------------------------------------------------------------------

/** FR_ACT_*. */
export const RULE_ACTION = { toTable: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
/** FIB_RULE_*. */
export const RULE_FLAG = { permanent: 0x1, invert: 0x2, unresolved: 0x4, inDetached: 0x8, outDetached: 0x10 } as const;

const range16 = layout("rule-ports", 4, { first: row.host16(0), last: row.host16(2) });
const range32 = layout("rule-users", 8, { first: row.host32(0), last: row.host32(4) });
/** FRA_*. */
export const rule = message(
  layout("rule", 12, {
    family: row.u8(0),
    destinationLength: row.u8(1),
    sourceLength: row.u8(2),
    tos: row.u8(3),
    shortTable: row.u8(4),
    reserved: row.unused(5, 2),
    action: row.u8(7),
    flags: row.host32(8),
  }),
  attributes("rule", {
    destination: ipv4(1),
    source: ipv4(2),
    inName: text(3),
    goto: host32(4),
    priority: host32(6),
    mark: host32(10),
    realms: host32(11),
    tunnelId: bytes(12),
    suppressInterfaceGroup: host32(13),
    /** -1 where nothing is suppressed. */
    suppressPrefixLength: hostS32(14),
    table: host32(15),
    markMask: host32(16),
    outName: text(17),
    layer3Master: u8(19),
    users: struct(20, range32),
    protocol: u8(21),
    ipProtocol: u8(22),
    sourcePorts: struct(23, range16),
    destinationPorts: struct(24, range16),
    dscp: u8(25),
    flowLabel: be32(26),
    flowLabelMask: be32(27),
    sourcePortMask: host16(28),
    destinationPortMask: host16(29),
    dscpMask: u8(30),
  }),
);
export type Rule = ValueOf<typeof rule>;
export const ruleTable = (r: Rule): number => r.table ?? r.shortTable;

// Neighbours ----------------------------------------------------------------------------------------------------------

/** NUD_*: bits, of which one is set; none is 0. */
export const NEIGHBOUR_STATE = {
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noArp: 0x40,
  permanent: 0x80,
} as const;
export const neighbourStateName = (state: number): string =>
  Object.entries(NEIGHBOUR_STATE).find(([, bit]) => bit === state)?.[0] ??
  (state === 0 ? "none" : `0x${state.toString(16)}`);
/** NTF_*. A proxy entry is one we answer ARP for. */
export const NEIGHBOUR_FLAG = {
  use: 0x01,
  self: 0x02,
  master: 0x04,
  proxy: 0x08,
  externallyLearned: 0x10,
  router: 0x80,
} as const;

/** Ages in ticks of 10 ms. */
const neighbourTimes = layout("neighbour-times", 16, {
  confirmedTicks: row.host32(0),
  usedTicks: row.host32(4),
  updatedTicks: row.host32(8),
  references: row.host32(12),
});
/** NDA_*. */
export const neighbour = message(
  layout("neighbour", 12, {
    family: row.u8(0),
    padding: row.unused(1, 3),
    index: row.hostS32(4),
    state: row.host16(8),
    flags: row.u8(10),
    type: row.u8(11),
  }),
  attributes("neighbour", {
    destination: ipv4(1),
    linkAddress: linkAddress(2),
    times: struct(3, neighbourTimes),
    probes: host32(4),
    vlan: host16(5),
    master: host32(9),
    protocol: u8(12),
    extendedFlags: host32(15),
  }),
);
export type Neighbour = ValueOf<typeof neighbour>;

/** struct ndtmsg and NDTA_*: a neighbour table's times, those of one link or, with index 0, the defaults. */
export const neighbourTable = message(
  layout("neighbour-table", 4, { family: row.u8(0), padding: row.unused(1, 3) }),
  attributes("neighbour-table", {
    name: text(1),
    parameters: nested(
      6,
      attributes("neighbour-parameters", { index: host32(1), proxyDelayMs: host64(13), lockTimeMs: host64(15) }),
    ),
  }),
);

// Requests ------------------------------------------------------------------------------------------------------------

export interface Request<V> {
  /** One of RTM. */
  readonly type: number;
  /** NLM_F bits besides request and ack: `create | exclusive`, `dump`, …; an acknowledgement is asked for unless it is a dump. */
  readonly flags?: number;
  readonly sequence: number;
  readonly value: V;
}

/** Octets of one request of the given format: `rtRequest(link, { type: RTM.newLink, … })`. */
export function rtRequest<T extends Table, A extends AttributeTable>(
  format: Message<T, A>,
  { type, flags = 0, sequence, value }: Request<Parameters<Message<T, A>["encode"]>[1]>,
): Uint8Array {
  // RTM_GET*: the same bits mean "all of them" there and "must be new" in RTM_NEW*.
  const isDump = type % 4 === 2 && (flags & NLM_F.dump) === NLM_F.dump;
  const builder = new MessageBuilder({ type, flags: isDump ? flags : flags | NLM_F.ack, sequence });
  return format.encode(builder, value).finish();
}

/** A link's header where a request needs no more than index or name. */
export const anyLink = { family: 0, hardwareType: 0, index: 0, flags: 0, change: 0 } as const;

/** Everything of one sort. `neighbour` takes NEIGHBOUR_FLAG.proxy to list what is answered for others. */
export const dumpRequests = {
  links: (sequence: number): Uint8Array =>
    rtRequest(link, { type: RTM.getLink, flags: NLM_F.dump, sequence, value: anyLink }),
  addresses: (sequence: number, family: number = AF.inet): Uint8Array =>
    rtRequest(address, {
      type: RTM.getAddress,
      flags: NLM_F.dump,
      sequence,
      value: { family, prefixLength: 0, shortFlags: 0, scope: 0, index: 0 },
    }),
  routes: (sequence: number, family: number = AF.inet): Uint8Array =>
    rtRequest(route, {
      type: RTM.getRoute,
      flags: NLM_F.dump,
      sequence,
      value: {
        family,
        destinationLength: 0,
        sourceLength: 0,
        tos: 0,
        shortTable: 0,
        protocol: 0,
        scope: 0,
        type: 0,
        flags: 0,
      },
    }),
  rules: (sequence: number, family: number = AF.inet): Uint8Array =>
    rtRequest(rule, {
      type: RTM.getRule,
      flags: NLM_F.dump,
      sequence,
      value: { family, destinationLength: 0, sourceLength: 0, tos: 0, shortTable: 0, action: 0, flags: 0 },
    }),
  neighbours: (sequence: number, family: number = AF.inet, flags = 0): Uint8Array =>
    rtRequest(neighbour, {
      type: RTM.getNeighbour,
      flags: NLM_F.dump,
      sequence,
      value: { family, index: 0, state: 0, flags, type: 0 },
    }),
} as const;
