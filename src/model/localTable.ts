import { type Ipv4, isMulticast } from "../base/ipv4.ts";
import type { RouteType } from "./facts.ts";
import type { Host } from "./host.ts";
import type { Link } from "./link.ts";
import { isZero } from "./routes.ts";
import { deviceOf, LOCAL_TABLE } from "./routingTable.ts";

/**
 * inet_addr_type_dev_table: what an address is for this host, asked in the local table, or in its VRF's (4.4+).
 * "Local" of the rules is this, not the existence of an address: a local route counts, too (A-2.6-18).
 */
export function addressType(host: Host, address: Ipv4, seenFrom: Link): RouteType {
  if (isZero(host, address) || address === 0xffffffff) return "broadcast";
  if (isMulticast(address)) return "multicast";
  const table = seenFrom.vrf?.vrfTable ?? (seenFrom.isVrf ? seenFrom.vrfTable : undefined);
  const route = (table === undefined ? host.localTable : host.tables.get(table))?.lookup(address, 0, 0, false);
  // A lookup that ends in blackhole or the like fails, and failing leaves the type at unicast (__inet_dev_addr_type).
  return route === undefined || route.isError ? "unicast" : route.type;
}

export const isLocal = (host: Host, address: Ipv4, seenFrom: Link): boolean =>
  addressType(host, address, seenFrom) === "local";

/** A-2.2h-02, A-2.4h-02: the device that counts as holding `address`. */
export function ownerOf(host: Host, address: Ipv4): Link | undefined {
  const byTable = (): Link | undefined => {
    const route = host.tables.get(LOCAL_TABLE)?.lookup(address, 0, 0, false);
    return route?.type === "local" ? deviceOf(route) : undefined;
  };
  if (host.switches.hiddenOwner === "local table") return byTable();
  return host.ownAddresses.get(address)?.[0]?.link ?? byTable();
}
