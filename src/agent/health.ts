/**
 * Health on a director: which checks to start when, what their verdicts make of each service's servers, and the drains
 * that people ask for. No sockets, no clock: attempts are performed through ports, their events come back by number.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Check, Service } from "../cluster/cluster.ts";
import { printable } from "../cluster/problem.ts";
import type { Circumstances, ServerHealth } from "../machine/desired.ts";
import { type Drain, drainDeadlineMs, noDrain, stepDrain } from "../machine/health/drain.ts";
import { initialKillSwitch, type KillSwitchState, stepKillSwitch } from "../machine/health/killSwitch.ts";
import {
  type Checker,
  type Probe,
  type ProbeEffect,
  type ProbeEvent,
  type ProbeStep,
  probeDeadlineMs,
  startProbe,
  stepProbe,
  type Verdict,
} from "../machine/health/probe.ts";
import { type QuorumState, stepQuorum, unknownQuorum } from "../machine/health/quorum.ts";
import { combine, riseDeadlineMs, type Standing, stepRise, unknownStanding, weightOf } from "../machine/health/rise.ts";
import { Schedule } from "../machine/health/schedule.ts";
import { type SharedCheck, shareChecks } from "../machine/health/sharing.ts";
import type { VipPathState } from "../machine/health/vipPath.ts";
import type { ProbePorts } from "../ports/probes.ts";
import { dissectIpv4 } from "../wire/frame.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { readU16 } from "../wire/octets.ts";
import { type CheckerTools, checkerOf } from "./checkers.ts";

export type HealthEvent =
  | {
      readonly kind: "server";
      readonly service: string;
      readonly server: string;
      readonly to: "up" | "down";
      readonly reason: string;
    }
  /** A check that this host itself could not make, for want of resources or of its program: it says nothing of the server. */
  | { readonly kind: "ownFault"; readonly check: string; readonly reason: string; readonly lacks: "means" | "program" }
  | { readonly kind: "alarm"; readonly service: string; readonly reason: string }
  | { readonly kind: "alarmOver"; readonly service: string; readonly reason: string }
  | { readonly kind: "quorum"; readonly service: string; readonly to: "held" | "lost"; readonly reason: string }
  | {
      readonly kind: "drain";
      readonly service: string;
      readonly server: string;
      readonly to: Drain["kind"];
      readonly reason: string;
    };

export interface HealthOptions extends CheckerTools {
  readonly ports: ProbePorts;
  /** [0, 1). */
  readonly random: () => number;
  readonly report: (event: HealthEvent) => void;
  /** More at once than this are started a little later: sockets are not without end. */
  readonly attemptsLimit?: number;
}

/** A check, and all that hangs on its verdicts: found once at a load, not again at each of thousands a second. */
interface Asked {
  shared: SharedCheck<Check>;
  checker: Checker<unknown>;
  users: readonly { readonly service: ServiceHealth; readonly server: Server; readonly entry: Entry }[];
  isRunning: boolean;
}
interface Running {
  readonly asked: Asked;
  probe: Probe<unknown>;
}
interface Entry {
  readonly user: SharedCheck<Check>["users"][number];
  readonly question: string;
  standing: Standing;
  why: string;
}
/** One service's server, whatever number of checks it has. */
interface Server {
  readonly name: string;
  readonly rip: Ipv4;
  weight: number;
  /** By check key. */
  readonly standings: Map<string, Entry>;
  combined: Standing["kind"];
  sinceMs: number;
  why: string;
  /** What the kill-switch keeps it as. */
  heldAs: Standing["kind"] | undefined;
  guilty: string | undefined;
  /** Asked for by a person. */
  drain: Drain;
  /** Begun by its failure, where the file says that failed servers drain. */
  leaving: Drain;
}
interface ServiceHealth {
  config: Service;
  readonly servers: Map<string, Server>;
  killSwitch: KillSwitchState;
  quorum: QuorumState;
}

