/** Links, addresses, routes, rules and neighbours of one namespace as facts, from one netlink socket. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import { ipv6FromOctets } from "../../base/ipv6.ts";
import { formatPrefix } from "../../base/prefix.ts";
import type {
  Address6Facts,
  AddressFacts,
  LinkFacts,
  LinkFlag,
  NeighbourFacts,
  NeighbourState,
  PolicyRuleFacts,
  RouteFacts,
} from "../../model/facts.ts";
import { splitAttributes } from "../../wire/netlink.ts";
import { readHost32 } from "../../wire/octets.ts";
import * as wire from "../../wire/rtnetlink.ts";
import {
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeNeighbourTimes,
  decodeRoute,
  decodeRule,
  type Link,
  type NeighbourTimes,
  type Route,
  type Rule,
  scopeNumber,
} from "../../wire/rtnetlinkValues.ts";
import type { NetlinkSocket } from "../netlink.ts";
import { list } from "../rtnetlinkRequests.ts";

const AF_INET6 = 10;

export interface LinkReading {
  readonly link: Link;
  /** net.ipv4.conf.LINK as the kernel numbers its files (IPV4_DEVCONF_*), from 1; undefined before 2.6.37. */
  readonly conf: DataView | undefined;
}

export function readLinks(socket: NetlinkSocket): LinkReading[] {
  const found: LinkReading[] = [];
  for (const { payload } of socket.dump(list.links())) {
    const link = decodeLink(payload);
    if (link === undefined) continue;
    const read = wire.link.decode(payload);
    const conf = read.ok ? read.value.families?.inet?.conf : undefined;
    found.push({ link, conf: conf && new DataView(conf.buffer, conf.byteOffset, conf.byteLength) });
  }
  return found;
}

export function readNeighbourTimes(socket: NetlinkSocket): NeighbourTimes[] {
  const found: NeighbourTimes[] = [];
  for (const { payload } of socket.dump(list.neighbourTimes())) {
    const times = decodeNeighbourTimes(payload);
    if (times !== undefined) found.push(times);
  }
  return found;
}

const flagBits: readonly (readonly [LinkFlag, number])[] = [
  ["UP", wire.IFF.up],
  ["BROADCAST", wire.IFF.broadcast],
  ["LOOPBACK", wire.IFF.loopback],
  ["POINTOPOINT", wire.IFF.pointToPoint],
  ["NOARP", wire.IFF.noArp],
  ["PROMISC", wire.IFF.promiscuous],
  ["MULTICAST", wire.IFF.multicast],
  ["LOWER_UP", wire.IFF.lowerUp],
];
const ETHERNET = 1;

/** The other end of a veth is no link below, and one in another namespace is no link of this host. */
const hasParent = (link: Link): boolean =>
  link.parent !== undefined &&
  link.parentNamespaceId === undefined &&
  link.parent !== link.index &&
  link.kind !== "veth";

export function linkFacts(links: readonly Link[]): LinkFacts[] {
  const names = new Map(links.map((l) => [l.index, l.name]));
  return links.map((link) => {
    const master = link.master === undefined ? undefined : names.get(link.master);
    const parent = hasParent(link) ? names.get(link.parent as number) : undefined;
    return {
      ifindex: link.index,
      name: link.name,
      flags: flagBits.filter(([, bit]) => (link.flags & bit) !== 0).map(([name]) => name),
      mac: link.hardwareType === ETHERNET && link.mac !== undefined ? link.mac : null,
      mtu: link.mtu,
      ...(link.kind === undefined ? {} : { kind: link.kind }),
      ...(link.up && !link.lowerUp ? { carrier: false } : {}),
      ...(master === undefined ? {} : { master }),
      ...(parent === undefined ? {} : { parent }),
      ...(link.vlanId === undefined ? {} : { vlanId: link.vlanId }),
      ...(link.vrfTable === undefined ? {} : { vrfTable: link.vrfTable }),
      ...(link.macvlanMode === undefined ? {} : { mode: link.macvlanMode }),
      ...(link.bondMode === undefined ? {} : { mode: link.bondMode }),
      ...(link.tunnel === undefined ? {} : { tunnel: tunnelFacts(link.tunnel) }),
    };
  });
}

const tunnelFacts = ({ local, remote }: { readonly local: Ipv4; readonly remote: Ipv4 }) => ({
  ...(local === 0 ? {} : { local: formatIpv4(local) }),
  ...(remote === 0 ? {} : { remote: formatIpv4(remote) }),
});

