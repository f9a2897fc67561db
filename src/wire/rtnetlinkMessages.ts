/** rtnetlink payloads to values: links, IPv4 addresses, routes, rules and neighbours (linux/rtnetlink.h, if_link.h). */
import { ANY, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import { Attributes, LITTLE_ENDIAN } from "./netlinkAttributes.ts";

export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWRULE: 32,
  DELRULE: 33,
  GETRULE: 34,
  NEWNEIGHTBL: 64,
  GETNEIGHTBL: 66,
  SETNEIGHTBL: 67,
} as const;

export const IFF = {
  UP: 0x1,
  BROADCAST: 0x2,
  LOOPBACK: 0x8,
  POINTOPOINT: 0x10,
  RUNNING: 0x40,
  NOARP: 0x80,
  PROMISC: 0x100,
  MULTICAST: 0x1000,
  LOWER_UP: 0x10000,
} as const;

export const IFLA = {
  ADDRESS: 1,
  BROADCAST: 2,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  TXQLEN: 13,
  OPERSTATE: 16,
  LINKINFO: 18,
  AF_SPEC: 26,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  PROMISCUITY: 30,
  LINK_NETNSID: 37,
} as const;
export const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
export const IFLA_IPTUN = { LINK: 1, LOCAL: 2, REMOTE: 3, TTL: 4, TOS: 5, PMTUDISC: 10 } as const;
export const IFLA_VLAN_ID = 1;
export const IFLA_MACVLAN_MODE = 1;
export const IFLA_BR = { FORWARD_DELAY: 1, STP_STATE: 5, MCAST_SNOOPING: 23 } as const;
export const VETH_INFO_PEER = 1;
export const IFLA_VRF_TABLE = 1;
/** In IFLA_AF_SPEC, in the part of AF_INET: every file of net.ipv4.conf.IFACE as one array. */
export const IFLA_INET_CONF = 1;

export const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
export type MacvlanMode = keyof typeof MACVLAN_MODES;

/** RFC 2863 names, in the kernel's numbering. */
const OPERATIONAL_STATES = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"] as const;
export type OperationalState = (typeof OPERATIONAL_STATES)[number];

export interface Link {
  readonly index: number;
  readonly name: string;
  /** "veth", "bridge", "dummy"; absent for hardware and lo. */
  readonly kind?: string;
  /** ARPHRD_*: 1 Ethernet, 772 loopback, 768 IPIP. */
  readonly hardwareType: number;
  /** Absent where the hardware address is not one of Ethernet. */
  readonly mac?: Mac;
  readonly mtu: number;
  /** IFF_* bits as the kernel gives them; the common ones are spelled out below. */
  readonly flags: number;
  readonly up: boolean;
  /** There is a carrier. */
  readonly lowerUp: boolean;
  readonly loopback: boolean;
  readonly noArp: boolean;
  /** Somebody wants all frames: IFF_PROMISC set by hand, or a counted user such as a packet socket. */
  readonly promiscuous: boolean;
  readonly operationalState: OperationalState;
  /** Index of the bridge or bond it belongs to. */
  readonly master?: number;
  /** Index of the link below (vlan, macvlan) or of the other end (veth). */
  readonly parent?: number;
  /** Set when `parent` counts in another namespace. */
  readonly parentNamespaceId?: number;
  readonly vlanId?: number;
  /** Of a VRF. */
  readonly vrfTable?: number;
  readonly macvlanMode?: MacvlanMode;
  /** Of an ipip link; 0.0.0.0 is any. */
  readonly tunnel?: { readonly local: Ipv4; readonly remote: Ipv4; readonly ttl: number };
}

/** Drops what is undefined, as exactOptionalPropertyTypes wants it. */
type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };
function present<T extends object>(fields: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Defined<T>>;
}

const viewOf = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.byteLength);

