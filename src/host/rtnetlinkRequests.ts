/**
 * Wishes for links, IPv4 addresses, routes, rules and neighbours as netlink requests. No I/O: a request can be sent
 * alone or with thousands of others (Rtnetlink.batch). Links are named by index here; names are for Rtnetlink.
 */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { formatPrefix, networkOf, type Prefix } from "../base/prefix.ts";
import * as wire from "../wire/rtnetlink.ts";
import {
  NEIGHBOUR_STATES,
  type NeighbourState,
  ON_LINK,
  type RouteType,
  RULE_ACTIONS,
  type RuleAction,
  type Scope,
  scopeNumber,
} from "../wire/rtnetlinkValues.ts";
import { type NetlinkRequest, NLM_F, requestPayload } from "./netlink.ts";

const ADD = NLM_F.create | NLM_F.exclusive;
const PUT = NLM_F.create | NLM_F.replace;

export interface LinkFlags {
  readonly up?: boolean;
  readonly noArp?: boolean;
  readonly promiscuous?: boolean;
}

const flagBits = { up: wire.IFF.up, noArp: wire.IFF.noArp, promiscuous: wire.IFF.promiscuous } as const;

/** The fixed part of a link's message: only the flags named are changed. */
function linkHeader(index: number, wish: LinkFlags = {}) {
  let flags = 0;
  let change = 0;
  for (const name of Object.keys(flagBits) as (keyof typeof flagBits)[]) {
    const on = wish[name];
    if (on === undefined) continue;
    change |= flagBits[name];
    if (on) flags |= flagBits[name];
  }
  return { ...wire.anyLink, index, flags, change };
}

export interface NewLink {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  /** Descriptor of the namespace to be born in. */
  readonly namespaceFd?: number;
}

const birth = (link: NewLink) => ({
  name: link.name,
  ...(link.mac === undefined ? {} : { address: link.mac }),
  ...(link.mtu === undefined ? {} : { mtu: link.mtu }),
  ...(link.namespaceFd === undefined ? {} : { netNsFd: link.namespaceFd }),
});

/** The other end of a veth pair, as its data. */
export const vethPeer = (link: NewLink) => ({ peer: { ...wire.anyLink, ...birth(link) } });

/** `info` is the kind with its data; `parent` the index of the link below. */
function createLink(
  link: NewLink,
  info: Exclude<wire.LinkInfo, { readonly kind: "other" }>,
  parent?: number,
): NetlinkRequest {
  const payload = requestPayload(wire.link, {
    ...wire.anyLink,
    ...birth(link),
    ...(parent === undefined ? {} : { lowerIndex: parent }),
    info,
  });
  return { type: wire.RTM.newLink, flags: ADD, payload, operation: `create ${info.kind} link`, object: link.name };
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
  const payload = requestPayload(wire.link, {
    ...linkHeader(index, change),
    ...(change.name === undefined ? {} : { name: change.name }),
    ...(change.mac === undefined ? {} : { address: change.mac }),
    ...(change.mtu === undefined ? {} : { mtu: change.mtu }),
    ...(change.master === undefined ? {} : { master: change.master }),
    ...(change.namespaceFd === undefined ? {} : { netNsFd: change.namespaceFd }),
  });
  return { type: wire.RTM.newLink, flags: 0, payload, operation: "change link", object };
}

