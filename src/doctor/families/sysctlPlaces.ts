import type { Context } from "../context.ts";
import { addressEvidence } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import {
  type Answer,
  announceInAll,
  answersText,
  type Cause,
  type Leaks,
  leaksText,
  linksOf,
  problemsOf,
  silenceLines,
  vipsOf,
} from "../problems.ts";
import { rules } from "../questions.ts";
import { list, setConf } from "../text.ts";

/** Settings in the wrong place or with the wrong value: answers and leaks of one cause are one finding. */

const field = "Clients reach now the director, now this real server, though the host looks configured.";

function both(
  cause: Cause,
  say: (
    context: Context,
    answers: readonly Answer[],
    leaks: readonly Leaks[],
    links: readonly string[],
  ) => Omit<Hit, "vips" | "links">,
): (context: Context) => readonly Hit[] {
  return (context) => {
    const problems = problemsOf(context);
    const a = problems.answers.get(cause) ?? [];
    const l = problems.leaks.get(cause) ?? [];
    if (a.length + l.length === 0) return [];
    const links = linksOf([...a, ...l]);
    return [
      {
        vips: vipsOf([...a, ...l]),
        links,
        vipward: "vipward apply",
        rules: rules([...a.map((x) => x.reply), ...l]),
        ...say(context, a, l, links),
      },
    ];
  };
}

const what = (context: Context, a: readonly Answer[], l: readonly Leaks[]): string =>
  [a.length > 0 ? answersText(context, a) : "", l.length > 0 ? leaksText(l) : ""].filter((t) => t !== "").join("; ");

const keys = (links: readonly string[]): string[] =>
  ["all", ...links].flatMap((l) => [`${l}.arp_ignore`, `${l}.arp_announce`]);

