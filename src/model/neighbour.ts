import type { Ipv4 } from "../base/ipv4.ts";
import { parseIpv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, parseMac } from "../base/mac.ts";
import { type ArpPacket, decide, heardBy } from "./answerArp.ts";
import type { NeighbourState } from "./facts.ts";
import { type Host, linkAt } from "./host.ts";
import { type Link, receiverOf } from "./link.ts";
import { addressType } from "./localTable.ts";
import { confirmTowards } from "./selectSource.ts";

/** One neighbour. Times are on any monotonic clock, the same for all calls. */
export interface NeighbourEntry {
  readonly ip: Ipv4;
  /** ifindex. */
  readonly link: number;
  readonly mac: Mac | undefined;
  readonly state: NeighbourState;
  /** Time of the last change: the lock time runs from here. */
  readonly updatedMs: number;
  /** Last proof that the neighbour lives. */
  readonly confirmedMs: number;
  /** Last use by traffic. */
  readonly usedMs: number;
  /** When the timer that DELAY, PROBE or INCOMPLETE runs under ends. Set with the state: neither use nor packets move it. */
  readonly timerAtMs: number;
  /** Probes sent in this round. */
  readonly probes: number;
}

/** By link and address. Never changed in place; an untouched cache is the same object. */
export type NeighbourCache = ReadonlyMap<number, NeighbourEntry>;

/** Key of an entry; a number, because caches are asked often. */
export const neighbourKey = (link: number, ip: Ipv4): number => link * 0x1_0000_0000 + ip;

export const emptyCache: NeighbourCache = new Map();

/** The cache as the facts have it; entries without an age changed long ago. */
export function cacheOf(host: Host, nowMs: number): NeighbourCache {
  const cache = new Map<number, NeighbourEntry>();
  for (const given of host.facts.neighbours) {
    const link = host.linkByName.get(given.link);
    const ip = parseIpv4(given.ip);
    if (given.proxy || !link || ip === undefined) continue;
    const updatedMs = nowMs - (given.ageMs ?? 3_600_000);
    const mac = given.mac === undefined ? undefined : parseMac(given.mac);
    cache.set(neighbourKey(link.index, ip), {
      ip,
      link: link.index,
      mac,
      state: given.state,
      updatedMs,
      confirmedMs: updatedMs,
      usedMs: updatedMs,
      // the facts do not say when the timer ends: by now, as far as anybody knows
      timerAtMs: nowMs,
      probes: 0,
    });
  }
  return cache;
}

/** What the kernel writes where nothing is proven (neigh_create, neigh_update): twice base_reachable_time ago. */
export const unconfirmedMs = (nowMs: number): number => nowMs - 60_000;

const valid: ReadonlySet<NeighbourState> = new Set([
  "PERMANENT",
  "NOARP",
  "REACHABLE",
  "PROBE",
  "STALE",
  "DELAY",
  "COMPLETE",
]);
export const isValid = (entry: NeighbourEntry | undefined): boolean => entry !== undefined && valid.has(entry.state);

/**
 * The cache after one ARP packet (rules B-N, B-2.0-02). Only the sender's entry can change. Pure: `nowMs` is passed in.
 */
export function neighbour(host: Host, cache: NeighbourCache, packet: ArpPacket, nowMs: number): NeighbourCache {
  const receiver = receiverOf(linkAt(host, packet.link));
  const hearers = packet.frame === "unicast" ? [receiver] : [receiver, ...receiver.macvlans.filter((m) => m.up)];
  let next = cache;
  for (const link of hearers) {
    const key = neighbourKey(link.index, heardBy(host, link, packet).senderIp);
    const before = next.get(key);
    const after = neighbourEntry(host, link, before, packet, nowMs);
    if (after === before || after === undefined) continue;
    next = new Map(next).set(key, after);
  }
  return next;
}

/**
 * The same for the one entry of the sender on one link: what the simulator calls for thousands of hosts. Where an
 * input filter rewrites the sender, `entry` is that of the rewritten one.
 */
export function neighbourEntry(
  host: Host,
  link: Link,
  entry: NeighbourEntry | undefined,
  sent: ArpPacket,
  nowMs: number,
): NeighbourEntry | undefined {
  const verdict = decide(host, link, sent);
  const packet = heardBy(host, link, sent);
  if (host.switches.arpScope === "device") return entry20(host, link, entry, packet, verdict.cache !== "none", nowMs);
  if (verdict.cache === "none") return entry;
  if (verdict.cache === "create")
    return update(host, entry ?? construct(host, link, packet.senderIp, nowMs), packet.senderMac, "STALE", true, nowMs);
  return unasked(host, link, entry, packet, nowMs);
}

