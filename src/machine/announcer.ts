/**
 * Gratuitous ARP for the VIPs that this host holds: both forms, so many times, so far apart, refreshed; a neighbour is
 * asked afterwards, and everybody else's claim to a held VIP is noticed. Frames are made by the caller.
 *
 * Two forms because neighbours differ: some take up a request (RFC 5227 section 3), some only a reply (RFC 2002 section
 * 4.6 allows both).
 */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { ARP_REPLY, ARP_REQUEST, type Arp } from "../wire/arp.ts";

export interface AnnouncerConfig {
  /** Of the interface that the VIPs are on. */
  readonly mac: Mac;
  /** Rounds after each call to announce; at least 1. */
  readonly count: number;
  readonly intervalMs: number;
  /** One round again every so often while a VIP is held; 0: never. */
  readonly refreshMs: number;
  readonly form: "both" | "request" | "reply";
  /** Frames sent at once; the rest follows a millisecond later, so that 4,096 VIPs are no burst. */
  readonly framesAtOnce: number;
  /** Who is asked whether it has learned the VIP: the routers of the VIPs' networks. */
  readonly neighbours: readonly Ipv4[];
  readonly verifyWithinMs: number;
  /** How often a VIP that nobody confirms is announced again before that is given up and said. */
  readonly verifyAttempts: number;
}

export type AnnouncerEvent =
  /** The VIPs stand on the interface now; from here until `withdraw` they are held. */
  | { readonly kind: "announce"; readonly vips: readonly Ipv4[] }
  | { readonly kind: "verify"; readonly vips: readonly Ipv4[] }
  | { readonly kind: "withdraw"; readonly vips: readonly Ipv4[] }
  /** Somebody claims the VIPs elsewhere than by ARP: announced and verified again, as often as `defendFirstMs` says. */
  | { readonly kind: "defend"; readonly vips: readonly Ipv4[] }
  /** Any ARP packet heard on the interface; our own may be among them. */
  | { readonly kind: "arp"; readonly arp: Arp }
  /** A packet for the VIP reached us from a neighbour: it has learned it. */
  | { readonly kind: "traffic"; readonly vip: Ipv4 }
  | { readonly kind: "tick" };

export type AnnouncerEffect =
  /** Gratuitous: sender and target are the VIP, sender MAC is ours; broadcast. */
  | { readonly kind: "sendGarp"; readonly form: "request" | "reply"; readonly vip: Ipv4 }
  /** Who has `neighbour`, tell `vip`: the answer comes to the MAC that the neighbour knows for the VIP. */
  | { readonly kind: "askNeighbour"; readonly vip: Ipv4; readonly neighbour: Ipv4 }
  | { readonly kind: "verified"; readonly vip: Ipv4; readonly how: "answer" | "traffic"; readonly afterMs: number }
  | { readonly kind: "unverified"; readonly vip: Ipv4; readonly reason: string }
  /** Somebody else claims a VIP that we hold. Told once for each MAC and VIP, and again after `conflictAgainMs`. */
  | {
      readonly kind: "conflict";
      readonly vip: Ipv4;
      readonly mac: Mac;
      readonly how: "reply" | "announcement" | "sender";
      readonly seen: number;
      readonly reason: string;
    };

interface Round {
  readonly vips: readonly Ipv4[];
  /** Rounds left, this one included. */
  readonly left: number;
  /** Frames of this round already sent. */
  readonly sent: number;
  readonly startedAtMs: number;
  readonly nextAtMs: number;
}
interface Pending {
  /** When the first question was sent. */
  readonly sinceMs: number;
  /** To be asked then; once asked, the time until which an answer counts. */
  readonly dueAtMs: number;
  readonly asked: boolean;
  /** Questions left, this one included. */
  readonly attempts: number;
}
interface Defence {
  /** From this claim's answer to the next one. */
  readonly waitMs: number;
  readonly againAtMs: number;
  readonly claimedAtMs: number;
  /** Claimed since the last answer. */
  readonly owed: readonly Ipv4[];
}
interface Conflict {
  readonly toldAtMs: number;
  readonly defendedAtMs: number;
  readonly seenAtMs: number;
  readonly seen: number;
}

