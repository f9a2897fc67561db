/**
 * Wishes for links, IPv4 addresses, routes, rules and neighbours as netlink requests. No I/O: a request can be sent
 * alone or with thousands of others (Rtnetlink.batch). Links are named by index here; names are for Rtnetlink.
 */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { formatPrefix, networkOf, type Prefix } from "../base/prefix.ts";
import { AttributeWriter, LITTLE_ENDIAN } from "../wire/netlinkAttributes.ts";
import {
  FIB_RULE_INVERT,
  FRA,
  IFA,
  IFA_F,
  IFF,
  IFLA,
  IFLA_INFO,
  NDA,
  NDTA,
  NDTPA,
  NEIGHBOUR_STATES,
  type NeighbourState,
  NTF_PROXY,
  ROUTE_TYPES,
  type RouteType,
  RTA,
  RTAX,
  RTM,
  RTNH_F_ONLINK,
  RULE_ACTIONS,
  type RuleAction,
  type Scope,
  scopeNumber,
  TABLES,
} from "../wire/rtnetlinkMessages.ts";
import { type NetlinkRequest, NLM_F } from "./netlink.ts";

const AF_INET = 2;
const ADD = NLM_F.CREATE | NLM_F.EXCL;
const PUT = NLM_F.CREATE | NLM_F.REPLACE;

/** A fixed header: octets given, the rest zero; then integers of the machine's order at their places. */
function header(
  octets: readonly number[],
  size: number,
  numbers: readonly (readonly [at: number, u32: number])[] = [],
) {
  const made = new Uint8Array(size);
  made.set(octets);
  const view = new DataView(made.buffer);
  for (const [at, value] of numbers) view.setUint32(at, value, LITTLE_ENDIAN);
  return made;
}

export interface LinkFlags {
  readonly up?: boolean;
  readonly noArp?: boolean;
  readonly promiscuous?: boolean;
}

const flagBits = { up: IFF.UP, noArp: IFF.NOARP, promiscuous: IFF.PROMISC } as const;

/** struct ifinfomsg: only the flags named are changed. */
export function linkHeader(index: number, flags: LinkFlags = {}): Uint8Array {
  let value = 0;
  let change = 0;
  for (const name of Object.keys(flagBits) as (keyof typeof flagBits)[]) {
    const wish = flags[name];
    if (wish === undefined) continue;
    change |= flagBits[name];
    if (wish) value |= flagBits[name];
  }
  return header([0], 16, [
    [4, index],
    [8, value],
    [12, change],
  ]);
}

export interface NewLink {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  /** Descriptor of the namespace to be born in. */
  readonly namespaceFd?: number;
}

export function writeNewLink(w: AttributeWriter, link: NewLink): void {
  w.text(IFLA.IFNAME, link.name);
  if (link.mac !== undefined) w.mac(IFLA.ADDRESS, link.mac);
  if (link.mtu !== undefined) w.u32(IFLA.MTU, link.mtu);
  if (link.namespaceFd !== undefined) w.u32(IFLA.NET_NS_FD, link.namespaceFd);
}

function createLink(
  kind: string,
  link: NewLink,
  options: { readonly parent?: number; readonly data?: (w: AttributeWriter) => void } = {},
): NetlinkRequest {
  const w = new AttributeWriter(linkHeader(0));
  writeNewLink(w, link);
  if (options.parent !== undefined) w.u32(IFLA.LINK, options.parent);
  w.nest(IFLA.LINKINFO, (info) => {
    info.text(IFLA_INFO.KIND, kind);
    const { data } = options;
    if (data !== undefined) info.nest(IFLA_INFO.DATA, (inner) => data(inner));
  });
  return { type: RTM.NEWLINK, flags: ADD, payload: w.finish(), operation: `create ${kind} link`, object: link.name };
}

export interface LinkChange extends LinkFlags {
  /** Index of the bridge to join, 0 to leave. */
  readonly master?: number;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly name?: string;
  readonly namespaceFd?: number;
}

function setLink(index: number, change: LinkChange, object = `link ${index}`): NetlinkRequest {
  const w = new AttributeWriter(linkHeader(index, change));
  if (change.name !== undefined) w.text(IFLA.IFNAME, change.name);
  if (change.mac !== undefined) w.mac(IFLA.ADDRESS, change.mac);
  if (change.mtu !== undefined) w.u32(IFLA.MTU, change.mtu);
  if (change.master !== undefined) w.u32(IFLA.MASTER, change.master);
  if (change.namespaceFd !== undefined) w.u32(IFLA.NET_NS_FD, change.namespaceFd);
  return { type: RTM.NEWLINK, flags: 0, payload: w.finish(), operation: "change link", object };
}