export interface ServerView {
  readonly name: string;
  readonly rip: Ipv4;
  readonly health: Standing["kind"];
  readonly why: string;
  readonly forMs: number;
  readonly held: boolean;
  readonly drain: Drain["kind"];
}
export interface ServiceView {
  readonly name: string;
  readonly quorum: QuorumState["kind"];
  readonly servers: readonly ServerView[];
  readonly alarm: boolean;
}

const drainsOf = (server: Server): readonly Drain[] => [server.drain, server.leaving];
/** The one that counts: who has gone for either reason has gone. */
const drainOf = (server: Server): Drain =>
  drainsOf(server).find((d) => d.kind === "drained") ?? (server.drain.kind === "none" ? server.leaving : server.drain);
const whyDrained = (drain: Extract<Drain, { kind: "drained" }>): string =>
  drain.why === "empty" ? "no connections left" : "its time is over";

const mostAttempts = 4_000;

/** Tables have tens of thousands of servers, and nearly all of them stand like this. */
const inFull: Readonly<Record<Standing["kind"], ServerHealth>> = {
  up: { kind: "up" },
  down: { kind: "down" },
  unknown: { kind: "unknown" },
};

/** What a host lacks when it cannot ask: descriptors, memory, ports, processes. */
const ownFaults = new Set(["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EADDRNOTAVAIL", "EAGAIN"]);
const ownFaultEveryMs = 60_000;
/** The longest time that one tick makes up for. */
const longestStrideMs = 20;
/** Checks that fall due closer together than this start together: waking up costs as much as a check. */
const gatherMs = 10;