const deleteLink = (index: number, object = `link ${index}`): NetlinkRequest => ({
  type: wire.RTM.delLink,
  flags: 0,
  payload: requestPayload(wire.link, linkHeader(index)),
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
  const payload = requestPayload(wire.address, {
    family: wire.AF.inet,
    prefixLength: peer?.length ?? prefix.length,
    shortFlags: 0,
    scope: scopeNumber(wish.scope ?? "global"),
    index,
    local: prefix.address,
    address: peer?.address ?? prefix.address,
    ...(wish.broadcast === undefined ? {} : { broadcast: wish.broadcast }),
    ...(wish.label === undefined ? {} : { label: wish.label }),
    ...(wish.noPrefixRoute ? { flags: wire.IFA_F.noPrefixRoute } : {}),
  });
  return {
    type: verb === "remove" ? wire.RTM.delAddress : wire.RTM.newAddress,
    flags: verb === "add" ? ADD : verb === "replace" ? PUT : 0,
    payload,
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

/** What `ip route` assumes: the scope says how far away a destination is. */
function defaultScope(wish: RouteWish): Scope {
  const type = wish.type ?? "unicast";
  if (type === "local") return "host";
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

const hopOf = (hop: HopWish): wire.NextHop => ({
  index: hop.linkIndex ?? 0,
  flags: hop.onLink ? ON_LINK : 0,
  weight: hop.weight ?? 1,
  ...(hop.gateway === undefined ? {} : { gateway: hop.gateway }),
});

function routeRequest(verb: "add" | "replace" | "remove", wish: RouteWish): NetlinkRequest {
  const removing = verb === "remove";
  const type = wish.type ?? "unicast";
  const { destination } = wish;
  const table = wish.table ?? (type === "local" || type === "broadcast" ? wire.TABLE.local : wire.TABLE.main);
  const payload = requestPayload(wire.route, {
    family: wire.AF.inet,
    destinationLength: destination?.length ?? 0,
    sourceLength: 0,
    tos: 0,
    shortTable: table < 256 ? table : wire.TABLE.unspecified,
    // To remove, what is not said matches anything: type 0, protocol 0 and scope "nowhere" are the kernel's wildcards.
    protocol: wish.protocol ?? (removing ? 0 : wire.ROUTE_PROTOCOL.static),
    scope: scopeNumber(wish.scope ?? (removing ? "nowhere" : defaultScope(wish))),
    type: removing && wish.type === undefined ? 0 : wire.ROUTE_TYPE[type],
    flags: wish.onLink ? ON_LINK : 0,
    table,
    ...(destination === undefined || destination.length === 0 ? {} : { destination: networkOf(destination) }),
    ...(wish.gateway === undefined ? {} : { gateway: wish.gateway }),
    ...(wish.linkIndex === undefined ? {} : { outIndex: wish.linkIndex }),
    ...(wish.preferredSource === undefined ? {} : { preferredSource: wish.preferredSource }),
    ...(wish.metric === undefined ? {} : { priority: wish.metric }),
    ...(wish.mtu === undefined ? {} : { metrics: { mtuOctets: wish.mtu } }),
    ...(wish.hops === undefined ? {} : { nextHops: wish.hops.map(hopOf) }),
  });
  return {
    type: removing ? wire.RTM.delRoute : wire.RTM.newRoute,
    flags: verb === "add" ? ADD : verb === "replace" ? PUT : 0,
    payload,
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
  /** IANA's number; since 4.17. An ARP packet has none, so it never matches. */
  readonly ipProtocol?: number;
  readonly invert?: boolean;
}

function ruleRequest(verb: "add" | "remove", wish: RuleWish): NetlinkRequest {
  const { source, destination, table } = wish;
  // To remove, an action that is not said matches any.
  const any = verb === "remove" && wish.action === undefined && table === undefined;
  const payload = requestPayload(wire.rule, {
    family: wire.AF.inet,
    destinationLength: destination?.length ?? 0,
    sourceLength: source?.length ?? 0,
    tos: 0,
    shortTable: table !== undefined && table < 256 ? table : wire.TABLE.unspecified,
    action: any ? 0 : RULE_ACTIONS[wish.action ?? "table"],
    flags: wish.invert ? wire.RULE_FLAG.invert : 0,
    priority: wish.priority,
    ...(table === undefined ? {} : { table }),
    ...(source === undefined || source.length === 0 ? {} : { source: networkOf(source) }),
    ...(destination === undefined || destination.length === 0 ? {} : { destination: networkOf(destination) }),
    ...(wish.inputLink === undefined ? {} : { inName: wish.inputLink }),
    ...(wish.outputLink === undefined ? {} : { outName: wish.outputLink }),
    ...(wish.fwmark === undefined ? {} : { mark: wish.fwmark }),
    ...(wish.fwmask === undefined ? {} : { markMask: wish.fwmask }),
    ...(wish.ipProtocol === undefined ? {} : { ipProtocol: wish.ipProtocol }),
  });
  return {
    type: verb === "add" ? wire.RTM.newRule : wire.RTM.delRule,
    flags: verb === "add" ? ADD : 0,
    payload,
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
  const payload = requestPayload(wire.neighbour, {
    family: wire.AF.inet,
    index,
    state: verb === "set" ? NEIGHBOUR_STATES[wish.state ?? "permanent"] : 0,
    flags: wish.proxy ? wire.NEIGHBOUR_FLAG.proxy : 0,
    type: 0,
    destination: wish.address,
    ...(wish.mac === undefined ? {} : { linkAddress: wish.mac }),
  });
  return {
    type: verb === "set" ? wire.RTM.newNeighbour : wire.RTM.delNeighbour,
    flags: verb === "set" ? PUT : 0,
    payload,
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
  const parameters = { index, lockTimeMs: BigInt(ms) };
  const payload = requestPayload(wire.neighbourTable, { family: wire.AF.inet, name: "arp_cache", parameters });
  const object = `link ${index}`;
  return { type: wire.RTM.setNeighbourTable, flags: 0, payload, operation: "set lock time", object };
}

/** RTEXT_FILTER_SKIP_STATS: counters make a link's message three times as long. */
const SKIP_STATS = 8;

const reading = (type: number, payload: Uint8Array, object: string, operation = "list"): NetlinkRequest => ({
  type,
  flags: 0,
  payload,
  operation,
  object,
});
const inet = { family: wire.AF.inet, flags: 0 } as const;
const noLengths = { destinationLength: 0, sourceLength: 0, tos: 0, shortTable: 0 } as const;

/** Dumps, narrowed by the kernel where it can (strict checking, Linux 4.20); callers narrow again. */
export const list = {
  links: (): NetlinkRequest =>
    reading(wire.RTM.getLink, requestPayload(wire.link, { ...wire.anyLink, extendedMask: SKIP_STATS }), "links"),
  link: (name: string): NetlinkRequest => {
    const payload = requestPayload(wire.link, { ...wire.anyLink, name, extendedMask: SKIP_STATS });
    return reading(wire.RTM.getLink, payload, name, "find link");
  },
  addresses: (index: number): NetlinkRequest => {
    const header = { family: wire.AF.inet, prefixLength: 0, shortFlags: 0, scope: 0, index };
    return reading(wire.RTM.getAddress, requestPayload(wire.address, header), "addresses");
  },
  /** 0 for all tables. */
  routes: (table: number): NetlinkRequest => {
    const header = { ...inet, ...noLengths, protocol: 0, scope: 0, type: 0 };
    const payload = requestPayload(wire.route, table === 0 ? header : { ...header, table });
    return reading(wire.RTM.getRoute, payload, "routes");
  },
  rules: (): NetlinkRequest =>
    reading(wire.RTM.getRule, requestPayload(wire.rule, { ...inet, ...noLengths, action: 0 }), "rules"),
  /** The times of every link's ARP; one message a link. */
  neighbourTimes: (): NetlinkRequest =>
    reading(
      wire.RTM.getNeighbourTable,
      requestPayload(wire.neighbourTable, { family: wire.AF.inet }),
      "neighbour table parameters",
    ),
  neighbours: (proxy: boolean): NetlinkRequest => {
    const flags = proxy ? wire.NEIGHBOUR_FLAG.proxy : 0;
    const header = { family: wire.AF.inet, index: 0, state: 0, flags, type: 0 };
    return reading(wire.RTM.getNeighbour, requestPayload(wire.neighbour, header), "neighbours");
  },
} as const;
