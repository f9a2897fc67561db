/** What a random host is made of, as data: it can be built, asked, made smaller and printed. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import type { RouteType as AnyRouteType } from "../model/facts.ts";

/** NAT routes went with 2.6.25; a running kernel has none. */
export type RouteType = Exclude<AnyRouteType, "nat">;

/** `quiet`: a veth whose far end nobody uses, `portless`: a bridge without ports, so without a carrier. */
export type LinkKind = "veth" | "port" | "bridge" | "dummy" | "macvlan" | "ipip" | "tunl0" | "quiet" | "portless";

/** A link of one group of hosts: made once, as making links is what costs time. */
export interface LinkPlan {
  readonly name: string;
  readonly kind: LinkKind;
  readonly mac?: Mac;
  /** Of a port: its bridge; of a macvlan: the link below. */
  readonly over?: string;
  readonly mode?: "bridge" | "private" | "vepa";
  readonly tunnel?: { readonly local?: Ipv4; readonly remote?: Ipv4 };
}

export interface Topology {
  readonly links: readonly LinkPlan[];
  /** Hosts of this group may have policy rules: the kernel never forgets the first one. */
  readonly withRules: boolean;
  /** The same for local routes that a person added. */
  readonly withLocalRoutes: boolean;
  readonly withNft: boolean;
}

/** One thing that a host has beyond bare links. Each can be left out when a difference is made smaller. */
export type Part =
  | { readonly part: "sysctl"; readonly key: string; readonly value: number }
  | { readonly part: "link"; readonly link: string; readonly up: boolean; readonly noArp: boolean }
  | {
      readonly part: "address";
      readonly link: string;
      readonly prefix: Prefix;
      readonly peer?: Prefix;
      readonly scope: number;
      readonly broadcast?: Ipv4;
    }
  | {
      readonly part: "route";
      readonly destination: Prefix;
      readonly type: RouteType;
      readonly table: number;
      readonly link?: string;
      readonly gateway?: Ipv4;
      readonly metric?: number;
      readonly hops?: readonly { readonly link: string; readonly gateway?: Ipv4 }[];
    }
  | {
      readonly part: "rule";
      readonly priority: number;
      readonly action: "table" | "blackhole" | "unreachable" | "prohibit";
      readonly table: number;
      readonly source?: Prefix;
      readonly destination?: Prefix;
      readonly inputLink?: string;
      readonly invert?: boolean;
    }
  | {
      readonly part: "neighbour";
      readonly link: string;
      readonly address: Ipv4;
      readonly mac?: Mac;
      readonly state: "reachable" | "stale" | "permanent" | "proxy";
    }
  | { readonly part: "nft"; readonly family: "arp" | "ip"; readonly hook: NftHook; readonly expr: readonly unknown[] };
export type NftHook = "input" | "output" | "prerouting" | "forward";

export interface HostPlan {
  readonly parts: readonly Part[];
}

/** `n` makes the question's own MAC and IP id, by which what comes back is known. */
export type Question = { readonly n: number } & (
  | {
      readonly ask: "arp";
      /** Where the frame is put on the wire: a veth or a port of a bridge. */
      readonly link: string;
      readonly frame: "broadcast" | "multicast" | "unicast" | "other" | "macvlan";
      readonly operation: number;
      readonly senderIp: Ipv4;
      readonly targetIp: Ipv4;
      readonly targetMac: "zero" | "sender" | "receiver";
    }
  | {
      readonly ask: "ip";
      readonly link: string;
      readonly frame: "broadcast" | "unicast" | "other" | "macvlan";
      readonly header: PacketPlan;
    }
  | {
      /** The host sends a packet of this source to an address on the link, and must ask for its MAC. */
      readonly ask: "announce";
      readonly link: string;
      readonly source: Ipv4;
      readonly nextHop: Ipv4;
    }
  /** The link goes down and comes up again: what it announces by itself. Always asked last. */
  | { readonly ask: "flap"; readonly link: string }
);

export interface PacketPlan {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: "tcp" | "udp" | "other" | "ipip";
  readonly destinationPort: number;
  readonly inner?: PacketPlan;
}
