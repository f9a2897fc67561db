/**
 * AF_PACKET sockets: whole Ethernet frames in and out of one interface, in batches, with the kernel's own timestamps.
 *
 * All structures that the kernel reads (mmsghdr, iovec, sockaddr_ll, control messages) are laid out once in memory that
 * does not move, so a batch costs one system call and no allocation. Layouts are those of 64-bit Linux.
 * Errors: SystemCallError (socket/EPERM, if_nametoindex/ENODEV, recvmmsg/ENETDOWN, ...).
 * Source: packet(7), linux/if_packet.h, net/packet/af_packet.c.
 */
import { type Mac, macFromOctets } from "../base/mac.ts";
import { ETHERTYPE } from "../wire/ethernet.ts";
import { LITTLE_ENDIAN_HOST as LE, writeU16 } from "../wire/octets.ts";
import { encodeFilter, type Instruction } from "../wire/packetFilter.ts";
import { SystemCallError } from "./errors.ts";
import * as libc from "./libc.ts";
import { type Namespace, runIn } from "./namespace.ts";

const SOL_PACKET = 263;
const PACKET = {
  addMembership: 1,
  statistics: 6,
  auxiliaryData: 8,
  bypassQueue: 20,
  ignoreOutgoing: 23,
} as const;
const SO = {
  sendBuffer: 7,
  receiveBuffer: 8,
  attachFilter: 26,
  sendBufferForce: 32,
  receiveBufferForce: 33,
  timestampNs: 35,
} as const;
const PACKET_MR_PROMISC = 1;
const ETH_P_ALL = 3;
const STATUS_VLAN_VALID = 0x10;
const STATUS_VLAN_TYPE_VALID = 0x40;

/** By number, PACKET_HOST and so on. `otherHost` frames are seen in promiscuous mode, or carry another VLAN's tag. */
export const packetKinds = ["host", "broadcast", "multicast", "otherHost", "outgoing"] as const;
export type PacketKind = (typeof packetKinds)[number] | "other";
export const packetKindOf = (number: number): PacketKind => packetKinds[number] ?? "other";

export interface PacketSocketOptions {
  /** All interfaces of the namespace when absent. */
  readonly interface?: string;
  /** Where the interface is; the calling thread's own namespace when absent. */
  readonly namespace?: Namespace;
  /** All when absent, 0 for none. Frames of a VLAN lose their tag before a socket of one type sees them, so prefer a filter. */
  readonly etherType?: number;
  readonly filter?: readonly Instruction[];
  readonly promiscuous?: boolean;
  /** Also what this host sends; kernels before 4.20 give it whatever is asked. */
  readonly outgoing?: boolean;
  /** Past the queueing discipline (`tc`) and past other sniffers on this host: for floods. */
  readonly bypassQueue?: boolean;
  /** false: `timeUs` stays 0, and for this socket the kernel reads no clock at each packet of the host; true unless said. */
  readonly timestamps?: boolean;
  /** What waits in the kernel until it is received; 8 MiB unless said. */
  readonly receiveBufferOctets?: number;
  /** The part of each frame that is kept; 2,048 unless said. */
  readonly longestFrameOctets?: number;
  /** Frames per system call; 64 unless said. */
  readonly batchFrames?: number;
}

/** One frame, in the socket's own memory: valid until the visitor returns, so copy what is to stay. */
export interface ReceivedFrame {
  /** From the destination address on; a VLAN tag that the kernel or card took off is back in its place. */
  readonly octets: Uint8Array;
  /** As it was on the wire; more than `octets.length` when cut. */
  readonly wireOctets: number;
  /** When the kernel got it, microseconds since the epoch (libc.realtimeUs). */
  readonly timeUs: number;
  /** Index into packetKinds. */
  readonly kind: number;
  readonly interfaceIndex: number;
}
interface MutableFrame {
  octets: Uint8Array;
  wireOctets: number;
  timeUs: number;
  kind: number;
  interfaceIndex: number;
}

const HEADER = 64; // struct mmsghdr
const IOVEC = 16;
const NAME = 32; // struct sockaddr_ll is 20
const CONTROL = 128;
/** Room before each frame for a tag to come back to; keeps the frame aligned. */
const HEADROOM = 16;
const align = (octets: number): number => (octets + 15) & ~15;

