/** Addresses that come to a simulated host and go from it, as facts. */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { AddressFacts, HostFacts } from "../model/facts.ts";

/** With these on a link, each a /32 (A-2.2-05) and an alias of its own, as kernels before 2.2 need it. */
export const withAddresses = (facts: HostFacts, link: string, ips: readonly Ipv4[]): HostFacts => {
  const taken = facts.addresses.filter((a) => a.link === link).length;
  const added = ips.map((ip, i): AddressFacts => {
    const label = `${link}:${taken + i}`;
    return { link, ip: formatIpv4(ip), prefixLength: 32, scope: 0, label };
  });
  return { ...facts, addresses: [...facts.addresses, ...added] };
};

/** Without these, on every link or on one. */
export const withoutAddresses = (facts: HostFacts, ips: readonly Ipv4[], link?: string): HostFacts => {
  const texts = new Set(ips.map(formatIpv4));
  const goes = (a: AddressFacts): boolean => texts.has(a.ip) && (link === undefined || a.link === link);
  return { ...facts, addresses: facts.addresses.filter((a) => !goes(a)) };
};
