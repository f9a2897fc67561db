/**
 * One host's state as plain JSON, version 1. Everything the model asks about a host is in here, nothing else is.
 *
 * Addresses are text ("10.0.0.1") and links are named ("eth0"), so that a person can read and write the file;
 * `compileHost` turns it once into the indexed form that decisions are made from.
 */

export const FACTS_VERSION = 1;

/** Ids of section 0 of the kernel rules. From 3.0 on the id is only a name: the switches say what differs. */
export const generations = [
  "2.0",
  "2.2",
  "2.2-sdw",
  "2.2-arp_invisible",
  "2.2-hidden",
  "2.4-early",
  "2.4-hidden",
  "2.4-late",
  "2.6",
  "2.6-hidden",
  "3.x",
  "4.x",
  "5.x",
  "6.x",
] as const;
export type Generation = (typeof generations)[number];

export interface HostFacts {
  readonly factsVersion: typeof FACTS_VERSION;
  readonly hostname?: string;
  /** ISO 8601, when the facts were read. For people; the model does not look at it. */
  readonly takenAt?: string;
  readonly kernel: KernelFacts;
  /** In the kernel's device list order (lo first): source selection and arp_ignore 3 walk it in this order. */
  readonly links: readonly LinkFacts[];
  /** IPv4; of one link in the kernel's list order (section 2 of the rules). */
  readonly addresses: readonly AddressFacts[];
  readonly addresses6?: readonly Address6Facts[];
  /**
   * `all`: `routes` is every route of every table, as netlink gives it.
   * `added`: only what people added; the routes that the kernel makes from addresses are derived (section 2).
   */
  readonly routesGiven: "all" | "added";
  readonly routes: readonly RouteFacts[];
  /** Empty means the three that every kernel starts with: local, main, default. */
  readonly rules: readonly PolicyRuleFacts[];
  /**
   * Flat. `all.arp_ignore`, `default.rp_filter`, `eth0.arp_ignore` are under net.ipv4.conf; `ipv6.eth0.proxy_ndp`
   * under net.ipv6.conf; `neigh.eth0.locktime` under net.ipv4.neigh, in the file's own unit; a name without a dot,
   * `ip_forward`, under net.ipv4; `vs.conntrack` under net.ipv4.vs, of IPVS; `bridge.bridge-nf-call-iptables` under
   * net.bridge. The part after the last dot is the file's name, so
   * `eth0.100.arp_ignore` is link eth0.100. What is not named has the kernel's default.
   */
  readonly sysctls: Readonly<Record<string, number>>;
  readonly neighbours: readonly NeighbourFacts[];
  readonly filters: readonly FilterChainFacts[];
  readonly ipvs?: IpvsFacts;
  readonly sockets?: readonly SocketFacts[];
  /** Names as in /proc/modules and modules.builtin, where known. */
  readonly modules?: readonly string[];
  readonly environment?: EnvironmentFacts;
  /** What could not be read, and why, so that nobody takes absence for a fact. */
  readonly unread: readonly UnreadFacts[];
}

export interface KernelFacts {
  /** As uname -r gives it: "6.18.44", "2.4.20+hidden". */
  readonly release: string;
  readonly generation: Generation;
  /** Overrides of single switches for a vendor's kernel; names and values as in switches.ts. */
  readonly switches?: Readonly<Record<string, string | boolean>>;
  readonly patches?: readonly PatchFacts[];
  /** True if a policy rule was ever added or removed since boot: the kernel never forgets (fib_has_custom_rules). */
  readonly hadCustomRules?: boolean;
  /** The same for a local route that a person added (fib_has_custom_local_routes). Nothing shows it afterwards. */
  readonly hadCustomLocalRoutes?: boolean;
}

export interface PatchFacts {
  readonly name: "hidden" | "arp_invisible" | "fullarpfix";
  /** `found`: /proc/sys holds its file; `told`: a person said so. */
  readonly how: "found" | "told";
}

export type LinkFlag = "UP" | "NOARP" | "LOOPBACK" | "BROADCAST" | "MULTICAST" | "POINTOPOINT" | "PROMISC" | "LOWER_UP";

