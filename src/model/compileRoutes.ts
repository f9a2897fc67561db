/** Routing tables from the routes and the addresses of facts. */
import type { Ipv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import type { HostFacts, RouteFacts } from "./facts.ts";
import { must, optional4, prefix4 } from "./factText.ts";
import type { Link } from "./link.ts";
import { type Hop, isErrorType, LOCAL_TABLE, MAIN_TABLE, type Route, RoutingTable } from "./routingTable.ts";
import type { Switches } from "./switches.ts";

/** Tables by number, and whether a local route is there that no address made. */
export function buildTables(
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
