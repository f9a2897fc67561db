import type { Ipv4 } from "../base/ipv4.ts";
import { ANY } from "../base/ipv4.ts";
import type { Host } from "./host.ts";
import { type Address, holdsPrefix, type Link } from "./link.ts";

const LINK_SCOPE = 253;
const HOST_SCOPE = 254;

/** A-2.6-19: where route_localnet is on, scope host counts as link. */
const clamp = (host: Host, link: Link): number =>
  host.switches.localnetScopeClamp && link.conf.routeLocalnet ? LINK_SCOPE : HOST_SCOPE;

/**
 * inet_select_addr: the address `link` would use towards `target` (0: no target), at most of `scope`.
 * Rules B-2.2-02, B-2.2h-02, B-2.6-06. 0.0.0.0 where there is none.
 */
export function selectSource(host: Host, link: Link, target: Ipv4, scope: number): Ipv4 {
  if (link.ipv4State) {
    const limit = clamp(host, link);
    let first: Address | undefined;
    for (const address of link.addresses) {
      if (address.secondary || Math.min(address.scope, limit) > scope) continue;
      if (target === 0 || holdsPrefix(address, target)) return address.ip;
      first ??= address;
    }
    if (first) return first.ip;
  }
  if (!host.switches.selectElsewhere && scope >= LINK_SCOPE) return ANY;
  if (link.vrf) {
    const found = elsewhere(host, link.vrf, scope);
    if (found !== undefined) return found;
  }
  for (const other of host.links) {
    if (other.vrf !== link.vrf && other !== link.vrf) continue;
    const found = elsewhere(host, other, scope);
    if (found !== undefined) return found;
  }
  return ANY;
}

function elsewhere(host: Host, link: Link, scope: number): Ipv4 | undefined {
  if (!link.ipv4State) return undefined;
  if (host.switches.hiddenFlag && link.conf.hidden) return undefined; // B-2.2h-02
  for (const address of link.addresses)
    if (!address.secondary && address.scope !== LINK_SCOPE && address.scope <= scope) return address.ip;
  return undefined;
}

/**
 * inet_confirm_addr for one device (A-2.6-09): it holds `own` with at most `scope`, and some address of it has a
 * prefix that covers `own` and, unless 0, `towards`. Two addresses may share the work.
 */
export function confirmOn(host: Host, link: Link, own: Ipv4, towards: Ipv4, scope: number): boolean {
  if (!link.ipv4State) return false;
  const limit = clamp(host, link);
  let held = false;
  for (const address of host.ownAddresses.get(own) ?? [])
    if (address.link === link && Math.min(address.scope, limit) <= scope) {
      held = true;
      break;
    }
  if (!held) return false;
  for (const address of link.addresses)
    if (holdsPrefix(address, own) && (towards === 0 || holdsPrefix(address, towards))) return true;
  return false;
}

/**
 * inet_confirm_addr without an own address in mind (arp_accept 2): some address of at most `scope`, and some prefix of
 * the link that covers `towards` and the address chosen. Conformance found that the two may be different addresses.
 */
export function confirmTowards(host: Host, link: Link, towards: Ipv4, scope: number): boolean {
  if (!link.ipv4State) return false;
  const limit = clamp(host, link);
  let chosen: Ipv4 | undefined;
  let same = false;
  for (const address of link.addresses) {
    const allowed = Math.min(address.scope, limit) <= scope;
    if (chosen === undefined && allowed) {
      chosen = address.ip;
      if (same) return true;
    }
    if (same) continue;
    same = holdsPrefix(address, towards);
    if (!same || chosen === undefined) continue;
    if (holdsPrefix(address, chosen) || allowed) return true;
    same = false;
  }
  return false;
}

/** The same on any device (arp_ignore 3). Only devices that hold `own` can say yes. */
export function confirmAnywhere(host: Host, own: Ipv4, towards: Ipv4, scope: number): boolean {
  for (const address of host.ownAddresses.get(own) ?? [])
    if (confirmOn(host, address.link, own, towards, scope)) return true;
  return false;
}
