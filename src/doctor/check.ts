import { parseIpv6 } from "../model/ipv6.ts";
import { isLocal } from "../model/localTable.ts";
import { answerNdp } from "../model/ndp.ts";
import type { RuleId } from "../model/rules.ts";
import { acceptances } from "./acceptance.ts";
import { type CheckInput, type Context, makeContext, type Vip } from "./context.ts";
import { findingOf } from "./entry.ts";
import { type Finding, severities } from "./finding.ts";
import { ipText } from "./questions.ts";
import { registry } from "./registry.ts";

/** One thing the model says, with the rule that makes it so. */
export interface Said {
  /** The interface it is about. */
  readonly link: string;
  readonly says: string;
  readonly rule: RuleId;
  readonly because: string;
  /** Not what this host's role asks for. */
  readonly wrong: boolean;
  /** Rests on rules or filters nobody could read: the kernel may do something else. */
  readonly uncertain?: true;
}

/** What the model says of VIPs that it says the same of. */
export interface VipReport {
  readonly vips: readonly string[];
  readonly held: readonly string[];
  readonly expected: "silent and accepting" | "owner or standby" | "nothing";
  readonly answers: readonly Said[];
  readonly announces: readonly Said[];
  readonly accepts: readonly Said[];
}

export interface CheckReport {
  readonly checkVersion: 1;
  readonly hostname?: string;
  readonly kernel: { readonly release: string; readonly generation: string };
  readonly roles: readonly ("real server" | "director")[];
  /** Interfaces on which the questions were asked. */
  readonly lan: readonly string[];
  readonly vips: readonly VipReport[];
  readonly findings: readonly Finding[];
  /** False: parts of the host could not be read (`notes` names them), so that what is missing there was not looked at. */
  readonly complete: boolean;
  /** What limits the answer: facts that could not be read, rules that are unconfirmed. */
  readonly notes: readonly string[];
}

/**
 * Asks the model about every VIP and every entry of the registry about the host. Findings come worst first.
 * `facts` must have passed parseFacts (or come from the reader): text that is no address throws RangeError.
 */
export function checkHost(input: CheckInput): CheckReport {
  const context = makeContext(input);
  const findings = registry
    .flatMap((entry) =>
      entry.detect(context).map((hit) => findingOf(entry, hit, context.host.switches.arpIgnoreAnnounce)),
    )
    .map((f, i) => ({ f, i }))
    .sort((a, b) => severities.indexOf(a.f.severity) - severities.indexOf(b.f.severity) || a.i - b.i)
    .map(({ f }) => f);
  const { facts } = input;
  return {
    checkVersion: 1,
    ...(facts.hostname === undefined ? {} : { hostname: facts.hostname }),
    kernel: { release: facts.kernel.release, generation: facts.kernel.generation },
    roles: [
      ...(input.realServer ? (["real server"] as const) : []),
      ...(input.director ? (["director"] as const) : []),
    ],
    lan: context.lan.map((l) => l.name),
    vips: vipReports(context),
    findings,
    complete: facts.unread.length === 0,
    notes: notesOf(context),
  };
}

function notesOf(context: Context): string[] {
  const { unread } = context.facts;
  const notes = unread.map((u) => `not read: ${u.what}: ${u.why}`);
  if (unread.some((u) => /rules|tables/.test(u.what)))
    notes.push("what those firewall rules drop or rewrite is not in this answer; root can read them");
  if (context.lan.length === 0) notes.push("no interface of this host is up towards a LAN: nobody can ask it anything");
  if (context.host.unconfirmed)
    notes.push("this kernel's ARP patch could not be read in source: what rests on it is an inference");
  const strange = context.facts.filters.reduce((n, c) => n + c.rules.filter((r) => "notUnderstood" in r).length, 0);
  if (strange > 0)
    notes.push(
      `${strange} firewall rule${strange > 1 ? "s" : ""} could not be understood; what passes them is uncertain`,
    );
  return notes;
}

