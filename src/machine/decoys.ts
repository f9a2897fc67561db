import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { lastOf, networkOf, type Prefix } from "../base/prefix.ts";

/** Fraction of the golden ratio: steps of it fall as far from all earlier ones as can be. */
const STEP = 0.6180339887498949;

/**
 * Addresses of a subnet that nobody is known to hold, at most `count`: an answer for two of them is given for all.
 *
 * Spread over the subnet, not at its ends, where gateways and pools begin; the same every time, so that two runs ask
 * the same. Network and broadcast addresses are left out (A-2.2-08). Subnets of /31 and /32 have none.
 * `taken` are the VIPs asked for, own addresses, gateways and known neighbours.
 */
export function chooseDecoys(subnet: Prefix, taken: ReadonlySet<Ipv4>, count: number): Ipv4[] {
  const first = networkOf(subnet) + 1;
  const hosts = lastOf(subnet) - first;
  const found: Ipv4[] = [];
  for (let tried = 1; found.length < count && tried <= Math.min(hosts * 2, 100_000); tried++) {
    const address = ipv4FromNumber(first + Math.floor(((tried * STEP) % 1) * hosts));
    if (!taken.has(address) && !found.includes(address)) found.push(address);
  }
  return found;
}
