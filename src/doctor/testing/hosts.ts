import type { Cluster } from "../../cluster/cluster.ts";
import { parseCluster } from "../../cluster/parse.ts";
import type { AddressFacts, HostFacts, LinkFacts } from "../../model/facts.ts";
import type { CheckInput } from "../context.ts";

/** Healthy hosts of one small cluster, and compact edits of them. For tests. */

export const VIP = "10.10.0.100";
export const RIP = "10.10.0.11";
export const DIP = "10.10.0.2";

export const link = (ifindex: number, name: string, more: Partial<LinkFacts> = {}): LinkFacts => ({
  ifindex,
  name,
  flags: ["UP", "BROADCAST", "MULTICAST", "LOWER_UP"],
  mac: `02:00:00:00:00:${ifindex.toString(16).padStart(2, "0")}`,
  mtu: 1500,
  ...more,
});

const lo: LinkFacts = { ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK", "LOWER_UP"], mac: null, mtu: 65536 };

export const address = (on: string, text: string, more: Partial<AddressFacts> = {}): AddressFacts => {
  const [ip = "", length = "32"] = text.split("/");
  return { link: on, ip, prefixLength: Number(length), scope: 0, ...more };
};

const home = address("lo", "127.0.0.1/8", { scope: 254 });

const base: HostFacts = {
  factsVersion: 1,
  hostname: "web1",
  kernel: { release: "6.1.0", generation: "6.x" },
  links: [lo, link(2, "eth0")],
  addresses: [home],
  routesGiven: "added",
  routes: [{ dst: "default", via: "10.10.0.1", dev: "eth0" }],
  rules: [],
  sysctls: {},
  neighbours: [],
  filters: [],
  unread: [],
};

/** LVS/DR: VIP/32 on lo, silent by arp_ignore and arp_announce on the LAN interface. */
export const realServerFacts: HostFacts = {
  ...base,
  addresses: [home, address("lo", `${VIP}/32`), address("eth0", `${RIP}/24`)],
  sysctls: { "eth0.arp_ignore": 1, "eth0.arp_announce": 2 },
  sockets: [{ protocol: "tcp", ip: "0.0.0.0", port: 80, program: "nginx" }],
};

/** LVS/TUN: VIP/32 on tunl0, rp_filter loose there, segment size clamped. */
export const tunnelFacts: HostFacts = {
  ...base,
  links: [
    lo,
    link(2, "eth0"),
    { ifindex: 3, name: "tunl0", kind: "ipip", flags: ["UP", "NOARP"], mac: null, mtu: 1480 },
  ],
  addresses: [home, address("eth0", `${RIP}/24`), address("tunl0", `${VIP}/32`)],
  sysctls: { "eth0.arp_ignore": 1, "eth0.arp_announce": 2, "tunl0.rp_filter": 2 },
  filters: [
    {
      tool: "iptables",
      family: "ip",
      table: "mangle",
      chain: "POSTROUTING",
      hook: "postrouting",
      rules: [{ notUnderstood: "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1440" }],
    },
  ],
};

/** The active director: VIP/32 on the LAN after the DIP, IPVS with direct routing. */
export const directorFacts: HostFacts = {
  ...base,
  hostname: "lb1",
  addresses: [home, address("eth0", `${DIP}/24`), address("eth0", `${VIP}/32`)],
  sysctls: {
    "vs.expire_nodest_conn": 1,
    "vs.expire_quiescent_template": 1,
    "vs.conntrack": 0,
    "vs.ignore_tunneled": 1,
  },
  modules: ["ip_vs", "ip_vs_rr"],
  sockets: [],
  ipvs: {
    sync: ["master"],
    services: [
      {
        protocol: "tcp",
        vip: VIP,
        port: 80,
        scheduler: "rr",
        destinations: [
          { rip: RIP, port: 80, method: "dr", weight: 1 },
          { rip: "10.10.0.12", port: 80, method: "dr", weight: 1 },
        ],
      },
    ],
  },
};

export const web = {
  name: "http",
  vips: [VIP],
  protocol: "tcp",
  ports: [[80, 80]],
  methods: ["dr"],
} as const satisfies CheckInput["services"][number];

const plain = { vips: [VIP], services: [web], methods: ["dr"] } as const;
export const realServer: CheckInput = { ...plain, facts: realServerFacts, realServer: true, director: false };
export const tunnelServer: CheckInput = { ...realServer, facts: tunnelFacts, methods: ["tun"] };
export const director: CheckInput = { ...plain, facts: directorFacts, realServer: false, director: true };
/** Standby director and real server in one box: VIP on lo, no table while it stands by. */
export const both: CheckInput = {
  ...realServer,
  director: true,
  facts: { ...realServerFacts, ipvs: { services: [], sync: ["backup"] } },
};

/** The input with parts of its facts changed; sysctls are added to those there. */
export function edit(input: CheckInput, change: Partial<HostFacts>, more: Partial<CheckInput> = {}): CheckInput {
  const sysctls = { ...input.facts.sysctls, ...change.sysctls };
  return { ...input, ...more, facts: { ...input.facts, ...change, sysctls } };
}

/** Sysctls exactly as given, the baseline's gone. */
export const withSysctls = (input: CheckInput, sysctls: Record<string, number>): CheckInput => ({
  ...input,
  facts: { ...input.facts, sysctls },
});

export const clusterText = (more = ""): string => `version: 1
name: small
networks:
  lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 }
directors:
  lb1: ${DIP}
  lb2: 10.10.0.3
realServers:
  web1: ${RIP}
  web2: 10.10.0.12
vips:
  web: ${VIP}
services:
  - { name: http, vip: web, port: 80, scheduler: rr }
failover:
  vrrp: { id: 77, preempt: false }
${more}`;

export function cluster(text = clusterText()): Cluster {
  const read = parseCluster(text);
  if (!read.ok) throw new Error(read.problems.map((p) => `${p.line}: ${p.message}`).join("\n"));
  return read.cluster;
}
