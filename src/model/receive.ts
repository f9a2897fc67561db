import { type Ipv4, isMulticast, parseIpv4 } from "../base/ipv4.ts";
import { runHook } from "./filters.ts";
import { type Host, linkAt } from "./host.ts";
import {
  type Delivered,
  type Dropped,
  hookPacketOf,
  type IpHeader,
  type IpPacket,
  type IpVerdict,
} from "./ipVerdict.ts";
import { type Link, receiverOf } from "./link.ts";
import { protocolNumber } from "./protocols.ts";
import { receive20 } from "./receive20.ts";
import { type InputFault, routeInput } from "./routeInput.ts";
import { fibLookup, flowOf } from "./routes.ts";
import { deviceOf } from "./routingTable.ts";
import type { RuleId } from "./rules.ts";
import { selectSource } from "./selectSource.ts";

export type { Delivered, Dropped, Forwarded, IpHeader, IpPacket, IpVerdict } from "./ipVerdict.ts";

const drop = (rule: RuleId, because: string, icmp?: Dropped["icmp"]): Dropped => ({
  kind: "drop",
  rule,
  because,
  ...(icmp ? { icmp } : {}),
});

/** Tunnels in tunnels end here; kernels stop at a handful, too (IP_TUNNEL_RECURSION_LIMIT). */
const deepest = 4;

/** What becomes of an IPv4 packet: rules C. `packet.link` must be a link of the host, else RangeError. */
export function receive(host: Host, packet: IpPacket): IpVerdict {
  const verdict = receiveAt(host, packet, 0);
  if (packet.frame !== "broadcast" || verdict.kind !== "drop" || !linkAt(host, packet.link).up) return verdict;
  // A macvlan gets its copy of every group frame beside its parent (A-2.6-21).
  for (const macvlan of receiverOf(linkAt(host, packet.link)).macvlans) {
    const second = receiveAt(host, { ...packet, link: macvlan.index }, 0);
    if (second.kind !== "drop") return second;
  }
  return verdict;
}

function receiveAt(host: Host, packet: IpPacket, depth: number): IpVerdict {
  const port = linkAt(host, packet.link);
  if (packet.frame === "other" || packet.frame === "own")
    return drop("C-ALL-01", "the frame is addressed to another host");
  const link = receiverOf(port);
  if (!port.up || !link.up) return drop("C-ALL-01", "the link is down");
  const again = (inner: IpPacket): IpVerdict =>
    depth >= deepest ? drop("C-2.2-05", "too many tunnels inside each other") : receiveAt(host, inner, depth + 1);
  if (host.switches.arpScope === "device") return receive20(host, link, packet, again);
  // A VRF takes over the packets of its links before they are routed (l3mdev_ip_rcv).
  return routed(host, link.vrf ?? link, packet, again);
}

