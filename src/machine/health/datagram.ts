import type { Ipv4 } from "../../base/ipv4.ts";
import { decodeIcmp, encodeIcmp } from "../../wire/icmp.ts";
import { type Checker, down, refused, up } from "./probe.ts";

export interface UdpQuestion {
  readonly address: Ipv4;
  readonly port: number;
  readonly payload: Uint8Array;
  /** Without one, silence is up: only an ICMP "port unreachable" says down. */
  readonly requireReply: boolean;
}

export const udpCheck = ({ address, port, payload, requireReply }: UdpQuestion): Checker<null> => ({
  name: "udp",
  begin: () => ({ state: null, effects: [{ kind: "datagram", address, port, octets: payload }] }),
  on(state, event) {
    if (event.kind === "datagram") return { state, judgement: up(`answered with ${event.octets.length} octets`) };
    if (event.kind === "failed") return { state, judgement: refused("udp", event.error) };
    return { state };
  },
  timeout: () =>
    requireReply ? down("udp/timeout", "no answer") : up("no answer, and no word that the port is closed"),
});

interface Echo {
  readonly id: number;
  readonly sequence: number;
}
const marker = new TextEncoder().encode("vipward!");

/** Id and sequence number come from the nonce: the answer to an earlier attempt is not taken for this one's. */
export const icmpCheck = ({ address }: { readonly address: Ipv4 }): Checker<Echo> => ({
  name: "icmp",
  begin(nonce) {
    const state = { id: nonce >>> 16, sequence: nonce & 0xffff };
    return {
      state,
      effects: [{ kind: "icmp", address, octets: encodeIcmp({ kind: "echo-request", ...state }, marker) }],
    };
  },
  on(state, event) {
    if (event.kind === "failed") return { state, judgement: down("icmp/error", event.error.slice(0, 100)) };
    if (event.kind !== "icmp") return { state };
    const read = decodeIcmp(event.octets);
    if (!read.ok) return { state };
    const { message } = read.value;
    if (message.kind !== "echo-reply" || message.id !== state.id || message.sequence !== state.sequence)
      return { state };
    return { state, judgement: up("answered") };
  },
});
