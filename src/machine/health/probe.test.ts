import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import "../../testing/seed.ts";
import { ipv4 } from "../../base/ipv4.ts";
import { decodeIcmp, encodeIcmp } from "../../wire/icmp.ts";
import { fromHex, toHex } from "../../wire/octets.ts";
import { icmpCheck, udpCheck } from "./datagram.ts";
import { type DnsQuestion, dnsCheck, readName } from "./dns.ts";
import { execCheck } from "./exec.ts";
import { bodyLimitOctets, type HttpQuestion, headerLimitOctets, httpCheck } from "./http.ts";
import {
  type Checker,
  type Probe,
  type ProbeEffect,
  type ProbeEvent,
  probeDeadlineMs,
  startProbe,
  stepProbe,
  type Verdict,
} from "./probe.ts";
import { tcpCheck } from "./tcp.ts";
import { judgeCertificate, tlsCheck } from "./tls.ts";

const address = ipv4("10.0.0.11");
const nonce = 0x1234abcd;

/** Gives the events one millisecond apart; then lets the limit pass if `untilLimit`. */
class Attempt<S> {
  probe: Probe<S>;
  effects: ProbeEffect[] = [];
  nowMs = 0;
  constructor(checker: Checker<S>) {
    const step = startProbe(checker, 1000, nonce, 0);
    this.probe = step.probe;
    this.effects.push(...step.effects);
  }
  give(...events: ProbeEvent[]): this {
    for (const event of events) this.at(this.nowMs + 1, event);
    return this;
  }
  at(nowMs: number, event: ProbeEvent): this {
    this.nowMs = nowMs;
    const step = stepProbe(this.probe, event, nowMs);
    this.probe = step.probe;
    this.effects.push(...step.effects);
    return this;
  }
  get verdict(): Verdict | undefined {
    return this.probe.verdict;
  }
  /** "up", the code, or "none yet". */
  get said(): string {
    const { verdict } = this;
    return verdict === undefined ? "none yet" : verdict.up ? "up" : verdict.code;
  }
}
const text = (s: string): Uint8Array => new TextEncoder().encode(s);
const octets = (s: string): ProbeEvent => ({ kind: "octets", octets: text(s) });
const connected: ProbeEvent = { kind: "connected" };
const closed: ProbeEvent = { kind: "closed" };
const failed = (error: string): ProbeEvent => ({ kind: "failed", error });

test("one verdict, then release, then nothing more; the time it took is told", () => {
  const one = new Attempt(tcpCheck({ address, port: 80 })).at(7, connected);
  assert.equal(one.verdict?.tookMs, 7);
  assert.deepEqual(
    one.effects.map((e) => e.kind),
    ["connect", "release"],
  );
  assert.equal(probeDeadlineMs(one.probe), Number.POSITIVE_INFINITY);
  one.give(connected, closed).at(5000, { kind: "tick" });
  assert.equal(one.effects.length, 2);
  assert.equal(one.said, "up");
});

test("silence until the limit is down, and so is a server that talks past it", () => {
  assert.equal(new Attempt(tcpCheck({ address, port: 80 })).at(999, { kind: "tick" }).said, "none yet");
  assert.equal(new Attempt(tcpCheck({ address, port: 80 })).at(1000, { kind: "tick" }).said, "tcp/timeout");
  assert.equal(new Attempt(tcpCheck({ address, port: 80 })).at(1001, connected).said, "tcp/timeout");
});

test("tcp: refused, unreachable and closed are told apart", () => {
  const said = (event: ProbeEvent): string => new Attempt(tcpCheck({ address, port: 80 })).give(event).said;
  assert.equal(said(failed("ECONNREFUSED")), "tcp/refused");
  assert.equal(said(failed("EHOSTUNREACH")), "tcp/error");
  assert.equal(said(closed), "tcp/closed");
});

test("tls: the certificate's dates are judged by the date given", () => {
  const day = 86_400_000;
  const at = (nowDays: number, from = 0, until = 90): string => {
    const certificate = { notBeforeEpochMs: from * day, notAfterEpochMs: until * day, nowEpochMs: nowDays * day };
    const judged = judgeCertificate(certificate, 7);
    return judged.up ? "up" : judged.code;
  };
  assert.equal(at(83), "up");
  assert.equal(at(83.01), "tls/expires-soon");
  assert.equal(at(90.01), "tls/expired");
  assert.equal(at(-0.01), "tls/not-yet-valid");
  assert.equal(at(Number.NaN, Number.NaN), "tls/certificate");
  const question = { address, port: 443, sni: "a.example", verify: true, minimumDaysLeft: 7 };
  assert.equal(new Attempt(tlsCheck(question)).give(connected).said, "tls/certificate");
  assert.equal(new Attempt(tlsCheck(question)).give(failed("CERT_HAS_EXPIRED")).said, "tls/error");
});

