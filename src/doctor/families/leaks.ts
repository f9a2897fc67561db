import { ipv4FromNumber, parseIpv4 } from "../../base/ipv4.ts";
import { announcesByItself } from "../../model/announce.ts";
import { addressEvidence, type Context, linkEvidence, removeLines } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import type { Evidence } from "../finding.ts";
import { announceInAll, type Cause, type Leaks, leaksText, linksOf, problemsOf, vipsOf } from "../problems.ts";
import { ipText, rules } from "../questions.ts";
import { list, setConf, theVips } from "../text.ts";

/** The host is silent when asked, or not, but its own ARP requests carry the VIP. */

const moves =
  "Now and then the router or a client moves the VIP to this host's MAC, often right after traffic resumes, and no probe shows why.";

const evidenceOf = (context: Context, leaks: readonly Leaks[], ...more: readonly string[]): Evidence[] =>
  context.evidence("all.arp_announce", ...linksOf(leaks).map((l) => `${l}.arp_announce`), ...more);

const announce2 = (context: Context, leaks: readonly Leaks[]): string[] =>
  context.host.switches.arpIgnoreAnnounce
    ? [...linksOf(leaks).map((l) => setConf(l, "arp_announce", 2)), ...announceInAll(context)]
    : context.host.switches.hiddenFlag
      ? ["sysctl -w net.ipv4.conf.all.hidden=1", "# and hidden=1 on the interface that holds the VIP"]
      : [
          "# this kernel has neither arp_announce nor hidden: remove the VIP and use a REDIRECT rule (vipward policies)",
        ];

function because(
  cause: Cause,
  say: (context: Context, leaks: readonly Leaks[]) => Pick<Hit, "wrong" | "shell" | "evidence">,
): (context: Context) => readonly Hit[] {
  return (context) => {
    const leaks = problemsOf(context).leaks.get(cause) ?? [];
    if (leaks.length === 0) return [];
    return [
      {
        vips: vipsOf(leaks),
        links: linksOf(leaks),
        vipward: "vipward apply",
        rules: rules(leaks),
        ...say(context, leaks),
      },
    ];
  };
}

