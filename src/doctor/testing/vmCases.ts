import { ipInput, type LiveCase, quiet, quietServer, vipOnEth, vipOnLo } from "./liveCase.ts";

const noFilter = ["sysctl net.ipv4.conf.all.rp_filter=0", "sysctl net.ipv4.conf.eth0.rp_filter=0"];
const smallSegments = "ip route replace default via 10.0.0.1 advmss 1440";
/** LVS/TUN: every namespace of this kernel has a tunl0 of its own. */
const tunnel = (vip: string, rpFilter: number): readonly string[] => [
  ...quiet,
  ...noFilter,
  "ip link set tunl0 up",
  vip,
  `sysctl net.ipv4.conf.tunl0.rp_filter=${rpFilter}`,
  smallSegments,
];
const vipOnTunnel = "ip addr add 10.0.0.100/32 dev tunl0";
const tunnelServer = tunnel(vipOnTunnel, 2);

const service = "ipvsadm -A -t 10.0.0.100:80 -s rr";
const to = (rip: string, how: string): string => `ipvsadm -a -t 10.0.0.100:80 -r ${rip}:80 ${how}`;
const expires = "sysctl net.ipv4.vs.expire_nodest_conn=1";
const sync = (role: "master" | "backup"): string => `ipvsadm --start-daemon ${role} --mcast-interface eth0 --syncid 7`;
const serving = [vipOnEth, service, expires];
const forwardDrop = [
  "nft add table ip vw",
  "nft add chain ip vw forward { type filter hook forward priority 0 ; policy drop ; }",
];
const bridgedLan = [
  "modprobe br_netfilter",
  "ip link add br0 type bridge",
  "ip addr del 10.0.0.11/24 dev eth0",
  "ip link set eth0 master br0",
  "ip link set br0 up",
  "ip addr add 10.0.0.11/24 dev br0",
  "ip route add default via 10.0.0.1",
  "ip link add nic0 type dummy", // a NIC in the bridge; a host whose bridge has only veths serves containers
  "ip link set nic0 master br0",
  "sysctl net.ipv4.conf.br0.arp_ignore=1",
  "sysctl net.ipv4.conf.br0.arp_announce=2",
  vipOnLo,
  ...forwardDrop,
];
const bonded = (mode: string): readonly string[] => [
  `ip link add bond0 type bond mode ${mode}`,
  "ip addr del 10.0.0.11/24 dev eth0",
  "ip link set eth0 down",
  "ip link set eth0 master bond0",
  "ip link set bond0 up",
  "ip addr add 10.0.0.11/24 dev bond0",
  "ip addr add 10.0.0.100/32 dev bond0",
  "ip route add default via 10.0.0.1",
];
const vlan = [
  "ip link add link eth0 name eth0.100 type vlan id 100",
  "ip link set eth0.100 up",
  "ip addr add 192.168.7.11/24 dev eth0.100",
];
const vmac = ["ip link add vmac0 link eth0 type macvlan mode bridge", "ip link set vmac0 up"];
const ipvsModules = ["ip_vs_rr", "ip_vs_wrr", "ip_vs_wlc", "ip_vs_sh", "ip_vs"];

