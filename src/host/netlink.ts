/**
 * Netlink sockets: ask the kernel, get its answer in the same call.
 *
 * Synchronous on purpose: the kernel works a request off inside send(2), so an answer is there after some 10 to 30 us
 * and waiting on the event loop would cost more than the call. Change notifications are netlinkMonitor.ts.
 */
import type { AttributeTable, Message } from "../wire/attributes.ts";
import type { Table } from "../wire/layout.ts";
import { decodeControl, MessageBuilder, type NetlinkMessage, NLM_F, splitMessages } from "../wire/netlink.ts";
import { writeHost16, writeHost32 } from "../wire/octets.ts";
import { HostError, NetlinkError, type NetlinkTask, SystemCallError } from "./errors.ts";
import * as libc from "./libc.ts";
import { type Namespace, runIn } from "./namespace.ts";

export { type NetlinkMessage, NLM_F };

export const NETLINK_ROUTE = 0;
export const NETLINK_GENERIC = 16;

const HEADER_OCTETS = 16;
const aligned = (octets: number): number => (octets + 3) & ~3;

const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const MSG_TRUNC = 0x20;

/** A request as its caller sees it; length, sequence and port are the socket's business. */
export interface NetlinkRequest extends NetlinkTask {
  readonly type: number;
  /** NLM_F bits; REQUEST is added. */
  readonly flags: number;
  /** Family header and attributes. */
  readonly payload: Uint8Array;
}

/** The payload of a request in one of wire's formats. */
export function requestPayload<T extends Table, A extends AttributeTable>(
  format: Message<T, A>,
  value: Parameters<Message<T, A>["encode"]>[1],
): Uint8Array {
  return format
    .encode(new MessageBuilder({ type: 0, flags: 0, sequence: 0 }), value)
    .finish()
    .subarray(HEADER_OCTETS);
}

/** What a netlink socket does below the protocol: the seam where tests play the kernel. */
export interface NetlinkTransport {
  readonly portId: number;
  /** Octets that one send may hold. */
  readonly sendRoomOctets: number;
  /** Octets of answers, with the kernel's overhead, that may wait unread. */
  readonly receiveRoomOctets: number;
  send(octets: Uint8Array): void;
  /** One datagram, valid until the next call; undefined when none came in time. Throws recv/ENOBUFS after a loss. */
  receive(timeLimitMs: number): Uint8Array | undefined;
  close(): void;
}

function writeMessage(into: Uint8Array, at: number, request: NetlinkRequest, flags: number, sequence: number): number {
  const length = HEADER_OCTETS + request.payload.length;
  writeHost32(into, at, length);
  writeHost16(into, at + 4, request.type);
  writeHost16(into, at + 6, request.flags | flags | NLM_F.request);
  writeHost32(into, at + 8, sequence);
  writeHost32(into, at + 12, 0); // the kernel answers the sender's port whatever stands here
  into.set(request.payload, at + HEADER_OCTETS);
  return aligned(length);
}

/** How a message ends what was asked, if it does; `errno` 0 is success. */
interface Outcome {
  readonly kind: "answer" | "acknowledged" | "done" | "lost" | "nothing";
  readonly errno: number;
  readonly text: string | undefined;
}

function outcomeOf(message: NetlinkMessage): Outcome {
  const control = decodeControl(message);
  if (control === undefined) return { kind: "answer", errno: 0, text: undefined };
  // An acknowledgement that cannot be read acknowledges nothing.
  if (!control.ok) return { kind: "acknowledged", errno: libc.errnoNumber("EBADMSG"), text: control.why };
  const { value } = control;
  if (!("errno" in value)) return { kind: value.kind === "noop" ? "nothing" : "lost", errno: 0, text: undefined };
  const kind = value.kind === "done" ? "done" : "acknowledged";
  return { kind, errno: value.errno, text: value.extended.text };
}

/** One request of a batch that the kernel refused. */
export interface BatchFailure {
  /** Place in the list given. */
  readonly index: number;
  readonly error: NetlinkError;
}

