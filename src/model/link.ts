import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";

/** The sysctls in force on one link, after combining `all` and its own (section S). */
export interface Conf {
  readonly hidden: boolean;
  readonly invisible: boolean;
  readonly arpFilter: boolean;
  readonly arpIgnore: number;
  readonly arpAnnounce: number;
  readonly arpAccept: number;
  readonly arpNotify: number;
  readonly evictNoCarrier: boolean;
  readonly proxyArp: boolean;
  readonly proxyPvlan: boolean;
  readonly mediumId: number;
  readonly dropGratuitous: boolean;
  readonly dropUnicastInMulticast: boolean;
  /** 0 off, 1 strict, 2 and more loose. */
  readonly rpFilter: number;
  readonly acceptLocal: boolean;
  readonly sourceValidMark: boolean;
  readonly routeLocalnet: boolean;
  readonly sendRedirects: boolean;
  readonly forwarding: boolean;
  readonly broadcastForwarding: boolean;
  readonly ignoreLinkDown: boolean;
  readonly lockTimeMs: number;
  readonly proxyDelayMs: number;
}

export interface Address {
  readonly link: Link;
  readonly ip: Ipv4;
  /** What the prefix is taken from: the peer where there is one, else `ip`. */
  readonly prefixAddress: Ipv4;
  readonly prefixLength: number;
  readonly mask: Ipv4;
  readonly scope: number;
  readonly secondary: boolean;
  readonly label: string | undefined;
  readonly broadcast: Ipv4 | undefined;
}

/** inet_ifa_match. */
export const holdsPrefix = (address: Address, ip: Ipv4): boolean => ((address.prefixAddress ^ ip) & address.mask) === 0;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
  readonly up: boolean;
  readonly noArp: boolean;
  readonly loopback: boolean;
  readonly pointToPoint: boolean;
  readonly carrier: boolean;
  readonly mac: Mac | undefined;
  readonly isVrf: boolean;
  readonly vrfTable: number | undefined;
  /** The bridge or bond that sees this link's frames instead of it. */
  readonly master: Link | undefined;
  /** The VRF whose tables count. */
  readonly vrf: Link | undefined;
  /** macvlans on it, in list order. */
  readonly macvlans: readonly Link[];
  /** macvlan only: its mode, and the link below. */
  readonly mode: string | undefined;
  readonly parent: Link | undefined;
  readonly segment: string | undefined;
  readonly isTunnel: boolean;
  readonly isIpip: boolean;
  readonly tunnelLocal: Ipv4;
  readonly tunnelRemote: Ipv4;
  /** Whether the link has an in_device (C-2.2-06); always true from 2.6.22 on. */
  readonly ipv4State: boolean;
  readonly aliasFlags: Readonly<Record<string, readonly string[]>>;
  readonly addresses: readonly Address[];
  readonly conf: Conf;
}

/** A bridge or bond sees the frames of what belongs to it (A-2.6-21). */
export function receiverOf(link: Link): Link {
  let receiver = link;
  while (receiver.master) receiver = receiver.master;
  return receiver;
}
