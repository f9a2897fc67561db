/** What rtnetlink tells, in the field's words: names instead of numbers, what is absent left out. From wire's tables. */
import { ANY, type Ipv4 } from "../base/ipv4.ts";
import { type Mac, parseMac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import * as wire from "./rtnetlink.ts";

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };
/** Drops what is undefined, as exactOptionalPropertyTypes wants it. */
function present<T extends object>(fields: T): Partial<Defined<T>> {
  const kept: Partial<Defined<T>> = {};
  for (const key in fields) if (fields[key] !== undefined) kept[key] = fields[key] as Defined<T>[typeof key];
  return kept;
}

/** The first name of a number; a dump of thousands asks for the same few again and again. */
const namesOf = new WeakMap<object, Map<unknown, string>>();
function nameOf<T extends string>(table: Readonly<Record<T, number>>, value: number | undefined): T | undefined {
  let names = namesOf.get(table);
  if (names === undefined) {
    names = new Map(
      Object.entries(table)
        .map(([name, number]) => [number, name] as const)
        .reverse(),
    );
    namesOf.set(table, names);
  }
  return names.get(value) as T | undefined;
}

export type BondMode = (typeof wire.BOND_MODES)[number];
export type MacvlanMode = keyof typeof wire.MACVLAN_MODE;
export type OperationalState = (typeof wire.OPERSTATE)[number];

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
  readonly bondMode?: BondMode;
  /** Of an ipip link; 0.0.0.0 is any. */
  readonly tunnel?: { readonly local: Ipv4; readonly remote: Ipv4; readonly ttl: number };
}

function linkDetails(info: wire.LinkInfo | undefined) {
  if (info === undefined) return {};
  if (info.kind === "other") return info.name === "" ? {} : { kind: info.name };
  const { kind } = info;
  if (kind === "vlan") return { kind, ...present({ vlanId: info.data?.id }) };
  if (kind === "vrf") return { kind, ...present({ vrfTable: info.data?.table }) };
  if (kind === "macvlan") return { kind, ...present({ macvlanMode: nameOf(wire.MACVLAN_MODE, info.data?.mode) }) };
  if (kind === "bond") return { kind, ...present({ bondMode: wire.BOND_MODES[info.data?.mode ?? -1] }) };
  if (kind !== "ipip" || info.data === undefined) return { kind };
  const { local = ANY, remote = ANY, ttl = 0 } = info.data;
  return { kind, tunnel: { local, remote, ttl } };
}

/** A payload of RTM_NEWLINK or RTM_DELLINK; undefined when it is malformed, or a bridge's port report. */
export function decodeLink(payload: Uint8Array): Link | undefined {
  const read = wire.link.decode(payload);
  // AF_BRIDGE messages come on the same group and tell of ports, not of links.
  if (!read.ok || read.value.family !== wire.AF.unspecified || read.value.name === undefined) return undefined;
  const { index, name, hardwareType, flags, mtu = 0, master, lowerIndex, address, info } = read.value;
  const on = (bit: number): boolean => (flags & bit) !== 0;
  return {
    index,
    name,
    hardwareType,
    mtu,
    flags,
    up: on(wire.IFF.up),
    lowerUp: on(wire.IFF.lowerUp),
    loopback: on(wire.IFF.loopback),
    noArp: on(wire.IFF.noArp),
    promiscuous: on(wire.IFF.promiscuous) || (read.value.promiscuity ?? 0) > 0,
    operationalState: wire.OPERSTATE[read.value.operState ?? 0] ?? "unknown",
    ...present({
      mac: address === undefined ? undefined : parseMac(address),
      master: master === 0 ? undefined : master,
      parent: lowerIndex === 0 ? undefined : lowerIndex,
      parentNamespaceId: read.value.peerNetNsId,
    }),
    ...linkDetails(info),
  };
}

/** A scope without a name is its number. */
export type Scope = keyof typeof wire.SCOPE | number;
export const scopeNumber = (scope: Scope): number => (typeof scope === "number" ? scope : wire.SCOPE[scope]);
const scopeOf = (value: number): Scope => nameOf(wire.SCOPE, value) ?? value;

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
  const read = wire.address.decode(payload);
  if (!read.ok || read.value.family !== wire.AF.inet) return undefined;
  const { address: far, index, prefixLength, label = "", scope, broadcast } = read.value;
  const address = read.value.local ?? far;
  if (address === undefined) return undefined;
  const flags = wire.addressFlags(read.value);
  return {
    linkIndex: index,
    address,
    prefixLength,
    label,
    scope: scopeOf(scope),
    secondary: (flags & wire.IFA_F.secondary) !== 0,
    noPrefixRoute: (flags & wire.IFA_F.noPrefixRoute) !== 0,
    permanent: (flags & wire.IFA_F.permanent) !== 0,
    ...present({ peer: far === address ? undefined : far, broadcast }),
  };
}

export type RouteType = keyof typeof wire.ROUTE_TYPE;

export interface Hop {
  readonly linkIndex: number;
  readonly gateway?: Ipv4;
  /** 1 to 256. */
  readonly weight: number;
  readonly onLink: boolean;
}

export interface Route {
  /** "other" for one that Linux defines and we do not name. */
  readonly type: RouteType | "other";
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
  /** Octets of payload that TCP offers towards this route (advmss). */
  readonly advertisedMss?: number;
  /** Several ways instead of one gateway and link. */
  readonly hops?: readonly Hop[];
}

/** RTNH_F_ONLINK, of a route as well as of one hop. */
export const ON_LINK = 4;
/** RTM_F_CLONED: a cached answer, not a route. */
const CLONED = 0x200;

