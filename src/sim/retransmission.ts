/**
 * When one end of a connection sends again: round trips measured as Linux measures them, the timeout that follows from
 * them, the tail loss probe, and when it gives up. Whole microseconds; the caller keeps the clock.
 * Source: RFC 6298, RFC 8985 section 7, RFC 2883; net/ipv4/tcp_input.c (tcp_rtt_estimator, tcp_process_tlp_ack),
 * tcp_output.c (tcp_schedule_loss_probe, tcp_send_loss_probe), tcp_timer.c (tcp_retransmit_timer, tcp_write_timeout).
 * Left out: timers fire up to an eighth late since 4.8, whose wheel has no finer steps for what is far (kernel/time/timer.c);
 * what is remembered of earlier connections to the same address (tcp_metrics.c).
 */
import type { Switches } from "../model/switches.ts";

/** TCP_RTO_MIN: Linux's floor, of the variance and not of the sum. */
const shortestRtoUs = 200_000;
/** TCP_RTO_MAX. */
const longestRtoUs = 120_000_000;
/** RFC 6298 section 5.7 (TCP_TIMEOUT_FALLBACK): a handshake that measured nothing. */
const unmeasuredRtoUs = 3_000_000;
/** Times are whole jiffies, rounded up: 250 of them a second, as distributions have it. */
const jiffyUs = 4_000;
const inJiffies = (us: number): number => Math.ceil(us / jiffyUs) * jiffyUs;
/** TCP_TIMEOUT_MIN. */
const shortestProbeUs = 2 * jiffyUs;

/** tcp_synack_retries. */
const synAckTries = 5;
/** tcp_retries2, and tcp_orphan_retries for what the program has closed. */
const mostTries = { open: 15, orphan: 8, hopeless: 0 };

/** What so many timeouts in a row take, and the first, if that is the shortest one: tcp_model_timeout. 15: 924.6 s. */
function hypotheticalUs(tries: number): number {
  let us = shortestRtoUs;
  for (let again = 0, rtoUs = shortestRtoUs; again < tries; again++) {
    rtoUs = Math.min(longestRtoUs, 2 * rtoUs);
    us += rtoUs;
  }
  return us;
}
const mostUs = {
  open: hypotheticalUs(mostTries.open),
  orphan: hypotheticalUs(mostTries.orphan),
  hopeless: hypotheticalUs(mostTries.hopeless),
};

/** What differs between kernels. */
export interface TcpKernel {
  /** Timestamps and SACK. */
  readonly stamps: boolean;
  readonly firstRtoUs: number;
  /** A SYN again: so often a first timeout apart, and then so often ever later. */
  readonly synLinear: number;
  readonly synTries: number;
  readonly givesUp: Switches["tcpGivesUp"];
  readonly probe: Switches["tailLossProbe"];
}

export function tcpKernel(switches: Switches): TcpKernel {
  const [linear, tries] = { "10": [0, 10], "5": [0, 5], "6": [0, 6], "4 + 6": [4, 6] }[switches.tcpSynTries] as [
    number,
    number,
  ];
  return {
    stamps: switches.tcpStamps,
    firstRtoUs: switches.tcpFirstTimeout === "3 s" ? 3_000_000 : 1_000_000,
    synLinear: linear,
    synTries: tries,
    givesUp: switches.tcpGivesUp,
    probe: switches.tailLossProbe,
  };
}

/** Whose timer it is: that of a SYN, of the answer to one, of a connection, of one that its program has closed. */
export type Stage = "syn" | "syn-ack" | "open" | "orphan";

/** The sequence number after. */
const isAfter = (a: number, b: number): boolean => ((a - b) | 0) > 0;

export class Retransmission {
  readonly #kernel: TcpKernel;
  rtoUs: number;
  /** Timeouts since something was acknowledged, and when the first segment was sent again. */
  #timeouts = 0;
  #firstAgainUs = 0;
  /** Smoothed round trip; 0: none measured. The three others are four deviations, as in the formula. */
  #srttUs = 0;
  #deviationUs = 0;
  #worstUs = 0;
  #varianceUs = 0;
  /** What was sent by then is acknowledged: a round of measurements is over. */
  #roundEnd = 0;
  /** A probe is on its way that ends there. At most one, until more than that is acknowledged, or it came twice. */
  #probedTo: number | undefined;
  /** After a timeout: what was on its way then, and how far of it was sent again. */
  #lostTo: number | undefined;
  #againTo = 0;

  constructor(kernel: TcpKernel) {
    this.#kernel = kernel;
    this.rtoUs = kernel.firstRtoUs;
  }

