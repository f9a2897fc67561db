/**
 * One virtual router: RFC 9568 section 6.4, and RFC 3768 for version 2. No clock, no socket: events and the time come
 * in, effects go out, and the caller performs them in the order given.
 *
 * Where this departs from keepalived: the VIPs stand before the first announcement; a master that hears a lower
 * priority answers with one advert at once (RFC 9568 6.4.3 (740)); both checksum forms are taken and verified; a
 * master that gives way says so with one last advert, so that the winner announces after it.
 */
import { formatIpv4 } from "../base/ipv4.ts";
import { VRRP_GROUP } from "../wire/vrrp.ts";
import { dropReason, sameAddresses } from "./vrrpReceive.ts";
import { downMs, OWNER, priorityOf, skewMs } from "./vrrpTimers.ts";
import {
  type HeardAdvert,
  type Phase,
  peerLimit,
  type VrrpConfig,
  type VrrpEffect,
  type VrrpEvent,
  type VrrpPeer,
  type VrrpState,
  type VrrpStep,
} from "./vrrpTypes.ts";

type Backup = Extract<Phase, { kind: "backup" }>;
type Master = Extract<Phase, { kind: "master" }>;

export const initialVrrp = ({ linkUp }: { readonly linkUp: boolean }): VrrpState => ({
  phase: { kind: "initialize", why: "not started" },
  sinceMs: 0,
  started: false,
  linkUp,
  priorityDelta: 0,
  trackFault: undefined,
  groupFault: undefined,
  sentAtMs: Number.NEGATIVE_INFINITY,
  counts: {},
  peers: new Map(),
});

/** When to send a tick if nothing arrives before; Infinity: never. */
export function vrrpDeadlineMs(s: VrrpState): number {
  if (s.phase.kind === "master") return s.phase.advertAtMs;
  if (s.phase.kind === "backup" && !s.phase.waiting) return s.phase.takeOverAtMs;
  return Number.POSITIVE_INFINITY;
}

const stay = (state: VrrpState, effects: readonly VrrpEffect[] = []): VrrpStep => ({ state, effects });
const count = (s: VrrpState, reason: string): VrrpState => ({
  ...s,
  counts: { ...s.counts, [reason]: (s.counts[reason] ?? 0) + 1 },
});

/**
 * One advert; a second one in the other checksum form once a peer was heard that uses it. keepalived up to 2.2 takes
 * the pseudo header's form alone in version 3: it would stay master beside us, and send hardly any adverts meanwhile.
 */
function advertEffects(c: VrrpConfig, s: Pick<VrrpState, "peers">, priority: number): VrrpEffect[] {
  const { version, vrid, intervalMs, vips: addresses, password } = c;
  const advert = { version, vrid, priority, intervalMs, addresses, ...(password !== undefined && { password }) };
  const to = c.unicastPeers ?? [VRRP_GROUP];
  const effect = { kind: "sendAdvert", advert, checksum: c.checksum, to } as const;
  const other = c.checksum === "message" ? "pseudo-header" : "message";
  const isBoth = version === 3 && [...s.peers.values()].some((peer) => peer.checksum === other);
  return isBoth ? [effect, { ...effect, checksum: other }] : [effect];
}

const announceEffects = (c: VrrpConfig, reason: string, vips = c.vips): VrrpEffect[] => [
  { kind: "announce", vips, reason },
  { kind: "verifyAnnouncement", vips },
];

function enter(s: VrrpState, phase: Phase, nowMs: number): VrrpState {
  return { ...s, phase, sinceMs: nowMs };
}
const moved = (s: VrrpState, to: Phase["kind"], reason: string, rule: string): VrrpEffect => ({
  kind: "transition",
  from: s.phase.kind,
  to,
  reason,
  rule,
});

