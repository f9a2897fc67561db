/**
 * Aging and resolution in 2.0 (net/ipv4/arp.c: arp_check_expire, arp_expire_request): no states but complete or not.
 * `probes` are the tries left, as its `retries`; 0 of an entry without a MAC: dead, asked for again only now and then.
 */
import type { NeighbourEntry } from "./neighbour.ts";
import type { TimerStep } from "./neighbourTimers.ts";

export const neighbourTimes20 = {
  /** ARP_RES_TIME, ARP_CONFIRM_TIMEOUT. */
  resolveMs: 5_000,
  /** ARP_MAX_TRIES. */
  tries: 3,
  /** ARP_CHECK_INTERVAL: all entries are looked at so often. */
  checkMs: 60_000,
  /** ARP_CONFIRM_INTERVAL. */
  confirmMs: 300_000,
  /** ARP_TIMEOUT. */
  unusedMs: 600_000,
  /** ARP_DEAD_RES_TIME. */
  deadMs: 60_000,
  /** RT_CACHE_TIMEOUT: as long a route holds on to its entry. */
  routeMs: 300_000,
} as const;

const { resolveMs, tries, checkMs, confirmMs, unusedMs, deadMs, routeMs } = neighbourTimes20;

/** The first look at all entries after that time. */
export const completeUntilMs = ({ usedMs, updatedMs }: NeighbourEntry): number =>
  (Math.floor(Math.min(usedMs + unusedMs, updatedMs + confirmMs) / checkMs) + 1) * checkMs;

/** Packets for it are thrown away, and their senders told. */
export const isDead20 = ({ state, probes }: NeighbourEntry): boolean => state === "INCOMPLETE" && probes === 0;

/** A timer of the entry is over. */
export function tick20(entry: NeighbourEntry, nowMs: number): TimerStep {
  if (entry.state === "COMPLETE") {
    if (nowMs - entry.usedMs > unusedMs) return { entry, send: "nothing", removed: true };
    const asked = { ...entry, state: "INCOMPLETE", probes: tries + 1, timerAtMs: nowMs + resolveMs } as const;
    return nowMs - entry.updatedMs > confirmMs ? { entry: asked, send: "unicast" } : { entry, send: "nothing" };
  }
  if (entry.state !== "INCOMPLETE") return { entry, send: "nothing" };
  const { probes } = entry;
  if (probes > 1) return { entry: { ...entry, probes: probes - 1, timerAtMs: nowMs + resolveMs }, send: "broadcast" };
  if (nowMs - entry.usedMs > routeMs) return { entry, send: "nothing", gaveUp: true, removed: true };
  const dead = { ...entry, mac: undefined, probes: 0, timerAtMs: nowMs + deadMs };
  return { entry: dead, send: "broadcast", gaveUp: true };
}
