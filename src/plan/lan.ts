import { formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { covers, lastOf, networkOf, type Prefix, parsePrefix } from "../base/prefix.ts";
import type { HostFacts, LinkFacts } from "../model/facts.ts";

/** A link that speaks ARP with others, and whom a proof may put on its far side. */
export interface LanLink {
  readonly name: string;
  /** This host's own addresses here that are no VIP, in list order. */
  readonly own: readonly Ipv4[];
  /**
   * On-link neighbours, one a subnet, the gateway where it is one: none of them ours, none a VIP, all routed out of
   * this link, so that their silence proves something (A-2.2-07, A-2.6-14).
   */
  readonly neighbours: readonly Neighbour[];
  /** The default route leaves here: clients from anywhere come in here. */
  readonly isDefault: boolean;
}

export interface Neighbour {
  readonly ip: Ipv4;
  /** The own address whose subnet it is in. */
  readonly seenFrom: Ipv4;
  readonly isGateway: boolean;
}

/** A documentation address (RFC 5737) as a client from far away. */
export const FAR_CLIENT = parseIpv4("198.51.100.7") as Ipv4;

/** Kinds that have no ARP of their own, besides those that say NOARP. */
const withoutArp = new Set(["dummy", "ipip", "gre", "sit", "tun", "wireguard", "vti", "ip6tnl", "vrf"]);

/** Up, with a MAC and ARP, and not a port of something that speaks for it. */
export function speaksArp(link: LinkFacts, facts: HostFacts): boolean {
  if (!link.flags.includes("UP") || link.flags.includes("NOARP") || link.flags.includes("LOOPBACK")) return false;
  if (link.mac === null || (link.kind !== undefined && withoutArp.has(link.kind))) return false;
  const master = facts.links.find((l) => l.name === link.master);
  return master === undefined || master.kind === "vrf";
}

/** The links of a host that law 1 and law 3 are about; `only` narrows them to those named. */
export function lanLinks(facts: HostFacts, vips: ReadonlySet<Ipv4>, only?: readonly string[]): LanLink[] {
  const taken = new Set<Ipv4>(vips);
  for (const a of facts.addresses) {
    const ip = parseIpv4(a.ip);
    if (ip !== undefined) taken.add(ip);
  }
  return facts.links
    .filter((l) => speaksArp(l, facts) && (only === undefined || only.includes(l.name)))
    .map((l) => lanLink(facts, l.name, taken, vips));
}

function lanLink(facts: HostFacts, name: string, taken: ReadonlySet<Ipv4>, vips: ReadonlySet<Ipv4>): LanLink {
  const gateways = facts.routes
    .filter((r) => r.dev === name && r.via !== undefined)
    .flatMap((r) => parseIpv4(r.via ?? "") ?? []);
  const own: Ipv4[] = [];
  const neighbours: Neighbour[] = [];
  const seen = new Set<string>();
  for (const a of facts.addresses) {
    const ip = parseIpv4(a.ip);
    if (a.link !== name || ip === undefined) continue;
    if (!vips.has(ip)) own.push(ip);
    const prefix = parsePrefix(`${a.peer ?? a.ip}/${a.prefixLength}`);
    if (prefix === undefined || vips.has(ip)) continue;
    const subnet = `${networkOf(prefix)}/${prefix.length}`;
    if (seen.has(subnet)) continue;
    seen.add(subnet);
    const gateway = gateways.find((g) => covers(prefix, g) && !taken.has(g));
    const found = gateway ?? freeHost(prefix, taken);
    if (found !== undefined) neighbours.push({ ip: found, seenFrom: ip, isGateway: gateway !== undefined });
  }
  const isDefault = facts.routes.some((r) => isDefaultRoute(r.dst) && (r.table ?? 254) === 254 && r.dev === name);
  return { name, own, neighbours, isDefault };
}

export const isDefaultRoute = (dst: string): boolean => dst === "default" || dst === "0.0.0.0/0";

/** The lowest address of a subnet that nobody on this host holds. */
function freeHost(prefix: Prefix, taken: ReadonlySet<Ipv4>): Ipv4 | undefined {
  if (prefix.length === 32) return taken.has(prefix.address) ? undefined : prefix.address;
  const wide = prefix.length < 31;
  const low = networkOf(prefix) + (wide ? 1 : 0);
  const high = lastOf(prefix) - (wide ? 1 : 0);
  for (let ip = low; ip <= high; ip++) if (!taken.has(ip as Ipv4)) return ip as Ipv4;
  return undefined;
}

export const text = (ip: Ipv4): string => formatIpv4(ip);