const deleteLink = (index: number, object = `link ${index}`): NetlinkRequest => ({
  type: RTM.DELLINK,
  flags: 0,
  payload: linkHeader(index),
  operation: "delete link",
  object,
});

export interface AddressWish {
  readonly prefix: Prefix;
  /** Must begin with the link's name for old tools (ifconfig) to show it; 15 characters at most. */
  readonly label?: string;
  readonly scope?: Scope;
  /** None unless asked for. */
  readonly broadcast?: Ipv4;
  /** The other end of a point-to-point link; `prefix` gives our own end. */
  readonly peer?: Prefix;
  readonly noPrefixRoute?: boolean;
}

function addressRequest(
  verb: "add" | "replace" | "remove",
  index: number,
  wish: AddressWish,
  linkName: string,
): NetlinkRequest {
  const { prefix, peer } = wish;
  const length = peer?.length ?? prefix.length;
  const fixed = header([AF_INET, length, 0, scopeNumber(wish.scope ?? "global")], 8, [[4, index]]);
  const w = new AttributeWriter(fixed)
    .ipv4(IFA.LOCAL, prefix.address)
    .ipv4(IFA.ADDRESS, peer?.address ?? prefix.address);
  if (wish.broadcast !== undefined) w.ipv4(IFA.BROADCAST, wish.broadcast);
  if (wish.label !== undefined) w.text(IFA.LABEL, wish.label);
  if (wish.noPrefixRoute) w.u32(IFA.FLAGS, IFA_F.NOPREFIXROUTE);
  return {
    type: verb === "remove" ? RTM.DELADDR : RTM.NEWADDR,
    flags: verb === "add" ? ADD : verb === "replace" ? PUT : 0,
    payload: w.finish(),
    operation: `${verb} address`,
    object: `${formatPrefix(prefix)} on ${linkName}`,
  };
}

export interface HopWish {
  readonly gateway?: Ipv4;
  readonly linkIndex?: number;
  /** 1 (also when absent) to 256. */
  readonly weight?: number;
  readonly onLink?: boolean;
}

export interface RouteWish {
  /** The default route when absent. */
  readonly destination?: Prefix;
  /** `unicast` when absent. */
  readonly type?: RouteType;
  /** `main` when absent, `local` for local and broadcast routes. */
  readonly table?: number;
  readonly gateway?: Ipv4;
  readonly linkIndex?: number;
  readonly preferredSource?: Ipv4;
  readonly metric?: number;
  readonly scope?: Scope;
  /** RTPROT_*; static (4) when absent. */
  readonly protocol?: number;
  /** The gateway is on the link although no prefix of the link says so. */
  readonly onLink?: boolean;
  readonly mtu?: number;
  /** Instead of `gateway` and `linkIndex`. */
  readonly hops?: readonly HopWish[];
}

const RTPROT_STATIC = 4;

/** What `ip route` assumes: the scope says how far away a destination is. */
function defaultScope(wish: RouteWish): Scope {
  const type = wish.type ?? "unicast";
  if (type === "local" || type === "nat") return "host";
  if (type === "broadcast" || type === "multicast" || type === "anycast") return "link";
  if (type === "unicast" && wish.gateway === undefined && wish.hops === undefined) return "link";
  return "global";
}

const describeRoute = (wish: RouteWish): string =>
  [
    wish.type ?? "",
    wish.destination === undefined ? "default" : formatPrefix(wish.destination),
    wish.gateway === undefined ? "" : `via ${formatIpv4(wish.gateway)}`,
    wish.table === undefined ? "" : `in table ${wish.table}`,
  ]
    .filter((word) => word !== "")
    .join(" ");

function writeHops(w: AttributeWriter, hops: readonly HopWish[]): void {
  for (const hop of hops) {
    const start = w.length;
    w.raw(header([0, 0, hop.onLink ? RTNH_F_ONLINK : 0, (hop.weight ?? 1) - 1], 8, [[4, hop.linkIndex ?? 0]]));
    if (hop.gateway !== undefined) w.ipv4(RTA.GATEWAY, hop.gateway);
    w.patchU16(start, w.length - start);
  }
}