export class Health {
  readonly #options: HealthOptions;
  readonly #schedule = new Schedule();
  /** By check key. */
  readonly #asked = new Map<string, Asked>();
  readonly #running = new Map<number, Running>();
  /** Attempts in the order in which they end by time: those of one limit end in the order of their start. */
  readonly #byLimit = new Map<number, number[]>();
  /** Attempts of vip-path by the port that the answer comes to. */
  readonly #byPort = new Map<number, Set<number>>();
  readonly #draining = new Map<Server, ServiceHealth>();
  #nextAttempt = 1;
  readonly #services = new Map<string, ServiceHealth>();
  /** The desired table may have changed since it was asked for. */
  changed = true;
  attempts = 0;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /**
   * At the start and at each reload: what is the same keeps its standing and its place in time. What is asked at other
   * times keeps its standing, and a server with new questions is what it was until one of them is answered.
   */
  load(services: readonly Service[], nowMs: number): void {
    const wanted = shareChecks<Check>(services);
    for (const [key, asked] of this.#asked)
      if (!wanted.has(key)) {
        this.#schedule.remove(key);
        this.#asked.delete(key);
        asked.users = []; // an attempt may be under way: nobody wants its verdict
      }
    for (const shared of wanted.values())
      this.#schedule.add(shared.key, shared.check.intervalMs, shared.check.jitterPercent, nowMs);
    const names = new Set(services.map((s) => s.name));
    for (const name of this.#services.keys()) if (!names.has(name)) this.#forget(name);
    for (const config of services) this.#loadService(config, nowMs);
    for (const shared of wanted.values()) this.#ask(shared);
    for (const service of this.#services.values())
      for (const server of service.servers.values()) {
        for (const key of server.standings.keys()) if (!wanted.has(key)) server.standings.delete(key);
        this.#settle(service, server, nowMs);
      }
    // Weights, servers and the minimum may be others.
    for (const service of this.#services.values()) if (service.quorum.kind !== "unknown") this.#uncounted.add(service);
    this.changed = true;
  }

  #ask(shared: SharedCheck<Check>): void {
    const users = shared.users.flatMap((user) => {
      const service = this.#services.get(user.service);
      const server = service?.servers.get(user.realServer);
      if (service === undefined || server === undefined) return [];
      const { key, question } = shared;
      const { standings } = server;
      const before = standings.get(key) ?? [...standings.values()].find((e) => e.question === question);
      const { standing = unknownStanding, why = "not checked yet" } = before ?? {};
      const entry = { user, question, standing, why };
      standings.set(key, entry);
      return [{ service, server, entry }];
    });
    const checker = checkerOf(shared, this.#options);
    const known = this.#asked.get(shared.key);
    if (known === undefined) this.#asked.set(shared.key, { shared, checker, users, isRunning: false });
    else Object.assign(known, { shared, checker, users });
  }

  #forget(name: string): void {
    const service = this.#services.get(name);
    if (service !== undefined) this.#uncounted.delete(service);
    for (const server of service?.servers.values() ?? []) this.#draining.delete(server);
    this.#services.delete(name);
  }

  #loadService(config: Service, nowMs: number): void {
    const known = this.#services.get(config.name);
    const service: ServiceHealth = known ?? {
      config,
      servers: new Map(),
      killSwitch: initialKillSwitch,
      quorum: unknownQuorum,
    };
    service.config = config;
    this.#services.set(config.name, service);
    for (const { realServer, weight } of config.destinations) {
      const server = service.servers.get(realServer.name);
      if (server !== undefined && server.rip === realServer.rip) {
        server.weight = weight;
        continue;
      }
      service.servers.set(realServer.name, {
        name: realServer.name,
        rip: realServer.rip,
        weight,
        standings: new Map(),
        combined: "unknown",
        sinceMs: nowMs,
        why: "not checked yet",
        heldAs: undefined,
        guilty: undefined,
        drain: noDrain,
        leaving: noDrain,
      });
    }
    if (service.servers.size === config.destinations.length) return;
    const names = new Set(config.destinations.map((d) => d.realServer.name));
    for (const [name, gone] of [...service.servers]) {
      if (names.has(name)) continue;
      this.#draining.delete(gone);
      service.servers.delete(name);
      this.#killSwitch(service, name, "gone", nowMs);
    }
  }

  // Attempts

  #start(key: string, nowMs: number): void {
    const asked = this.#asked.get(key);
    if (asked === undefined || asked.isRunning) return;
    const { shared, checker } = asked;
    const attempt = this.#nextAttempt++;
    this.attempts++;
    const nonce = Math.floor(this.#options.random() * 0x100000000);
    const { timeoutMs } = shared.check;
    const step = startProbe(checker, timeoutMs, nonce, nowMs);
    const running: Running = { asked, probe: step.probe };
    this.#running.set(attempt, running);
    asked.isRunning = true;
    const queue = this.#byLimit.get(timeoutMs);
    if (queue === undefined) this.#byLimit.set(timeoutMs, [attempt]);
    else queue.push(attempt);
    if (shared.path !== undefined) {
      const { sourcePort } = step.probe.state as VipPathState;
      const here = this.#byPort.get(sourcePort) ?? new Set();
      this.#byPort.set(sourcePort, here.add(attempt));
    }
    this.#take(attempt, running, step, nowMs);
  }

  #take(attempt: number, running: Running, step: ProbeStep<unknown>, nowMs: number): void {
    running.probe = step.probe;
    for (const effect of step.effects) this.#perform(attempt, running.asked.shared, effect);
    const { verdict } = step.probe;
    if (verdict === undefined) return;
    this.#forgetAttempt(attempt, running);
    this.#judge(running.asked, verdict, nowMs);
  }

  #perform(attempt: number, shared: SharedCheck<Check>, effect: ProbeEffect): void {
    const { ports } = this.#options;
    if (effect.kind !== "packet") ports.perform(attempt, effect);
    else if (effect.to.kind === "route") ports.perform(attempt, { ...effect, to: effect.to });
    else ports.perform(attempt, { ...effect, to: { kind: "neighbour", address: shared.realServer.rip } });
  }