function routed(host: Host, link: Link, packet: IpPacket, again: (inner: IpPacket) => IpVerdict): IpVerdict {
  const { filters, switches } = host;
  if (isMulticast(packet.destination)) return multicast(link, packet);
  const oldFirewall = switches.redirectForm === "ipchains";
  // ipchains has one input chain, before routing; netfilter's PREROUTING is there, its INPUT after routing.
  const before = runHook(
    oldFirewall ? [...filters.prerouting, ...filters.input] : filters.prerouting,
    hookPacketOf(packet, link),
  );
  const doubt = before.notUnderstood.length > 0 ? { notUnderstood: before.notUnderstood } : {};
  if (before.verdict === "drop")
    return { ...drop(oldFirewall ? "C-2.2-03" : "C-2.4-01", "a filter drops it before routing"), ...doubt };

  const { divert } = before;
  let destination = packet.destination;
  if (!oldFirewall && divert?.kind === "redirect") {
    const [first] = link.addresses;
    if (!first) return { ...drop("C-2.4-02", "redirect: the incoming link has no address to redirect to"), ...doubt };
    destination = first.ip;
  } else if (divert?.kind === "dnat") destination = parseIpv4(divert.to) ?? destination;

  const question = {
    source: packet.source ?? (0 as Ipv4),
    destination,
    arp: false,
    tos: packet.tos ?? 0,
    mark: before.packet.mark,
    protocol: protocolNumber(packet.protocol),
    sourcePort: packet.sourcePort ?? 0,
    destinationPort: packet.destinationPort ?? 0,
  };
  const outcome =
    packet.source === undefined ? routeWithoutSource(host, link, question) : routeInput(host, link, question);
  const result: Divert = {
    destination,
    changed: destination !== packet.destination,
    port: divert && "port" in divert ? divert.port : undefined,
    transparent: divert?.kind === "tproxy",
    redirected: divert?.kind === "redirect",
  };
  switch (outcome.kind) {
    case "local":
      return { ...local(host, link, packet, result, again), ...doubt };
    case "broadcast": {
      const hook = oldFirewall ? undefined : runHook(filters.input, { ...before.packet, target: destination });
      if (hook?.verdict === "drop") return { ...drop("C-2.6-01", "an input filter drops it"), ...doubt };
      if (packet.protocol === "ipip" && packet.inner)
        return { ...decapsulated(host, packet, packet.inner, again), ...doubt };
      return packet.protocol === "tcp"
        ? { ...drop("C-2.6-01", "TCP takes no broadcasts"), ...doubt }
        : { ...delivered(host, link, packet, result, "C-2.6-01", "it is a broadcast"), ...doubt };
    }
    case "forward":
    case "nat": {
      if (oldFirewall && divert?.kind === "redirect") return redirectedByIpchains(link, packet, result.port);
      if (packet.frame !== "unicast") return { ...drop("C-2.6-01", "group frames are not forwarded"), ...doubt };
      const hook = runHook(filters.forward, { ...before.packet, target: destination });
      if (hook.verdict === "drop") return { ...drop("C-2.6-01", "a filter drops it on the way through"), ...doubt };
      const out = outcome.kind === "forward" ? outcome.out : deviceOf(outcome.route);
      const via = outcome.route.hops[0]?.via;
      const sentence = "it is not local, and the link forwards";
      return {
        kind: "forward",
        out: out?.name ?? "",
        rule: "C-2.6-01",
        because: sentence,
        ...(via === undefined ? {} : { via }),
        ...doubt,
      };
    }
    case "refused":
      // C-2.2-03: with forwarding on, no route to the VIP is no obstacle: the lookup "succeeds" as unreachable.
      if (oldFirewall && divert?.kind === "redirect" && outcome.fault === "no route")
        return redirectedByIpchains(link, packet, result.port);
      return { ...refused(host, outcome.fault), ...doubt };
  }
}

interface Divert {
  readonly destination: Ipv4;
  readonly changed: boolean;
  readonly port: number | undefined;
  readonly transparent: boolean;
  readonly redirected: boolean;
}

/** The outer header of a tunnelled packet whose source nobody told: routed as if it were fine. */
function routeWithoutSource(host: Host, link: Link, question: Parameters<typeof routeInput>[2]) {
  if (!link.ipv4State) return { kind: "refused", fault: "no ipv4 state" } as const;
  const route = fibLookup(host, flowOf({ destination: question.destination, iif: link.index, mark: question.mark }));
  if (route?.type === "local") return { kind: "local" } as const;
  const out = route && deviceOf(route);
  if (route && out && link.conf.forwarding && route.type === "unicast") return { kind: "forward", route, out } as const;
  return { kind: "refused", fault: link.conf.forwarding ? "no route" : "not a router" } as const;
}

function redirectedByIpchains(link: Link, packet: IpPacket, port: number | undefined): Delivered {
  return {
    kind: "deliver",
    on: link.name,
    seenDestination: packet.destination,
    replySource: packet.destination,
    rule: "C-2.2-04",
    because: "ipchains REDIRECT delivers it locally and keeps its destination",
    ...(port === undefined ? {} : { port }),
  };
}

function local(
  host: Host,
  link: Link,
  packet: IpPacket,
  divert: Divert,
  again: (inner: IpPacket) => IpVerdict,
): IpVerdict {
  if (packet.frame === "broadcast") {
    if (link.conf.dropUnicastInMulticast) return drop("C-ALL-01", "drop_unicast_in_l2_multicast");
    if (packet.protocol === "tcp") return drop("C-ALL-01", "TCP takes nothing from a group frame");
  }
  if (host.switches.redirectForm === "netfilter") {
    const hook = runHook(host.filters.input, { ...hookPacketOf(packet, link), target: divert.destination });
    if (hook.verdict === "drop") return drop("C-2.6-01", "an input filter drops it");
  }
  if (packet.protocol === "ipip" && packet.inner) return decapsulated(host, packet, packet.inner, again);
  if (divert.redirected && divert.changed)
    return delivered(host, link, packet, divert, "C-2.4-02", "redirect rewrites it to the first address of the link");
  if (divert.redirected && host.switches.redirectForm === "ipchains")
    return delivered(host, link, packet, divert, "C-2.2-04", "the destination is local, and redirected to a port");
  return delivered(host, link, packet, divert, "C-2.6-01", "the destination is local");
}

