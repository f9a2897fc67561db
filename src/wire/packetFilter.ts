/**
 * Classic BPF programs for packet sockets: which frames the kernel hands over at all.
 *
 * A program is a row of tests. Each test takes the frame (all of it) or lets the next one look; after the last the
 * frame is dropped. So tests join by writing them one after the other, and no jump leaves its test: 8 bits suffice.
 * A load beyond the frame's end drops it, as the kernel has it. Source: linux/filter.h, networking/filter.rst.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { ETHERTYPE } from "./ethernet.ts";
import { PROTOCOL } from "./ipv4.ts";
import { writeHost16, writeHost32 } from "./octets.ts";

/** struct sock_filter. `whenTrue` and `whenFalse` count instructions to skip. */
export interface Instruction {
  readonly code: number;
  readonly whenTrue: number;
  readonly whenFalse: number;
  readonly k: number;
}
export type FrameTest = readonly Instruction[];

/** The codes used here: load half word or word or octet at k, or at k behind an IPv4 header; jump; return. */
export const BPF = {
  ...{ ldh: 0x28, ld: 0x20, ldb: 0x30, jeq: 0x15, jge: 0x35, jset: 0x45, ret: 0x06 },
  /** X becomes the length of the IPv4 header whose first octet is at k; then half word and octet at X + k. */
  ...{ ldxHeaderLength: 0xb1, ldhIndexed: 0x48, ldbIndexed: 0x50 },
} as const;
/** BPF_MAXINSNS: longer programs are refused by the kernel. */
export const LONGEST_PROGRAM = 4096;

const TAKE: Instruction = { code: BPF.ret, whenTrue: 0, whenFalse: 0, k: 0x40000 };
const DROP: Instruction = { code: BPF.ret, whenTrue: 0, whenFalse: 0, k: 0 };
const load = (code: number, k: number): Instruction => ({ code, whenTrue: 0, whenFalse: 0, k });
/** Skips `skip` instructions unless the value loaded is `k`. */
const unlessEqual = (k: number, skip: number): Instruction => ({ code: BPF.jeq, whenTrue: 0, whenFalse: skip, k });

/** Every frame of one EtherType, untagged (or with the tag already taken off by the kernel). */
export const ofType = (etherType: number): FrameTest => [load(BPF.ldh, 12), unlessEqual(etherType, 1), TAKE];

/** Frames with one more 802.1Q or 802.1ad tag than the one that the kernel takes off, and `etherType` behind it. */
export const ofTypeInTag = (etherType: number): FrameTest => [
  load(BPF.ldh, 12),
  { code: BPF.jeq, whenTrue: 1, whenFalse: 0, k: ETHERTYPE.vlan },
  unlessEqual(ETHERTYPE.serviceVlan, 3),
  load(BPF.ldh, 16),
  unlessEqual(etherType, 1),
  TAKE,
];

/** ARP, tagged or not. */
export const isArp: FrameTest = [...ofType(ETHERTYPE.arp), ...ofTypeInTag(ETHERTYPE.arp)];

/** IPv4 frames whose destination is one of `addresses`, 1,000 at most: the kernel compares one by one. */
export function isIpv4To(addresses: readonly Ipv4[]): FrameTest {
  if (addresses.length > 1000) throw new RangeError(`${addresses.length} addresses are too many for one filter`);
  const cases = addresses.flatMap((address) => [unlessEqual(address, 1), TAKE]);
  // A jump spans 255 instructions, the set may be longer: frames of other types end here rather than behind it.
  return [
    load(BPF.ldh, 12),
    { code: BPF.jeq, whenTrue: 1, whenFalse: 0, k: ETHERTYPE.ipv4 },
    DROP,
    load(BPF.ld, 30),
    ...cases,
  ];
}

/**
 * What may answer a question that was sent from `address` and a TCP port of `firstPort` or above: TCP to such a port, and
 * ICMP but for pings and their answers. Other traffic of this host, all of its other checks too, wakes nobody up.
 */
export const isAnswerTo = (address: Ipv4, firstPort: number): FrameTest => [
  load(BPF.ldh, 12),
  unlessEqual(ETHERTYPE.ipv4, 12),
  load(BPF.ld, 30),
  unlessEqual(address, 10),
  load(BPF.ldxHeaderLength, 14),
  load(BPF.ldb, 23),
  { code: BPF.jeq, whenTrue: 3, whenFalse: 0, k: PROTOCOL.icmp },
  unlessEqual(PROTOCOL.tcp, 6),
  load(BPF.ldhIndexed, 16),
  { code: BPF.jge, whenTrue: 3, whenFalse: 4, k: firstPort },
  load(BPF.ldbIndexed, 14),
  { code: BPF.jeq, whenTrue: 2, whenFalse: 0, k: ICMP_ECHO_REPLY },
  { code: BPF.jeq, whenTrue: 1, whenFalse: 0, k: ICMP_ECHO },
  TAKE,
];
const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO = 8;

/** IPv4 frames of one protocol (IPIP is 4). */
export const isIpv4Protocol = (protocol: number): FrameTest => [
  load(BPF.ldh, 12),
  unlessEqual(ETHERTYPE.ipv4, 3),
  load(BPF.ldb, 23),
  unlessEqual(protocol, 1),
  TAKE,
];

/** Takes what any of `tests` takes. `isIpv4To` must come last: it decides for good. RangeError beyond the kernel's limit. */
export function filterProgram(...tests: readonly FrameTest[]): readonly Instruction[] {
  const program = [...tests.flat(), DROP];
  if (program.length > LONGEST_PROGRAM)
    throw new RangeError(`a filter of ${program.length} instructions, the kernel takes ${LONGEST_PROGRAM}`);
  return program;
}

/** struct sock_filter[]: eight octets an instruction, in the order of the machine. */
export function encodeFilter(program: readonly Instruction[]): Uint8Array {
  const octets = new Uint8Array(program.length * 8);
  program.forEach(({ code, whenTrue, whenFalse, k }, i) => {
    writeHost16(octets, i * 8, code);
    octets[i * 8 + 2] = whenTrue;
    octets[i * 8 + 3] = whenFalse;
    writeHost32(octets, i * 8 + 4, k);
  });
  return octets;
}
