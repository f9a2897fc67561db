/**
 * A broken checker must not empty a service. When more than a set share of a service's servers fail within a short
 * time, those up to the limit go, the rest stay in as they were, and the alarm is raised. Servers that fail slowly, one
 * after the other, are not held. One server may always go: a service of one has nothing to lose by it.
 */
export interface KillSwitchConfig {
  readonly sharePercent: number;
  readonly withinMs: number;
}
export interface KillSwitchState {
  /** Failing and out of service. */
  readonly out: ReadonlySet<string>;
  /** Failing and still in. */
  readonly held: ReadonlySet<string>;
  /** When each failure was let through, for the last `withinMs`. */
  readonly recent: readonly { readonly server: string; readonly atMs: number }[];
}
export type KillSwitchEffect =
  | { readonly kind: "alarm"; readonly held: readonly string[]; readonly reason: string }
  | { readonly kind: "alarmOver"; readonly reason: string };
export interface KillSwitchStep {
  readonly state: KillSwitchState;
  readonly effects: readonly KillSwitchEffect[];
}

export const initialKillSwitch: KillSwitchState = { out: new Set(), held: new Set(), recent: [] };

/** How many of `total` may fail within the time. */
export const failureLimit = (c: KillSwitchConfig, total: number): number =>
  Math.max(1, Math.floor((total * c.sharePercent) / 100));

/** A server's standing changed; `total` is how many the service has now. `release`: a person says it is real. */
export function stepKillSwitch(
  c: KillSwitchConfig,
  s: KillSwitchState,
  e:
    | { readonly kind: "down" | "up" | "gone"; readonly server: string; readonly total: number }
    | { readonly kind: "release" },
  nowMs: number,
): KillSwitchStep {
  const isCalm = s.out.size === 0 && s.held.size === 0 && s.recent.length === 0;
  if (isCalm && (e.kind === "up" || e.kind === "gone")) return { state: s, effects: [] };
  const out = new Set(s.out);
  const held = new Set(s.held);
  if (e.kind === "release") {
    for (const server of held) out.add(server);
    const effects: KillSwitchEffect[] = held.size === 0 ? [] : [{ kind: "alarmOver", reason: "released by hand" }];
    return { state: { out, held: new Set(), recent: [] }, effects };
  }
  const limit = failureLimit(c, e.total);
  let recent = s.recent.filter(({ server, atMs }) => nowMs - atMs < c.withinMs && server !== e.server);
  if (e.kind !== "down") {
    out.delete(e.server);
    held.delete(e.server);
    if (s.held.size === 0 || out.size + held.size > limit) return { state: { out, held, recent }, effects: [] };
    // So few fail now that it is no longer the checker that is in doubt.
    for (const server of held) {
      out.add(server);
      recent.push({ server, atMs: nowMs });
    }
    const effects: KillSwitchEffect[] = [{ kind: "alarmOver", reason: `${out.size} of ${e.total} fail` }];
    return { state: { out, held: new Set(), recent }, effects };
  }
  if (out.has(e.server) || held.has(e.server)) return { state: s, effects: [] };
  if (held.size === 0 && recent.length < limit) {
    out.add(e.server);
    recent = [...recent, { server: e.server, atMs: nowMs }];
    return { state: { out, held, recent }, effects: [] };
  }
  held.add(e.server);
  const failing = out.size + held.size;
  const reason = `${failing} of ${e.total} servers fail, ${recent.length + held.size} of them within ${c.withinMs} ms: ${held.size} of them are kept in service`;
  return { state: { out, held, recent }, effects: [{ kind: "alarm", held: [...held], reason }] };
}
