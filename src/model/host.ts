import { type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { type Mac, parseMac } from "../base/mac.ts";
import { maskOf, parsePrefix } from "../base/prefix.ts";
import type { AddressFacts, HostFacts, LinkFacts, NeighbourFacts, PolicyRuleFacts, RouteFacts } from "./facts.ts";
import { compileFilters, type Filters } from "./filters.ts";
import { protocolNumber } from "./protocols.ts";
import {
  DEFAULT_TABLE,
  type Flow,
  type Hop,
  isErrorType,
  LOCAL_TABLE,
  MAIN_TABLE,
  type PolicyRule,
  type Route,
  RoutingTable,
} from "./routes.ts";
import { type Switches, switchesOf } from "./switches.ts";
import { effective, type SysctlName } from "./sysctl.ts";

/** The sysctls in force on one link, after combining `all` and its own (section S). */
export interface Conf {
  readonly hidden: boolean;
  readonly invisible: boolean;
  readonly arpFilter: boolean;
  readonly arpIgnore: number;
  readonly arpAnnounce: number;
  readonly arpAccept: number;
  readonly arpNotify: number;
  readonly evictNoCarrier: boolean;
  readonly proxyArp: boolean;
  readonly proxyPvlan: boolean;
  readonly mediumId: number;
  readonly dropGratuitous: boolean;
  readonly dropUnicastInMulticast: boolean;
  /** 0 off, 1 strict, 2 and more loose. */
  readonly rpFilter: number;
  readonly acceptLocal: boolean;
  readonly sourceValidMark: boolean;
  readonly routeLocalnet: boolean;
  readonly sendRedirects: boolean;
  readonly forwarding: boolean;
  readonly broadcastForwarding: boolean;
  readonly ignoreLinkDown: boolean;
  readonly lockTimeMs: number;
  readonly proxyDelayMs: number;
}

export interface Address {
  readonly link: Link;
  readonly ip: Ipv4;
  /** What the prefix is taken from: the peer where there is one, else `ip`. */
  readonly prefixAddress: Ipv4;
  readonly prefixLength: number;
  readonly mask: Ipv4;
  readonly scope: number;
  readonly secondary: boolean;
  readonly label: string | undefined;
  readonly broadcast: Ipv4 | undefined;
}

/** inet_ifa_match. */
export const holdsPrefix = (address: Address, ip: Ipv4): boolean => ((address.prefixAddress ^ ip) & address.mask) === 0;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
  readonly up: boolean;
  readonly noArp: boolean;
  readonly loopback: boolean;
  readonly pointToPoint: boolean;
  readonly carrier: boolean;
  readonly mac: Mac | undefined;
  readonly isVrf: boolean;
  readonly vrfTable: number | undefined;
  /** The bridge or bond that sees this link's frames instead of it. */
  readonly master: Link | undefined;
  /** The VRF whose tables count. */
  readonly vrf: Link | undefined;
  /** macvlans on it, in list order. */
  readonly macvlans: readonly Link[];
  /** macvlan only: its mode, and the link below. */
  readonly mode: string | undefined;
  readonly parent: Link | undefined;
  readonly segment: string | undefined;
  readonly isTunnel: boolean;
  readonly isIpip: boolean;
  readonly tunnelLocal: Ipv4;
  readonly tunnelRemote: Ipv4;
  /** Whether the link has an in_device (C-2.2-06); always true from 2.6.22 on. */
  readonly ipv4State: boolean;
  readonly aliasFlags: Readonly<Record<string, readonly string[]>>;
  readonly addresses: readonly Address[];
  readonly conf: Conf;
}

/** A published ARP entry. `link` undefined: any device. */
export interface Published {
  readonly ip: Ipv4;
  readonly mask: Ipv4;
  readonly link: Link | undefined;
  /** 2.0: the name of the device or alias it was made for. */
  readonly deviceName: string;
  readonly mac: Mac | undefined;
}