const DEFAULT_TIME_LIMIT_MS = 10_000;
/** How often a dump that changes under our feet is asked for again. */
const DUMP_ATTEMPTS = 20;
/** Memory that the kernel charges for one waiting answer: a small skb with its data is below this. */
const ANSWER_COST_OCTETS = 2048;
/** Larger windows gain nothing: the send is a fraction of what the kernel does for each request by then. */
const WINDOW_REQUESTS = 1024;

export class NetlinkSocket {
  readonly #transport: NetlinkTransport;
  readonly #timeLimitMs: number;
  #sequence = 1;
  #out = new Uint8Array(8192);
  constructor(transport: NetlinkTransport, options: { readonly timeLimitMs?: number } = {}) {
    this.#transport = transport;
    this.#timeLimitMs = options.timeLimitMs ?? DEFAULT_TIME_LIMIT_MS;
  }

  /** One request, carried out before this returns; gives the messages that came before the acknowledgement. */
  call(request: NetlinkRequest): NetlinkMessage[] {
    const sequence = this.#send([request], 0, 1);
    const answers: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(request)) {
        if (message.sequence !== sequence) continue; // the rest of something given up
        const { kind, errno, text } = outcomeOf(message);
        if (errno !== 0) throw refusal(request, errno, text);
        if (kind === "answer") answers.push(message);
        if (kind === "acknowledged") return answers;
      }
    }
  }

  /**
   * All of a table at one instant: asked again while the kernel says that it changed meanwhile (NLM_F_DUMP_INTR) or
   * that answers were lost (ENOBUFS). Errors: netlink/EINTR when it never holds still.
   */
  dump(request: NetlinkRequest): NetlinkMessage[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const messages = this.#dumpOnce(request);
      if (messages !== undefined) return messages;
    }
    throw new NetlinkError(request, libc.errnoNumber("EINTR"), "EINTR", {
      why: `changed during each of ${DUMP_ATTEMPTS} readings`,
      remedy: "find what changes it so often (`ip monitor`), or try again in a quieter moment",
    });
  }

  /** Undefined when it has to be asked again. */
  #dumpOnce(request: NetlinkRequest): NetlinkMessage[] | undefined {
    const sequence = this.#send([{ ...request, flags: request.flags | NLM_F.dump }], 0, 1);
    const found: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      let messages: NetlinkMessage[];
      try {
        messages = this.#receive(request);
      } catch (error) {
        if (!(error instanceof SystemCallError) || error.errnoName !== "ENOBUFS") throw error;
        interrupted = true; // the dump itself goes on: read to its end, then ask again
        continue;
      }
      for (const message of messages) {
        if (message.sequence !== sequence) continue;
        const { kind, errno, text } = outcomeOf(message);
        if (errno !== 0) throw refusal(request, errno, text);
        // In an error message the same bit means something else.
        if (kind !== "acknowledged" && (message.flags & NLM_F.dumpInterrupted) !== 0) interrupted = true;
        if (kind === "lost") interrupted = true;
        // With NLM_F_ACK some kernels acknowledge a dump before they start it; the end is always a DONE.
        if (kind === "done") return interrupted ? undefined : found;
        if (kind === "answer") found.push(message);
      }
    }
  }

  /**
   * Many requests, in order, each carried out whatever became of the others; gives the refused ones.
   *
   * A window of requests goes out in one send. Only the last asks for an acknowledgement: the kernel works through a
   * send in order and answers every failure anyway, so up to that acknowledgement silence is success. Windows are
   * small enough that even an answer to every request fits the receive buffer, so no failure can get lost.
   */
  batch(requests: readonly NetlinkRequest[]): BatchFailure[] {
    const failures: BatchFailure[] = [];
    let from = 0;
    while (from < requests.length) {
      const to = this.#windowEnd(requests, from);
      const first = this.#send(requests, from, to);
      this.#readWindow(requests, from, to, first, failures);
      from = to;
    }
    return failures;
  }

  /**
   * Requests that the kernel carries out together or not at all, between the two that bracket them (nfnetlink's batch).
   * Done when those of them that ask for it are acknowledged. Throws the first refusal.
   */
  transaction(requests: readonly NetlinkRequest[]): void {
    const first = this.#send(requests, 0, requests.length, false);
    let waiting = requests.filter((r) => (r.flags & NLM_F.ack) !== 0).length;
    while (waiting > 0)
      for (const message of this.#receive(requests[0] as NetlinkRequest)) {
        const request = requests[(message.sequence - first) >>> 0];
        const { kind, errno, text } = outcomeOf(message);
        if (request === undefined || kind !== "acknowledged") continue;
        if (errno !== 0) throw refusal(request, errno, text);
        waiting--;
      }
  }

  close(): void {
    this.#transport.close();
  }

  #windowEnd(requests: readonly NetlinkRequest[], from: number): number {
    const { sendRoomOctets, receiveRoomOctets } = this.#transport;
    const most = Math.max(1, Math.min(WINDOW_REQUESTS, Math.floor(receiveRoomOctets / ANSWER_COST_OCTETS)));
    let to = from;
    for (let octets = 0; to < requests.length && to - from < most; to++) {
      octets += HEADER_OCTETS + aligned(requests[to]?.payload.length ?? 0);
      if (octets > sendRoomOctets && to > from) break;
    }
    return to;
  }

  #readWindow(
    requests: readonly NetlinkRequest[],
    from: number,
    to: number,
    first: number,
    failures: BatchFailure[],
  ): void {
    const last = requests[to - 1] as NetlinkRequest;
    for (;;) {
      for (const message of this.#receive(last)) {
        const index = from + ((message.sequence - first) >>> 0);
        if (index >= to) continue;
        const { kind, errno, text } = outcomeOf(message);
        if (kind !== "acknowledged") continue;
        if (errno !== 0) failures.push({ index, error: refusal(requests[index] as NetlinkRequest, errno, text) });
        if (index === to - 1) return;
      }
    }
  }

  /** Sends requests[from, to) as one datagram, the last one to be acknowledged; gives the first one's sequence. */
  #send(requests: readonly NetlinkRequest[], from: number, to: number, acknowledgeLast = true): number {
    let octets = 0;
    for (let i = from; i < to; i++) octets += HEADER_OCTETS + aligned((requests[i] as NetlinkRequest).payload.length);
    if (octets > this.#out.length) this.#out = new Uint8Array(octets);
    if (this.#sequence + (to - from) > 0xffff_ffff) this.#sequence = 1;
    const first = this.#sequence;
    let at = 0;
    for (let i = from; i < to; i++) {
      const flags = acknowledgeLast && i === to - 1 ? NLM_F.ack : 0;
      at += writeMessage(this.#out, at, requests[i] as NetlinkRequest, flags, this.#sequence++);
    }
    this.#transport.send(this.#out.subarray(0, at));
    return first;
  }

  #receive(task: NetlinkTask): NetlinkMessage[] {
    const datagram = this.#transport.receive(this.#timeLimitMs);
    if (datagram === undefined) throw new NetlinkError(task, libc.errnoNumber("ETIMEDOUT"), "ETIMEDOUT");
    const { portId } = this.#transport;
    // Copied once per datagram, because the transport reuses its buffer and messages outlive it.
    // What follows a broken length is lost: a guess would be worse than the time-out that follows.
    return splitMessages(datagram.slice()).messages.filter((m) => m.port === portId);
  }
}

