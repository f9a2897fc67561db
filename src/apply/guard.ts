/**
 * When to look at the host, what to say of it, and when to put things right: `vipward guard` without its clock, sockets
 * and hands. step(config, state, event, nowMs) -> next state and effects; nowMs is monotonic.
 *
 * Two programs that want one thing differently must not fight for ever. So each thing is put right a few times only,
 * with a longer pause each time, and is then left to a person. The count is forgotten once the thing has stood for
 * `quietMs`, so a program that runs every half hour is noticed as one that fights, too.
 */

export interface GuardConfig {
  /** Put right what can be, or only say it. */
  readonly heal: boolean;
  /** At least so long between two looks: a storm of notifications costs no more. */
  readonly gapMs: number;
  /** Without any notification, a look so often: old tables and modules send none. */
  readonly fullLookMs: number;
  /** Sysctls send no notification: they are read so often. */
  readonly sysctlMs: number;
  /** A thing is put right so often, then given up. */
  readonly healLimit: number;
  /** Pause before the second time; it doubles from there. */
  readonly pauseMs: number;
  /** After so long in order, a thing's count starts anew. */
  readonly quietMs: number;
}

export const guardDefaults: Omit<GuardConfig, "heal"> = {
  gapMs: 250,
  fullLookMs: 60_000,
  sysctlMs: 1000,
  healLimit: 5,
  pauseMs: 1000,
  quietMs: 3_600_000,
};

/** Something that is not as it should be. */
export interface Finding {
  /** Names the thing, the same from look to look. */
  readonly key: string;
  readonly text: string;
  /** vipward can put it right. */
  readonly healable: boolean;
}

export type GuardEvent =
  /** A notification, or a sysctl that differs from the last look. */
  | { readonly kind: "noticed" }
  | { readonly kind: "tick" }
  /** `findings: "busy"`: another run of vipward is at work, so what is seen means nothing yet. */
  | { readonly kind: "looked"; readonly findings: readonly Finding[] | "busy" }
  /** `why`: it failed, and nothing stands of it. */
  | { readonly kind: "healed"; readonly keys: readonly string[]; readonly why?: string };

export type GuardWord =
  | { readonly event: "drifted" | "mended" | "settled"; readonly key: string; readonly text: string }
  /** Put right so often that something else must want it otherwise. */
  | { readonly event: "given up"; readonly key: string; readonly text: string; readonly times: number }
  | { readonly event: "heal failed"; readonly key: string; readonly text: string; readonly why: string };

export type GuardEffect =
  /** Read the host; answer with "looked". */
  | { readonly kind: "look" }
  /** Compare the sysctls with those of the last look; "noticed" if they differ. */
  | { readonly kind: "readSysctls" }
  /** Put these right; answer with "healed". */
  | { readonly kind: "heal"; readonly keys: readonly string[] }
  | { readonly kind: "say"; readonly word: GuardWord };

interface Thing {
  readonly text: string;
  readonly healable: boolean;
  /** Is it wrong as of the last look? */
  readonly wrong: boolean;
  readonly lastWrongMs: number;
  /** How often it was put right, or tried to be. */
  readonly heals: number;
  readonly healAtMs: number;
  readonly gaveUp: boolean;
  /** We put it right just now: the next look says whether it holds. */
  readonly ours: boolean;
}

export interface GuardState {
  readonly things: ReadonlyMap<string, Thing>;
  readonly lookAtMs: number;
  readonly sysctlsAtMs: number;
  readonly lastLookMs: number;
  readonly busy: "looking" | "healing" | undefined;
}

export interface GuardStep {
  readonly state: GuardState;
  readonly effects: readonly GuardEffect[];
}

export const guardStart = (nowMs: number): GuardState => ({
  things: new Map(),
  lookAtMs: nowMs,
  sysctlsAtMs: nowMs,
  lastLookMs: Number.NEGATIVE_INFINITY,
  busy: undefined,
});

export function stepGuard(config: GuardConfig, state: GuardState, event: GuardEvent, nowMs: number): GuardStep {
  switch (event.kind) {
    case "noticed":
      return go({ ...state, lookAtMs: Math.min(state.lookAtMs, Math.max(nowMs, state.lastLookMs + config.gapMs)) });
    case "tick":
      return tick(config, state, nowMs);
    case "looked":
      return looked(config, { ...state, busy: undefined }, event.findings, nowMs);
    case "healed":
      return healed(config, { ...state, busy: undefined, lookAtMs: nowMs }, event.keys, event.why, nowMs);
  }
}

