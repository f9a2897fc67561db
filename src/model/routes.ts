import type { Ipv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import type { RouteType } from "./facts.ts";
import type { Host, Link } from "./host.ts";

/** One way out of a route. `link` is undefined for routes that name no device (blackhole and its kin). */
export interface Hop {
  readonly link: Link | undefined;
  readonly via: Ipv4 | undefined;
}

export interface Route {
  readonly network: Ipv4;
  readonly prefixLength: number;
  readonly type: RouteType;
  readonly table: number;
  readonly hops: readonly Hop[];
  readonly scope: number;
  readonly prefsrc: Ipv4 | undefined;
  readonly metric: number;
  readonly tos: number;
  /** blackhole, unreachable, prohibit or throw: ends the lookup without a way. */
  readonly isError: boolean;
}

/** What a lookup asks. 0 stands for "any" in iif, oif and mark. */
export interface Flow {
  readonly destination: Ipv4;
  readonly source: Ipv4;
  readonly iif: number;
  readonly oif: number;
  readonly tos: number;
  readonly mark: number;
  /** The VRF the flow belongs to, for l3mdev rules. */
  readonly vrf: Link | undefined;
  /** 0 for ARP, which no rule with a protocol matches. */
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export const LOCAL_TABLE = 255;
export const MAIN_TABLE = 254;
export const DEFAULT_TABLE = 253;
/** ifindex of lo in every namespace (LOOPBACK_IFINDEX): the input interface of what the host itself sends. */
export const LOOPBACK_INDEX = 1;

/** Longest prefix first; inside a prefix tos, then metric, then order of adding (fib_trie's leaf order). */
export class RoutingTable {
  private readonly byLength: {
    readonly length: number;
    readonly mask: number;
    readonly routes: Map<number, Route[]>;
  }[] = [];
  private sorted = true;

  add(route: Route): void {
    let at = this.byLength.findIndex((l) => l.length <= route.prefixLength);
    if (at < 0) at = this.byLength.length;
    let level = this.byLength[at];
    if (level?.length !== route.prefixLength) {
      level = { length: route.prefixLength, mask: maskOf(route.prefixLength), routes: new Map() };
      this.byLength.splice(at, 0, level);
    }
    const routes = level.routes.get(route.network);
    if (routes) {
      routes.push(route);
      this.sorted = false;
    } else level.routes.set(route.network, [route]);
  }

  private sort(): void {
    for (const level of this.byLength)
      for (const routes of level.routes.values())
        if (routes.length > 1) routes.sort((a, b) => b.table - a.table || b.tos - a.tos || a.metric - b.metric);
    this.sorted = true;
  }

  /**
   * The first usable route, or undefined. A route of an error type (blackhole...) is returned too: it ends the
   * lookup, `isError` tells. `oif` 0 takes any device.
   */
  lookup(destination: Ipv4, tos: number, oif: number, ignoreLinkState: boolean): Route | undefined {
    if (!this.sorted) this.sort();
    for (const level of this.byLength) {
      const routes = level.routes.get((destination & level.mask) >>> 0);
      if (!routes) continue;
      for (const route of routes) {
        if (route.tos !== 0 && route.tos !== tos) continue;
        if (route.isError) return route;
        if (usableHop(route, oif, ignoreLinkState)) return route;
      }
    }
    return undefined;
  }
}

export const isErrorType = (type: RouteType): boolean =>
  type === "blackhole" || type === "unreachable" || type === "prohibit" || type === "throw";

/** fib_lookup_good_nhc: what is local survives its device going down, all else does not. */
export function usableHop(route: Route, oif: number, ignoreLinkState: boolean): Hop | undefined {
  for (const hop of route.hops) {
    const link = hop.link;
    if (!link) continue;
    if (oif !== 0 && link.index !== oif) continue;
    if (!link.up && route.scope !== 254) continue;
    if (!ignoreLinkState && !link.carrier && link.conf.ignoreLinkDown && route.scope !== 254) continue;
    return hop;
  }
  return undefined;
}

/** The device a looked-up route leads to. Multipath: the first usable one; the kernel picks by hash. */
export const deviceOf = (route: Route, oif = 0): Link | undefined => usableHop(route, oif, false)?.link;

const notThrow = (route: Route | undefined): Route | undefined => (route?.type === "throw" ? undefined : route);
const usable = (route: Route | undefined): Route | undefined => (route?.isError ? undefined : route);

/** fib_lookup: policy rules, or the short way of a host that never had any. undefined: no route, or an error route. */
export function fibLookup(host: Host, flow: Flow, ignoreLinkState = false): Route | undefined {
  if (host.customRules) return usable(lookupByRules(host, flow, ignoreLinkState));
  const { destination, tos, oif } = flow;
  for (const table of host.plainTables) {
    const route = notThrow(table.lookup(destination, tos, oif, ignoreLinkState));
    if (route) {
      if (!route.isError) return route;
      // Without rules, an error in main kept no 4.1 - 6.9 kernel from trying table default (fib_lookup).
      if (!host.switches.defaultAfterError) return undefined;
    }
  }
  return undefined;
}

/** A rule of the policy database, compiled. */
export interface PolicyRule {
  readonly priority: number;
  readonly matches: (flow: Flow) => boolean;
  readonly action: "lookup" | "blackhole" | "unreachable" | "prohibit" | "goto" | "nop";
  readonly table: number;
  readonly l3mdev: boolean;
  readonly goto: number;
  readonly suppressPrefixLength: number;
}

function lookupByRules(host: Host, flow: Flow, ignoreLinkState: boolean): Route | undefined {
  const rules = host.rules;
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i];
    if (!rule?.matches(flow)) continue;
    if (rule.action === "nop") continue;
    if (rule.action === "goto") {
      // Only forward jumps exist (fib_nl_newrule), so this ends.
      const target = rules.findIndex((r, j) => j > i && r.priority >= rule.goto);
      if (target < 0 || rules[target]?.priority !== rule.goto) continue;
      i = target - 1;
      continue;
    }
    if (rule.action !== "lookup") return undefined;
    const number = rule.l3mdev ? flow.vrf?.vrfTable : rule.table;
    if (number === undefined) continue;
    const route = notThrow(host.tables.get(number)?.lookup(flow.destination, flow.tos, flow.oif, ignoreLinkState));
    if (!route) continue;
    if (!route.isError && route.prefixLength <= rule.suppressPrefixLength) continue;
    return route;
  }
  return undefined;
}