export interface AnnouncerState {
  readonly held: ReadonlySet<Ipv4>;
  readonly round: Round | undefined;
  readonly refreshAtMs: number;
  readonly pending: ReadonlyMap<Ipv4, Pending>;
  readonly conflicts: ReadonlyMap<string, Conflict>;
  readonly defence: Defence | undefined;
}
export interface AnnouncerStep {
  readonly state: AnnouncerState;
  readonly effects: readonly AnnouncerEffect[];
}

export const conflictAgainMs = 60_000;
/** A claim that was not repeated for so long is over. */
export const conflictOverMs = 5 * conflictAgainMs;
/** Where nobody is named whom we could ask, traffic is waited for so long, and its absence says nothing. */
export const trafficWithinMs = 30_000;
/** RFC 5227 section 2.4: the defence against a claim is limited in rate, or two hosts shout for ever. */
export const defendIntervalMs = 10_000;
/**
 * A router that never hears us claims the VIPs with each of its adverts. The first claim is answered at once, the next
 * after this, and each wait is twice the one before, up to `defendIntervalMs`; so long without a claim, it begins anew. No
 * claim stays without an answer: one that comes in between is answered when the wait is over.
 */
export const defendFirstMs = 100;
const conflictLimit = 256;

export const initialAnnouncer: AnnouncerState = {
  held: new Set(),
  round: undefined,
  refreshAtMs: Number.POSITIVE_INFINITY,
  pending: new Map(),
  conflicts: new Map(),
  defence: undefined,
};

export function announcerDeadlineMs(s: AnnouncerState): number {
  let deadline = Math.min(s.round?.nextAtMs ?? Number.POSITIVE_INFINITY, s.refreshAtMs);
  for (const { dueAtMs } of s.pending.values()) deadline = Math.min(deadline, dueAtMs);
  if (s.defence !== undefined && s.defence.owed.length > 0) deadline = Math.min(deadline, s.defence.againAtMs);
  return deadline;
}

const formsOf = (c: AnnouncerConfig): readonly ("request" | "reply")[] =>
  c.form === "both" ? ["request", "reply"] : [c.form];

/** Sends what is due of the running round, at most `framesAtOnce`. */
function sendRound(c: AnnouncerConfig, s: AnnouncerState, nowMs: number): AnnouncerStep {
  const { round } = s;
  if (round === undefined || nowMs < round.nextAtMs) return { state: s, effects: [] };
  const forms = formsOf(c);
  const total = round.vips.length * forms.length;
  const end = Math.min(total, round.sent + Math.max(1, c.framesAtOnce));
  const effects: AnnouncerEffect[] = [];
  for (let i = round.sent; i < end; i++) {
    const vip = round.vips[Math.floor(i / forms.length)] as Ipv4;
    effects.push({ kind: "sendGarp", form: forms[i % forms.length] as "request" | "reply", vip });
  }
  const startedAtMs = round.sent === 0 ? nowMs : round.startedAtMs;
  let next: Round | undefined = { ...round, startedAtMs, sent: end, nextAtMs: nowMs + 1 };
  if (end === total)
    next =
      round.left <= 1
        ? undefined
        : {
            ...round,
            left: round.left - 1,
            sent: 0,
            startedAtMs,
            nextAtMs: Math.max(nowMs + 1, startedAtMs + c.intervalMs),
          };
  return { state: { ...s, round: next }, effects };
}