const question: HttpQuestion = {
  address,
  port: 80,
  path: "/",
  method: "GET",
  host: undefined,
  status: [{ first: 200, last: 299 }],
  bodyRegex: undefined,
  bodySha256: undefined,
  tls: undefined,
};
const sha256 = (o: Uint8Array): string => createHash("sha256").update(o).digest("hex");
const matches = (pattern: string, text: string): boolean => new RegExp(pattern).test(text);
const http = (change: Partial<HttpQuestion> = {}): Attempt<unknown> =>
  new Attempt(httpCheck({ ...question, ...change }, { sha256, matches }) as Checker<unknown>);
const sentBy = (one: Attempt<unknown>): string =>
  one.effects.map((e) => (e.kind === "send" ? new TextDecoder().decode(e.octets) : "")).join("");

test("http: the request names the virtual host, and no path can end its line", () => {
  assert.match(sentBy(http().give(connected)), /^GET \/ HTTP\/1\.1\r\nHost: 10\.0\.0\.11\r\n.*\r\n\r\n$/s);
  assert.match(sentBy(http({ host: "www.example", port: 8080 }).give(connected)), /\r\nHost: www\.example:8080\r\n/);
  assert.match(
    sentBy(http({ port: 443, tls: { sni: undefined, verify: false } }).give(connected)),
    /Host: 10\.0\.0\.11\r/,
  );
  const evil = sentBy(http({ path: "/a b\r\nX: y\u00e9", host: "h\r\nX: y" }).give(connected));
  assert.match(evil, /^GET \/a%20b%0d%0aX:%20y%c3%a9 HTTP/);
  assert.equal(evil.split("\r\n").length, 7, "request, host, agent, accept, connection, and the empty line");
});

