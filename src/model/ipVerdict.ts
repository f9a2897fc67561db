/** What is asked of receive, and what it says. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { FrameKind } from "./arpVerdict.ts";
import type { HookPacket } from "./filters.ts";
import type { Link } from "./link.ts";
import type { RuleId } from "./rules.ts";

export interface IpHeader {
  /** undefined: not known (the outer source of a tunnelled packet): its check is skipped. */
  readonly source: Ipv4 | undefined;
  readonly destination: Ipv4;
  /** "tcp", "udp", "icmp", "ipip" or a number as text. */
  readonly protocol: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tos?: number;
  readonly mark?: number;
  /** What an ipip packet carries. */
  readonly inner?: IpHeader;
}

/** An IPv4 packet that reached a link in a frame. */
export interface IpPacket extends IpHeader {
  /** ifindex. */
  readonly link: number;
  readonly frame: FrameKind;
}

interface Decided {
  readonly rule: RuleId;
  readonly because: string;
  readonly notUnderstood?: readonly string[];
}

export interface Delivered extends Decided {
  readonly kind: "deliver";
  /** The link it was local on: a tunnel after decapsulation. */
  readonly on: string;
  /** The destination the service sees. */
  readonly seenDestination: Ipv4;
  /** The source its answers carry on the wire. */
  readonly replySource: Ipv4;
  /** A redirect changed the port. */
  readonly port?: number;
  /** Only sockets with IP_TRANSPARENT get it. */
  readonly transparent?: true;
}

export interface Forwarded extends Decided {
  readonly kind: "forward";
  readonly out: string;
  readonly via?: Ipv4;
}

export interface Dropped extends Decided {
  readonly kind: "drop";
  /** What the sender hears, if anything; refused sources hear nothing (C-ALL-04). */
  readonly icmp?: "host unreachable" | "net unreachable" | "protocol unreachable";
}

export type IpVerdict = Delivered | Forwarded | Dropped;

/** A packet as filter rules see it. */
export const hookPacketOf = (packet: IpPacket, link: Link): HookPacket => ({
  in: link.name,
  out: "",
  source: packet.source ?? (0 as Ipv4),
  target: packet.destination,
  sourceMac: "",
  targetMac: "",
  arpOperation: 0,
  protocol: packet.protocol,
  sourcePort: packet.sourcePort ?? 0,
  targetPort: packet.destinationPort ?? 0,
  mark: packet.mark ?? 0,
});