export const leaks: readonly Entry[] = [
  {
    id: "arp-announce-missing",
    title: "a real server's own ARP requests carry the VIP",
    severity: "critical",
    roles: ["real server"],
    notice: moves,
    why: "To send an answer whose source is the VIP, the host must know its gateway's MAC. With arp_announce 0 it writes the packet's source, the VIP, into the sender field of its own request, and whoever hears it learns the VIP at this host's MAC.",
    cure: "arp_announce=2 on every LAN interface, or in all.",
    rules: ["B-2.2-01", "B-2.6-02"],
    detect: because("plain", (context, l) => ({
      wrong: `${leaksText(l)}: arp_announce is not set for ${list(linksOf(l))}.`,
      shell: announce2(context, l),
      evidence: evidenceOf(context, l),
    })),
  },
  {
    id: "arp-announce-1-not-enough",
    title: "arp_announce is 1, which keeps the VIP as sender",
    severity: "high",
    roles: ["real server"],
    notice: moves,
    why: "Level 1 keeps the packet's source if a subnet of the interface covers both it and the one asked for. A VIP in the LAN's subnet, the usual case of direct routing, is covered.",
    cure: "arp_announce=2.",
    rules: ["B-2.6-03"],
    detect: because("announce-1", (context, l) => ({
      wrong: `${leaksText(l)}: arp_announce in force is 1, and ${list(linksOf(l))} has a subnet that covers the VIP.`,
      shell: announce2(context, l),
      evidence: evidenceOf(context, l),
    })),
  },
  {
    id: "arp-announce-only-on-lo",
    title: "arp_announce is set only on the interface that holds the VIP",
    severity: "critical",
    roles: ["real server"],
    notice: moves,
    why: "The kernel combines arp_announce of all with that of the interface the request leaves by. No ARP request leaves by lo or a dummy.",
    cure: "Set it in all, or on each LAN interface.",
    rules: ["B-2.6-01", "B-2.6-02"],
    detect: because("carrier-only", (context, l) => {
      const carriers = [...new Set(l.flatMap((x) => context.held(x.vip).map((h) => h.link.name)))];
      return {
        wrong: `${leaksText(l)}: arp_announce is set on ${list(carriers)} only, by which no request ever leaves.`,
        shell: announce2(context, l),
        evidence: evidenceOf(context, l, ...carriers.map((c) => `${c}.arp_announce`)),
      };
    }),
  },
  {
    id: "vip-chosen-as-arp-sender",
    title: "the kernel itself picks the VIP as sender of its ARP requests",
    severity: "critical",
    roles: ["real server"],
    own: true,
    notice: moves,
    why: "Even arp_announce 2 only lets the kernel select an address, and it selects the VIP where the interface has no address of its own, or where the VIP is the first whose prefix covers the one asked for.",
    cure: "Give the interface its own address, put the VIP on lo or a dummy as /32, or with scope host where the interface must stay without an address.",
    rules: ["B-2.6-06"],
    detect: because("selected", (context, l) => ({
      wrong: `${leaksText(l)}, though no packet's source makes it so: ${
        l[0]?.link.addresses.some((a) => a.ip === l[0]?.vip.ip)
          ? `the VIP comes first among the addresses of ${list(linksOf(l))}`
          : `${list(linksOf(l))} has no address of its own`
      }.`,
      shell: l.slice(0, 8).flatMap(({ vip }) =>
        context
          .held(vip)
          .flatMap((h) => removeLines(context, h))
          .concat(`ip address add ${vip.text}/32 dev lo scope host`),
      ),
      evidence: [
        ...evidenceOf(context, l),
        ...l.slice(0, 4).flatMap((x) => [...addressEvidence(context, x.vip.ip), ...linkEvidence(context, x.link.name)]),
      ],
    })),
  },
  {
    id: "distro-announces-vip-on-ifup",
    title: "the VIP is announced whenever the interface comes up",
    severity: "high",
    roles: ["real server"],
    notice: "Each restart of networking, or each link flap, on this real server steals the VIP for a while.",
    why: "With arp_notify the kernel announces every address of an interface when it comes up. Network scripts of distributions do the same by themselves, which facts do not show: watch the wire during a restart.",
    cure: "arp_notify=0 on that interface, and the VIP on lo or a dummy, whose addresses nothing announces.",
    rules: ["B-G-01", "B-G-02"],
    detect: (context) => {
      const answering = new Set((problemsOf(context).answers.get("on-nic") ?? []).map((a) => a.vip.ip));
      const hits: Hit[] = [];
      for (const link of context.lan) {
        const announced = announcesByItself(context.host, { kind: "link up", link: link.index });
        const vips = announced.addresses
          .filter((ip) => context.silentSet.has(ip) && !answering.has(ip)) // else the VIP's place is the finding
          .map((ip) => ipText(ipv4FromNumber(ip)));
        if (vips.length > 0)
          hits.push({
            vips,
            links: [link.name],
            wrong: `${link.name} announces ${theVips(vips)} whenever it comes up: arp_notify is on and the VIP is on it.`,
            shell: [
              setConf(link.name, "arp_notify", 0),
              ...(context.sysctl("all.arp_notify") ? ["sysctl -w net.ipv4.conf.all.arp_notify=0"] : []),
            ],
            vipward: "vipward apply",
            rules: [announced.rule, "B-G-02"],
            evidence: context.evidence("all.arp_notify", `${link.name}.arp_notify`),
          });
      }
      return hits;
    },
  },
  {
    id: "director-asks-with-vip",
    title: "the director asks for its real servers in the VIP's name",
    severity: "critical",
    roles: ["director"],
    own: true,
    notice: "The director is up and owns the VIP, and no real server gets a packet: their neighbour entries go FAILED.",
    why: "Forwarding a client's packet, the director resolves the real server's MAC with an address the kernel selects. If that is the VIP, the request says it comes from the VIP, and a real server that holds the VIP refuses to answer what claims to come from itself.",
    cure: "Put the VIP on as /32, or after the director's own address.",
    rules: ["B-2.6-07", "B-2.6-06", "A-2.2-07"],
    detect: (context) => {
      if (!context.director) return [];
      const rips = [
        ...(context.cluster?.realServers.map((r) => r.rip) ?? []),
        ...(context.facts.ipvs?.services ?? []).flatMap((s) =>
          s.destinations.filter((d) => d.method === "dr").flatMap((d) => parseIpv4(d.rip) ?? []),
        ),
      ].filter((rip) => !context.host.ownAddresses.has(rip));
      for (const link of context.lan) {
        const near = rips.find((rip) => link.addresses.some((a) => ((a.prefixAddress ^ rip) & a.mask) === 0));
        const asked = near ?? (rips.length === 0 ? context.ask.neighbourOn(link) : undefined);
        if (asked === undefined) continue;
        const verdict = context.ask.announce(link, asked);
        if (verdict.kind !== "request" || !context.vipSet.has(verdict.senderIp)) continue;
        const vip = ipText(verdict.senderIp);
        const held = context.host.ownAddresses.get(verdict.senderIp)?.find((a) => a.link === link);
        return [
          {
            vips: [vip],
            links: [link.name],
            wrong: `To find ${ipText(asked)} the director asks on ${link.name} as ${vip}; a real server that holds ${vip} never answers that.`,
            shell: held
              ? [...removeLines(context, held), `ip address add ${vip}/32 dev ${link.name}`]
              : [`# give ${link.name} an address of its own`],
            rules: [verdict.rule, "B-2.6-07", "B-2.6-06"],
            evidence: addressEvidence(context, verdict.senderIp),
          },
        ];
      }
      return [];
    },
  },
];
