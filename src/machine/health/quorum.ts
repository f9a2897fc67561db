/** Does a service still have enough servers? With a margin on both sides, so that it does not flap at the edge. */
export interface QuorumConfig {
  /** Servers in service. */
  readonly minimum: number;
  readonly hysteresis: number;
}
export interface QuorumState {
  readonly kind: "unknown" | "held" | "lost";
  readonly sinceMs: number;
}
export const unknownQuorum: QuorumState = { kind: "unknown", sinceMs: 0 };

/** Lost below minimum - hysteresis, won at minimum + hysteresis; the first count decides by the minimum alone. */
export function stepQuorum(
  c: QuorumConfig,
  s: QuorumState,
  inService: number,
  total: number,
  nowMs: number,
): QuorumState {
  const decide = (): QuorumState["kind"] => {
    if (s.kind === "unknown") return inService >= c.minimum ? "held" : "lost";
    // More than there are cannot be asked for; fewer than one cannot be enough.
    if (s.kind === "lost") return inService >= Math.max(1, Math.min(total, c.minimum + c.hysteresis)) ? "held" : "lost";
    return inService < Math.max(1, c.minimum - c.hysteresis) ? "lost" : "held";
  };
  const kind = decide();
  return kind === s.kind ? s : { kind, sinceMs: nowMs };
}