const noFlow: Flow = {
  destination: 0 as Ipv4,
  source: 0 as Ipv4,
  iif: LOOPBACK_INDEX,
  oif: 0,
  tos: 0,
  mark: 0,
  vrf: undefined,
  protocol: 0,
  sourcePort: 0,
  destinationPort: 0,
};

/** A flow with what is not said left open. */
export const flowOf = (parts: Partial<Flow> & { readonly destination: Ipv4 }): Flow => ({ ...noFlow, ...parts });

/** ipv4_is_zeronet: the whole of 0.0.0.0/8 up to 5.2, 0.0.0.0 alone since (seen on 6.18: 0.0.0.7 is answered). */
export const isZero = (host: Host, address: number): boolean =>
  address === 0 || (host.switches.zeroNetUnusable && address >>> 24 === 0);

/** ip_route_output: the device a packet of the host's own would leave by, or undefined (arp_filter, section A-2.6-11). */
export function outputDevice(host: Host, destination: Ipv4, source: Ipv4, vrf: Link | undefined): Link | undefined {
  if (source !== 0) {
    const top = source >>> 24;
    if (top >>> 4 === 0xe || source === 0xffffffff || isZero(host, source)) return undefined;
    if (!host.ownAddresses.has(source) && host.tables.get(LOCAL_TABLE)?.lookup(source, 0, 0, false)?.type !== "local")
      return undefined;
  }
  if (isZero(host, destination)) return undefined;
  const route = fibLookup(host, {
    ...noFlow,
    destination,
    source,
    oif: 0,
    vrf,
  });
  if (!route) return undefined;
  const out = route.type === "local" ? (deviceOf(route)?.vrf ?? host.loopback) : deviceOf(route);
  if (out && source >>> 24 === 127 && !out.loopback && !out.isVrf && !out.conf.routeLocalnet) return undefined;
  return out;
}