function delivered(host: Host, link: Link, packet: IpPacket, divert: Divert, rule: RuleId, because: string): Delivered {
  return {
    kind: "deliver",
    on: link.name,
    seenDestination: divert.destination,
    replySource: divert.changed ? packet.destination : replySource(host, packet),
    rule,
    because,
    ...(divert.port === undefined ? {} : { port: divert.port }),
    ...(divert.transparent ? { transparent: true } : {}),
  };
}

/**
 * C-2.6-06: TCP answers from the address it was called at. A UDP service known to be bound to the wildcard answers
 * from the route's source; one bound to the address, or of which nothing is known, from the address.
 */
function replySource(host: Host, packet: IpPacket): Ipv4 {
  if (packet.protocol !== "udp" || packet.source === undefined) return packet.destination;
  const bound = (host.facts.sockets ?? []).filter((s) => s.protocol === "udp" && s.port === packet.destinationPort);
  const exact = bound.some((s) => parseIpv4(s.ip) === packet.destination);
  const wildcard = bound.some((s) => s.ip === "0.0.0.0" || s.ip === "::");
  if (exact || !wildcard) return packet.destination;
  const route = fibLookup(host, flowOf({ destination: packet.source }));
  const out = route && deviceOf(route);
  if (!route || !out) return packet.destination;
  if (route.type === "local") return packet.source;
  return route.prefsrc ?? selectSource(host, out, route.hops[0]?.via ?? packet.source, route.scope);
}

/** C-2.2-05, C-2.6-05: the tunnel by (remote, local), remote, local, then the one that has neither. */
function decapsulated(host: Host, outer: IpPacket, inner: IpHeader, again: (inner: IpPacket) => IpVerdict): IpVerdict {
  const rule: RuleId = host.switches.redirectForm === "netfilter" ? "C-2.6-05" : "C-2.2-05";
  const tunnels = host.links.filter((l) => l.isIpip);
  if (tunnels.length === 0) return drop(rule, "no ipip tunnel exists", "protocol unreachable");
  const source = outer.source;
  const match = (remote: boolean, local: boolean) => (t: Link) =>
    t.up &&
    (remote ? t.tunnelRemote !== 0 && t.tunnelRemote === source : t.tunnelRemote === 0) &&
    (local ? t.tunnelLocal !== 0 && t.tunnelLocal === outer.destination : t.tunnelLocal === 0);
  const tunnel =
    tunnels.find(match(true, true)) ??
    tunnels.find(match(true, false)) ??
    tunnels.find(match(false, true)) ??
    tunnels.find(match(false, false));
  if (!tunnel) return drop(rule, "no ipip tunnel that fits is up", "protocol unreachable");
  if (!tunnel.ipv4State) return drop("C-2.2-06", `${tunnel.name} has no IPv4 state: what it decapsulates is dropped`);
  return again({ ...inner, link: tunnel.index, frame: "unicast" });
}

/** Only the group every host is in is certain; who joined others, facts do not say. */
function multicast(link: Link, packet: IpPacket): IpVerdict {
  if (packet.destination !== 0xe0000001) return drop("C-2.6-01", "no membership of this multicast group is known");
  return {
    kind: "deliver",
    on: link.name,
    seenDestination: packet.destination,
    replySource: link.addresses[0]?.ip ?? (0 as Ipv4),
    rule: "C-2.6-01",
    because: "every host is in 224.0.0.1",
  };
}

function refused(host: Host, fault: InputFault): Dropped {
  const netfilter = host.switches.redirectForm === "netfilter";
  const byTable: RuleId = netfilter ? "C-2.6-01" : "C-2.2-01";
  switch (fault) {
    case "no ipv4 state":
      return drop("C-2.2-06", "the link has no IPv4 state");
    case "not a router":
      return drop(byTable, "it is not local, and the link does not forward");
    case "no route":
      return drop(byTable, "it is not local, and there is no route", "net unreachable");
    case "same device":
    case "target is broadcast":
    case "target type":
    case "target is zero":
    case "target is class E":
    case "target is loopback":
      return drop(byTable, `the destination cannot be routed (${fault})`);
    case "source own":
      return drop(host.switches.acceptLocal ? "C-2.6-02" : "C-ALL-03", "martian source: the source is local here");
    case "source type":
      return drop("C-ALL-03", "martian source: the route to the source is not unicast");
    case "source strict":
      return drop(netfilter ? "C-2.6-04" : "C-ALL-03", "rp_filter: the source is routed out of another link");
    case "source unnumbered":
      return drop(netfilter ? "C-2.6-03" : "C-ALL-03", "rp_filter: the link has no address");
    case "source noroute":
      return drop("C-ALL-03", "rp_filter: there is no route to the source");
    default:
      return drop("C-ALL-03", `martian source (${fault})`);
  }
}
