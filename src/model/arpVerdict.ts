/** What is asked of answerArp, and what it says. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { RuleId } from "./rules.ts";

/** `broadcast` stands for every group address; `unicast`: to this host; `other`: to another; `own`: looped back. */
export type FrameKind = "broadcast" | "unicast" | "other" | "own";

/** An ARP packet that reached a link, format already checked (A-ALL-02 is the codec's). */
export interface ArpPacket {
  /** ifindex of the link it came in on; the model goes up to bridge or bond and to macvlans by itself. */
  readonly link: number;
  readonly frame: FrameKind;
  /** 1 request, 2 reply; all else is dropped. */
  readonly operation: number;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetMac: Mac;
  readonly targetIp: Ipv4;
}

/** What the packet does to the asker's entry: made or overwritten at once, only touched if there (B-N-03), nothing. */
export type CacheEffect = "create" | "existing" | "none";

interface Decided {
  readonly rule: RuleId;
  /** Why, for people, in words that hold for any host. */
  readonly because: string;
  /** The link whose ARP code decided: a bridge for its ports. */
  readonly heardOn: string;
  readonly cache: CacheEffect;
  /** The answer rests on rules that were never confirmed in source. */
  readonly unconfirmed?: true;
  /** Filter rules on the way that vipward could not read: the kernel may do something else. */
  readonly notUnderstood?: readonly string[];
}

export interface ArpReply extends Decided {
  readonly kind: "reply";
  /** Link the answer leaves by, always the one that heard the request (A-ALL-04). */
  readonly via: string;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetMac: Mac;
  readonly targetIp: Ipv4;
  /** Ethernet destination. */
  readonly to: Mac;
  /** Proxy answers wait a random time up to this; 0 for all others. */
  readonly delayedUpToMs: number;
  /** Answers of other links of this host that heard the same frame: macvlans (A-2.6-21), a second NIC on the wire. */
  readonly also: readonly ArpReply[];
}

export interface ArpSilence extends Decided {
  readonly kind: "silent";
}

export type ArpVerdict = ArpReply | ArpSilence;