export const sysctlPlaces: readonly Entry[] = [
  {
    id: "arp-sysctl-only-in-default",
    title: "the ARP settings are only in conf/default",
    severity: "high",
    roles: ["real server"],
    notice: "It works for interfaces plugged in later, not for those that were there at boot, or the other way round.",
    why: "conf/default is the template for new interfaces. An interface that has an address does not follow it any more.",
    cure: "Write all, or each LAN interface.",
    rules: ["S-ALL-03", "A-2.6-02"],
    detect: both("default-only", (context, a, l, links) => ({
      wrong: `${what(context, a, l)}: the setting is in default only, which ${list(links)} does not follow.`,
      shell: silenceLines(context, links),
      evidence: context.evidence("default.arp_ignore", "default.arp_announce", ...keys(links)),
    })),
  },
  {
    id: "some-lan-nics-forgotten",
    title: "some LAN interfaces were forgotten",
    severity: "high",
    roles: ["real server"],
    notice: "One MAC too many answers for the VIP: that of a second NIC, VLAN, bridge or bond.",
    why: "The setting that counts is that of the interface where a request arrives. It was made for some interfaces by name, and the VIP is answered, or leaked, on the others.",
    cure: "Set every interface that hears the LAN, or all.",
    rules: ["A-2.6-02", "A-2.2-04"],
    detect: both("forgotten", (context, a, l, links) => ({
      wrong: `${what(context, a, l)}; ${list(context.lan.map((x) => x.name).filter((n) => !links.includes(n)))} is right.`,
      shell: silenceLines(context, links),
      evidence: context.evidence(...keys(links)),
    })),
  },
  {
    id: "sysctl-name-with-dot",
    title: "an interface with a dot in its name was missed",
    severity: "medium",
    roles: ["any"],
    notice: "The VLAN interface answers for the VIP though a sysctl line for it exists.",
    why: "In sysctl's dotted names the dot separates folders, so a line for eth0.100 is looked for in conf/eth0/100 and fails, often unseen.",
    cure: "Write the name with slashes: net/ipv4/conf/eth0.100/arp_ignore.",
    rules: ["A-2.6-02"],
    detect: both("dotted", (context, a, l, links) => ({
      wrong: `${what(context, a, l)}; the interfaces without a dot in their name are right.`,
      shell: silenceLines(context, links),
      evidence: context.evidence(...keys(links)),
    })),
  },
  {
    id: "arp-value-above-range",
    title: "a larger number in one place undoes the stricter setting in the other",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: field,
    why: "The larger of all and the interface is in force, and larger is not stricter: arp_ignore 4 to 7, and 9 and above, answer everything; arp_announce above 2 leaks as 0 does.",
    cure: "arp_ignore=1 and arp_announce=2 in both places.",
    rules: ["A-2.6-07", "A-2.6-08", "B-2.6-05"],
    detect: both("value", (context, a, l, links) => ({
      wrong: `${what(context, a, l)}: ${list([
        ...a.map((x) => `arp_ignore in force on ${x.link.name} is ${x.link.conf.arpIgnore}, which means 0`),
        ...l.map((x) => `arp_announce in force on ${x.link.name} is ${x.link.conf.arpAnnounce}, which means 0`),
      ])}.`,
      shell: silenceLines(context, links),
      rules: [
        ...(a.length > 0 ? (["A-2.6-07", "A-2.6-08"] as const) : []),
        ...(l.length > 0 ? (["B-2.6-05"] as const) : []),
      ],
      evidence: context.evidence(...keys(links)),
    })),
  },
  {
    id: "hidden-half-set",
    title: "the hidden flag is set in one of its two places only",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: field,
    why: "hidden counts only where both all.hidden and that of the interface which holds the address are set. The flag belongs to the holder, lo or a dummy, not to the LAN interface.",
    cure: "Set hidden in all and on the interface that holds the VIP; then flush neighbours, since a unicast question is still answered.",
    rules: ["A-2.2h-01", "A-2.2h-04"],
    detect: both("hidden", (context, a, l) => {
      const vips = [...new Set([...a, ...l].map((x) => x.vip))];
      const carriers = [...new Set(vips.flatMap((v) => context.held(v).map((h) => h.link.name)))];
      return {
        wrong: `${what(context, a, l)}: hidden is ${context.sysctl("all.hidden") ?? 0} in all and ${carriers
          .map((c) => `${context.sysctl(`${c}.hidden`) ?? 0} on ${c}`)
          .join(", ")}, and counts only where both are 1.`,
        shell: [setConf("all", "hidden", 1), ...carriers.map((c) => setConf(c, "hidden", 1))],
        rules: ["A-2.2h-01"],
        evidence: [
          ...context.evidence("all.hidden", ...carriers.map((c) => `${c}.hidden`)),
          ...vips.slice(0, 4).flatMap((v) => addressEvidence(context, v.ip)),
        ],
      };
    }),
  },
  {
    id: "arptables-incomplete-or-unsaved",
    title: "the ARP filter covers only a part",
    severity: "high",
    roles: ["real server"],
    notice: "The host is silent when asked and still takes the VIP now and then, or one VIP of several is answered.",
    why: "Two rules are needed for each VIP: one that drops requests for it, one that keeps it out of the host's own requests. Here one is missing for at least one VIP. Whether the rules come back after a reboot facts do not show.",
    cure: "One table with both rules and a set of all VIPs.",
    rules: ["A-2.6-20", "B-2.6-02"],
    detect: both("half-filtered", (context, a, l) => {
      const vips = vipsOf([...a, ...l]);
      const chains = context.facts.filters.flatMap((c, i) => (c.family === "arp" ? [{ c, i }] : []));
      const tool = chains[0]?.c.tool === "arptables" ? "arptables" : "nft";
      return {
        wrong: `${what(context, a, l)}: ARP filter rules are there, but ${list([
          ...(a.length > 0 ? ["none drops the requests"] : []),
          ...(l.length > 0 ? ["none keeps the VIP out of this host's own requests"] : []),
        ])}.`,
        shell: [
          ...(a.length > 0
            ? vips
                .slice(0, 16)
                .map((vip) =>
                  tool === "arptables"
                    ? `arptables -A INPUT -d ${vip} -j DROP`
                    : `nft add rule arp filter input arp daddr ip ${vip} drop`,
                )
            : []),
          // Not a drop on the way out: the host could then resolve nobody while only the VIP's packets wait.
          ...(l.length > 0
            ? [...linksOf(l).map((link) => setConf(link, "arp_announce", 2)), ...announceInAll(context)]
            : []),
        ],
        evidence: chains.map(({ c, i }) => ({
          path: `filters[${i}]`,
          value: `${c.tool} ${c.hook}, ${c.rules.length} rules`,
        })),
      };
    }),
  },
];
