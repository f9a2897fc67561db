import { formatIpv4, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac } from "../base/mac.ts";
import { type AnnounceVerdict, announce } from "../model/announce.ts";
import { type ArpReply, type ArpVerdict, answerArp, type FrameKind } from "../model/answerArp.ts";
import type { Host } from "../model/host.ts";
import { type Link, receiverOf } from "../model/link.ts";
import { type IpVerdict, receive } from "../model/receive.ts";

const askerMac = "02:00:5e:00:53:01" as Mac;

export interface Leak {
  readonly link: Link;
  readonly nextHop: Ipv4;
  readonly verdict: Extract<AnnounceVerdict, { kind: "request" }>;
}

export interface PacketWish {
  readonly link: Link;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: string;
  readonly port: number;
  readonly tunnelTo?: Ipv4;
  readonly tunnelFrom?: Ipv4;
}

/** The questions a check puts to the model, with askers that a real wire would have (section F, 7 and 8). */
export class Questions {
  private readonly neighbours = new Map<Link, Ipv4 | undefined>();
  /** Findings and report ask the same; a host may have thousands of VIPs. */
  private readonly answered = new Map<Link, Map<number, readonly ArpReply[]>>();
  private readonly host: Host;
  private readonly vips: ReadonlySet<number>;
  private readonly lan: readonly Link[];
  private readonly gateway: { readonly ip: Ipv4; readonly link: Link } | undefined;

  constructor(host: Host, vips: ReadonlySet<number>, lan: readonly Link[], gateway: Questions["gateway"]) {
    this.host = host;
    this.vips = vips;
    this.lan = lan;
    this.gateway = gateway;
  }

  /** A host on that wire that may ask: the gateway, or a free address of the first subnet; unnumbered: undefined. */
  neighbourOn(link: Link): Ipv4 | undefined {
    const before = this.neighbours.get(link);
    if (before !== undefined || this.neighbours.has(link)) return before;
    const found = this.gateway?.link === link ? this.gateway.ip : this.freeAddress(link);
    this.neighbours.set(link, found);
    return found;
  }

  /** Bounded by the addresses the host has: among that many and a few there is a free one, or the subnet is full. */
  private freeAddress(link: Link): Ipv4 | undefined {
    for (const a of link.addresses) {
      if (a.prefixLength > 30) continue;
      const first = (a.prefixAddress & a.mask) >>> 0;
      const count = Math.min(2 ** (32 - a.prefixLength) - 2, this.host.ownAddresses.size + this.vips.size + 2);
      for (let i = 1; i <= count; i++)
        if (!this.host.ownAddresses.has(first + i) && !this.vips.has(first + i)) return ipv4FromNumber(first + i);
    }
    return undefined;
  }

  arp(link: Link, targetIp: Ipv4, senderIp: Ipv4, frame: FrameKind = "broadcast"): ArpVerdict {
    return answerArp(this.host, {
      link: link.index,
      frame,
      operation: 1,
      senderMac: askerMac,
      senderIp,
      targetMac: BROADCAST_MAC,
      targetIp,
    });
  }

  /** Who of this host answers a broadcast heard on `link`: its own ARP code and that of macvlans on it. */
  answersOn(link: Link, target: Ipv4): readonly ArpReply[] {
    const known = this.answered.get(link) ?? new Map<number, readonly ArpReply[]>();
    this.answered.set(link, known);
    const before = known.get(target);
    if (before) return before;
    const replies = this.askOn(link, target);
    known.set(target, replies);
    return replies;
  }

  private askOn(link: Link, target: Ipv4): readonly ArpReply[] {
    const asker = this.neighbourOn(link) ?? this.gateway?.ip;
    for (const sender of asker === undefined ? [0 as Ipv4] : [asker, 0 as Ipv4]) {
      const verdict = this.arp(link, target, sender);
      if (verdict.kind === "reply") return [verdict, ...verdict.also];
    }
    return [];
  }

  /** The same over every LAN link, each answering link once. A macvlan is heard through the link below it. */
  answers(target: Ipv4): readonly ArpReply[] {
    const found = new Map<string, ArpReply>();
    for (const link of this.lan) {
      if (link.parent && link.kind === "macvlan" && this.lan.includes(receiverOf(link.parent))) continue;
      for (const reply of this.answersOn(link, target)) if (!found.has(reply.via)) found.set(reply.via, reply);
    }
    return [...found.values()];
  }

  /** Why nobody of this host answers on `link`. */
  silence(link: Link, target: Ipv4): ArpVerdict {
    return this.arp(link, target, this.neighbourOn(link) ?? this.gateway?.ip ?? (0 as Ipv4));
  }

  /** The host's own ARP requests that carry a VIP: for an answer that leaves with it, or by the kernel's choice. */
  leaks(vip: Ipv4): readonly Leak[] {
    const found: Leak[] = [];
    for (const link of this.lan) {
      const nextHop = this.neighbourOn(link);
      if (nextHop === undefined) continue;
      for (const packetSource of [vip, undefined]) {
        const verdict = this.announce(link, nextHop, packetSource);
        if (verdict.kind === "request" && verdict.senderIp === vip) {
          found.push({ link, nextHop, verdict });
          break;
        }
      }
    }
    return found;
  }

  announce(link: Link, nextHop: Ipv4, packetSource?: Ipv4): AnnounceVerdict {
    return announce(this.host, {
      link: link.index,
      nextHop,
      ...(packetSource === undefined ? {} : { packetSource }),
    });
  }

  packet(wish: PacketWish): IpVerdict {
    const header = {
      source: wish.source,
      destination: wish.destination,
      protocol: wish.protocol,
      sourcePort: 40000,
      destinationPort: wish.port,
    };
    const at = { link: wish.link.index, frame: "unicast" } as const;
    if (wish.tunnelTo === undefined) return receive(this.host, { ...header, ...at });
    return receive(this.host, {
      ...at,
      source: wish.tunnelFrom,
      destination: wish.tunnelTo,
      protocol: "ipip",
      inner: header,
    });
  }
}

export const rules = <T extends { readonly rule: string }>(verdicts: readonly T[]): T["rule"][] => [
  ...new Set(verdicts.map((v) => v.rule as T["rule"])),
];
export const ipText = (ip: Ipv4): string => formatIpv4(ip);