function linkDetails(info: Attributes | undefined) {
  const kind = info?.text(IFLA_INFO.KIND);
  const data = info?.nested(IFLA_INFO.DATA);
  const mode = kind === "macvlan" ? data?.u32(IFLA_MACVLAN_MODE) : undefined;
  return present({
    kind,
    vlanId: kind === "vlan" ? data?.u16(IFLA_VLAN_ID) : undefined,
    vrfTable: kind === "vrf" ? data?.u32(IFLA_VRF_TABLE) : undefined,
    macvlanMode: (Object.keys(MACVLAN_MODES) as MacvlanMode[]).find((name) => MACVLAN_MODES[name] === mode),
    tunnel:
      kind === "ipip" && data !== undefined
        ? {
            local: data.ipv4(IFLA_IPTUN.LOCAL) ?? ANY,
            remote: data.ipv4(IFLA_IPTUN.REMOTE) ?? ANY,
            ttl: data.u8(IFLA_IPTUN.TTL) ?? 0,
          }
        : undefined,
  });
}

/** A payload of RTM_NEWLINK or RTM_DELLINK; undefined when it is too short to be one, or a bridge's port report. */
export function decodeLink(payload: Uint8Array): Link | undefined {
  if (payload.length < 16) return undefined;
  const view = viewOf(payload);
  // AF_BRIDGE messages come on the same group and tell of ports, not of links.
  if (payload[0] !== 0) return undefined;
  const attributes = new Attributes(payload, 16);
  const name = attributes.text(IFLA.IFNAME);
  if (name === undefined) return undefined;
  const flags = view.getUint32(8, LITTLE_ENDIAN);
  const on = (bit: number): boolean => (flags & bit) !== 0;
  const master = attributes.u32(IFLA.MASTER);
  const parent = attributes.u32(IFLA.LINK);
  return {
    index: view.getInt32(4, LITTLE_ENDIAN),
    name,
    hardwareType: view.getUint16(2, LITTLE_ENDIAN),
    mtu: attributes.u32(IFLA.MTU) ?? 0,
    flags,
    up: on(IFF.UP),
    lowerUp: on(IFF.LOWER_UP),
    loopback: on(IFF.LOOPBACK),
    noArp: on(IFF.NOARP),
    promiscuous: on(IFF.PROMISC) || (attributes.u32(IFLA.PROMISCUITY) ?? 0) > 0,
    operationalState: OPERATIONAL_STATES[attributes.u8(IFLA.OPERSTATE) ?? 0] ?? "unknown",
    ...present({
      mac: attributes.mac(IFLA.ADDRESS),
      master: master === 0 ? undefined : master,
      parent: parent === 0 ? undefined : parent,
      parentNamespaceId: attributes.s32(IFLA.LINK_NETNSID),
    }),
    ...linkDetails(attributes.nested(IFLA.LINKINFO)),
  };
}

export const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, FLAGS: 8 } as const;
export const IFA_F = { SECONDARY: 0x1, PERMANENT: 0x80, NOPREFIXROUTE: 0x200 } as const;

export const SCOPES = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
/** A scope without a name is its number. */
export type Scope = keyof typeof SCOPES | number;
export const scopeNumber = (scope: Scope): number => (typeof scope === "number" ? scope : SCOPES[scope]);
const scopeNames = new Map<number, Scope>(Object.entries(SCOPES).map(([name, n]) => [n, name as Scope]));
const scopeOf = (value: number): Scope => scopeNames.get(value) ?? value;

export interface Address {
  readonly linkIndex: number;
  readonly address: Ipv4;
  readonly prefixLength: number;
  /** Differs from `address` on point-to-point links; then `prefixLength` is the peer's. */
  readonly peer?: Ipv4;
  readonly broadcast?: Ipv4;
  /** The link's name, with ":x" where someone gave it one. */
  readonly label: string;
  readonly scope: Scope;
  readonly secondary: boolean;
  readonly noPrefixRoute: boolean;
  /** False for one with a lifetime, as DHCP sets. */
  readonly permanent: boolean;
}