/** Begins a round; what a running one had left to say is said by the new one. */
function begin(
  c: AnnouncerConfig,
  s: AnnouncerState,
  vips: readonly Ipv4[],
  left: number,
  nowMs: number,
): AnnouncerStep {
  if (vips.length === 0) return { state: s, effects: [] };
  const both = s.round === undefined ? vips : [...new Set([...s.round.vips, ...vips])];
  const round = { vips: both, left: Math.max(left, s.round?.left ?? 0), sent: 0, startedAtMs: nowMs, nextAtMs: nowMs };
  const refreshAtMs = c.refreshMs > 0 ? nowMs + c.refreshMs : Number.POSITIVE_INFINITY;
  return sendRound(c, { ...s, round, refreshAtMs }, nowMs);
}

/** When the `i`th of many is asked: as many frames at once as an announcement sends, no more. */
const questionAtMs = (c: AnnouncerConfig, i: number, nowMs: number): number =>
  nowMs + Math.floor((i * c.neighbours.length) / Math.max(1, c.framesAtOnce));

function verify(c: AnnouncerConfig, s: AnnouncerState, vips: readonly Ipv4[], nowMs: number): AnnouncerStep {
  if (c.verifyWithinMs <= 0) return { state: s, effects: [] };
  const pending = new Map(s.pending);
  const fresh = vips.filter((vip) => s.held.has(vip) && !pending.has(vip));
  if (c.neighbours.length === 0) {
    for (const vip of fresh)
      pending.set(vip, { sinceMs: nowMs, dueAtMs: nowMs + trafficWithinMs, asked: true, attempts: 1 });
    return { state: { ...s, pending }, effects: [] };
  }
  for (const [i, vip] of fresh.entries()) {
    const dueAtMs = questionAtMs(c, i, nowMs);
    pending.set(vip, { sinceMs: dueAtMs, dueAtMs, asked: false, attempts: Math.max(1, c.verifyAttempts) });
  }
  return ask(c, { ...s, pending }, nowMs);
}

/** Sends the questions that are due. */
function ask(c: AnnouncerConfig, s: AnnouncerState, nowMs: number): AnnouncerStep {
  const pending = new Map(s.pending);
  const effects: AnnouncerEffect[] = [];
  for (const [vip, p] of s.pending) {
    if (p.asked || nowMs < p.dueAtMs) continue;
    pending.set(vip, { ...p, asked: true, dueAtMs: nowMs + c.verifyWithinMs });
    for (const neighbour of c.neighbours) effects.push({ kind: "askNeighbour", vip, neighbour });
  }
  return { state: { ...s, pending }, effects };
}

/** Nobody answered in time: once more, or say that it is not known who holds the VIP in the neighbours' eyes. */
function overdue(c: AnnouncerConfig, s: AnnouncerState, nowMs: number): AnnouncerStep {
  if (s.pending.size === 0) return { state: s, effects: [] };
  const pending = new Map(s.pending);
  const effects: AnnouncerEffect[] = [];
  const again: Ipv4[] = [];
  for (const [vip, p] of s.pending) {
    if (!p.asked || nowMs < p.dueAtMs) continue;
    if (p.attempts > 1) {
      const dueAtMs = questionAtMs(c, again.length, nowMs);
      pending.set(vip, { ...p, attempts: p.attempts - 1, asked: false, dueAtMs });
      again.push(vip);
      continue;
    }
    pending.delete(vip);
    if (c.neighbours.length === 0) continue;
    const names = c.neighbours.slice(0, 4).map(formatIpv4).join(", ");
    const reason = `${names} gave no answer for ${formatIpv4(vip)} in ${Math.round(nowMs - p.sinceMs)} ms`;
    effects.push({ kind: "unverified", vip, reason });
  }
  const round = begin(c, { ...s, pending }, again, 1, nowMs);
  const asked = ask(c, round.state, nowMs);
  return { state: asked.state, effects: [...effects, ...round.effects, ...asked.effects] };
}