/** 6.4.1 (115) and 6.4.2 (350): advert first, so that nobody else takes over too; the VIPs before they are announced. */
function toMaster(c: VrrpConfig, s: VrrpState, nowMs: number, reason: string, rule: string): VrrpStep {
  const phase: Master = {
    kind: "master",
    advertAtMs: nowMs + c.intervalMs,
    yielding: false,
    assertedAtMs: Number.NEGATIVE_INFINITY,
  };
  return stay({ ...enter(s, phase, nowMs), sentAtMs: nowMs }, [
    moved(s, "master", reason, rule),
    ...advertEffects(c, s, priorityOf(c, s)),
    { kind: "addVips", vips: c.vips, accept: c.accept },
    ...announceEffects(c, reason),
  ]);
}

interface Listening {
  readonly takeOverAtMs: number;
  readonly masterIntervalMs?: number;
  readonly master?: Backup["master"];
}

function toBackup(c: VrrpConfig, s: VrrpState, nowMs: number, to: Listening, reason: string, rule: string): VrrpStep {
  const phase: Backup = {
    kind: "backup",
    masterIntervalMs: c.intervalMs,
    master: undefined,
    preemptAtMs: undefined,
    waiting: false,
    wokeLate: false,
    ...to,
  };
  const gone: VrrpEffect[] = s.phase.kind === "master" ? [{ kind: "removeVips", vips: c.vips }] : [];
  return stay(enter(s, phase, nowMs), [...gone, moved(s, "backup", reason, rule)]);
}

/** 6.4.2 (315), 6.4.3 (610). `handOver`: the link still carries, so say that we leave. */
function toInitialize(c: VrrpConfig, s: VrrpState, nowMs: number, why: string, handOver: boolean): VrrpStep {
  if (s.phase.kind === "initialize") return stay({ ...s, phase: { kind: "initialize", why } });
  const rule = s.phase.kind === "master" ? "rfc9568/6.4.3/610" : "rfc9568/6.4.2/315";
  const last: VrrpEffect[] =
    s.phase.kind === "master"
      ? [...(handOver ? advertEffects(c, s, 0) : []), { kind: "removeVips", vips: c.vips }]
      : [];
  const state = enter(s, { kind: "initialize", why }, nowMs);
  return stay(last.length > 1 ? { ...state, sentAtMs: nowMs } : state, [...last, moved(s, "initialize", why, rule)]);
}

/** Why it may not run, the first that holds. */
function obstacle(s: VrrpState): string | undefined {
  if (!s.started) return "stopped";
  if (!s.linkUp) return "the link is down";
  if (s.trackFault !== undefined) return `${s.trackFault} failed`;
  if (s.groupFault !== undefined) return `${s.groupFault} of the same sync group cannot run`;
  return undefined;
}

/** After anything that decides whether it may run: starts it (6.4.1), stops it, or leaves it as it is. */
function settle(c: VrrpConfig, s: VrrpState, nowMs: number): VrrpStep {
  const why = obstacle(s);
  if (why !== undefined) return toInitialize(c, s, nowMs, why, s.linkUp);
  if (s.phase.kind !== "initialize") return stay(s);
  if (c.priority === OWNER) return toMaster(c, s, nowMs, "started as the address owner", "rfc9568/6.4.1/110");
  const takeOverAtMs = nowMs + downMs(c, priorityOf(c, s), c.intervalMs);
  return toBackup(c, s, nowMs, { takeOverAtMs }, "started", "rfc9568/6.4.1/150");
}

function tickBackup(c: VrrpConfig, s: VrrpState, p: Backup, hold: boolean, nowMs: number): VrrpStep {
  const priority = priorityOf(c, s);
  const down = downMs(c, priority, p.masterIntervalMs);
  // A clock that went back must not leave us deaf for as long as it went.
  if (p.takeOverAtMs - nowMs > down) return stay({ ...s, phase: { ...p, takeOverAtMs: nowMs + down } });
  if (nowMs < p.takeOverAtMs || p.waiting) return stay(s);
  const lateMs = nowMs - p.takeOverAtMs;
  if (lateMs > p.masterIntervalMs && !p.wokeLate) {
    // We did not run: what the wire said meanwhile is lost or still queued. One more interval tells who is alive.
    const takeOverAtMs = nowMs + p.masterIntervalMs + skewMs(c.version, priority, p.masterIntervalMs);
    const reason = `this process woke ${Math.round(lateMs)} ms late, and listens once more`;
    return stay({ ...s, phase: { ...p, takeOverAtMs, wokeLate: true } }, [
      { kind: "note", code: "woke-late", source: undefined, reason },
    ]);
  }
  if (hold) return stay({ ...s, phase: { ...p, waiting: true } });
  const who = p.master === undefined ? "no master" : `${formatIpv4(p.master.address)} no longer`;
  return toMaster(c, s, nowMs, `${who} heard`, "rfc9568/6.4.2/345");
}