/** A payload of RTM_NEWADDR or RTM_DELADDR; undefined when it is not an IPv4 address. */
export function decodeAddress(payload: Uint8Array): Address | undefined {
  if (payload.length < 8 || payload[0] !== 2) return undefined;
  const attributes = new Attributes(payload, 8);
  const far = attributes.ipv4(IFA.ADDRESS);
  const address = attributes.ipv4(IFA.LOCAL) ?? far;
  if (address === undefined) return undefined;
  const flags = attributes.u32(IFA.FLAGS) ?? (payload[2] as number);
  return {
    linkIndex: viewOf(payload).getUint32(4, LITTLE_ENDIAN),
    address,
    prefixLength: payload[1] as number,
    label: attributes.text(IFA.LABEL) ?? "",
    scope: scopeOf(payload[3] as number),
    secondary: (flags & IFA_F.SECONDARY) !== 0,
    noPrefixRoute: (flags & IFA_F.NOPREFIXROUTE) !== 0,
    permanent: (flags & IFA_F.PERMANENT) !== 0,
    ...present({ peer: far === address ? undefined : far, broadcast: attributes.ipv4(IFA.BROADCAST) }),
  };
}

export const RTA = {
  DST: 1,
  SRC: 2,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  MULTIPATH: 9,
  TABLE: 15,
} as const;
export const RTAX = { MTU: 2, ADVMSS: 8 } as const;
export const RTNH_F_ONLINK = 4;
export const RTM_F_CLONED = 0x200;

export const ROUTE_TYPES = {
  unspecified: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
  nat: 10,
} as const;
export type RouteType = keyof typeof ROUTE_TYPES;
const routeTypeNames = Object.keys(ROUTE_TYPES) as RouteType[];

export const TABLES = { default: 253, main: 254, local: 255 } as const;

export interface Hop {
  readonly linkIndex: number;
  readonly gateway?: Ipv4;
  /** 1 to 256. */
  readonly weight: number;
  readonly onLink: boolean;
}

export interface Route {
  readonly type: RouteType;
  readonly table: number;
  /** 0.0.0.0/0 is the default route. */
  readonly destination: Prefix;
  readonly source?: Prefix;
  readonly gateway?: Ipv4;
  readonly linkIndex?: number;
  readonly preferredSource?: Ipv4;
  readonly metric: number;
  readonly scope: Scope;
  /** RTPROT_*: 2 kernel, 3 boot, 4 static. */
  readonly protocol: number;
  readonly typeOfService: number;
  readonly onLink: boolean;
  readonly mtu?: number;
  /** Several ways instead of one gateway and link. */
  readonly hops?: readonly Hop[];
}

function decodeHops(octets: Uint8Array): Hop[] {
  const view = viewOf(octets);
  const hops: Hop[] = [];
  for (let at = 0; at + 8 <= octets.length; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < 8 || at + length > octets.length) break;
    const attributes = new Attributes(octets.subarray(at + 8, at + length));
    hops.push({
      linkIndex: view.getInt32(at + 4, LITTLE_ENDIAN),
      weight: (octets[at + 3] as number) + 1,
      onLink: ((octets[at + 2] as number) & RTNH_F_ONLINK) !== 0,
      ...present({ gateway: attributes.ipv4(RTA.GATEWAY) }),
    });
    at += (length + 3) & ~3;
  }
  return hops;
}

