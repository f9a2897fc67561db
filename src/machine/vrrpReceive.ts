import { VRRP_TTL } from "../wire/vrrp.ts";
import { OWNER } from "./vrrpTimers.ts";
import type { HeardAdvert, VrrpConfig, VrrpState } from "./vrrpTypes.ts";

/** Why an advert that reads well is not acted on. */
export const dropReasons = {
  ttl: "TTL is not 255 (RFC 9568 section 7.1)",
  "unknown-peer": "unicast is configured, and this is not one of the peers",
  version: "the other version of VRRP",
  vrid: "another virtual router",
  "own-echo": "it comes from our own address",
  password: "another password, or one where none is configured (RFC 2338 section 7.1)",
  interval: "version 2, and another interval than ours (RFC 3768 section 7.1)",
  owner: "we are the address owner (RFC 9568 section 7.1)",
  "not-running": "the virtual router does not run here",
} as const;
export type DropReason = keyof typeof dropReasons;

interface Check {
  readonly reason: DropReason;
  readonly fails: (c: VrrpConfig, advert: HeardAdvert) => boolean;
}

/** In the order of RFC 9568 section 7.1; the first that fails names the reason. */
const checks: readonly Check[] = [
  { reason: "unknown-peer", fails: (c, a) => c.unicastPeers?.includes(a.source) === false && a.source !== c.address },
  { reason: "ttl", fails: (c, a) => c.unicastPeers === undefined && a.ttl !== VRRP_TTL },
  { reason: "vrid", fails: (c, a) => a.vrid !== c.vrid },
  { reason: "version", fails: (c, a) => a.version !== c.version },
  { reason: "own-echo", fails: (c, a) => a.source === c.address },
  { reason: "password", fails: (c, a) => a.version === 2 && a.password !== c.password },
  { reason: "interval", fails: (c, a) => a.version === 2 && a.intervalMs !== c.intervalMs },
  { reason: "owner", fails: (c) => c.priority === OWNER },
];

/** The reason to discard, or undefined: act on it. */
export function dropReason(c: VrrpConfig, s: VrrpState, advert: HeardAdvert): DropReason | undefined {
  const found = checks.find((check) => check.fails(c, advert));
  if (found !== undefined) return found.reason;
  return s.phase.kind === "initialize" ? "not-running" : undefined;
}

/** It tells of somebody else in our virtual router, also where an owner, or one that does not run, discards it. */
export function isOfOurRouter(c: VrrpConfig, advert: HeardAdvert): boolean {
  const found = checks.find((check) => check.fails(c, advert));
  return found === undefined || found.reason === "owner";
}

/** RFC 9568 section 5.2.9, advisory (erratum 8298): the order does not matter. */
export function sameAddresses(c: VrrpConfig, advert: HeardAdvert): boolean {
  if (advert.addresses.length === c.vips.length && advert.addresses.every((a, i) => a === c.vips[i])) return true;
  const mine = new Set(c.vips);
  return advert.addresses.length === mine.size && advert.addresses.every((a) => mine.has(a));
}