function tickMaster(c: VrrpConfig, s: VrrpState, p: Master, nowMs: number): VrrpStep {
  // `advertAtMs` further off than one interval: the clock went back.
  if (nowMs < p.advertAtMs && p.advertAtMs - nowMs <= 2 * c.intervalMs) return stay(s);
  const priority = priorityOf(c, s);
  const lateMs = nowMs - p.advertAtMs;
  const note = (): VrrpEffect => ({
    kind: "note",
    code: "woke-late",
    source: undefined,
    reason: `this process woke ${Math.round(lateMs)} ms late, and others may have taken over`,
  });
  if (lateMs > downMs(c, priority, c.intervalMs) && !p.yielding) {
    // The kernel went on forwarding meanwhile, so the VIPs stay. Without preempt a new master keeps its place.
    if (!c.preempt && priority !== OWNER) {
      const advertAtMs = nowMs + c.intervalMs + skewMs(c.version, priority, c.intervalMs);
      return stay({ ...s, phase: { ...p, advertAtMs, yielding: true } }, [note()]);
    }
    return stay({ ...s, sentAtMs: nowMs, phase: { ...p, advertAtMs: nowMs + c.intervalMs } }, [
      note(),
      ...advertEffects(c, s, priority),
      ...announceEffects(c, "woke late"),
    ]);
  }
  const next: Master = { ...p, advertAtMs: nowMs + c.intervalMs, yielding: false };
  // Keeps the beat: a tick that is a little late does not make every later advert late too.
  const beat = p.advertAtMs + c.intervalMs;
  const advertAtMs = beat > nowMs && beat < next.advertAtMs ? beat : next.advertAtMs;
  return stay({ ...s, sentAtMs: nowMs, phase: { ...next, advertAtMs } }, advertEffects(c, s, priority));
}

/** RFC 9568 section 6.4.2 (400). */
function heardInBackup(c: VrrpConfig, s: VrrpState, p: Backup, a: HeardAdvert, nowMs: number): VrrpStep {
  const priority = priorityOf(c, s);
  if (a.priority === 0) {
    const takeOverAtMs = nowMs + skewMs(c.version, priority, p.masterIntervalMs);
    return stay({ ...s, phase: { ...p, takeOverAtMs, preemptAtMs: undefined, waiting: false } });
  }
  const isLower = a.priority < priority;
  const effects: VrrpEffect[] = [];
  let preemptAtMs: number | undefined;
  if (isLower && c.preempt) {
    preemptAtMs = p.preemptAtMs ?? nowMs + c.preemptDelayMs;
    if (nowMs >= preemptAtMs) return stay({ ...s, phase: { ...p, preemptAtMs } }); // (430): our timer runs out
    if (p.preemptAtMs === undefined)
      effects.push({
        kind: "note",
        code: "preempt-delayed",
        source: a.source,
        reason: `priority ${a.priority} is below our ${priority}; it stays master for ${c.preemptDelayMs} ms`,
      });
  }
  if (a.intervalMs !== p.masterIntervalMs)
    effects.push({
      kind: "note",
      code: "interval-adopted",
      source: a.source,
      reason: `the master's interval is ${a.intervalMs} ms, and we wait by it`,
    });
  const phase: Backup = {
    kind: "backup",
    takeOverAtMs: nowMs + downMs(c, priority, a.intervalMs),
    masterIntervalMs: a.intervalMs,
    master: { address: a.source, priority: a.priority },
    preemptAtMs,
    waiting: false,
    wokeLate: false,
  };
  return stay({ ...s, phase }, effects);
}

