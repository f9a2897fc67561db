import { fault, type Read } from "./fault.ts";
import { type Decoded, host16, host32, type Layout, layout, type Table } from "./layout.ts";
import { readHost16, readHost32, readHostS32, writeHost16, writeHost32 } from "./octets.ts";

/** Header of every netlink message, in the machine's own order. RFC 3549 section 2.3.2, linux/netlink.h. */
export const netlinkHeader = layout("netlink", 16, {
  /** Of the whole message, header counted, padding after it not. */
  length: host32(0),
  type: host16(4),
  flags: host16(6),
  sequence: host32(8),
  port: host32(12),
});
export type NetlinkHeader = Decoded<typeof netlinkHeader.table>;

/** Message types below 16 are netlink's own. */
export const NLMSG = { noop: 1, error: 2, done: 3, overrun: 4, firstOther: 16 } as const;

export const NLM_F = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  dumpInterrupted: 0x10,
  /** For requests that get. */
  root: 0x100,
  match: 0x200,
  dump: 0x300,
  /** For requests that make something. */
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
  /** In NLMSG_ERROR: the request quoted is cut to its header; extended-ack attributes follow. */
  capped: 0x100,
  ackTlvs: 0x200,
} as const;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly port: number;
  /** A view, not a copy. */
  readonly payload: Uint8Array;
}
export interface Split {
  readonly messages: readonly NetlinkMessage[];
  /** Why the rest, if there is one, could not be read; the messages before it stand. */
  readonly fault?: ReturnType<typeof fault>;
}

const aligned = (length: number): number => (length + 3) & ~3;

/** The messages of one datagram. Faults: netlink/short, netlink/length (below 16), netlink/truncated. */
export function splitMessages(octets: Uint8Array): Split {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < octets.length; ) {
    const header = netlinkHeader.decode(octets, at);
    if (!header.ok) return { messages, fault: header };
    const { length, type, flags, sequence, port } = header.value;
    if (length < 16)
      return { messages, fault: fault("netlink/length", `netlink: message length ${length} is below 16`) };
    if (length > octets.length - at) {
      const why = `netlink: message length ${length}, ${octets.length - at} octets are there`;
      return { messages, fault: fault("netlink/truncated", why) };
    }
    messages.push({ type, flags, sequence, port, payload: octets.subarray(at + 16, at + length) });
    at += aligned(length);
  }
  return { messages };
}

const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

export interface Attribute {
  readonly type: number;
  /** NLA_F_NESTED was set; older parts of the kernel nest without it. */
  readonly nested: boolean;
  readonly value: Uint8Array;
}

/**
 * The attributes from `offset` to the end. Up to three octets after the last are padding.
 * Faults: netlink/attribute-length (below 4), netlink/attribute-truncated.
 */
export function splitAttributes(octets: Uint8Array, offset = 0): Read<readonly Attribute[]> {
  const found: Attribute[] = [];
  for (let at = offset; at + 4 <= octets.length; ) {
    const length = readHost16(octets, at);
    const typeAndFlags = readHost16(octets, at + 2);
    const type = typeAndFlags & TYPE_MASK;
    if (length < 4)
      return fault("netlink/attribute-length", `netlink: attribute ${type} says its length is ${length}, below 4`);
    if (at + length > octets.length) {
      const why = `netlink: attribute ${type} has ${length} octets, ${octets.length - at} are there`;
      return fault("netlink/attribute-truncated", why);
    }
    found.push({ type, nested: (typeAndFlags & NESTED) !== 0, value: octets.subarray(at + 4, at + length) });
    at += aligned(length);
  }
  return { ok: true, value: found };
}

export interface AttributeTree {
  readonly type: number;
  readonly value: Uint8Array | readonly AttributeTree[];
}
/** For reports on messages we have no table for: follows NLA_F_NESTED. Fault besides the above: netlink/too-deep. */
export function attributeTree(octets: Uint8Array, offset = 0, deepest = 8): Read<readonly AttributeTree[]> {
  if (deepest <= 0) return fault("netlink/too-deep", "netlink: attributes are nested too deep");
  const flat = splitAttributes(octets, offset);
  if (!flat.ok) return flat;
  const tree: AttributeTree[] = [];
  for (const { type, nested, value } of flat.value) {
    const inner = nested ? attributeTree(value, 0, deepest - 1) : undefined;
    if (inner !== undefined && !inner.ok) return inner;
    tree.push({ type, value: inner?.value ?? value });
  }
  return { ok: true, value: tree };
}