/** The end of arp_process: B-N-03 to B-N-05. */
function unasked(
  host: Host,
  link: Link,
  entry: NeighbourEntry | undefined,
  packet: ArpPacket,
  nowMs: number,
): NeighbourEntry | undefined {
  const { switches } = host;
  const accepts = acceptsNew(host, link, packet.senderIp);
  const isReply = packet.operation === 2;
  const unicastHere = (): boolean => addressType(host, packet.senderIp, link) === "unicast";
  const announces = packet.senderIp === packet.targetIp && unicastHere();
  const replyAnnounces = announces && packet.targetMac === packet.senderMac;
  let gratuitous = false;
  if (switches.garpOverride === "always") gratuitous = isReply ? replyAnnounces : announces;
  else if (switches.garpOverride === "with arp_accept") gratuitous = accepts && !isReply && announces;

  let current = entry;
  if (!current && accepts) {
    const requestToo = switches.arpAccept !== "replies, all only";
    const wanted = isReply ? unicastHere() : requestToo && announces;
    if (wanted || gratuitous) current = construct(host, link, packet.senderIp, nowMs);
  }
  if (!current) return undefined;
  const ageMs = nowMs - current.updatedMs;
  const isNew = entry === undefined;
  const { lockTimeMs } = link.conf;
  const expired = switches.lockTimeInclusive ? ageMs >= lockTimeMs : ageMs > lockTimeMs;
  const state: NeighbourState = isReply && packet.frame === "unicast" ? "REACHABLE" : "STALE";
  return update(host, current, packet.senderMac, state, expired || gratuitous || isNew, nowMs);
}

/** arp_accept: B-N-05. */
function acceptsNew(host: Host, link: Link, sender: Ipv4): boolean {
  const value = link.conf.arpAccept;
  if (host.switches.arpAccept !== "max") return host.switches.arpAccept !== "none" && value !== 0;
  if (value !== 2) return value === 1;
  return confirmTowards(host, link, sender, 253);
}

/** arp_constructor: an entry for a broadcast address, or on a link without ARP, is NOARP from birth. */
function construct(host: Host, link: Link, ip: Ipv4, nowMs: number): NeighbourEntry {
  const made = {
    ip,
    link: link.index,
    updatedMs: nowMs,
    confirmedMs: unconfirmedMs(nowMs),
    usedMs: nowMs,
    timerAtMs: nowMs,
    probes: 0,
  };
  if (link.noArp || link.loopback) return { ...made, mac: link.mac, state: "NOARP" };
  if (link.pointToPoint || addressType(host, ip, link) === "broadcast")
    return { ...made, mac: BROADCAST_MAC, state: "NOARP" };
  return { ...made, mac: undefined, state: "INCOMPLETE" };
}

/** neigh_update without the administrator's flag. */
function update(
  host: Host,
  entry: NeighbourEntry,
  mac: Mac,
  wanted: NeighbourState,
  override: boolean,
  nowMs: number,
): NeighbourEntry {
  const { switches } = host;
  if (entry.state === "NOARP" || entry.state === "PERMANENT") return entry;
  const same = isValid(entry) && entry.mac === mac;
  const kept = (restarts: boolean): NeighbourEntry => (restarts ? { ...entry, updatedMs: nowMs } : entry);
  let state = wanted;
  if (isValid(entry)) {
    if (!same && !override) return kept(switches.refusedUpdateRestartsLock);
    const keeps = switches.staleKeepsDelay || entry.state === "REACHABLE";
    if (same && wanted === "STALE" && keeps) state = entry.state;
  }
  if (same && state === entry.state) {
    const found = kept(switches.sameMacRestartsLock);
    return wanted === "REACHABLE" ? { ...found, confirmedMs: nowMs } : found;
  }
  // Another MAC that nothing has confirmed is asked about as soon as it is used.
  const unproven = same ? entry.confirmedMs : unconfirmedMs(nowMs);
  const confirmedMs = wanted === "REACHABLE" ? nowMs : unproven;
  return { ...entry, mac, state, updatedMs: nowMs, confirmedMs, probes: 0 };
}

/** B-2.0-02: last speaker wins. An entry is made only if the packet was aimed at an address of this host. */
function entry20(
  host: Host,
  link: Link,
  entry: NeighbourEntry | undefined,
  packet: ArpPacket,
  heard: boolean,
  nowMs: number,
): NeighbourEntry | undefined {
  if (!heard || entry?.state === "PERMANENT") return entry;
  const aimed = host.ownAddresses.get(packet.targetIp)?.some((a) => a.link.up) ?? false;
  if (!entry && !aimed) return undefined;
  return {
    ip: packet.senderIp,
    link: link.index,
    mac: packet.senderMac,
    state: "COMPLETE",
    updatedMs: nowMs,
    confirmedMs: nowMs,
    usedMs: entry?.usedMs ?? nowMs,
    timerAtMs: nowMs,
    probes: 0,
  };
}

/** B-N-08: what is left of the entries of a link that lost its carrier, or whose MAC or NOARP flag changed. */
export function neighbourFlush(
  host: Host,
  cache: NeighbourCache,
  event: { readonly kind: "carrier lost" | "mac change" | "noarp change" | "link down"; readonly link: number },
): NeighbourCache {
  const link = linkAt(host, event.link);
  if (event.kind === "carrier lost" && !(host.switches.evictNoCarrier && link.conf.evictNoCarrier)) return cache;
  const keepsPermanent = event.kind === "carrier lost";
  const kept = [...cache].filter(([, e]) => e.link !== link.index || (keepsPermanent && e.state === "PERMANENT"));
  return kept.length === cache.size ? cache : new Map(kept);
}
