import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";

/**
 * The ways to ask. `own`: a broadcast with an address of the asker's as sender. `probe`: a broadcast with sender
 * 0.0.0.0, which asks no rp_filter and teaches nobody anything (A-2.6-10). `unicast`: a frame to one MAC only, which
 * answers even where it hides from broadcasts (A-2.2h-04).
 */
export const questionKinds = ["own", "probe", "unicast"] as const;
export type QuestionKind = (typeof questionKinds)[number];

/** What one MAC was heard to say about one VIP. Times are microseconds; latencies count from the last question. */
export interface Claim {
  readonly mac: Mac;
  /** Answers to our questions by kind, duplicates left out. */
  readonly answers: Readonly<Record<QuestionKind, number>>;
  /** Broadcast questions to which this MAC's answer came first. */
  readonly firstAnswers: number;
  /** Second and later answers to one question. */
  readonly duplicates: number;
  readonly latencyUs?: {
    readonly first: number;
    readonly last: number;
    readonly shortest: number;
    readonly longest: number;
  };
  /** Answers to other askers. */
  readonly overheard: number;
  readonly gratuitous: number;
  /** Requests for other addresses with the VIP as sender, which teach every listener this MAC. */
  readonly leaks: number;
  /** What those requests asked for; the first eight. */
  readonly leakedFor: readonly Ipv4[];
  /** Sources of the frames that differ from the MAC inside: the machine that really sent them. The first four. */
  readonly sentBy: readonly Mac[];
}

export type Verdict = "one-owner" | "nobody" | "race" | "wrong-owner";

export interface OwnerChange {
  /** On the clock of the received frames. */
  readonly atUs: number;
  readonly from: Mac;
  readonly to: Mac;
}

/** What is worth a sentence beside the verdict. `bad` ones spoil "one owner". */
export type Finding =
  | {
      readonly kind: "leak";
      readonly bad: boolean;
      readonly mac: Mac;
      readonly count: number;
      readonly askedFor: readonly Ipv4[];
    }
  | { readonly kind: "gratuitous"; readonly bad: boolean; readonly mac: Mac; readonly count: number }
  | { readonly kind: "overheard"; readonly bad: boolean; readonly mac: Mac; readonly count: number }
  | { readonly kind: "unicast-only"; readonly bad: true; readonly mac: Mac }
  /** Answers one kind of broadcast question, though both were asked at least twice or never the other way round. */
  | { readonly kind: "probes-only"; readonly bad: false; readonly mac: Mac }
  | { readonly kind: "whole-subnet"; readonly bad: true; readonly mac: Mac; readonly subnet: Prefix }
  | { readonly kind: "moved"; readonly bad: false; readonly changes: readonly OwnerChange[] }
  | { readonly kind: "held-here"; readonly bad: false; readonly interface: string }
  | { readonly kind: "more-claimants"; readonly bad: true; readonly answers: number };

export interface VipReport {
  readonly vip: Ipv4;
  readonly verdict: Verdict;
  /** Neither a finding that spoils it nor another verdict than one owner. */
  readonly healthy: boolean;
  readonly asked: Readonly<Record<QuestionKind, number>>;
  /** Broadcast questions that got an answer. */
  readonly answered: number;
  /** Broadcast questions that got answers from several MACs. */
  readonly together: number;
  /** MACs that answered broadcasts, most first answers first. */
  readonly owners: readonly Claim[];
  /** Every MAC heard, owners among them. */
  readonly claims: readonly Claim[];
  readonly findings: readonly Finding[];
}

export interface DecoyReport {
  readonly subnet: Prefix;
  readonly asked: readonly Ipv4[];
  readonly answers: readonly { readonly address: Ipv4; readonly macs: readonly Mac[] }[];
  /** MACs that answered for every one of at least two decoys: they answer for the whole subnet. */
  readonly wholeSubnet: readonly Mac[];
}