export interface RequestHeader {
  readonly type: number;
  /** NLM_F bits; `request` is added. */
  readonly flags: number;
  readonly sequence: number;
}

/** Where one message is written at a time, all zero between two: a batch has thousands, and an array each is what costs. */
let spare: Uint8Array | undefined = new Uint8Array(1024);

/** Writes one message, to finish() and no further. Grows up to `largestOctets`, then throws RangeError: requests are ours, and ours are small. */
export class MessageBuilder {
  #octets: Uint8Array;
  #end = 0;
  readonly #largestOctets: number;

  constructor(header: RequestHeader, largestOctets = 32768) {
    this.#largestOctets = largestOctets;
    this.#octets = spare ?? new Uint8Array(256);
    spare = undefined;
    this.fixed(netlinkHeader, { length: 0, ...header, flags: header.flags | NLM_F.request, port: 0 });
  }

  /** Room for `sizeOctets` zero octets, padded to four; says where it begins. */
  #take(sizeOctets: number): number {
    const at = this.#end;
    const end = at + aligned(sizeOctets);
    if (end > this.#largestOctets) throw new RangeError(`a netlink request of more than ${this.#largestOctets} octets`);
    if (end > this.#octets.length) {
      const larger = new Uint8Array(Math.max(end, this.#octets.length * 2));
      larger.set(this.#octets);
      this.#octets = larger;
    }
    this.#end = end;
    return at;
  }

  /** The family's own fixed header, or a fixed part inside a nest. */
  fixed<T extends Table>(format: Layout<T>, value: Decoded<T>): this {
    const at = this.#take(format.sizeOctets);
    format.encode(value, this.#octets, at);
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    const at = this.room(type, value.length);
    this.#octets.set(value, at);
    return this;
  }

  /** An attribute of so many zero octets, to be filled in place: where they begin in `octets`. */
  room(type: number, sizeOctets: number): number {
    if (sizeOctets > 0xffff - 4) throw new RangeError(`netlink attribute ${type} of ${sizeOctets} octets`);
    const at = this.#take(4 + sizeOctets);
    writeHost16(this.#octets, at, 4 + sizeOctets);
    writeHost16(this.#octets, at + 2, type);
    return at + 4;
  }
  /** What is written so far; another array after the next attribute. */
  get octets(): Uint8Array {
    return this.#octets;
  }

  /** Attributes inside an attribute: those that `fill` adds. `flags` 0 for the few that must not say NLA_F_NESTED. */
  nest(type: number, fill: (into: this) => void, flags: number = NESTED): this {
    const at = this.#take(4);
    fill(this);
    const length = this.#end - at;
    if (length > 0xffff) throw new RangeError(`netlink attribute ${type} of ${length} octets`);
    writeHost16(this.#octets, at, length);
    writeHost16(this.#octets, at + 2, type | flags);
    return this;
  }

  /** A part that begins with its own 16-bit length, as rtnexthop does. */
  measured(fill: (into: this) => void): this {
    const at = this.#end;
    fill(this);
    writeHost16(this.#octets, at, this.#end - at);
    return this;
  }

  finish(): Uint8Array {
    writeHost32(this.#octets, 0, this.#end);
    const message = this.#octets.slice(0, this.#end);
    spare = this.#octets.fill(0, 0, this.#end);
    this.#octets = new Uint8Array(0);
    this.#end = 0;
    return message;
  }
}

/** What the kernel adds to an error when the socket has NETLINK_EXT_ACK. */
export interface ExtendedAck {
  readonly text?: string;
  /** Where in our request the wrong part begins. */
  readonly offset?: number;
  readonly cookie?: Uint8Array;
  /** Type of an attribute that should have been there. */
  readonly missingType?: number;
}

/** `errno` is positive, 0 for success. */
export type Control =
  | { readonly kind: "ack" | "done"; readonly errno: 0; readonly extended: ExtendedAck }
  | { readonly kind: "error"; readonly errno: number; readonly extended: ExtendedAck }
  | { readonly kind: "noop" | "overrun" };

const text = (octets: Uint8Array): string => {
  const end = octets.indexOf(0);
  return new TextDecoder().decode(end < 0 ? octets : octets.subarray(0, end));
};

/** Explanations are a courtesy: one that cannot be read is left out, the error stands. */
function extendedAck(octets: Uint8Array, offset: number): ExtendedAck {
  const attributes = splitAttributes(octets, offset);
  if (!attributes.ok) return {};
  const told: { text?: string; offset?: number; cookie?: Uint8Array; missingType?: number } = {};
  for (const { type, value } of attributes.value) {
    if (type === 1) told.text = text(value);
    else if (type === 2 && value.length >= 4) told.offset = readHost32(value, 0);
    else if (type === 3) told.cookie = value;
    else if (type === 5 && value.length >= 4) told.missingType = readHost32(value, 0);
  }
  return told;
}

/** Reads netlink's own messages; gives undefined for a family's. Faults: netlink/error-short, netlink/control-type. */
export function decodeControl({ type, flags, payload }: NetlinkMessage): Read<Control> | undefined {
  if (type >= NLMSG.firstOther) return undefined;
  if (type === NLMSG.noop) return { ok: true, value: { kind: "noop" } };
  if (type === NLMSG.overrun) return { ok: true, value: { kind: "overrun" } };
  if (type !== NLMSG.error && type !== NLMSG.done)
    return fault("netlink/control-type", `netlink: no control message has type ${type}`);
  const isError = type === NLMSG.error;
  // Before Linux 2.6.17 a dump's end may come without the number.
  if (!isError && payload.length < 4) return { ok: true, value: { kind: "done", errno: 0, extended: {} } };
  if (payload.length < (isError ? 20 : 4))
    return fault("netlink/error-short", `netlink: an error message of ${payload.length} octets`);
  const errno = Math.abs(readHostS32(payload, 0));
  const quoted = isError ? ((flags & NLM_F.capped) !== 0 ? 16 : Math.max(16, readHost32(payload, 4))) : 0;
  const extended = (flags & NLM_F.ackTlvs) !== 0 ? extendedAck(payload, 4 + Math.ceil(quoted / 4) * 4) : {};
  if (errno !== 0) return { ok: true, value: { kind: "error", errno, extended } };
  return { ok: true, value: { kind: isError ? "ack" : "done", errno: 0, extended } };
}

export type ReplyState =
  | { readonly kind: "waiting" }
  /** `interrupted`: what was dumped changed meanwhile (NLM_F_DUMP_INTR), so ask again. */
  | { readonly kind: "done"; readonly messages: readonly NetlinkMessage[]; readonly interrupted: boolean }
  | { readonly kind: "refused"; readonly errno: number; readonly extended: ExtendedAck }
  | { readonly kind: "broken"; readonly code: string; readonly why: string };

/**
 * Puts the answer to one request together from the datagrams that arrive. The request must have asked for an
 * acknowledgement or a dump; messages of other sequence numbers are passed over. Views of the datagrams given are kept,
 * so a receive buffer must not be reused before the answer is read.
 */
export class Reply {
  readonly #sequence: number;
  readonly #most: number;
  readonly #messages: NetlinkMessage[] = [];
  #interrupted = false;
  #state: ReplyState = { kind: "waiting" };

  constructor(sequence: number, mostMessages = 1_000_000) {
    this.#sequence = sequence;
    this.#most = mostMessages;
  }

  get state(): ReplyState {
    return this.#state;
  }

  take(datagram: Uint8Array): ReplyState {
    const { messages, fault: wrong } = splitMessages(datagram);
    for (const message of messages) if (this.#state.kind === "waiting") this.#one(message);
    if (wrong !== undefined && this.#state.kind === "waiting")
      this.#state = { kind: "broken", code: wrong.code, why: wrong.why };
    return this.#state;
  }

  #one(message: NetlinkMessage): void {
    if (message.sequence !== this.#sequence) return;
    if ((message.flags & NLM_F.dumpInterrupted) !== 0 && message.type !== NLMSG.error) this.#interrupted = true;
    const control = decodeControl(message);
    if (control === undefined) {
      this.#messages.push(message);
      if (this.#messages.length > this.#most)
        this.#state = { kind: "broken", code: "netlink/too-many", why: `netlink: more than ${this.#most} messages` };
    } else if (!control.ok) this.#state = { kind: "broken", code: control.code, why: control.why };
    else this.#control(control.value);
  }

  #control(control: Control): void {
    if (control.kind === "noop") return;
    if (control.kind === "overrun")
      this.#state = { kind: "broken", code: "netlink/overrun", why: "netlink: messages were lost" };
    else if (control.kind === "error")
      this.#state = { kind: "refused", errno: control.errno, extended: control.extended };
    else this.#state = { kind: "done", messages: this.#messages, interrupted: this.#interrupted };
  }
}
