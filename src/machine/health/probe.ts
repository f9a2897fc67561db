/**
 * One attempt of one check, without I/O: the checker says what to send and judges what comes back; this file adds the
 * time limit and sees to it that there is one verdict, and nothing after it.
 */
import type { Ipv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";

export type ProbeEffect =
  | {
      readonly kind: "connect";
      readonly address: Ipv4;
      readonly port: number;
      readonly tls: { readonly sni: string | undefined; readonly verify: boolean } | undefined;
    }
  /** On the stream that was connected. */
  | { readonly kind: "send"; readonly octets: Uint8Array }
  | { readonly kind: "datagram"; readonly address: Ipv4; readonly port: number; readonly octets: Uint8Array }
  /** An ICMP message, checksum filled in. */
  | { readonly kind: "icmp"; readonly address: Ipv4; readonly octets: Uint8Array }
  /** A whole IPv4 packet: in a frame to this MAC, or wherever the route to this address leads. */
  | {
      readonly kind: "packet";
      readonly octets: Uint8Array;
      readonly to: { readonly kind: "mac"; readonly mac: Mac } | { readonly kind: "route"; readonly address: Ipv4 };
    }
  /** An argument list, no shell, as `user`, its output bounded by who runs it. `environment`: beside PATH. */
  | {
      readonly kind: "run";
      readonly command: readonly string[];
      readonly user: string;
      readonly environment: Readonly<Record<string, string>>;
    }
  /** Lets go of whatever this attempt opened: a connection, a socket, a command still running. Always the last effect. */
  | { readonly kind: "release" };

/** Dates of a certificate, and the date now, in milliseconds since 1970. */
export interface Certificate {
  readonly notBeforeEpochMs: number;
  readonly notAfterEpochMs: number;
  readonly nowEpochMs: number;
}

export type ProbeEvent =
  | { readonly kind: "connected"; readonly certificate?: Certificate }
  | { readonly kind: "octets"; readonly octets: Uint8Array }
  | { readonly kind: "closed" }
  /** The kernel or the TLS library refused: "ECONNREFUSED", "CERT_HAS_EXPIRED". `notBegun`: a command that never ran. */
  | { readonly kind: "failed"; readonly error: string; readonly notBegun?: true }
  /** From the address that was asked. */
  | { readonly kind: "datagram"; readonly octets: Uint8Array }
  | { readonly kind: "icmp"; readonly octets: Uint8Array }
  /** Any IPv4 packet that a packet socket saw: most are not ours. `from` is the frame's source. */
  | { readonly kind: "packet"; readonly octets: Uint8Array; readonly from?: Mac }
  | { readonly kind: "exited"; readonly status: number | undefined; readonly signal?: string; readonly output?: string }
  | { readonly kind: "tick" };

/** `code` is stable, "check/what", made to be counted by; `why` is one sentence and may be reworded. */
export type Judgement =
  | { readonly up: true; readonly why: string }
  | { readonly up: false; readonly code: string; readonly why: string };
export type Verdict = Judgement & { readonly tookMs: number };

export const up = (why: string): Judgement => ({ up: true, why });
export const down = (code: string, why: string): Judgement => ({ up: false, code, why });

export interface Turn<S> {
  readonly state: S;
  readonly effects?: readonly ProbeEffect[];
  readonly judgement?: Judgement;
}
/** The part that differs between checks. Never throws, whatever the event holds. */
export interface Checker<S> {
  readonly name: string;
  /** `nonce`: 32 random bits, for ports, sequence numbers and ids that nobody can guess. */
  begin(nonce: number): Turn<S>;
  on(state: S, event: Exclude<ProbeEvent, { kind: "tick" }>): Turn<S>;
  /** What silence until the limit means; left out: down, with `name/timeout`. */
  timeout?(state: S): Judgement;
}

export interface Probe<S> {
  readonly checker: Checker<S>;
  readonly state: S;
  readonly startedAtMs: number;
  readonly deadlineMs: number;
  readonly verdict: Verdict | undefined;
}
export interface ProbeStep<S> {
  readonly probe: Probe<S>;
  readonly effects: readonly ProbeEffect[];
}

function take<S>(
  checker: Checker<S>,
  { state, effects = none, judgement }: Turn<S>,
  startedAtMs: number,
  deadlineMs: number,
  nowMs: number,
): ProbeStep<S> {
  if (judgement === undefined)
    return { probe: { checker, state, startedAtMs, deadlineMs, verdict: undefined }, effects };
  const verdict = verdictOf(judgement, Math.max(0, nowMs - startedAtMs));
  const last = effects.length === 0 ? release : [...effects, ...release];
  return { probe: { checker, state, startedAtMs, deadlineMs, verdict }, effects: last };
}
const release: readonly ProbeEffect[] = [{ kind: "release" }];
const none: readonly ProbeEffect[] = [];
// field by field: a spread costs several times as much, and explorations take millions of verdicts
const verdictOf = (j: Judgement, tookMs: number): Verdict =>
  j.up ? { up: true, why: j.why, tookMs } : { up: false, code: j.code, why: j.why, tookMs };

export function startProbe<S>(checker: Checker<S>, timeoutMs: number, nonce: number, nowMs: number): ProbeStep<S> {
  return take(checker, checker.begin(nonce >>> 0), nowMs, nowMs + timeoutMs, nowMs);
}

/** Infinity once there is a verdict. */
export const probeDeadlineMs = <S>(probe: Probe<S>): number =>
  probe.verdict === undefined ? probe.deadlineMs : Number.POSITIVE_INFINITY;

/** After the verdict nothing is asked for any more, whatever comes. */
export function stepProbe<S>(probe: Probe<S>, event: ProbeEvent, nowMs: number): ProbeStep<S> {
  if (probe.verdict !== undefined) return { probe, effects: none };
  const { checker, state, startedAtMs, deadlineMs } = probe;
  // The limit holds also against one who keeps talking.
  if (nowMs >= deadlineMs) {
    const limit = deadlineMs - startedAtMs;
    const late = checker.timeout?.(state) ?? down(`${checker.name}/timeout`, `no answer within ${limit} ms`);
    return take(checker, { state, judgement: late }, startedAtMs, deadlineMs, nowMs);
  }
  if (event.kind === "tick") return { probe, effects: none };
  return take(checker, checker.on(state, event), startedAtMs, deadlineMs, nowMs);
}

/** The check by its name, for a failed attempt to connect. */
export const refused = (name: string, error: string): Judgement =>
  error === "ECONNREFUSED"
    ? down(`${name}/refused`, "the connection was refused: nothing listens on the port")
    : down(`${name}/error`, `the connection failed: ${error.slice(0, 100)}`);
