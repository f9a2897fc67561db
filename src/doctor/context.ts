import { formatIpv4, type Ipv4, ipv4FromNumber, parseIpv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { compileHost } from "../model/compileHost.ts";
import type { FilterChainFacts, HostFacts } from "../model/facts.ts";
import type { Host } from "../model/host.ts";
import { type Ipv6, parseIpv6 } from "../model/ipv6.ts";
import { type Address, holdsPrefix, type Link } from "../model/link.ts";
import { fibLookup, flowOf } from "../model/routes.ts";
import type { Evidence } from "./finding.ts";
import { Questions } from "./questions.ts";
import { setConf, sysctlEvidence } from "./text.ts";

export type Method = "dr" | "tun" | "nat";

/** A service as the check knows it. No ports: a fwmark service, or one of which nothing is known. */
export interface ServiceWish {
  readonly name: string;
  readonly vips: readonly string[];
  readonly protocol: string;
  readonly ports: readonly (readonly [first: number, last: number])[];
  readonly methods: readonly Method[];
}

/** What is asked: one host's facts, and what it should be. */
export interface CheckInput {
  readonly facts: HostFacts;
  readonly realServer: boolean;
  readonly director: boolean;
  /** IPv4 or IPv6, as text. Those that are neither are left out. */
  readonly vips: readonly string[];
  readonly services: readonly ServiceWish[];
  /** How the director sends to this real server. */
  readonly methods: readonly Method[];
  readonly cluster?: Cluster;
  /** This host's name in the cluster. */
  readonly self?: string;
}

export interface Vip {
  readonly text: string;
  readonly ip: Ipv4;
}
export interface Vip6 {
  readonly text: string;
  readonly ip: Ipv6;
}

/** What every entry looks at. Pure; made once for a check. */
export interface Context extends CheckInput {
  readonly host: Host;
  readonly vips4: readonly Vip[];
  readonly vips6: readonly Vip6[];
  readonly vipSet: ReadonlySet<number>;
  /** Interfaces that hear ARP from outside: up, speaking ARP, top of their stack, and not towards containers. */
  readonly lan: readonly Link[];
  /** The one the director's frames come in on (and, on a director, the clients'). */
  readonly facing: Link | undefined;
  readonly gateway: { readonly ip: Ipv4; readonly link: Link } | undefined;
  readonly ask: Questions;
  /** Addresses that hold the VIP. */
  readonly held: (vip: Vip) => readonly Address[];
  readonly heldOnLan: (vip: Vip) => boolean;
  /** The VIPs for which this host must be silent. */
  readonly silent: readonly Vip[];
  readonly silentSet: ReadonlySet<number>;
  readonly sysctl: (name: string) => number | undefined;
  readonly evidence: (...names: readonly string[]) => Evidence[];
}

const neverLan = new Set(["dummy", "ifb", "nlmon", "vrf", "vcan", "wireguard"]);
const inwardKinds = new Set(["veth", "tun", "tap"]);

export function makeContext(input: CheckInput): Context {
  const { facts } = input;
  const host = compileHost(facts);
  const vips4: Vip[] = [];
  const vips6: Vip6[] = [];
  for (const text of new Set(input.vips)) {
    const ip = parseIpv4(text);
    const ip6 = ip === undefined ? parseIpv6(text) : undefined;
    if (ip !== undefined) vips4.push({ text, ip });
    else if (ip6 !== undefined) vips6.push({ text, ip: ip6 });
  }
  const vipSet = new Set<number>(vips4.map((v) => v.ip));
  const gateway = defaultGateway(host);
  const lan = lanLinks(host, vips4, gateway?.link);
  const onLan = new Set(lan);
  const held = (vip: Vip): readonly Address[] => host.ownAddresses.get(vip.ip) ?? [];
  const heldOnLan = (vip: Vip): boolean => held(vip).some((a) => onLan.has(a.link));
  // A director that holds the VIP on its LAN owns it; what else it is does not matter for that VIP.
  const silent = input.realServer ? vips4.filter((v) => !(input.director && heldOnLan(v))) : [];
  const facing = facingLink(lan, vips4, vipSet, gateway?.link);
  return {
    ...input,
    host,
    vips4,
    vips6,
    vipSet,
    lan,
    facing,
    gateway,
    ask: new Questions(host, vipSet, lan, gateway),
    held,
    heldOnLan,
    silent,
    silentSet: new Set<number>(silent.map((v) => v.ip)),
    sysctl: (name) => facts.sysctls[name],
    evidence: (...names) => sysctlEvidence(facts.sysctls, ...names),
  };
}

/** An address of the documentation networks (RFC 5737) that only the default route reaches. */
export function outsider(host: Host): Ipv4 | undefined {
  for (const base of [0xcb007100, 0xc6336400, 0xc0000200]) {
    const ip = ipv4FromNumber(base + 77);
    const route = fibLookup(host, flowOf({ destination: ip }));
    if (route?.prefixLength === 0 && route.type === "unicast") return ip;
  }
  return undefined;
}

function defaultGateway(host: Host): Context["gateway"] {
  const ip = outsider(host);
  const route = ip === undefined ? undefined : fibLookup(host, flowOf({ destination: ip }));
  const hop = route?.hops.find((h) => h.link !== undefined);
  return hop?.link && hop.via !== undefined ? { ip: hop.via, link: hop.link } : undefined;
}

/**
 * A wire's ARP may reach these. A veth or a bridge of containers only counts where the VIPs' subnet or the default
 * route says that the LAN is behind it (hosts in namespaces have nothing but veths).
 */
function lanLinks(host: Host, vips: readonly Vip[], towardsGateway: Link | undefined): Link[] {
  const outward = (link: Link): boolean => !inwardKinds.has(link.kind);
  const bridges = new Map<Link, boolean>();
  for (const port of host.links)
    if (port.master) bridges.set(port.master, bridges.get(port.master) === true || outward(port));
  const few = vips.slice(0, 64);
  const carries = (link: Link): boolean =>
    link === towardsGateway ||
    link.addresses.some((a) => a.prefixLength < 32 && few.some((v) => v.ip !== a.ip && holdsPrefix(a, v.ip)));
  return host.links.filter((link) => {
    if (!link.up || link.loopback || link.noArp || link.mac === undefined || link.master) return false;
    if (neverLan.has(link.kind)) return false;
    const inward = link.kind === "bridge" ? bridges.get(link) !== true : !outward(link);
    return !inward || carries(link);
  });
}

function facingLink(
  lan: readonly Link[],
  vips: readonly Vip[],
  vipSet: ReadonlySet<number>,
  towardsGateway: Link | undefined,
): Link | undefined {
  const [vip] = vips;
  const own = (link: Link) => link.addresses.filter((a) => !vipSet.has(a.ip) && a.prefixLength < 32);
  const covering = vip && lan.find((link) => own(link).some((a) => holdsPrefix(a, vip.ip)));
  const towards = towardsGateway && lan.includes(towardsGateway) ? towardsGateway : undefined;
  return covering ?? towards ?? lan.find((link) => own(link).length > 0) ?? lan[0];
}

/** The first own address of a link that is no VIP: its RIP or DIP. */
export const ownAddress = (context: Context, link: Link): Address | undefined =>
  link.addresses.find((a) => !context.vipSet.has(a.ip));

/** Where an address stands in the facts file. */
export function addressEvidence(context: Context, ip: Ipv4): Evidence[] {
  const text = formatIpv4(ip);
  return context.facts.addresses.flatMap((a, i) =>
    a.ip === text ? [{ path: `addresses[${i}]`, value: `${a.ip}/${a.prefixLength} on ${a.link}` }] : [],
  );
}

export function linkEvidence(context: Context, name: string): Evidence[] {
  const i = context.facts.links.findIndex((l) => l.name === name);
  const link = context.facts.links[i];
  return link ? [{ path: `links[${i}]`, value: `${name} ${link.kind ?? ""} ${link.flags.join(" ")}`.trim() }] : [];
}

export const chainName = (chain: FilterChainFacts): string =>
  [chain.tool, chain.family, chain.table, chain.chain ?? chain.hook].filter((p) => p !== undefined).join(" ");

/**
 * Lines that take an address away and nothing else: its secondaries would go with it, and an interface's only
 * address is perhaps no VIP at all, so that stays a person's decision.
 */
export function removeLines(context: Context, a: Address): string[] {
  const line = `ip address del ${formatIpv4(a.ip)}/${a.prefixLength} dev ${a.link.name}`;
  if (context.lan.includes(a.link) && ownAddress(context, a.link) === undefined)
    return [`# it is the only address of ${a.link.name}: if it is a VIP, add the host's own first, then: ${line}`];
  const follows = a.link.addresses.some((b) => b.secondary && b.mask === a.mask && holdsPrefix(a, b.ip));
  const promoted = context.sysctl("all.promote_secondaries") || context.sysctl(`${a.link.name}.promote_secondaries`);
  return a.secondary || !follows || promoted ? [line] : [setConf(a.link.name, "promote_secondaries", 1), line];
}
