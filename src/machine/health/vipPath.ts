/**
 * A handshake through the VIP path: a SYN for VIP and port to one real server's MAC (DR) or in the service's tunnel to its
 * RIP (TUN), as the director forwards a client's. Its SYN,ACK proves three things at once: the VIP is there, packets for it
 * are taken, the service listens on it. It is closed by RST, so that the service never sees a connection.
 *
 * The answer's sender is the VIP, which a director holds itself: its own kernel drops the packet as martian and no RST
 * of its own disturbs; a packet socket sees it all the same.
 */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import { dissectIpv4, type Inside, tcpPacket, tcpSynPacket } from "../../wire/frame.ts";
import { decodeIpv4, type Ipv4Packet, PROTOCOL } from "../../wire/ipv4.ts";
import { TCP_FLAG } from "../../wire/tcp.ts";
import { encodeTunnel } from "../../wire/tunnel.ts";
import type { TunnelView } from "../tunnelView.ts";
import { type Checker, down, type ProbeEffect, type Turn, up } from "./probe.ts";

export interface VipPathQuestion {
  readonly vip: Ipv4;
  readonly port: number;
  /** The director's own address: the answer comes here. */
  readonly dip: Ipv4;
  readonly rip: Ipv4;
  /** For DR the real server's MAC as the neighbour cache has it. */
  readonly way: { readonly kind: "dr"; readonly mac: Mac } | { readonly kind: "tun"; readonly tunnel: TunnelView };
}
export interface VipPathState {
  readonly sourcePort: number;
  readonly sequence: number;
  /** The SYN, and the packet it travels in; for DR the same. */
  readonly syn: Uint8Array;
  readonly sent: Uint8Array;
}

/** Above what Linux gives out of itself by default (32768 to 60999), so that no connection of the host is met. */
export const firstVipPathPort = 61_000;
const portCount = 4_500;

/** Another 32 bits from the nonce: Fibonacci hashing, so that port and sequence number do not tell each other. */
const spread = (nonce: number): number => Math.imul(nonce ^ (nonce >>> 15), 0x9e3779b1) >>> 0;

/** Not 0: then the kernel would choose. */
const idOf = (bits: number): number => (bits % 0xffff) + 1;

/**
 * RFC 792: an error quotes the packet's header and eight octets. Those must be ours: the addresses are known to all, but
 * nobody who has not seen the packet knows its id, nor the port and number (DR) or the id inside (TUN) in those octets.
 */
const quotes = (octets: Uint8Array, quoted: Ipv4Packet, sent: Uint8Array): boolean => {
  const own = decodeIpv4(sent);
  if (!own.ok || quoted.protocol !== own.value.protocol || quoted.id !== own.value.id) return false;
  if (quoted.source !== own.value.source || quoted.destination !== own.value.destination) return false;
  const [at, ownAt] = [quoted.payloadOffset, own.value.payloadOffset];
  if (quoted.payloadEnd - at < 8) return false;
  for (let i = 0; i < 8; i++) if (octets[at + i] !== sent[ownAt + i]) return false;
  return true;
};

export function vipPathCheck(q: VipPathQuestion): Checker<VipPathState> {
  const { way } = q;
  const packed = (inner: Uint8Array, nonce: number): Uint8Array => {
    if (way.kind === "dr") return inner;
    // Remote checksums are left to the director's IPVS: who takes those takes packets without them, too.
    const { type, port = 0, checksum } = way.tunnel;
    const outer = { source: q.dip, destination: q.rip, id: idOf(nonce >>> 8) };
    const sourcePort = 0xc000 + (nonce & 0x3fff);
    return encodeTunnel({ type, port, sourcePort, hasChecksum: checksum === "checksum" }, outer, inner);
  };
  const send = (octets: Uint8Array): ProbeEffect => ({
    kind: "packet",
    octets,
    to: way.kind === "dr" ? { kind: "mac", mac: way.mac } : { kind: "route", address: q.rip },
  });
  const ip = { source: q.dip, destination: q.vip };
  const reset = ({ sourcePort, sequence }: VipPathState): ProbeEffect =>
    send(
      packed(
        tcpPacket(ip, {
          sourcePort,
          destinationPort: q.port,
          sequence: (sequence + 1) >>> 0,
          flags: TCP_FLAG.rst,
          window: 0,
        }),
        sequence,
      ),
    );

  /** An ICMP error that quotes our SYN (or the packet it travelled in) is an answer too. */
  function unreachable(state: VipPathState, octets: Uint8Array, seen: Inside): Turn<VipPathState> {
    if (seen.kind !== "ipv4" || seen.inside.kind !== "icmp" || seen.inside.quoted === undefined) return { state };
    const { icmp, quoted } = seen.inside;
    const inTunnel = way.kind === "tun" && quotes(octets, quoted, state.sent);
    if (!inTunnel && !quotes(octets, quoted, state.syn)) return { state };
    const code = icmp.kind === "unreachable" ? ` code ${icmp.code}` : "";
    const what =
      inTunnel && icmp.kind === "unreachable" && [2, 3].includes(icmp.code)
        ? `: no ${way.tunnel.type} device takes the packet`
        : "";
    const why = `${formatIpv4(seen.ipv4.source)} says ${icmp.kind}${code}${what}`;
    return { state, judgement: down("vip-path/unreachable", why) };
  }

  function heard(state: VipPathState, octets: Uint8Array, from: Mac | undefined): Turn<VipPathState> {
    const seen = dissectIpv4(octets);
    if (seen.kind !== "ipv4" || seen.ipv4.destination !== q.dip) return { state };
    if (seen.ipv4.protocol === PROTOCOL.icmp) return unreachable(state, octets, seen);
    if (seen.ipv4.source !== q.vip || seen.inside.kind !== "tcp") return { state };
    const { tcp } = seen.inside;
    const isOurs = tcp.sourcePort === q.port && tcp.destinationPort === state.sourcePort;
    if (!isOurs || tcp.acknowledgment !== (state.sequence + 1) >>> 0) return { state };
    if ((tcp.flags & TCP_FLAG.rst) !== 0)
      return { state, judgement: down("vip-path/refused", "the VIP is there, and nothing listens on the port") };
    if ((tcp.flags & (TCP_FLAG.syn | TCP_FLAG.ack)) !== (TCP_FLAG.syn | TCP_FLAG.ack)) return { state };
    const who = from === undefined ? "" : ` from ${from}`;
    return {
      state,
      effects: [reset(state)],
      judgement: up(`handshake for ${formatIpv4(q.vip)}:${q.port} answered${who}`),
    };
  }

  return {
    name: "vip-path",
    begin(nonce) {
      const sourcePort = firstVipPathPort + (nonce % portCount);
      const sequence = spread(nonce);
      const syn = tcpSynPacket({ ...ip, id: idOf(sequence) }, { sourcePort, sequence, destinationPort: q.port });
      const sent = packed(syn, spread(sequence));
      return { state: { sourcePort, sequence, syn, sent }, effects: [send(sent)] };
    },
    on(state, event) {
      if (event.kind === "packet") return heard(state, event.octets, event.from);
      if (event.kind === "failed") return { state, judgement: down("vip-path/error", event.error.slice(0, 100)) };
      return { state };
    },
    timeout: () =>
      down(
        "vip-path/no-answer",
        `no answer for ${formatIpv4(q.vip)}:${q.port}: the VIP is not held, its packets are dropped, or the host is gone`,
      ),
  };
}
