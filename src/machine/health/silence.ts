/**
 * Who answers for the VIPs? The director asks who-has for each of them, regularly. It holds them itself, and its own
 * kernel does not hear its own broadcast: so any answer comes from a machine that should be silent, and its MAC names
 * it. A VIP as sender of anybody else's ARP packet is the other half (law 3, no leak).
 */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import { ARP_REPLY, type Arp } from "../../wire/arp.ts";

export interface SilenceConfig {
  readonly vips: readonly Ipv4[];
  readonly intervalMs: number;
  /** Who may answer: the active director, also its virtual router MAC; our own at least. */
  readonly owners: ReadonlySet<Mac>;
  /** Real servers by MAC, as the neighbour cache has them. */
  readonly names: ReadonlyMap<Mac, string>;
}
export type SilenceEvent = { readonly kind: "tick" } | { readonly kind: "arp"; readonly arp: Arp };
export type SilenceEffect =
  /** A broadcast who-has for the VIP, in the name of the director's own address: never of the VIP. */
  | { readonly kind: "ask"; readonly vip: Ipv4 }
  | { readonly kind: "guilty"; readonly found: Guilty; readonly reason: string }
  /** Not heard for three rounds. */
  | { readonly kind: "silentAgain"; readonly found: Guilty };

export interface Guilty {
  readonly vip: Ipv4;
  readonly mac: Mac;
  /** undefined: a machine that the cluster file does not name. */
  readonly name: string | undefined;
  readonly how: "answers" | "leaks";
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly seen: number;
}
export interface SilenceState {
  readonly nextAtMs: number;
  /** The VIP that is asked for next. */
  readonly cursor: number;
  readonly guilty: ReadonlyMap<string, Guilty>;
}
export interface SilenceStep {
  readonly state: SilenceState;
  readonly effects: readonly SilenceEffect[];
}

export const initialSilence = (nowMs: number): SilenceState => ({ nextAtMs: nowMs, cursor: 0, guilty: new Map() });
const guiltyLimit = 1024;
const roundsUntilForgotten = 3;

/** One VIP after another over the interval: 4,096 VIPs are asked for at 4,096 different times. */
function tick(c: SilenceConfig, s: SilenceState, nowMs: number): SilenceStep {
  if (nowMs < s.nextAtMs || c.vips.length === 0) return { state: s, effects: [] };
  const stepMs = c.intervalMs / c.vips.length;
  // After a sleep one question, not all that were missed.
  const missed = nowMs - s.nextAtMs > c.intervalMs;
  const due = missed ? 1 : 1 + Math.floor((nowMs - s.nextAtMs) / stepMs);
  const effects: SilenceEffect[] = [];
  let cursor = s.cursor;
  for (let i = 0; i < due; i++) {
    cursor %= c.vips.length;
    effects.push({ kind: "ask", vip: c.vips[cursor] as Ipv4 });
    cursor++;
  }
  const guilty = new Map(s.guilty);
  for (const [key, found] of s.guilty)
    if (nowMs - found.lastAtMs > roundsUntilForgotten * c.intervalMs || !c.vips.includes(found.vip)) {
      guilty.delete(key);
      effects.push({ kind: "silentAgain", found });
    }
  const nextAtMs = missed ? nowMs + stepMs : s.nextAtMs + due * stepMs;
  return { state: { nextAtMs, cursor, guilty }, effects };
}

function heard(c: SilenceConfig, s: SilenceState, arp: Arp, nowMs: number): SilenceStep {
  if (c.owners.has(arp.senderMac) || !c.vips.includes(arp.senderIp)) return { state: s, effects: [] };
  const key = `${arp.senderIp} ${arp.senderMac}`;
  const before = s.guilty.get(key);
  if (before === undefined && s.guilty.size >= guiltyLimit) return { state: s, effects: [] };
  const answers = arp.operation === ARP_REPLY && arp.targetIp !== arp.senderIp;
  const found: Guilty = {
    vip: arp.senderIp,
    mac: arp.senderMac,
    name: c.names.get(arp.senderMac),
    how: answers || before?.how === "answers" ? "answers" : "leaks",
    firstAtMs: before?.firstAtMs ?? nowMs,
    lastAtMs: nowMs,
    seen: (before?.seen ?? 0) + 1,
  };
  const guilty = new Map(s.guilty).set(key, found);
  // Its name may come later than its first answer: only then can it be taken out.
  const isNews = before?.how !== found.how || before.name !== found.name;
  if (!isNews) return { state: { ...s, guilty }, effects: [] };
  const who = found.name === undefined ? "a machine that the file does not know" : found.mac;
  const what = found.how === "answers" ? "answers for" : "sends ARP in the name of";
  const reason = `${who} ${what} ${formatIpv4(found.vip)}`;
  return { state: { ...s, guilty }, effects: [{ kind: "guilty", found, reason }] };
}

export const silenceDeadlineMs = (c: Pick<SilenceConfig, "vips">, s: SilenceState): number =>
  c.vips.length === 0 ? Number.POSITIVE_INFINITY : s.nextAtMs;

export const stepSilence = (c: SilenceConfig, s: SilenceState, e: SilenceEvent, nowMs: number): SilenceStep =>
  e.kind === "tick" ? tick(c, s, nowMs) : heard(c, s, e.arp, nowMs);

/** Real servers of the cluster that are not silent now, for the VIPs they answer for. */
export function guiltyNames(s: SilenceState): ReadonlyMap<string, readonly Ipv4[]> {
  const names = new Map<string, Ipv4[]>();
  for (const { name, vip } of s.guilty.values())
    if (name !== undefined) names.set(name, [...(names.get(name) ?? []), vip]);
  return names;
}