export const linkAddress = (protocol: number, index: number): Uint8Array => {
  const view = new DataView(new ArrayBuffer(20));
  view.setUint16(0, libc.AF_PACKET, LE);
  view.setUint16(2, protocol); // network order
  view.setInt32(4, index, LE);
  return new Uint8Array(view.buffer);
};

/** Memory for `count` messages: headers first, then an iovec, a name, control room and the frame for each. */
class MessageBlock {
  readonly memory: libc.NativeMemory;
  readonly view: DataView;
  readonly count: number;
  readonly frameOctets: number;
  readonly #namesAt: number;
  readonly #controlsAt: number;
  readonly #framesAt: number;
  readonly #stride: number;
  constructor(count: number, frameOctets: number) {
    this.count = count;
    this.frameOctets = frameOctets;
    this.#namesAt = count * (HEADER + IOVEC);
    this.#controlsAt = this.#namesAt + count * NAME;
    this.#framesAt = this.#controlsAt + count * CONTROL;
    this.#stride = HEADROOM + align(frameOctets);
    this.memory = libc.allocate(this.#framesAt + count * this.#stride);
    this.view = new DataView(this.memory.octets.buffer, this.memory.octets.byteOffset, this.memory.octets.byteLength);
    for (let slot = 0; slot < count; slot++) {
      this.#pointer(slot * HEADER + 16, this.count * HEADER + slot * IOVEC);
      this.view.setUint32(slot * HEADER + 24, 1, LE); // one iovec
      this.#pointer(this.count * HEADER + slot * IOVEC, this.frameAt(slot));
      this.setSize(slot, frameOctets);
    }
  }
  #pointer(at: number, to: number): void {
    this.view.setBigUint64(at, this.memory.address + BigInt(to), LE);
  }
  nameAt(slot: number): number {
    return this.#namesAt + slot * NAME;
  }
  controlAt(slot: number): number {
    return this.#controlsAt + slot * CONTROL;
  }
  frameAt(slot: number): number {
    return this.#framesAt + slot * this.#stride + HEADROOM;
  }
  headersFrom(slot: number): bigint {
    return this.memory.address + BigInt(slot * HEADER);
  }
  setSize(slot: number, sizeOctets: number): void {
    this.view.setUint32(this.count * HEADER + slot * IOVEC + 8, sizeOctets, LE);
  }
  sentOrReceived(slot: number): number {
    return this.view.getUint32(slot * HEADER + 56, LE);
  }
  controlLength(slot: number): number {
    return this.view.getUint32(slot * HEADER + 40, LE);
  }
  wantName(slot: number): void {
    this.#pointer(slot * HEADER, this.nameAt(slot));
    this.view.setUint32(slot * HEADER + 8, NAME, LE);
  }
  setName(slot: number, name: Uint8Array): void {
    this.memory.octets.set(name, this.nameAt(slot));
    this.#pointer(slot * HEADER, this.nameAt(slot));
    this.view.setUint32(slot * HEADER + 8, name.length, LE);
  }
  wantControl(slot: number): void {
    this.#pointer(slot * HEADER + 32, this.controlAt(slot));
    this.view.setUint32(slot * HEADER + 40, CONTROL, LE);
  }
  /** The kernel writes what it used of both; a slot is ready again only with the room told anew. */
  rearm(slot: number): void {
    this.view.setUint32(slot * HEADER + 8, NAME, LE);
    this.view.setUint32(slot * HEADER + 40, CONTROL, LE);
  }
  release(): void {
    libc.release(this.memory);
  }
}