const ok = "HTTP/1.1 200 OK\r\n";
test("http: status, and what is no answer", () => {
  const said = (answer: string, change: Partial<HttpQuestion> = {}): string =>
    http(change).give(connected, octets(answer)).said;
  assert.equal(said(`${ok}\r\n`), "up");
  assert.equal(said("HTTP/1.1 204 No Content\r\n\r\n"), "up");
  assert.equal(said("HTTP/1.0 503 Busy\r\n\r\n"), "http/status");
  assert.equal(said("HTTP/1.0 503\r\n\r\n", { status: [{ first: 503, last: 503 }] }), "up");
  assert.equal(said("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), "up");
  assert.equal(said("HTTP/1.1 100 Continue\r\n\r\n".repeat(20)), "http/malformed");
  assert.equal(said("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "http/malformed");
  assert.equal(said("HTTP/1.1 2000 OK\r\n\r\n"), "http/malformed");
  assert.equal(said(`${ok}Content-Length: 1, 2\r\n\r\n`), "http/malformed");
  assert.equal(said(ok), "none yet");
  assert.equal(http().give(connected, octets(ok), closed).said, "http/closed");
  assert.equal(http().give(failed("ECONNREFUSED")).said, "http/refused");
});

test("http: the body by expression and by digest, in each way that a body can end", () => {
  const bodies: readonly (readonly [string, boolean])[] = [
    ["Content-Length: 5\r\n\r\nhello, and what does not belong to it", false],
    ["Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", false],
    ["\r\nhello", true],
  ];
  for (const [body, close] of bodies) {
    const said = (change: Partial<HttpQuestion>): string =>
      http(change).give(connected, octets(ok + body), ...(close ? [closed] : [])).said;
    assert.equal(said({ bodyRegex: "^hello$" }), "up", body);
    assert.equal(said({ bodyRegex: "^hell$" }), "http/body", body);
    assert.equal(said({ bodySha256: sha256(text("hello")) }), "up", body);
    assert.equal(said({ bodySha256: sha256(text("hell")) }), "http/digest", body);
  }
  const regex = { bodyRegex: "x" };
  assert.equal(http(regex).give(connected, octets(`${ok}\r\nx`)).said, "none yet", "only the close ends it");
  assert.equal(http(regex).give(connected, octets(`${ok}Content-Length: 2\r\n\r\nx`), closed).said, "http/closed");
  const chunked = `${ok}Transfer-Encoding: chunked\r\n\r\n`;
  assert.equal(http(regex).give(connected, octets(`${chunked}zz\r\n\r\n`)).said, "http/malformed");
  assert.equal(http(regex).give(connected, octets(`${chunked}1\r\nx`), closed).said, "http/closed");
  assert.equal(
    http({ ...regex, method: "HEAD" }).give(connected, octets(`${ok}Content-Length: 9\r\n\r\n`)).said,
    "http/body",
  );
});

test("http: an answer in pieces of any size is judged as in one", () => {
  const answers = fc.constantFrom(
    `${ok}Content-Length: 5\r\n\r\nhello`,
    `HTTP/1.1 103 Early Hints\r\n\r\n${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n6\r\nhe\n\r\nl\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n`,
  );
  fc.assert(
    fc.property(answers, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (answer, sizes) => {
      const whole = http({ bodyRegex: "^hello$" }).give(connected, octets(answer), closed).said;
      const one = http({ bodyRegex: "^hello$" }).give(connected);
      for (let at = 0, i = 0; at < answer.length; at += sizes[i++ % sizes.length] as number)
        one.give(octets(answer.slice(at, at + (sizes[i % sizes.length] as number))));
      assert.equal(one.give(closed).said, whole);
    }),
  );
});

test("http: headers and bodies without end are cut off, octet by octet as well, in little time", () => {
  const flood = (piece: string, times: number, start = ""): string => {
    const one = http({ bodyRegex: "never" }).give(connected, octets(start));
    const event = octets(piece);
    for (let i = 0; i < times && one.verdict === undefined; i++) one.at(5, event);
    return one.said;
  };
  assert.equal(flood("a", headerLimitOctets), "http/malformed");
  assert.equal(flood("X: y\r\n", headerLimitOctets / 6 + 1, ok), "http/malformed");
  assert.equal(flood("a".repeat(16), bodyLimitOctets / 16 + 1, `${ok}\r\n`), "http/body-too-large");
  const chunked = `${ok}Transfer-Encoding: chunked\r\n\r\n`;
  // Many small chunks of whole lines, from a server that then keeps the connection open.
  const lines = http({ bodyRegex: "hello$" }).give(connected, octets(chunked));
  for (let i = 0; i < 200; i++) lines.give(octets("6\r\nline\r\n\r\n"));
  assert.equal(lines.give(octets("5\r\nhello\r\n0\r\n"), octets("\r\n")).said, "up");
  assert.equal(flood("1\r\na\r\n", bodyLimitOctets / 6 + 1, chunked), "http/body-too-large");
});

test("http: no octets make it throw", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string().map(text), fc.uint8Array({ maxLength: 40 })), { maxLength: 6 }),
      (pieces) => {
        for (const start of ["", ok, `${ok}Transfer-Encoding: chunked\r\n\r\n`]) {
          const one = http({ bodyRegex: "x" }).give(connected, octets(start));
          for (const piece of pieces) one.give({ kind: "octets", octets: piece });
          assert.notEqual(one.give(closed).said, "none yet");
        }
      },
    ),
  );
});

const dnsQuestion: DnsQuestion = { address, port: 53, name: "www.example.", recordType: "A", expect: undefined };
const hex = (s: string): Uint8Array => fromHex(s) as Uint8Array;
/** An answer to `dnsQuestion`: 10.0.0.100, with a pointer to the question's name. */
const dnsAnswer =
  "abcd 8180 0001 0001 0000 0000 0377777707657861 6d706c6500 0001 0001 c00c 0001 0001 0000003c 0004 0a000064";
const dns = (change: Partial<DnsQuestion>, answer: string): string =>
  new Attempt(dnsCheck({ ...dnsQuestion, ...change })).give({ kind: "datagram", octets: hex(answer) }).said;

test("dns: the question is as RFC 1035 has it, with an id from the nonce", () => {
  const [effect] = new Attempt(dnsCheck(dnsQuestion)).effects;
  assert.ok(effect?.kind === "datagram");
  assert.equal(toHex(effect.octets), "abcd010000010000000000000377777707657861 6d706c650000010001".replace(" ", ""));
  const root = new Attempt(dnsCheck({ ...dnsQuestion, name: ".", recordType: "SOA" })).effects[0];
  assert.ok(root?.kind === "datagram");
  assert.equal(toHex(root.octets).slice(24), "0000060001");
  assert.equal(new Attempt(dnsCheck({ ...dnsQuestion, name: "a..b" })).said, "dns/name");
  assert.equal(new Attempt(dnsCheck({ ...dnsQuestion, name: `${"a".repeat(64)}.b` })).said, "dns/name");
});