/** No more than ten adverts an interval are answered: a flood of low adverts must not become one of ours. */
const mayAssert = (c: VrrpConfig, p: Master, nowMs: number): boolean => nowMs - p.assertedAtMs >= c.intervalMs / 10;

/** RFC 9568 section 6.4.3 (725): stay, and say so at once; the neighbours may have learned the other's MAC. */
function assertMaster(c: VrrpConfig, s: VrrpState, p: Master, a: HeardAdvert, nowMs: number): VrrpStep {
  if (!mayAssert(c, p, nowMs)) return stay(s);
  const priority = priorityOf(c, s);
  // The advert of one who had not heard us yet may cross our first.
  const isConflict = nowMs - s.sinceMs > c.intervalMs;
  const reason = `priority ${a.priority} from ${formatIpv4(a.source)} while we are master with ${priority}`;
  const conflict: VrrpEffect[] = isConflict
    ? [{ kind: "conflict", what: "second-master", source: a.source, priority: a.priority, reason }]
    : [];
  return stay({ ...s, sentAtMs: nowMs, phase: { ...p, assertedAtMs: nowMs } }, [
    ...advertEffects(c, s, priority),
    ...conflict,
    { kind: "defend", vips: c.vips, reason },
  ]);
}

/** RFC 9568 section 6.4.3 (700). */
function heardInMaster(c: VrrpConfig, s: VrrpState, p: Master, a: HeardAdvert, nowMs: number): VrrpStep {
  const priority = priorityOf(c, s);
  if (a.priority === 0) {
    if (!mayAssert(c, p, nowMs)) return stay(s);
    const phase = { ...p, advertAtMs: nowMs + c.intervalMs, assertedAtMs: nowMs };
    return stay({ ...s, sentAtMs: nowMs, phase }, advertEffects(c, s, priority));
  }
  const wins = a.priority > priority || (a.priority === priority && a.source > c.address) || p.yielding;
  if (!wins) return assertMaster(c, s, p, a, nowMs);
  const how =
    a.priority === priority ? `and a higher address than ${formatIpv4(c.address)}` : `against our ${priority}`;
  const to = {
    takeOverAtMs: nowMs + downMs(c, priority, a.intervalMs),
    masterIntervalMs: a.intervalMs,
    master: { address: a.source, priority: a.priority },
  };
  const reason = `${formatIpv4(a.source)} has priority ${a.priority} ${how}`;
  const step = toBackup(c, s, nowMs, to, reason, "rfc9568/6.4.3/705");
  // One last advert, below the winner's: it has never heard of us if a cut link had two masters, and by 6.4.3 (740)
  // answers and announces the VIPs again, which neighbours may have learned from us. Else they wait for its refresh.
  const last = Math.min(priority, a.priority - 1);
  if (last < 1) return step;
  return stay({ ...step.state, sentAtMs: nowMs }, [...step.effects, ...advertEffects(c, s, last)]);
}

/** Remembers who sends what, and says what is new about it: the checksum's form, other addresses. */
function remember(c: VrrpConfig, s: VrrpState, a: HeardAdvert, nowMs: number): VrrpStep {
  const before = s.peers.get(a.source);
  if (before === undefined && s.peers.size >= peerLimit) return stay(s);
  const { priority, intervalMs, checksum, source } = a;
  const peer: VrrpPeer = { priority, intervalMs, checksum, heardAtMs: nowMs, addressesDiffer: !sameAddresses(c, a) };
  const effects: VrrpEffect[] = [];
  if (c.version === 3 && before?.checksum !== checksum)
    effects.push({
      kind: "note",
      code: "peer-checksum",
      source,
      reason: `${formatIpv4(source)} counts ${checksum === "message" ? "the message alone (RFC 9568)" : "a pseudo header too"}, ${checksum === c.checksum ? "as we do" : "so we send both forms from now on"}`,
    });
  if (peer.addressesDiffer && before?.addressesDiffer !== true)
    effects.push({
      kind: "note",
      code: "address-list",
      source,
      reason: `${formatIpv4(source)} advertises ${a.addresses.slice(0, 4).map(formatIpv4).join(", ")}${a.addresses.length > 4 ? " and more" : ""}, not our addresses`,
    });
  const peers = new Map(s.peers).set(source, peer);
  return stay({ ...(peer.addressesDiffer ? count(s, "address-list") : s), peers }, effects);
}