export interface LinkFacts {
  /** Positive, unique on the host. */
  readonly ifindex: number;
  readonly name: string;
  /** IFLA_INFO_KIND ("dummy", "macvlan", "bridge", "bond", "vrf", "ipip", "vlan", "veth"...); absent for hardware. */
  readonly kind?: string;
  /** LOWER_UP is the carrier; a link that names no LOWER_UP but is UP counts as having one unless `carrier` is false. */
  readonly flags: readonly LinkFlag[];
  readonly carrier?: boolean;
  /** null: no Ethernet address (tunnels, lo). */
  readonly mac: string | null;
  readonly mtu?: number;
  /** Name of the bridge, bond or VRF this link belongs to. */
  readonly master?: string;
  /** Name of the link below: of a VLAN, macvlan or tunnel bound to a device. */
  readonly parent?: string;
  readonly vlanId?: number;
  /** macvlan: "bridge", "private", "vepa", "passthru", "source". bond: "active-backup", "802.3ad", "balance-alb"... */
  readonly mode?: string;
  /** VRF: its routing table. */
  readonly vrfTable?: number;
  readonly tunnel?: { readonly local?: string; readonly remote?: string };
  /** False on 2.2 - 2.6.21 while the device has no IPv4 state (C-2.2-06). Absent: derived from the addresses there. */
  readonly ipv4State?: boolean;
  /** 2.0 only: flags of alias devices ("eth0:0": ["NOARP"]). */
  readonly aliasFlags?: Readonly<Record<string, readonly LinkFlag[]>>;
  /** Links with equal segment hear each other's frames. Only the simulator and the vectors need it. */
  readonly segment?: string;
}

/** Scope numbers of rtnetlink(7). */
export const scopes = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;

export interface AddressFacts {
  readonly link: string;
  /** The own address (IFA_LOCAL). */
  readonly ip: string;
  readonly prefixLength: number;
  /** The far end (IFA_ADDRESS) where it differs: the prefix is then taken from it. */
  readonly peer?: string;
  /** 0 global, 200 site, 253 link, 254 host. */
  readonly scope: number;
  readonly label?: string;
  readonly secondary?: boolean;
  readonly broadcast?: string;
  readonly noPrefixRoute?: boolean;
}

export interface Address6Facts {
  readonly link: string;
  readonly ip: string;
  readonly prefixLength: number;
  readonly scope: number;
  readonly tentative?: boolean;
  readonly optimistic?: boolean;
  readonly dadFailed?: boolean;
  /** Preferred lifetime 0: answers, but is not chosen as a source for anything new. */
  readonly deprecated?: boolean;
  readonly anycast?: boolean;
  /** Not an own address: `ip -6 neigh add proxy`. */
  readonly proxy?: boolean;
}

export const routeTypes = [
  "unicast",
  "local",
  "broadcast",
  "anycast",
  "multicast",
  "blackhole",
  "unreachable",
  "prohibit",
  "throw",
  "nat",
] as const;
export type RouteType = (typeof routeTypes)[number];

export interface RouteFacts {
  /** "10.0.0.0/24"; "default" is 0.0.0.0/0; a bare address is /32. */
  readonly dst: string;
  readonly type?: RouteType;
  /** Number; 255 local, 254 main (the default), 253 default. */
  readonly table?: number;
  readonly via?: string;
  readonly dev?: string;
  /** Multipath; then no `via` and `dev` above. */
  readonly nexthops?: readonly NexthopFacts[];
  readonly scope?: number;
  readonly prefsrc?: string;
  readonly metric?: number;
  readonly tos?: number;
  /** "kernel" for what the kernel made by itself; a local route of another origin changes the source check (A-2.6-13). */
  readonly protocol?: string;
  readonly onlink?: boolean;
  /** The segment size that TCP offers towards this route (`ip route ... advmss`). */
  readonly advmss?: number;
}

export interface NexthopFacts {
  readonly via?: string;
  readonly dev?: string;
  readonly weight?: number;
}

export interface PolicyRuleFacts {
  readonly priority: number;
  readonly from?: string;
  readonly to?: string;
  readonly iif?: string;
  readonly oif?: string;
  readonly fwmark?: number;
  readonly fwmask?: number;
  readonly tos?: number;
  /** "tcp", "udp", "icmp" or a number as text. */
  readonly protocol?: string;
  readonly sourcePorts?: readonly [number, number];
  readonly destinationPorts?: readonly [number, number];
  readonly not?: boolean;
  /** Takes the table of the VRF the packet belongs to. */
  readonly l3mdev?: boolean;
  readonly table?: number;
  readonly action?: "lookup" | "blackhole" | "unreachable" | "prohibit" | "goto" | "nop";
  readonly goto?: number;
  readonly suppressPrefixLength?: number;
}

export const neighbourStates = [
  "INCOMPLETE",
  "REACHABLE",
  "STALE",
  "DELAY",
  "PROBE",
  "FAILED",
  "NOARP",
  "PERMANENT",
  "COMPLETE",
] as const;
/** COMPLETE is 2.0's only state of an entry that holds a MAC. */
export type NeighbourState = (typeof neighbourStates)[number];

