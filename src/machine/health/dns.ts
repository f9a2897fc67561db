/** One DNS question over UDP (RFC 1035 section 4.1), and what of the answer a health check judges. */
import { formatIpv4, type Ipv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { ipv6FromOctets, parseIpv6 } from "../../base/ipv6.ts";
import { layout, u16 } from "../../wire/layout.ts";
import { readU16, readU32, writeU16 } from "../../wire/octets.ts";
import { type Checker, down, refused, type Turn, up } from "./probe.ts";

const TYPES = { A: 1, NS: 2, CNAME: 5, SOA: 6, MX: 15, TXT: 16, AAAA: 28 } as const;
export interface DnsQuestion {
  readonly address: Ipv4;
  readonly port: number;
  readonly name: string;
  readonly recordType: keyof typeof TYPES;
  /** One of the answers must be this: an address, a name, a text; for MX and SOA the name in it. */
  readonly expect: string | undefined;
}

export const dnsHeader = layout("dns", 12, {
  id: u16(0),
  flags: u16(2),
  questions: u16(4),
  answers: u16(6),
  authorities: u16(8),
  additionals: u16(10),
});
const FLAG = { response: 0x8000, truncated: 0x0200, recursionDesired: 0x0100 } as const;
const IN = 1;
const rcodes: Readonly<Record<number, string>> = {
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
};

/** Undefined when a label is empty or above 63 octets, or the whole above 255 (RFC 1035 section 2.3.4). */
export function encodeName(name: string): Uint8Array | undefined {
  const octets: number[] = [];
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  for (const label of bare === "" ? [] : bare.split(".")) {
    const text = new TextEncoder().encode(label);
    if (text.length === 0 || text.length > 63) return undefined;
    octets.push(text.length, ...text);
  }
  octets.push(0);
  return octets.length > 255 ? undefined : Uint8Array.from(octets);
}

export interface Name {
  /** Lower case, no dot at the end; "" is the root. */
  readonly text: string;
  readonly end: number;
}
/** Follows pointers backwards only, so that none can go round (RFC 1035 section 4.1.4). */
export function readName(octets: Uint8Array, from: number): Name | undefined {
  let text = "";
  let at = from;
  let end: number | undefined;
  let lowest = from;
  for (;;) {
    const length = octets[at];
    if (length === undefined || text.length > 255) return undefined;
    if (length === 0) return { text, end: end ?? at + 1 };
    if (length >= 0xc0) {
      if (at + 1 >= octets.length) return undefined;
      const target = readU16(octets, at) & 0x3fff;
      if (target >= lowest) return undefined;
      end ??= at + 2;
      lowest = target;
      at = target;
      continue;
    }
    if (length > 63 || at + 1 + length > octets.length) return undefined;
    let label = "";
    for (let i = 1; i <= length; i++) label += String.fromCharCode(octets[at + i] as number);
    text += text === "" ? label.toLowerCase() : `.${label.toLowerCase()}`;
    at += 1 + length;
  }
}

type RecordType = DnsQuestion["recordType"];
type Reader = (octets: Uint8Array, at: number, length: number) => string | undefined;
const nameAt: Reader = (octets, at) => readName(octets, at)?.text;
const readers: Readonly<Record<RecordType, Reader>> = {
  A: (octets, at, length) => (length === 4 ? formatIpv4(ipv4FromNumber(readU32(octets, at))) : undefined),
  AAAA: (octets, at, length) => (length === 16 ? ipv6FromOctets(octets, at) : undefined),
  NS: nameAt,
  CNAME: nameAt,
  SOA: nameAt,
  MX: (octets, at, length) => (length > 2 ? readName(octets, at + 2)?.text : undefined),
  TXT(octets, at, length) {
    let text = "";
    for (let i = at; i < at + length; i += 1 + (octets[i] as number))
      for (let j = i + 1; j <= Math.min(i + (octets[i] as number), at + length - 1); j++)
        text += String.fromCharCode(octets[j] as number);
    return text;
  },
};

function wanted(type: RecordType, expect: string): string {
  if (type === "TXT") return expect;
  if (type === "AAAA") return parseIpv6(expect) ?? expect;
  return expect.toLowerCase().replace(/\.$/, "");
}

/** The answers of the type asked for, as text; undefined when the message cannot be read. */
function answersOf(octets: Uint8Array, questions: number, answers: number, type: RecordType): string[] | undefined {
  let at = 12;
  for (let i = 0; i < questions; i++) {
    const name = readName(octets, at);
    if (name === undefined) return undefined;
    at = name.end + 4;
  }
  const found: string[] = [];
  for (let i = 0; i < answers; i++) {
    const name = readName(octets, at);
    if (name === undefined || name.end + 10 > octets.length) return undefined;
    const length = readU16(octets, name.end + 8);
    const data = name.end + 10;
    if (data + length > octets.length) return undefined;
    const text = readU16(octets, name.end) === TYPES[type] ? readers[type](octets, data, length) : undefined;
    if (text !== undefined) found.push(text);
    at = data + length;
  }
  return found;
}

function encodeQuestion(q: DnsQuestion, id: number): Uint8Array | undefined {
  const name = encodeName(q.name);
  if (name === undefined) return undefined;
  const octets = new Uint8Array(12 + name.length + 4);
  const counts = { questions: 1, answers: 0, authorities: 0, additionals: 0 };
  dnsHeader.encode({ id, flags: FLAG.recursionDesired, ...counts }, octets);
  octets.set(name, 12);
  writeU16(octets, 12 + name.length, TYPES[q.recordType]);
  writeU16(octets, 14 + name.length, IN);
  return octets;
}

function judge(q: DnsQuestion, id: number, octets: Uint8Array): Turn<number> {
  const read = dnsHeader.decode(octets);
  if (!read.ok || read.value.id !== id || (read.value.flags & FLAG.response) === 0) return { state: id };
  const { flags, questions, answers } = read.value;
  const rcode = flags & 15;
  if (rcode !== 0) return { state: id, judgement: down("dns/rcode", `answered ${rcodes[rcode] ?? `code ${rcode}`}`) };
  if (q.expect === undefined) return { state: id, judgement: up(`NOERROR, ${answers} answers`) };
  const found = answersOf(octets, questions, answers, q.recordType);
  if (found?.includes(wanted(q.recordType, q.expect)) === true)
    return { state: id, judgement: up(`answered ${q.expect}`) };
  if (found === undefined && (flags & FLAG.truncated) === 0)
    return { state: id, judgement: down("dns/malformed", "the answer cannot be read") };
  const said =
    found === undefined || found.length === 0 ? "nothing of that type" : found.slice(0, 3).join(", ").slice(0, 100);
  return { state: id, judgement: down("dns/answer", `answered ${said}, not ${q.expect}`) };
}

/** The state is the message id, from the nonce: another's answer is not taken for ours. */
export const dnsCheck = (q: DnsQuestion): Checker<number> => ({
  name: "dns",
  begin(nonce) {
    const id = nonce & 0xffff;
    const octets = encodeQuestion(q, id);
    if (octets === undefined)
      return { state: id, judgement: down("dns/name", `${q.name} is no name that DNS can carry`) };
    return { state: id, effects: [{ kind: "datagram", address: q.address, port: q.port, octets }] };
  },
  on(state, event) {
    if (event.kind === "datagram") return judge(q, state, event.octets);
    if (event.kind === "failed") return { state, judgement: refused("dns", event.error) };
    return { state };
  },
});
