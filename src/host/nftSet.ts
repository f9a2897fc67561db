/**
 * Adds elements with a time limit to a set of nft and takes them out, in the kernel's own words (nfnetlink): within a
 * fraction of a millisecond, where nft(8) takes some tens. Only for what clients wait for; all else goes through nft.ts.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { NLM_F } from "../wire/netlink.ts";
import { writeHost16, writeU32 } from "../wire/octets.ts";
import { NetlinkError } from "./errors.ts";
import { NetlinkDescriptor, type NetlinkRequest, NetlinkSocket } from "./netlink.ts";

const NETLINK_NETFILTER = 12;
const SUBSYSTEM_NFTABLES = 10;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NEW_SET_ELEMENT = (SUBSYSTEM_NFTABLES << 8) | 12;
const DELETE_SET_ELEMENT = (SUBSYSTEM_NFTABLES << 8) | 14;
const NFPROTO_IPV4 = 2;
const NESTED = 0x8000;
/** NFTA_*: of the message, of one element, of a value. */
const LIST = { table: 1, set: 2, elements: 3, element: 1 } as const;
const ELEMENT = { key: 1, timeout: 4 } as const;
const DATA_VALUE = 1;

function attribute(type: number, ...payload: readonly Uint8Array[]): Uint8Array {
  const length = 4 + payload.reduce((sum, part) => sum + part.length, 0);
  const octets = new Uint8Array((length + 3) & ~3);
  writeHost16(octets, 0, length);
  writeHost16(octets, 2, type);
  let at = 4;
  for (const part of payload) {
    octets.set(part, at);
    at += part.length;
  }
  return octets;
}
const named = (type: number, text: string): Uint8Array => attribute(type, new TextEncoder().encode(`${text}\0`));
const bigEndian = (octets: number, value: number): Uint8Array => {
  const out = new Uint8Array(octets);
  writeU32(out, octets - 4, value);
  return out;
};
/** struct nfgenmsg: family, version, and for a batch the subsystem. */
const general = (family: number, resource: number): Uint8Array =>
  Uint8Array.of(family, 0, resource >> 8, resource & 255);

function elementsPayload(table: string, set: string, keys: readonly Ipv4[], timeoutMs?: number): Uint8Array {
  const limit = timeoutMs === undefined ? [] : [attribute(ELEMENT.timeout, bigEndian(8, timeoutMs))];
  const elements = keys.map((key) =>
    attribute(
      LIST.element | NESTED,
      attribute(ELEMENT.key | NESTED, attribute(DATA_VALUE, bigEndian(4, key))),
      ...limit,
    ),
  );
  return Uint8Array.from([
    ...general(NFPROTO_IPV4, 0),
    ...named(LIST.table, table),
    ...named(LIST.set, set),
    ...attribute(LIST.elements | NESTED, ...elements),
  ]);
}

/** At most so many in one message: attributes have 16 bits for their length. */
const atOnce = 1000;

export class NftSets {
  readonly #socket = new NetlinkSocket(new NetlinkDescriptor({ protocol: NETLINK_NETFILTER }));

  /** Errors: netlink/ENOENT where the table or the set is not there. */
  add(table: string, set: string, keys: readonly Ipv4[], timeoutMs: number): void {
    for (let i = 0; i < keys.length; i += atOnce) {
      const payload = elementsPayload(table, set, keys.slice(i, i + atOnce), Math.max(1, Math.round(timeoutMs)));
      const what = { operation: "add to nft set", object: `${set} of table ${table}` };
      this.#batch({ ...what, type: NEW_SET_ELEMENT, flags: NLM_F.create | NLM_F.ack, payload });
    }
  }
  /** Elements that are not, or no longer, there are no error; nor is a set or a table that is gone. */
  remove(table: string, set: string, keys: readonly Ipv4[]): void {
    const what = { operation: "take out of nft set", object: `${set} of table ${table}` };
    // One by one: a batch in which one is missing has no effect at all.
    for (const key of keys)
      try {
        const payload = elementsPayload(table, set, [key]);
        this.#batch({ ...what, type: DELETE_SET_ELEMENT, flags: NLM_F.ack, payload });
      } catch (error) {
        if (!(error instanceof NetlinkError && error.errnoName === "ENOENT")) throw error;
      }
  }
  #batch(request: NetlinkRequest): void {
    const { operation, object } = request;
    const bracket = (type: number) => ({ operation, object, type, flags: 0, payload: general(0, SUBSYSTEM_NFTABLES) });
    this.#socket.transaction([bracket(BATCH_BEGIN), request, bracket(BATCH_END)]);
  }
  close(): void {
    this.#socket.close();
  }
}
