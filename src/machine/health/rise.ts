/** From single verdicts to a standing: so many good ones in a row to rise, so many bad ones to fall, and a slow start. */
export interface RiseConfig {
  readonly rise: number;
  readonly fall: number;
  /** After a rise the weight grows over this time; 0: at once. */
  readonly slowStartMs: number;
}
export interface Standing {
  /** "unknown": not checked yet. The first verdict decides, so that a start takes one check and not `rise`. */
  readonly kind: "unknown" | "up" | "down";
  /** Verdicts in a row against the standing. */
  readonly against: number;
  readonly sinceMs: number;
  /** When a slow start began; undefined: the whole weight. */
  readonly risingSinceMs: number | undefined;
}
export const unknownStanding: Standing = { kind: "unknown", against: 0, sinceMs: 0, risingSinceMs: undefined };

export function stepRise(c: RiseConfig, s: Standing, up: boolean, nowMs: number): Standing {
  const kind = up ? "up" : "down";
  if (s.kind === "unknown") return { kind, against: 0, sinceMs: nowMs, risingSinceMs: undefined };
  if (s.kind === kind) return s.against === 0 ? s : { ...s, against: 0 };
  const against = s.against + 1;
  if (against < (up ? c.rise : c.fall)) return { ...s, against };
  return { kind, against: 0, sinceMs: nowMs, risingSinceMs: up && c.slowStartMs > 0 ? nowMs : undefined };
}

/** A slow start in ten steps: each is a change of the table, and ten are smooth enough. */
const steps = 10;

/** The weight now: at least 1 while it rises, 0 when it is down or unknown. */
export function weightOf(c: RiseConfig, s: Standing, weight: number, nowMs: number): number {
  if (s.kind !== "up" || weight === 0) return 0;
  const passed =
    s.risingSinceMs === undefined ? steps : Math.floor(((nowMs - s.risingSinceMs) * steps) / c.slowStartMs);
  if (passed >= steps || passed < 0) return weight;
  return Math.max(1, Math.floor((weight * (passed + 1)) / (steps + 1)));
}

/** When the weight changes by itself; Infinity: not. */
export function riseDeadlineMs(c: RiseConfig, s: Standing, nowMs: number): number {
  if (s.kind !== "up" || s.risingSinceMs === undefined) return Number.POSITIVE_INFINITY;
  const step = Math.floor(((nowMs - s.risingSinceMs) * steps) / c.slowStartMs) + 1;
  return step > steps ? Number.POSITIVE_INFINITY : s.risingSinceMs + (step * c.slowStartMs) / steps;
}

/** Several checks of one server: up when all are; unknown while none is down and one is unknown. */
export function combine(standings: readonly Standing[]): Standing["kind"] {
  if (standings.some((s) => s.kind === "down")) return "down";
  return standings.some((s) => s.kind === "unknown") ? "unknown" : "up";
}
