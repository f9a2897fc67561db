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
  /**
   * The VIPs leave the link, so that nobody hears an ARP answer of ours any more, and packets that come for them all the
   * same are still taken and forwarded: until `removeVips`, or `addVips`.
   */
  yieldVips(link: string, vips: readonly Ipv4[]): void;
  /** One that is not there is no fault. */
  removeVips(link: string, vips: readonly Ipv4[]): void;
  /** TCP for these VIPs that belongs to no connection known here goes to this director instead, for so long. */
  relay(vips: readonly Ipv4[], to: Ipv4, forMs: number): void;
  /** From now on not any more. One that is over already is no fault. */
  endRelay(vips: readonly Ipv4[], to: Ipv4): void;
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
  /** We give the VIPs to another director. Until `over` clients' packets still come here, and are forwarded. */
  | { readonly kind: "leaving"; readonly instance: string; readonly over: boolean }
  /**
   * We are about to take the VIPs from a director that lives: for so long from now on, our first moments as master
   * included, it knows connections that we have not heard of.
   */
  | {
      readonly kind: "succeeding";
      readonly instance: string;
      readonly predecessor: Ipv4;
      readonly forMs: number;
    }
  | { readonly kind: "fault"; readonly code: string; readonly reason: string; readonly remedy: string };

export type FailoverNote = "adopted" | "vip-restored" | "stale-vips" | "handing-over" | "yielded" | "handed-over";
