import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { ConflictKind, NoteCode, PhaseName } from "../machine/vrrpTypes.ts";

/**
 * What failover needs of the host. None of it throws: what the host refuses comes back as a `fault` event, because a
 * director that stops for it would be worse. Links by name.
 */
export interface FailoverPorts {
  /** A whole IPv4 packet. */
  sendAdvert(link: string, packet: Uint8Array, to: Ipv4): void;
  /** As /32 on the link; one that is there already stays. Done when it returns. */
  addVips(link: string, vips: readonly Ipv4[]): void;
  /** One that is not there is no fault. */
  removeVips(link: string, vips: readonly Ipv4[]): void;
  /** A whole Ethernet frame. */
  sendFrame(link: string, frame: Uint8Array): void;
  report(event: FailoverEvent): void;
}

export type FailoverEvent =
  | {
      readonly kind: "transition";
      readonly instance: string;
      readonly from: PhaseName;
      readonly to: PhaseName;
      readonly reason: string;
      readonly rule: string;
    }
  | {
      readonly kind: "vrrpConflict";
      readonly instance: string;
      readonly what: ConflictKind;
      readonly source: Ipv4;
      readonly priority: number;
      readonly reason: string;
    }
  | {
      readonly kind: "arpConflict";
      readonly instance: string;
      readonly vip: Ipv4;
      readonly mac: Mac;
      readonly reason: string;
    }
  | {
      readonly kind: "note";
      readonly instance: string;
      readonly code: NoteCode | FailoverNote;
      readonly reason: string;
    }
  | {
      readonly kind: "verified";
      readonly instance: string;
      readonly vip: Ipv4;
      readonly how: "answer" | "traffic";
      readonly afterMs: number;
    }
  | { readonly kind: "unverified"; readonly instance: string; readonly vip: Ipv4; readonly reason: string }
  | { readonly kind: "fault"; readonly code: string; readonly reason: string; readonly remedy: string };

export type FailoverNote = "adopted" | "vip-restored" | "stale-vips" | "handing-over" | "handed-over";
