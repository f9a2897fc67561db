import { addressEvidence, type Context, removeLines } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import type { Evidence } from "../finding.ts";
import { type Answer, answersText, type Cause, linksOf, problemsOf, silenceLines, vipsOf } from "../problems.ts";
import { rules } from "../questions.ts";
import { list } from "../text.ts";

/** A real server answers ARP for the VIP: one entry for each reason why. */

const takes = "Clients reach now the director, now this real server; connections reset and the load is lopsided.";
const field = "critical" as const;

function evidenceOf(context: Context, answers: readonly Answer[], key: string, ...more: readonly string[]): Evidence[] {
  const names = [`all.${key}`, ...linksOf(answers).map((l) => `${l}.${key}`), ...more];
  const [first] = answers;
  return [...context.evidence(...names), ...(first ? addressEvidence(context, first.vip.ip) : [])];
}

/** One finding for all VIPs and interfaces that answer for one cause. */
function because(
  cause: Cause,
  say: (context: Context, answers: readonly Answer[]) => Pick<Hit, "wrong" | "shell" | "evidence">,
): (context: Context) => readonly Hit[] {
  return (context) => {
    const answers = problemsOf(context).answers.get(cause) ?? [];
    if (answers.length === 0) return [];
    return [
      {
        vips: vipsOf(answers),
        links: linksOf(answers),
        vipward: "vipward apply",
        rules: rules(answers.map((a) => a.reply)),
        ...say(context, answers),
      },
    ];
  };
}

/** What to do where the kernel has arp_ignore, else what its generation offers. */
function silence(context: Context, links: readonly string[]): string[] {
  const { switches } = context.host;
  if (switches.arpIgnoreAnnounce) return silenceLines(context, links);
  if (switches.hiddenFlag)
    return [
      "sysctl -w net.ipv4.conf.all.hidden=1",
      "# and hidden=1 on the interface that holds the VIP, not on the LAN's",
    ];
  return [
    "# this kernel has neither arp_ignore nor hidden: remove the VIP and use a REDIRECT rule for it (vipward policies)",
  ];
}

const carriersOf = (context: Context, answers: readonly Answer[]): string[] => [
  ...new Set(answers.flatMap((a) => context.held(a.vip).map((h) => h.link.name))),
];

