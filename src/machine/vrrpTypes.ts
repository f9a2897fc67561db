import type { Ipv4 } from "../base/ipv4.ts";
import type { VrrpAdvert, VrrpChecksum } from "../wire/vrrp.ts";

/** One virtual router as one director takes part in it. Checked when the cluster file was read. */
export interface VrrpConfig {
  readonly name: string;
  readonly version: 2 | 3;
  /** 1 to 255. */
  readonly vrid: number;
  /** 1 to 255; 255 is the address owner, which nobody outvotes and no weight lowers. */
  readonly priority: number;
  /** In steps of 1000 ms (version 2) or 10 ms (version 3). */
  readonly intervalMs: number;
  /** The sender of our adverts; the higher one wins a tie. */
  readonly address: Ipv4;
  readonly vips: readonly Ipv4[];
  readonly preempt: boolean;
  /** How long a living master of lower priority is left alone after it was first heard; 0: not at all. */
  readonly preemptDelayMs: number;
  /** Intervals without an advert until the master is held to be gone: 3 in both RFCs. */
  readonly downAdverts: number;
  /** RFC 9568 section 6.1 Accept_Mode: packets for the VIPs are taken here though the addresses are not our own. */
  readonly accept: boolean;
  /** The form we send in version 3; both are accepted, and both sent once a peer was heard that uses the other. */
  readonly checksum: VrrpChecksum;
  /** Absent: multicast. */
  readonly unicastPeers?: readonly Ipv4[] | undefined;
  /** Version 2 with old peers. */
  readonly password?: string | undefined;
}

/** An advert as it came off the wire: what the codec read, and what lay around it. */
export interface HeardAdvert extends VrrpAdvert {
  readonly source: Ipv4;
  readonly ttl: number;
  readonly checksum: VrrpChecksum;
}

export type VrrpEvent =
  | { readonly kind: "start" }
  | { readonly kind: "shutdown" }
  /** Time passed; early ones are harmless. Read what the socket holds before: a late tick must not outrun an advert. */
  /** `hold`: a sync group decides when to take over, so only say that the time has come. */
  | { readonly kind: "tick"; readonly hold?: boolean }
  | { readonly kind: "advert"; readonly advert: HeardAdvert }
  /** What the codec refused, to be counted: its fault's code. */
  | { readonly kind: "malformed"; readonly code: string }
  | { readonly kind: "linkUp" }
  | { readonly kind: "linkDown" }
  /** The sum of the weights of everything tracked, and the name of what failed without a weight. */
  | { readonly kind: "trackChanged"; readonly priorityDelta: number; readonly fault?: string | undefined }
  /** From the next step on the caller passes `config`. */
  | { readonly kind: "reload"; readonly config: VrrpConfig }
  /** Only from vrrpGroup.ts: what another member of the sync group did. */
  | { readonly kind: "follow"; readonly to: "master" | "backup"; readonly member: string }
  | { readonly kind: "groupFault"; readonly member: string | undefined };

export type VrrpEffect =
  /** One packet to each address of `to`. */
  | {
      readonly kind: "sendAdvert";
      readonly advert: VrrpAdvert;
      readonly checksum: VrrpChecksum;
      readonly to: readonly Ipv4[];
    }
  /** Done before the announcement that follows it. */
  | { readonly kind: "addVips"; readonly vips: readonly Ipv4[]; readonly accept: boolean }
  /** Any announcement of these that still runs ends first. */
  | { readonly kind: "removeVips"; readonly vips: readonly Ipv4[] }
  /** For the announcer: gratuitous ARP in the forms, number and spacing that it is configured for. */
  | { readonly kind: "announce"; readonly vips: readonly Ipv4[]; readonly reason: string }
  /** For the announcer: ask a neighbour, and say so when nobody has learned it. */
  | { readonly kind: "verifyAnnouncement"; readonly vips: readonly Ipv4[] }
  /** Somebody else claims the VIPs. For the announcer: both of the above, as often as is good for the wire. */
  | { readonly kind: "defend"; readonly vips: readonly Ipv4[]; readonly reason: string }
  | {
      readonly kind: "transition";
      readonly from: PhaseName;
      readonly to: PhaseName;
      readonly reason: string;
      readonly rule: string;
    }
  | {
      readonly kind: "conflict";
      readonly what: ConflictKind;
      readonly source: Ipv4;
      readonly priority: number;
      readonly reason: string;
    }
  | { readonly kind: "note"; readonly code: NoteCode; readonly source: Ipv4 | undefined; readonly reason: string };

export type ConflictKind =
  /** A router of lower priority claims the VIPs while we do. */
  | "second-master"
  /** Another router says it owns the addresses that we own (priority 255). */
  | "second-owner"
  /** Somebody else sends from our address. */
  | "own-address";

export type NoteCode =
  | "peer-checksum"
  | "address-list"
  | "interval-mismatch"
  | "interval-adopted"
  | "preempt-delayed"
  | "woke-late"
  | "reloaded";

export type PhaseName = "initialize" | "backup" | "master";
export type Phase =
  | { readonly kind: "initialize"; readonly why: string }
  | {
      readonly kind: "backup";
      readonly takeOverAtMs: number;
      /** The master's, as learned (version 3), or our own. */
      readonly masterIntervalMs: number;
      readonly master: { readonly address: Ipv4; readonly priority: number } | undefined;
      /** While a living master of lower priority is left alone. */
      readonly preemptAtMs: number | undefined;
      /** The time has come, and the other members of the sync group are not ready. */
      readonly waiting: boolean;
      /** The time to take over was overslept once: the second time it is taken. */
      readonly wokeLate: boolean;
    }
  | {
      readonly kind: "master";
      readonly advertAtMs: number;
      /** Woke up late with `preempt` off: the next advert of anybody sends us back. */
      readonly yielding: boolean;
      /** When an advert was last answered at once. */
      readonly assertedAtMs: number;
    };

export interface VrrpPeer {
  readonly priority: number;
  readonly intervalMs: number;
  readonly checksum: VrrpChecksum;
  readonly heardAtMs: number;
  readonly addressesDiffer: boolean;
}

export interface VrrpState {
  readonly phase: Phase;
  /** Since when in this phase. */
  readonly sinceMs: number;
  readonly started: boolean;
  readonly linkUp: boolean;
  readonly priorityDelta: number;
  readonly trackFault: string | undefined;
  readonly groupFault: string | undefined;
  readonly sentAtMs: number;
  /** By reason: what was heard and not acted on, and what was taken ("taken"). */
  readonly counts: Readonly<Record<string, number>>;
  /** Who was heard, at most `peerLimit`. */
  readonly peers: ReadonlyMap<Ipv4, VrrpPeer>;
}

export interface VrrpStep {
  readonly state: VrrpState;
  readonly effects: readonly VrrpEffect[];
}

/** More senders than this on one virtual router are an attack; they are acted on and not remembered. */
export const peerLimit = 32;
