/** Findings that a namespace can show, each with its near miss, built on a running kernel (testing/liveHost.ts). */
export interface LiveCase {
  readonly id: string;
  /** "real-server" when absent. */
  readonly role?: "director";
  /** Addresses to ask about; the one VIP when absent. */
  readonly vips?: readonly string[];
  /** Makes the cluster file of the small one; the host is then checked by it, as `web1` or `lb1`. */
  readonly cluster?: (text: string) => string;
  readonly has: readonly string[];
  readonly hasNot: readonly string[];
  readonly twin: string;
  /** Asked by packets beside the report's own words: who-has for these is answered by neither, one or both. */
  readonly answers?: readonly (readonly [ip: string, has: boolean, hasNot: boolean])[];
  /** What the host says by itself while these lines run carries the VIP. */
  readonly saysVip?: readonly string[];
  /** Its remedy is for a person (services, cables, cluster file), or goes through what a namespace has not. */
  readonly byHand?: true;
}

const vipOnLo = "ip addr add 10.0.0.100/32 dev lo";
const vipOnEth = "ip addr add 10.0.0.100/32 dev eth0";
const quiet = ["sysctl net.ipv4.conf.eth0.arp_ignore=1", "sysctl net.ipv4.conf.eth0.arp_announce=2"];
const ignore = "sysctl net.ipv4.conf.eth0.arp_ignore=1";
const announce = "sysctl net.ipv4.conf.eth0.arp_announce=2";
const quietServer = [...quiet, vipOnLo];
/** A second interface that is no part of the wire. */
const second = (name: string, ...more: readonly string[]): readonly string[] => [
  `ip link add ${name} type veth peer name far1`,
  "ip link set far1 up",
  `ip link set ${name} up`,
  ...more,
];
const arpTable = ["nft add table arp vw", "nft add chain arp vw in { type filter hook input priority 0 ; }"];
const arpDropIn = [...arpTable, "nft add rule arp vw in arp daddr ip 10.0.0.100 drop"];
const arpMangleOut = [
  "nft add chain arp vw out { type filter hook output priority 0 ; }",
  "nft add rule arp vw out arp saddr ip 10.0.0.100 arp saddr ip set 10.0.0.11",
];
const ipInput = ["nft add table ip vw", "nft add chain ip vw in { type filter hook input priority 0 ; }"];