/** Frames built once in the memory that the kernel sends from: write or patch `frame(slot)`, then send. */
export class SendBatch {
  readonly capacity: number;
  readonly block: MessageBlock;
  readonly #frames: Uint8Array[] = [];
  /** `interfaceIndex` where the socket is not bound to one. */
  constructor(capacity: number, frameOctets: number, interfaceIndex?: number) {
    this.capacity = capacity;
    this.block = new MessageBlock(capacity, frameOctets);
    for (let slot = 0; slot < capacity; slot++) {
      const at = this.block.frameAt(slot);
      this.#frames.push(this.block.memory.octets.subarray(at, at + frameOctets));
      if (interfaceIndex !== undefined) this.block.setName(slot, linkAddress(0, interfaceIndex));
    }
  }
  /** The frame's memory; its first `sizeOctets` are sent. Not to be used after close(). */
  frame(slot: number): Uint8Array {
    const octets = this.#frames[slot];
    if (octets === undefined) throw new RangeError(`slot ${slot} of ${this.capacity}`);
    return octets;
  }
  setSize(slot: number, sizeOctets: number): void {
    if (sizeOctets > this.block.frameOctets) throw new RangeError(`${sizeOctets} octets in ${this.block.frameOctets}`);
    this.block.setSize(slot, sizeOctets);
  }
  put(slot: number, octets: Uint8Array): void {
    this.setSize(slot, octets.length);
    this.frame(slot).set(octets);
  }
  close(): void {
    this.#frames.length = 0;
    this.block.release();
  }
}

/** PacketSocket.sendBatch for a thread that has only the descriptor. */
export function sendBatchOn(fd: number, batch: SendBatch, from: number, count: number, object: string): number {
  if (from < 0 || from + count > batch.capacity) throw new RangeError(`slots ${from}+${count} of ${batch.capacity}`);
  try {
    return libc.sendmmsg(fd, batch.block.headersFrom(from), count, object) ?? 0;
  } catch (error) {
    if (error instanceof SystemCallError && error.errnoName === "ENOBUFS") return 0; // the queueing discipline's "not now"
    throw error;
  }
}

export interface PacketStatistics {
  /** Frames that passed the filter since the socket was opened, dropped ones included. */
  readonly received: number;
  /** Of those, lost because nobody came to fetch them in time. */
  readonly dropped: number;
}

export class PacketSocket {
  readonly fd: number;
  /** What error messages call it: "packet socket on eth0". */
  readonly object: string;
  /** 0 for all. */
  readonly interfaceIndex: number;
  readonly #inbox: MessageBlock;
  readonly #views: Uint8Array[] = [];
  readonly #frame: MutableFrame = { octets: new Uint8Array(0), wireOctets: 0, timeUs: 0, kind: 0, interfaceIndex: 0 };
  #outbox: SendBatch | undefined;
  #received = 0;
  #dropped = 0;
  #watch: libc.Watch | undefined;
  #closed = false;

  constructor(fd: number, object: string, interfaceIndex: number, inbox: { count: number; frameOctets: number }) {
    this.fd = fd;
    this.object = object;
    this.interfaceIndex = interfaceIndex;
    this.#inbox = new MessageBlock(inbox.count, inbox.frameOctets);
    for (let slot = 0; slot < inbox.count; slot++) {
      this.#inbox.wantName(slot);
      this.#inbox.wantControl(slot);
    }
  }