export interface FrameCounts {
  /** All that the filter let through. */
  readonly received: number;
  /** Well-formed ARP about other addresses. */
  readonly other: number;
  /** ARP of another VLAN. */
  readonly tagged: number;
  /** By fault code, "arp/short". */
  readonly malformed: Readonly<Record<string, number>>;
}

export interface AskingReport {
  readonly vips: readonly VipReport[];
  readonly decoys: readonly DecoyReport[];
  readonly frames: FrameCounts;
  readonly questions: number;
}

/** What the judge needs of one VIP. */
export interface Evidence {
  readonly vip: Ipv4;
  readonly asked: Readonly<Record<QuestionKind, number>>;
  readonly answered: number;
  readonly together: number;
  readonly claims: readonly Claim[];
  /** Answers of MACs beyond those that are kept. */
  readonly unlisted: number;
  readonly changes: readonly OwnerChange[];
  /** Asked over a long time, in which a VIP may move: former owners do not make a race. */
  readonly mayMove: boolean;
  readonly heldHere?: string;
  /** Who answers for all of the VIP's subnet. */
  readonly wholeSubnet: readonly { readonly mac: Mac; readonly subnet: Prefix }[];
}

const broadcasts = (claim: Claim): number => claim.answers.own + claim.answers.probe;
const byPrecedence = (a: Claim, b: Claim): number =>
  b.firstAnswers - a.firstAnswers || broadcasts(b) - broadcasts(a) || (a.mac < b.mac ? -1 : 1);

function findingsOf(e: Evidence, owners: readonly Claim[]): Finding[] {
  const findings: Finding[] = [];
  const owns = new Set(owners.map((o) => o.mac));
  for (const claim of e.claims) {
    const { mac, answers } = claim;
    const bad = !owns.has(mac);
    if (claim.leaks > 0) findings.push({ kind: "leak", bad, mac, count: claim.leaks, askedFor: claim.leakedFor });
    if (claim.gratuitous > 0) findings.push({ kind: "gratuitous", bad, mac, count: claim.gratuitous });
    if (claim.overheard > 0) findings.push({ kind: "overheard", bad, mac, count: claim.overheard });
    if (answers.unicast > 0 && bad) findings.push({ kind: "unicast-only", bad: true, mac });
    if (answers.own === 0 && answers.probe > 0 && e.asked.own > 1)
      findings.push({ kind: "probes-only", bad: false, mac });
  }
  for (const { mac, subnet } of e.wholeSubnet)
    if (owns.has(mac)) findings.push({ kind: "whole-subnet", bad: true, mac, subnet });
  if (e.changes.length > 0) findings.push({ kind: "moved", bad: false, changes: e.changes });
  if (e.heldHere !== undefined) findings.push({ kind: "held-here", bad: false, interface: e.heldHere });
  if (e.unlisted > 0) findings.push({ kind: "more-claimants", bad: true, answers: e.unlisted });
  return findings;
}

function verdictOf(owners: readonly Claim[], expected: ReadonlySet<Mac> | undefined): Verdict {
  const [first, second] = owners;
  if (first === undefined) return "nobody";
  if (second !== undefined) return "race";
  return expected === undefined || expected.has(first.mac) ? "one-owner" : "wrong-owner";
}

/** The wire's word on one VIP. Only answers to broadcasts make an owner: they are what clients hear. */
export function judge(e: Evidence, expected: ReadonlySet<Mac> | undefined): VipReport {
  const answerers = e.claims.filter((c) => broadcasts(c) > 0).sort(byPrecedence);
  const findings = findingsOf(e, answerers);
  const last = e.changes.at(-1)?.to;
  const moved = e.mayMove && e.together === 0 && last !== undefined;
  const owners = moved ? answerers.filter((c) => c.mac === last) : answerers;
  const verdict = verdictOf(owners, expected);
  return {
    vip: e.vip,
    verdict,
    healthy: verdict === "one-owner" && findings.every((f) => !f.bad),
    asked: e.asked,
    answered: e.answered,
    together: e.together,
    owners,
    claims: [...e.claims].sort(byPrecedence),
    findings,
  };
}
