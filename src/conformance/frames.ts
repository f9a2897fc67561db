/** Frames of questions, and what comes back, by the number that each question carries in its MAC and IP id. */
import { formatIpv4, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { BROADCAST_MAC, type Mac, macFromOctets, writeMac, ZERO_MAC } from "../base/mac.ts";
import { checksum } from "../wire/checksum.ts";
import type { PacketPlan, Question, Topology } from "./plan.ts";

/** 02:aa, then the host's serial number and the question's. */
export const askerMac = (serial: number, n: number): Mac =>
  `02:aa:${hex(serial >>> 8)}:${hex(serial)}:${hex(n >>> 8)}:${hex(n)}` as Mac;
const hex = (value: number): string => (value & 255).toString(16).padStart(2, "0");
/** IP ids are shorter: the last of the serial number, so that what is late is not taken for new. */
export const packetId = (serial: number, n: number): number => ((serial & 255) << 8) | (n & 255);

const nobodysMac = "02:dd:00:00:00:01" as Mac;
const groupMac = "01:00:5e:00:00:01" as Mac;

export const macOf = (t: Topology, name: string): Mac => t.links.find((l) => l.name === name)?.mac ?? ZERO_MAC;
/** The link whose protocol code hears what comes in there. */
export const receiverName = (t: Topology, link: string): string => {
  const plan = t.links.find((l) => l.name === link);
  return plan?.kind === "port" ? (plan.over as string) : link;
};
export const macvlanOn = (t: Topology, link: string): string | undefined =>
  t.links.find((l) => l.kind === "macvlan" && l.over === link)?.name;

function destinationOf(t: Topology, link: string, frame: string): Mac {
  switch (frame) {
    case "broadcast":
      return BROADCAST_MAC;
    case "multicast":
      return groupMac;
    case "other":
      return nobodysMac;
    case "macvlan":
      return macOf(t, macvlanOn(t, link) as string);
    default:
      return macOf(t, receiverName(t, link));
  }
}

export const targetMacOf = (t: Topology, q: Extract<Question, { ask: "arp" }>, serial: number): Mac =>
  q.targetMac === "zero"
    ? ZERO_MAC
    : q.targetMac === "sender"
      ? askerMac(serial, q.n)
      : macOf(t, receiverName(t, q.link));

export function frameOf(t: Topology, q: Exclude<Question, { ask: "announce" | "flap" }>, serial: number): Uint8Array {
  const body = q.ask === "arp" ? undefined : packetOctets(q.header, packetId(serial, q.n));
  const octets = new Uint8Array(14 + (body?.length ?? 28));
  const view = new DataView(octets.buffer);
  const own = askerMac(serial, q.n);
  writeMac(destinationOf(t, q.link, q.frame), octets, 0);
  writeMac(own, octets, 6);
  if (q.ask === "ip") {
    view.setUint16(12, 0x0800);
    octets.set(body as Uint8Array, 14);
    return octets;
  }
  view.setUint16(12, 0x0806);
  view.setUint32(14, 0x00010800);
  view.setUint32(18, 0x06040000 | q.operation);
  writeMac(own, octets, 22);
  view.setUint32(28, q.senderIp);
  writeMac(targetMacOf(t, q, serial), octets, 32);
  view.setUint32(38, q.targetIp);
  return octets;
}

const protocolNumbers = { tcp: 6, udp: 17, ipip: 4, other: 253 } as const;
export const sourcePort = 40_000;

/**
 * The transport part has a wrong checksum on purpose: raw sockets see the packet before it matters, and TCP and UDP
 * drop it without an answer that would disturb what follows.
 */
export function packetOctets(p: PacketPlan, id: number): Uint8Array {
  const inner = p.inner === undefined ? transport(p) : packetOctets(p.inner, id);
  const octets = new Uint8Array(20 + inner.length);
  const view = new DataView(octets.buffer);
  octets[0] = 0x45;
  view.setUint16(2, octets.length);
  view.setUint16(4, id);
  octets[8] = 64;
  octets[9] = protocolNumbers[p.protocol];
  view.setUint32(12, p.source);
  view.setUint32(16, p.destination);
  view.setUint16(10, checksum(octets, 0, 20));
  octets.set(inner, 20);
  return octets;
}

function transport(p: PacketPlan): Uint8Array {
  const octets = new Uint8Array(20);
  const view = new DataView(octets.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, p.destinationPort);
  if (p.protocol === "tcp") {
    view.setUint16(12, 0x5002); // SYN
    view.setUint16(16, 0xbad1);
  } else {
    view.setUint16(4, 20);
    view.setUint16(6, 0xbad1);
  }
  return octets;
}

/** An ARP packet that the host sent. */
export interface ArpSeen {
  readonly link: string;
  readonly operation: number;
  readonly source: Mac;
  readonly destination: Mac;
  readonly senderMac: Mac;
  readonly senderIp: Ipv4;
  readonly targetMac: Mac;
  readonly targetIp: Ipv4;
}

export function readArp(octets: Uint8Array, link: string): ArpSeen | undefined {
  if (octets.length < 42) return undefined;
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  if (view.getUint16(12) !== 0x0806) return undefined;
  return {
    link,
    operation: view.getUint16(20),
    destination: macFromOctets(octets, 0),
    source: macFromOctets(octets, 6),
    senderMac: macFromOctets(octets, 22),
    senderIp: ipv4FromNumber(view.getUint32(28)),
    targetMac: macFromOctets(octets, 32),
    targetIp: ipv4FromNumber(view.getUint32(38)),
  };
}

export const arpText = (a: Pick<ArpSeen, "senderIp" | "senderMac" | "targetIp" | "targetMac">): string =>
  `${formatIpv4(a.senderIp)} is at ${a.senderMac}, to ${formatIpv4(a.targetIp)} ${a.targetMac}`;