/** A payload of RTM_NEWROUTE or RTM_DELROUTE; undefined when it is not an IPv4 route, or a cached one. */
export function decodeRoute(payload: Uint8Array): Route | undefined {
  if (payload.length < 12 || payload[0] !== 2) return undefined;
  const octet = (at: number): number => payload[at] as number;
  const flags = viewOf(payload).getUint32(8, LITTLE_ENDIAN);
  if ((flags & RTM_F_CLONED) !== 0) return undefined;
  const attributes = new Attributes(payload, 12);
  const source = attributes.ipv4(RTA.SRC);
  const hops = attributes.octets(RTA.MULTIPATH);
  return {
    type: routeTypeNames[octet(7)] ?? "unspecified",
    table: attributes.u32(RTA.TABLE) ?? octet(4),
    destination: { address: attributes.ipv4(RTA.DST) ?? ANY, length: octet(1) },
    metric: attributes.u32(RTA.PRIORITY) ?? 0,
    scope: scopeOf(octet(6)),
    protocol: octet(5),
    typeOfService: octet(3),
    onLink: (flags & RTNH_F_ONLINK) !== 0,
    ...present({
      source: source === undefined ? undefined : { address: source, length: octet(2) },
      gateway: attributes.ipv4(RTA.GATEWAY),
      linkIndex: attributes.u32(RTA.OIF),
      preferredSource: attributes.ipv4(RTA.PREFSRC),
      mtu: attributes.nested(RTA.METRICS)?.u32(RTAX.MTU),
      hops: hops === undefined ? undefined : decodeHops(hops),
    }),
  };
}

