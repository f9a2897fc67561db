import type { Ipv4 } from "../base/ipv4.ts";
import type { HostFacts } from "../model/facts.ts";

/**
 * What a proof asks of the kernel model, and no more. kernelModel.ts binds it to model/; tests may put their own in.
 */
export interface KernelView {
  /** Is an ARP request answered? `sender` 0.0.0.0 is a probe. */
  answers(q: ArpQuestion): Answer;
  /** What does the host's own request for `target` carry as sender, when a packet from `source` waits for it? */
  announces(q: AnnounceQuestion): Announcement;
  /** Is a packet delivered on this host? */
  receives(q: PacketQuestion): Answer;
}

/** Indexes the facts once; its answers then do not scan them. */
export type Kernel = (facts: HostFacts) => KernelView;

export interface ArpQuestion {
  readonly link: string;
  readonly sender: Ipv4;
  readonly target: Ipv4;
  /** A revalidating neighbour asks by a unicast frame (B-N-06). */
  readonly unicast: boolean;
}

export interface AnnounceQuestion {
  readonly link: string;
  readonly source: Ipv4;
  readonly target: Ipv4;
}

export interface PacketQuestion {
  readonly link: string;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp";
  readonly port: number;
  /** The outer header of an IPIP packet; the packet above is then the inner one. */
  readonly outer?: { readonly source: Ipv4; readonly destination: Ipv4 };
}

interface Decided {
  readonly rule: string;
  /** Why, in words. */
  readonly because: string;
  /** Why this answer may be wrong: unconfirmed rules, filter rules nobody could read. */
  readonly uncertain?: string;
}

export interface Answer extends Decided {
  /** Answered, or delivered. */
  readonly yes: boolean;
}

export interface Announcement extends Decided {
  /** undefined: no request leaves at all. 0.0.0.0 leaves as such, and gets no answer from some. */
  readonly sender: Ipv4 | undefined;
}
