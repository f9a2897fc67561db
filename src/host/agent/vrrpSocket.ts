/**
 * A raw socket for VRRP on one link: whole IPv4 packets in and out, joined to 224.0.0.18, deaf to what we send.
 * Errors: SystemCallError (socket/EPERM, setsockopt/ENODEV).
 */
import type { Ipv4 } from "../../base/ipv4.ts";
import { formatIpv4 } from "../../base/ipv4.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { LITTLE_ENDIAN_HOST as LE } from "../../wire/octets.ts";
import { VRRP_GROUP, VRRP_TTL } from "../../wire/vrrp.ts";
import { SystemCallError } from "../errors.ts";
import { inetAddress } from "../inetSocket.ts";
import * as libc from "../libc.ts";

const IPPROTO_IP = 0;
const IP = {
  headerIncluded: 3,
  multicastInterface: 32,
  multicastTtl: 33,
  multicastLoop: 34,
  addMembership: 35,
} as const;
const SO = { receiveBuffer: 8, priority: 12, bindToDevice: 25 } as const;
/** TC_PRIO_CONTROL: before everything else in the queue. */
const PRIORITY_CONTROL = 7;
const LONGEST_OCTETS = 2048;

export class VrrpSocket {
  readonly #fd: number;
  readonly #object: string;
  readonly #buffer = new Uint8Array(LONGEST_OCTETS);
  #watch: libc.Watch | undefined;

  constructor(link: string, local: Ipv4) {
    this.#object = `VRRP socket on ${link}`;
    const what = this.#object;
    this.#fd = libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, PROTOCOL.vrrp, what);
    try {
      const index = libc.interfaceIndex(link);
      const member = new DataView(new ArrayBuffer(12)); // struct ip_mreqn
      member.setUint32(0, VRRP_GROUP);
      member.setUint32(4, local);
      member.setInt32(8, index, LE);
      const group = new Uint8Array(member.buffer);
      libc.setsockopt(this.#fd, libc.SOL_SOCKET, SO.bindToDevice, new TextEncoder().encode(`${link}\0`), what);
      libc.setsockopt(this.#fd, libc.SOL_SOCKET, SO.priority, PRIORITY_CONTROL, what);
      libc.setsockopt(this.#fd, IPPROTO_IP, IP.headerIncluded, 1, what);
      libc.setsockopt(this.#fd, IPPROTO_IP, IP.multicastInterface, group, what);
      libc.setsockopt(this.#fd, IPPROTO_IP, IP.multicastTtl, VRRP_TTL, what);
      libc.setsockopt(this.#fd, IPPROTO_IP, IP.multicastLoop, 0, what);
      libc.setsockopt(this.#fd, IPPROTO_IP, IP.addMembership, group, what);
    } catch (error) {
      libc.close(this.#fd);
      throw error;
    }
  }

  /** Says why it was not sent, if it was not. */
  send(packet: Uint8Array, to: Ipv4): string | undefined {
    try {
      if (libc.sendto(this.#fd, packet, inetAddress(to, 0), `${this.#object} to ${formatIpv4(to)}`) === undefined)
        return "the send queue is full";
      return undefined;
    } catch (error) {
      if (error instanceof SystemCallError) return error.message;
      throw error;
    }
  }

  /** Fetches what waits; the octets are the visitor's to keep. At most `atMost`, so that a flood leaves us the beat. */
  receive(visit: (packet: Uint8Array) => void, atMost = 256): void {
    for (let i = 0; i < atMost; i++) {
      let length: number | undefined;
      try {
        length = libc.recv(this.#fd, this.#buffer, 0, this.#object);
      } catch (error) {
        // ENETDOWN is told once each time the link goes down; the monitor says the same.
        if (error instanceof SystemCallError) continue;
        throw error;
      }
      if (length === undefined) return;
      visit(this.#buffer.slice(0, length));
    }
  }
  onReadable(ready: () => void): void {
    this.#watch = libc.onReadable(this.#fd, ready);
  }
  close(): void {
    this.#watch?.close();
    libc.close(this.#fd);
  }
}
