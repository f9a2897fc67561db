/**
 * HTTP/1.1 as a health check needs it (RFC 9112): one request, the status, and the body where something is asked of it.
 * Everything the server says is bounded: header lines, interim answers, chunks, body.
 */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import { type Checker, down, type Judgement, refused, type Turn, up } from "./probe.ts";

export interface HttpQuestion {
  readonly address: Ipv4;
  readonly port: number;
  readonly path: string;
  readonly method: "GET" | "HEAD";
  /** undefined: the RIP as text. */
  readonly host: string | undefined;
  readonly status: readonly { readonly first: number; readonly last: number }[];
  /** Compiles; looked for in the body as UTF-8. */
  readonly bodyRegex: string | undefined;
  /** Lower case hexadecimal, of the whole body. */
  readonly bodySha256: string | undefined;
  /** undefined: plain http. */
  readonly tls: { readonly sni: string | undefined; readonly verify: boolean } | undefined;
}
export interface HttpTools {
  /** Digest in lower case hexadecimal; passed in because pure code has no crypto. */
  readonly sha256: (octets: Uint8Array) => string;
  /** Whether the pattern, which compiles, is found in the text; undefined: it took too long to say. */
  readonly matches: (pattern: string, text: string) => boolean | undefined;
}

export const headerLimitOctets = 32_768;
export const bodyLimitOctets = 1_048_576;
const interimLimit = 8;
const chunkAttemptLimits = { lastChunk: 128, emptyLine: 64 } as const;

/** How the end of the body is known (RFC 9112 section 6.3). */
type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly octets: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

export interface HttpState {
  /** Octets not understood yet, in the pieces they came in. */
  readonly pieces: readonly Uint8Array[];
  readonly sizeOctets: number;
  readonly interims: number;
  /** How often the chunks were read and the last was not among them. */
  readonly attempts: number;
  readonly head: { readonly status: number; readonly framing: Framing } | undefined;
}

const latin1 = (octets: Uint8Array): string => {
  let text = "";
  for (const octet of octets) text += String.fromCharCode(octet);
  return text;
};
const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0) & 0x7f);