  /** What happened to an attempt's sockets. Late words about one that has ended are ignored. */
  event(attempt: number, event: ProbeEvent, nowMs: number): void {
    const running = this.#running.get(attempt);
    if (running === undefined) return;
    if (event.kind === "failed" && ownFaults.has(event.error))
      this.#giveUp(attempt, running, { lacks: "means", reason: event.error }, nowMs);
    else if (event.kind === "failed" && event.notBegun === true)
      this.#giveUp(attempt, running, { lacks: "program", reason: event.error }, nowMs);
    else this.#take(attempt, running, stepProbe(running.probe, event, nowMs), nowMs);
  }
  /** Without a verdict: whoever has no socket left must not take every server for dead. */
  #giveUp(
    attempt: number,
    running: Running,
    fault: { readonly lacks: "means" | "program"; readonly reason: string },
    nowMs: number,
  ): void {
    const { shared } = running.asked;
    this.#options.ports.perform(attempt, { kind: "release" });
    this.#forgetAttempt(attempt, running);
    if (nowMs < (this.#ownFaultTellAtMs.get(fault.lacks) ?? Number.NEGATIVE_INFINITY)) return;
    this.#ownFaultTellAtMs.set(fault.lacks, nowMs + ownFaultEveryMs);
    this.#options.report({ kind: "ownFault", check: `${shared.check.type} ${shared.realServer.name}`, ...fault });
  }
  readonly #ownFaultTellAtMs = new Map<string, number>();
  #forgetAttempt(attempt: number, { asked, probe }: Running): void {
    this.#running.delete(attempt);
    asked.isRunning = false;
    if (asked.shared.path === undefined) return;
    const { sourcePort } = probe.state as VipPathState;
    const here = this.#byPort.get(sourcePort);
    here?.delete(attempt);
    if (here?.size === 0) this.#byPort.delete(sourcePort);
  }
  /** An IPv4 packet that a packet socket saw. `port`: its TCP destination port; undefined: an ICMP error. */
  packet(octets: Uint8Array, port: number | undefined, from: Mac, nowMs: number): void {
    const meant = port === undefined ? this.#quotedIn(octets) : [...(this.#byPort.get(port) ?? [])];
    for (const attempt of meant) this.event(attempt, { kind: "packet", octets, from }, nowMs);
  }
  /** Attempts whose packet an ICMP error may quote: anybody can send thousands a second, so not all of them read it. */
  #quotedIn(octets: Uint8Array): number[] {
    const seen = dissectIpv4(octets);
    if (seen.kind !== "ipv4" || seen.inside.kind !== "icmp" || seen.inside.quoted === undefined) return [];
    const { quoted } = seen.inside;
    if (quoted.protocol === PROTOCOL.tcp && quoted.payloadEnd - quoted.payloadOffset >= 8)
      return [...(this.#byPort.get(readU16(octets, quoted.payloadOffset)) ?? [])];
    const all = [...this.#byPort.values()].flatMap((attempts) => [...attempts]);
    return all.filter((a) => this.#running.get(a)?.asked.shared.realServer.rip === quoted.destination);
  }

  #judge({ shared, checker, users }: Asked, verdict: Verdict, nowMs: number): void {
    const { type } = shared.check;
    // Holds words of the server's: a line end would be a log entry of its own, an escape sequence a terminal's command.
    const why = `${type === "vip-path" ? checker.name : type}: ${printable(verdict.why)}`;
    for (const { service, server, entry } of users) {
      const before = entry.standing;
      entry.standing = stepRise(entry.user, before, verdict.up, nowMs);
      entry.why = why;
      if (before.kind !== entry.standing.kind) this.#settle(service, server, nowMs);
      else if (server.combined === entry.standing.kind && server.guilty === undefined) server.why = why;
    }
  }

  /** What all checks and the silence watch say of one server; tells and counts when that changed. */
  #settle(service: ServiceHealth, server: Server, nowMs: number): void {
    if (server.standings.size === 0 && server.guilty === undefined && server.combined === "up") return;
    const entries = [...server.standings.values()];
    const removed = server.guilty;
    const combined = removed === undefined ? combine(entries.map((e) => e.standing)) : "down";
    // New questions, not answered yet, take nothing back.
    if (combined === server.combined || combined === "unknown") return;
    const culprit = entries.find((e) => e.standing.kind === combined);
    server.why =
      removed ?? (combined === "up" && entries.length === 0 ? "not checked" : (culprit?.why ?? "not checked yet"));
    const from = server.combined;
    server.combined = combined;
    server.sinceMs = nowMs;
    this.changed = true;
    const { reason, to } = { reason: server.why, to: combined };
    if (entries.length > 0 || removed !== undefined || from === "down")
      this.#options.report({ kind: "server", service: service.config.name, server: server.name, to, reason });
    if (combined === "down") server.heldAs = from;
    this.#killSwitch(service, server.name, combined, nowMs);
    this.#uncounted.add(service);
  }

  #killSwitch(service: ServiceHealth, server: string, kind: "up" | "down" | "gone", nowMs: number): void {
    const { config } = service;
    const total = Math.max(1, service.servers.size);
    const step = stepKillSwitch(config.killSwitch, service.killSwitch, { kind, server, total }, nowMs);
    service.killSwitch = step.state;
    for (const effect of step.effects)
      this.#options.report({ kind: effect.kind, service: config.name, reason: effect.reason });
    if (step.effects.length > 0) this.changed = true;
  }

  /** A person says that the failures are real. */
  releaseKillSwitch(name: string, nowMs: number): boolean {
    const service = this.#services.get(name);
    if (service === undefined || service.killSwitch.held.size === 0) return false;
    const step = stepKillSwitch(service.config.killSwitch, service.killSwitch, { kind: "release" }, nowMs);
    service.killSwitch = step.state;
    for (const effect of step.effects)
      this.#options.report({ kind: effect.kind, service: name, reason: effect.reason });
    this.changed = true;
    this.#uncounted.add(service);
    return true;
  }

  /** Services in which something changed: each is counted once before the table is made, not at each of its servers. */
  readonly #uncounted = new Set<ServiceHealth>();
  /** Quorum counts weight; nothing is counted before every server is known, nor lost that those not known may hold. */
  #count(service: ServiceHealth, nowMs: number): void {
    const { config } = service;
    let inService = 0;
    let total = 0;
    let unknown = 0;
    let unknownWeight = 0;
    for (const server of service.servers.values()) {
      total += server.weight;
      const kind = this.#effective(service, server);
      if (kind === "unknown") unknown++;
      if (server.drain.kind !== "none") continue;
      if (kind === "up") inService += server.weight;
      if (kind === "unknown") unknownWeight += server.weight;
    }
    const before = service.quorum;
    if (unknown > 0 && inService < config.quorum.minimum && before.kind === "unknown") return;
    const counted = before.kind === "held" ? inService + unknownWeight : inService;
    service.quorum = stepQuorum(config.quorum, before, counted, total, nowMs);
    if (service.quorum.kind === before.kind) return;
    this.changed = true;
    const to = service.quorum.kind;
    if (to === "unknown" || (before.kind === "unknown" && to === "held")) return;
    const reason = `weight ${inService} of ${total} is healthy; the quorum is ${config.quorum.minimum}`;
    this.#options.report({ kind: "quorum", service: config.name, to, reason });
  }

  #effective(service: ServiceHealth, server: Server): Standing["kind"] {
    if (server.combined === "down" && service.killSwitch.held.has(server.name))
      return server.heldAs === "down" ? "unknown" : (server.heldAs ?? "unknown");
    return server.combined;
  }

  // Who answers for a VIP

  /** Real servers that are not silent now, and why; only where the file says that they are to be taken out. */
  setGuilty(names: ReadonlyMap<string, string>, nowMs: number): void {
    for (const service of this.#services.values())
      for (const server of service.servers.values()) {
        const guilty = names.get(server.name);
        if (guilty === server.guilty) continue;
        server.guilty = guilty;
        this.#settle(service, server, nowMs);
      }
  }

  // Drains

  /** `service` undefined: every service that has the server. Gives the services. */
  drain(
    server: string,
    service: string | undefined,
    timeoutMs: number | undefined,
    reason: string,
    nowMs: number,
  ): string[] {
    return this.#eachDrain(
      server,
      service,
      (s) => {
        const limit = timeoutMs ?? s.config.drainTimeoutMs;
        return { kind: "drain", timeoutMs: limit, reason };
      },
      nowMs,
    );
  }
  undrain(server: string, service: string | undefined, nowMs: number): string[] {
    return this.#eachDrain(server, service, () => ({ kind: "undrain" }), nowMs);
  }
  #eachDrain(
    name: string,
    only: string | undefined,
    eventOf: (s: ServiceHealth) => Parameters<typeof stepDrain>[1],
    nowMs: number,
  ): string[] {
    const done: string[] = [];
    for (const service of this.#services.values()) {
      if (only !== undefined && service.config.name !== only) continue;
      const server = service.servers.get(name);
      if (server === undefined) continue;
      done.push(service.config.name);
      this.#setDrain(service, server, stepDrain(server.drain, eventOf(service), nowMs));
    }
    return done;
  }
  #setDrain(service: ServiceHealth, server: Server, drain: Drain): void {
    const before = server.drain;
    server.drain = drain;
    this.#watchDrain(service, server);
    if (drain.kind === before.kind) return;
    this.changed = true;
    const reason = drain.kind === "none" ? "taken back" : drain.kind === "drained" ? whyDrained(drain) : drain.reason;
    const { name } = service.config;
    this.#options.report({ kind: "drain", service: name, server: server.name, to: drain.kind, reason });
    this.#uncounted.add(service);
  }
  /** A failed server has weight 0 until its connections have ended or the time is over, and goes then. */
  #leave(service: ServiceHealth, server: Server, isDown: boolean, nowMs: number): void {
    const { onFailure, drainTimeoutMs: timeoutMs } = service.config;
    if (!isDown || onFailure === "remove") {
      if (server.leaving.kind === "none") return;
      server.leaving = noDrain;
    } else if (server.leaving.kind === "none")
      server.leaving = stepDrain(noDrain, { kind: "drain", timeoutMs, reason: "it failed" }, nowMs);
    this.#watchDrain(service, server);
  }
  #stepLeaving(service: ServiceHealth, server: Server, event: Parameters<typeof stepDrain>[1], nowMs: number): void {
    const before = server.leaving;
    server.leaving = stepDrain(before, event, nowMs);
    if (server.leaving === before || server.leaving.kind !== "drained") return;
    this.#watchDrain(service, server);
    this.changed = true;
    const reason = `it failed, and ${whyDrained(server.leaving)}`;
    const { name } = service.config;
    this.#options.report({ kind: "drain", service: name, server: server.name, to: "drained", reason });
  }
  #watchDrain(service: ServiceHealth, server: Server): void {
    if (drainsOf(server).some((d) => d.kind === "draining")) this.#draining.set(server, service);
    else this.#draining.delete(server);
  }
  /** Services and servers whose connections are to be counted now. */
  draining(): { readonly service: string; readonly server: string; readonly sinceMs: number }[] {
    return [...this.#draining].map(([server, { config }]) => {
      // The weight is 0 since the first of the two began.
      const since = drainsOf(server).flatMap((d) => (d.kind === "draining" ? [d.sinceMs] : []));
      return { service: config.name, server: server.name, sinceMs: Math.min(...since) };
    });
  }
  connections(service: string, server: string, count: number, nowMs: number): void {
    const found = this.#services.get(service);
    const entry = found?.servers.get(server);
    if (found !== undefined && entry !== undefined)
      this.#stepDrains(found, entry, { kind: "connections", count }, nowMs);
  }
  #stepDrains(service: ServiceHealth, server: Server, event: Parameters<typeof stepDrain>[1], nowMs: number): void {
    this.#setDrain(service, server, stepDrain(server.drain, event, nowMs));
    this.#stepLeaving(service, server, event, nowMs);
  }
  /** What people asked for survives a restart of the agent: by server, then service. */
  drains(): { readonly service: string; readonly server: string }[] {
    return [...this.#services.values()].flatMap((service) =>
      [...service.servers.values()].flatMap(({ name, drain }) =>
        drain.kind === "none" ? [] : [{ service: service.config.name, server: name }],
      ),
    );
  }

  // Time

  tick(nowMs: number): void {
    for (const queue of this.#byLimit.values())
      for (let first = queue[0]; first !== undefined; first = queue[0]) {
        const running = this.#running.get(first);
        if (running !== undefined && probeDeadlineMs(running.probe) > nowMs) break;
        queue.shift();
        if (running !== undefined) this.event(first, { kind: "tick" }, nowMs);
      }
    // After a stall of the host what is late is caught up at twice the usual pace, not at once: a burst makes the next stall.
    const sinceMs = Math.min(Math.max(0, nowMs - this.#tickedAtMs), longestStrideMs);
    this.#tickedAtMs = nowMs;
    const pace = 1 + Math.ceil(2 * this.#schedule.perMs * sinceMs);
    const room = Math.max(0, (this.#options.attemptsLimit ?? mostAttempts) - this.#running.size);
    for (const key of this.#schedule.take(nowMs, this.#options.random, Math.min(room, pace))) this.#start(key, nowMs);
    for (const [server, service] of this.#draining) this.#stepDrains(service, server, { kind: "tick" }, nowMs);
    if (nowMs >= this.#risesAtMs) this.changed = true;
  }
  #risesAtMs = Number.POSITIVE_INFINITY;
  #tickedAtMs = Number.NEGATIVE_INFINITY;

  get deadlineMs(): number {
    const startsAtMs = Math.max(this.#schedule.deadlineMs, this.#tickedAtMs + gatherMs);
    let deadline = Math.min(startsAtMs, this.#risesAtMs);
    for (const queue of this.#byLimit.values()) {
      const running = queue[0] === undefined ? undefined : this.#running.get(queue[0]);
      // The head may have ended: then the queue is cleaned at the next tick, which comes soon enough.
      if (running !== undefined) deadline = Math.min(deadline, probeDeadlineMs(running.probe));
    }
    for (const server of this.#draining.keys())
      for (const drain of drainsOf(server)) deadline = Math.min(deadline, drainDeadlineMs(drain));
    return deadline;
  }

  /** For the desired table; `changed` is false afterwards. */
  circumstances(nowMs: number): Circumstances {
    const health = new Map<string, Map<string, ServerHealth>>();
    const quorum = new Map<string, QuorumState["kind"]>();
    const drains = new Map<string, Map<string, Drain>>();
    let risesAtMs = Number.POSITIVE_INFINITY;
    for (const service of this.#uncounted) this.#count(service, nowMs);
    this.#uncounted.clear();
    for (const [name, service] of this.#services) {
      const servers = new Map<string, ServerHealth>();
      const drained = new Map<string, Drain>();
      for (const server of service.servers.values()) {
        const kind = this.#effective(service, server);
        let weight = server.weight;
        for (const { user, standing } of server.standings.values()) {
          if (standing.kind === "up") weight = Math.min(weight, weightOf(user, standing, server.weight, nowMs));
          risesAtMs = Math.min(risesAtMs, riseDeadlineMs(user, standing, nowMs));
        }
        servers.set(server.name, kind === "up" && weight !== server.weight ? { kind, weight } : inFull[kind]);
        this.#leave(service, server, kind === "down", nowMs);
        const drain = server.drain === noDrain && server.leaving === noDrain ? noDrain : drainOf(server);
        if (drain.kind !== "none") drained.set(server.name, drain);
      }
      health.set(name, servers);
      quorum.set(name, service.quorum.kind);
      if (drained.size > 0) drains.set(name, drained);
    }
    this.#risesAtMs = risesAtMs;
    this.changed = false;
    return { health, quorum, drains };
  }
  quorumOf(service: string): QuorumState["kind"] | undefined {
    return this.#services.get(service)?.quorum.kind;
  }

  view(nowMs: number): ServiceView[] {
    return [...this.#services].map(([name, service]) => ({
      name,
      quorum: service.quorum.kind,
      alarm: service.killSwitch.held.size > 0,
      servers: [...service.servers.values()].map((server) => ({
        name: server.name,
        rip: server.rip,
        health: server.combined,
        why: server.why,
        forMs: nowMs - server.sinceMs,
        held: service.killSwitch.held.has(server.name),
        drain: drainOf(server).kind,
      })),
    }));
  }
  /** Attempts that wait for their answers now. */
  get underWay(): number {
    return this.#running.size;
  }
  /** The verdict each check gave last is kept in its words. */
  get checks(): number {
    return this.#schedule.size;
  }
}
