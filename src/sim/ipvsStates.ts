/** IPVS's states of a TCP connection, how long each lasts, and what leads from one to the next (ip_vs_proto_tcp.c). */
import type { TCP_STATES } from "../wire/ipvsSync.ts";
import { TCP_FLAG } from "../wire/tcp.ts";

export type State = (typeof TCP_STATES)[number];

/** tcp_timeouts of ip_vs_proto_tcp.c, in seconds. */
export const timeoutSeconds: Readonly<Record<State, number>> = {
  NONE: 2,
  ESTABLISHED: 15 * 60,
  SYN_SENT: 2 * 60,
  SYN_RECV: 60,
  FIN_WAIT: 2 * 60,
  TIME_WAIT: 2 * 60,
  CLOSE: 10,
  CLOSE_WAIT: 60,
  LAST_ACK: 30,
  LISTEN: 2 * 60,
  SYNACK: 120,
};
export const udpTimeoutSeconds = 5 * 60;

/**
 * tcp_states, the part for directors that see one direction only (INPUT-ONLY), as dr and tun directors do: the next
 * state by event, in the order of TCP_STATES.
 */
export const inputOnly: Readonly<Record<"syn" | "fin" | "ack" | "rst", readonly State[]>> = {
  syn: [
    "SYN_RECV",
    "ESTABLISHED",
    "ESTABLISHED",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
  ],
  fin: [
    "CLOSE",
    "FIN_WAIT",
    "SYN_SENT",
    "TIME_WAIT",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "TIME_WAIT",
  ],
  ack: [
    "CLOSE",
    "ESTABLISHED",
    "SYN_SENT",
    "ESTABLISHED",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "CLOSE",
    "LISTEN",
    "ESTABLISHED",
  ],
  rst: ["CLOSE", "CLOSE", "CLOSE", "SYN_RECV", "CLOSE", "CLOSE", "CLOSE", "CLOSE", "LAST_ACK", "LISTEN", "CLOSE"],
};

export const eventOf = (flags: number): keyof typeof inputOnly =>
  (flags & TCP_FLAG.rst) !== 0
    ? "rst"
    : (flags & TCP_FLAG.syn) !== 0
      ? "syn"
      : (flags & TCP_FLAG.fin) !== 0
        ? "fin"
        : "ack";
