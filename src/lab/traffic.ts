export interface TrafficTarget {
  /** Dotted quad. */
  readonly vip: string;
  readonly port: number;
}

/** Traffic of many clients against virtual services, and what became of each connection. Units: milliseconds. */
export interface TrafficPlan {
  /** Dotted quads: the client's addresses, used in turn, so that schedulers by source address see many clients. */
  readonly from: readonly string[];
  /** Virtual services, used in turn. */
  readonly targets: readonly TrafficTarget[];
  /** Connections held open over the whole run, each asking again and again. */
  readonly longLived: number;
  /** Connections that ask once and end, started evenly over the run. */
  readonly shortLived: number;
  readonly durationMs: number;
  /** Pause between two requests of a long-lived connection. */
  readonly pauseMs: number;
  /** No answer for so long counts as a hang. */
  readonly patienceMs: number;
}

/** What the client itself saw. `refused`: no connection came about; `reset` and `hang`: it broke in the middle. */
export type Outcome = "completed" | "refused" | "reset" | "hang";

export interface ConnectionResult {
  readonly kind: "long" | "short";
  readonly target: TrafficTarget;
  /** "10.10.0.200:40112"; port 0 when no connection came about. */
  readonly source: string;
  readonly outcome: Outcome;
  readonly answers: number;
  /** Of the answers, those with an error's status. */
  readonly errors: number;
  /** Who answered, in order, without repeats in a row. */
  readonly servedBy: readonly string[];
}

export interface TrafficResult {
  readonly connections: readonly ConnectionResult[];
  readonly tookMs: number;
}

/** By the status of an HTTP answer: 400 and up (RFC 9110 section 15). */
export const isError = (answer: string): boolean => /^HTTP\/1\.1 [45]/.test(answer);