/** To a claim by VRRP: limited in rate like the answer to one by ARP, and never none. */
function defend(c: AnnouncerConfig, s: AnnouncerState, vips: readonly Ipv4[], nowMs: number): AnnouncerStep {
  const { defence } = s;
  const quietMs = nowMs - (defence?.claimedAtMs ?? Number.NEGATIVE_INFINITY);
  const isFirst = defence === undefined || quietMs >= defendIntervalMs || quietMs < 0; // the clock went back
  if (isFirst) return answer(c, s, { vips, waitMs: defendFirstMs, claimedAtMs: nowMs }, nowMs);
  const owed = [...new Set([...defence.owed, ...vips])];
  return owing(c, { ...s, defence: { ...defence, owed, claimedAtMs: nowMs } }, nowMs);
}
/** What is owed, when its time has come. */
function owing(c: AnnouncerConfig, s: AnnouncerState, nowMs: number): AnnouncerStep {
  const { defence } = s;
  if (defence === undefined || defence.owed.length === 0 || nowMs < defence.againAtMs) return { state: s, effects: [] };
  const { owed: vips, claimedAtMs } = defence;
  return answer(c, s, { vips, waitMs: Math.min(2 * defence.waitMs, defendIntervalMs), claimedAtMs }, nowMs);
}
function answer(
  c: AnnouncerConfig,
  s: AnnouncerState,
  { vips, waitMs, claimedAtMs }: Pick<Defence, "waitMs" | "claimedAtMs"> & { readonly vips: readonly Ipv4[] },
  nowMs: number,
): AnnouncerStep {
  const held = vips.filter((vip) => s.held.has(vip));
  const defence: Defence = { waitMs, claimedAtMs, againAtMs: nowMs + waitMs, owed: [] };
  const said = begin(c, { ...s, defence }, held, Math.max(1, c.count), nowMs);
  const asked = verify(c, said.state, held, nowMs);
  return { state: asked.state, effects: [...said.effects, ...asked.effects] };
}

function tick(c: AnnouncerConfig, s: AnnouncerState, nowMs: number): AnnouncerStep {
  const answered = owing(c, s, nowMs);
  const due = overdue(c, answered.state, nowMs);
  const refresh = nowMs >= due.state.refreshAtMs && due.state.held.size > 0;
  const begun = refresh ? begin(c, due.state, [...due.state.held], 1, nowMs) : sendRound(c, due.state, nowMs);
  return { state: begun.state, effects: [...answered.effects, ...due.effects, ...begun.effects] };
}

function confirmed(s: AnnouncerState, vip: Ipv4, how: "answer" | "traffic", nowMs: number): AnnouncerStep {
  const p = s.pending.get(vip);
  if (p === undefined) return { state: s, effects: [] };
  const pending = new Map(s.pending);
  pending.delete(vip);
  return { state: { ...s, pending }, effects: [{ kind: "verified", vip, how, afterMs: nowMs - p.sinceMs }] };
}

const conflictsNow = (s: AnnouncerState, nowMs: number): [string, Conflict][] =>
  [...s.conflicts].filter(([, { seenAtMs }]) => nowMs - seenAtMs < conflictOverMs);
/** How many claims to VIPs that are held here were heard lately. */
export const conflictCount = (s: AnnouncerState, nowMs: number): number => conflictsNow(s, nowMs).length;

/** What a packet whose sender address is a held VIP and whose MAC is another's says. */
function claimOf(arp: Arp): "reply" | "announcement" | "sender" {
  if (arp.senderIp === arp.targetIp) return "announcement";
  return arp.operation === ARP_REPLY ? "reply" : "sender";
}
const claims = {
  reply: "answers for",
  announcement: "announces",
  sender: "asks in the name of",
} as const;

