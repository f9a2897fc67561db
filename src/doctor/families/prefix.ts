import { type Ipv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { covers, networkOf, parsePrefix } from "../../base/prefix.ts";
import { type Address, holdsPrefix } from "../../model/link.ts";
import { type Context, chainName, removeLines } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import { problemsOf, silenceLines } from "../problems.ts";
import { ipText } from "../questions.ts";
import { list, setConf, theVips } from "../text.ts";

/** Prefixes that are too wide, and silence that is too strong. */

const wideOf = (context: Context): Address[] =>
  context.host.links.flatMap((link) =>
    (link.loopback || link.kind === "dummy" || link.isIpip) && link.addresses.length > 0
      ? link.addresses.filter(
          (a) =>
            a.prefixLength < 32 &&
            a.ip >>> 24 !== 127 &&
            (context.vipSet.has(a.ip) || (link.loopback && context.vips4.some((v) => holdsPrefix(a, v.ip)))),
        )
      : [],
  );

const prefixText = (a: Address): string =>
  `${ipText(networkOf({ address: a.prefixAddress, length: a.prefixLength }))}/${a.prefixLength}`;

export const prefix: readonly Entry[] = [
  {
    id: "vip-netmask-not-32",
    title: "the VIP's prefix is shorter than /32",
    severity: "critical",
    roles: ["real server"],
    notice: "The host loses its neighbours, or the whole subnet breaks at once: it answers for every address in it.",
    why: "On a loopback the kernel makes the address's whole prefix local; on a dummy or tunnel it makes a route for the whole subnet that leads there, away from the LAN.",
    cure: "Remove it and add it as /32.",
    rules: ["A-2.2-05"],
    detect: (context) => {
      if (!context.realServer && !context.director) return [];
      const addresses = wideOf(context).map((a): Hit => {
        const text = ipText(a.ip);
        const effect = a.link.loopback
          ? `makes all of ${prefixText(a)} local to this host`
          : `routes all of ${prefixText(a)} into ${a.link.name}`;
        return {
          vips: context.vips4
            .filter((v) => v.ip === a.ip || (a.link.loopback && holdsPrefix(a, v.ip)))
            .map((v) => v.text),
          links: [a.link.name],
          wrong: `${text}/${a.prefixLength} on ${a.link.name} ${effect}.`,
          shell: [...removeLines(context, a), `ip address add ${text}/32 dev ${a.link.name}`],
          vipward: "vipward apply",
          evidence: context.facts.addresses.flatMap((f, i) =>
            f.ip === text && f.link === a.link.name
              ? [{ path: `addresses[${i}].prefixLength`, value: f.prefixLength }]
              : [],
          ),
        };
      });
      return [...addresses, ...wideRoutes(context)];
    },
  },
  {
    id: "arp-ignore-too-strong",
    title: "arp_ignore has a value that does something else than silence the VIP",
    severity: "high",
    roles: ["any"],
    notice:
      "Value 3: the VIP is answered all the same. Values 2 and 8: VPNs, odd subnets, containers or the host's own address become unreachable.",
    why: "2 also asks that the asker be in a subnet of the interface, 3 is silent only for addresses of scope host, 8 is silent for everything, the host's own address included.",
    cure: "arp_ignore=1.",
    rules: ["A-2.6-05", "A-2.6-06", "A-2.6-07"],
    detect: (context) => {
      const hits: Hit[] = [];
      const three = problemsOf(context).answers.get("ignore-3") ?? [];
      const [answer] = three;
      if (answer) {
        const links = [...new Set(three.map((a) => a.link.name))];
        const vips = [...new Set(three.map((a) => a.vip.text))];
        hits.push({
          vips,
          links,
          severity: "critical",
          wrong: `${list(links)} has arp_ignore 3 in force and still answers for ${theVips(vips)}: 3 is silent only for scope host, and the VIP has scope ${answer.vip && (context.held(answer.vip)[0]?.scope ?? 0)}.`,
          shell: silenceLines(context, links),
          vipward: "vipward apply",
          rules: ["A-2.6-06"],
          evidence: context.evidence("all.arp_ignore", ...links.map((l) => `${l}.arp_ignore`)),
        });
      }
      for (const link of context.lan) {
        const muted = mutedOwn(context, link.name);
        if (!muted) continue;
        hits.push({
          links: [link.name],
          wrong: `${link.name} does not answer ${muted.asker} for this host's own address ${muted.own}: arp_ignore ${link.conf.arpIgnore} is in force there.`,
          shell: [
            setConf(link.name, "arp_ignore", 1),
            ...((context.sysctl("all.arp_ignore") ?? 0) > 1 ? [setConf("all", "arp_ignore", 1)] : []),
          ],
          rules: [muted.rule],
          evidence: context.evidence("all.arp_ignore", `${link.name}.arp_ignore`),
        });
      }
      return hits;
    },
  },
  {
    id: "strictarp-breaks-unnumbered-links",
    title: "arp_ignore in all mutes interfaces that borrow an address",
    severity: "critical",
    roles: ["any"],
    notice: "Containers or virtual machines cannot reach their host any more, new ones inherit the fault.",
    why: "A veth or point-to-point end without an address of its own answers with another interface's address. With arp_ignore 1 or 2 it answers for nothing, since the address is not configured on it.",
    cure: "Set arp_ignore on the LAN interfaces, and 0 in all.",
    rules: ["A-2.6-04", "A-2.6-08"],
    detect: (context) => {
      const muted = context.host.links.flatMap((link) => {
        const mode = link.conf.arpIgnore;
        if (!link.up || link.addresses.length > 0 || link.noArp || link.loopback || link.mac === undefined) return [];
        if (link.master || link.conf.proxyArp || (mode !== 1 && mode !== 2 && mode !== 8)) return [];
        const peers = hostRoutesOver(context, link.name);
        const own = context.facing?.addresses.find((a) => !context.vipSet.has(a.ip));
        const [peer] = peers;
        if (!own || peer === undefined) return [];
        const verdict = context.ask.arp(link, own.ip, peer);
        return verdict.kind === "silent" && /^A-2\.6-0[457]$/.test(verdict.rule)
          ? [{ link, peer, own, rule: verdict.rule }]
          : [];
      });
      const [first] = muted;
      if (!first) return [];
      const links = muted.map((m) => m.link.name);
      return [
        {
          links,
          wrong: `${list(links)} has no address of its own and answers ${ipText(first.peer)} for nothing, not even ${ipText(first.own.ip)}: arp_ignore ${first.link.conf.arpIgnore} is in force there.`,
          shell: [
            ...context.lan.filter((l) => l.addresses.length > 0).flatMap((l) => silenceLines(context, [l.name])),
            ...((context.sysctl("all.arp_ignore") ?? 0) > 0 ? [setConf("all", "arp_ignore", 0)] : []),
            ...links
              .filter((l) => (context.sysctl(`${l}.arp_ignore`) ?? 0) > 0)
              .map((l) => setConf(l, "arp_ignore", 0)),
          ],
          rules: [first.rule],
          evidence: context.evidence("all.arp_ignore", ...links.slice(0, 4).map((l) => `${l}.arp_ignore`)),
        },
      ];
    },
  },
  {
    id: "arptables-flavour-mixed",
    title: "ARP rules of two tools are in force",
    severity: "medium",
    roles: ["real server"],
    notice: "Rules show in one tool and not in the other; a change made in one does not help.",
    why: "arptables and nft keep their own tables, and the kernel runs both. What one drops the other cannot give back.",
    cure: "Keep one of them; vipward uses nft, in a table of its own.",
    rules: ["A-2.6-20"],
    detect: (context) => {
      const chains = context.facts.filters.flatMap((c, i) =>
        c.family === "arp" && c.rules.length > 0 ? [{ c, i }] : [],
      );
      const tools = new Set(chains.map(({ c }) => c.tool));
      if (tools.size < 2) return [];
      return [
        {
          wrong: `ARP rules of ${list([...tools])} are in force at once: ${list(chains.map(({ c }) => chainName(c)))}.`,
          shell: ["# decide for one tool; list both: arptables -L -n -v; nft list tables arp"],
          evidence: chains.slice(0, 6).map(({ c, i }) => ({ path: `filters[${i}]`, value: chainName(c) })),
        },
      ];
    },
  },
];

/** Local routes that people added: a whole subnet of VIPs at once, and all its other hosts with them. */
const wideRoutes = (context: Context): Hit[] =>
  context.facts.routes.flatMap((r, i): Hit[] => {
    const found =
      r.type === "local" && r.protocol !== "kernel" && (r.table ?? 255) === 255 ? parsePrefix(r.dst) : undefined;
    if (!found || found.length >= 32 || networkOf(found) >>> 24 === 127) return [];
    const vips = context.vips4.filter((v) => covers(found, v.ip));
    // A prefix of nothing but VIPs is an honest way to hold many.
    if (vips.length === 0 || vips.length === 2 ** (32 - found.length)) return [];
    return [
      {
        vips: vips.map((v) => v.text),
        links: r.dev === undefined ? [] : [r.dev],
        wrong: `The local route ${r.dst} makes all of that prefix local to this host, not only ${theVips(vips.map((v) => v.text))}.`,
        shell: [
          ...vips.slice(0, 16).map((v) => `ip route add local ${v.text}/32 dev ${r.dev ?? "lo"}`),
          `ip route del local ${r.dst} dev ${r.dev ?? "lo"}`,
        ],
        evidence: [{ path: `routes[${i}]`, value: `local ${r.dst}` }],
      },
    ];
  });

/** Peers behind an interface: a host of each on-link route over it. */
const hostRoutesOver = (context: Context, name: string): Ipv4[] =>
  context.facts.routes
    .filter(
      (r) => r.dev === name && r.via === undefined && (r.type ?? "unicast") === "unicast" && (r.table ?? 254) === 254,
    )
    .slice(0, 4)
    .flatMap((r) => {
      const found = parsePrefix(r.dst);
      return found && found.length > 0 ? [ipv4FromNumber(networkOf(found) + (found.length === 32 ? 0 : 1))] : [];
    });

/** An own address of a LAN interface that its own wire asks for in vain because of arp_ignore 2, 3 or 8. */
function mutedOwn(
  context: Context,
  name: string,
): { own: string; asker: string; rule: "A-2.6-05" | "A-2.6-07" } | undefined {
  const link = context.host.linkByName.get(name);
  if (!link || (link.conf.arpIgnore !== 2 && link.conf.arpIgnore !== 8)) return undefined;
  const near = context.ask.neighbourOn(link);
  const askers = [...(near === undefined ? [] : [near]), ...hostRoutesOver(context, name)];
  for (const own of link.addresses.filter((a) => !context.vipSet.has(a.ip)).slice(0, 4))
    for (const asker of askers) {
      if (context.host.ownAddresses.has(asker)) continue;
      const verdict = context.ask.arp(link, own.ip, asker);
      if (verdict.kind === "silent" && (verdict.rule === "A-2.6-05" || verdict.rule === "A-2.6-07"))
        return { own: ipText(own.ip), asker: ipText(asker), rule: verdict.rule };
    }
  return undefined;
}