export const liveCases: readonly LiveCase[] = [
  // Answers
  {
    id: "rs-answers-vip-by-default",
    has: [vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.all.arp_ignore=1", "sysctl net.ipv4.conf.all.arp_announce=2", vipOnLo],
    twin: "arp_ignore in all",
  },
  {
    id: "arp-ignore-only-on-lo",
    has: ["sysctl net.ipv4.conf.lo.arp_ignore=1", announce, vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.lo.arp_ignore=1", "sysctl net.ipv4.conf.all.arp_ignore=1", announce, vipOnLo],
    twin: "in all as well",
  },
  {
    id: "arp-sysctl-only-in-default",
    has: ["sysctl net.ipv4.conf.default.arp_ignore=1", "sysctl net.ipv4.conf.default.arp_announce=2", vipOnLo],
    hasNot: [
      "sysctl net.ipv4.conf.default.arp_ignore=1",
      "sysctl net.ipv4.conf.default.arp_announce=2",
      ...quietServer,
    ],
    twin: "the interface has it, too",
  },
  {
    id: "vip-on-ethernet-alias-hidden",
    has: [...quiet, `${vipOnEth} label eth0:0`],
    hasNot: [...quiet, `${vipOnLo} label lo:0`],
    twin: "the label is on lo",
  },
  {
    id: "noarp-flag-not-enough",
    has: [announce, ...second("carrier0", "ip link set carrier0 arp off", "ip addr add 10.0.0.100/32 dev carrier0")],
    hasNot: [...quiet, ...second("carrier0", "ip link set carrier0 arp off", "ip addr add 10.0.0.100/32 dev carrier0")],
    twin: "arp_ignore on the LAN interface",
  },
  {
    id: "arp-filter-mistaken-for-ignore",
    has: ["sysctl net.ipv4.conf.eth0.arp_filter=1", announce, vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.eth0.arp_filter=1", ...quietServer],
    twin: "arp_ignore as well",
  },
  {
    id: "kube-proxy-strictarp-off",
    has: [
      "ip link add kube-ipvs0 type bridge",
      "ip link set kube-ipvs0 arp off",
      "ip addr add 10.0.0.100/32 dev kube-ipvs0",
    ],
    hasNot: [
      "sysctl net.ipv4.conf.all.arp_ignore=1",
      "sysctl net.ipv4.conf.all.arp_announce=2",
      "ip link add kube-ipvs0 type bridge",
      "ip link set kube-ipvs0 arp off",
      "ip addr add 10.0.0.100/32 dev kube-ipvs0",
    ],
    twin: "strict ARP on",
  },
  {
    id: "proxy-arp-on-node",
    role: "director",
    has: [
      ...second("eth1", "ip addr add 192.168.1.2/24 dev eth1", "ip route add 10.0.0.100/32 via 192.168.1.9"),
      "sysctl net.ipv4.neigh.eth0.proxy_delay=0",
      "sysctl net.ipv4.ip_forward=1",
      "sysctl net.ipv4.conf.eth0.proxy_arp=1",
    ],
    hasNot: [
      ...second("eth1", "ip addr add 192.168.1.2/24 dev eth1", "ip route add 10.0.0.100/32 via 192.168.1.9"),
      "sysctl net.ipv4.conf.eth0.proxy_arp=1",
      "sysctl net.ipv4.ip_forward=0",
    ],
    twin: "the host does not forward",
  },
  // Leaks
  {
    id: "arp-announce-missing",
    has: [ignore, vipOnLo],
    hasNot: [ignore, "sysctl net.ipv4.conf.all.arp_announce=2", vipOnLo],
    twin: "arp_announce in all",
  },
  {
    id: "arp-announce-1-not-enough",
    has: [ignore, "sysctl net.ipv4.conf.eth0.arp_announce=1", vipOnLo],
    hasNot: [ignore, "sysctl net.ipv4.conf.eth0.arp_announce=1", "ip addr add 192.0.2.100/32 dev lo"],
    vips: ["10.0.0.100", "192.0.2.100"],
    twin: "the VIP is not in the LAN's subnet, where 1 suffices",
  },
  {
    id: "arp-announce-only-on-lo",
    has: [ignore, "sysctl net.ipv4.conf.lo.arp_announce=2", vipOnLo],
    hasNot: [ignore, "sysctl net.ipv4.conf.lo.arp_announce=2", "sysctl net.ipv4.conf.all.arp_announce=2", vipOnLo],
    twin: "in all as well",
  },
  {
    id: "vip-chosen-as-arp-sender",
    has: [
      ...quietServer,
      "ip addr del 10.0.0.11/24 dev eth0",
      "ip route add 10.0.0.0/24 dev eth0",
      "ip route add default via 10.0.0.1",
    ],
    hasNot: [
      ...quiet,
      `${vipOnLo} scope host`,
      "ip addr del 10.0.0.11/24 dev eth0",
      "ip route add 10.0.0.0/24 dev eth0",
      "ip route add default via 10.0.0.1",
    ],
    twin: "the VIP has scope host, so the kernel never selects it",
    byHand: true,
  },
  {
    id: "distro-announces-vip-on-ifup",
    has: [...arpDropIn, vipOnEth, "sysctl net.ipv4.conf.eth0.arp_notify=1"],
    hasNot: [...quietServer, "sysctl net.ipv4.conf.eth0.arp_notify=1"],
    twin: "the VIP is on lo, which nothing announces",
    saysVip: ["ip link set eth0 down", "ip link set eth0 up"],
  },
  {
    id: "director-asks-with-vip",
    role: "director",
    has: [
      "ip addr del 10.0.0.11/24 dev eth0",
      "ip addr add 10.0.0.100/24 dev eth0",
      "ip addr add 10.0.0.11/24 dev eth0",
    ],
    hasNot: ["ip addr del 10.0.0.11/24 dev eth0", vipOnEth, "ip addr add 10.0.0.11/24 dev eth0"],
    twin: "the VIP is first as well, but as /32",
  },
  // Places
  {
    id: "some-lan-nics-forgotten",
    has: [...quietServer, ...second("eth1", "ip addr add 10.0.0.21/24 dev eth1")],
    hasNot: [
      ...quietServer,
      ...second("eth1", "ip addr add 10.0.0.21/24 dev eth1"),
      "sysctl net.ipv4.conf.eth1.arp_ignore=1",
      "sysctl net.ipv4.conf.eth1.arp_announce=2",
    ],
    twin: "the second interface has it, too",
  },
  {
    id: "sysctl-name-with-dot",
    has: [...quietServer, ...second("eth0.100", "ip addr add 10.0.0.21/24 dev eth0.100")],
    hasNot: [
      ...quietServer,
      ...second("eth0.100", "ip addr add 10.0.0.21/24 dev eth0.100"),
      "sysctl net/ipv4/conf/eth0.100/arp_ignore=1",
      "sysctl net/ipv4/conf/eth0.100/arp_announce=2",
    ],
    twin: "the dotted interface has it",
  },
  {
    id: "arp-value-above-range",
    has: ["sysctl net.ipv4.conf.all.arp_ignore=1", "sysctl net.ipv4.conf.eth0.arp_ignore=4", announce, vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.all.arp_ignore=1", "sysctl net.ipv4.conf.eth0.arp_ignore=0", announce, vipOnLo],
    twin: "a smaller number is combined by the maximum",
  },
  {
    id: "arptables-incomplete-or-unsaved",
    has: [...arpDropIn, vipOnLo],
    hasNot: [...arpDropIn, ...arpMangleOut, vipOnLo],
    twin: "both directions",
    byHand: true,
  },
  // Prefixes and strength
  {
    id: "vip-netmask-not-32",
    has: [...quiet, "ip addr add 10.0.0.100/24 dev lo"],
    hasNot: quietServer,
    twin: "/32",
  },
  {
    id: "vip-netmask-not-32",
    has: [...quiet, "ip route add local 10.0.0.96/28 dev lo"],
    hasNot: [...quiet, "ip route add local 10.0.0.100/32 dev lo"],
    twin: "a local route for the VIP alone",
  },
  {
    id: "arp-ignore-too-strong",
    has: ["sysctl net.ipv4.conf.eth0.arp_ignore=8", announce, vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.eth0.arp_ignore=2", announce, vipOnLo],
    twin: "2, where every asker is in the subnet",
    answers: [["10.0.0.11", false, true]],
  },
  {
    id: "arp-ignore-too-strong",
    has: ["sysctl net.ipv4.conf.eth0.arp_ignore=3", announce, vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.eth0.arp_ignore=3", announce, `${vipOnLo} scope host`],
    twin: "3, and the VIP has scope host",
    answers: [["10.0.0.11", true, true]],
  },
  {
    id: "arp-ignore-too-strong",
    has: ["sysctl net.ipv4.conf.eth0.arp_ignore=2", announce, vipOnLo, "ip route add 10.99.0.0/24 dev eth0"],
    hasNot: [...quietServer, "ip route add 10.99.0.0/24 dev eth0"],
    twin: "1 answers askers of any subnet",
  },
  {
    id: "strictarp-breaks-unnumbered-links",
    has: [
      "sysctl net.ipv4.conf.all.arp_ignore=1",
      "sysctl net.ipv4.conf.all.arp_announce=2",
      vipOnLo,
      ...second("cali1", "ip route add 10.244.0.5/32 dev cali1"),
    ],
    hasNot: [...quietServer, ...second("cali1", "ip route add 10.244.0.5/32 dev cali1")],
    twin: "arp_ignore on the LAN interface alone",
  },
  // Acceptance
  {
    id: "vip-missing-on-real-server",
    has: quiet,
    hasNot: [...quiet, "ip route add local 10.0.0.100/32 dev lo"],
    twin: "no address, but a local route",
  },
  {
    id: "lo-addresses-dropped-by-manager",
    has: [...quiet, "ip addr flush dev lo"],
    hasNot: quiet,
    twin: "only the VIP is gone from lo",
  },
  {
    id: "service-bound-to-rip-only",
    has: [...quietServer, "listen 10.0.0.11:80"],
    hasNot: [...quietServer, "listen 10.0.0.11:80", "listen 10.0.0.100:80"],
    twin: "on the VIP as well",
    byHand: true,
  },
  {
    id: "service-bound-to-vip-only",
    has: [...quietServer, "listen 10.0.0.100:80"],
    hasNot: [...quietServer, "listen 0.0.0.0:80"],
    twin: "on the wildcard",
    cluster: (text) => `${text}health: tcp\n`,
    byHand: true,
  },
  {
    id: "rp-filter-drops-clients",
    has: [
      ...quietServer,
      ...second("eth1", "ip addr add 192.168.1.11/24 dev eth1", "ip route replace default via 192.168.1.1"),
      "sysctl net.ipv4.conf.eth1.arp_ignore=1",
      "sysctl net.ipv4.conf.eth1.arp_announce=2",
      "sysctl net.ipv4.conf.eth0.rp_filter=1",
    ],
    hasNot: [...quietServer, "sysctl net.ipv4.conf.eth0.rp_filter=1"],
    twin: "strict, with one interface",
  },
  {
    id: "rp-filter-max-surprise",
    has: [
      ...quietServer,
      ...second("eth1", "ip addr add 192.168.1.11/24 dev eth1", "ip route replace default via 192.168.1.1"),
      "sysctl net.ipv4.conf.eth0.rp_filter=0",
      "sysctl net.ipv4.conf.all.rp_filter=1",
    ],
    hasNot: [
      ...quietServer,
      ...second("eth1", "ip addr add 192.168.1.11/24 dev eth1", "ip route replace default via 192.168.1.1"),
      "sysctl net.ipv4.conf.eth0.rp_filter=2",
      "sysctl net.ipv4.conf.all.rp_filter=1",
    ],
    twin: "2 beats all=1",
  },
  // Director
  {
    id: "nobody-answers-vip",
    role: "director",
    has: ["sysctl net.ipv4.conf.all.arp_ignore=1", vipOnLo],
    hasNot: ["sysctl net.ipv4.conf.all.arp_ignore=1", vipOnEth],
    twin: "the VIP is on the LAN interface",
  },
  {
    id: "director-has-vip-on-lo-too",
    role: "director",
    has: [vipOnEth, vipOnLo],
    hasNot: [vipOnEth, "ip addr add 10.0.0.101/32 dev lo"],
    twin: "another address on lo",
  },
  {
    id: "icmp-redirect-tells-clients-the-rs",
    role: "director",
    has: [vipOnEth, "sysctl net.ipv4.ip_forward=1"],
    hasNot: [
      vipOnEth,
      "sysctl net.ipv4.ip_forward=1",
      "sysctl net.ipv4.conf.all.send_redirects=0",
      "sysctl net.ipv4.conf.eth0.send_redirects=0",
    ],
    twin: "off in both places",
  },
  {
    id: "vip-dies-with-primary-address",
    role: "director",
    has: ["sysctl net.ipv4.conf.all.promote_secondaries=0", "ip addr add 10.0.0.100/24 dev eth0"],
    hasNot: ["ip addr add 10.0.0.100/24 dev eth0", "sysctl net.ipv4.conf.eth0.promote_secondaries=1"],
    twin: "promote_secondaries",
  },
  {
    id: "vrrp-strict-or-firewall-drops-vip",
    has: [...quietServer, ...ipInput, "nft add rule ip vw in ip daddr 10.0.0.100 drop"],
    hasNot: [...quietServer, ...ipInput, "nft add rule ip vw in ip daddr 10.0.0.101 drop"],
    twin: "another address is dropped",
    byHand: true,
  },
  {
    id: "frag-needed-reaches-wrong-host",
    role: "director",
    has: [vipOnEth, ...ipInput, "nft add rule ip vw in meta l4proto icmp drop"],
    hasNot: [
      vipOnEth,
      ...ipInput,
      "nft add rule ip vw in ip daddr 10.0.0.100 accept",
      "nft add rule ip vw in meta l4proto icmp drop",
    ],
    twin: "the VIP's is accepted first",
    byHand: true,
  },
  {
    id: "firewall-drops-invalid-on-director",
    role: "director",
    has: [vipOnEth, ...ipInput, "nft add rule ip vw in ct state invalid drop"],
    hasNot: [
      vipOnEth,
      ...ipInput,
      "nft add rule ip vw in ip daddr 10.0.0.100 accept",
      "nft add rule ip vw in ct state invalid drop",
    ],
    twin: "the VIP is accepted first",
  },
  {
    id: "unicast-peer-arp-deadlock",
    role: "director",
    has: [vipOnEth, "ip neigh add 10.0.0.3 dev eth0 nud failed"],
    hasNot: [vipOnEth, "ip neigh add 10.0.0.3 lladdr 02:00:00:00:00:33 dev eth0 nud stale"],
    twin: "it is known",
    cluster: (text) => text.replace("preempt: false", "preempt: false, unicast: true"),
    byHand: true,
  },
  // IPv6
  {
    id: "rs-answers-vip6",
    vips: ["10.0.0.100", "2001:db8::100"],
    has: [...quietServer, "ip addr add 2001:db8::100/64 dev eth0 nodad"],
    hasNot: [...quietServer, "ip addr add 2001:db8::100/128 dev lo"],
    twin: "on lo, where IPv6 needs no silence",
  },
  {
    id: "ipv6-vip-dadfailed",
    role: "director",
    vips: ["10.0.0.100", "2001:db8::100"],
    has: [
      vipOnEth,
      "peer ip addr add 2001:db8::100/64 dev wire nodad",
      "ip addr add 2001:db8::100/64 dev eth0",
      "wait dadfailed",
    ],
    hasNot: [vipOnEth, "ip addr add 2001:db8::100/64 dev eth0 nodad"],
    twin: "nobody else has it",
    byHand: true,
  },
  // Gateways, firewalls, sources
  {
    id: "rs-gateway-points-at-director",
    has: [...quietServer, "ip route replace default via 10.0.0.2"],
    hasNot: quietServer,
    twin: "the router",
    cluster: (text) => text,
  },
  {
    id: "ip-forward-cargo-cult",
    has: [...quietServer, "sysctl net.ipv4.ip_forward=1"],
    hasNot: quietServer,
    twin: "off",
    byHand: true,
  },
  {
    id: "redirect-method-costs",
    has: [
      ...quiet,
      "nft add table ip vw",
      "nft add chain ip vw pre { type nat hook prerouting priority -100 ; }",
      "nft add rule ip vw pre ip daddr 10.0.0.100 tcp dport 80 redirect",
    ],
    hasNot: [
      ...quietServer,
      "nft add table ip vw",
      "nft add chain ip vw pre { type nat hook prerouting priority -100 ; }",
      "nft add rule ip vw pre ip daddr 10.0.0.101 tcp dport 80 redirect",
    ],
    twin: "the rule is for another address",
    byHand: true,
  },
  {
    id: "nic-needs-promiscuous",
    role: "director",
    has: [
      "ip link add wlan0 type bridge",
      "ip link set wlan0 up",
      "ip addr add 10.0.0.12/24 dev wlan0",
      "ip addr add 10.0.0.100/32 dev wlan0",
    ],
    hasNot: [
      "ip link add wired0 type bridge",
      "ip link set wired0 up",
      "ip addr add 10.0.0.12/24 dev wired0",
      "ip addr add 10.0.0.100/32 dev wired0",
    ],
    twin: "a wired interface",
  },
  {
    id: "vip-used-as-source-address",
    role: "director",
    has: [vipOnEth, "ip route replace default via 10.0.0.1 src 10.0.0.100"],
    hasNot: [vipOnEth, "ip route replace default via 10.0.0.1 src 10.0.0.11"],
    twin: "src is the own address",
  },
  {
    id: "vip-taken-for-node-identity",
    role: "director",
    has: ["ip addr del 10.0.0.11/24 dev eth0", vipOnEth, "ip addr add 10.0.0.11/24 dev eth0"],
    hasNot: [vipOnEth],
    twin: "the own address first",
    byHand: true,
  },
  {
    id: "policy-routing-clash",
    has: [
      ...quietServer,
      "ip rule add priority 100 from 10.0.0.100/32 lookup 100",
      "ip rule add priority 101 from 10.0.0.100/32 unreachable",
    ],
    hasNot: [
      ...quietServer,
      "ip rule add priority 100 from 10.0.0.100/32 lookup 100",
      "ip route add default via 10.0.0.1 dev eth0 table 100",
    ],
    twin: "the table has a default route",
  },
];