/** Discarded, and still worth a word in three cases. */
function dropped(c: VrrpConfig, s: VrrpState, a: HeardAdvert, reason: string, nowMs: number): VrrpStep {
  const counted = count(s, reason);
  const firstTime = s.counts[reason] === undefined;
  if (reason === "interval" && firstTime)
    return stay(counted, [
      {
        kind: "note",
        code: "interval-mismatch",
        source: a.source,
        reason: `${formatIpv4(a.source)} sends every ${a.intervalMs} ms, we every ${c.intervalMs} ms: its adverts count for nothing`,
      },
    ]);
  // Nothing of ours can still be on its way: so it is not an echo.
  if (reason === "own-echo" && firstTime && nowMs - s.sentAtMs > Math.max(1000, c.intervalMs))
    return stay(counted, [
      {
        kind: "conflict",
        what: "own-address",
        source: a.source,
        priority: a.priority,
        reason: `an advert from our own address ${formatIpv4(c.address)}, and we sent none`,
      },
    ]);
  if (reason !== "owner" || s.phase.kind !== "master" || a.priority === 0) return stay(counted);
  // The RFC discards what an owner hears; that somebody else claims our own addresses is said, and answered, all the same.
  const step = assertMaster(c, counted, s.phase, a, nowMs);
  if (a.priority !== OWNER) return step;
  const why = `${formatIpv4(a.source)} says that it owns the addresses, as we do: one of the two files is wrong`;
  return stay(
    step.state,
    step.effects.length === 0
      ? []
      : [
          ...step.effects.filter((e) => e.kind !== "conflict"),
          { kind: "conflict", what: "second-owner", source: a.source, priority: a.priority, reason: why },
        ],
  );
}

function heard(c: VrrpConfig, s: VrrpState, a: HeardAdvert, nowMs: number): VrrpStep {
  const reason = dropReason(c, s, a);
  if (reason !== undefined) return dropped(c, s, a, reason, nowMs);
  const known = remember(c, count(s, "taken"), a, nowMs);
  const { phase } = known.state;
  const next =
    phase.kind === "master"
      ? heardInMaster(c, known.state, phase, a, nowMs)
      : phase.kind === "backup"
        ? heardInBackup(c, known.state, phase, a, nowMs)
        : stay(known.state);
  return stay(next.state, [...known.effects, ...next.effects]);
}

/** What makes it another virtual router, or us another member of it. */
const isSameRouter = (a: VrrpConfig, b: VrrpConfig): boolean =>
  a.vrid === b.vrid && a.version === b.version && a.address === b.address && a.password === b.password;

/** What did not change keeps its connections: VIPs that stay are not touched, and a master stays one. */
function reload(c: VrrpConfig, s: VrrpState, next: VrrpConfig, nowMs: number): VrrpStep {
  if (!isSameRouter(c, next)) {
    const left = toInitialize(c, s, nowMs, "reloaded as another virtual router", s.linkUp);
    const begun = settle(next, { ...left.state, peers: new Map() }, nowMs);
    return stay(begun.state, [...left.effects, ...begun.effects]);
  }
  const { phase } = s;
  if (phase.kind === "initialize") return settle(next, s, nowMs);
  if (phase.kind === "backup") {
    if (next.priority === OWNER) return toMaster(next, s, nowMs, "reloaded as the address owner", "rfc9568/6.4.1/110");
    const learned = phase.master !== undefined && next.version === 3 ? phase.masterIntervalMs : next.intervalMs;
    const latestMs = nowMs + downMs(next, priorityOf(next, s), learned);
    const takeOverAtMs = Math.min(phase.takeOverAtMs, latestMs);
    return stay({ ...s, phase: { ...phase, takeOverAtMs, masterIntervalMs: learned } });
  }
  const gone = c.vips.filter((vip) => !next.vips.includes(vip));
  const fresh = next.accept === c.accept ? next.vips.filter((vip) => !c.vips.includes(vip)) : next.vips;
  const advertAtMs = Math.min(phase.advertAtMs, nowMs + next.intervalMs);
  const isNews = gone.length + fresh.length > 0 || next.priority !== c.priority || next.intervalMs !== c.intervalMs;
  const effects: VrrpEffect[] = [];
  if (isNews) effects.push(...advertEffects(next, s, priorityOf(next, s)));
  if (gone.length > 0) effects.push({ kind: "removeVips", vips: gone });
  if (fresh.length > 0)
    effects.push({ kind: "addVips", vips: fresh, accept: next.accept }, ...announceEffects(next, "added", fresh));
  return stay({ ...s, sentAtMs: isNews ? nowMs : s.sentAtMs, phase: { ...phase, advertAtMs } }, effects);
}

