import type { Ipv4 } from "../base/ipv4.ts";
import type { Prefix } from "../base/prefix.ts";
import type {
  Carrier,
  DnsRecordType,
  Engine,
  FaultAction,
  Forwarding,
  GuardKind,
  Protocol,
  Scheduler,
  SchedulerFlag,
  SilencePolicyName,
  TunnelChecksum,
  TunnelType,
} from "./words.ts";

// A cluster as the rest of the program sees it: every reference followed, every default filled in, nothing to check again.

export interface Cluster {
  readonly name: string;
  readonly engine: Engine;
  readonly policy: SilencePolicy;
  readonly networks: readonly Network[];
  /** In the order of the file; at least one. */
  readonly directors: readonly Director[];
  readonly realServers: readonly RealServer[];
  readonly vips: readonly Vip[];
  readonly services: readonly Service[];
  readonly silenceCheck: { readonly intervalMs: number; readonly action: "report" | "remove" };
  readonly failover: Failover;
  readonly reload: { readonly maximumDeleteSharePercent: number };
  readonly agent: Agent;
  readonly lab: Lab;
}

export interface Network {
  readonly name: string;
  readonly prefix: Prefix;
  readonly router: Ipv4 | undefined;
}

/** An own address of a host, never a VIP. */
export interface HostAddress {
  readonly address: Ipv4;
  readonly interface: string;
  readonly network: Network;
}

export interface Host {
  readonly name: string;
  readonly interface: string;
  /** The network of the DIP or RIP. */
  readonly network: Network;
  /** All own addresses, the DIP or RIP first. */
  readonly addresses: readonly HostAddress[];
  /** As the file says it, such as "2.2.14"; undefined: unknown. */
  readonly kernel: string | undefined;
}

export interface Director extends Host {
  readonly dip: Ipv4;
  /** VRRP, 1 to 255. */
  readonly priority: number;
}

export interface RealServer extends Host {
  readonly rip: Ipv4;
  readonly weight: number;
  readonly carrier: Carrier;
  readonly policy: SilencePolicy;
  readonly httpPort: number;
  /** VIPs it must hold: those of its dr and tun services (and those it is the sorry server of), in the file's order. */
  readonly vips: readonly Vip[];
  /** The same host is also a director (one-box). */
  readonly isDirector: boolean;
}

export interface SilencePolicy {
  readonly name: SilencePolicyName;
  /** Has a meaning for arp-sysctl (and for auto, when it picks that). */
  readonly scope: "minimal" | "all";
}

export interface Vip {
  readonly name: string;
  readonly address: Ipv4;
  readonly network: Network;
  readonly router: Ipv4 | undefined;
}

/** 1 to 65535, both ends belong to it. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export type Match =
  | { readonly kind: "ports"; readonly protocol: Protocol; readonly ports: readonly PortRange[] }
  /** `protocol` is what its checks speak; IPVS does not look at it. */
  | { readonly kind: "fwmark"; readonly protocol: Protocol; readonly fwmark: number };

export interface Service {
  /** Unique; made from VIP, protocol and port if the file gives none. */
  readonly name: string;
  /** At least one. A service of several VIPs is the same service at each. */
  readonly vips: readonly Vip[];
  readonly match: Match;
  readonly scheduler: Scheduler;
  readonly schedulerFlags: readonly SchedulerFlag[];
  readonly forwarding: Forwarding;
  readonly persistence: { readonly timeoutSeconds: number; readonly netmaskLength: number } | undefined;
  readonly onePacket: boolean;
  /** Services with the same settings may share one array. */
  readonly destinations: readonly Destination[];
  readonly sorryServer: SorryServer | undefined;
  readonly quorum: { readonly minimum: number; readonly hysteresis: number };
  readonly checks: readonly Check[];
  readonly onFailure: "drain" | "remove";
  readonly drainTimeoutMs: number;
  readonly killSwitch: { readonly sharePercent: number; readonly withinMs: number };
  readonly engine: Engine;
}

export interface Destination {
  readonly realServer: RealServer;
  readonly weight: number;
  readonly forwarding: Forwarding;
  /** nat with another port on the real server; undefined: the port stays. */
  readonly port: number | undefined;
  /** Connections; 0 is no limit. */
  readonly upperThreshold: number;
  /** Connections; 0 is three quarters of the upper. */
  readonly lowerThreshold: number;
  /** Has a meaning for tun. */
  readonly tunnel: Tunnel;
}