/** Names by index; what belongs to a link that came or went between two dumps is left out by the caller. */
export type LinkNames = ReadonlyMap<number, string>;

export function readAddresses(socket: NetlinkSocket, names: LinkNames): AddressFacts[] {
  const found: AddressFacts[] = [];
  for (const { payload } of socket.dump(list.addresses(0))) {
    const address = decodeAddress(payload);
    const link = address && names.get(address.linkIndex);
    if (address === undefined || link === undefined) continue;
    found.push({
      link,
      ip: formatIpv4(address.address),
      prefixLength: address.prefixLength,
      scope: scopeNumber(address.scope),
      ...(address.peer === undefined ? {} : { peer: formatIpv4(address.peer) }),
      ...(address.label === "" || address.label === link ? {} : { label: address.label }),
      ...(address.secondary ? { secondary: true } : {}),
      ...(address.broadcast === undefined ? {} : { broadcast: formatIpv4(address.broadcast) }),
      ...(address.noPrefixRoute ? { noPrefixRoute: true } : {}),
    });
  }
  return found;
}

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const NDA_DST = 1;
const flags6 = { optimistic: 0x04, dadFailed: 0x08, deprecated: 0x20, tentative: 0x40 } as const;

/** Attributes by number, for messages of another family than the codecs read. */
function attributesOf(payload: Uint8Array, offset: number): ReadonlyMap<number, Uint8Array> {
  const split = splitAttributes(payload, offset);
  return new Map(split.ok ? split.value.map(({ type, value }) => [type, value]) : []);
}

/** IPv6 addresses and published ones; none where the kernel has no IPv6. */
export function readAddresses6(socket: NetlinkSocket, names: LinkNames): Address6Facts[] {
  const found: Address6Facts[] = [];
  const task = { operation: "list", object: "IPv6 addresses" };
  for (const { payload } of socket.dump({
    ...task,
    type: wire.RTM.getAddress,
    flags: 0,
    payload: Uint8Array.of(AF_INET6, 0, 0, 0, 0, 0, 0, 0),
  })) {
    if (payload.length < 8 || payload[0] !== AF_INET6) continue;
    const attributes = attributesOf(payload, 8);
    const own = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    const index = new DataView(payload.buffer, payload.byteOffset).getUint32(4, true);
    const link = names.get(index);
    if (own?.length !== 16 || link === undefined) continue;
    const long = attributes.get(IFA_FLAGS);
    const bits = long !== undefined && long.length >= 4 ? readHost32(long, 0) : (payload[2] as number);
    const flags = (Object.keys(flags6) as (keyof typeof flags6)[]).filter((name) => (bits & flags6[name]) !== 0);
    found.push({
      link,
      ip: ipv6FromOctets(own),
      prefixLength: payload[1] as number,
      scope: payload[3] as number,
      ...Object.fromEntries(flags.map((name) => [name, true])),
    });
  }
  const request = new Uint8Array(12);
  request[0] = AF_INET6;
  request[10] = 8; // NTF_PROXY
  for (const { payload } of socket.dump({ ...task, type: wire.RTM.getNeighbour, flags: 0, payload: request })) {
    if (payload.length < 12 || payload[0] !== AF_INET6) continue;
    const ip = attributesOf(payload, 12).get(NDA_DST);
    const link = names.get(new DataView(payload.buffer, payload.byteOffset).getInt32(4, true));
    if (ip?.length === 16 && link !== undefined)
      found.push({ link, ip: ipv6FromOctets(ip), prefixLength: 128, scope: 0, proxy: true });
  }
  return found;
}

/** RTPROT_* that the model and people tell apart; others are their number. */
const protocols: Readonly<Record<number, string>> = {
  1: "redirect",
  2: "kernel",
  3: "boot",
  4: "static",
  9: "ra",
  12: "bird",
  16: "dhcp",
  18: "keepalived",
  186: "bgp",
  188: "ospf",
  192: "eigrp",
};

