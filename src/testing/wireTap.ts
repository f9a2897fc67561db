/** What a neighbour hears of a take-over, with the kernel's own times: adverts, and announcements of the VIP. */
import { type Ipv4, ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Namespace } from "../host/namespace.ts";
import { openPacketSocket, type PacketSocket } from "../host/packetSocket.ts";
import { decodeArp } from "../wire/arp.ts";
import { decodeEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { decodeIpv4, PROTOCOL } from "../wire/ipv4.ts";
import { filterProgram, isArp, isIpv4Protocol } from "../wire/packetFilter.ts";

export interface HeardAdvert {
  readonly atMs: number;
  readonly from: Ipv4;
  readonly priority: number;
}
export interface HeardAnnouncement {
  readonly atMs: number;
  readonly mac: Mac;
}

export class WireTap {
  readonly #socket: PacketSocket;
  readonly #vip: Ipv4;
  adverts: HeardAdvert[] = [];
  announcements: HeardAnnouncement[] = [];

  constructor(namespace: Namespace, vip: string, link = "eth0") {
    this.#vip = ipv4(vip);
    const filter = filterProgram(isArp, isIpv4Protocol(PROTOCOL.vrrp));
    this.#socket = openPacketSocket({ interface: link, namespace, filter, longestFrameOctets: 256 });
  }

  /** Takes what has come since. */
  read(): void {
    this.#socket.receive(({ octets, timeUs }) => {
      const outer = decodeEthernet(octets);
      if (!outer.ok) return;
      const { etherType, payloadOffset, source } = outer.value;
      const atMs = timeUs / 1000;
      if (etherType === ETHERTYPE.arp) {
        const arp = decodeArp(octets, payloadOffset);
        // Sender and target alike: nobody's question and nobody's answer.
        if (arp.ok && arp.value.senderIp === this.#vip && arp.value.targetIp === this.#vip)
          this.announcements.push({ atMs, mac: source });
        return;
      }
      const packet = decodeIpv4(octets, payloadOffset);
      if (!packet.ok || packet.value.protocol !== PROTOCOL.vrrp) return;
      const priority = octets[packet.value.payloadOffset + 2] ?? 0;
      this.adverts.push({ atMs, from: packet.value.source, priority });
    }, 100_000);
  }
  forget(): void {
    this.read();
    this.adverts = [];
    this.announcements = [];
  }
  close(): void {
    this.#socket.close();
  }
}
