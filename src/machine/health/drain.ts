/** A server leaves: weight 0, so that nobody new comes, until its connections ended or the time has passed. */
export type Drain =
  | { readonly kind: "none" }
  | { readonly kind: "draining"; readonly sinceMs: number; readonly untilMs: number; readonly reason: string }
  | { readonly kind: "drained"; readonly sinceMs: number; readonly why: "empty" | "time"; readonly reason: string };
export const noDrain: Drain = { kind: "none" };

export type DrainEvent =
  /** Again, while it drains: only the time changes, and it counts from now. */
  | { readonly kind: "drain"; readonly timeoutMs: number; readonly reason: string }
  | { readonly kind: "undrain" }
  /** As read from the kernel, active and inactive together; younger than the weight 0. */
  | { readonly kind: "connections"; readonly count: number }
  | { readonly kind: "tick" };

export function stepDrain(s: Drain, e: DrainEvent, nowMs: number): Drain {
  if (e.kind === "undrain") return noDrain;
  if (e.kind === "drain") {
    if (s.kind === "drained") return s;
    const { sinceMs, reason } = s.kind === "draining" ? s : { sinceMs: nowMs, reason: e.reason };
    return { kind: "draining", sinceMs, untilMs: nowMs + e.timeoutMs, reason };
  }
  if (s.kind !== "draining") return s;
  if (e.kind === "connections" && e.count === 0)
    return { kind: "drained", sinceMs: nowMs, why: "empty", reason: s.reason };
  return nowMs >= s.untilMs ? { kind: "drained", sinceMs: nowMs, why: "time", reason: s.reason } : s;
}

export const drainDeadlineMs = (s: Drain): number => (s.kind === "draining" ? s.untilMs : Number.POSITIVE_INFINITY);
