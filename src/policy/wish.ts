import type { Service } from "../plan/proof.ts";

export const carriers = ["lo", "dummy", "tunl0"] as const;
export type Carrier = (typeof carriers)[number];

/** Which of the tools a host has, and what it lets be changed. Absent: not looked; then the kernel's age decides what to try. */
export interface Programs {
  readonly nft?: boolean;
  readonly iptables?: boolean;
  readonly arptables?: boolean;
  readonly ipchains?: boolean;
  /** False: /proc/sys/net cannot be written, as in most containers. */
  readonly sysctls?: boolean;
  /** Of the modules that a carrier may need, those that are neither here nor to be had. */
  readonly missingModules?: readonly string[];
}

/** What a real server should be. Made from the cluster file or the command line. */
export interface Wish {
  readonly vips: readonly string[];
  readonly forwarding: "dr" | "tun";
  readonly carrier: Carrier;
  /** Device of a dummy carrier; dummy0 unless said. */
  readonly carrierName?: string;
  /** Links whose wire must not see the VIPs; absent: every link that speaks ARP. */
  readonly lanLinks?: readonly string[];
  readonly services: readonly Service[];
  readonly options?: {
    /** arp-sysctl: on the links that need it (the default), or through conf/all. */
    readonly sysctlScope?: "links" | "all";
    /** redirect: to this port, not to the packet's own. */
    readonly redirectPort?: number;
  };
  readonly programs?: Programs;
  /** The host is a director too (one-box): while it owns the VIPs it must answer for them on its link. */
  readonly ownsAtTimes?: boolean;
}