function join(pieces: readonly Uint8Array[], sizeOctets: number): Uint8Array {
  if (pieces.length === 1) return pieces[0] as Uint8Array;
  const whole = new Uint8Array(sizeOctets);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/**
 * One more piece, joined with those before it that are no larger: a server that sends octet by octet costs n log n, and
 * the list stays short.
 */
function append(pieces: readonly Uint8Array[], octets: Uint8Array): Uint8Array[] {
  const list = [...pieces];
  let last = octets;
  for (let before = list.at(-1); before !== undefined && before.length <= last.length; before = list.at(-1)) {
    list.pop();
    last = join([before, last], before.length + last.length);
  }
  list.push(last);
  return list;
}

/** What may stand in a request line; everything else as %XX, so that no path can end the line. */
function target(path: string): string {
  let text = "";
  for (const octet of new TextEncoder().encode(path))
    text += octet > 0x20 && octet < 0x7f ? String.fromCharCode(octet) : `%${octet.toString(16).padStart(2, "0")}`;
  return text;
}

/** The octets of the whole request. */
export function requestOf(q: HttpQuestion): Uint8Array {
  const name = (q.host ?? formatIpv4(q.address)).replace(/[^\x21-\x7e]/g, "");
  const usual = q.tls === undefined ? 80 : 443;
  const host = q.port === usual || /:\d+$/.test(name) ? name : `${name}:${q.port}`;
  return ascii(
    `${q.method} ${target(q.path)} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: vipward\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
  );
}

function endOfHead(octets: Uint8Array): number {
  const end = Math.min(octets.length, headerLimitOctets);
  for (let i = 3; i < end; i++)
    if (octets[i] === 10 && octets[i - 1] === 13 && octets[i - 2] === 10 && octets[i - 3] === 13) return i + 1;
  return -1;
}

type Head = NonNullable<HttpState["head"]>;

/** RFC 9112 section 6.3, rules 1 to 8; a length that is no number is a fault, not a guess. */
function framingOf(lines: readonly string[], status: number, method: string): Framing | Judgement {
  if (method === "HEAD" || status === 204 || status === 304) return { kind: "none" };
  let length: number | undefined;
  for (const line of lines) {
    const [, name = "", value = ""] = /^([^\s:]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    const key = name.toLowerCase();
    if (key === "transfer-encoding") return value.toLowerCase() === "chunked" ? { kind: "chunked" } : { kind: "close" };
    if (key !== "content-length") continue;
    const octets = /^\d{1,15}$/.test(value) ? Number(value) : undefined;
    if (octets === undefined || (length !== undefined && length !== octets))
      return down("http/malformed", "the answer's Content-Length is not one number");
    length = octets;
  }
  return length === undefined ? { kind: "close" } : { kind: "length", octets: length };
}

function readHead(text: string, method: string): Head | Judgement {
  const [first = "", ...lines] = text.split("\r\n");
  const found = /^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(first);
  if (found === null) return down("http/malformed", `not an HTTP answer: ${JSON.stringify(first.slice(0, 60))}`);
  const status = Number(found[1]);
  const framing = framingOf(lines, status, method);
  return "up" in framing ? framing : { status, framing };
}

interface Body {
  readonly octets: Uint8Array;
  readonly complete: boolean;
}

/** Undefined: it cannot be read as chunks (RFC 9112 section 7.1). */
function dechunk(octets: Uint8Array): Body | undefined {
  const parts: Uint8Array[] = [];
  let size = 0;
  let at = 0;
  for (;;) {
    let eol = at;
    while (eol < octets.length && octets[eol] !== 10) if (++eol - at > 256) return undefined;
    if (eol >= octets.length) return { octets: join(parts, size), complete: false };
    const found = /^([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?\r$/s.exec(latin1(octets.subarray(at, eol)));
    if (found === null) return undefined;
    const length = Number.parseInt(found[1] as string, 16);
    at = eol + 1;
    if (length === 0) return { octets: join(parts, size), complete: true };
    const part = octets.subarray(at, at + length);
    parts.push(part);
    size += part.length;
    if (part.length < length || at + length + 2 > octets.length) return { octets: join(parts, size), complete: false };
    if (octets[at + length] !== 13 || octets[at + length + 1] !== 10) return undefined;
    at += length + 2;
  }
}

/** Undefined: malformed chunks. */
function bodyOf(octets: Uint8Array, framing: Framing, closed: boolean): Body | undefined {
  switch (framing.kind) {
    case "none":
      return { octets: new Uint8Array(0), complete: true };
    case "length":
      return { octets: octets.subarray(0, framing.octets), complete: octets.length >= framing.octets };
    case "close":
      return { octets, complete: closed };
    case "chunked":
      return dechunk(octets);
  }
}

function judgeBody(q: HttpQuestion, tools: HttpTools, octets: Uint8Array, status: number): Judgement {
  if (q.bodySha256 !== undefined) {
    const digest = tools.sha256(octets);
    if (digest !== q.bodySha256) return down("http/digest", `the body's SHA-256 is ${digest}, not ${q.bodySha256}`);
  }
  if (q.bodyRegex === undefined) return up(`status ${status}`);
  const isFound = tools.matches(q.bodyRegex, new TextDecoder().decode(octets));
  if (isFound) return up(`status ${status}`);
  const pattern = q.bodyRegex.slice(0, 60);
  return isFound === undefined
    ? down("http/pattern-too-slow", `to look for ${pattern} in ${octets.length} octets takes too long`)
    : down("http/body", `nothing in the body matches ${pattern}`);
}

/** The last octets of what is there, as text. */
function tailOf({ pieces }: HttpState, length: number): string {
  let tail = "";
  for (let i = pieces.length - 1; i >= 0 && tail.length < length; i--)
    tail = latin1((pieces[i] as Uint8Array).subarray(-length)) + tail;
  return tail.slice(-length);
}

/**
 * Chunks are read when what is there ends like the last one, or, for a last one with trailers (RFC 9112 section 7.1.2), in
 * an empty line. Neither without end, as each reading is of the whole.
 */
function mayBeWhole(state: HttpState, framing: Framing): boolean {
  if (framing.kind !== "chunked")
    return framing.kind === "none" || (framing.kind === "length" && state.sizeOctets >= framing.octets);
  const tail = tailOf(state, 7);
  if (/(^|\n)0\r\n\r\n$/.test(tail)) return state.attempts < chunkAttemptLimits.lastChunk;
  return tail.endsWith("\r\n\r\n") && state.attempts < chunkAttemptLimits.emptyLine;
}

/** Reads what is there; a Turn without judgement waits for more. */
function advance(q: HttpQuestion, tools: HttpTools, before: HttpState, closed: boolean): Turn<HttpState> {
  let state = before;
  while (state.head === undefined) {
    const octets = join(state.pieces, state.sizeOctets);
    const end = endOfHead(octets);
    if (end < 0) {
      if (octets.length >= headerLimitOctets)
        return { state, judgement: down("http/malformed", `a header of more than ${headerLimitOctets} octets`) };
      if (!closed) return { state: { ...state, pieces: [octets] } };
      return { state, judgement: down("http/closed", `closed after ${octets.length} octets, before the status`) };
    }
    const head = readHead(latin1(octets.subarray(0, end - 4)), q.method);
    if ("up" in head) return { state, judgement: head };
    const rest = octets.subarray(end);
    const isInterim = head.status < 200; // RFC 9110 section 15.2
    if (isInterim && state.interims >= interimLimit)
      return { state, judgement: down("http/malformed", "too many interim answers") };
    state = {
      pieces: [rest],
      sizeOctets: rest.length,
      interims: state.interims + (isInterim ? 1 : 0),
      attempts: 0,
      head: isInterim ? undefined : head,
    };
  }
  const { status, framing } = state.head;
  if (!q.status.some(({ first, last }) => status >= first && status <= last))
    return { state, judgement: down("http/status", `status ${status}`) };
  if (q.bodyRegex === undefined && q.bodySha256 === undefined) return { state, judgement: up(`status ${status}`) };
  if (!closed && state.sizeOctets <= bodyLimitOctets) {
    if (!mayBeWhole(state, framing)) return { state };
    state = { ...state, attempts: state.attempts + 1 };
  }
  const octets = join(state.pieces, state.sizeOctets);
  const body = bodyOf(octets, framing, closed);
  if (body === undefined) return { state, judgement: down("http/malformed", "the body's chunks cannot be read") };
  if (body.complete) return { state, judgement: judgeBody(q, tools, body.octets, status) };
  if (octets.length > bodyLimitOctets)
    return { state, judgement: down("http/body-too-large", `a body of more than ${bodyLimitOctets} octets`) };
  if (closed) return { state, judgement: down("http/closed", "closed in the middle of the body") };
  return { state };
}

export const httpCheck = (q: HttpQuestion, tools: HttpTools): Checker<HttpState> => ({
  name: "http",
  begin: () => ({
    state: { pieces: [], sizeOctets: 0, interims: 0, attempts: 0, head: undefined },
    effects: [{ kind: "connect", address: q.address, port: q.port, tls: q.tls }],
  }),
  on(state, event) {
    if (event.kind === "connected") return { state, effects: [{ kind: "send", octets: requestOf(q) }] };
    if (event.kind === "failed") return { state, judgement: refused("http", event.error) };
    if (event.kind === "closed") return advance(q, tools, state, true);
    if (event.kind !== "octets" || event.octets.length === 0) return { state };
    const sizeOctets = state.sizeOctets + event.octets.length;
    const next = { ...state, pieces: append(state.pieces, event.octets), sizeOctets };
    // Without a line end in it, a piece cannot end the header.
    if (state.head === undefined && sizeOctets < headerLimitOctets && !event.octets.includes(10))
      return { state: next };
    return advance(q, tools, next, false);
  },
});