/** A payload of RTM_NEWROUTE or RTM_DELROUTE; undefined when it is not an IPv4 route, or a cached one. */
export function decodeRoute(payload: Uint8Array): Route | undefined {
  const read = wire.route.decode(payload);
  if (!read.ok || read.value.family !== wire.AF.inet || (read.value.flags & CLONED) !== 0) return undefined;
  const r = read.value;
  return {
    type: nameOf(wire.ROUTE_TYPE, r.type) ?? "other",
    table: wire.routeTable(r),
    destination: { address: r.destination ?? ANY, length: r.destinationLength },
    metric: r.priority ?? 0,
    scope: scopeOf(r.scope),
    protocol: r.protocol,
    typeOfService: r.tos,
    onLink: (r.flags & ON_LINK) !== 0,
    ...present({
      source: r.source === undefined ? undefined : { address: r.source, length: r.sourceLength },
      gateway: r.gateway,
      linkIndex: r.outIndex,
      preferredSource: r.preferredSource,
      mtu: r.metrics?.mtuOctets,
      advertisedMss: r.metrics?.advertisedMssOctets,
      hops: r.nextHops?.map(({ index, weight, flags, gateway }) => ({
        linkIndex: index,
        weight,
        onLink: (flags & ON_LINK) !== 0,
        ...present({ gateway }),
      })),
    }),
  };
}

/** `table` looks the destination up in a table. */
export const RULE_ACTIONS = {
  table: wire.RULE_ACTION.toTable,
  goto: wire.RULE_ACTION.goto,
  nop: wire.RULE_ACTION.nop,
  blackhole: wire.RULE_ACTION.blackhole,
  unreachable: wire.RULE_ACTION.unreachable,
  prohibit: wire.RULE_ACTION.prohibit,
} as const;
export type RuleAction = keyof typeof RULE_ACTIONS;

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

/** A payload of RTM_NEWRULE or RTM_DELRULE; undefined when it is not an IPv4 rule. */
export function decodeRule(payload: Uint8Array): Rule | undefined {
  const read = wire.rule.decode(payload);
  if (!read.ok || read.value.family !== wire.AF.inet) return undefined;
  const r = read.value;
  const selector = (address: Ipv4 | undefined, length: number): Prefix | undefined =>
    address === undefined && length === 0 ? undefined : { address: address ?? ANY, length };
  return {
    priority: r.priority ?? 0,
    action: nameOf(RULE_ACTIONS, r.action) ?? "other",
    table: wire.ruleTable(r),
    typeOfService: r.tos,
    invert: (r.flags & wire.RULE_FLAG.invert) !== 0,
    ...present({
      source: selector(r.source, r.sourceLength),
      destination: selector(r.destination, r.destinationLength),
      inputLink: r.inName,
      outputLink: r.outName,
      fwmark: r.mark,
      fwmask: r.markMask,
      protocol: r.ipProtocol,
      sourcePorts: r.sourcePorts && ([r.sourcePorts.first, r.sourcePorts.last] as const),
      destinationPorts: r.destinationPorts && ([r.destinationPorts.first, r.destinationPorts.last] as const),
      vrf: r.layer3Master === 1 ? true : undefined,
      goto: r.goto,
      suppressPrefixLength: (r.suppressPrefixLength ?? -1) < 0 ? undefined : r.suppressPrefixLength,
    }),
  };
}

export const NEIGHBOUR_STATES = {
  none: 0,
  incomplete: wire.NEIGHBOUR_STATE.incomplete,
  reachable: wire.NEIGHBOUR_STATE.reachable,
  stale: wire.NEIGHBOUR_STATE.stale,
  delay: wire.NEIGHBOUR_STATE.delay,
  probe: wire.NEIGHBOUR_STATE.probe,
  failed: wire.NEIGHBOUR_STATE.failed,
  noarp: wire.NEIGHBOUR_STATE.noArp,
  permanent: wire.NEIGHBOUR_STATE.permanent,
} as const;
export type NeighbourState = keyof typeof NEIGHBOUR_STATES;

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

/** The times of one link's ARP, or the defaults for new links. */
export interface NeighbourTimes {
  /** Undefined for the defaults. */
  readonly linkIndex: number | undefined;
  readonly lockTimeMs: number;
  readonly proxyDelayMs: number;
}

/** A payload of RTM_NEWNEIGHTBL; undefined for other tables than ARP's. A negative lock time comes as one. */
export function decodeNeighbourTimes(payload: Uint8Array): NeighbourTimes | undefined {
  const read = wire.neighbourTable.decode(payload);
  if (!read.ok || read.value.name !== "arp_cache" || read.value.parameters === undefined) return undefined;
  const { index, lockTimeMs = 0n, proxyDelayMs = 0n } = read.value.parameters;
  const signed = (ms: bigint): number => Number(BigInt.asIntN(32, ms));
  return {
    linkIndex: index === 0 ? undefined : index,
    lockTimeMs: signed(lockTimeMs),
    proxyDelayMs: signed(proxyDelayMs),
  };
}

/** A payload of RTM_NEWNEIGH or RTM_DELNEIGH; undefined when it is not of IPv4 (bridges report theirs too). */
export function decodeNeighbour(payload: Uint8Array): Neighbour | undefined {
  const read = wire.neighbour.decode(payload);
  if (!read.ok || read.value.family !== wire.AF.inet || read.value.destination === undefined) return undefined;
  const { index, destination, state, flags, linkAddress, times } = read.value;
  return {
    linkIndex: index,
    address: destination,
    state: nameOf(NEIGHBOUR_STATES, state) ?? "none",
    proxy: (flags & wire.NEIGHBOUR_FLAG.proxy) !== 0,
    ...present({
      mac: linkAddress === undefined ? undefined : parseMac(linkAddress),
      ageMs: times === undefined ? undefined : times.updatedTicks * 10,
    }),
  };
}
