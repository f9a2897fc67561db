/** ARP on a host: what it hears changes neighbours and is answered as the model says; and what programs send. */
import type { Ipv4 } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, ZERO_MAC } from "../base/mac.ts";
import { type ArpPacket, type ArpReply, answerArp, type FrameKind } from "../model/answerArp.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import { neighbourEntry } from "../model/neighbour.ts";
import type { Dice } from "./dice.ts";
import { type ArpBody, BROADCAST_ID, type Frame, type MacId } from "./frame.ts";
import type { Lan } from "./lan.ts";
import type { NeighbourCache } from "./neighbourCache.ts";
import type { Nic } from "./nic.ts";
import { Task } from "./task.ts";

export interface ArpHost {
  readonly lan: Lan;
  readonly dice: Dice;
  readonly model: Host;
  readonly nowMs: number;
  /** Programs run there. */
  readonly isAwake: boolean;
  readonly neighbours: NeighbourCache;
  /** Wakes the host with that item, late where it is frozen then. */
  after(us: number, item: Task): number;
  transmit(nic: Nic, to: MacId, body: Frame["body"]): void;
}

export class Arp {
  readonly #host: ArpHost;

  constructor(host: ArpHost) {
    this.#host = host;
  }

  input(nic: Nic, link: Link, kind: FrameKind, body: ArpBody): void {
    const { model, neighbours, nowMs } = this.#host;
    const { operation, senderMac, senderIp, targetMac, targetIp } = body;
    const packet: ArpPacket = { link: link.index, frame: kind, operation, senderMac, senderIp, targetMac, targetIp };
    const verdict = answerArp(model, packet);
    const known = neighbours.get(link, senderIp);
    // what changes no entry need not be asked twice
    if (
      verdict.cache === "create" ||
      known !== undefined ||
      link.conf.arpAccept !== 0 ||
      model.switches.arpScope === "device"
    ) {
      if (verdict.cache !== "none") {
        const after = neighbourEntry(model, link, known?.entry, packet, nowMs);
        if (after !== undefined && after !== known?.entry) neighbours.learned(nic, known, after);
      }
    }
    if (verdict.kind === "reply") {
      this.#answer(nic, verdict);
      for (const more of verdict.also) this.#answer(nic, more);
    }
  }

  #answer(nic: Nic, reply: ArpReply): void {
    const { lan, dice } = this.#host;
    const { senderMac, senderIp, targetMac, targetIp } = reply;
    const send = (): void => {
      const body = { kind: "arp", operation: 2, senderMac, senderIp, targetMac, targetIp } as const;
      this.#host.transmit(nic, lan.macs.idOf(reply.to), body);
    };
    if (reply.delayedUpToMs === 0) send();
    else this.#host.after(dice.below(reply.delayedUpToMs * 1000), new Task(send));
  }

  /** Puts any ARP packet on the wire, as arping does: a program, which does not run on a host that is frozen or down. */
  send(
    nic: Nic,
    arp: { operation: number; senderIp: Ipv4; targetIp: Ipv4; targetMac?: Mac; senderMac?: Mac; to?: Mac },
  ): void {
    const { isAwake, lan } = this.#host;
    if (!isAwake) return;
    this.#host.transmit(nic, arp.to === undefined ? BROADCAST_ID : lan.macs.idOf(arp.to), {
      kind: "arp",
      operation: arp.operation,
      senderMac: arp.senderMac ?? nic.mac,
      senderIp: arp.senderIp,
      targetMac: arp.targetMac ?? ZERO_MAC,
      targetIp: arp.targetIp,
    });
  }

  /** Gratuitous ARP, in both forms: what a takeover needs (B-G-02). */
  announce(nic: Nic, ip: Ipv4): void {
    this.send(nic, { operation: 1, senderIp: ip, targetIp: ip });
    this.send(nic, { operation: 2, senderIp: ip, targetIp: ip, targetMac: BROADCAST_MAC });
  }
}