function trackChanged(c: VrrpConfig, s: VrrpState, delta: number, fault: string | undefined, nowMs: number): VrrpStep {
  const step = settle(c, { ...s, priorityDelta: delta, trackFault: fault }, nowMs);
  const { phase } = step.state;
  const isNews = phase.kind === "master" && s.phase.kind === "master" && priorityOf(c, s) !== priorityOf(c, step.state);
  if (!isNews) return step;
  // Not before its time by the RFC, and allowed: the others need not wait an interval to learn that we are worse.
  return stay({ ...step.state, sentAtMs: nowMs, phase: { ...phase, advertAtMs: nowMs + c.intervalMs } }, [
    ...step.effects,
    ...advertEffects(c, s, priorityOf(c, step.state)),
  ]);
}

function follow(c: VrrpConfig, s: VrrpState, to: "master" | "backup", member: string, nowMs: number): VrrpStep {
  if (s.phase.kind === "initialize" || s.phase.kind === to) return stay(s);
  if (to === "master") return toMaster(c, s, nowMs, `${member} of the same sync group became master`, "group/together");
  const takeOverAtMs = nowMs + downMs(c, priorityOf(c, s), c.intervalMs);
  const step = toBackup(c, s, nowMs, { takeOverAtMs }, `${member} of the same sync group is backup`, "group/together");
  return stay({ ...step.state, sentAtMs: nowMs }, [...advertEffects(c, s, 0), ...step.effects]);
}

type Handlers = {
  readonly [K in VrrpEvent["kind"]]: (
    c: VrrpConfig,
    s: VrrpState,
    e: Extract<VrrpEvent, { kind: K }>,
    nowMs: number,
  ) => VrrpStep;
};

const handlers: Handlers = {
  start: (c, s, _, nowMs) => settle(c, { ...s, started: true }, nowMs),
  shutdown: (c, s, _, nowMs) => settle(c, { ...s, started: false }, nowMs),
  linkUp: (c, s, _, nowMs) => settle(c, { ...s, linkUp: true }, nowMs),
  linkDown: (c, s, _, nowMs) => settle(c, { ...s, linkUp: false }, nowMs),
  tick(c, s, e, nowMs) {
    if (s.phase.kind === "master") return tickMaster(c, s, s.phase, nowMs);
    return s.phase.kind === "backup" ? tickBackup(c, s, s.phase, e.hold === true, nowMs) : stay(s);
  },
  advert: (c, s, e, nowMs) => heard(c, s, e.advert, nowMs),
  malformed: (_, s, e) => stay(count(s, e.code)),
  trackChanged: (c, s, e, nowMs) => trackChanged(c, s, e.priorityDelta, e.fault, nowMs),
  reload: (c, s, e, nowMs) => reload(c, s, e.config, nowMs),
  follow: (c, s, e, nowMs) => follow(c, s, e.to, e.member, nowMs),
  groupFault: (c, s, e, nowMs) => settle(c, { ...s, groupFault: e.member }, nowMs),
};

/** The next state, and what to do for it, in order. `nowMs` is monotonic; a step back is survived. */
export function stepVrrp(config: VrrpConfig, state: VrrpState, event: VrrpEvent, nowMs: number): VrrpStep {
  const handle = handlers[event.kind] as (c: VrrpConfig, s: VrrpState, e: VrrpEvent, nowMs: number) => VrrpStep;
  return handle(config, state, event, nowMs);
}