function routeRequest(verb: "add" | "replace" | "remove", wish: RouteWish): NetlinkRequest {
  const removing = verb === "remove";
  const type = wish.type ?? "unicast";
  const table = wish.table ?? (type === "local" || type === "broadcast" ? TABLES.local : TABLES.main);
  // To remove, what is not said matches anything: type 0, protocol 0 and scope "nowhere" are the kernel's wildcards.
  const scope = wish.scope ?? (removing ? "nowhere" : defaultScope(wish));
  const protocol = wish.protocol ?? (removing ? 0 : RTPROT_STATIC);
  const typeNumber = removing && wish.type === undefined ? 0 : ROUTE_TYPES[type];
  const fixed = header(
    [AF_INET, wish.destination?.length ?? 0, 0, 0, table < 256 ? table : 0, protocol, scopeNumber(scope), typeNumber],
    12,
    [[8, wish.onLink ? RTNH_F_ONLINK : 0]],
  );
  const w = new AttributeWriter(fixed).u32(RTA.TABLE, table);
  if (wish.destination !== undefined && wish.destination.length > 0) w.ipv4(RTA.DST, networkOf(wish.destination));
  if (wish.gateway !== undefined) w.ipv4(RTA.GATEWAY, wish.gateway);
  if (wish.linkIndex !== undefined) w.u32(RTA.OIF, wish.linkIndex);
  if (wish.preferredSource !== undefined) w.ipv4(RTA.PREFSRC, wish.preferredSource);
  if (wish.metric !== undefined) w.u32(RTA.PRIORITY, wish.metric);
  const { mtu, hops } = wish;
  if (mtu !== undefined) w.nest(RTA.METRICS, (inner) => inner.u32(RTAX.MTU, mtu));
  if (hops !== undefined) w.nest(RTA.MULTIPATH, (inner) => writeHops(inner, hops));
  return {
    type: removing ? RTM.DELROUTE : RTM.NEWROUTE,
    flags: verb === "add" ? ADD : verb === "replace" ? PUT : 0,
    payload: w.finish(),
    operation: `${verb} route`,
    object: describeRoute(wish),
  };
}

export interface RuleWish {
  readonly priority: number;
  /** `table` when absent. */
  readonly action?: RuleAction;
  readonly table?: number;
  readonly source?: Prefix;
  readonly destination?: Prefix;
  readonly inputLink?: string;
  readonly outputLink?: string;
  readonly fwmark?: number;
  readonly fwmask?: number;
  readonly invert?: boolean;
}

function ruleRequest(verb: "add" | "remove", wish: RuleWish): NetlinkRequest {
  const { source, destination, table } = wish;
  // To remove, an action that is not said matches any.
  const action =
    verb === "remove" && wish.action === undefined && table === undefined ? 0 : RULE_ACTIONS[wish.action ?? "table"];
  const fixed = header(
    [
      AF_INET,
      destination?.length ?? 0,
      source?.length ?? 0,
      0,
      table !== undefined && table < 256 ? table : 0,
      0,
      0,
      action,
    ],
    12,
    [[8, wish.invert ? FIB_RULE_INVERT : 0]],
  );
  const w = new AttributeWriter(fixed).u32(FRA.PRIORITY, wish.priority);
  if (table !== undefined) w.u32(FRA.TABLE, table);
  if (source !== undefined && source.length > 0) w.ipv4(FRA.SRC, networkOf(source));
  if (destination !== undefined && destination.length > 0) w.ipv4(FRA.DST, networkOf(destination));
  if (wish.inputLink !== undefined) w.text(FRA.IIFNAME, wish.inputLink);
  if (wish.outputLink !== undefined) w.text(FRA.OIFNAME, wish.outputLink);
  if (wish.fwmark !== undefined) w.u32(FRA.FWMARK, wish.fwmark);
  if (wish.fwmask !== undefined) w.u32(FRA.FWMASK, wish.fwmask);
  return {
    type: verb === "add" ? RTM.NEWRULE : RTM.DELRULE,
    flags: verb === "add" ? ADD : 0,
    payload: w.finish(),
    operation: `${verb} rule`,
    object: `with priority ${wish.priority}`,
  };
}

export interface NeighbourWish {
  readonly address: Ipv4;
  readonly mac?: Mac;
  /** `permanent` when absent. */
  readonly state?: NeighbourState;
  /** Answer ARP for the address on this link ourselves; takes no MAC. */
  readonly proxy?: boolean;
}

function neighbourRequest(
  verb: "set" | "remove",
  index: number,
  wish: NeighbourWish,
  linkName: string,
): NetlinkRequest {
  const fixed = header([AF_INET], 12, [[4, index]]);
  if (verb === "set")
    new DataView(fixed.buffer).setUint16(8, NEIGHBOUR_STATES[wish.state ?? "permanent"], LITTLE_ENDIAN);
  if (wish.proxy) fixed[10] = NTF_PROXY;
  const w = new AttributeWriter(fixed).ipv4(NDA.DST, wish.address);
  if (wish.mac !== undefined) w.mac(NDA.LLADDR, wish.mac);
  return {
    type: verb === "set" ? RTM.NEWNEIGH : RTM.DELNEIGH,
    flags: verb === "set" ? PUT : 0,
    payload: w.finish(),
    operation: `${verb} neighbour`,
    object: `${formatIpv4(wish.address)} on ${linkName}`,
  };
}