export const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  GOTO: 4,
  PRIORITY: 6,
  FWMARK: 10,
  SUPPRESS_PREFIXLEN: 14,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
  L3MDEV: 19,
  IP_PROTO: 22,
  SPORT_RANGE: 23,
  DPORT_RANGE: 24,
} as const;
export const RULE_ACTIONS = { table: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
export type RuleAction = keyof typeof RULE_ACTIONS;
export const FIB_RULE_INVERT = 2;

export interface Rule {
  /** 0 is asked first. */
  readonly priority: number;
  readonly action: RuleAction | "other";
  /** 0 unless the action is `table`. */
  readonly table: number;
  readonly source?: Prefix;
  readonly destination?: Prefix;
  readonly inputLink?: string;
  readonly outputLink?: string;
  readonly fwmark?: number;
  readonly fwmask?: number;
  readonly typeOfService: number;
  /** IP protocol number. */
  readonly protocol?: number;
  readonly sourcePorts?: readonly [number, number];
  readonly destinationPorts?: readonly [number, number];
  /** The table of the packet's VRF. */
  readonly vrf?: boolean;
  /** The priority to go on at, of action `goto`. */
  readonly goto?: number;
  readonly suppressPrefixLength?: number;
  readonly invert: boolean;
}

/** struct fib_rule_port_range: first and last port. */
function portRange(octets: Uint8Array | undefined): readonly [number, number] | undefined {
  if (octets === undefined || octets.length < 4) return undefined;
  const view = viewOf(octets);
  return [view.getUint16(0, LITTLE_ENDIAN), view.getUint16(2, LITTLE_ENDIAN)];
}

/** A payload of RTM_NEWRULE or RTM_DELRULE; undefined when it is not an IPv4 rule. */
export function decodeRule(payload: Uint8Array): Rule | undefined {
  if (payload.length < 12 || payload[0] !== 2) return undefined;
  const attributes = new Attributes(payload, 12);
  const selector = (type: number, length: number): Prefix | undefined => {
    const address = attributes.ipv4(type);
    return address === undefined && length === 0 ? undefined : { address: address ?? ANY, length };
  };
  const action = payload[7] as number;
  const suppress = attributes.s32(FRA.SUPPRESS_PREFIXLEN);
  return {
    priority: attributes.u32(FRA.PRIORITY) ?? 0,
    action: (Object.keys(RULE_ACTIONS) as RuleAction[]).find((name) => RULE_ACTIONS[name] === action) ?? "other",
    table: attributes.u32(FRA.TABLE) ?? (payload[4] as number),
    typeOfService: payload[3] as number,
    invert: (viewOf(payload).getUint32(8, LITTLE_ENDIAN) & FIB_RULE_INVERT) !== 0,
    ...present({
      source: selector(FRA.SRC, payload[2] as number),
      destination: selector(FRA.DST, payload[1] as number),
      inputLink: attributes.text(FRA.IIFNAME),
      outputLink: attributes.text(FRA.OIFNAME),
      fwmark: attributes.u32(FRA.FWMARK),
      fwmask: attributes.u32(FRA.FWMASK),
      protocol: attributes.u8(FRA.IP_PROTO),
      sourcePorts: portRange(attributes.octets(FRA.SPORT_RANGE)),
      destinationPorts: portRange(attributes.octets(FRA.DPORT_RANGE)),
      vrf: attributes.u8(FRA.L3MDEV) === 1 ? true : undefined,
      goto: attributes.u32(FRA.GOTO),
      suppressPrefixLength: suppress === undefined || suppress < 0 ? undefined : suppress,
    }),
  };
}

export const NDA = { DST: 1, LLADDR: 2, CACHEINFO: 3, IFINDEX: 8 } as const;
export const NEIGHBOUR_STATES = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;
export type NeighbourState = keyof typeof NEIGHBOUR_STATES;
export const NTF_PROXY = 8;

export interface Neighbour {
  readonly linkIndex: number;
  readonly address: Ipv4;
  readonly mac?: Mac;
  readonly state: NeighbourState;
  /** We answer ARP for it ourselves, on someone's order. */
  readonly proxy: boolean;
  /** Since its state or MAC last changed, in steps of 10 ms (struct nda_cacheinfo counts in USER_HZ). */
  readonly ageMs?: number;
}

/** A payload of RTM_NEWNEIGHTBL: the times of one link's ARP, or the defaults for new links. */
export interface NeighbourTimes {
  /** Undefined for the defaults. */
  readonly linkIndex: number | undefined;
  readonly lockTimeMs: number;
  readonly proxyDelayMs: number;
}

export const NDTA = { NAME: 1, PARMS: 6 } as const;
export const NDTPA = { IFINDEX: 1, PROXY_DELAY: 13, LOCKTIME: 15 } as const;

/** Undefined for other tables than ARP's. A negative lock time, which the kernel takes, comes as one. */
export function decodeNeighbourTimes(payload: Uint8Array): NeighbourTimes | undefined {
  if (payload.length < 4) return undefined;
  const attributes = new Attributes(payload, 4);
  if (attributes.text(NDTA.NAME) !== "arp_cache") return undefined;
  const times = attributes.nested(NDTA.PARMS);
  if (times === undefined) return undefined;
  const ms = (type: number): number => Number(BigInt.asIntN(32, times.u64(type) ?? 0n));
  const linkIndex = times.u32(NDTPA.IFINDEX);
  return {
    linkIndex: linkIndex === 0 ? undefined : linkIndex,
    lockTimeMs: ms(NDTPA.LOCKTIME),
    proxyDelayMs: ms(NDTPA.PROXY_DELAY),
  };
}

/** A payload of RTM_NEWNEIGH or RTM_DELNEIGH; undefined when it is not of IPv4 (bridges report theirs too). */
export function decodeNeighbour(payload: Uint8Array): Neighbour | undefined {
  if (payload.length < 12 || payload[0] !== 2) return undefined;
  const view = viewOf(payload);
  const attributes = new Attributes(payload, 12);
  const address = attributes.ipv4(NDA.DST);
  if (address === undefined) return undefined;
  const state = view.getUint16(8, LITTLE_ENDIAN);
  const names = Object.keys(NEIGHBOUR_STATES) as NeighbourState[];
  const times = attributes.octets(NDA.CACHEINFO);
  return {
    linkIndex: view.getInt32(4, LITTLE_ENDIAN),
    address: ipv4FromNumber(address),
    state: names.find((name) => NEIGHBOUR_STATES[name] === state) ?? "none",
    proxy: ((payload[10] as number) & NTF_PROXY) !== 0,
    ...present({
      mac: attributes.mac(NDA.LLADDR),
      ageMs: times === undefined || times.length < 12 ? undefined : viewOf(times).getUint32(8, LITTLE_ENDIAN) * 10,
    }),
  };
}