/** Facts in the form that decisions are made from. Made by compileHost only; never changes. */
export interface Host {
  readonly facts: HostFacts;
  readonly switches: Switches;
  readonly links: readonly Link[];
  readonly loopback: Link | undefined;
  readonly linkByIndex: ReadonlyMap<number, Link>;
  readonly linkByName: ReadonlyMap<string, Link>;
  readonly ownAddresses: ReadonlyMap<number, readonly Address[]>;
  readonly tables: ReadonlyMap<number, RoutingTable>;
  /** What the host without policy rules looks through, in this order. */
  readonly plainTables: readonly RoutingTable[];
  /** The local table as address types ask it: the merged one where local and main share a trie. */
  readonly localTable: RoutingTable | undefined;
  readonly rules: readonly PolicyRule[];
  readonly customRules: boolean;
  /** A local route that no address made: the source check then looks up routes (A-2.6-13). */
  readonly customLocalRoutes: boolean;
  readonly published: ReadonlyMap<number, readonly Published[]>;
  readonly publishedInOrder: readonly Published[];
  readonly filters: Filters;
  readonly ipForward: boolean;
  /** Answers of this kernel rest on rules that no source could confirm. */
  readonly unconfirmed: boolean;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type DraftLink = Mutable<Link> & { addresses: Address[]; macvlans: Link[] };

/** Unreadable parts of facts that skipped parseFacts throw: a broken promise, not bad input. */
function must<T>(value: T | undefined, what: string, text: string): T {
  if (value === undefined) throw new RangeError(`facts hold ${what} that is none: ${text}`);
  return value;
}
const address4 = (text: string): Ipv4 => must(parseIpv4(text), "an IPv4 address", text);
const optional4 = (text: string | undefined): Ipv4 | undefined => (text === undefined ? undefined : address4(text));
const prefix4 = (text: string) => must(parsePrefix(text === "default" ? "0.0.0.0/0" : text), "a prefix", text);

/** Indexes the facts once. Cost grows with addresses, routes and sysctls; decisions then do not scan them. */
export function compileHost(facts: HostFacts): Host {
  const switches = switchesOf(facts.kernel);
  const byName = new Map<string, DraftLink>();
  const byIndex = new Map<number, Link>();
  const links: DraftLink[] = [];
  const conf = confReader(facts.sysctls, switches);
  for (const link of facts.links) {
    const draft = draftLink(link, conf);
    links.push(draft);
    byName.set(draft.name, draft);
    byIndex.set(draft.index, draft);
  }
  stack(facts, byName);
  const ownAddresses = placeAddresses(facts, byName);
  if (switches.ifaceStateLifetime === "address")
    for (const [i, link] of links.entries())
      link.ipv4State = facts.links[i]?.ipv4State ?? (link.addresses.length > 0 || link.loopback);

  const loopback = links.find((l) => l.loopback);
  const rules = compileRules(facts, links, byName);
  const customRules = facts.kernel.hadCustomRules === true || rules.custom;
  const { tables, customLocalRoutes } = buildTables(
    facts,
    switches,
    links,
    byName,
    switches.mergedTables && !customRules,
  );
  const local = tables.get(LOCAL_TABLE);
  const main = tables.get(MAIN_TABLE);
  const plain = new Set([local, main, tables.get(DEFAULT_TABLE)]);
  const published = compilePublished(facts, byName);
  return {
    facts,
    switches,
    links,
    loopback,
    linkByIndex: byIndex,
    linkByName: byName,
    ownAddresses,
    tables,
    plainTables: [...plain].filter((t) => t !== undefined),
    localTable: local,
    rules: rules.list,
    customRules,
    customLocalRoutes: customLocalRoutes || facts.kernel.hadCustomLocalRoutes === true,
    published: groupBy(published, (p) => p.ip),
    publishedInOrder: published,
    filters: compileFilters(facts.filters),
    ipForward: (facts.sysctls.ip_forward ?? facts.sysctls["all.forwarding"] ?? 0) !== 0,
    unconfirmed: switches.arpInvisible || switches.fullArpFix,
  };
}

function draftLink(link: LinkFacts, conf: (name: string) => Conf): DraftLink {
  const kind = link.kind ?? "";
  const up = link.flags.includes("UP");
  const loopback = link.flags.includes("LOOPBACK");
  const isIpip = kind === "ipip" || (kind === "" && /^tunl\d/.test(link.name));
  return {
    index: link.ifindex,
    name: link.name,
    kind,
    up,
    noArp: link.flags.includes("NOARP"),
    loopback,
    pointToPoint: link.flags.includes("POINTOPOINT"),
    carrier: link.carrier ?? true,
    mac: link.mac === null ? undefined : must(parseMac(link.mac), "a MAC address", link.mac),
    isVrf: kind === "vrf",
    vrfTable: link.vrfTable,
    master: undefined,
    vrf: undefined,
    macvlans: [],
    mode: link.mode,
    parent: undefined,
    segment: link.segment,
    isTunnel:
      isIpip || /^(gre|gretap|sit|ip6tnl|vti)$/.test(kind) || (kind === "" && /^(gre|sit|tap)\d/.test(link.name)),
    isIpip,
    tunnelLocal: optional4(link.tunnel?.local) ?? (0 as Ipv4),
    tunnelRemote: optional4(link.tunnel?.remote) ?? (0 as Ipv4),
    ipv4State: link.ipv4State ?? true,
    aliasFlags: link.aliasFlags ?? {},
    addresses: [],
    conf: conf(link.name),
  };
}

type Values = Readonly<Record<string, number>>;
const noValues: Values = {};
/** Most links of most hosts have nothing but defaults: one object for all of them. */
const defaults = new WeakMap<Switches, Conf>();

/** Sorts the flat record by link once, so that a host with thousands of sysctls is read in one pass. */
function confReader(sysctls: Values, switches: Switches): (name: string) => Conf {
  const own = new Map<string, Record<string, number>>();
  const neighbours = new Map<string, Record<string, number>>();
  for (const key in sysctls) {
    const dot = key.lastIndexOf(".");
    const value = sysctls[key];
    if (dot <= 0 || value === undefined || key.startsWith("ipv6.")) continue;
    const isNeighbour = key.startsWith("neigh.");
    const groups = isNeighbour ? neighbours : own;
    const name = key.slice(isNeighbour ? 6 : 0, dot);
    const group = groups.get(name);
    if (group) group[key.slice(dot + 1)] = value;
    else groups.set(name, { [key.slice(dot + 1)]: value });
  }
  const forAll = own.get("all") ?? noValues;
  const plain = forAll === noValues && neighbours.size === 0 && sysctls.ip_forward === undefined;
  return (name) => {
    const values = own.get(name);
    if (plain && values === undefined) {
      let conf = defaults.get(switches);
      if (!conf) {
        conf = confOf(noValues, noValues, noValues, noValues, 0, switches);
        defaults.set(switches, conf);
      }
      return conf;
    }
    return confOf(
      forAll,
      values ?? noValues,
      neighbours.get(name) ?? noValues,
      neighbours.get("default") ?? noValues,
      sysctls.ip_forward ?? 0,
      switches,
    );
  };
}

function confOf(
  forAll: Values,
  own: Values,
  neighbour: Values,
  neighbourDefault: Values,
  ipForward: number,
  switches: Switches,
): Conf {
  const value = (key: SysctlName): number => effective(switches, key, forAll[key], own[key]);
  const on = (key: SysctlName): boolean => value(key) !== 0;
  /** The plain files count in 1/100 s (USER_HZ), those named _ms in milliseconds. */
  const neigh = (key: "locktime" | "proxy_delay", byDefaultMs: number): number => {
    const plain = neighbour[key] ?? neighbourDefault[key];
    return plain === undefined ? byDefaultMs : plain * 10;
  };
  // all.forwarding and ip_forward are one thing, and a write to it reaches every device (S-ALL-02).
  const forwarding = own.forwarding ?? forAll.forwarding ?? ipForward;
  const rp = value("rp_filter");
  return {
    hidden: on("hidden"),
    invisible: on("arp_invisible"),
    arpFilter: on("arp_filter"),
    arpIgnore: value("arp_ignore"),
    arpAnnounce: value("arp_announce"),
    arpAccept: value("arp_accept"),
    arpNotify: value("arp_notify"),
    evictNoCarrier: on("arp_evict_nocarrier"),
    proxyArp: on("proxy_arp"),
    proxyPvlan: on("proxy_arp_pvlan"),
    mediumId: value("medium_id"),
    dropGratuitous: on("drop_gratuitous_arp"),
    dropUnicastInMulticast: on("drop_unicast_in_l2_multicast"),
    rpFilter: switches.rpLoose ? rp : rp === 0 ? 0 : 1,
    acceptLocal: on("accept_local"),
    sourceValidMark: on("src_valid_mark"),
    routeLocalnet: on("route_localnet"),
    sendRedirects: on("send_redirects"),
    forwarding: forwarding !== 0,
    broadcastForwarding: on("bc_forwarding"),
    ignoreLinkDown: on("ignore_routes_with_linkdown"),
    lockTimeMs: neigh("locktime", 1000),
    proxyDelayMs: neigh("proxy_delay", 800),
  };
}

/** Masters, VRFs and macvlans. A circle of masters, which no kernel allows, is cut where it closes. */
function stack(facts: HostFacts, byName: ReadonlyMap<string, DraftLink>): void {
  for (const link of facts.links) {
    const draft = byName.get(link.name);
    const master = link.master === undefined ? undefined : byName.get(link.master);
    if (draft && master && master !== draft) {
      if (master.isVrf) draft.vrf = master;
      else if (!leadsTo(master, draft)) draft.master = master;
    }
    const parent = link.parent === undefined ? undefined : byName.get(link.parent);
    if (draft && parent && parent !== draft) {
      draft.parent = parent;
      if (draft.kind === "macvlan" || draft.kind === "macvtap") parent.macvlans.push(draft);
    }
  }
}

function leadsTo(from: Link, wanted: Link): boolean {
  for (let link: Link | undefined = from; link; link = link.master) if (link === wanted) return true;
  return false;
}

function placeAddresses(facts: HostFacts, byName: ReadonlyMap<string, DraftLink>): Map<number, Address[]> {
  const own = new Map<number, Address[]>();
  for (const given of facts.addresses) {
    const link = must(byName.get(given.link), "an address on a link", given.link);
    const address = makeAddress(given, link);
    link.addresses.push(address);
    const same = own.get(address.ip);
    if (same) same.push(address);
    else own.set(address.ip, [address]);
  }
  return own;
}

function makeAddress(given: AddressFacts, link: Link): Address {
  const ip = address4(given.ip);
  return {
    link,
    ip,
    prefixAddress: optional4(given.peer) ?? ip,
    prefixLength: given.prefixLength,
    mask: maskOf(given.prefixLength),
    scope: given.scope,
    secondary: given.secondary ?? false,
    label: given.label,
    broadcast: optional4(given.broadcast),
  };
}

function buildTables(
  facts: HostFacts,
  switches: Switches,
  links: readonly Link[],
  byName: ReadonlyMap<string, Link>,
  merged: boolean,
): { tables: Map<number, RoutingTable>; customLocalRoutes: boolean } {
  const tables = new Map<number, RoutingTable>();
  let customLocalRoutes = false;
  if (merged) {
    // Until the first policy rule, local and main are one trie (fib_trie_unmerge has not run): the longest prefix of
    // both wins, and table local only where the prefix is the same.
    const both = new RoutingTable();
    tables.set(LOCAL_TABLE, both).set(MAIN_TABLE, both);
  }
  const add = (route: Route): void => {
    const table = tables.get(route.table) ?? new RoutingTable();
    tables.set(route.table, table);
    table.add(route);
  };
  if (facts.routesGiven === "added") for (const link of links) derivedRoutes(link, switches, add);
  for (const given of facts.routes) {
    const route = makeRoute(given, byName, tables);
    if (route.type === "local" && given.protocol !== "kernel") customLocalRoutes = true;
    // A route over a device that is down does not exist any more, or could not be added (section 2).
    const gone = route.scope !== 254 && route.hops.length > 0 && route.hops.every((h) => h.link && !h.link.up);
    if (!gone) add(route);
  }
  return { tables, customLocalRoutes };
}

/** fib_add_ifaddr: what the kernel makes of a link's addresses by itself (section 2). */
export function derivedRoutes(link: Link, switches: Switches, add: (route: Route) => void): void {
  const own = link.vrf?.vrfTable ?? (link.isVrf ? link.vrfTable : undefined);
  const hops: readonly Hop[] = [{ link, via: undefined }];
  const seen = new Set<number>();
  const make = (network: number, prefixLength: number, type: Route["type"], prefsrc: Ipv4): void => {
    // A prefix is there once, whichever of the addresses made it.
    const kind = type === "local" ? 0 : type === "unicast" ? 1 : 2;
    const key = ((network >>> 0) * 64 + prefixLength) * 4 + kind;
    if (seen.has(key)) return;
    seen.add(key);
    add({
      network: (network >>> 0) as Ipv4,
      prefixLength,
      type,
      table: own ?? (type === "unicast" ? MAIN_TABLE : LOCAL_TABLE),
      hops,
      scope: type === "local" ? 254 : 253,
      prefsrc,
      metric: 0,
      tos: 0,
      isError: false,
    });
  };
  for (const address of link.addresses) {
    const { ip, prefixAddress, prefixLength, mask } = address;
    make(ip, 32, "local", ip);
    if (!link.up) continue;
    if (address.broadcast !== undefined && address.broadcast !== 0xffffffff)
      make(address.broadcast, 32, "broadcast", ip);
    const network = (prefixAddress & mask) >>> 0;
    const unusable = network === 0 || (switches.zeroNetUnusable && network >>> 24 === 0);
    if (unusable || address.secondary || (network === ip && prefixLength === 32)) continue;
    make(network, prefixLength, link.loopback ? "local" : "unicast", ip);
    if (prefixLength < 31) {
      if (switches.lowestIsBroadcast) make(network, 32, "broadcast", ip);
      make(network | ~mask, 32, "broadcast", ip);
    }
  }
}

function makeRoute(
  given: RouteFacts,
  byName: ReadonlyMap<string, Link>,
  tables: ReadonlyMap<number, RoutingTable>,
): Route {
  const { address, length } = prefix4(given.dst);
  const type = given.type ?? "unicast";
  const hopOf = (via: string | undefined, dev: string | undefined): Hop => {
    const gateway = optional4(via);
    const named = dev === undefined ? undefined : must(byName.get(dev), "a route over a link", dev);
    const onLink = gateway === undefined ? undefined : tables.get(MAIN_TABLE)?.lookup(gateway, 0, 0, true);
    return { link: named ?? onLink?.hops[0]?.link, via: gateway };
  };
  const hops = given.nexthops?.map((h) => hopOf(h.via, h.dev)) ?? [hopOf(given.via, given.dev)];
  const toHost = type === "local" || type === "nat";
  const onLink = type === "broadcast" || type === "multicast" || type === "anycast" || !hops.some((h) => h.via);
  return {
    network: ((address & maskOf(length)) >>> 0) as Ipv4,
    prefixLength: length,
    type,
    table: given.table ?? (toHost || type === "broadcast" || type === "anycast" ? LOCAL_TABLE : MAIN_TABLE),
    hops: hops.filter((h) => h.link !== undefined),
    scope: given.scope ?? (toHost ? 254 : onLink ? 253 : 0),
    prefsrc: optional4(given.prefsrc),
    metric: given.metric ?? 0,
    tos: given.tos ?? 0,
    isError: isErrorType(type),
  };
}

const firstRules: readonly PolicyRuleFacts[] = [
  { priority: 0, table: LOCAL_TABLE },
  { priority: 32766, table: MAIN_TABLE },
  { priority: 32767, table: DEFAULT_TABLE },
];

/** In vectors and hand-written facts only what was added is named; the first three are then there, too. */
function compileRules(
  facts: HostFacts,
  links: readonly Link[],
  byName: ReadonlyMap<string, Link>,
): { list: readonly PolicyRule[]; custom: boolean } {
  if (facts.rules.length === 0 && !links.some((l) => l.isVrf)) return { list: plainRules, custom: false };
  const given = [...facts.rules];
  if (facts.routesGiven === "added" || given.length === 0)
    for (const rule of firstRules) if (!given.some((g) => sameRule(g, rule))) given.push(rule);
  // The kernel adds this rule with the first VRF (vrf_fib_rule).
  if (facts.routesGiven === "added" && links.some((l) => l.isVrf) && !given.some((g) => g.l3mdev))
    given.push({ priority: 1000, l3mdev: true });
  const custom = given.length !== 3 || !firstRules.every((rule) => given.some((g) => sameRule(g, rule)));
  const list = given.map((g) => compileRule(g, byName)).sort((a, b) => a.priority - b.priority);
  return { list, custom };
}

function sameRule(a: PolicyRuleFacts, b: PolicyRuleFacts): boolean {
  const plain = Object.entries(a).every(
    ([key, value]) =>
      key === "priority" || key === "table" || value === undefined || (key === "action" && value === "lookup"),
  );
  return plain && a.priority === b.priority && a.table === b.table;
}

function compileRule(given: PolicyRuleFacts, byName: ReadonlyMap<string, Link>): PolicyRule {
  const tests: ((flow: Flow) => boolean)[] = [];
  const within = (text: string | undefined, pick: (flow: Flow) => Ipv4): void => {
    if (text === undefined) return;
    const { address, length } = prefix4(text);
    const mask = maskOf(length);
    if (length > 0) tests.push((flow) => ((pick(flow) ^ address) & mask) === 0);
  };
  within(given.from, (flow) => flow.source);
  within(given.to, (flow) => flow.destination);
  // A device that is not there keeps its rule, which then matches nothing (fib_rule_match, detached).
  if (given.iif !== undefined) {
    const index = byName.get(given.iif)?.index ?? -1;
    tests.push((flow) => flow.iif === index);
  }
  if (given.oif !== undefined) {
    const index = byName.get(given.oif)?.index ?? -1;
    tests.push((flow) => flow.oif === index);
  }
  if (given.fwmark !== undefined || given.fwmask !== undefined) {
    const mark = given.fwmark ?? 0;
    const mask = given.fwmask ?? 0xffffffff;
    tests.push((flow) => ((flow.mark ^ mark) & mask) === 0);
  }
  if (given.tos) tests.push((flow) => flow.tos === given.tos);
  if (given.protocol !== undefined) {
    const protocol = protocolNumber(given.protocol);
    tests.push((flow) => flow.protocol === protocol);
  }
  const inRange = (range: readonly [number, number] | undefined, pick: (flow: Flow) => number): void => {
    if (range) tests.push((flow) => pick(flow) >= range[0] && pick(flow) <= range[1]);
  };
  inRange(given.sourcePorts, (flow) => flow.sourcePort);
  inRange(given.destinationPorts, (flow) => flow.destinationPort);
  if (given.l3mdev) tests.push((flow) => flow.vrf !== undefined);
  const inverted = given.not === true;
  return {
    priority: given.priority,
    matches: (flow) => tests.every((test) => test(flow)) !== inverted,
    action: given.action ?? "lookup",
    table: given.table ?? MAIN_TABLE,
    l3mdev: given.l3mdev ?? false,
    goto: given.goto ?? 0,
    suppressPrefixLength: given.suppressPrefixLength ?? -1,
  };
}

const plainRules: readonly PolicyRule[] = firstRules.map((rule) => compileRule(rule, new Map()));

function compilePublished(facts: HostFacts, byName: ReadonlyMap<string, Link>): Published[] {
  return facts.neighbours
    .filter((n) => n.proxy)
    .map((n: NeighbourFacts) => ({
      ip: address4(n.ip),
      mask: maskOf(n.prefixLength ?? 32),
      link: n.link === "*" ? undefined : byName.get(n.link.split(":")[0] ?? n.link),
      deviceName: n.link,
      mac: n.mac === undefined ? undefined : parseMac(n.mac),
    }));
}

function groupBy<T>(items: readonly T[], key: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

/** The link an event names; throws RangeError for one the host does not have: the caller mixed hosts up. */
export function linkAt(host: Host, ifindex: number): Link {
  const link = host.linkByIndex.get(ifindex);
  if (!link) throw new RangeError(`this host has no link with index ${ifindex}`);
  return link;
}

/** Index of a link by name; throws RangeError where there is none. */
export function linkIndex(host: Host, name: string): number {
  const link = host.linkByName.get(name);
  if (!link) throw new RangeError(`this host has no link ${name}`);
  return link.index;
}

/** A bridge or bond sees the frames of what belongs to it (A-2.6-21). */
export function receiverOf(link: Link): Link {
  let receiver = link;
  while (receiver.master) receiver = receiver.master;
  return receiver;
}
