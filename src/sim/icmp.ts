/** ICMP on a host: echo, and errors about packets that did not arrive. */
import type { Ipv4 } from "../base/ipv4.ts";
import { type Icmp as Message, UNREACHABLE } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { type IpBody, icmpError, icmpPacket } from "./frame.ts";
import type { TcpStack } from "./tcp.ts";

export interface IcmpHost {
  readonly tcp: TcpStack;
  /** Told when a program's ICMP error comes back for what it sent by UDP. */
  readonly udpRefused: ((port: number) => void) | undefined;
  packetId(): number;
  sourceFor(destination: Ipv4): Ipv4 | undefined;
  output(packet: IpBody): unknown;
}

/** Errors about errors are not sent (RFC 1122 3.2.2), nor about answers to echo requests. */
const isError = ({ icmp }: IpBody): boolean => icmp !== undefined && icmp.message.kind !== "echo-request";

export class Icmp {
  readonly #host: IcmpHost;
  #echoes: Map<number, () => void> | undefined;

  constructor(host: IcmpHost) {
    this.#host = host;
  }

  /** Calls back when the answer to an echo request with that id arrives. */
  onEcho(id: number, call: () => void): void {
    this.#echoes ??= new Map();
    this.#echoes.set(id, call);
  }

  /** An echo request; `id` tells the answers apart. */
  sendEcho(source: Ipv4, destination: Ipv4, id: number): void {
    const ends = { source, destination, id: this.#host.packetId() };
    this.#host.output(icmpPacket(ends, { kind: "echo-request", id, sequence: 1 }));
  }

  /**
   * Tells the sender of a packet that it did not arrive. `from`: the packet's destination where that was an address of
   * this host (icmp_send: of a packet with a local route); else it is the address towards the sender.
   */
  unreachable(packet: IpBody, code: number, { from, mtuOctets }: { from?: Ipv4; mtuOctets?: number } = {}): void {
    this.#error(packet, { kind: "unreachable", code, ...(mtuOctets === undefined ? {} : { mtuOctets }) }, from);
  }

  timeExceeded(packet: IpBody, from?: Ipv4): void {
    this.#error(packet, { kind: "time-exceeded", code: 0 }, from);
  }

  #error(packet: IpBody, message: Message, from: Ipv4 | undefined): void {
    if (isError(packet)) return;
    const source = from ?? this.#host.sourceFor(packet.source);
    if (source === undefined) return;
    this.#host.output(icmpError({ source, destination: packet.source, id: this.#host.packetId() }, message, packet));
  }

  /** `seen`: the destination as the host sees it, which answers. */
  input(ip: IpBody, seen: Ipv4): void {
    const { icmp } = ip;
    if (icmp === undefined) return;
    const { tcp, udpRefused } = this.#host;
    const { message, data, quoted } = icmp;
    if (message.kind === "echo-request") {
      const ends = { source: seen, destination: ip.source, id: this.#host.packetId() };
      this.#host.output(icmpPacket(ends, { ...message, kind: "echo-reply" }, data));
    } else if (message.kind === "echo-reply") {
      this.#echoes?.get(message.id)?.();
      this.#echoes?.delete(message.id);
    } else if (message.kind === "unreachable" && quoted?.tcp !== undefined) {
      if (message.code === UNREACHABLE.fragmentationNeeded) tcp.tooLong(quoted, message.mtuOctets ?? 576);
      else tcp.unreachable(quoted);
    } else if (message.kind === "unreachable" && quoted?.protocol === PROTOCOL.udp) udpRefused?.(quoted.sourcePort);
  }
}
