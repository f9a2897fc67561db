import type { Ipv4 } from "../base/ipv4.ts";
import type { Link } from "./link.ts";

/** What a lookup asks. 0 stands for "any" in iif, oif and mark. */
export interface Flow {
  readonly destination: Ipv4;
  readonly source: Ipv4;
  readonly iif: number;
  readonly oif: number;
  readonly tos: number;
  readonly mark: number;
  /** The VRF the flow belongs to, for l3mdev rules. */
  readonly vrf: Link | undefined;
  /** 0 for ARP, which no rule with a protocol matches. */
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** A rule of the policy database, compiled. */
export interface PolicyRule {
  readonly priority: number;
  readonly matches: (flow: Flow) => boolean;
  readonly action: "lookup" | "blackhole" | "unreachable" | "prohibit" | "goto" | "nop";
  readonly table: number;
  readonly l3mdev: boolean;
  readonly goto: number;
  readonly suppressPrefixLength: number;
}