/** undefined: a route of a type or over a link that facts cannot name. */
function routeFacts(route: Route, names: LinkNames): RouteFacts | undefined {
  const { type } = route;
  if (type === "other") return undefined;
  const dev = route.linkIndex === undefined ? undefined : names.get(route.linkIndex);
  if (route.linkIndex !== undefined && dev === undefined) return undefined;
  return {
    dst: formatPrefix(route.destination),
    type,
    table: route.table,
    scope: scopeNumber(route.scope),
    protocol: protocols[route.protocol] ?? String(route.protocol),
    ...(route.gateway === undefined ? {} : { via: formatIpv4(route.gateway) }),
    ...(dev === undefined ? {} : { dev }),
    ...(route.preferredSource === undefined ? {} : { prefsrc: formatIpv4(route.preferredSource) }),
    ...(route.metric === 0 ? {} : { metric: route.metric }),
    ...(route.typeOfService === 0 ? {} : { tos: route.typeOfService }),
    ...(route.onLink ? { onlink: true } : {}),
    ...(route.advertisedMss === undefined ? {} : { advmss: route.advertisedMss }),
    ...(route.hops === undefined
      ? {}
      : {
          nexthops: route.hops.map((hop) => {
            const way = names.get(hop.linkIndex);
            return {
              ...(hop.gateway === undefined ? {} : { via: formatIpv4(hop.gateway) }),
              ...(way === undefined ? {} : { dev: way }),
              weight: hop.weight,
            };
          }),
        }),
  };
}

export function readRoutes(socket: NetlinkSocket, names: LinkNames): RouteFacts[] {
  const found: RouteFacts[] = [];
  for (const { payload } of socket.dump(list.routes(0))) {
    const route = decodeRoute(payload);
    const facts = route && routeFacts(route, names);
    if (facts !== undefined) found.push(facts);
  }
  return found;
}

const protocolNames: Readonly<Record<number, string>> = { 1: "icmp", 4: "ipip", 6: "tcp", 17: "udp" };

function ruleFacts(rule: Rule): PolicyRuleFacts {
  const action = rule.action === "table" ? "lookup" : rule.action === "other" ? "nop" : rule.action;
  return {
    priority: rule.priority,
    ...(action === "lookup" ? {} : { action }),
    ...(action === "lookup" && rule.vrf !== true ? { table: rule.table } : {}),
    ...(rule.source === undefined ? {} : { from: formatPrefix(rule.source) }),
    ...(rule.destination === undefined ? {} : { to: formatPrefix(rule.destination) }),
    ...(rule.inputLink === undefined ? {} : { iif: rule.inputLink }),
    ...(rule.outputLink === undefined ? {} : { oif: rule.outputLink }),
    ...(rule.fwmark === undefined ? {} : { fwmark: rule.fwmark }),
    ...(rule.fwmask === undefined ? {} : { fwmask: rule.fwmask }),
    ...(rule.typeOfService === 0 ? {} : { tos: rule.typeOfService }),
    ...(rule.protocol === undefined ? {} : { protocol: protocolNames[rule.protocol] ?? String(rule.protocol) }),
    ...(rule.sourcePorts === undefined ? {} : { sourcePorts: rule.sourcePorts }),
    ...(rule.destinationPorts === undefined ? {} : { destinationPorts: rule.destinationPorts }),
    ...(rule.invert ? { not: true } : {}),
    ...(rule.vrf === true ? { l3mdev: true } : {}),
    ...(rule.goto === undefined || action !== "goto" ? {} : { goto: rule.goto }),
    ...(rule.suppressPrefixLength === undefined ? {} : { suppressPrefixLength: rule.suppressPrefixLength }),
  };
}

export function readRules(socket: NetlinkSocket): PolicyRuleFacts[] {
  const found: PolicyRuleFacts[] = [];
  for (const { payload } of socket.dump(list.rules())) {
    const rule = decodeRule(payload);
    if (rule !== undefined) found.push(ruleFacts(rule));
  }
  return found;
}

export function readNeighbours(socket: NetlinkSocket, names: LinkNames): NeighbourFacts[] {
  const found: NeighbourFacts[] = [];
  for (const proxy of [false, true])
    for (const { payload } of socket.dump(list.neighbours(proxy))) {
      const entry = decodeNeighbour(payload);
      if (entry === undefined || entry.proxy !== proxy) continue;
      const link = proxy && entry.linkIndex === 0 ? "*" : names.get(entry.linkIndex);
      if (link === undefined) continue;
      if (proxy) found.push({ link, ip: formatIpv4(entry.address), state: "PERMANENT", proxy: true });
      else if (entry.state !== "none")
        found.push({
          link,
          ip: formatIpv4(entry.address),
          state: entry.state.toUpperCase() as NeighbourState,
          ...(entry.mac === undefined ? {} : { mac: entry.mac }),
          ...(entry.ageMs === undefined ? {} : { ageMs: entry.ageMs }),
        });
    }
  return found;
}