/** Findings that need what a distribution's kernel has: IPVS, ipip, bonds, VLANs, arptables' own tables. */
export const vmCases: readonly LiveCase[] = [
  // Tunnels
  {
    id: "rp-filter-tunl0",
    method: "tun",
    has: tunnel(vipOnTunnel, 1),
    hasNot: tunnelServer,
    twin: "loose, and tunl0 has an address",
  },
  {
    id: "rp-filter-tunl0",
    method: "tun",
    has: tunnel(vipOnLo, 2),
    hasNot: tunnel(vipOnLo, 0),
    twin: "off, for a tunnel without an address",
  },
  {
    id: "tunnel-device-down-or-missing",
    method: "tun",
    has: [...tunnelServer, "ip link set tunl0 down"],
    hasNot: tunnelServer,
    twin: "tunl0 is up",
  },
  {
    id: "ipip-protocol-filtered",
    method: "tun",
    has: [...tunnelServer, ...ipInput, "nft add rule ip vw in ip protocol 4 drop"],
    hasNot: [...tunnelServer, ...ipInput, "nft add rule ip vw in ip protocol 47 drop"],
    twin: "GRE is dropped, not IPIP",
    byHand: true,
  },
  {
    id: "mtu-tun-df-blackhole",
    method: "tun",
    has: [...tunnelServer, "ip route replace default via 10.0.0.1"],
    hasNot: tunnelServer,
    twin: "advmss leaves room for the tunnel",
  },
  // IPVS
  {
    id: "stale-vip-on-old-holder",
    role: "director",
    has: [...serving, to("10.0.0.12", "-g"), sync("backup")],
    hasNot: [...serving, to("10.0.0.12", "-g"), sync("backup"), sync("master")],
    twin: "it syncs as master, too",
  },
  {
    id: "service-dead-vip-stays",
    role: "director",
    has: [vipOnEth, "listen 0.0.0.0:22"],
    hasNot: [vipOnEth, "listen 10.0.0.100:443"],
    twin: "a proxy listens on the VIP",
    byHand: true,
  },
  {
    id: "director-and-rs-same-host-loop",
    role: "both",
    has: [...quietServer, service, expires, to("10.0.0.12", "-g"), sync("backup")],
    hasNot: [
      ...quietServer,
      service,
      expires,
      to("10.0.0.12", "-g"),
      sync("backup"),
      "sysctl net.ipv4.vs.backup_only=1",
    ],
    twin: "backup_only with the backup daemon",
  },
  {
    id: "tun-loop-on-rs-director",
    role: "both",
    has: [...quietServer, service, expires, to("10.0.0.12", "-i"), "sysctl net.ipv4.vs.ignore_tunneled=0"],
    hasNot: [...quietServer, service, expires, to("10.0.0.12", "-i"), "sysctl net.ipv4.vs.ignore_tunneled=1"],
    twin: "ignore_tunneled",
  },
  {
    id: "localnode-service-not-on-vip",
    role: "director",
    has: [...serving, to("10.0.0.11", "-g"), "listen 10.0.0.11:80"],
    hasNot: [...serving, to("10.0.0.11", "-g"), "listen 0.0.0.0:80"],
    twin: "the wildcard",
    byHand: true,
  },
  {
    id: "port-remap-in-dr",
    role: "director",
    has: [...serving, "destination 10.0.0.100:80 10.0.0.12:8080 dr"],
    hasNot: [...serving, "ipvsadm -a -t 10.0.0.100:80 -r 10.0.0.12:8080 -m"],
    twin: "nat can change the port",
  },
  {
    id: "rs-not-on-same-l2",
    role: "director",
    has: [...serving, to("10.20.0.13", "-g")],
    hasNot: [...serving, to("10.20.0.13", "-i")],
    twin: "tunnelling passes routers",
  },
  {
    id: "dead-rs-keeps-connections",
    role: "director",
    has: [vipOnEth, service, to("10.0.0.12", "-g"), "sysctl net.ipv4.vs.expire_nodest_conn=0"],
    hasNot: [...serving, to("10.0.0.12", "-g")],
    twin: "expire_nodest_conn",
  },
  {
    id: "persistence-sends-to-quiesced-rs",
    role: "director",
    has: [
      vipOnEth,
      expires,
      `${service} -p 300`,
      to("10.0.0.12", "-g -w 0"),
      "sysctl net.ipv4.vs.expire_quiescent_template=0",
    ],
    hasNot: [
      vipOnEth,
      expires,
      `${service} -p 300`,
      to("10.0.0.12", "-g -w 1"),
      "sysctl net.ipv4.vs.expire_quiescent_template=0",
    ],
    twin: "no real server is drained",
  },
  {
    id: "sync-daemon-silent",
    role: "director",
    cluster: (text) => text,
    has: [...serving, to("10.0.0.12", "-g")],
    hasNot: [...serving, to("10.0.0.12", "-g"), sync("master")],
    twin: "it runs as master",
    byHand: true,
  },
  {
    id: "ipvs-table-drift",
    role: "director",
    cluster: (text) => text,
    has: [...serving, to("10.0.0.77", "-g"), sync("master")],
    hasNot: [...serving, to("10.0.0.12", "-g"), sync("master")],
    twin: "one real server is out, as a failed check leaves it",
    byHand: true,
  },
  {
    id: "docker-forward-drop",
    role: "director",
    has: [...serving, to("10.0.0.12", "-m"), "ip link add docker0 type bridge", ...forwardDrop],
    hasNot: [...serving, to("10.0.0.12", "-g"), "ip link add docker0 type bridge", ...forwardDrop],
    twin: "direct routing does not pass the forward chain",
    byHand: true,
  },
  // Links and filters
  {
    id: "bridge-netfilter-on-vm-host",
    has: [...bridgedLan, "sysctl net.bridge.bridge-nf-call-iptables=1"],
    hasNot: [
      ...bridgedLan,
      "sysctl net.bridge.bridge-nf-call-iptables=0",
      "sysctl net.bridge.bridge-nf-call-arptables=0",
      "sysctl net.bridge.bridge-nf-call-ip6tables=0",
    ],
    twin: "off",
  },
  {
    id: "bond-balance-alb-rewrites-mac",
    role: "director",
    has: bonded("balance-alb"),
    hasNot: bonded("active-backup"),
    twin: "active-backup",
    byHand: true,
  },
  {
    id: "sysctl-name-with-dot",
    has: [...quietServer, ...vlan],
    hasNot: [
      ...quietServer,
      ...vlan,
      "sysctl net/ipv4/conf/eth0.100/arp_ignore=1",
      "sysctl net/ipv4/conf/eth0.100/arp_announce=2",
    ],
    twin: "the VLAN has it, too",
  },
  {
    id: "hypervisor-rejects-foreign-mac",
    role: "director",
    has: [...vmac, "sysctl net.ipv4.conf.eth0.arp_ignore=1", "ip addr add 10.0.0.100/32 dev vmac0"],
    hasNot: [...vmac, vipOnEth],
    twin: "the VIP is on the interface's own MAC",
    byHand: true,
  },
  {
    id: "arptables-flavour-mixed",
    has: [
      ...quietServer,
      "nft add table arp vw",
      "nft add chain arp vw in { type filter hook input priority 0 ; }",
      "nft add rule arp vw in arp daddr ip 10.0.0.101 drop",
      "arptables-legacy -A INPUT -d 10.0.0.102 -j DROP",
    ],
    hasNot: [...quietServer, "arptables-legacy -A INPUT -d 10.0.0.102 -j DROP"],
    twin: "one tool",
    byHand: true,
  },
  // Last: it takes IPVS out of the kernel, and the twin brings it back.
  {
    id: "ip-vs-module-missing",
    role: "director",
    has: [vipOnEth, `rmmod ${ipvsModules.join(" ")}`],
    hasNot: [vipOnEth, "modprobe ip_vs"],
    twin: "loaded, with an empty table",
  },
];

/** Findings that no kernel here can have, with the fact that says so. */
export const notLive: Readonly<Record<string, string>> = {
  "hidden-half-set": "the flag is of 2.2.14 - 2.2.26 and of patched kernels; neither runs here",
  "vip-packets-refused": "IPv4 state of an interface without an address is missing in kernels up to 2.6.21 only",
  "port-reuse-one-second-stall": "kernels before 5.9 only; 6.1 and 6.18 run here",
  "cloud-antispoof-drops-vip-source": "the firmware names the platform, and this machine's names none of those",
  "cloud-ignores-garp": "the firmware names the platform, and this machine's names none of those",
};