const refusal = (task: NetlinkTask, errno: number, text: string | undefined): NetlinkError =>
  new NetlinkError(task, errno, libc.errnoName(errno), { kernelText: text });

/** sockaddr_nl: family, pad, port, group bits. Port 0 is the kernel. */
const kernelAddress = Uint8Array.of(libc.AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

export interface NetlinkOptions {
  readonly protocol: number;
  /** Where the socket is opened, and stays; the calling thread's own namespace when absent. */
  readonly namespace?: Namespace;
  /** Multicast groups to join (RTNLGRP numbers). */
  readonly groups?: readonly number[];
  /** Wish for the receive buffer. */
  readonly receiveBufferOctets?: number;
}

const RECEIVE_BUFFER_OCTETS = 4 << 20;
const SEND_BUFFER_OCTETS = 1 << 20;

function attempt(body: () => void): boolean {
  try {
    body();
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}

function grow(fd: number, forced: number, plain: number, octets: number): number {
  if (!attempt(() => libc.setsockopt(fd, libc.SOL_SOCKET, forced, octets, "netlink buffer")))
    libc.setsockopt(fd, libc.SOL_SOCKET, plain, octets, "netlink buffer"); // without CAP_NET_ADMIN: up to rmem_max
  const now = libc.getsockopt(fd, libc.SOL_SOCKET, plain, 4, "netlink buffer");
  return new DataView(now.buffer, now.byteOffset).getInt32(0, true);
}

/** One datagram must fit: dumps come in pieces of 32 KiB, but one link with many virtual functions is a message. */
let datagramBuffer = new Uint8Array(1 << 20);

/** A real socket of the kernel. */
export class NetlinkDescriptor implements NetlinkTransport {
  readonly fd: number;
  readonly portId: number;
  readonly sendRoomOctets: number;
  readonly receiveRoomOctets: number;
  #closed = false;
  constructor(options: NetlinkOptions) {
    const { protocol, namespace } = options;
    const open = (): number =>
      libc.socket(libc.AF_NETLINK, libc.SOCK_RAW | libc.SOCK_NONBLOCK, protocol, `netlink protocol ${protocol}`);
    this.fd = runIn(namespace, open);
    try {
      const { fd } = this;
      libc.bind(fd, kernelAddress, "netlink socket"); // port 0: the kernel chooses a free one
      const own = libc.getsockname(fd, "netlink socket");
      this.portId = new DataView(own.buffer, own.byteOffset).getUint32(4, true);
      this.receiveRoomOctets = grow(
        fd,
        SO_RCVBUFFORCE,
        SO_RCVBUF,
        (options.receiveBufferOctets ?? RECEIVE_BUFFER_OCTETS) >> 1, // the kernel doubles what it is told
      );
      // A send must stay below the buffer less 32 octets (af_netlink.c, netlink_sendmsg).
      this.sendRoomOctets = (grow(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_OCTETS >> 1) >> 1) - 64;
      // Best effort: old kernels do not know them, and all works without, only with fewer words.
      for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK])
        attempt(() => libc.setsockopt(fd, SOL_NETLINK, option, 1, "netlink option"));
      for (const group of options.groups ?? [])
        libc.setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, `netlink group ${group}`);
      // A connected socket takes nothing from other processes (af_netlink.c, netlink_getsockbyportid).
      libc.connect(fd, kernelAddress, "netlink socket");
    } catch (error) {
      libc.close(this.fd);
      throw error;
    }
  }

  send(octets: Uint8Array): void {
    // EINTR cannot happen before the kernel took the message, and EAGAIN not at all towards the kernel.
    const sent = libc.send(this.fd, octets, 0, "netlink request");
    if (sent !== octets.length)
      throw new HostError("netlink/short", `the kernel took ${sent ?? 0} of ${octets.length} octets of a request`, {
        remedy: "report this: it should not happen",
      });
  }

  receive(timeLimitMs: number): Uint8Array | undefined {
    const into = datagramBuffer;
    let deadlineMs: number | undefined;
    for (;;) {
      const length = libc.recv(this.fd, into, MSG_TRUNC | libc.MSG_DONTWAIT, "netlink answer");
      if (length !== undefined) {
        if (length > into.length) {
          datagramBuffer = new Uint8Array(2 ** Math.ceil(Math.log2(length)));
          throw new SystemCallError("recv", libc.errnoNumber("ENOBUFS"), "ENOBUFS", "netlink answer");
        }
        return into.subarray(0, length);
      }
      const nowMs = performance.now();
      deadlineMs ??= nowMs + timeLimitMs;
      if (nowMs >= deadlineMs) return undefined;
      libc.poll(this.fd, libc.POLLIN, Math.ceil(deadlineMs - nowMs));
    }
  }

  close(): void {
    if (this.#closed) return; // the number may be someone else's by now
    this.#closed = true;
    libc.close(this.fd);
  }
}

export const openNetlink = (options: NetlinkOptions): NetlinkSocket =>
  new NetlinkSocket(new NetlinkDescriptor(options));
