/** Traffic for VIPs that were just announced: a socket only while somebody waits for it, since it sees every packet. */
import type { Ipv4 } from "../../base/ipv4.ts";
import { decodeEthernet, ETHERTYPE } from "../../wire/ethernet.ts";
import { decodeIpv4 } from "../../wire/ipv4.ts";
import { filterProgram, isIpv4To } from "../../wire/packetFilter.ts";
import { openPacketSocket, type PacketSocket, packetKinds } from "../packetSocket.ts";

/** Beyond, a program to pick them out is longer than what it saves. */
const mostVips = 256;
/** A packet or two for each VIP is all that is wanted. */
const framesAtOnce = 64;

export class TrafficWatch {
  readonly #link: string;
  readonly #onTraffic: (vip: Ipv4) => void;
  #socket: PacketSocket | undefined;
  #watched = "";

  constructor(link: string, onTraffic: (vip: Ipv4) => void) {
    this.#link = link;
    this.#onTraffic = onTraffic;
  }

  /** From now on these, and no others. Errors: those of packetSocket.ts. */
  watch(vips: readonly Ipv4[]): void {
    const wanted = vips.slice(0, mostVips).join();
    if (wanted === this.#watched) return;
    this.#watched = wanted;
    this.#socket?.close();
    this.#socket = undefined;
    if (wanted === "") return;
    const filter = filterProgram(isIpv4To(vips.slice(0, mostVips)));
    const room = { longestFrameOctets: 128, receiveBufferOctets: 1 << 16 };
    const socket = openPacketSocket({ interface: this.#link, filter, ...room, timestamps: false });
    this.#socket = socket;
    socket.onReadable(() => {
      const seen = new Set<Ipv4>();
      socket.receive((frame) => {
        if (packetKinds[frame.kind] !== "host") return;
        const outer = decodeEthernet(frame.octets);
        if (!outer.ok || outer.value.etherType !== ETHERTYPE.ipv4) return;
        const packet = decodeIpv4(frame.octets, outer.value.payloadOffset, { quoted: true });
        if (packet.ok) seen.add(packet.value.destination);
      }, framesAtOnce);
      for (const vip of seen) this.#onTraffic(vip);
    });
  }
  close(): void {
    this.watch([]);
  }
}