export interface Tunnel {
  readonly type: TunnelType;
  /** gue only. */
  readonly port: number | undefined;
  readonly checksum: TunnelChecksum;
}

export interface SorryServer {
  readonly address: Ipv4;
  readonly realServer: RealServer | undefined;
  readonly port: number | undefined;
  readonly forwarding: Forwarding;
  /** The service's; has a meaning for tun. */
  readonly tunnel: Tunnel;
}

export interface CheckTiming {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly rise: number;
  readonly fall: number;
  readonly jitterPercent: number;
  readonly slowStartMs: number;
}

interface HttpQuestion {
  readonly port: number;
  readonly path: string;
  readonly method: "GET" | "HEAD";
  /** undefined: the RIP as text. */
  readonly host: string | undefined;
  readonly status: readonly { readonly first: number; readonly last: number }[];
  /** Compiles; flags "". */
  readonly bodyRegex: string | undefined;
  /** Lower case hexadecimal. */
  readonly bodySha256: string | undefined;
}

export type Check = CheckTiming & {
  /** The file names no port for it: where the real server has another one than the service (nat), that one is asked. */
  readonly isServicePort: boolean;
} & (
    | { readonly type: "tcp"; readonly port: number }
    | ({ readonly type: "http" } & HttpQuestion)
    | ({ readonly type: "https"; readonly sni: string | undefined; readonly verify: boolean } & HttpQuestion)
    | {
        readonly type: "tls";
        readonly port: number;
        readonly sni: string | undefined;
        readonly verify: boolean;
        readonly minimumDaysLeft: number;
      }
    | {
        readonly type: "dns";
        readonly port: number;
        readonly name: string;
        readonly recordType: DnsRecordType;
        readonly expect: string | undefined;
      }
    | { readonly type: "udp"; readonly port: number; readonly payloadHex: string; readonly requireReply: boolean }
    | { readonly type: "icmp" }
    | {
        readonly type: "exec";
        readonly command: readonly string[];
        readonly user: string;
        readonly port: number | undefined;
      }
    | { readonly type: "vip-path"; readonly port: number }
  );
export type HttpCheck = Extract<Check, { readonly type: "http" | "https" }>;

export interface Failover {
  /** Empty with a single director: it simply owns the VIPs. */
  readonly instances: readonly VrrpInstance[];
  readonly syncGroups: readonly { readonly name: string; readonly instances: readonly string[] }[];
  readonly connectionSync: ConnectionSync;
}

export interface VrrpInstance {
  readonly name: string;
  readonly id: number;
  readonly vips: readonly Vip[];
  /** One for each director, in their order. */
  readonly members: readonly VrrpMember[];
  readonly version: 2 | 3;
  readonly intervalMs: number;
  readonly preempt: boolean;
  readonly preemptDelayMs: number;
  readonly accept: boolean;
  readonly downAdverts: number;
  readonly checksum: "message" | "pseudo-header";
  readonly garp: {
    readonly count: number;
    readonly intervalMs: number;
    /** 0: never. */
    readonly refreshMs: number;
    readonly form: "both" | "request" | "reply";
  };
  readonly track: readonly Track[];
}

export interface VrrpMember {
  readonly director: Director;
  readonly interface: string;
  readonly priority: number;
  /** undefined: multicast. Without the director's own addresses. */
  readonly unicastPeers: readonly Ipv4[] | undefined;
}

export type Track = { readonly weight: number } & (
  | { readonly type: "interface"; readonly interface: string }
  | { readonly type: "quorum"; readonly service: string }
  | {
      readonly type: "script";
      readonly command: readonly string[];
      readonly user: string;
      readonly intervalMs: number;
      readonly timeoutMs: number;
      readonly rise: number;
      readonly fall: number;
    }
);

export interface ConnectionSync {
  readonly enabled: boolean;
  /** undefined: the director's own. */
  readonly interface: string | undefined;
  readonly id: number;
  readonly group: Ipv4;
  readonly port: number;
  readonly ttl: number;
}

