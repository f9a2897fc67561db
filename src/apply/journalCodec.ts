import { crc32 } from "../base/crc32.ts";

/**
 * One record: length (32 bits, of the payload), CRC-32 of length and payload, payload (JSON in UTF-8). Big-endian.
 * A crash may cut the file at any octet, and a file system may leave zeros there: reading stops at the first record
 * that is not whole, and says how many octets it left.
 */
const HEADER = 8;
/** 4,096 VIPs with their nft tables are some 3 MB; more than this is no record of ours. */
const LARGEST = 1 << 28;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function encodeRecord(value: unknown): Uint8Array {
  const payload = encoder.encode(JSON.stringify(value));
  const record = new Uint8Array(HEADER + payload.length);
  const view = new DataView(record.buffer);
  view.setUint32(0, payload.length);
  record.set(payload, HEADER);
  view.setUint32(4, checksum(record));
  return record;
}

/** Over the length too: a length that lies must not pass by chance. */
const checksum = (record: Uint8Array): number => crc32(record.subarray(HEADER), crc32(record.subarray(0, 4)));

export interface Decoded {
  readonly values: readonly unknown[];
  /** Octets of whole records: cut the file here before appending. */
  readonly goodOctets: number;
  /** Octets after them: a record that a crash tore, or garbage. */
  readonly tornOctets: number;
}

/** Never throws, whatever the octets are. */
export function decodeRecords(octets: Uint8Array): Decoded {
  const values: unknown[] = [];
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  let at = 0;
  while (octets.length - at >= HEADER) {
    const length = view.getUint32(at);
    const end = at + HEADER + length;
    if (length === 0 || length > LARGEST || end > octets.length) break;
    const record = octets.subarray(at, end);
    if (checksum(record) !== view.getUint32(at + 4)) break;
    try {
      values.push(JSON.parse(decoder.decode(record.subarray(HEADER))));
    } catch {
      break; // a good checksum over no JSON: not written by us
    }
    at = end;
  }
  return { values, goodOctets: at, tornOctets: octets.length - at };
}
