import { networkOf } from "../../base/prefix.ts";
import type { Link } from "../../model/link.ts";
import { portsOf } from "../acceptance.ts";
import { addressEvidence, type Context, linkEvidence, outsider, removeLines, type Vip } from "../context.ts";
import type { Entry, Hit } from "../entry.ts";
import { ipText, rules } from "../questions.ts";
import { list, setConf, theVips } from "../text.ts";

/** Does the director own its VIPs, and reach its real servers? */

const byVip = (context: Context, fits: (vip: Vip) => boolean): Vip[] =>
  context.director ? context.vips4.filter(fits) : [];
const texts = (vips: readonly Vip[]): string[] => vips.map((v) => v.text);

/** Who holds the VIP on the LAN, and what that link says when asked. */
const holders = (context: Context, vip: Vip): Link[] =>
  context
    .held(vip)
    .map((a) => a.link)
    .filter((l) => context.lan.includes(l));

const gatewayOfRealServers = (context: Context) =>
  context.cluster?.networks.find(
    (n) =>
      n.router !== undefined &&
      context.host.ownAddresses.has(n.router) &&
      context.cluster?.realServers.some((r) => r.network.name === n.name),
  );

export const director: readonly Entry[] = [
  {
    id: "nobody-answers-vip",
    title: "the director does not answer for the VIP",
    severity: "critical",
    roles: ["director"],
    notice: "Neighbour entries for the VIP go FAILED; the service is dead for everyone outside.",
    why: "The host that should own the VIP holds it on an interface whose address the LAN's interface must not answer for, or is kept from answering by arp_ignore, a filter, a NOARP flag or a link that is down.",
    cure: "Put the VIP on the director's LAN interface, and let that interface answer for it.",
    rules: ["A-2.6-04", "A-ALL-01"],
    detect: (context) => {
      const alone = context.cluster?.directors.length === 1;
      const mute = byVip(context, (vip) => {
        const here = context.held(vip);
        if (here.length === 0) return alone;
        // A standby that is a real server, too, holds the VIP on its carrier and is silent: as it should be.
        if (context.realServer && !context.heldOnLan(vip) && here.every((a) => a.link.loopback || isCarrier(a.link)))
          return false;
        return context.ask.answers(vip.ip).length === 0;
      });
      if (mute.length === 0) return [];
      const [vip] = mute as [Vip, ...Vip[]];
      const where = context.held(vip).map((a) => a.link);
      const lan = context.facing;
      const verdict = lan && context.ask.silence(lan, vip.ip);
      const down = where.find((l) => !l.up || l.noArp);
      const why =
        where.length === 0
          ? "no interface holds it"
          : down && !down.loopback && !isCarrier(down)
            ? `${down.name}, which holds it, is ${down.up ? "NOARP" : "down"}`
            : `${list(where.map((l) => l.name))} holds it, and ${lan?.name ?? "no LAN interface"} stays silent${verdict ? ` (${verdict.because})` : ""}`;
      return [
        {
          vips: texts(mute),
          links: where.map((l) => l.name),
          wrong: `This host does not answer ARP for ${theVips(texts(mute))}: ${why}.`,
          shell:
            lan === undefined
              ? ["# no interface of this host is up towards a LAN"]
              : [
                  ...(down && !down.loopback && !isCarrier(down) ? [`ip link set ${down.name} up arp on`] : []),
                  ...(where.includes(lan) ? [] : [`ip address add ${vip.text}/32 dev ${lan.name}`]),
                  ...(where.includes(lan) && lan.conf.arpIgnore > 2 ? [setConf(lan.name, "arp_ignore", 1)] : []),
                ],
          vipward: "vipward run",
          rules: verdict ? [verdict.rule] : ["A-ALL-01"],
          evidence: [
            ...addressEvidence(context, vip.ip),
            ...(lan
              ? [...linkEvidence(context, lan.name), ...context.evidence("all.arp_ignore", `${lan.name}.arp_ignore`)]
              : []),
          ],
        },
      ];
    },
  },
  {
    id: "director-has-vip-on-lo-too",
    title: "the VIP is on two interfaces of the director",
    severity: "high",
    roles: ["director"],
    notice: "After a failover the director does not answer, or answers twice; taking the VIP away leaves a copy.",
    why: "On a director alone the copy off the LAN interface is left over from another role or another tool. A box that is a real server too may hold both while it is the active director, but with arp_ignore 1: without it every interface answers for the copy on lo.",
    cure: "A director alone: the LAN interface only. A director that is a real server too: arp_ignore=1 on its LAN interfaces, and the copy on lo stays.",
    rules: ["A-2.2-04", "A-2.6-04"],
    detect: (context) => {
      const tooTalkative = context.lan.filter((link) => link.conf.arpIgnore !== 1);
      if (context.realServer && tooTalkative.length === 0) return [];
      const twice = byVip(context, (vip) => new Set(context.held(vip).map((a) => a.link)).size > 1);
      const [vip] = twice;
      if (!vip) return [];
      const where = context.held(vip);
      const onLan = where.filter((a) => context.lan.includes(a.link));
      const extra = where.filter((a) => a !== (onLan[0] ?? where[0]));
      return [
        {
          vips: texts(twice),
          links: [...new Set(where.map((a) => a.link.name))],
          wrong: `${vip.text} is on ${list(where.map((a) => a.link.name))} at once${twice.length > 1 ? `, and ${twice.length - 1} more VIPs are held twice` : ""}.`,
          shell: context.realServer
            ? tooTalkative.map((link) => setConf(link.name, "arp_ignore", 1))
            : [
                onLan.length > 0
                  ? "# this host is the active director: its copy off the LAN interface goes"
                  : "# keep one of them",
                ...extra.flatMap((a) => removeLines(context, a)),
              ],
          vipward: "vipward run",
          evidence: addressEvidence(context, vip.ip),
        },
      ];
    },
  },
  {
    id: "vmac-extra-answers",
    title: "several interfaces of the director answer for one VIP",
    severity: "high",
    roles: ["director"],
    notice: "Two ARP answers with two MACs from one host; ping answers with the parent's MAC.",
    why: "A broadcast reaches the parent and every macvlan on it, and with arp_ignore 0 each answers with its own MAC; so do two interfaces on one wire.",
    cure: "arp_ignore=1 on the interface that does not hold the VIP.",
    rules: ["A-2.6-21", "A-2.2-04"],
    detect: (context) => {
      const found = byVip(context, (vip) => context.heldOnLan(vip)).flatMap((vip) => {
        const replies = context.ask.answers(vip.ip);
        const own = holders(context, vip).map((l) => l.name);
        const extra = replies.filter((r) => !own.includes(r.via));
        // Another NIC on another wire is nobody's trouble; one on a macvlan's parent, or in the VIP's subnet, is.
        const near = extra.filter((r) => context.lan.some((l) => l.name === r.via && hears(context, l, own)));
        return replies.length > 1 && near.length > 0 ? [{ vip, own, near }] : [];
      });
      const [first] = found;
      if (!first) return [];
      const extra = [...new Set(found.flatMap((f) => f.near.map((r) => r.via)))];
      return [
        {
          vips: found.map((f) => f.vip.text),
          links: extra,
          wrong: `${list(extra)} answers for ${theVips(found.map((f) => f.vip.text))} beside ${list(first.own)}, with another MAC.`,
          shell: extra.map((l) => setConf(l, "arp_ignore", 1)),
          rules: [...rules(first.near), "A-2.6-21"],
          evidence: context.evidence("all.arp_ignore", ...extra.map((l) => `${l}.arp_ignore`)),
        },
      ];
    },
  },
  {
    id: "vmac-mutes-parent-address",
    title: "the director's own address is not answered any more",
    severity: "high",
    roles: ["director"],
    notice: "The host's own address is dead after virtual MACs were set up; SSH may be locked out.",
    why: "arp_filter answers only where the route back to the asker leaves by the interface that heard it. With a macvlan in the same subnet the route back may be the macvlan's, and the parent falls silent.",
    cure: "arp_filter=0 on the parent, arp_ignore=1 on the macvlan; or the VIP on the macvlan as /32.",
    rules: ["A-2.6-11"],
    detect: (context) => {
      if (!context.director) return [];
      return context.lan.flatMap((link) => {
        if (link.macvlans.length === 0) return [];
        const asker = context.ask.neighbourOn(link);
        const own = link.addresses.find((a) => !context.vipSet.has(a.ip));
        if (!own || asker === undefined) return [];
        const verdict = context.ask.arp(link, own.ip, asker);
        const mine = verdict.kind === "reply" && [verdict, ...verdict.also].some((r) => r.via === link.name);
        if (mine) return [];
        // What the parent itself says; a macvlan may have answered for it.
        const alone = context.ask.arp(link, own.ip, asker, "unicast");
        if (alone.kind === "reply" || !/^A-2\.6-(04|05|07|11)$/.test(alone.rule)) return [];
        return [
          {
            links: [link.name],
            wrong: `${link.name} does not answer ${ipText(asker)} for its own ${ipText(own.ip)}: ${alone.because}.`,
            shell: [
              setConf(link.name, "arp_filter", 0),
              ...(context.sysctl("all.arp_filter") ? [setConf("all", "arp_filter", 0)] : []),
              ...link.macvlans.map((m) => setConf(m.name, "arp_ignore", 1)),
            ],
            rules: [alone.rule],
            evidence: context.evidence("all.arp_filter", `${link.name}.arp_filter`, `${link.name}.arp_ignore`),
          },
        ];
      });
    },
  },
  {
    id: "stale-vip-on-old-holder",
    title: "a standby director still holds the VIP on its LAN interface",
    severity: "critical",
    roles: ["director"],
    notice: "Two nodes hold the VIP for hours, with packet loss; a restart of the agent heals it.",
    why: "The agent that gave the VIP up did not take the address away. Here IPVS runs its connection sync as backup only, which is the state of a standby, while the VIP is on the LAN.",
    cure: "Take the address away; clean up when the agent starts as well as when it stops.",
    rules: ["A-2.2-04"],
    detect: (context) => {
      const sync = context.facts.ipvs?.sync ?? [];
      if (!sync.includes("backup") || sync.includes("master")) return [];
      const stale = byVip(context, (vip) => context.heldOnLan(vip));
      if (stale.length === 0) return [];
      return [
        {
          vips: texts(stale),
          links: [...new Set(stale.flatMap((v) => holders(context, v).map((l) => l.name)))],
          wrong: `IPVS syncs as backup here, and yet ${theVips(texts(stale))} is on ${list(stale.flatMap((v) => holders(context, v).map((l) => l.name)))}.`,
          shell: [
            "# if the other director is active (vipward who-has asks the wire):",
            ...stale.slice(0, 16).flatMap((v) =>
              context
                .held(v)
                .filter((a) => context.lan.includes(a.link))
                .flatMap((a) => removeLines(context, a)),
            ),
          ],
          vipward: "vipward run",
          evidence: [
            { path: "ipvs.sync", value: sync.join(" ") },
            ...stale.slice(0, 4).flatMap((v) => addressEvidence(context, v.ip)),
          ],
        },
      ];
    },
  },
  {
    id: "director-is-gateway-martian",
    title: "the director is its real servers' gateway and drops their answers",
    severity: "critical",
    roles: ["director"],
    notice: "Requests reach the real servers and the answers vanish on the director. Days of search.",
    why: "The answers carry the VIP as their source, and the VIP is the director's own address: a martian source, dropped without a word on the wire.",
    cure: "Give the real servers another gateway; or accept_local=1 and rp_filter=0 on the inside interface, with forwarding on.",
    rules: ["C-2.6-02"],
    detect: (context) => {
      const network = context.director ? gatewayOfRealServers(context) : undefined;
      if (!network || network.router === undefined) return [];
      const inside = context.host.ownAddresses.get(network.router)?.[0]?.link;
      const client = outsider(context.host);
      if (!inside || client === undefined) return [];
      const dropped = context.vips4
        .filter((v) => context.held(v).length > 0)
        .flatMap((vip) => {
          const verdict = context.ask.packet({
            link: inside,
            source: vip.ip,
            destination: client,
            protocol: "tcp",
            port: 40000,
          });
          return verdict.kind === "drop" ? [{ vip, verdict }] : [];
        });
      const [first] = dropped;
      if (!first) return [];
      return [
        {
          vips: dropped.map((d) => d.vip.text),
          links: [inside.name],
          wrong: `The real servers of ${network.name} answer by way of ${ipText(network.router)}, this host, which drops what comes from ${theVips(dropped.map((d) => d.vip.text))} on ${inside.name}: ${first.verdict.because}.`,
          shell: [
            "# better: another gateway for the real servers. Else:",
            setConf(inside.name, "accept_local", 1),
            setConf(inside.name, "rp_filter", 0),
            ...(context.sysctl("all.rp_filter") ? [setConf("all", "rp_filter", 0)] : []),
            "sysctl -w net.ipv4.ip_forward=1",
          ],
          rules: rules(dropped.map((d) => d.verdict)),
          evidence: context.evidence(
            "all.accept_local",
            `${inside.name}.accept_local`,
            "all.rp_filter",
            `${inside.name}.rp_filter`,
            "ip_forward",
          ),
        },
      ];
    },
  },
  {
    id: "icmp-redirect-tells-clients-the-rs",
    title: "the director may send ICMP redirects",
    severity: "high",
    roles: ["director"],
    notice: "Clients or routers begin to send straight to another machine.",
    why: "A host that forwards a packet out of the interface it came in on tells the sender to go there directly. IPVS's own direct routing leaves through the local output and sends none (C-DIR-03), but with forwarding on, this host would redirect what it routes itself: a VIP's packets after it gave the VIP up, for instance.",
    cure: "send_redirects=0 in all and on the LAN interface, or forwarding off.",
    rules: ["C-DIR-03"],
    detect: (context) =>
      context.director
        ? context.lan
            .filter((l) => l === context.facing && l.conf.forwarding && l.conf.sendRedirects)
            .map((l) => ({
              links: [l.name],
              severity: "low" as const, // direct routing itself sends none
              wrong: `${l.name} forwards, and send_redirects is in force there.`,
              shell: [setConf("all", "send_redirects", 0), setConf(l.name, "send_redirects", 0)],
              evidence: context.evidence("all.send_redirects", `${l.name}.send_redirects`, "ip_forward"),
            }))
        : [],
  },
  {
    id: "vip-dies-with-primary-address",
    title: "the VIP goes when the interface's first address goes",
    severity: "high",
    roles: ["director"],
    notice: "Changing the host's first address removes the VIP, without a trace in any log.",
    why: "A VIP with the same prefix as an earlier address is its secondary. Removing the primary removes all its secondaries, unless promote_secondaries is set.",
    cure: "The VIP as /32, or promote_secondaries=1.",
    rules: ["A-2.2-04"],
    detect: (context) => {
      const dying = byVip(context, (vip) =>
        context
          .held(vip)
          .some(
            (a) =>
              a.secondary &&
              !context.sysctl("all.promote_secondaries") &&
              !context.sysctl(`${a.link.name}.promote_secondaries`),
          ),
      );
      const [vip] = dying;
      const held = vip && context.held(vip).find((a) => a.secondary);
      if (!vip || !held) return [];
      const primary = held.link.addresses.find((a) => !a.secondary && a.mask === held.mask);
      return [
        {
          vips: texts(dying),
          links: [held.link.name],
          wrong: `${vip.text}/${held.prefixLength} on ${held.link.name} is secondary to ${primary ? ipText(primary.ip) : "an earlier address"} and goes with it.`,
          shell: [setConf(held.link.name, "promote_secondaries", 1)],
          evidence: [
            ...addressEvidence(context, vip.ip),
            ...context.evidence("all.promote_secondaries", `${held.link.name}.promote_secondaries`),
          ],
        },
      ];
    },
  },
  {
    id: "vrrp-strict-or-firewall-drops-vip",
    title: "a firewall on this host drops packets for the VIP",
    severity: "high",
    roles: ["director", "real server"],
    notice: 'The VIP is up and ARP is answered, but the service times out; ping says "operation not permitted".',
    why: "VRRP daemons in strict mode install drop rules for the VIP; hardening rules and firewalld lack the service. IPVS takes packets after the INPUT chain, so a drop there is final.",
    cure: "Accept the VIP's services before the drop; take `vrrp_strict` away.",
    rules: ["C-DIR-01", "C-2.6-01"],
    detect: (context) => {
      const { facing } = context;
      const client = facing && (outsider(context.host) ?? context.ask.neighbourOn(facing));
      if (!facing || client === undefined) return [];
      const vips = context.vips4.filter(
        (v) => (context.director && context.heldOnLan(v)) || context.silentSet.has(v.ip),
      );
      const dropped = vips.flatMap((vip) =>
        portsOf(context, vip.text).flatMap(({ protocol, port }) => {
          const verdict = context.ask.packet({ link: facing, source: client, destination: vip.ip, protocol, port });
          return verdict.kind === "drop" && verdict.because.includes("filter drops")
            ? [{ vip, protocol, port, verdict }]
            : [];
        }),
      );
      const [first] = dropped;
      if (!first) return [];
      const names = [...new Set(dropped.map((d) => d.vip.text))];
      return [
        {
          vips: names,
          links: [facing.name],
          wrong: `${first.protocol} port ${first.port} of ${theVips(names)} is dropped on ${facing.name}: ${first.verdict.because}.`,
          shell: [
            ...dropped
              .slice(0, 8)
              .map((d) => `iptables -I INPUT -d ${d.vip.text} -p ${d.protocol} --dport ${d.port} -j ACCEPT`),
            "# or the same in nft, before the rule that drops",
          ],
          rules: rules(dropped.map((d) => d.verdict)),
          evidence: context.facts.filters.flatMap((c, i) =>
            c.hook === "input" || c.hook === "prerouting"
              ? [
                  {
                    path: `filters[${i}]`,
                    value: `${c.tool} ${c.hook}, policy ${c.policy ?? "accept"}, ${c.rules.length} rules`,
                  },
                ]
              : [],
          ),
        },
      ];
    },
  },
  {
    id: "frag-needed-reaches-wrong-host",
    title: "ICMP errors for the VIP are dropped before IPVS can pass them on",
    severity: "high",
    roles: ["director", "any"],
    notice: "Downloads hang for clients behind a smaller path MTU.",
    why: 'A router\'s "fragmentation needed" for an answer goes to the VIP, so to the director. IPVS passes it on to the real server that holds the connection, unless the firewall drops it first.',
    cure: "Accept ICMP for the VIP.",
    rules: ["C-DIR-04"],
    detect: (context) => {
      const { facing } = context;
      const client = facing && (outsider(context.host) ?? context.ask.neighbourOn(facing));
      if (!context.director || !facing || client === undefined) return [];
      const dropped = byVip(context, (v) => context.heldOnLan(v)).flatMap((vip) => {
        const verdict = context.ask.packet({
          link: facing,
          source: client,
          destination: vip.ip,
          protocol: "icmp",
          port: 0,
        });
        const tcp = context.ask.packet({
          link: facing,
          source: client,
          destination: vip.ip,
          protocol: "tcp",
          port: portsOf(context, vip.text)[0]?.port ?? 80,
        });
        return verdict.kind === "drop" && verdict.because.includes("filter drops") && tcp.kind === "deliver"
          ? [{ vip, verdict }]
          : [];
      });
      if (dropped.length === 0) return [];
      const names = dropped.map((d) => d.vip.text);
      return [
        {
          vips: names,
          links: [facing.name],
          wrong: `ICMP for ${theVips(names)} is dropped on ${facing.name}, though its service is accepted.`,
          shell: names
            .slice(0, 8)
            .map((v) => `iptables -I INPUT -d ${v} -p icmp --icmp-type fragmentation-needed -j ACCEPT`),
          rules: rules(dropped.map((d) => d.verdict)),
          evidence: context.facts.filters.flatMap((c, i) =>
            c.hook === "input"
              ? [{ path: `filters[${i}]`, value: `${c.tool} ${c.hook}, policy ${c.policy ?? "accept"}` }]
              : [],
          ),
        },
      ];
    },
  },
  {
    id: "unicast-peer-arp-deadlock",
    title: "the peer director cannot be resolved",
    severity: "medium",
    roles: ["director"],
    notice: "After a link comes back, the node claims to be master at once, ignoring its preempt delay.",
    why: "VRRP with unicast peers needs the peer's MAC. Its neighbour entry has FAILED here, so no advertisement of this host reaches it.",
    cure: "Flush the entry, and have an announcement sent on recovery; or a static entry.",
    rules: ["B-N-06"],
    detect: (context) => {
      const peers = new Set(
        (context.cluster?.failover.instances ?? []).flatMap((i) =>
          i.members
            .filter((m) => m.director.name === context.self)
            .flatMap((m) => (m.unicastPeers ?? []).map((p) => ipText(p))),
        ),
      );
      return context.facts.neighbours.flatMap((n, i): Hit[] =>
        context.director && !n.proxy && n.state === "FAILED" && peers.has(n.ip)
          ? [
              {
                links: [n.link],
                wrong: `The neighbour entry of the peer director ${n.ip} on ${n.link} is FAILED.`,
                shell: [`ip neigh flush to ${n.ip} dev ${n.link}`, `ping -c 1 -I ${n.link} ${n.ip}`],
                evidence: [{ path: `neighbours[${i}]`, value: `${n.ip} ${n.state}` }],
              },
            ]
          : [],
      );
    },
  },
  {
    id: "service-dead-vip-stays",
    title: "the VIP is here and nothing serves it",
    severity: "high",
    roles: ["director"],
    notice: "Every connection to the VIP is refused, while the other director could serve it.",
    why: "The host holds the VIP on the LAN, but has no IPVS service for it and no socket that listens on it: the service stopped, and what holds the VIP did not notice.",
    cure: "Start the service, or let the VIP depend on it.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      const { ipvs, sockets, filters } = context.facts;
      if (ipvs === undefined || sockets === undefined) return [];
      if (ipvs.services.some((s) => s.fwmark !== undefined)) return [];
      if (filters.some((c) => c.hook === "ingress" || c.type === "nat")) return []; // another engine may serve it
      const served = new Set(ipvs.services.map((s) => s.vip));
      const wildcard = (ip: string): boolean => ip === "0.0.0.0" || ip === "::";
      const ports = (vip: string) => context.services.filter((s) => s.vips.includes(vip)).flatMap((s) => s.ports);
      // A wildcard socket serves the VIP if it is on one of its ports; of unknown ports, any but SSH's may be one.
      const listens = (vip: string): boolean =>
        sockets.some(
          (s) =>
            s.ip === vip ||
            (wildcard(s.ip) &&
              (ports(vip).length > 0 ? ports(vip).some(([a, b]) => s.port >= a && s.port <= b) : s.port !== 22)),
        );
      const dead = byVip(context, (v) => context.heldOnLan(v) && !served.has(v.text) && !listens(v.text));
      if (dead.length === 0) return [];
      return [
        {
          vips: texts(dead),
          links: [...new Set(dead.flatMap((v) => holders(context, v).map((l) => l.name)))],
          wrong: `${theVips(texts(dead))} is held here, and neither an IPVS service nor a socket is there for it.`,
          shell: ["# start the service, or take the VIP away so that the other director serves it"],
          vipward: "vipward run",
          evidence: [
            { path: "ipvs.services", value: ipvs.services.length },
            { path: "sockets", value: sockets.length },
          ],
        },
      ];
    },
  },
];

const isCarrier = (link: Link): boolean => link.kind === "dummy" || link.isTunnel || link.name === "kube-ipvs0";

/** True if `link` hears the wire that one of `names` is on: parent, macvlan of one parent, or a subnet in common. */
function hears(context: Context, link: Link, names: readonly string[]): boolean {
  return names.some((name) => {
    const other = context.host.linkByName.get(name);
    if (!other || other === link) return false;
    if (other.parent === link || link.parent === other) return true;
    if (link.parent !== undefined && link.parent === other.parent && link.kind === "macvlan") return true;
    return link.addresses.some((a) =>
      other.addresses.some(
        (b) =>
          a.prefixLength < 32 &&
          a.prefixLength === b.prefixLength &&
          networkOf({ address: a.prefixAddress, length: a.prefixLength }) ===
            networkOf({ address: b.prefixAddress, length: b.prefixLength }),
      ),
    );
  });
}