  /** A valid measurement: it ends the backing off, too. `unacknowledged` and `next` as they are after the segment. */
  measured(us: number, unacknowledged: number, next: number): void {
    if (this.#srttUs === 0) {
      this.#srttUs = Math.max(us, 1);
      this.#deviationUs = 2 * us;
      this.#varianceUs = Math.max(this.#deviationUs, shortestRtoUs);
      this.#worstUs = this.#varianceUs;
      this.#roundEnd = next;
    } else this.#again(us, unacknowledged, next);
    this.rtoUs = Math.min(longestRtoUs, inJiffies(this.#srttUs + this.#varianceUs));
  }

  #again(us: number, unacknowledged: number, next: number): void {
    const error = us - this.#srttUs;
    this.#srttUs = Math.max(1, this.#srttUs + error / 8);
    const more = Math.abs(error) - this.#deviationUs / 4;
    // a round trip that became shorter is no reason to wait longer
    this.#deviationUs += error < 0 && more > 0 ? more / 8 : more;
    this.#worstUs = Math.max(this.#worstUs, this.#deviationUs);
    this.#varianceUs = Math.max(this.#varianceUs, this.#worstUs);
    if (!isAfter(unacknowledged, this.#roundEnd)) return;
    this.#varianceUs -= Math.max(0, this.#varianceUs - this.#worstUs) / 4;
    this.#roundEnd = next;
    this.#worstUs = shortestRtoUs;
  }

  /** The handshake is over. */
  connected(): void {
    if (this.#srttUs !== 0) return;
    this.#deviationUs = unmeasuredRtoUs;
    this.#varianceUs = unmeasuredRtoUs;
    this.#worstUs = unmeasuredRtoUs;
    this.rtoUs = unmeasuredRtoUs;
  }

  /** Something was acknowledged. `cameTwice`: with a D-SACK. */
  advanced(acknowledgment: number, cameTwice: boolean): void {
    this.#timeouts = 0;
    if (this.#lostTo !== undefined && !isAfter(this.#lostTo, acknowledgment)) this.#lostTo = undefined;
    if (this.#probedTo === undefined || isAfter(this.#probedTo, acknowledgment)) return;
    if (cameTwice || isAfter(acknowledgment, this.#probedTo)) this.#probedTo = undefined;
  }
  /** An acknowledgement that says nothing new: original and probe came both. */
  repeated(acknowledgment: number): void {
    if (acknowledgment === this.#probedTo) this.#probedTo = undefined;
  }

  /** How long to wait for a probe of what was sent now; undefined: no probe, a timeout. `leftUs` until that. */
  probeUs(segments: number, stamps: boolean, leftUs: number): number | undefined {
    const { probe } = this.#kernel;
    if (probe === "none" || !stamps || this.#lostTo !== undefined || this.#srttUs === 0) return undefined;
    const two = 2 * this.#srttUs;
    // a single segment's acknowledgement may be delayed by the other end
    const single = probe === "2 round trips" ? two + shortestRtoUs : Math.max(two, 1.5 * this.#srttUs + shortestRtoUs);
    const us = segments === 1 ? single : two + shortestProbeUs;
    return leftUs > 0 ? Math.min(inJiffies(us), leftUs) : inJiffies(us);
  }

  /** The probe's time has come; false: there is one on its way, and only the timeout is left. */
  probes(next: number): boolean {
    if (this.#probedTo !== undefined) return false;
    this.#probedTo = next;
    return true;
  }

  /** True: nobody has acknowledged anything for too long. */
  givesUp(stage: Stage, nowUs: number): boolean {
    const { synLinear, synTries, givesUp } = this.#kernel;
    if (stage === "syn") return this.#timeouts >= synLinear + synTries;
    if (stage === "syn-ack") return this.#timeouts >= synAckTries;
    // what was closed, and has waited for the longest timeout already, waits for no other
    const kind = stage === "open" || this.rtoUs < longestRtoUs ? stage : "hopeless";
    if (givesUp === "by count") return this.#timeouts >= mostTries[kind];
    return this.#timeouts > 0 && nowUs - this.#firstAgainUs >= mostUs[kind];
  }

  /** The first segment is sent again, which ends at `end`; what else was sent, up to `next`, waits for its acknowledgement. */
  timedOut(stage: Stage, nowUs: number, end: number, next: number): void {
    if (this.#timeouts++ === 0) this.#firstAgainUs = nowUs;
    this.#probedTo = undefined;
    this.#lostTo = next;
    this.#againTo = end;
    if (stage !== "syn" || this.#timeouts > this.#kernel.synLinear) this.rtoUs = Math.min(longestRtoUs, 2 * this.rtoUs);
  }

  /** After a timeout each acknowledgement lets two more segments go; true: the one that ends there is one of them. */
  goesAgain(end: number): boolean {
    if (this.#lostTo === undefined || isAfter(end, this.#lostTo) || !isAfter(end, this.#againTo)) return false;
    this.#againTo = end;
    return true;
  }
}
