import type { Ipv4 } from "../base/ipv4.ts";
import type { Host } from "./host.ts";
import type { Link } from "./link.ts";
import { fibLookup } from "./routes.ts";
import { LOOPBACK_INDEX, type Route } from "./routingTable.ts";

/**
 * Why a source is refused. `type`: the route to it is a broadcast, multicast, or NAT one. `own`: it is local here.
 * `strict`: routed by another interface. `unnumbered`, `noroute`: rp_filter with nothing to compare.
 */
export type SourceFault = "type" | "own" | "strict" | "unnumbered" | "noroute";

export interface SourceQuestion {
  readonly source: Ipv4;
  readonly tos: number;
  readonly mark: number;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/**
 * fib_validate_source: C-ALL-03, A-2.2-07, A-2.6-13, A-2.6-14. undefined: the source is fine.
 * `oif` is the ifindex the packet would leave by, 0 for local delivery; `destination` is 0 for a broadcast.
 */
export function validateSource(
  host: Host,
  link: Link,
  question: SourceQuestion,
  destination: Ipv4,
  oif: number,
): SourceFault | undefined {
  const { switches } = host;
  const { conf } = link;
  const mode = conf.rpFilter;
  const leavesWhereItCame = oif === link.index && conf.sendRedirects;
  if (mode === 0) {
    if (switches.localSourceCheck === "none") return undefined;
    if (!leavesWhereItCame) {
      if (switches.acceptLocalSkipsCheck && conf.acceptLocal) return undefined;
      if (switches.localSourceCheck === "exact" && !host.customLocalRoutes && !host.customRules)
        return host.ownAddresses.has(question.source) ? "own" : undefined;
    }
  }
  return fullCheck(host, link, question, destination, oif, mode);
}

function fullCheck(
  host: Host,
  link: Link,
  question: SourceQuestion,
  destination: Ipv4,
  oif: number,
  mode: number,
): SourceFault | undefined {
  const { conf } = link;
  const route = fibLookup(host, {
    destination: question.source,
    source: destination,
    iif: oif || LOOPBACK_INDEX,
    oif: 0,
    tos: question.tos,
    mark: conf.sourceValidMark ? question.mark : 0,
    vrf: link.vrf ?? (link.isVrf ? link : undefined),
    protocol: question.protocol,
    sourcePort: question.destinationPort,
    destinationPort: question.sourcePort,
  });
  if (!route) return mode ? "noroute" : undefined;
  if (route.type !== "unicast" && !(route.type === "local" && conf.acceptLocal))
    return route.type === "local" ? "own" : "type";
  if (usesDevice(host, route, link)) return undefined;
  if (link.addresses.length === 0) return mode ? "unnumbered" : undefined;
  return mode === 1 ? "strict" : undefined;
}

/** fib_info_nh_uses_dev: any nexthop counts, also one whose VRF is the device. */
function usesDevice(host: Host, route: Route, link: Link): boolean {
  if (route.type === "local" && link === host.loopback) return true;
  return route.hops.some((hop) => hop.link === link || (hop.link?.vrf !== undefined && hop.link.vrf === link));
}
