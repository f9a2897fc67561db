import type { Ipv4 } from "../base/ipv4.ts";
import { type AnnouncerState, conflictCount } from "../machine/announcer.ts";
import { priorityOf } from "../machine/vrrpTimers.ts";
import type { PhaseName, VrrpState } from "../machine/vrrpTypes.ts";
import type { VrrpChecksum } from "../wire/vrrp.ts";
import type { InstanceConfig } from "./failoverConfig.ts";

export interface LastTransition {
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly reason: string;
  readonly rule: string;
  readonly atMs: number;
}

/** One virtual router as its director sees it. Times are ages, because each thread has a clock of its own. */
export interface InstanceStatus {
  readonly name: string;
  readonly link: string;
  /** "sole": a cluster of one director needs no VRRP. */
  readonly phase: PhaseName | "sole";
  readonly vips: readonly Ipv4[];
  /** VIPs that no neighbour has confirmed yet. */
  readonly unverified: number;
  /** Other machines' claims to the VIPs, heard in the last few minutes. */
  readonly conflicts: number;
  readonly vrrp?: {
    readonly id: number;
    readonly version: 2 | 3;
    readonly intervalMs: number;
    /** The file's, and what is left of it by what is tracked. */
    readonly priority: number;
    readonly effectivePriority: number;
    readonly forMs: number;
    readonly why: string | undefined;
    readonly rule: string | undefined;
    readonly master: { readonly address: Ipv4; readonly priority: number } | undefined;
    readonly switchedOver: boolean;
    readonly trackFault: string | undefined;
    readonly peers: readonly {
      readonly address: Ipv4;
      readonly priority: number;
      readonly intervalMs: number;
      readonly checksum: VrrpChecksum;
      readonly heardAgoMs: number;
    }[];
    readonly counts: Readonly<Record<string, number>>;
  };
}

export function instanceStatus(
  { vrrp, link }: InstanceConfig,
  s: VrrpState,
  around: {
    readonly last: LastTransition | undefined;
    readonly switchedOver: boolean;
    readonly announcer: AnnouncerState;
  },
  nowMs: number,
): InstanceStatus {
  const { phase } = s;
  const master =
    phase.kind === "master"
      ? { address: vrrp.address, priority: priorityOf(vrrp, s) }
      : phase.kind === "backup"
        ? phase.master
        : undefined;
  return {
    name: vrrp.name,
    link,
    phase: phase.kind,
    vips: vrrp.vips,
    unverified: around.announcer.pending.size,
    conflicts: conflictCount(around.announcer, nowMs),
    vrrp: {
      id: vrrp.vrid,
      version: vrrp.version,
      intervalMs: vrrp.intervalMs,
      priority: vrrp.priority,
      effectivePriority: priorityOf(vrrp, s),
      forMs: nowMs - s.sinceMs,
      why: phase.kind === "initialize" ? phase.why : around.last?.reason,
      rule: around.last?.rule,
      master,
      switchedOver: around.switchedOver,
      trackFault: s.trackFault ?? s.groupFault,
      peers: [...s.peers].map(([address, { priority, intervalMs, checksum, heardAtMs }]) => ({
        address,
        priority,
        intervalMs,
        checksum,
        heardAgoMs: nowMs - heardAtMs,
      })),
      counts: s.counts,
    },
  };
}