export interface NeighbourFacts {
  readonly link: string;
  readonly ip: string;
  readonly mac?: string;
  readonly state: NeighbourState;
  /** A published (proxy) entry, not a neighbour; `link` "*" means any device. */
  readonly proxy?: boolean;
  /** 2.0 published entries only: their netmask as a prefix length. */
  readonly prefixLength?: number;
  /** Since its last change (ndm nud `updated`). */
  readonly ageMs?: number;
}

/** One base chain: where packets pass it, and its rules in order. */
export interface FilterChainFacts {
  readonly tool: "nft" | "iptables" | "arptables" | "ipchains" | "ipfwadm";
  readonly family: "arp" | "ip" | "inet" | "bridge" | "netdev";
  readonly table?: string;
  readonly chain?: string;
  readonly type?: "filter" | "nat" | "route";
  readonly hook: "ingress" | "prerouting" | "input" | "forward" | "output" | "postrouting";
  /** Lower first (nft). iptables' tables have theirs by name, which the reader fills in. */
  readonly priority?: number;
  readonly policy?: "accept" | "drop";
  readonly rules: readonly (FilterRuleFacts | NotUnderstoodFacts)[];
}

export interface FilterRuleFacts {
  readonly match: FilterMatchFacts;
  readonly verdict: FilterVerdictFacts;
  /** The rule as the tool prints it, for messages. */
  readonly text?: string;
}

/** A rule this version cannot read. A decision that passes it says that it is uncertain. */
export interface NotUnderstoodFacts {
  readonly notUnderstood: string;
}

/** Every part given must hold. */
export interface FilterMatchFacts {
  readonly in?: NameMatchFacts;
  readonly out?: NameMatchFacts;
  /** Sender address of an ARP packet, source of an IP packet. */
  readonly source?: AddressMatchFacts;
  /** Target address of an ARP packet, destination of an IP packet. */
  readonly target?: AddressMatchFacts;
  readonly sourceMac?: NameMatchFacts;
  readonly targetMac?: NameMatchFacts;
  readonly arpOperation?: NumberMatchFacts;
  readonly protocol?: NameMatchFacts;
  readonly sourcePort?: NumberMatchFacts;
  readonly targetPort?: NumberMatchFacts;
  readonly mark?: { readonly value: number; readonly mask?: number; readonly not?: boolean };
}

/** "10.0.0.1", "10.0.0.0/24" or "10.0.0.1-10.0.0.9"; one of them must hold. */
export interface AddressMatchFacts {
  readonly any: readonly string[];
  readonly not?: boolean;
}
/** Names; a last "+" or "*" stands for any ending. */
export interface NameMatchFacts {
  readonly any: readonly string[];
  readonly not?: boolean;
}
/** Ranges, both ends included. */
export interface NumberMatchFacts {
  readonly any: readonly (readonly [number, number])[];
  readonly not?: boolean;
}

export type FilterVerdictFacts =
  | { readonly kind: "accept" | "drop" | "reject" | "return" | "continue" }
  /** Rewrites an ARP packet, then goes on as `next` says. */
  | {
      readonly kind: "mangle";
      readonly senderIp?: string;
      readonly senderMac?: string;
      readonly targetIp?: string;
      readonly targetMac?: string;
      readonly next: "accept" | "drop" | "continue";
    }
  /** To the first address of the interface (netfilter), or to a local port with the destination kept (ipchains). */
  | { readonly kind: "redirect"; readonly port?: number }
  | { readonly kind: "dnat"; readonly to: string; readonly port?: number }
  | { readonly kind: "tproxy"; readonly to?: string; readonly port?: number; readonly mark?: number }
  | { readonly kind: "mark"; readonly value: number; readonly mask?: number };

export interface IpvsFacts {
  readonly services: readonly IpvsServiceFacts[];
  /** Sync daemon roles running: "master", "backup". */
  readonly sync?: readonly string[];
}

export interface IpvsServiceFacts {
  readonly protocol?: "tcp" | "udp" | "sctp";
  readonly vip?: string;
  readonly port?: number;
  readonly fwmark?: number;
  readonly scheduler: string;
  readonly persistentS?: number;
  readonly destinations: readonly IpvsDestinationFacts[];
}

export interface IpvsDestinationFacts {
  readonly rip: string;
  readonly port: number;
  readonly method: "dr" | "tun" | "nat" | "local";
  readonly weight: number;
}

export interface SocketFacts {
  readonly protocol: "tcp" | "udp";
  /** "0.0.0.0" for any, "::" where an IPv6 socket takes both. */
  readonly ip: string;
  readonly port: number;
  readonly transparent?: boolean;
  readonly program?: string;
}

export interface EnvironmentFacts {
  /** "kvm", "vmware", "ec2", ... as far as it can be told. */
  readonly virtualisation?: string;
  readonly container?: string;
}

export interface UnreadFacts {
  readonly what: string;
  readonly why: string;
}
