import type { FilterChainFacts, FilterRuleFacts, NotUnderstoodFacts } from "../../model/facts.ts";
import { fibLookup, flowOf } from "../../model/routes.ts";
import { deviceOf } from "../../model/routingTable.ts";
import { selectSource } from "../../model/selectSource.ts";
import { acceptances } from "../acceptance.ts";
import {
  addressEvidence,
  type Context,
  chainName,
  linkEvidence,
  outsider,
  ownAddress,
  removeLines,
} from "../context.ts";
import type { Entry } from "../entry.ts";
import { ipText, rules } from "../questions.ts";
import { list, setConf, theVips } from "../text.ts";

/** Gateways, firewalls, bridges, bonds, sources and the platform below. */

const words = (rule: FilterRuleFacts | NotUnderstoodFacts): string =>
  "notUnderstood" in rule ? rule.notUnderstood : (rule.text ?? "");

const dropsInvalid = (rule: FilterRuleFacts | NotUnderstoodFacts): boolean =>
  // As nft prints it, or as the reader hands on the JSON of what it could not read.
  /\bct\b\W+(?:key\W+)?state\b[^;]*\binvalid\b/i.test(words(rule)) && /\b(drop|reject)\b/i.test(words(rule));

/** True if an earlier rule of the chain accepts (or does not track) the VIP. */
const acceptsVip = (context: Context, chain: FilterChainFacts, before: number): boolean =>
  chain.rules
    .slice(0, before)
    .some((r) =>
      "notUnderstood" in r
        ? context.vips.some((v) => r.notUnderstood.includes(v)) && /\baccept\b/i.test(r.notUnderstood)
        : r.verdict.kind === "accept" &&
          (r.match.target?.any.some((t) => context.vips.some((v) => t === v || t === `${v}/32`)) ?? false),
    );

const notracked = (context: Context): boolean =>
  context.facts.filters.some((c) =>
    c.rules.some((r) => /\bnotrack\b/i.test(words(r)) && context.vips.some((v) => words(r).includes(v))),
  );

const bridgeCall = (context: Context): string[] =>
  ["bridge-nf-call-iptables", "bridge-nf-call-arptables"].filter((k) => (context.sysctl(`bridge.${k}`) ?? 0) !== 0);

const lanBridges = (context: Context) =>
  context.lan.filter((l) => l.kind === "bridge" && context.host.links.some((p) => p.master === l && p.kind !== "veth"));

const cloudWithAntispoof = /openstack|ec2|amazon|\baws\b|\bgce\b|google|azure|oracle/i;
const cloudWithoutGarp = /ec2|amazon|\baws\b|\bgce\b|google|azure|hetzner/i;

