import { type Mac, macFromOctets } from "../base/mac.ts";
import { fault, type Read } from "./fault.ts";
import { type Decoded, layout, mac, putMac, putU16, u16 } from "./layout.ts";
import { readU16, writeU16 } from "./octets.ts";

/** Ethernet II, without preamble and frame check sequence. */
export const ethernet = layout(
  "ethernet",
  14,
  { destination: mac(0), source: mac(6), etherType: u16(12) },
  {
    read: (octets, at) => ({
      destination: macFromOctets(octets, at),
      source: macFromOctets(octets, at + 6),
      etherType: readU16(octets, at + 12),
    }),
    write(header, octets, at) {
      putMac(octets, at, header.destination);
      putMac(octets, at + 6, header.source);
      putU16(octets, at + 12, header.etherType);
    },
  },
);
export type EthernetHeader = Decoded<typeof ethernet.table>;

export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd, serviceVlan: 0x88a8 } as const;
/** Below this the field is an IEEE 802.3 length (spanning tree and the like), not a type. */
export const FIRST_ETHERTYPE = 0x0600;

/** An IEEE 802.1Q tag. `id` 0 only carries a priority; the drop-eligible bit is not kept. */
export interface Vlan {
  /** 0 to 4095. */
  readonly id: number;
  /** 0 to 7. */
  readonly priority: number;
}

export interface Ethernet {
  readonly destination: Mac;
  readonly source: Mac;
  /** The tag nearest the payload. */
  readonly vlan?: Vlan;
  /** The outer tag of two (802.1ad "QinQ"). */
  readonly serviceVlan?: Vlan;
  /** Of the payload, after all tags. */
  readonly etherType: number;
  readonly payloadOffset: number;
}

const isTag = (etherType: number): boolean => etherType === ETHERTYPE.vlan || etherType === ETHERTYPE.serviceVlan;
const tagAt = (octets: Uint8Array, at: number): Vlan => {
  const control = readU16(octets, at);
  return { id: control & 0x0fff, priority: control >>> 13 };
};

/** Reads the header and at most two tags. Faults: ethernet/short, ethernet/tag-short, ethernet/too-many-tags. */
export function decodeEthernet(octets: Uint8Array, offset = 0): Read<Ethernet> {
  const header = ethernet.decode(octets, offset);
  if (!header.ok) return header;
  const { destination, source } = header.value;
  const tags: Vlan[] = [];
  let etherType = header.value.etherType;
  let at = offset + 14;
  while (isTag(etherType)) {
    if (tags.length === 2) return fault("ethernet/too-many-tags", "ethernet: more than two VLAN tags");
    if (at + 4 > octets.length) return fault("ethernet/tag-short", "ethernet: the frame ends inside a VLAN tag");
    tags.push(tagAt(octets, at));
    etherType = readU16(octets, at + 2);
    at += 4;
  }
  const base = { destination, source, etherType, payloadOffset: at };
  const [first, second] = tags;
  if (first === undefined) return { ok: true, value: base };
  if (second === undefined) return { ok: true, value: { ...base, vlan: first } };
  return { ok: true, value: { ...base, vlan: second, serviceVlan: first } };
}

export type EthernetFields = Omit<Ethernet, "payloadOffset">;

/** A whole frame: header, tags, payload. Not padded to 60 octets; the driver or the card does that. */
export function encodeEthernet(e: EthernetFields, payload: Uint8Array): Uint8Array {
  const tags: (readonly [number, Vlan])[] = [];
  if (e.serviceVlan !== undefined) tags.push([ETHERTYPE.serviceVlan, e.serviceVlan]);
  if (e.vlan !== undefined) tags.push([ETHERTYPE.vlan, e.vlan]);
  const frame = new Uint8Array(14 + tags.length * 4 + payload.length);
  ethernet.encode(e, frame);
  let at = 12;
  for (const [tagType, { id, priority }] of tags) {
    if (!(id >= 0 && id <= 4095 && priority >= 0 && priority <= 7))
      throw new RangeError(`no such VLAN tag: id ${id}, priority ${priority}`);
    writeU16(frame, at, tagType);
    writeU16(frame, at + 2, (priority << 13) | id);
    at += 4;
  }
  writeU16(frame, at, e.etherType);
  frame.set(payload, at + 2);
  return frame;
}