/** RFC 5227 section 2.4: a sender address that is ours, from a MAC that is not. Told at once, then counted. */
function conflict(c: AnnouncerConfig, s: AnnouncerState, arp: Arp, nowMs: number): AnnouncerStep {
  const vip = arp.senderIp;
  const key = `${vip} ${arp.senderMac}`;
  const conflicts = new Map(conflictsNow(s, nowMs));
  const before = conflicts.get(key);
  const seen = (before?.seen ?? 0) + 1;
  const isNews = before === undefined || nowMs - before.toldAtMs >= conflictAgainMs;
  if (before === undefined && conflicts.size >= conflictLimit) return { state: s, effects: [] };
  const defend = before === undefined || nowMs - before.defendedAtMs >= defendIntervalMs;
  conflicts.set(key, {
    toldAtMs: isNews ? nowMs : before.toldAtMs,
    defendedAtMs: defend ? nowMs : before.defendedAtMs,
    seenAtMs: nowMs,
    seen,
  });
  const how = claimOf(arp);
  const reason = `${arp.senderMac} ${claims[how]} ${formatIpv4(vip)}, which this host (${c.mac}) holds`;
  const told: AnnouncerEffect[] = isNews ? [{ kind: "conflict", vip, mac: arp.senderMac, how, seen, reason }] : [];
  const state = { ...s, conflicts };
  const anyRunning = s.round?.vips.includes(vip) === true;
  if (!defend || anyRunning) return { state, effects: told };
  const defence = begin(c, state, [vip], 1, nowMs);
  return { state: defence.state, effects: [...told, ...defence.effects] };
}

function heard(c: AnnouncerConfig, s: AnnouncerState, arp: Arp, nowMs: number): AnnouncerStep {
  if (arp.senderMac === c.mac) return { state: s, effects: [] };
  if (s.held.has(arp.senderIp) && (arp.operation === ARP_REQUEST || arp.operation === ARP_REPLY))
    return conflict(c, s, arp, nowMs);
  // The neighbour's answer to our question, sent to the MAC that it knows for the VIP: ours.
  const isAnswer = arp.operation === ARP_REPLY && arp.targetMac === c.mac && c.neighbours.includes(arp.senderIp);
  return isAnswer ? confirmed(s, arp.targetIp, "answer", nowMs) : { state: s, effects: [] };
}

function withdraw(s: AnnouncerState, vips: readonly Ipv4[]): AnnouncerStep {
  const gone = new Set(vips);
  const held = new Set([...s.held].filter((vip) => !gone.has(vip)));
  const pending = new Map([...s.pending].filter(([vip]) => !gone.has(vip)));
  const conflicts = new Map([...s.conflicts].filter(([key]) => !gone.has(Number(key.split(" ")[0]) as Ipv4)));
  const left = s.round?.vips.filter((vip) => !gone.has(vip)) ?? [];
  // A round in its middle begins again: which frames were sent is no longer where `sent` says.
  const round = s.round === undefined || left.length === 0 ? undefined : { ...s.round, vips: left, sent: 0 };
  const refreshAtMs = held.size === 0 ? Number.POSITIVE_INFINITY : s.refreshAtMs;
  const defence = held.size === 0 ? undefined : s.defence;
  return { state: { held, pending, conflicts, round, refreshAtMs, defence }, effects: [] };
}

export function stepAnnouncer(c: AnnouncerConfig, s: AnnouncerState, e: AnnouncerEvent, nowMs: number): AnnouncerStep {
  switch (e.kind) {
    case "announce":
      return begin(c, { ...s, held: new Set([...s.held, ...e.vips]) }, e.vips, Math.max(1, c.count), nowMs);
    case "verify":
      return verify(c, s, e.vips, nowMs);
    case "withdraw":
      return withdraw(s, e.vips);
    case "defend":
      return defend(c, s, e.vips, nowMs);
    case "arp":
      return heard(c, s, e.arp, nowMs);
    case "traffic":
      return confirmed(s, e.vip, "traffic", nowMs);
    case "tick":
      return tick(c, s, nowMs);
  }
}