/** All requests, for Rtnetlink and for batches. Link indexes come from Rtnetlink.indexOf. */
export const ask = {
  createLink,
  setLink,
  deleteLink,
  addAddress: (index: number, wish: AddressWish, linkName = `link ${index}`): NetlinkRequest =>
    addressRequest("add", index, wish, linkName),
  /** Changes the lifetime, label-less settings and metric of an address that is there; adds it else. */
  replaceAddress: (index: number, wish: AddressWish, linkName = `link ${index}`): NetlinkRequest =>
    addressRequest("replace", index, wish, linkName),
  removeAddress: (index: number, prefix: Prefix, linkName = `link ${index}`, peer?: Prefix): NetlinkRequest =>
    addressRequest("remove", index, peer === undefined ? { prefix } : { prefix, peer }, linkName),
  addRoute: (wish: RouteWish): NetlinkRequest => routeRequest("add", wish),
  replaceRoute: (wish: RouteWish): NetlinkRequest => routeRequest("replace", wish),
  removeRoute: (wish: RouteWish): NetlinkRequest => routeRequest("remove", wish),
  addRule: (wish: RuleWish): NetlinkRequest => ruleRequest("add", wish),
  removeRule: (wish: RuleWish): NetlinkRequest => ruleRequest("remove", wish),
  setNeighbour: (index: number, wish: NeighbourWish, linkName = `link ${index}`): NetlinkRequest =>
    neighbourRequest("set", index, wish, linkName),
  removeNeighbour: (index: number, address: Ipv4, linkName = `link ${index}`, proxy = false): NetlinkRequest =>
    neighbourRequest("remove", index, { address, proxy }, linkName),
} as const;

/** How long a link's ARP keeps a MAC before another may take its place: neigh/LINK/locktime, without its rounding. */
export function setLockTime(index: number, ms: number): NetlinkRequest {
  const w = new AttributeWriter(header([AF_INET], 4)).text(NDTA.NAME, "arp_cache");
  w.nest(NDTA.PARMS, (inner) => {
    const octets = new Uint8Array(8);
    new DataView(octets.buffer).setBigUint64(0, BigInt(ms), LITTLE_ENDIAN);
    inner.u32(NDTPA.IFINDEX, index).octets(NDTPA.LOCKTIME, octets);
  });
  return { type: RTM.SETNEIGHTBL, flags: 0, payload: w.finish(), operation: "set lock time", object: `link ${index}` };
}

/** RTEXT_FILTER_SKIP_STATS: counters make a link's message three times as long. */
const SKIP_STATS = 8;

/** Dumps, narrowed by the kernel where it can (strict checking, Linux 4.20); callers narrow again. */
export const list = {
  links: (): NetlinkRequest => ({
    type: RTM.GETLINK,
    flags: 0,
    payload: new AttributeWriter(linkHeader(0)).u32(IFLA.EXT_MASK, SKIP_STATS).finish(),
    operation: "list",
    object: "links",
  }),
  link: (name: string): NetlinkRequest => ({
    type: RTM.GETLINK,
    flags: 0,
    payload: new AttributeWriter(linkHeader(0)).text(IFLA.IFNAME, name).u32(IFLA.EXT_MASK, SKIP_STATS).finish(),
    operation: "find link",
    object: name,
  }),
  addresses: (index: number): NetlinkRequest => ({
    type: RTM.GETADDR,
    flags: 0,
    payload: header([AF_INET], 8, [[4, index]]),
    operation: "list",
    object: "addresses",
  }),
  routes: (table: number): NetlinkRequest => {
    const w = new AttributeWriter(header([AF_INET], 12));
    if (table !== 0) w.u32(RTA.TABLE, table);
    return { type: RTM.GETROUTE, flags: 0, payload: w.finish(), operation: "list", object: "routes" };
  },
  rules: (): NetlinkRequest => ({
    type: RTM.GETRULE,
    flags: 0,
    payload: header([AF_INET], 12),
    operation: "list",
    object: "rules",
  }),
  /** The times of every link's ARP; one message a link. */
  neighbourTimes: (): NetlinkRequest => ({
    type: RTM.GETNEIGHTBL,
    flags: 0,
    payload: header([AF_INET], 4),
    operation: "list",
    object: "neighbour table parameters",
  }),
  neighbours: (index: number, proxy: boolean): NetlinkRequest => {
    const fixed = header([AF_INET], 12);
    if (proxy) fixed[10] = NTF_PROXY;
    const w = new AttributeWriter(fixed);
    if (index !== 0) w.u32(NDA.IFINDEX, index);
    return { type: RTM.GETNEIGH, flags: 0, payload: w.finish(), operation: "list", object: "neighbours" };
  },
} as const;
