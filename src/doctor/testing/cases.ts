import type { FilterChainFacts, FilterRuleFacts, HostFacts, IpvsFacts, LinkFacts } from "../../model/facts.ts";
import type { CheckInput } from "../context.ts";
import {
  address,
  both,
  cluster,
  clusterText,
  DIP,
  director,
  directorFacts,
  edit,
  link,
  RIP,
  realServer,
  realServerFacts,
  tunnelFacts,
  tunnelServer,
  VIP,
  withSysctls,
} from "./hosts.ts";

/** For every finding: facts that have it, and its twin: facts that nearly have it, and do not. */
export interface Case {
  readonly id: string;
  readonly has: CheckInput;
  readonly hasNot: CheckInput;
  /** What sets the twin apart. */
  readonly twin: string;
}

const other = "10.10.0.101";
const [lo, eth0] = realServerFacts.links as readonly [LinkFacts, LinkFacts];
const [home] = realServerFacts.addresses as readonly [HostFacts["addresses"][number]];
const rip = address("eth0", `${RIP}/24`);
const dip = address("eth0", `${DIP}/24`);
const vipOnLo = address("lo", `${VIP}/32`);
const vipOnEth = address("eth0", `${VIP}/32`);
const eth1 = link(3, "eth1");

const chain = (part: Partial<FilterChainFacts> & Pick<FilterChainFacts, "hook">): FilterChainFacts => ({
  tool: "nft",
  family: "ip",
  rules: [],
  ...part,
});
const drop = (match: FilterRuleFacts["match"]): FilterRuleFacts => ({ match, verdict: { kind: "drop" } });
const accept = (match: FilterRuleFacts["match"]): FilterRuleFacts => ({ match, verdict: { kind: "accept" } });
const arpDropIn = chain({ family: "arp", hook: "input", rules: [drop({ target: { any: [VIP] } })] });
const arpMangleOut = chain({
  family: "arp",
  hook: "output",
  rules: [{ match: { source: { any: [VIP] } }, verdict: { kind: "mangle", senderIp: RIP, next: "accept" } }],
});

const table = (
  change: Partial<IpvsFacts["services"][number]>,
  sync: readonly string[] = ["master"],
): Partial<HostFacts> => ({
  ipvs: { sync, services: (directorFacts.ipvs?.services ?? []).map((s) => ({ ...s, ...change })) },
});
const destination = (rip: string, port = 80, method: "dr" | "tun" | "nat" | "local" = "dr", weight = 1) => ({
  rip,
  port,
  method,
  weight,
});

const small = cluster();
const inCluster = (input: CheckInput, self: string, text?: string): CheckInput => ({
  ...input,
  cluster: text === undefined ? small : cluster(text),
  self,
});
const vrrp = (settings: string): string => clusterText().replace("preempt: false", settings);

const v6 = "2001:db8::100";
const macvlan = (more: Partial<LinkFacts> = {}): LinkFacts =>
  link(4, "vrrp.51", { kind: "macvlan", parent: "eth0", mode: "bridge", ...more });