export const network: readonly Entry[] = [
  {
    id: "rs-gateway-points-at-director",
    title: "the real server's gateway is the director",
    severity: "high",
    roles: ["real server"],
    notice: "Answers are slow or vanish: they go back through the director.",
    why: "That is the habit of NAT. With direct routing and tunnelling the answers go straight to the clients, by a real router; a director drops them as martian, for their source is its own VIP.",
    cure: "The real router as default gateway.",
    rules: ["C-2.6-02"],
    detect: (context) => {
      const { gateway, cluster } = context;
      if (!context.realServer || context.director || !gateway || context.methods.every((m) => m === "nat")) return [];
      const peer = cluster?.directors.find((d) => d.addresses.some((a) => a.address === gateway.ip));
      if (!peer && !context.vipSet.has(gateway.ip)) return [];
      const router = cluster?.realServers.find((r) => r.name === context.self)?.network.router;
      const better = router !== undefined && router !== gateway.ip ? ipText(router) : "ROUTER";
      return [
        {
          links: [gateway.link.name],
          wrong: `The default gateway is ${ipText(gateway.ip)}, which is ${peer ? `the director ${peer.name}` : "a VIP"}.`,
          shell: [`ip route replace default via ${better} dev ${gateway.link.name}`],
          evidence: [{ path: "routes", value: `default via ${ipText(gateway.ip)} dev ${gateway.link.name}` }],
        },
      ];
    },
  },
  {
    id: "ip-forward-cargo-cult",
    title: "a real server forwards packets without need",
    severity: "low",
    roles: ["real server"],
    notice:
      "Nothing by itself; it arms proxy ARP and redirects, and sends a lost VIP's packets on in a loop instead of dropping them.",
    why: "Every tutorial sets ip_forward=1. Direct routing and tunnelling do not need it on a real server. Containers on this host do.",
    cure: "Leave it if containers or routing need it; else 0.",
    rules: ["C-2.6-01", "A-2.6-15"],
    detect: (context) =>
      context.realServer && !context.director && context.facing?.conf.forwarding
        ? [
            {
              links: [context.facing.name],
              wrong: `${context.facing.name} forwards, which a real server does not need.`,
              shell: ["# if no container, VPN or route needs it: sysctl -w net.ipv4.ip_forward=0"],
              evidence: context.evidence("ip_forward", "all.forwarding", `${context.facing.name}.forwarding`),
            },
          ]
        : [],
  },
  {
    id: "redirect-method-costs",
    title: "a REDIRECT rule takes the place of the VIP",
    severity: "medium",
    roles: ["real server"],
    notice: "It works, then slows down: ports clash, and replies look odd to some firewalls.",
    why: "Each packet is tracked, one listener serves a port of all VIPs, and the service sees this host's address instead of the VIP.",
    cure: "Hold the VIP as /32 on lo; keep the rule for hosts that must not have the address.",
    rules: ["C-2.4-02", "C-2.2-04"],
    detect: (context) => {
      const wanted = context.cluster?.realServers.find((r) => r.name === context.self)?.policy.name;
      if (wanted === "redirect") return [];
      const found = acceptances(context).filter(
        (a) =>
          a.verdict.kind === "deliver" &&
          context.held(a.vip).length === 0 &&
          /^C-2\.4-02$|^C-2\.2-04$/.test(a.verdict.rule),
      );
      const dnat = acceptances(context).filter(
        (a) => a.verdict.kind === "deliver" && a.verdict.seenDestination !== a.vip.ip && !found.includes(a),
      );
      const all = [...found, ...dnat];
      if (all.length === 0) return [];
      const vips = all.map((a) => a.vip.text);
      return [
        {
          vips,
          links: [...new Set(all.map((a) => a.link.name))],
          wrong: `${theVips(vips)} is not held here; a nat rule brings its packets to this host's own address.`,
          shell: [
            ...context.lan.flatMap((l) => [setConf(l.name, "arp_ignore", 1), setConf(l.name, "arp_announce", 2)]),
            ...[...new Set(vips)].slice(0, 16).map((v) => `ip address add ${v}/32 dev lo`),
            "# then take the nat rule away",
          ],
          vipward: "vipward apply",
          rules: rules(all.map((a) => a.verdict)),
          evidence: context.facts.filters.flatMap((c, i) =>
            c.hook === "prerouting" ? [{ path: `filters[${i}]`, value: chainName(c) }] : [],
          ),
        },
      ];
    },
  },
  {
    id: "firewall-drops-invalid-on-director",
    title: "the director's firewall drops what conntrack calls invalid",
    severity: "high",
    roles: ["director"],
    notice:
      "The last packets of connections never pass: IPVS tables fill up, half-closed connections stay on real servers.",
    why: "The director sees one direction only, so the client's later packets do not fit what connection tracking expects.",
    cure: "Accept the VIP before that rule, or do not track it.",
    rules: ["C-DIR-01"],
    detect: (context) => {
      if (!context.director || context.vips4.length === 0 || notracked(context)) return [];
      return context.facts.filters.flatMap((chain, i) => {
        if (chain.family === "arp" || (chain.hook !== "input" && chain.hook !== "prerouting")) return [];
        const at = chain.rules.findIndex(dropsInvalid);
        const rule = chain.rules[at];
        if (!rule || acceptsVip(context, chain, at)) return [];
        return [
          {
            vips: context.vips4.map((v) => v.text),
            wrong: `${chainName(chain)} drops invalid packets before ${theVips(context.vips4.map((v) => v.text))} is accepted.`,
            shell: context.vips4
              .slice(0, 8)
              .map((v) =>
                chain.tool === "nft"
                  ? `nft insert rule ${chain.family} ${chain.table ?? "filter"} ${chain.chain ?? chain.hook} ip daddr ${v.text} accept`
                  : `iptables -I INPUT -d ${v.text} -j ACCEPT`,
              ),
            evidence: [{ path: `filters[${i}].rules[${at}]`, value: words(rule) }],
          },
        ];
      });
    },
  },
  {
    id: "docker-forward-drop",
    title: "the forward policy is drop, and VIP traffic passes the forward chain",
    severity: "high",
    roles: ["director", "real server"],
    notice: "Forwarding stopped after Docker started.",
    why: "Docker turns forwarding on and sets the forward chain's policy to drop. It hits what this host forwards: answers of nat services, and, with bridge netfilter on, frames that only cross its bridge.",
    cure: "An accept rule in DOCKER-USER, or bridge-nf-call-iptables=0 for bridges.",
    rules: ["C-2.6-01"],
    detect: (context) => {
      const chain = context.facts.filters.findIndex(
        (c) => c.hook === "forward" && (c.family === "ip" || c.family === "inet") && c.policy === "drop",
      );
      const docker = context.host.links.some((l) => l.name === "docker0");
      if (chain < 0 || !docker || (!context.director && !context.realServer)) return [];
      const nat =
        context.director &&
        (context.facts.ipvs?.services ?? []).some((s) => s.destinations.some((d) => d.method === "nat"));
      const bridged = lanBridges(context).length > 0 && bridgeCall(context).includes("bridge-nf-call-iptables");
      if (!nat && !bridged) return [];
      return [
        {
          links: lanBridges(context).map((l) => l.name),
          wrong: `Docker is here, the forward chain drops by default, and ${nat ? "IPVS forwards nat services" : "bridged frames pass that chain"}.`,
          shell: bridged
            ? ["sysctl -w net.bridge.bridge-nf-call-iptables=0"]
            : context.vips4
                .slice(0, 8)
                .flatMap((v) => [
                  `iptables -I DOCKER-USER -s ${v.text} -j ACCEPT`,
                  `iptables -I DOCKER-USER -d ${v.text} -j ACCEPT`,
                ]),
          evidence: [
            { path: `filters[${chain}].policy`, value: "drop" },
            ...linkEvidence(context, "docker0"),
            ...context.evidence("bridge.bridge-nf-call-iptables"),
          ],
        },
      ];
    },
  },
  {
    id: "bridge-netfilter-on-vm-host",
    title: "bridged frames pass this host's firewall",
    severity: "high",
    roles: ["any"],
    notice: "VIP frames die inside a VM host's bridge; the host's ARP rules hit its guests.",
    why: "With bridge-nf-call-iptables or -arptables on, what only crosses the bridge is filtered as if it were for this host.",
    cure: "Turn it off, or let rules pass what crosses the bridge.",
    rules: ["A-2.6-20"],
    detect: (context) => {
      const bridges = lanBridges(context);
      const calls = bridgeCall(context);
      const filtered = context.facts.filters.some(
        (c) =>
          (c.hook === "forward" && (c.policy === "drop" || c.rules.length > 0)) ||
          (c.family === "arp" && c.rules.length > 0),
      );
      if (bridges.length === 0 || calls.length === 0 || !filtered) return [];
      if (
        context.facts.filters.some((c) => c.hook === "forward" && c.policy === "drop") &&
        context.host.links.some((l) => l.name === "docker0")
      )
        return []; // docker-forward-drop says it
      return [
        {
          links: bridges.map((l) => l.name),
          wrong: `${list(calls.map((k) => `net.bridge.${k}`))} is 1 and ${list(bridges.map((l) => l.name))} carries the LAN.`,
          shell: calls.map((k) => `sysctl -w net.bridge.${k}=0`),
          evidence: context.evidence(...calls.map((k) => `bridge.${k}`)),
        },
      ];
    },
  },
  {
    id: "bond-balance-alb-rewrites-mac",
    title: "the bond hands out several MACs",
    severity: "high",
    roles: ["director", "any"],
    notice: "The VIP moves between the MACs of one bond's ports, then goes dead; it heals when one port is taken down.",
    why: "Adaptive load balancing (balance-tlb, balance-alb) rewrites ARP answers so that each client gets another port's MAC.",
    cure: "active-backup or 802.3ad.",
    rules: ["A-2.6-21"],
    detect: (context) =>
      context.facts.links.flatMap((l, i) =>
        l.kind === "bond" &&
        /^(balance-alb|balance-tlb|[56])$/.test(l.mode ?? "") &&
        context.lan.some((x) => x.name === l.name)
          ? [
              {
                links: [l.name],
                wrong: `${l.name} is a bond of mode ${l.mode}.`,
                shell: [
                  `# in the bond's own configuration: mode active-backup or 802.3ad; ${l.name} must be down to change it`,
                ],
                evidence: [{ path: `links[${i}].mode`, value: l.mode }],
              },
            ]
          : [],
      ),
  },
  {
    id: "nic-needs-promiscuous",
    title: "the VIP is on a Wi-Fi interface",
    severity: "high",
    roles: ["director"],
    notice: "ARP for the VIP is answered only while somebody runs tcpdump.",
    why: "Wi-Fi chips and access points pass broadcasts, and frames for foreign MACs, only as they please; in promiscuous mode they pass more. A capture therefore hides the fault.",
    cure: "A wired interface; else promiscuous mode.",
    rules: ["A-ALL-01"],
    detect: (context) =>
      context.director
        ? context.lan
            .filter(
              (l) =>
                /^wl(an|p|x|s|o)/.test(l.name) && context.vips4.some((v) => context.held(v).some((a) => a.link === l)),
            )
            .filter((l) => !context.facts.links.some((f) => f.name === l.name && f.flags.includes("PROMISC")))
            .map((l) => ({
              links: [l.name],
              vips: context.vips4.filter((v) => context.held(v).some((a) => a.link === l)).map((v) => v.text),
              wrong: `${l.name}, a Wi-Fi interface by its name, holds the VIP.`,
              shell: [`ip link set ${l.name} promisc on`],
              evidence: linkEvidence(context, l.name),
            }))
        : [],
  },
  {
    id: "vip-used-as-source-address",
    title: "this host's own connections leave with the VIP as their source",
    severity: "high",
    roles: ["director", "real server"],
    notice:
      "Certificates and access lists fail; answers land on another machine after a failover, or at once on a real server.",
    why: "The kernel takes a route's preferred source, or else the first address of the interface that fits, and that is the VIP.",
    cure: "The VIP as /32 after the own address, scope host on lo, or src OWN on the route.",
    rules: ["B-2.6-06"],
    detect: (context) => {
      const { host } = context;
      const targets = [outsider(host), context.facing && context.ask.neighbourOn(context.facing)].filter(
        (t) => t !== undefined,
      );
      for (const target of targets) {
        const route = fibLookup(host, flowOf({ destination: target }));
        const out = route && deviceOf(route);
        if (!route || !out || route.type !== "unicast") continue;
        const source = route.prefsrc ?? selectSource(host, out, route.hops[0]?.via ?? target, route.scope);
        if (!context.vipSet.has(source)) continue;
        const own = ownAddress(context, out);
        const toDefault = route.prefixLength === 0;
        const via = route.hops[0]?.via;
        return [
          {
            vips: [ipText(source)],
            links: [out.name],
            wrong: `Connections of this host to ${toDefault ? "the outside" : ipText(target)} leave ${out.name} with the source ${ipText(source)}, a VIP.`,
            shell: own
              ? [
                  toDefault && via !== undefined
                    ? `ip route change default via ${ipText(via)} dev ${out.name} src ${ipText(own.ip)}`
                    : `# put the VIP after ${ipText(own.ip)}: delete it and add it as ${ipText(source)}/32`,
                ]
              : [`# give ${out.name} an address of its own`],
            evidence: [
              ...addressEvidence(context, source),
              ...(route.prefsrc ? [{ path: "routes", value: `src ${ipText(source)}` }] : []),
            ],
          },
        ];
      }
      return [];
    },
  },
  {
    id: "vip-taken-for-node-identity",
    title: "the VIP is the first address of the LAN interface",
    severity: "high",
    roles: ["any"],
    notice: "A service registry, container network or cluster agent advertises the VIP as this machine's address.",
    why: "Many programs take the first address that is not a loopback's for the machine's own.",
    cure: "The own address first; the VIP as /32 after it, or on lo.",
    rules: ["B-2.6-06"],
    detect: (context) =>
      context.lan.flatMap((link) => {
        const [first] = link.addresses;
        const own = ownAddress(context, link);
        if (!first || !own || !context.vipSet.has(first.ip)) return [];
        return [
          {
            vips: [ipText(first.ip)],
            links: [link.name],
            wrong: `${ipText(first.ip)}, a VIP, comes before ${ipText(own.ip)} on ${link.name}.`,
            shell: [
              ...removeLines(context, first),
              `ip address add ${ipText(first.ip)}/32 dev ${context.silentSet.has(first.ip) ? "lo" : link.name}`,
            ],
            evidence: addressEvidence(context, first.ip),
          },
        ];
      }),
  },
  {
    id: "policy-routing-clash",
    title: "policy rules leave the VIP's answers without a route",
    severity: "high",
    roles: ["real server"],
    notice: "The service works from some places only, or from none, though packets arrive.",
    why: "A rule sends what comes from the VIP, or carries a mark, to a table that has no way to the client.",
    cure: "A default route in that table, or a rule that does not catch the VIP.",
    rules: ["C-2.6-01"],
    detect: (context) => {
      const client = outsider(context.host);
      if (client === undefined || !context.host.customRules) return [];
      const lost = context.silent.filter((vip) => {
        if (context.held(vip).length === 0) return false;
        return fibLookup(context.host, flowOf({ destination: client, source: vip.ip })) === undefined;
      });
      const [vip] = lost;
      if (!vip) return [];
      const at = context.facts.rules.findIndex((r) => r.from !== undefined && r.table !== undefined && r.table < 253);
      const rule = context.facts.rules[at];
      return [
        {
          vips: lost.map((v) => v.text),
          wrong: `Answers from ${theVips(lost.map((v) => v.text))} to ${ipText(client)} have no route, though other packets to it have one${rule ? `: rule ${rule.priority} sends them to table ${rule.table}` : ""}.`,
          shell: [
            context.gateway
              ? `ip route add default via ${ipText(context.gateway.ip)} dev ${context.gateway.link.name} table ${rule?.table ?? "TABLE"}`
              : "# ip rule; ip route show table all",
          ],
          evidence: rule
            ? [{ path: `rules[${at}]`, value: `from ${rule.from} table ${rule.table}` }]
            : [{ path: "rules", value: context.facts.rules.length }],
        },
      ];
    },
  },
  {
    id: "sysctl-readonly-or-hidden-in-container",
    title: "sysctls cannot be seen from inside this container",
    severity: "high",
    roles: ["any"],
    notice: "A tool carries on and the value stays as it was.",
    why: "In a container /proc/sys is read-only, or lacks the files of the host's namespace.",
    cure: "Do it on the host, or in a unit there.",
    rules: ["S-ALL-04"],
    detect: (context) => {
      const { environment, unread } = context.facts;
      const at = unread.findIndex((u) => /sysctl|proc\/sys/.test(u.what));
      const what = unread[at];
      if (environment?.container === undefined || !what) return [];
      return [
        {
          wrong: `This is a ${environment.container} container, and ${what.what} could not be read: ${what.why}.`,
          shell: ["# run vipward check on the host that this container runs on"],
          evidence: [
            { path: `unread[${at}]`, value: what.what },
            { path: "environment.container", value: environment.container },
          ],
        },
      ];
    },
  },
  {
    id: "cloud-antispoof-drops-vip-source",
    title: "this platform drops answers that carry the VIP, unless it is told",
    severity: "critical",
    roles: ["real server"],
    notice: "The real server answers, and its answers vanish in the virtual switch.",
    why: "Clouds let a port send only with its own addresses (allowed address pairs, source/destination check). Whether the VIP is allowed for this port cannot be seen from inside.",
    cure: "Allow the VIP on the port of every real server, not only on the directors'.",
    rules: ["C-ALL-02"],
    detect: (context) => {
      const platform = context.facts.environment?.virtualisation;
      if (
        !context.realServer ||
        platform === undefined ||
        !cloudWithAntispoof.test(platform) ||
        context.vips4.length === 0
      )
        return [];
      return [
        {
          vips: context.vips4.map((v) => v.text),
          severity: "low", // a hint: from inside nobody can tell
          wrong: `This real server runs on ${platform}, which lets answers from ${theVips(context.vips4.map((v) => v.text))} pass only where the port allows it.`,
          shell: [
            /openstack/i.test(platform)
              ? `# openstack port set --allowed-address ip-address=${context.vips4[0]?.text} PORT`
              : "# turn the source/destination check (IP forwarding) of this interface on the platform to: do not check",
          ],
          evidence: [{ path: "environment.virtualisation", value: platform }],
        },
      ];
    },
  },
  {
    id: "cloud-ignores-garp",
    title: "this platform ignores ARP announcements",
    severity: "critical",
    roles: ["director"],
    notice: "After a failover the VIP is up and reachable from its own host only.",
    why: "The platform maps addresses to ports itself. A gratuitous ARP moves nothing, and multicast does not pass.",
    cure: "Move the address through the platform's interface, with unicast VRRP; or use the platform's balancer.",
    rules: ["B-G-02"],
    detect: (context) => {
      const platform = context.facts.environment?.virtualisation;
      const several = (context.cluster?.directors.length ?? 1) > 1;
      if (!context.director || platform === undefined || !cloudWithoutGarp.test(platform) || context.vips4.length === 0)
        return [];
      return [
        {
          vips: context.vips4.map((v) => v.text),
          severity: several ? "critical" : "low", // one director alone never has to move it
          wrong: `This director runs on ${platform}, where taking ${theVips(context.vips4.map((v) => v.text))} over by ARP does not work.`,
          shell: ["# let the failover move the address through the platform's own interface"],
          evidence: [{ path: "environment.virtualisation", value: platform }],
        },
      ];
    },
  },
  {
    id: "hypervisor-rejects-foreign-mac",
    title: "a virtual MAC inside a virtual machine",
    severity: "high",
    roles: ["director"],
    notice: "Both directors are master, or the VIP answers ARP and no data passes.",
    why: "The VIP is on a macvlan with a MAC of its own. Hypervisors' switches pass only the MAC they gave to the machine, unless their policy says otherwise.",
    cure: "Failover without virtual MAC, as vipward does it; or allow promiscuous mode, MAC changes and forged transmits for that port.",
    rules: ["A-2.6-21"],
    detect: (context) => {
      const platform = context.facts.environment?.virtualisation;
      if (!context.director || platform === undefined || platform === "none") return [];
      if (context.facts.environment?.container !== undefined) return [];
      const vmacs = context.lan.filter(
        (l) =>
          l.kind === "macvlan" &&
          l.mac !== l.parent?.mac &&
          context.vips4.some((v) => context.held(v).some((a) => a.link === l)),
      );
      if (vmacs.length === 0) return [];
      return [
        {
          links: vmacs.map((l) => l.name),
          vips: context.vips4.filter((v) => context.held(v).some((a) => vmacs.includes(a.link))).map((v) => v.text),
          wrong: `${list(vmacs.map((l) => l.name))} holds the VIP with a MAC of its own, in a ${platform} machine.`,
          shell: ["# without use_vmac the VIP lives on the interface's own MAC"],
          evidence: [
            ...vmacs.flatMap((l) => linkEvidence(context, l.name)),
            { path: "environment.virtualisation", value: platform },
          ],
        },
      ];
    },
  },
];
