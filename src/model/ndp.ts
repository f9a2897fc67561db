import type { Address6Facts } from "./facts.ts";
import { type Host, linkAt } from "./host.ts";
import { ANY6, type Ipv6, isMulticast6, parseIpv6, solicitedNode } from "./ipv6.ts";
import { type Link, receiverOf } from "./link.ts";
import type { RuleId } from "./rules.ts";

/** A neighbour solicitation that reached a link. */
export interface Solicitation6 {
  /** ifindex. */
  readonly link: number;
  readonly target: Ipv6;
  /** ANY6: duplicate address detection. */
  readonly source: Ipv6;
  readonly destination: Ipv6 | "solicited-node";
}

export type NdpFlag = "router" | "solicited" | "override";

export type NdpVerdict =
  | {
      readonly kind: "reply";
      readonly via: string;
      readonly flags: readonly NdpFlag[];
      readonly delayedUpToMs: number;
      readonly rule: RuleId;
      readonly because: string;
    }
  | { readonly kind: "silent"; readonly rule: RuleId; readonly because: string };

interface Held extends Address6Facts {
  readonly parsed: Ipv6;
}

const held = new WeakMap<Host, ReadonlyMap<Ipv6, readonly Held[]>>();

/** Indexed on first use: most hosts are never asked about IPv6. */
function addresses6(host: Host): ReadonlyMap<Ipv6, readonly Held[]> {
  const before = held.get(host);
  if (before) return before;
  const map = new Map<Ipv6, Held[]>();
  for (const address of host.facts.addresses6 ?? []) {
    const parsed = parseIpv6(address.ip);
    if (parsed === undefined) continue;
    const same = map.get(parsed);
    if (same) same.push({ ...address, parsed });
    else map.set(parsed, [{ ...address, parsed }]);
  }
  held.set(host, map);
  return map;
}

const conf6 = (host: Host, name: string, key: string): number => host.facts.sysctls[`ipv6.${name}.${key}`] ?? 0;
const either6 = (host: Host, link: Link, key: string): boolean =>
  conf6(host, "all", key) !== 0 || conf6(host, link.name, key) !== 0;
const forwards6 = (host: Host, link: Link): boolean =>
  (host.facts.sysctls[`ipv6.${link.name}.forwarding`] ?? conf6(host, "all", "forwarding")) !== 0;

const silent = (rule: RuleId, because: string): NdpVerdict => ({ kind: "silent", rule, because });

/** ndisc_recv_ns: rules D-6-01, D-6-03, D-6-04. */
export function answerNdp(host: Host, question: Solicitation6): NdpVerdict {
  const port = linkAt(host, question.link);
  const link = receiverOf(port);
  const { target } = question;
  if (!port.up || !link.up) return silent("D-6-01", "the link is down");
  if (isMulticast6(target)) return silent("D-6-01", "the target is a multicast address");
  const group = question.destination === "solicited-node" || isMulticast6(question.destination);
  const isProbe = question.source === ANY6;
  if (isProbe && !group) return silent("D-6-04", "duplicate detection must ask by multicast");
  if (
    group &&
    question.destination !== "solicited-node" &&
    question.destination.startsWith("ff0200000000000000000001ff") &&
    question.destination !== solicitedNode(target)
  )
    return silent("D-6-01", "the solicitation is sent to another address's group");
  const here = addresses6(host).get(target) ?? [];
  const onLink = (a: Held): boolean => a.link === link.name || (link.vrf !== undefined && a.link === link.vrf.name);
  const own = here.find((a) => onLink(a) && !a.proxy && !a.anycast);
  const isRouter = forwards6(host, link);
  const flags = (override: boolean, router = isRouter): NdpFlag[] => [
    ...(router ? (["router"] as const) : []),
    ...(isProbe ? [] : (["solicited"] as const)),
    ...(override ? (["override"] as const) : []),
  ];
  if (own) {
    if (own.tentative && !(own.optimistic && !isProbe))
      return silent("D-6-04", "the address is still tentative on the receiving link");
    if (own.dadFailed) return silent("D-6-04", "duplicate detection failed for the address");
    if (group && (link.noArp || link.loopback)) return silent("D-6-04", "a NOARP link joins no solicited-node group");
    return {
      kind: "reply",
      via: link.name,
      flags: flags(isProbe || group),
      delayedUpToMs: 0,
      rule: "D-6-01",
      because: "the target is an address of the receiving link",
    };
  }
  const anycast = here.some((a) => a.anycast && onLink(a));
  const proxied = here.some((a) => a.proxy && a.link === link.name) && isRouter && either6(host, link, "proxy_ndp");
  if (!anycast && !proxied)
    return silent("D-6-01", "the target is not an address of the receiving link, and no proxy entry applies");
  return {
    kind: "reply",
    via: link.name,
    // A proxy entry speaks for another host: it says "router" only if it was added so (pndisc_is_router, NTF_ROUTER),
    // which the facts do not hold.
    flags: flags(false, isRouter && anycast),
    delayedUpToMs: group ? 800 : 0,
    rule: proxied ? "D-6-03" : "D-6-01",
    because: proxied ? "proxy_ndp answers for the target" : "the target is an anycast address of the receiving link",
  };
}

/** ndisc_solicit, D-6-02: the sender of a solicitation, or undefined: one the kernel selects. */
export function solicitSource6(host: Host, link: number, packetSource: Ipv6 | undefined): Ipv6 | undefined {
  if (packetSource === undefined) return undefined;
  const name = linkAt(host, link).name;
  const here = addresses6(host).get(packetSource) ?? [];
  return here.some((a) => a.link === name && !a.proxy && !a.tentative) ? packetSource : undefined;
}

/** D-6-05: the link's addresses that go out as unsolicited advertisements when it comes up or changes its MAC. */
export function announcesByItself6(host: Host, link: number, peerNotification: boolean): readonly string[] {
  const device = linkAt(host, link);
  if (!peerNotification && !either6(host, device, "ndisc_notify")) return [];
  return (host.facts.addresses6 ?? [])
    .filter((a) => a.link === device.name && !a.proxy && !a.tentative && !a.dadFailed)
    .map((a) => a.ip);
}