export const cases: readonly Case[] = [
  // Answers
  {
    id: "rs-answers-vip-by-default",
    has: withSysctls(realServer, {}),
    hasNot: withSysctls(realServer, { "all.arp_ignore": 1, "all.arp_announce": 2 }),
    twin: "arp_ignore in all",
  },
  {
    id: "arp-ignore-only-on-lo",
    has: withSysctls(realServer, { "lo.arp_ignore": 1, "eth0.arp_announce": 2 }),
    hasNot: withSysctls(realServer, { "lo.arp_ignore": 1, "all.arp_ignore": 1, "eth0.arp_announce": 2 }),
    twin: "in all as well",
  },
  {
    id: "arp-sysctl-only-in-default",
    has: withSysctls(realServer, { "default.arp_ignore": 1, "default.arp_announce": 2 }),
    hasNot: withSysctls(realServer, { "default.arp_ignore": 1, "eth0.arp_ignore": 1, "eth0.arp_announce": 2 }),
    twin: "the interface has it, too",
  },
  {
    id: "vip-on-ethernet-alias-hidden",
    has: edit(realServer, { addresses: [home, rip, { ...vipOnEth, label: "eth0:0" }] }),
    hasNot: edit(realServer, { addresses: [home, rip, { ...vipOnLo, label: "lo:0" }] }),
    twin: "the label is on lo",
  },
  {
    id: "noarp-flag-not-enough",
    has: edit(withSysctls(realServer, { "eth0.arp_announce": 2 }), {
      links: [lo, eth0, link(3, "dummy0", { kind: "dummy", flags: ["UP", "NOARP"] })],
      addresses: [home, rip, address("dummy0", `${VIP}/32`)],
    }),
    hasNot: edit(realServer, {
      links: [lo, eth0, link(3, "dummy0", { kind: "dummy", flags: ["UP", "NOARP"] })],
      addresses: [home, rip, address("dummy0", `${VIP}/32`)],
    }),
    twin: "arp_ignore on the LAN interface",
  },
  {
    id: "arp-filter-mistaken-for-ignore",
    has: withSysctls(realServer, { "eth0.arp_filter": 1, "eth0.arp_announce": 2 }),
    hasNot: edit(realServer, { sysctls: { "eth0.arp_filter": 1 } }),
    twin: "arp_ignore as well",
  },
  {
    id: "kube-proxy-strictarp-off",
    has: edit(withSysctls(realServer, {}), {
      links: [lo, eth0, link(3, "kube-ipvs0", { kind: "dummy", flags: ["NOARP"] })],
      addresses: [home, rip, address("kube-ipvs0", `${VIP}/32`)],
    }),
    hasNot: edit(withSysctls(realServer, { "all.arp_ignore": 1, "all.arp_announce": 2 }), {
      links: [lo, eth0, link(3, "kube-ipvs0", { kind: "dummy", flags: ["NOARP"] })],
      addresses: [home, rip, address("kube-ipvs0", `${VIP}/32`)],
    }),
    twin: "strict ARP on; the dummy may be NOARP and down",
  },
  {
    id: "proxy-arp-on-node",
    has: edit(director, {
      links: [lo, eth0, eth1],
      addresses: [home, dip, address("eth1", "192.168.1.2/24")],
      routes: [...directorFacts.routes, { dst: `${VIP}/32`, via: "192.168.1.9", dev: "eth1" }],
      sysctls: { "eth0.proxy_arp": 1, ip_forward: 1, "all.send_redirects": 0, "eth0.send_redirects": 0 },
    }),
    hasNot: edit(director, {
      links: [lo, eth0, eth1],
      addresses: [home, dip, address("eth1", "192.168.1.2/24")],
      routes: [...directorFacts.routes, { dst: `${VIP}/32`, via: "192.168.1.9", dev: "eth1" }],
      sysctls: { "eth0.proxy_arp": 1, ip_forward: 0 },
    }),
    twin: "the host does not forward",
  },
  // Leaks
  {
    id: "arp-announce-missing",
    has: withSysctls(realServer, { "eth0.arp_ignore": 1 }),
    hasNot: withSysctls(realServer, { "eth0.arp_ignore": 1, "all.arp_announce": 2 }),
    twin: "arp_announce in all",
  },
  {
    id: "arp-announce-1-not-enough",
    has: edit(realServer, { sysctls: { "eth0.arp_announce": 1 } }),
    hasNot: edit(
      realServer,
      { sysctls: { "eth0.arp_announce": 1 }, addresses: [home, address("lo", "192.0.2.100/32"), rip] },
      {
        vips: ["192.0.2.100"],
        services: [],
      },
    ),
    twin: "the VIP is not in the LAN's subnet, where 1 suffices",
  },
  {
    id: "arp-announce-only-on-lo",
    has: withSysctls(realServer, { "eth0.arp_ignore": 1, "lo.arp_announce": 2 }),
    hasNot: withSysctls(realServer, { "eth0.arp_ignore": 1, "lo.arp_announce": 2, "all.arp_announce": 2 }),
    twin: "in all as well",
  },
  {
    id: "vip-chosen-as-arp-sender",
    has: edit(realServer, {
      links: [lo, eth0],
      addresses: [home, vipOnLo],
      routes: [{ dst: "10.10.0.0/24", dev: "eth0" }, ...realServerFacts.routes],
    }),
    hasNot: edit(realServer, {
      addresses: [home, { ...vipOnLo, scope: 254 }],
      routes: [{ dst: "10.10.0.0/24", dev: "eth0" }, ...realServerFacts.routes],
    }),
    twin: "the VIP has scope host, so the kernel never selects it",
  },
  {
    id: "distro-announces-vip-on-ifup",
    has: edit(realServer, {
      addresses: [home, rip, vipOnEth],
      filters: [arpDropIn],
      sysctls: { "eth0.arp_notify": 1 },
    }),
    hasNot: edit(realServer, { addresses: [home, rip, vipOnLo], sysctls: { "eth0.arp_notify": 1 } }),
    twin: "the VIP is on lo, which nothing announces",
  },
  {
    id: "director-asks-with-vip",
    has: edit(director, { addresses: [home, address("eth0", `${VIP}/24`), { ...dip, secondary: true }] }),
    hasNot: edit(director, { addresses: [home, vipOnEth, dip] }),
    twin: "the VIP is first as well, but as /32",
  },
  // Places
  {
    id: "some-lan-nics-forgotten",
    has: edit(realServer, {
      links: [lo, eth0, eth1],
      addresses: [home, vipOnLo, rip, address("eth1", "10.10.1.11/24")],
    }),
    hasNot: edit(realServer, {
      links: [lo, eth0, eth1],
      addresses: [home, vipOnLo, rip, address("eth1", "10.10.1.11/24")],
      sysctls: { "eth1.arp_ignore": 1, "eth1.arp_announce": 2 },
    }),
    twin: "the second interface has it, too",
  },
  {
    id: "sysctl-name-with-dot",
    has: edit(realServer, {
      links: [lo, eth0, link(3, "eth0.100", { kind: "vlan", parent: "eth0", vlanId: 100 })],
      addresses: [home, vipOnLo, rip, address("eth0.100", "10.10.1.11/24")],
    }),
    hasNot: edit(realServer, {
      links: [lo, eth0, link(3, "eth0.100", { kind: "vlan", parent: "eth0", vlanId: 100 })],
      addresses: [home, vipOnLo, rip, address("eth0.100", "10.10.1.11/24")],
      sysctls: { "eth0.100.arp_ignore": 1, "eth0.100.arp_announce": 2 },
    }),
    twin: "the dotted interface has it",
  },
  {
    id: "arp-value-above-range",
    has: edit(realServer, { sysctls: { "all.arp_ignore": 1, "eth0.arp_ignore": 4 } }),
    hasNot: edit(realServer, { sysctls: { "all.arp_ignore": 1, "eth0.arp_ignore": 0 } }),
    twin: "a smaller number is combined by the maximum",
  },
  {
    id: "hidden-half-set",
    has: edit(withSysctls(realServer, { "lo.hidden": 1 }), { kernel: { release: "2.2.19", generation: "2.2-hidden" } }),
    hasNot: edit(withSysctls(realServer, { "lo.hidden": 1, "all.hidden": 1 }), {
      kernel: { release: "2.2.19", generation: "2.2-hidden" },
    }),
    twin: "set in both places",
  },
  {
    id: "arptables-incomplete-or-unsaved",
    has: edit(withSysctls(realServer, {}), { filters: [arpDropIn] }),
    hasNot: edit(withSysctls(realServer, {}), { filters: [arpDropIn, arpMangleOut] }),
    twin: "both directions",
  },
  // Prefixes and strength
  {
    id: "vip-netmask-not-32",
    has: edit(realServer, { addresses: [home, address("lo", `${VIP}/24`), rip] }),
    hasNot: edit(realServer, { addresses: [home, vipOnLo, rip] }),
    twin: "/32",
  },
  {
    id: "vip-netmask-not-32",
    has: edit(realServer, {
      addresses: [home, rip],
      routes: [...realServerFacts.routes, { dst: "10.10.0.96/28", type: "local", dev: "lo" }],
    }),
    hasNot: edit(realServer, {
      addresses: [home, rip],
      routes: [...realServerFacts.routes, { dst: `${VIP}/32`, type: "local", dev: "lo" }],
    }),
    twin: "a local route for the VIP alone",
  },
  {
    id: "arp-ignore-too-strong",
    has: edit(realServer, { sysctls: { "eth0.arp_ignore": 8 } }),
    hasNot: edit(realServer, { sysctls: { "eth0.arp_ignore": 2 } }),
    twin: "2, where every asker is in the subnet",
  },
  {
    id: "arp-ignore-too-strong",
    has: edit(realServer, { sysctls: { "eth0.arp_ignore": 3 } }),
    hasNot: edit(realServer, { sysctls: { "eth0.arp_ignore": 3 }, addresses: [home, { ...vipOnLo, scope: 254 }, rip] }),
    twin: "3, and the VIP has scope host",
  },
  {
    id: "arp-ignore-too-strong",
    has: edit(realServer, {
      sysctls: { "eth0.arp_ignore": 2 },
      routes: [...realServerFacts.routes, { dst: "10.99.0.0/24", dev: "eth0" }],
    }),
    hasNot: edit(realServer, {
      sysctls: { "eth0.arp_ignore": 1 },
      routes: [...realServerFacts.routes, { dst: "10.99.0.0/24", dev: "eth0" }],
    }),
    twin: "1 answers askers of any subnet",
  },
  {
    id: "strictarp-breaks-unnumbered-links",
    has: edit(withSysctls(realServer, { "all.arp_ignore": 1, "all.arp_announce": 2 }), {
      links: [lo, eth0, link(3, "cali1", { kind: "veth" })],
      routes: [...realServerFacts.routes, { dst: "10.244.0.5/32", dev: "cali1" }],
    }),
    hasNot: edit(withSysctls(realServer, { "all.arp_ignore": 1, "all.arp_announce": 2, "cali1.proxy_arp": 1 }), {
      links: [lo, eth0, link(3, "cali1", { kind: "veth" })],
      routes: [...realServerFacts.routes, { dst: "10.244.0.5/32", dev: "cali1" }],
    }),
    twin: "proxy_arp answers there",
  },
  {
    id: "arptables-flavour-mixed",
    has: edit(realServer, { filters: [arpDropIn, { ...arpMangleOut, tool: "arptables" }] }),
    hasNot: edit(realServer, { filters: [arpDropIn, arpMangleOut] }),
    twin: "both rules by one tool",
  },
  // Acceptance
  {
    id: "vip-missing-on-real-server",
    has: edit(realServer, { addresses: [home, rip] }),
    hasNot: edit(realServer, {
      addresses: [home, rip],
      routes: [...realServerFacts.routes, { dst: VIP, type: "local", dev: "lo" }],
    }),
    twin: "no address, but a local route",
  },
  {
    id: "vip-packets-refused",
    has: edit(realServer, {
      kernel: { release: "2.4.27", generation: "2.4-late" },
      links: [lo, { ...eth0, ipv4State: false }],
    }),
    hasNot: edit(realServer, { kernel: { release: "2.4.27", generation: "2.4-late" } }),
    twin: "the interface has its IPv4 state",
  },
  {
    id: "lo-addresses-dropped-by-manager",
    has: edit(realServer, { addresses: [rip] }),
    hasNot: edit(realServer, { addresses: [home, rip] }),
    twin: "only the VIP is gone from lo",
  },
  {
    id: "service-bound-to-rip-only",
    has: edit(realServer, { sockets: [{ protocol: "tcp", ip: RIP, port: 80 }] }),
    hasNot: edit(realServer, {
      sockets: [
        { protocol: "tcp", ip: RIP, port: 80 },
        { protocol: "tcp", ip: VIP, port: 80 },
      ],
    }),
    twin: "on the VIP as well",
  },
  {
    id: "service-bound-to-vip-only",
    has: inCluster(
      edit(realServer, { sockets: [{ protocol: "tcp", ip: VIP, port: 80 }] }),
      "web1",
      clusterText("health: tcp\n"),
    ),
    hasNot: inCluster(edit(realServer, { sockets: [{ protocol: "tcp", ip: VIP, port: 80 }] }), "web1"),
    twin: "the check takes the VIP's path",
  },
  {
    id: "service-bound-to-vip-only",
    has: inCluster(edit(realServer, { sockets: [{ protocol: "tcp", ip: VIP, port: 80 }] }, { director: true }), "web1"),
    hasNot: inCluster(
      edit(realServer, { sockets: [{ protocol: "tcp", ip: "0.0.0.0", port: 80 }] }, { director: true }),
      "web1",
    ),
    twin: "a director that is a real server too, and the service listens on the wildcard",
  },
  {
    id: "rp-filter-max-surprise",
    has: edit(tunnelServer, { sysctls: { "all.rp_filter": 1, "tunl0.rp_filter": 0 } }),
    hasNot: edit(tunnelServer, { sysctls: { "all.rp_filter": 1, "tunl0.rp_filter": 2 } }),
    twin: "2 beats all=1",
  },
  {
    id: "rp-filter-tunl0",
    has: edit(tunnelServer, { sysctls: { "tunl0.rp_filter": 1 } }),
    hasNot: edit(tunnelServer, { sysctls: { "tunl0.rp_filter": 2 } }),
    twin: "loose, and tunl0 has an address",
  },
  {
    id: "rp-filter-tunl0",
    has: edit(tunnelServer, { addresses: [home, vipOnLo, rip], sysctls: { "tunl0.rp_filter": 2 } }),
    hasNot: edit(tunnelServer, { addresses: [home, vipOnLo, rip], sysctls: { "tunl0.rp_filter": 0 } }),
    twin: "off, for a tunnel without an address",
  },
  {
    id: "rp-filter-drops-clients",
    has: edit(realServer, {
      links: [lo, eth0, eth1],
      addresses: [home, vipOnLo, rip, address("eth1", "192.168.1.11/24")],
      routes: [{ dst: "default", via: "192.168.1.1", dev: "eth1" }],
      sysctls: { "eth1.arp_ignore": 1, "eth1.arp_announce": 2, "eth0.rp_filter": 1 },
    }),
    hasNot: edit(realServer, { sysctls: { "eth0.rp_filter": 1 } }),
    twin: "strict, with one interface",
  },
  // Tunnels
  {
    id: "tunnel-device-down-or-missing",
    has: edit(tunnelServer, {
      links: tunnelFacts.links.map((l) => (l.name === "tunl0" ? { ...l, flags: ["NOARP"] } : l)),
    }),
    hasNot: tunnelServer,
    twin: "tunl0 is up",
  },
  {
    id: "ipip-protocol-filtered",
    has: edit(tunnelServer, {
      filters: [
        ...tunnelFacts.filters,
        chain({ tool: "iptables", hook: "input", rules: [drop({ protocol: { any: ["ipip", "4"] } })] }),
      ],
    }),
    hasNot: edit(tunnelServer, {
      filters: [
        ...tunnelFacts.filters,
        chain({ tool: "iptables", hook: "input", rules: [drop({ protocol: { any: ["gre", "47"] } })] }),
      ],
    }),
    twin: "GRE is dropped, not IPIP",
  },
  {
    id: "mtu-tun-df-blackhole",
    has: edit(tunnelServer, { filters: [] }),
    hasNot: edit(tunnelServer, {
      filters: [],
      links: tunnelFacts.links.map((l) => (l.name === "eth0" ? { ...l, mtu: 9000 } : l)),
    }),
    twin: "jumbo frames inside",
  },
  {
    id: "mtu-tun-df-blackhole",
    has: edit(tunnelServer, {
      filters: [],
      routes: [{ dst: "default", via: "10.10.0.1", dev: "eth0", advmss: 1460 }],
    }),
    hasNot: edit(tunnelServer, {
      filters: [],
      routes: [{ dst: "default", via: "10.10.0.1", dev: "eth0", advmss: 1440 }],
    }),
    twin: "advmss leaves room for the tunnel",
  },
  // Director
  {
    id: "nobody-answers-vip",
    has: edit(director, { addresses: [home, dip, vipOnLo], sysctls: { "all.arp_ignore": 1 } }),
    hasNot: edit(director, { addresses: [home, dip, vipOnEth], sysctls: { "all.arp_ignore": 1 } }),
    twin: "the VIP is on the LAN interface",
  },
  {
    id: "director-has-vip-on-lo-too",
    has: edit(director, { addresses: [home, dip, vipOnEth, vipOnLo] }),
    hasNot: edit(director, { addresses: [home, dip, vipOnEth, address("lo", `${other}/32`)] }),
    twin: "another address on lo",
  },
  {
    id: "vmac-extra-answers",
    has: edit(director, { links: [lo, eth0, macvlan()], addresses: [home, dip, address("vrrp.51", `${VIP}/32`)] }),
    hasNot: edit(director, {
      links: [lo, eth0, macvlan()],
      addresses: [home, dip, address("vrrp.51", `${VIP}/32`)],
      sysctls: { "all.arp_ignore": 1 },
    }),
    twin: "only the holder answers",
  },
  {
    id: "vmac-mutes-parent-address",
    has: edit(director, {
      links: [lo, eth0, macvlan()],
      addresses: [home, dip, address("vrrp.51", `${VIP}/24`)],
      routesGiven: "all",
      routes: [
        ...["127.0.0.1", DIP, VIP].map((dst) => ({ dst, type: "local" as const, dev: "lo", protocol: "kernel" })),
        { dst: "10.10.0.0/24", dev: "vrrp.51", prefsrc: VIP, protocol: "kernel" },
        { dst: "10.10.0.0/24", dev: "eth0", prefsrc: DIP, protocol: "kernel", metric: 100 },
        { dst: "default", via: "10.10.0.1", dev: "eth0" },
      ],
      sysctls: { "eth0.arp_filter": 1, "all.arp_ignore": 1 },
    }),
    hasNot: edit(director, {
      links: [lo, eth0, macvlan()],
      addresses: [home, dip, address("vrrp.51", `${VIP}/32`)],
      sysctls: { "eth0.arp_filter": 1, "all.arp_ignore": 1 },
    }),
    twin: "the VIP is /32: the route back is the parent's",
  },
  {
    id: "stale-vip-on-old-holder",
    has: edit(director, table({}, ["backup"])),
    hasNot: edit(director, table({}, ["master", "backup"])),
    twin: "it syncs as master, too",
  },
  {
    id: "director-is-gateway-martian",
    has: inCluster(
      edit(director, {
        addresses: [home, address("eth0", "10.10.0.1/24"), { ...dip, secondary: true }, vipOnEth],
        routes: [{ dst: "default", via: "10.10.0.254", dev: "eth0" }],
      }),
      "lb1",
    ),
    hasNot: inCluster(
      edit(director, {
        addresses: [home, address("eth0", "10.10.0.1/24"), { ...dip, secondary: true }, vipOnEth],
        routes: [{ dst: "default", via: "10.10.0.254", dev: "eth0" }],
        sysctls: { "eth0.accept_local": 1, ip_forward: 1, "all.send_redirects": 0, "eth0.send_redirects": 0 },
      }),
      "lb1",
    ),
    twin: "accept_local and forwarding",
  },
  {
    id: "icmp-redirect-tells-clients-the-rs",
    has: edit(director, { sysctls: { ip_forward: 1 } }),
    hasNot: edit(director, { sysctls: { ip_forward: 1, "all.send_redirects": 0, "eth0.send_redirects": 0 } }),
    twin: "off in both places",
  },
  {
    id: "vip-dies-with-primary-address",
    has: edit(director, { addresses: [home, dip, address("eth0", `${VIP}/24`, { secondary: true })] }),
    hasNot: edit(director, {
      addresses: [home, dip, address("eth0", `${VIP}/24`, { secondary: true })],
      sysctls: { "all.promote_secondaries": 1 },
    }),
    twin: "promote_secondaries",
  },
  {
    id: "vrrp-strict-or-firewall-drops-vip",
    has: edit(director, { filters: [chain({ hook: "input", rules: [drop({ target: { any: [VIP] } })] })] }),
    hasNot: edit(director, { filters: [chain({ hook: "input", rules: [drop({ target: { any: [other] } })] })] }),
    twin: "another address is dropped",
  },
  {
    id: "frag-needed-reaches-wrong-host",
    has: edit(director, { filters: [chain({ hook: "input", rules: [drop({ protocol: { any: ["icmp"] } })] })] }),
    hasNot: edit(director, {
      filters: [
        chain({ hook: "input", rules: [accept({ target: { any: [VIP] } }), drop({ protocol: { any: ["icmp"] } })] }),
      ],
    }),
    twin: "the VIP's is accepted first",
  },
  {
    id: "unicast-peer-arp-deadlock",
    has: inCluster(
      edit(director, { neighbours: [{ link: "eth0", ip: "10.10.0.3", state: "FAILED" }] }),
      "lb1",
      vrrp("preempt: false, unicast: true"),
    ),
    hasNot: inCluster(edit(director, { neighbours: [{ link: "eth0", ip: "10.10.0.3", state: "FAILED" }] }), "lb1"),
    twin: "multicast needs no neighbour entry",
  },
  {
    id: "service-dead-vip-stays",
    has: edit(director, { ipvs: { services: [] } }),
    hasNot: edit(director, { ipvs: { services: [] }, sockets: [{ protocol: "tcp", ip: VIP, port: 443 }] }),
    twin: "a proxy listens on the VIP",
  },
  {
    id: "service-dead-vip-stays",
    has: edit(director, { ipvs: { services: [] }, sockets: [{ protocol: "tcp", ip: "0.0.0.0", port: 22 }] }),
    hasNot: edit(director, { ipvs: { services: [] }, sockets: [{ protocol: "tcp", ip: "0.0.0.0", port: 80 }] }),
    twin: "a proxy listens on the wildcard, at the service's port",
  },
  // IPVS
  {
    id: "director-and-rs-same-host-loop",
    has: edit(both, table({}, ["backup"])),
    hasNot: edit(both, { ...table({}, ["backup"]), sysctls: { "vs.backup_only": 1, "vs.expire_nodest_conn": 1 } }),
    twin: "backup_only with the backup daemon",
  },
  {
    id: "tun-loop-on-rs-director",
    has: edit(both, {
      ...table({ destinations: [destination("10.10.0.12", 80, "tun")] }, ["backup"]),
      sysctls: { "vs.ignore_tunneled": 0, "vs.expire_nodest_conn": 1 },
    }),
    hasNot: edit(both, {
      ...table({ destinations: [destination("10.10.0.12", 80, "tun")] }, ["backup"]),
      sysctls: { "vs.ignore_tunneled": 1, "vs.expire_nodest_conn": 1 },
    }),
    twin: "ignore_tunneled",
  },
  {
    id: "localnode-service-not-on-vip",
    has: edit(director, {
      ...table({ destinations: [destination(DIP, 80, "local")] }),
      sockets: [{ protocol: "tcp", ip: DIP, port: 80 }],
    }),
    hasNot: edit(director, {
      ...table({ destinations: [destination(DIP, 80, "local")] }),
      sockets: [{ protocol: "tcp", ip: "::", port: 80 }],
    }),
    twin: "the wildcard",
  },
  {
    id: "port-remap-in-dr",
    has: edit(director, table({ destinations: [destination(RIP, 8080)] })),
    hasNot: edit(director, table({ destinations: [destination(RIP, 8080, "nat")] })),
    twin: "nat can change the port",
  },
  {
    id: "rs-not-on-same-l2",
    has: edit(director, table({ destinations: [destination("10.20.0.13")] })),
    hasNot: edit(director, table({ destinations: [destination("10.20.0.13", 80, "tun")] })),
    twin: "tunnelling passes routers",
  },
  {
    id: "dead-rs-keeps-connections",
    has: edit(director, { sysctls: { "vs.expire_nodest_conn": 0 } }),
    hasNot: withSysctls(director, {}),
    twin: "nothing is known of net.ipv4.vs",
  },
  {
    id: "persistence-sends-to-quiesced-rs",
    has: edit(director, {
      ...table({ persistentS: 300, destinations: [destination(RIP, 80, "dr", 0)] }),
      sysctls: { "vs.expire_quiescent_template": 0 },
    }),
    hasNot: edit(director, { ...table({ persistentS: 300 }), sysctls: { "vs.expire_quiescent_template": 0 } }),
    twin: "no real server is drained",
  },
  {
    id: "port-reuse-one-second-stall",
    has: edit(director, { kernel: { release: "4.19.0", generation: "4.x" }, sysctls: { "vs.conntrack": 1 } }),
    hasNot: edit(director, {
      kernel: { release: "4.19.0", generation: "4.x" },
      sysctls: { "vs.conntrack": 1, "vs.conn_reuse_mode": 0 },
    }),
    twin: "conn_reuse_mode 0",
  },
  {
    id: "sync-daemon-silent",
    has: inCluster(edit(director, table({}, [])), "lb1"),
    hasNot: inCluster(director, "lb1"),
    twin: "it runs as master",
  },
  {
    id: "ipvs-table-drift",
    has: inCluster(edit(director, table({ destinations: [destination("10.10.0.77")] })), "lb1"),
    hasNot: inCluster(edit(director, table({ destinations: [destination(RIP)] })), "lb1"),
    twin: "one real server is out, as a failed check leaves it",
  },
  {
    id: "ip-vs-module-missing",
    has: edit({ ...director, facts: withoutIpvs(directorFacts) }, { modules: ["nf_tables"] }),
    hasNot: edit({ ...director, facts: withoutIpvs(directorFacts) }, { modules: ["nf_tables", "ip_vs"] }),
    twin: "loaded, with an empty table",
  },
  // Cluster file
  {
    id: "failback-before-sync",
    has: inCluster(director, "lb1", vrrp("preempt: true")),
    hasNot: inCluster(director, "lb1", vrrp("preempt: true, preemptDelayMs: 120000")),
    twin: "with a delay",
  },
  {
    id: "preempt-flap",
    has: inCluster(
      director,
      "lb1",
      clusterText().replace(
        "vrrp: { id: 77, preempt: false }",
        "vrrp: { id: 77 }\n  connectionSync: { enabled: false }",
      ),
    ),
    hasNot: inCluster(
      director,
      "lb1",
      clusterText().replace(
        "vrrp: { id: 77, preempt: false }",
        "vrrp: { id: 77, preemptDelayMs: 60000 }\n  connectionSync: { enabled: false }",
      ),
    ),
    twin: "with a delay",
  },
  {
    id: "health-check-tests-rip-not-vip",
    has: inCluster(director, "lb1", clusterText("health: tcp\n")),
    hasNot: inCluster(director, "lb1", clusterText("health: [tcp, vip-path]\n")),
    twin: "vip-path beside it",
  },
  // IPv6
  {
    id: "ipv6-vip-dadfailed",
    has: edit(
      director,
      { addresses6: [{ link: "eth0", ip: v6, prefixLength: 128, scope: 0, dadFailed: true }] },
      { vips: [VIP, v6] },
    ),
    hasNot: edit(
      director,
      { addresses6: [{ link: "eth0", ip: v6, prefixLength: 128, scope: 0 }] },
      { vips: [VIP, v6] },
    ),
    twin: "no failure",
  },
  {
    id: "rs-answers-vip6",
    has: edit(realServer, { addresses6: [{ link: "eth0", ip: v6, prefixLength: 64, scope: 0 }] }, { vips: [VIP, v6] }),
    hasNot: edit(
      realServer,
      { addresses6: [{ link: "lo", ip: v6, prefixLength: 128, scope: 0 }] },
      { vips: [VIP, v6] },
    ),
    twin: "on lo, where IPv6 needs no silence",
  },
  // Gateways, firewalls, platform
  {
    id: "rs-gateway-points-at-director",
    has: inCluster(edit(realServer, { routes: [{ dst: "default", via: DIP, dev: "eth0" }] }), "web1"),
    hasNot: inCluster(realServer, "web1"),
    twin: "the router",
  },
  {
    id: "ip-forward-cargo-cult",
    has: edit(realServer, { sysctls: { ip_forward: 1 } }),
    hasNot: edit(director, { sysctls: { ip_forward: 1, "all.send_redirects": 0, "eth0.send_redirects": 0 } }),
    twin: "a director may forward",
  },
  {
    id: "redirect-method-costs",
    has: edit(realServer, {
      addresses: [home, rip],
      filters: [
        chain({
          tool: "iptables",
          table: "nat",
          type: "nat",
          hook: "prerouting",
          rules: [{ match: { target: { any: [VIP] } }, verdict: { kind: "redirect" } }],
        }),
      ],
    }),
    hasNot: inCluster(
      edit(realServer, {
        addresses: [home, rip],
        filters: [
          chain({
            tool: "iptables",
            table: "nat",
            type: "nat",
            hook: "prerouting",
            rules: [{ match: { target: { any: [VIP] } }, verdict: { kind: "redirect" } }],
          }),
        ],
      }),
      "web1",
      clusterText("policy: redirect\n"),
    ),
    twin: "the cluster file asks for it",
  },
  {
    id: "firewall-drops-invalid-on-director",
    has: edit(director, {
      filters: [chain({ hook: "input", rules: [{ notUnderstood: "ct state invalid counter drop" }] })],
    }),
    hasNot: edit(director, {
      filters: [
        chain({
          hook: "input",
          rules: [accept({ target: { any: [VIP] } }), { notUnderstood: "ct state invalid counter drop" }],
        }),
      ],
    }),
    twin: "the VIP is accepted first",
  },
  {
    id: "docker-forward-drop",
    has: edit(director, {
      ...table({ destinations: [destination(RIP, 80, "nat")] }),
      links: [lo, eth0, link(3, "docker0", { kind: "bridge" })],
      filters: [chain({ tool: "iptables", hook: "forward", policy: "drop" })],
    }),
    hasNot: edit(director, {
      links: [lo, eth0, link(3, "docker0", { kind: "bridge" })],
      filters: [chain({ tool: "iptables", hook: "forward", policy: "drop" })],
    }),
    twin: "direct routing does not pass the forward chain",
  },
  {
    id: "bridge-netfilter-on-vm-host",
    has: edit(realServer, {
      links: [lo, link(2, "eth0", { kind: "bridge" }), link(3, "enp1s0", { master: "eth0" })],
      filters: [chain({ tool: "iptables", hook: "forward", policy: "drop" })],
      sysctls: { "bridge.bridge-nf-call-iptables": 1 },
    }),
    hasNot: edit(realServer, {
      links: [lo, link(2, "eth0", { kind: "bridge" }), link(3, "enp1s0", { master: "eth0" })],
      filters: [chain({ tool: "iptables", hook: "forward", policy: "drop" })],
      sysctls: { "bridge.bridge-nf-call-iptables": 0 },
    }),
    twin: "off",
  },
  {
    id: "bond-balance-alb-rewrites-mac",
    has: edit(director, {
      links: [lo, link(2, "eth0", { kind: "bond", mode: "balance-alb" }), link(3, "enp1s0", { master: "eth0" })],
    }),
    hasNot: edit(director, {
      links: [lo, link(2, "eth0", { kind: "bond", mode: "active-backup" }), link(3, "enp1s0", { master: "eth0" })],
    }),
    twin: "active-backup",
  },
  {
    id: "nic-needs-promiscuous",
    has: renamed(director, "wlan0"),
    hasNot: renamed(director, "wired0"),
    twin: "a wired interface",
  },
  {
    id: "vip-used-as-source-address",
    has: edit(director, { routes: [{ dst: "default", via: "10.10.0.1", dev: "eth0", prefsrc: VIP }] }),
    hasNot: edit(director, { routes: [{ dst: "default", via: "10.10.0.1", dev: "eth0", prefsrc: DIP }] }),
    twin: "src is the own address",
  },
  {
    id: "vip-taken-for-node-identity",
    has: edit(director, { addresses: [home, vipOnEth, dip] }),
    hasNot: edit(director, { addresses: [home, dip, vipOnEth] }),
    twin: "the own address first",
  },
  {
    id: "policy-routing-clash",
    has: edit(realServer, {
      rules: [
        { priority: 100, from: `${VIP}/32`, table: 100 },
        { priority: 101, from: `${VIP}/32`, action: "unreachable" },
      ],
    }),
    hasNot: edit(realServer, {
      rules: [{ priority: 100, from: `${VIP}/32`, table: 100 }],
      routes: [...realServerFacts.routes, { dst: "default", via: "10.10.0.1", dev: "eth0", table: 100 }],
    }),
    twin: "the table has a default route",
  },
  {
    id: "sysctl-readonly-or-hidden-in-container",
    has: edit(realServer, {
      environment: { container: "lxc" },
      unread: [{ what: "/proc/sys/net/ipv4/vs", why: "no such file" }],
    }),
    hasNot: edit(realServer, { environment: { container: "lxc" } }),
    twin: "everything could be read",
  },
  {
    id: "cloud-antispoof-drops-vip-source",
    has: edit(realServer, { environment: { virtualisation: "openstack" } }),
    hasNot: edit(realServer, { environment: { virtualisation: "kvm" } }),
    twin: "plain KVM",
  },
  {
    id: "cloud-ignores-garp",
    has: edit(director, { environment: { virtualisation: "amazon" } }),
    hasNot: edit(director, { environment: { virtualisation: "kvm" } }),
    twin: "plain KVM",
  },
  {
    id: "hypervisor-rejects-foreign-mac",
    has: edit(director, {
      links: [lo, eth0, macvlan()],
      addresses: [home, dip, address("vrrp.51", `${VIP}/32`)],
      sysctls: { "all.arp_ignore": 1 },
      environment: { virtualisation: "vmware" },
    }),
    hasNot: edit(director, { environment: { virtualisation: "vmware" } }),
    twin: "the VIP is on the machine's own MAC",
  },
];

function withoutIpvs(facts: HostFacts): HostFacts {
  const { ipvs: _, ...rest } = facts;
  return rest;
}

function renamed(input: CheckInput, name: string): CheckInput {
  return edit(input, {
    links: input.facts.links.map((l) => (l.name === "eth0" ? { ...l, name } : l)),
    addresses: input.facts.addresses.map((a) => (a.link === "eth0" ? { ...a, link: name } : a)),
    routes: input.facts.routes.map((r) => (r.dev === "eth0" ? { ...r, dev: name } : r)),
  });
}