export const answers: readonly Entry[] = [
  {
    id: "rs-answers-vip-by-default",
    title: "a real server answers ARP for the VIP",
    severity: field,
    roles: ["real server"],
    notice: takes,
    why: "Linux answers an ARP request on any interface for any address the host holds, so a VIP on lo, dummy or tunl0 is answered on the LAN, with the LAN interface's own MAC. Nothing on this host keeps it from doing so.",
    cure: "Set arp_ignore=1 and arp_announce=2 on every LAN interface (or in all), then have the director announce the VIP so that caches are corrected.",
    rules: ["A-2.2-04", "A-2.6-03"],
    detect: because("plain", (context, a) => ({
      wrong: `${answersText(context, a)}: nothing keeps this host silent.`,
      shell: silence(context, linksOf(a)),
      evidence: evidenceOf(context, a, "arp_ignore"),
    })),
  },
  {
    id: "arp-ignore-only-on-lo",
    title: "arp_ignore is set only on the interface that holds the VIP",
    severity: field,
    roles: ["real server"],
    notice: `${takes} "I did set arp_ignore."`,
    why: "The kernel combines arp_ignore of all with that of the interface the request arrives on. Requests never arrive on lo or a dummy, so the value there is never looked at.",
    cure: "Set it in all, or on each LAN interface.",
    rules: ["A-2.6-02", "A-2.6-03"],
    detect: because("carrier-only", (context, a) => ({
      wrong: `${answersText(context, a)}: arp_ignore is set on ${list(carriersOf(context, a))} only, where no request ever arrives.`,
      shell: silence(context, linksOf(a)),
      evidence: evidenceOf(context, a, "arp_ignore", ...carriersOf(context, a).map((c) => `${c}.arp_ignore`)),
    })),
  },
  {
    id: "vip-on-ethernet-alias-hidden",
    title: "the VIP is on the LAN interface itself",
    severity: field,
    roles: ["real server"],
    notice: `${takes} The sysctls look right.`,
    why: "arp_ignore=1 asks whether the address is on the interface the request arrives on, and here it is. A label such as eth0:0 is only a name: the device counts. The old hidden flag has the same border.",
    cure: "Move the VIP to lo or a dummy as /32. If it must stay, drop ARP for it with a filter rule of its own.",
    rules: ["A-2.6-04", "A-2.6-09"],
    detect: because("on-nic", (context, a) => ({
      wrong: `${answersText(context, a)}: the VIP is an address of the LAN interface itself, whatever its label says.`,
      // Off the LAN first, then silence, then the carrier: never a moment in which the wrong host answers.
      shell: [
        ...a.slice(0, 16).flatMap(({ vip, link }) =>
          context
            .held(vip)
            .filter((h) => h.link === link)
            .flatMap((h) => removeLines(context, h)),
        ),
        ...silence(context, linksOf(a)),
        ...a
          .slice(0, 16)
          .filter(({ vip, link }) => context.held(vip).every((h) => h.link === link))
          .map(({ vip }) => `ip address add ${vip.text}/32 dev lo`),
      ],
      evidence: evidenceOf(context, a, "arp_ignore"),
    })),
  },
  {
    id: "noarp-flag-not-enough",
    title: "a NOARP interface holds the VIP, and the LAN interface answers for it",
    severity: field,
    roles: ["real server"],
    notice: takes,
    why: "The flag concerns ARP on the dummy itself. The request arrives on the LAN interface, whose own flag and arp_ignore count.",
    cure: "As for every carrier: arp_ignore=1 and arp_announce=2 on the LAN interfaces. The NOARP flag may stay.",
    rules: ["A-2.2-06"],
    detect: because("noarp", (context, a) => ({
      wrong: `${answersText(context, a)}: NOARP there does not silence the LAN.`,
      shell: silence(context, linksOf(a)),
      evidence: evidenceOf(context, a, "arp_ignore"),
    })),
  },
  {
    id: "arp-filter-mistaken-for-ignore",
    title: "arp_filter is set, which does not silence a VIP",
    severity: "high",
    roles: ["real server"],
    notice: takes,
    why: "arp_filter decides by the route back to the asker, not by where the address lives. With one LAN interface the route back is always that interface, so it answers.",
    cure: "Set arp_ignore=1 and arp_announce=2 on the LAN interfaces; arp_filter may go.",
    rules: ["A-2.6-11"],
    detect: because("arp-filter", (context, a) => ({
      wrong: `${answersText(context, a)}: arp_filter is on there, and lets it.`,
      shell: silence(context, linksOf(a)),
      evidence: evidenceOf(context, a, "arp_filter", ...linksOf(a).map((l) => `${l}.arp_ignore`)),
    })),
  },
  {
    id: "kube-proxy-strictarp-off",
    title: "kube-proxy holds the VIP and strict ARP is off",
    severity: field,
    roles: ["real server"],
    notice: "Every node answers for the LoadBalancer address; long connections drop when the router asks again.",
    why: "kube-proxy in IPVS mode puts every service address on kube-ipvs0 of every node. With strict ARP off nothing keeps the node's LAN interfaces from answering for them.",
    cure: "Set strictARP: true in kube-proxy's configuration, or arp_ignore=1 and arp_announce=2 on the LAN interfaces.",
    rules: ["A-2.2-04", "A-2.6-03"],
    detect: (context) => {
      const { answers: byCause, leaks } = problemsOf(context);
      const a = byCause.get("kube") ?? [];
      const l = leaks.get("kube") ?? [];
      const both = [...a, ...l];
      if (both.length === 0) return [];
      const links = linksOf(both);
      return [
        {
          vips: vipsOf(both),
          links,
          wrong: `${
            a.length > 0
              ? answersText(context, a)
              : `${list(links)} sends ARP requests in the name of ${list(vipsOf(l))}`
          }: kube-proxy's strict ARP is off.`,
          shell: [
            "# kubectl -n kube-system edit configmap kube-proxy: ipvs.strictARP: true",
            ...silenceLines(context, links),
          ],
          rules: rules([...a.map((x) => x.reply), ...l]),
          evidence: context.evidence("all.arp_ignore", "all.arp_announce", ...links.map((x) => `${x}.arp_ignore`)),
        },
      ];
    },
  },
  {
    id: "proxy-arp-on-node",
    title: "proxy ARP answers for a VIP this host does not hold",
    severity: field,
    roles: ["real server", "director"],
    notice: "A host that does not own the VIP answers for it, and with proxy_delay it answers last and wins.",
    why: "With proxy_arp (or a published entry), forwarding on, and a route to the VIP out of another interface, the kernel answers for it. arp_ignore guards only what is local, so it does not help.",
    cure: "proxy_arp=0 and proxy_arp_pvlan=0 on the LAN interfaces; those of containers may keep theirs.",
    rules: ["A-2.2-09", "A-2.6-15"],
    detect: (context) => {
      const known = problemsOf(context).answers.get("proxy") ?? [];
      // A director that does not hold the VIP must not answer for it either.
      const standby = context.director && !context.realServer ? context.vips4 : [];
      const also = standby
        .filter((vip) => context.held(vip).length === 0)
        .flatMap((vip) =>
          context.ask.answers(vip.ip).flatMap((reply) => {
            const link = context.host.linkByName.get(reply.via);
            return link && /^A-2\.2-09$|^A-2\.6-1[67]$/.test(reply.rule) ? [{ vip, link, reply }] : [];
          }),
        );
      const all = [...known, ...also];
      if (all.length === 0) return [];
      const links = linksOf(all);
      return [
        {
          vips: vipsOf(all),
          links,
          wrong: `${answersText(context, all)} as a proxy: ${all[0]?.reply.because ?? ""}.`,
          shell: links.flatMap((l) => [
            `sysctl -w net/ipv4/conf/${l}/proxy_arp=0`,
            ...(context.sysctl("all.proxy_arp") ? ["sysctl -w net.ipv4.conf.all.proxy_arp=0"] : []),
            ...(context.sysctl(`${l}.proxy_arp_pvlan`) ? [`sysctl -w net/ipv4/conf/${l}/proxy_arp_pvlan=0`] : []),
          ]),
          rules: [...rules(all.map((x) => x.reply)), "A-2.6-15"],
          evidence: context.evidence("all.proxy_arp", ...links.flatMap((l) => [`${l}.proxy_arp`, `${l}.forwarding`])),
        },
      ];
    },
  },
];
