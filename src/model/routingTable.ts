import type { Ipv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import type { RouteType } from "./facts.ts";
import type { Link } from "./link.ts";

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