  /**
   * Fetches what waits, up to about `atMost` frames, without blocking, and gives the count. The same object is shown for
   * every frame. Errors: recvmmsg/ENETDOWN, once each time the interface goes down; later calls go on.
   */
  receive(visit: (frame: ReceivedFrame) => void, atMost = 1024): number {
    let total = 0;
    while (total < atMost && !this.#closed) {
      const count = libc.recvmmsg(this.fd, this.#inbox.headersFrom(0), this.#inbox.count, this.object);
      if (count === undefined || count === 0) break;
      total += count;
      for (let slot = 0; slot < count && !this.#closed; slot++) {
        this.#read(slot);
        this.#inbox.rearm(slot);
        visit(this.#frame);
      }
      if (count < this.#inbox.count) break;
    }
    return total;
  }

  #read(slot: number): void {
    const { view } = this.#inbox;
    const frame = this.#frame;
    const name = this.#inbox.nameAt(slot);
    frame.interfaceIndex = view.getInt32(name + 4, LE);
    frame.kind = view.getUint8(name + 10);
    let at = this.#inbox.frameAt(slot);
    let sizeOctets = this.#inbox.sentOrReceived(slot);
    frame.wireOctets = sizeOctets;
    frame.timeUs = 0;
    let control = this.#inbox.controlAt(slot);
    const end = control + this.#inbox.controlLength(slot);
    while (control + 16 <= end) {
      const length = view.getUint32(control, LE);
      if (length < 16) break;
      const level = view.getInt32(control + 8, LE);
      const type = view.getInt32(control + 12, LE);
      if (level === libc.SOL_SOCKET && type === SO.timestampNs) {
        const seconds = view.getUint32(control + 16, LE) + view.getUint32(control + 20, LE) * 2 ** 32;
        frame.timeUs = seconds * 1e6 + view.getUint32(control + 24, LE) / 1e3;
      } else if (level === SOL_PACKET && type === PACKET.auxiliaryData) {
        const status = view.getUint32(control + 16, LE);
        frame.wireOctets = view.getUint32(control + 20, LE);
        if ((status & STATUS_VLAN_VALID) !== 0 && sizeOctets >= 12) {
          const { octets } = this.#inbox.memory;
          octets.copyWithin(at - 4, at, at + 12);
          at -= 4;
          const tagType = view.getUint16(control + 34, LE);
          writeU16(octets, at + 12, (status & STATUS_VLAN_TYPE_VALID) !== 0 ? tagType : ETHERTYPE.vlan);
          writeU16(octets, at + 14, view.getUint16(control + 32, LE));
          sizeOctets += 4;
          frame.wireOctets += 4;
        }
      }
      control += (length + 7) & ~7;
    }
    let known = this.#views[slot];
    if (
      known === undefined ||
      known.length !== sizeOctets ||
      known.byteOffset !== this.#inbox.memory.octets.byteOffset + at
    ) {
      known = this.#inbox.memory.octets.subarray(at, at + sizeOctets);
      this.#views[slot] = known;
    }
    frame.octets = known;
  }

  /**
   * Sends slots `from` to `from + count` and says how many the kernel took; fewer means that the queue is full.
   * Errors: sendmmsg/ENETDOWN, sendmmsg/EMSGSIZE, sendmmsg/ENXIO.
   */
  sendBatch(batch: SendBatch, from: number, count: number): number {
    return sendBatchOn(this.fd, batch, from, count, this.object);
  }

  /** Copies and sends frames in order; gives how many the kernel took. */
  send(frames: readonly Uint8Array[]): number {
    let sent = 0;
    while (sent < frames.length) {
      const part = frames.slice(sent, sent + 64);
      const longest = Math.max(...part.map((f) => f.length));
      if (this.#outbox === undefined || this.#outbox.block.frameOctets < longest) {
        this.#outbox?.close();
        this.#outbox = new SendBatch(64, Math.max(longest, 128));
      }
      for (const [slot, frame] of part.entries()) this.#outbox.put(slot, frame);
      const taken = this.sendBatch(this.#outbox, 0, part.length);
      sent += taken;
      if (taken < part.length) break;
    }
    return sent;
  }

  /** Blocks the thread until a frame waits or the time is over: for workers. */
  wait(timeoutMs: number): boolean {
    return libc.poll(this.fd, libc.POLLIN, timeoutMs) !== 0;
  }

  /** Calls back on this thread's event loop whenever frames wait. One watcher at a time; close() ends it. */
  onReadable(ready: () => void): libc.Watch {
    this.#watch?.close();
    const watch = libc.onReadable(this.fd, ready);
    this.#watch = watch;
    return {
      close: () => {
        if (this.#watch !== watch) return;
        this.#watch = undefined;
        watch.close();
      },
    };
  }

  statistics(): PacketStatistics {
    // The kernel's counters start again at each reading.
    const octets = libc.getsockopt(this.fd, SOL_PACKET, PACKET.statistics, 8, this.object);
    const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    this.#received += view.getUint32(0, LE);
    this.#dropped += view.getUint32(4, LE);
    return { received: this.#received, dropped: this.#dropped };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch?.close();
    this.#watch = undefined;
    libc.close(this.fd);
    this.#outbox?.close();
    this.#views.length = 0;
    this.#frame.octets = new Uint8Array(0);
    this.#inbox.release();
  }
}

/** The privileged form where it is allowed, else as much as net.core permits. */
function setBuffer(fd: number, force: number, plain: number, sizeOctets: number, object: string): void {
  try {
    libc.setsockopt(fd, libc.SOL_SOCKET, force, sizeOctets, object);
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.errnoName !== "EPERM") throw error;
    libc.setsockopt(fd, libc.SOL_SOCKET, plain, sizeOctets, object);
  }
}

function attachFilter(fd: number, program: readonly Instruction[], object: string): void {
  const octets = encodeFilter(program);
  const memory = libc.allocate(octets.length);
  try {
    memory.octets.set(octets);
    const header = new DataView(new ArrayBuffer(16)); // struct sock_fprog
    header.setUint16(0, program.length, LE);
    header.setBigUint64(8, memory.address, LE);
    libc.setsockopt(fd, libc.SOL_SOCKET, SO.attachFilter, new Uint8Array(header.buffer), object);
  } finally {
    libc.release(memory);
  }
}

/** Options that older kernels do without. */
function setWhereKnown(fd: number, option: number, object: string): void {
  try {
    libc.setsockopt(fd, SOL_PACKET, option, 1, object);
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.errnoName !== "ENOPROTOOPT") throw error;
  }
}

/** Index of an interface of the calling thread's namespace. Errors: interface/ENODEV. */
export function interfaceIndex(name: string): number {
  const index = libc.interfaceIndex(name);
  if (index === 0) throw new SystemCallError("interface", libc.errnoNumber("ENODEV"), "ENODEV", `interface ${name}`);
  return index;
}

function openHere(options: PacketSocketOptions): PacketSocket {
  const object = `packet socket on ${options.interface ?? "all interfaces"}`;
  // Privilege first: "unknown interface" to someone who could not use a known one either would send him the wrong way.
  const fd = libc.socket(libc.AF_PACKET, libc.SOCK_RAW | libc.SOCK_NONBLOCK, 0, object);
  try {
    const index = options.interface === undefined ? 0 : interfaceIndex(options.interface);
    // Protocol 0 receives nothing: the filter is in place before the first frame.
    if (options.filter !== undefined) attachFilter(fd, options.filter, object);
    setBuffer(fd, SO.receiveBufferForce, SO.receiveBuffer, options.receiveBufferOctets ?? 8 << 20, object);
    setBuffer(fd, SO.sendBufferForce, SO.sendBuffer, 4 << 20, object);
    if (options.timestamps !== false) libc.setsockopt(fd, libc.SOL_SOCKET, SO.timestampNs, 1, object);
    libc.setsockopt(fd, SOL_PACKET, PACKET.auxiliaryData, 1, object);
    if (options.outgoing !== true) setWhereKnown(fd, PACKET.ignoreOutgoing, object);
    if (options.bypassQueue === true) setWhereKnown(fd, PACKET.bypassQueue, object);
    if (options.promiscuous === true) {
      if (index === 0) throw new RangeError("promiscuous mode belongs to one interface");
      const request = new DataView(new ArrayBuffer(16)); // struct packet_mreq
      request.setInt32(0, index, LE);
      request.setUint16(4, PACKET_MR_PROMISC, LE);
      libc.setsockopt(fd, SOL_PACKET, PACKET.addMembership, new Uint8Array(request.buffer), object);
    }
    libc.bind(fd, linkAddress(options.etherType ?? ETH_P_ALL, index), object);
    return new PacketSocket(fd, object, index, {
      count: options.batchFrames ?? 64,
      frameOctets: options.longestFrameOctets ?? 2048,
    });
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Opens a socket; needs CAP_NET_RAW. It stays in its namespace wherever the thread goes afterwards. */
export function openPacketSocket(options: PacketSocketOptions = {}): PacketSocket {
  return runIn(options.namespace, () => openHere(options));
}

/** A copy of a frame that outlives the visitor. */
export const copyFrame = (frame: ReceivedFrame): ReceivedFrame => ({ ...frame, octets: frame.octets.slice() });

/** Sender of the frame, by the Ethernet header; undefined when the frame is shorter than that. */
export const frameSource = (octets: Uint8Array): Mac | undefined =>
  octets.length < 14 ? undefined : macFromOctets(octets, 6);
