/** Which way a packet goes: the lookup through rules and tables (fib_frontend.c, fib_rules.c). */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Host } from "./host.ts";
import type { Link } from "./link.ts";
import type { Flow } from "./policyRule.ts";
import { deviceOf, LOCAL_TABLE, LOOPBACK_INDEX, type Route } from "./routingTable.ts";

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
