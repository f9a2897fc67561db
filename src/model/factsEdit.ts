import { formatIpv4, parseIpv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import { bad, good, type Result } from "../base/result.ts";
import { compileHost } from "./compileHost.ts";
import { derivedRoutes } from "./compileRoutes.ts";
import type { AddressFacts, HostFacts, RouteFacts } from "./facts.ts";

/**
 * Facts after a change, with everything the kernel does by itself along with it (section 2 of the rules): the order
 * of addresses, the secondary flag, and the routes that come and go. The facts given are not touched.
 */

/** The routes that the kernel makes from the addresses of one link. */
export function kernelRoutes(facts: HostFacts, link: string): RouteFacts[] {
  const host = compileHost({ ...facts, routesGiven: "added", routes: [], rules: [], neighbours: [], filters: [] });
  const found = host.linkByName.get(link);
  const routes: RouteFacts[] = [];
  if (found)
    derivedRoutes(found, host.switches, (route) => {
      routes.push({
        dst: `${formatIpv4(route.network)}/${route.prefixLength}`,
        type: route.type,
        table: route.table,
        dev: link,
        scope: route.scope,
        protocol: "kernel",
        ...(route.prefsrc === undefined ? {} : { prefsrc: formatIpv4(route.prefsrc) }),
      });
    });
  return routes;
}

const bits = (text: string): number => parseIpv4(text) ?? 0;
const samePrefix = (a: AddressFacts, b: AddressFacts): boolean =>
  a.prefixLength === b.prefixLength && ((bits(a.peer ?? a.ip) ^ bits(b.peer ?? b.ip)) & maskOf(a.prefixLength)) === 0;

/** inet_insert_ifa: where in the list, and whether secondary. */
export function withAddress(facts: HostFacts, added: AddressFacts): Result<HostFacts> {
  if (!facts.links.some((l) => l.name === added.link)) return bad(`there is no link ${added.link}`);
  const here = facts.addresses.filter((a) => a.link === added.link);
  const kin = here.filter((a) => samePrefix(a, added));
  if (kin.some((a) => a.ip === added.ip)) return bad(`${added.link} has ${added.ip}/${added.prefixLength} already`);
  if (kin.some((a) => a.scope !== added.scope))
    return bad(`${added.link} has an address of another scope in the prefix of ${added.ip}/${added.prefixLength}`);
  const { secondary: _, ...plain } = added;
  const address: AddressFacts = kin.length > 0 ? { ...plain, secondary: true } : plain;
  let at = here.length;
  if (!address.secondary) {
    at = 0;
    for (const [i, a] of here.entries()) if (!a.secondary && added.scope <= a.scope) at = i + 1;
  }
  return good(replaceAddresses(facts, added.link, [...here.slice(0, at), address, ...here.slice(at)]));
}

/**
 * inet_del_ifa: with a primary go the secondaries of its prefix, unless promote_secondaries is set for the link; then
 * the first of them becomes primary.
 */
export function withoutAddress(facts: HostFacts, link: string, ip: string, prefixLength: number): Result<HostFacts> {
  const here = facts.addresses.filter((a) => a.link === link);
  const gone = here.find((a) => a.ip === ip && a.prefixLength === prefixLength);
  if (!gone) return bad(`${link} has no address ${ip}/${prefixLength}`);
  let rest = here.filter((a) => a !== gone);
  if (!gone.secondary) {
    const promotes =
      (facts.sysctls[`${link}.promote_secondaries`] ?? 0) !== 0 ||
      (facts.sysctls["all.promote_secondaries"] ?? 0) !== 0;
    const heirs = rest.filter((a) => a.secondary && samePrefix(a, gone));
    const [heir] = heirs;
    if (!promotes) rest = rest.filter((a) => !heirs.includes(a));
    else if (heir) {
      const { secondary: _, ...primary } = heir;
      const others = rest.filter((a) => a !== heir);
      const firstSecondary = others.findIndex((a) => a.secondary);
      const at = firstSecondary < 0 ? others.length : firstSecondary;
      rest = [...others.slice(0, at), primary, ...others.slice(at)];
    }
  }
  return good(replaceAddresses(facts, link, rest));
}

/** Other links' addresses keep their place; where all routes are given, those of the kernel follow. */
function replaceAddresses(facts: HostFacts, link: string, now: readonly AddressFacts[]): HostFacts {
  const others = facts.addresses.filter((a) => a.link !== link);
  const before = facts.addresses.findIndex((a) => a.link === link);
  const at = before < 0 ? others.length : before;
  const next: HostFacts = { ...facts, addresses: [...others.slice(0, at), ...now, ...others.slice(at)] };
  if (facts.routesGiven === "added") return next;
  const key = (r: RouteFacts): string => `${r.type} ${r.dst} ${r.table} ${r.dev}`;
  const had = new Map(kernelRoutes(facts, link).map((r) => [key(r), r]));
  const has = new Map(kernelRoutes(next, link).map((r) => [key(r), r]));
  const kept = facts.routes.filter((r) => !(had.has(key(r)) && !has.has(key(r)) && r.protocol === "kernel"));
  const fresh = [...has].filter(([k]) => !had.has(k)).map(([, r]) => r);
  return { ...next, routes: [...kept, ...fresh] };
}
