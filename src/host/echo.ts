/** Echo request and reply (RFC 792) and single datagrams, from a chosen address, in the calling thread's namespace. */
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import { decodeIcmp, encodeIcmp } from "../wire/icmp.ts";
import { decodeIpv4, PROTOCOL } from "../wire/ipv4.ts";
import { SystemCallError } from "./errors.ts";
import { inetAddress } from "./inetSocket.ts";
import * as libc from "./libc.ts";

/** RFC 863: whatever is sent there is thrown away. */
export const DISCARD_PORT = 9;

/** Sends one UDP datagram. Only what is sent before is known: UDP tells nothing of its arrival. */
export function sendDatagram(from: Ipv4, to: Ipv4, port: number, payload: Uint8Array): void {
  const what = `datagram from ${formatIpv4(from)} to ${formatIpv4(to)}`;
  const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM, 0, what);
  try {
    libc.bind(fd, inetAddress(from, 0), what);
    libc.sendto(fd, payload, inetAddress(to, port), what);
  } finally {
    libc.close(fd);
  }
}

let sequence = 0;

/**
 * Asks once and waits. The socket is opened before the function returns, so it belongs to the namespace that the
 * thread is in at the call; the waiting happens afterwards, on the event loop.
 */
export function echo(from: Ipv4, to: Ipv4, patienceMs: number): Promise<boolean> {
  const what = `echo request from ${formatIpv4(from)} to ${formatIpv4(to)}`;
  const fd = libc.socket(libc.AF_INET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, PROTOCOL.icmp, what);
  sequence = (sequence + 1) & 0xffff;
  const id = process.pid & 0xffff;
  const mine = sequence;
  try {
    libc.bind(fd, inetAddress(from, 0), what);
    libc.sendto(
      fd,
      encodeIcmp({ kind: "echo-request", id, sequence: mine }, new Uint8Array(16)),
      inetAddress(to, 0),
      what,
    );
  } catch (error) {
    libc.close(fd);
    // no route, or a neighbour known to be gone: the plain answer to "is it reachable"
    if (error instanceof SystemCallError && ["ENETUNREACH", "EHOSTUNREACH", "EINVAL"].includes(error.errnoName))
      return Promise.resolve(false);
    throw error;
  }
  return new Promise((resolve) => {
    const buffer = new Uint8Array(2048);
    const end = (answered: boolean): void => {
      clearTimeout(timer);
      watch.close();
      libc.close(fd);
      resolve(answered);
    };
    const timer = setTimeout(() => end(false), patienceMs);
    const watch = libc.onReadable(fd, () => {
      for (;;) {
        const length = libc.recv(fd, buffer, 0, what);
        if (length === undefined) return;
        const ip = decodeIpv4(buffer.subarray(0, length));
        if (!ip.ok || ip.value.source !== to) continue;
        const icmp = decodeIcmp(buffer, ip.value.payloadOffset, ip.value.payloadEnd);
        if (!icmp.ok) continue;
        const { message } = icmp.value;
        if (message.kind === "echo-reply" && message.id === id && message.sequence === mine) return end(true);
      }
    });
  });
}