export interface Agent {
  readonly socket: string;
  /** ADDRESS:PORT. */
  readonly metrics: string | undefined;
  readonly https:
    | {
        readonly listen: string;
        readonly tokenFile: string;
        readonly certificateFile: string;
        readonly keyFile: string;
      }
    | undefined;
  readonly journalMaxOctets: number;
}

/** What a cable of the lab does to frames, as far as the file says it. */
export interface LabCable {
  readonly delayMs?: number | undefined;
  /** Of what the host sends. */
  readonly jitterMs?: number | undefined;
  readonly lossPercent?: number | undefined;
  readonly duplicatePercent?: number | undefined;
  readonly reorderPercent?: number | undefined;
  readonly mtu?: number | undefined;
}

export interface LabSwitch {
  readonly name: string;
  readonly ageingSeconds: number;
  /** The trunk to another switch; without `vlans` it carries all. Uplinks form no loop. */
  readonly uplink:
    | { readonly to: string; readonly vlans: readonly number[] | undefined; readonly cable: LabCable }
    | undefined;
}

/** A host's cable, as the file gives it; without `network` all its cables. */
export interface LabLinkGiven {
  readonly host: string;
  readonly network: string | undefined;
  readonly switch: string | undefined;
  readonly vlan: number | undefined;
  readonly port: number | undefined;
  readonly cable: LabCable;
}

/** How the lab's hosts are plugged together; see wires.ts. */
export interface LabWires {
  /** Empty: one for each network. */
  readonly switches: readonly LabSwitch[];
  /** By network. */
  readonly vlans: Readonly<Record<string, number>>;
  readonly links: readonly LabLinkGiven[];
}

/** Something done to one host of a simulated LAN, or to a switch's uplink. */
export interface LabFault {
  readonly atMs: number;
  readonly action: FaultAction;
  readonly host: string;
  /** sysctl: "eth0.arp_announce"; "" for the others. */
  readonly name: string;
  /** What it is stands in faultValues of words.ts; 0 where the fault takes none. */
  readonly value: number;
}

export interface Lab {
  readonly clients: readonly { readonly name: string; readonly address: Ipv4; readonly network: Network }[];
  /** One host that has the routers' addresses of all networks. */
  readonly router: {
    readonly name: string;
    readonly addresses: readonly { readonly address: Ipv4; readonly network: Network }[];
  };
  /** Kernels of clients and of the router, by name; for the simulator. */
  readonly kernels: Readonly<Record<string, string>>;
  /** The switches throw gratuitous ARP away. */
  readonly ignoresGratuitous: boolean;
  /** The policy redirect takes this port only, by tcp and by udp. */
  readonly redirectPort: number | undefined;
  readonly wires: LabWires;
  /** A run with faults instead of the story. */
  readonly scenario: LabScenario | undefined;
}

export interface LabScenario {
  readonly durationMs: number;
  readonly faults: readonly LabFault[];
  /** undefined, here and below: as the simulator chooses. */
  readonly seed: number | undefined;
  readonly connectEveryMs: number | undefined;
  readonly longLived: number;
  readonly askEveryMs: number | undefined;
  /** undefined: nobody guards the real servers. */
  readonly guard: GuardKind | undefined;
}

/** What a director tells clients apart by: one entry for each VIP and port range, or one for a fwmark. */
export type VirtualServer =
  | { readonly kind: "port"; readonly vip: Vip; readonly protocol: Protocol; readonly ports: PortRange }
  | { readonly kind: "fwmark"; readonly fwmark: number };

export function virtualServersOf(service: Service): VirtualServer[] {
  const { match } = service;
  if (match.kind === "fwmark") return [{ kind: "fwmark", fwmark: match.fwmark }];
  return service.vips.flatMap((vip) =>
    match.ports.map((ports) => ({ kind: "port", vip, protocol: match.protocol, ports }) as const),
  );
}

/** What checks by http and https ask of each real server, by its name; those that none asks are not in it. */
export function httpChecksOf(services: readonly Service[]): ReadonlyMap<string, readonly HttpCheck[]> {
  const found = new Map<string, HttpCheck[]>();
  for (const { checks, destinations } of services) {
    const asking = checks.filter((c): c is HttpCheck => c.type === "http" || c.type === "https");
    if (asking.length === 0) continue;
    for (const { realServer } of destinations) {
      const known = found.get(realServer.name) ?? [];
      known.push(...asking);
      found.set(realServer.name, known);
    }
  }
  return found;
}