function vipReports(context: Context): VipReport[] {
  const accepted = new Map<Vip, Said[]>();
  for (const a of acceptances(context)) {
    const said = {
      link: a.link.name,
      says: `a client's packet ${a.method === "tun" ? "in IPIP " : ""}is ${a.verdict.kind === "deliver" ? "delivered here" : a.verdict.kind === "forward" ? `forwarded out of ${a.verdict.out}` : "dropped"}`,
      rule: a.verdict.rule,
      because: a.verdict.because,
      wrong: a.verdict.kind !== "deliver",
      ...(a.verdict.notUnderstood ? { uncertain: true as const } : {}),
    };
    accepted.set(a.vip, [...(accepted.get(a.vip) ?? []), said]);
  }
  const groups = new Map<string, VipReport & { vips: string[] }>();
  const add = (vip: string, rest: Omit<VipReport, "vips">): void => {
    const key = JSON.stringify(rest);
    const there = groups.get(key);
    if (there) there.vips.push(vip);
    else groups.set(key, { vips: [vip], ...rest });
  };
  for (const vip of context.vips4) {
    const quiet = context.silentSet.has(vip.ip);
    add(vip.text, {
      held: context.held(vip).map((a) => `${a.link.name}/${a.prefixLength}`),
      expected: quiet ? "silent and accepting" : context.director ? "owner or standby" : "nothing",
      answers: answersOf(context, vip, quiet),
      announces: announcesOf(context, vip, quiet),
      accepts: accepted.get(vip) ?? [],
    });
  }
  for (const vip of context.vips6) {
    const held = (context.facts.addresses6 ?? []).filter((a) => !a.proxy && parseIpv6(a.ip) === vip.ip);
    const mute =
      context.realServer && !(context.director && held.some((a) => context.lan.some((l) => l.name === a.link)));
    add(vip.text, {
      held: held.map((a) => `${a.link}/${a.prefixLength}`),
      expected: mute ? "silent and accepting" : context.director ? "owner or standby" : "nothing",
      answers: context.lan.map((link) => {
        const v = answerNdp(context.host, {
          link: link.index,
          target: vip.ip,
          source: "fe800000000000000000000000005301",
          destination: "solicited-node",
        });
        return {
          link: link.name,
          says: v.kind === "reply" ? "answers a solicitation" : "silent",
          rule: v.rule,
          because: v.because,
          wrong: mute && v.kind === "reply",
        };
      }),
      announces: [],
      accepts: [],
    });
  }
  return [...groups.values()];
}

function answersOf(context: Context, vip: Vip, quiet: boolean): Said[] {
  return context.lan.map((link) => {
    const replies = context.ask.answersOn(link, vip.ip);
    const [first] = replies;
    if (first)
      return {
        link: link.name,
        says: `answers${replies.length > 1 || first.via !== link.name ? ` (${replies.map((r) => r.via).join(", ")})` : ""}`,
        rule: first.rule,
        because: first.because,
        wrong: quiet,
        ...(first.unconfirmed || first.notUnderstood ? { uncertain: true as const } : {}),
      };
    const silence = context.ask.silence(link, vip.ip);
    return {
      link: link.name,
      says: "silent",
      rule: silence.rule,
      because: silence.because,
      wrong: false,
      ...(silence.unconfirmed || silence.notUnderstood ? { uncertain: true as const } : {}),
    };
  });
}

/** Asked only of a host that holds the VIP: whatever else it sends cannot carry it. */
function announcesOf(context: Context, vip: Vip, quiet: boolean): Said[] {
  return context.lan.flatMap((link): Said[] => {
    const nextHop = context.ask.neighbourOn(link);
    if (nextHop === undefined || !isLocal(context.host, vip.ip, link)) return [];
    const verdict = context.ask.announce(link, nextHop, vip.ip);
    return [
      {
        link: link.name,
        says:
          verdict.kind === "none"
            ? "sends no ARP request"
            : `asks for ${ipText(nextHop)} as ${verdict.senderIp === vip.ip ? "the VIP" : ipText(verdict.senderIp)}`,
        rule: verdict.rule,
        because: verdict.because,
        wrong: quiet && verdict.kind === "request" && verdict.senderIp === vip.ip,
        ...(verdict.notUnderstood || (verdict.kind === "request" && verdict.unconfirmed)
          ? { uncertain: true as const }
          : {}),
      },
    ];
  });
}
