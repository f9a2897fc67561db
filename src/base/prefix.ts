import { formatIpv4, type Ipv4, parseIpv4 } from "./ipv4.ts";

/** An IPv4 prefix. `address` keeps its host bits, as an interface address does: 10.0.0.11/24. */
export interface Prefix {
  readonly address: Ipv4;
  /** 0 to 32. */
  readonly length: number;
}

/** Netmask of a prefix length, 0 to 32. */
export const maskOf = (length: number): Ipv4 => (length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0) as Ipv4;

/** "10.0.0.0/24"; a bare address means /32. */
export function parsePrefix(text: string): Prefix | undefined {
  const [left, right, ...rest] = text.split("/");
  if (left === undefined || rest.length > 0) return undefined;
  const address = parseIpv4(left);
  if (address === undefined) return undefined;
  if (right === undefined) return { address, length: 32 };
  if (!/^(0|[1-9]\d?)$/.test(right) || Number(right) > 32) return undefined;
  return { address, length: Number(right) };
}

/** For literals in our own code and tests. Throws RangeError. */
export function prefix(text: string): Prefix {
  const value = parsePrefix(text);
  if (value === undefined) throw new RangeError(`not an IPv4 prefix: ${text}`);
  return value;
}

export const formatPrefix = (p: Prefix): string => `${formatIpv4(p.address)}/${p.length}`;

export const networkOf = (p: Prefix): Ipv4 => ((p.address & maskOf(p.length)) >>> 0) as Ipv4;
/** The highest address of the prefix: the subnet broadcast when the length is 30 or less. */
export const lastOf = (p: Prefix): Ipv4 => ((networkOf(p) | ~maskOf(p.length)) >>> 0) as Ipv4;

export const covers = (p: Prefix, address: Ipv4): boolean => ((p.address ^ address) & maskOf(p.length)) === 0;
