/** What who-has tells people: sentences, tables, and the JSON document. Pure: reports in, text out. */
import { formatIpv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import { formatPrefix } from "../../base/prefix.ts";
import { unreachable } from "../../base/unreachable.ts";
import type { LinkReport, WhoHasReport } from "../../host/whoHas.ts";
import type { AskingEvent } from "../../machine/whoHas.ts";
import type { Claim, Finding, Verdict, VipReport } from "../../machine/whoHasReport.ts";
import type { Paint } from "../colour.ts";
import type { NameBook } from "./names.ts";
import { vendorOf } from "./vendors.ts";

export interface Telling {
  readonly paint: Paint;
  readonly names: NameBook;
}

export const verdictWords: Record<Verdict, string> = {
  "one-owner": "one owner",
  nobody: "nobody answers",
  race: "RACE",
  "wrong-owner": "WRONG OWNER",
};

const summaryWords: Record<Verdict, string> = {
  "one-owner": "with one owner",
  nobody: "that nobody answers for",
  race: "in a race",
  "wrong-owner": "with the wrong owner",
};

const times = (count: number): string => (count === 1 ? "once" : `${count} times`);
const ms = (us: number): string => (us / 1000).toFixed(us < 10_000 ? 2 : 0);
const sum = (claim: Claim): number => claim.answers.own + claim.answers.probe;
const broadcastsAsked = (v: VipReport): number => v.asked.own + v.asked.probe;
const share = (claim: Claim, v: VipReport): number => (v.answered === 0 ? 0 : claim.firstAnswers / v.answered);

/** "web1 (02:..)" where the name is known. */
export const called = (mac: Mac, { names }: Telling): string => {
  const name = names.nameOf(mac);
  return name === undefined ? mac : `${name} (${mac})`;
};

/** One sentence a finding: what was seen, what it does, what to do. */
export function findingText(finding: Finding, tell: Telling): string {
  switch (finding.kind) {
    case "leak": {
      const asked = finding.askedFor.map(formatIpv4).join(", ");
      const seen = `${called(finding.mac, tell)} asked for ${asked} with the VIP as its sender, ${times(finding.count)}`;
      return finding.bad
        ? `${seen}: whoever heard it now sends the VIP's packets there. On that host set arp_announce to 2`
        : `${seen}: it is the owner, so no cache was spoiled`;
    }
    case "gratuitous":
      return finding.bad
        ? `${called(finding.mac, tell)} announced the VIP ${times(finding.count)} though it does not answer for it`
        : `${called(finding.mac, tell)} announced the VIP ${times(finding.count)} (gratuitous ARP)`;
    case "overheard":
      return `${called(finding.mac, tell)} answered others about the VIP, ${times(finding.count)}`;
    case "unicast-only":
      return `${called(finding.mac, tell)} is silent to broadcasts but answers when asked directly: whoever knows that MAC keeps it. Clear the neighbour caches (router first)`;
    case "probes-only":
      return `${called(finding.mac, tell)} answers probes only: rp_filter, arp_filter or a wrong mask there refuses this host's address`;
    case "whole-subnet":
      return `${called(finding.mac, tell)} answers for unused addresses of ${formatPrefix(finding.subnet)} too, so its answer says nothing about the VIP. Look there for a VIP with the LAN's mask on lo (it must be /32) or for proxy ARP`;
    case "moved":
      return `the owner changed ${times(finding.changes.length)} while we asked: ${finding.changes
        .slice(-3)
        .map((c) => `${called(c.from, tell)} -> ${called(c.to, tell)}`)
        .join(", ")}`;
    case "held-here":
      return `this host holds the VIP too (on ${finding.interface}), and no host hears its own answer: ask from another machine for the whole truth`;
    case "more-claimants":
      return `more MACs answered than are listed (${finding.answers} answers): somebody floods, or replies are forged`;
    default:
      return unreachable(finding);
  }
}

function verdictLine(v: VipReport, tell: Telling): string {
  const { paint } = tell;
  const words = verdictWords[v.verdict];
  if (v.healthy) return paint.green(words);
  if (v.verdict === "nobody") return paint.yellow(words);
  if (v.verdict === "one-owner") return paint.red("one owner answers, but see below");
  if (v.verdict === "race")
    return `${paint.red(words)}: ${v.owners.length} machines answer, ${v.together} of ${broadcastsAsked(v)} questions had several answers`;
  return paint.red(words);
}

function claimLine(claim: Claim, v: VipReport, tell: Telling): string {
  const name = tell.names.nameOf(claim.mac);
  const who = [claim.mac, name ?? vendorOf(claim.mac)].join("  ").padEnd(40);
  const answers = `answered ${sum(claim)} of ${broadcastsAsked(v)}`;
  const first = `first ${Math.round(share(claim, v) * 100)} %`.padStart(11);
  const latency = claim.latencyUs && `${ms(claim.latencyUs.shortest)} to ${ms(claim.latencyUs.longest)} ms`;
  const more = [
    claim.duplicates > 0 ? `${claim.duplicates} duplicates` : "",
    claim.sentBy.length > 0 ? `in frames from ${claim.sentBy.map((m) => called(m, tell)).join(", ")}` : "",
  ].filter((t) => t !== "");
  return `  ${[who, answers, first, latency ?? "", ...more].join("  ").trimEnd()}\n`;
}

/** Several lines for one VIP. */
export function vipText(v: VipReport, link: LinkReport, tell: Telling): string {
  const { own, probe, unicast } = v.asked;
  const asked = [
    own > 0 ? times(own) : "",
    probe > 0 ? `${times(probe)} as a probe` : "",
    unicast > 0 ? `${times(unicast)} by unicast` : "",
  ].filter((t) => t !== "");
  let text = `${tell.paint.bold(formatIpv4(v.vip))} on ${link.interface}, asked ${asked.join(" and ") || "never"}: ${verdictLine(v, tell)}\n`;
  for (const claim of v.owners) text += claimLine(claim, v, tell);
  for (const finding of v.findings) {
    const line = findingText(finding, tell);
    text += `  ${finding.bad ? tell.paint.red("!") : "-"} ${line}\n`;
  }
  return text;
}

/** One line for one VIP, for long lists; what is not healthy gets its findings too. */
export function vipLine(v: VipReport, tell: Telling): string {
  const owners = v.owners.map((o) => `${tell.names.nameOf(o.mac) ?? o.mac} ${Math.round(share(o, v) * 100)} %`);
  const word = verdictWords[v.verdict].padEnd(15);
  const painted = v.healthy
    ? tell.paint.green(word)
    : v.verdict === "nobody"
      ? tell.paint.yellow(word)
      : tell.paint.red(word);
  let text = `${formatIpv4(v.vip).padEnd(15)}  ${painted} ${owners.join(", ")}`.trimEnd();
  // Who answers for a whole subnet is told once, under the list.
  for (const finding of v.findings)
    if (finding.bad && finding.kind !== "whole-subnet")
      text += `\n  ${tell.paint.red("!")} ${findingText(finding, tell)}`;
  return `${text}\n`;
}

/** `told` are MACs whose answering for everything stands with a VIP already. */
function decoyText(link: LinkReport, told: ReadonlySet<Mac>, tell: Telling): string {
  let text = "";
  for (const { subnet, asked, answers, wholeSubnet } of link.decoys) {
    for (const mac of wholeSubnet.filter((m) => !told.has(m)))
      text += `${tell.paint.red("!")} ${called(mac, tell)} answers for unused addresses (${asked.map(formatIpv4).join(", ")}): a VIP set with the mask of ${formatPrefix(subnet)} on lo, or proxy ARP\n`;
    if (wholeSubnet.length > 0) continue;
    for (const { address, macs } of answers)
      text += `- decoy ${formatIpv4(address)} is answered by ${macs.map((m) => called(m, tell)).join(", ")}: the address is in use, or that host answers for more than its own\n`;
  }
  return text;
}

function frameText({ frames, kernel }: LinkReport, tell: Telling): string {
  let text = "";
  const malformed = Object.entries(frames.malformed).map(([code, count]) => `${count} ${code}`);
  if (malformed.length > 0) text += `- malformed frames ignored: ${malformed.join(", ")}\n`;
  if (frames.tagged > 0) text += `- frames of other VLANs ignored: ${frames.tagged}\n`;
  if (kernel.dropped > 0)
    text += `${tell.paint.red("!")} the kernel lost ${kernel.dropped} of ${kernel.received} frames: "nobody" may be wrong; ask fewer at once, or with --rate\n`;
  return text;
}

export function countVerdicts(report: WhoHasReport): Record<Verdict, number> & { readonly spoiled: number } {
  const counts = { "one-owner": 0, nobody: 0, race: 0, "wrong-owner": 0, spoiled: 0 };
  for (const link of report.links)
    for (const v of link.vips) {
      counts[v.verdict]++;
      if (v.verdict === "one-owner" && !v.healthy) counts.spoiled++;
    }
  return counts;
}

/** More VIPs than this get a line each. */
const MOST_IN_FULL = 8;

export function reportText(report: WhoHasReport, tell: Telling): string {
  const all = report.links.flatMap((link) => link.vips.map((v) => [v, link] as const));
  let text = report.notes.map((n) => `note: ${n}\n`).join("");
  for (const [v, link] of all) text += all.length > MOST_IN_FULL ? vipLine(v, tell) : vipText(v, link, tell);
  const inFull = all.length > MOST_IN_FULL ? [] : all.flatMap(([v]) => v.findings);
  const told = new Set(inFull.flatMap((f) => (f.kind === "whole-subnet" ? [f.mac] : [])));
  for (const link of report.links) text += decoyText(link, told, tell) + frameText(link, tell);
  if (all.length > 1) {
    const counts = countVerdicts(report);
    const parts = (Object.keys(verdictWords) as Verdict[])
      .filter((v) => counts[v] > 0)
      .map((v) => `${counts[v]} ${summaryWords[v]}`);
    if (counts.spoiled > 0) parts.push(`${counts.spoiled} of the owners doubtful`);
    text += `${all.length} VIPs: ${parts.join(", ")}\n`;
  }
  return text;
}

const clock = (atUs: number): string => new Date(atUs / 1000).toISOString().slice(11, 23);

/** One line of live news. */
export function eventText(event: AskingEvent, tell: Telling): string {
  const { paint } = tell;
  const vip = formatIpv4(event.vip);
  const head = `${clock(event.atUs)}  ${vip}  `;
  switch (event.kind) {
    case "first-answer":
      return `${head}is answered by ${called(event.mac, tell)}`;
    case "owner-changed":
      return `${head}${paint.yellow("owner changed")}: ${called(event.from, tell)} -> ${called(event.to, tell)}`;
    case "race":
      return `${head}${paint.red("RACE")}: ${event.macs.map((m) => called(m, tell)).join(", ")}`;
    case "silent":
      return `${head}${paint.red("nobody answers")} any more; last was ${called(event.last, tell)}`;
    case "back":
      return `${head}${paint.green("is answered again")} by ${called(event.mac, tell)}`;
    case "gratuitous":
      return `${head}announced by ${called(event.mac, tell)} (gratuitous ARP)`;
    case "leak":
      return `${head}${paint.red("leak")}: ${called(event.mac, tell)} asked for ${formatIpv4(event.askedFor)} with the VIP as its sender`;
    default:
      return unreachable(event);
  }
}

export const eventJson = (event: AskingEvent): object => ({
  event: event.kind,
  at: new Date(event.atUs / 1000).toISOString(),
  vip: formatIpv4(event.vip),
  ...("mac" in event && { mac: event.mac }),
  ...("from" in event && { from: event.from, to: event.to }),
  ...("macs" in event && { macs: event.macs }),
  ...("last" in event && { last: event.last }),
  ...("askedFor" in event && { askedFor: formatIpv4(event.askedFor) }),
});

const inMs = (us: number): number => Math.round(us) / 1000;

const claimJson = (claim: Claim, v: VipReport, { names }: Telling): object => ({
  mac: claim.mac,
  name: names.nameOf(claim.mac) ?? null,
  vendor: vendorOf(claim.mac),
  answers: claim.answers,
  firstAnswers: claim.firstAnswers,
  firstAnswerShare: Math.round(share(claim, v) * 1000) / 1000,
  duplicates: claim.duplicates,
  latencyMs:
    claim.latencyUs === undefined
      ? null
      : Object.fromEntries(Object.entries(claim.latencyUs).map(([key, us]) => [key, inMs(us)])),
  overheard: claim.overheard,
  gratuitous: claim.gratuitous,
  leaks: claim.leaks,
  leakedFor: claim.leakedFor.map(formatIpv4),
  sentBy: claim.sentBy,
});

/** The document of --json; its fields are described in docs/who-has.md and stay. */
export function reportJson(report: WhoHasReport, exitStatus: number, tell: Telling): object {
  return {
    format: "vipward/who-has/1",
    exitStatus,
    interrupted: report.interrupted,
    notes: report.notes,
    vips: report.links.flatMap((link) =>
      link.vips.map((v) => {
        const owns = new Set(v.owners.map((o) => o.mac));
        return {
          vip: formatIpv4(v.vip),
          interface: link.interface,
          verdict: v.verdict,
          healthy: v.healthy,
          asked: v.asked,
          answered: v.answered,
          answeredBySeveral: v.together,
          owners: v.owners.map((c) => claimJson(c, v, tell)),
          others: v.claims.filter((c) => !owns.has(c.mac)).map((c) => claimJson(c, v, tell)),
          findings: v.findings.map((f) => ({
            kind: f.kind,
            bad: f.bad,
            mac: "mac" in f ? f.mac : null,
            text: findingText(f, tell),
          })),
        };
      }),
    ),
    interfaces: report.links.map((link) => ({
      interface: link.interface,
      mac: link.mac,
      questions: link.questions,
      sendingMs: inMs(link.sending.durationUs),
      frames: { ...link.frames, lost: link.kernel.dropped },
      decoys: link.decoys.map((d) => ({
        subnet: formatPrefix(d.subnet),
        asked: d.asked.map(formatIpv4),
        answers: d.answers.map((a) => ({ address: formatIpv4(a.address), macs: a.macs })),
        wholeSubnet: d.wholeSubnet,
      })),
    })),
  };
}