test("dns: the code, the expected answer, and answers to others", () => {
  assert.equal(dns({}, dnsAnswer), "up");
  assert.equal(dns({ expect: "10.0.0.100" }, dnsAnswer), "up");
  assert.equal(dns({ expect: "10.0.0.101" }, dnsAnswer), "dns/answer");
  assert.equal(dns({ recordType: "AAAA", expect: "::1" }, dnsAnswer), "dns/answer");
  assert.equal(dns({}, dnsAnswer.replace("8180", "8182")), "dns/rcode");
  assert.equal(dns({}, dnsAnswer.replace("abcd", "abce")), "none yet");
  assert.equal(dns({}, dnsAnswer.replace("8180", "0100")), "none yet", "a question is no answer");
  assert.equal(dns({ expect: "10.0.0.100" }, dnsAnswer.slice(0, -4)), "dns/malformed");
  const rest = "c00c 000f 0001 0000003c 0009 000a 046d61696c c00c";
  const mail = dnsAnswer.replace(/c00c.*/, rest);
  assert.equal(dns({ recordType: "MX", expect: "Mail.WWW.example." }, mail), "up");
});

test("dns: pointers cannot go round, and no octets make it throw", () => {
  assert.equal(readName(hex("c000"), 0), undefined);
  assert.equal(readName(hex("0161c000"), 0), undefined);
  assert.equal(readName(hex("0161 00 0162 c000"), 3)?.text, "b.a");
  const damage = fc.array(fc.tuple(fc.integer({ min: 2, max: 60 }), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(damage, fc.nat(60), (changes, cut) => {
      const answer = hex(dnsAnswer);
      for (const [at, value] of changes) if (at < answer.length) answer[at] = value;
      for (const recordType of ["A", "MX", "TXT", "SOA"] as const)
        new Attempt(dnsCheck({ ...dnsQuestion, recordType, expect: "x" })).give({
          kind: "datagram",
          octets: answer.subarray(0, cut),
        });
    }),
    { numRuns: 500 },
  );
});

test("udp: silence is up unless an answer is required; a closed port is down", () => {
  const udp = (requireReply: boolean): Attempt<null> =>
    new Attempt(udpCheck({ address, port: 514, payload: new Uint8Array(2), requireReply }));
  assert.equal(udp(false).at(1000, { kind: "tick" }).said, "up");
  assert.equal(udp(true).at(1000, { kind: "tick" }).said, "udp/timeout");
  assert.equal(udp(true).give({ kind: "datagram", octets: new Uint8Array(0) }).said, "up");
  assert.equal(udp(false).give(failed("ECONNREFUSED")).said, "udp/refused");
});

test("icmp: only the answer to this attempt's echo counts", () => {
  const one = new Attempt(icmpCheck({ address }));
  const [effect] = one.effects;
  assert.ok(effect?.kind === "icmp");
  const asked = decodeIcmp(effect.octets);
  assert.ok(asked.ok && asked.value.message.kind === "echo-request");
  const { id, sequence } = asked.value.message;
  assert.deepEqual([id, sequence], [0x1234, 0xabcd]);
  const reply = (n: number): ProbeEvent => ({
    kind: "icmp",
    octets: encodeIcmp({ kind: "echo-reply", id, sequence: n }),
  });
  assert.equal(one.give(reply(1), { kind: "icmp", octets: effect.octets }).said, "none yet");
  assert.equal(one.give(reply(sequence)).said, "up");
});

test("exec: status, signal, time limit", () => {
  const exec = (): Attempt<null> => new Attempt(execCheck({ command: ["/bin/true"], user: "nobody", environment: {} }));
  assert.equal(exec().give({ kind: "exited", status: 0 }).said, "up");
  assert.equal(exec().give({ kind: "exited", status: 3, output: "no\nmore" }).said, "exec/status");
  assert.equal(exec().give({ kind: "exited", status: undefined, signal: "SIGSEGV" }).said, "exec/signal");
  assert.equal(exec().give(failed("ENOENT")).said, "exec/error");
  const hung = exec().at(1000, { kind: "tick" });
  assert.deepEqual([hung.said, hung.effects.at(-1)?.kind], ["exec/timeout", "release"]);
});