/** When to call with a tick if nothing else happens. */
export function guardDeadlineMs(state: GuardState): number {
  if (state.busy !== undefined) return Number.POSITIVE_INFINITY;
  let at = Math.min(state.lookAtMs, state.sysctlsAtMs);
  for (const t of state.things.values()) if (t.wrong && !t.gaveUp) at = Math.min(at, t.healAtMs);
  return at;
}

/** Is anything wrong as of the last look? */
export const guardHolds = (state: GuardState): boolean => [...state.things.values()].every((t) => !t.wrong);

const go = (state: GuardState, effects: readonly GuardEffect[] = []): GuardStep => ({ state, effects });

function tick(config: GuardConfig, state: GuardState, nowMs: number): GuardStep {
  if (state.busy !== undefined) return go(state);
  if (nowMs >= state.lookAtMs)
    return go({ ...state, busy: "looking", lookAtMs: Number.POSITIVE_INFINITY, lastLookMs: nowMs }, [{ kind: "look" }]);
  const due = dueKeys(config, state, nowMs);
  if (due.length > 0) return go({ ...state, busy: "healing" }, [{ kind: "heal", keys: due }]);
  if (nowMs >= state.sysctlsAtMs)
    return go({ ...state, sysctlsAtMs: nowMs + config.sysctlMs }, [{ kind: "readSysctls" }]);
  return go(state);
}

function dueKeys(config: GuardConfig, state: GuardState, nowMs: number): string[] {
  if (!config.heal) return [];
  return [...state.things].flatMap(([key, t]) =>
    t.wrong && t.healable && !t.gaveUp && nowMs >= t.healAtMs ? [key] : [],
  );
}

function looked(
  config: GuardConfig,
  state: GuardState,
  findings: readonly Finding[] | "busy",
  nowMs: number,
): GuardStep {
  const lookAtMs = Math.min(state.lookAtMs, nowMs + config.fullLookMs);
  if (findings === "busy") return go({ ...state, lookAtMs: Math.min(lookAtMs, nowMs + config.sysctlMs) });
  const effects: GuardEffect[] = [];
  const say = (word: GuardWord): void => void effects.push({ kind: "say", word });
  const things = new Map<string, Thing>();
  const found = new Set(findings.map((f) => f.key));
  for (const [key, t] of state.things) {
    if (found.has(key)) continue;
    if (t.wrong) say({ event: t.ours ? "mended" : "settled", key, text: t.text });
    // Forgotten only after a long time in order, so that a slow fight is still counted as one.
    if (nowMs - t.lastWrongMs < config.quietMs && (t.heals > 0 || t.gaveUp))
      things.set(key, { ...t, wrong: false, ours: false });
  }
  for (const { key, text, healable } of findings) {
    const t = state.things.get(key);
    if (t === undefined || !t.wrong) say({ event: "drifted", key, text });
    const heals = t?.heals ?? 0;
    const gaveUp = t?.gaveUp === true || (config.heal && healable && heals >= config.healLimit);
    if (gaveUp && t?.gaveUp !== true) say({ event: "given up", key, text, times: heals });
    const healAtMs = config.heal && healable ? (t?.healAtMs ?? nowMs) : Number.POSITIVE_INFINITY;
    things.set(key, { text, healable, wrong: true, lastWrongMs: nowMs, heals, healAtMs, gaveUp, ours: false });
  }
  return go({ ...state, things, lookAtMs }, effects);
}

function healed(
  config: GuardConfig,
  state: GuardState,
  keys: readonly string[],
  why: string | undefined,
  nowMs: number,
): GuardStep {
  const things = new Map(state.things);
  const effects: GuardEffect[] = [];
  for (const key of keys) {
    const t = things.get(key);
    if (t === undefined) continue;
    if (why !== undefined) effects.push({ kind: "say", word: { event: "heal failed", key, text: t.text, why } });
    const heals = t.heals + 1;
    things.set(key, { ...t, heals, healAtMs: nowMs + config.pauseMs * 2 ** (heals - 1), ours: why === undefined });
  }
  return go({ ...state, things }, effects);
}
