import type { Ipv4 } from "../base/ipv4.ts";
import type { Host } from "./host.ts";
import type { Link } from "./link.ts";
import { fibLookup, isZero } from "./routes.ts";
import { deviceOf, type Route } from "./routingTable.ts";
import { type SourceFault, validateSource } from "./validateSource.ts";

/** A packet, or an ARP request seen as a packet from sender to target (A-2.2-02), that came in on a link. */
export interface InputQuestion {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly arp: boolean;
  readonly tos: number;
  readonly mark: number;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export type InputFault =
  | "no ipv4 state"
  | "source is multicast"
  | "source is zero"
  | "source is class E"
  | "source is loopback"
  | "target is zero"
  | "target is class E"
  | "target is loopback"
  | "target is broadcast"
  | "target type"
  | "not a router"
  | "no route"
  | "same device"
  | `source ${SourceFault}`;

export type InputOutcome =
  | { readonly kind: "local" | "broadcast" }
  | { readonly kind: "forward"; readonly route: Route; readonly out: Link }
  | { readonly kind: "nat"; readonly route: Route }
  | { readonly kind: "refused"; readonly fault: InputFault };

const local: InputOutcome = { kind: "local" };
const broadcast: InputOutcome = { kind: "broadcast" };
const refusals = new Map<InputFault, InputOutcome>();
function refused(fault: InputFault): InputOutcome {
  let outcome = refusals.get(fault);
  if (!outcome) {
    outcome = { kind: "refused", fault };
    refusals.set(fault, outcome);
  }
  return outcome;
}

/** The kernel's own number for "source "+fault without building text for every packet. */
const sourceRefusal: Record<SourceFault, InputOutcome> = {
  type: refused("source type"),
  own: refused("source own"),
  strict: refused("source strict"),
  unnumbered: refused("source unnumbered"),
  noroute: refused("source noroute"),
};

/** ip_route_input_slow, without multicast targets. Rules A-2.2-02, A-2.2-07, C-ALL-03, C-2.6-01. */
export function routeInput(host: Host, link: Link, question: InputQuestion): InputOutcome {
  const { switches } = host;
  const { source, destination } = question;
  const { conf } = link;
  if (!link.ipv4State) return refused("no ipv4 state");
  const sourceTop = source >>> 24;
  const targetTop = destination >>> 24;
  if (sourceTop >>> 4 === 0xe || source === 0xffffffff) return refused("source is multicast");
  if (switches.classESourceRefused && sourceTop >>> 4 === 0xf) return refused("source is class E");
  if (destination === 0xffffffff || (source === 0 && destination === 0)) return broadcastInput(host, link, question);
  if (isZero(host, source)) return refused("source is zero");
  if (isZero(host, destination)) return refused("target is zero");
  if (switches.classESourceRefused && targetTop >>> 4 === 0xf) return refused("target is class E");
  if (targetTop === 127) {
    if (!conf.routeLocalnet) return refused("target is loopback");
  } else if (sourceTop === 127 && !conf.routeLocalnet) return refused("source is loopback");

  const route = fibLookup(host, {
    destination,
    source,
    iif: link.index,
    oif: 0,
    tos: question.tos,
    mark: question.mark,
    vrf: link.vrf ?? (link.isVrf ? link : undefined),
    protocol: question.protocol,
    sourcePort: question.sourcePort,
    destinationPort: question.destinationPort,
  });
  if (!route) return refused(conf.forwarding ? "no route" : "not a router");
  if (route.type === "broadcast" && !conf.broadcastForwarding) return broadcastInput(host, link, question);
  if (route.type === "local") {
    const fault = validateSource(host, link, question, destination, 0);
    return fault ? sourceRefusal[fault] : local;
  }
  if (route.type !== "broadcast") {
    if (!conf.forwarding) return refused("not a router");
    if (route.type === "nat" && switches.natRoutes) return { kind: "nat", route };
    if (route.type !== "unicast") return refused("target type");
  }
  const out = deviceOf(route);
  if (!out?.ipv4State) return refused("no route");
  const fault = validateSource(host, link, question, destination, out.index);
  if (fault) return sourceRefusal[fault];
  if (question.arp && out === link && !conf.proxyPvlan) return refused("same device");
  return { kind: "forward", route, out };
}

function broadcastInput(host: Host, link: Link, question: InputQuestion): InputOutcome {
  if (question.arp) return refused("target is broadcast");
  if (!isZero(host, question.source)) {
    const fault = validateSource(host, link, question, 0 as Ipv4, 0);
    if (fault) return sourceRefusal[fault];
  }
  return broadcast;
}
