/**
 * A director: health makes the desired table, the engine is brought to it by difference; what is tracked is told to
 * failover. Failover itself runs in another thread (failover.ts) and does not wait for any of this.
 */
import { few } from "../base/few.ts";
import { groupBy } from "../base/groupBy.ts";
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Cluster, Director as DirectorHost } from "../cluster/cluster.ts";
import { type DesiredTable, desiredKeys, desiredTable } from "../machine/desired.ts";
import { applyChanges, difference, type Removals, removals, type TableChange } from "../machine/difference.ts";
import type { HttpTools } from "../machine/health/http.ts";
import type { ProbeEvent } from "../machine/health/probe.ts";
import { keyOf, type MarkRule, serverKeyOf, type TableService } from "../machine/table.ts";
import type { PhaseName } from "../machine/vrrpTypes.ts";
import type { DirectorPorts } from "../ports/director.ts";
import type { GateWish, HandOverWay, OwnRules, SyncDaemonWish, TableFailure, TableReading } from "../ports/engine.ts";
import type { FailoverEvent } from "../ports/failover.ts";
import type { Arp } from "../wire/arp.ts";
import { type AgentEvent, failoverEvent, healthEvent } from "./event.ts";
import { settleMs } from "./failover.ts";
import { gateOf } from "./gate.ts";
import { Health } from "./health.ts";
import { Kept } from "./kept.ts";
import { leavingAtOnce } from "./persistentFailures.ts";
import { type Loop, scheduledTwice } from "./scheduledTwice.ts";
import { SilenceWatch } from "./silenceWatch.ts";
import { type ServiceStatus, serviceStatuses } from "./status.ts";
import { Tracking } from "./tracking.ts";

/** How the table in force forwards a connection, and by which mark its service is known. */
function forwardingIn({ services, marks }: DesiredTable): HandOverWay["forwardingOf"] {
  const methods = new Map(services.flatMap((s) => s.realServers.map((r) => [r.rip, r.forwarding])));
  return ({ virtual, virtualPort, protocol, server }) => ({
    method: methods.get(server) ?? "dr",
    fwmark:
      marks.find((m) => m.vip === virtual && m.protocol === protocol && m.first <= virtualPort && virtualPort <= m.last)
        ?.fwmark ?? 0,
  });
}

function gateRefused(why: string, { closed }: GateWish): AgentEvent {
  const isClosed = closed.length > 0;
  const what = isClosed
    ? "`accept: false` cannot be kept: packets for the VIPs that are for no service are delivered here"
    : "what is in flight at the instant of a hand-over cannot be relayed, and may be lost";
  return { level: isClosed ? "alarm" : "warning", code: "gate/refused", subject: "ipvs", text: `${what}: ${why}` };
}
function changeName(change: TableChange): string {
  const of = "server" in change ? ` of ${serverKeyOf(change.server)}` : "";
  return `${"what" in change ? change.what.join(", ") : change.kind}${of} in ${keyOf(change.service)}`;
}
function sparing({ why, remedy }: LoadRefusal): AgentEvent {
  const text = `${why}: they stay in the table as they are`;
  return { level: "alarm", code: "table/spared", subject: "ipvs", text, remedy };
}
function rulesLost(what: OwnRules): AgentEvent {
  const text = `somebody else had changed the nft table vipward_${what}: made again`;
  const remedy = "have whoever flushes the rules of this host leave vipward's tables alone";
  return { level: "warning", code: "table/drift", subject: "nft", text, remedy };
}

export interface DirectorOptions extends HttpTools {
  readonly ports: DirectorPorts;
  readonly random: () => number;
  readonly report: (event: AgentEvent) => void;
  readonly attemptsLimit?: number;
  /** Keys that an earlier run of ours made. */
  readonly owned: readonly string[];
  /** What people had drained before a restart. */
  readonly drained?: readonly { readonly service: string; readonly server: string }[];
}
export interface LoadOptions {
  readonly force: boolean;
  /** What else the file asks for and may fail: done once the file is not refused, before anything of it is in force. */
  readonly prepare?: () => void;
}
export interface LoadRefusal {
  readonly why: string;
  readonly remedy: string;
}
export type LoadResult =
  /** `fault`: the file is in force, and the table is not as it asks yet: what was thrown. It is tried again. */
  { readonly ok: true; readonly changes: number; readonly fault?: unknown } | ({ readonly ok: false } & LoadRefusal);

/** Changes of health that come close together become one batch. */
const gatherMs = 10;
/** The table is read again so often, to find what others did to it. */
const guardMs = 30_000;
/** After a reload, which trusts what was read last, so soon. */
const guardAfterReloadMs = 1_000;
/** What the kernel refuses because somebody else changed the table meanwhile is asked for again, from a new reading. */
const syncAttempts = 2;
/** After an error, of which nobody knows what was done before it. */
const syncAgainMs = 500;
const drainPollMs = 1_000;
/** What comes after an instance has left is told for so long still: then the hand-over is over. */
const daemonsAfterMs = settleMs + 500;
/** IPVS brings its counters up to date every two seconds: before that a drained server looks empty. */
const countsLagMs = 100;

export class Director {
  readonly #ports: DirectorPorts;
  readonly #report: (event: AgentEvent) => void;
  readonly health: Health;
  readonly silence: SilenceWatch;
  readonly tracking: Tracking;
  #cluster: Cluster | undefined;
  #host: DirectorHost | undefined;
  #owned: Set<string>;
  #drained: DirectorOptions["drained"];
  #actual: readonly TableService[] | undefined;
  #desired: DesiredTable = { services: [], marks: [] };
  #foreign: readonly string[] = [];
  /** Ours, no longer in the file, and too many to be taken away at a start: they stay until a reload is forced. */
  #spared: { readonly keys: ReadonlySet<string>; readonly alarm: AgentEvent } | undefined;
  readonly #marks: Kept<readonly MarkRule[]>;
  #syncAtMs = Number.POSITIVE_INFINITY;
  #guardAtMs = Number.POSITIVE_INFINITY;
  #loop: Loop | undefined;
  #leavesAtOnce = false;
  #drainAtMs = Number.POSITIVE_INFINITY;
  #daemonsAtMs = Number.POSITIVE_INFINITY;
  readonly #linkUp = new Map<string, boolean>();
  /** Of the instances that take part now: those that are shut down, and those that a reload took out, are not here. */
  readonly phases = new Map<string, PhaseName>();
  readonly #daemons: Kept<readonly SyncDaemonWish[]>;
  /** Instances that are being handed over to another director. */
  readonly #leaving = new Set<string>();
  readonly #gate: Kept<GateWish>;
  /** Services of which something was refused the last time: each is told once, until nothing of it is refused. */
  #refused: ReadonlySet<string> = new Set();
  /** Changes that were there again right after they were made: each is told once as long as that is so. */
  #notKept: ReadonlySet<string> = new Set();

  constructor({ ports, report, random, sha256, matches, owned, drained, attemptsLimit }: DirectorOptions) {
    this.#ports = ports;
    this.#report = report;
    this.#owned = new Set(owned);
    this.#drained = drained;
    const { engine } = ports;
    const whyNot = (why: string | undefined): readonly string[] => (why === undefined ? [] : [why]);
    this.#marks = new Kept(
      (rules) => whyNot(engine.mark(rules)),
      (why) => {
        const text = `packets for services of port ranges cannot be marked, and are not forwarded: ${why}`;
        return { level: "alarm", code: "marks/refused", subject: "ipvs", text };
      },
      report,
    );
    this.#gate = new Kept((wish) => whyNot(engine.gate(wish)), gateRefused, report);
    this.#daemons = new Kept(
      (daemons) => engine.synchronise(daemons),
      (why) => ({ level: "warning", code: "sync/refused", subject: "ipvs", text: why }),
      report,
    );
    const dipFor = (rip: Ipv4): Ipv4 => this.#dipFor(rip);
    this.health = new Health({
      ...{ ports: ports.probes, random, sha256, matches, dipFor },
      report: (e) => report(healthEvent(e)),
      ...(attemptsLimit !== undefined && { attemptsLimit }),
    });
    this.silence = new SilenceWatch({
      sendFrame: (link, frame) => ports.sendFrame(link, frame),
      macOf: (link) => ports.macOf(link),
      report,
    });
    this.tracking = new Tracking({
      ports: ports.probes,
      linkUp: (name) => this.#linkUp.get(name) === true,
      quorumLost: (service) => this.health.quorumOf(service) === "lost",
      tell: (instance, { priorityDelta, fault }) => ports.track(instance, priorityDelta, fault),
    });
  }

  #dipFor(rip: Ipv4): Ipv4 {
    const server = this.#cluster?.realServers.find((r) => r.rip === rip);
    const near = this.#host?.addresses.find((a) => a.network.name === server?.network.name);
    const dip = near?.address ?? this.#host?.dip;
    if (dip === undefined) throw new Error("a check before the cluster was loaded");
    return dip;
  }

  #removals(cluster: Cluster, force: boolean): Removals {
    const wanted = new Set([...desiredKeys(cluster.services).values()].flat().map(keyOf));
    this.#actual ??= this.#ports.engine.read().services;
    const { maximumDeleteSharePercent } = cluster.reload;
    return removals(wanted, this.#actual, { owned: this.#owned, maximumDeleteSharePercent, force });
  }

  /**
   * Takes a cluster file, the first or the next. Refused, which the first never is: then nothing changed at all. Throws
   * HostError when the table cannot be read, and what `prepare` throws, before anything changed.
   */
  load(cluster: Cluster, host: DirectorHost, { force, prepare }: LoadOptions, nowMs: number): LoadResult {
    const isFirst = this.#cluster === undefined;
    const { refused, removed } = this.#removals(cluster, force);
    if (refused !== undefined && !isFirst) return { ok: false, ...refused };
    prepare?.();
    // At a start no file is in force that could stay: this one is, but for what it would delete.
    this.#spared = refused && { keys: new Set(removed.map(keyOf)), alarm: sparing(refused) };
    if (this.#spared !== undefined) this.#report(this.#spared.alarm);
    this.#cluster = this.#servable(cluster);
    this.#host = host;
    this.health.load(this.#cluster.services, nowMs);
    // Before the table is made: a drained server without a check would come in for a moment.
    for (const { service, server } of this.#drained ?? [])
      this.health.drain(server, service, undefined, "asked for before the restart", nowMs);
    this.#drained = undefined;
    this.silence.load(cluster, host, nowMs);
    this.tracking.load(cluster.failover.instances, nowMs);
    this.#guardAtMs = nowMs + (isFirst ? guardMs : guardAfterReloadMs);
    const done = this.#syncOrLater(nowMs);
    this.#setGate();
    this.#synchroniseDaemons();
    this.#tellLoop();
    this.#settle(nowMs);
    return { ok: true, ...done };
  }

  /** The file, as this host's settings let it be. */
  #servable(file: Cluster): Cluster {
    const { cluster, names } = this.#ports.engine.expiresQuiescent ? { cluster: file, names: [] } : leavingAtOnce(file);
    if (names.length > 0 && !this.#leavesAtOnce) {
      const text = `failed servers of ${few(names, 3)} do not drain, but go at once: with weight 0 their persistent clients would still be sent to them`;
      const remedy =
        "sysctl -w net.ipv4.vs.expire_quiescent_template=1, then reload; or `onFailure: remove` in the file";
      this.#report({ level: "info", code: "table/leaving-at-once", subject: "ipvs", text, remedy });
    }
    this.#leavesAtOnce = names.length > 0;
    return cluster;
  }

  // The table

  #sync(nowMs: number): number {
    if (this.#cluster === undefined) return 0;
    this.#syncAtMs = Number.POSITIVE_INFINITY;
    this.#desired = desiredTable(this.#cluster.services, this.health.circumstances(nowMs));
    this.#marks.bring(this.#desired.marks);
    try {
      return this.#bringAll(nowMs);
    } catch (error) {
      // What failed is wanted still, and how far it got is not known: it must not wait for the next look.
      this.#actual = undefined;
      this.#syncAtMs = nowMs + syncAgainMs;
      throw error;
    } finally {
      this.tracking.evaluate();
    }
  }
  /** Where something is in force already: an error changes nothing of that, and shows again when it is tried again. */
  #syncOrLater(nowMs: number): { readonly changes: number; readonly fault?: unknown } {
    try {
      return { changes: this.#sync(nowMs) };
    } catch (fault) {
      return { changes: 0, fault };
    }
  }
  #bringAll(nowMs: number): number {
    let changes = 0;
    let failures: readonly TableFailure[] = [];
    for (let attempt = 0; attempt < syncAttempts; attempt++) {
      const step = this.#bring();
      failures = step.failures;
      changes += step.changes - failures.length;
      if (failures.length === 0) break;
    }
    this.#tellRefused(failures);
    if (this.#drainAtMs === Number.POSITIVE_INFINITY && this.health.draining().length > 0)
      this.#drainAtMs = nowMs + drainPollMs;
    return changes;
  }
  #tellRefused(failures: readonly TableFailure[]): void {
    const byService = groupBy(failures, ({ change }) => keyOf(change.service));
    for (const [subject, [first, ...others]] of byService) {
      if (first === undefined || this.#refused.has(subject)) continue;
      // The others follow from the first where that is the service itself.
      const text = others.length === 0 ? first.why : `${first.why}; with it ${others.length} more changes`;
      this.#report({ level: "alarm", code: "table/refused", subject, text, remedy: first.remedy });
    }
    this.#refused = new Set(byService.keys());
  }
  /** From what stands to what should, once. */
  #bring(): { readonly changes: number; readonly failures: readonly TableFailure[] } {
    const actual = this.#actual ?? this.#ports.engine.read().services;
    const { changes, foreign } = this.#differing(actual);
    this.#tellForeign(foreign);
    this.#own(changes);
    const failures = this.#ports.engine.apply(changes);
    // After a refusal what stands is not what was thought: read it again when it is needed.
    this.#actual = failures.length === 0 ? applyChanges(actual, changes) : undefined;
    this.#disown(
      changes,
      failures.map((f) => f.change),
    );
    return { changes: changes.length, failures };
  }
  /** From this to what is wished for; and the keys of what is not ours. */
  #differing(actual: readonly TableService[]): { changes: readonly TableChange[]; foreign: readonly string[] } {
    const spared = this.#spared?.keys;
    const owned = spared === undefined ? this.#owned : new Set([...this.#owned].filter((key) => !spared.has(key)));
    const options = { owned, maximumDeleteSharePercent: 100, force: true };
    const found = difference(this.#desired.services, actual, options);
    if (!found.ok) throw new Error(found.why);
    return { changes: found.changes, foreign: found.foreign.map(keyOf) };
  }
  /** Written down before it is made: a crash in between leaves a key too many, never a service that is nobody's. */
  #own(changes: readonly TableChange[]): void {
    const fresh = changes.filter((c) => c.kind === "addService").map((c) => keyOf(c.service));
    const adopted = this.#desired.services.map(keyOf).filter((key) => !this.#owned.has(key));
    if (fresh.length === 0 && adopted.length === 0) return;
    for (const key of [...fresh, ...adopted]) this.#owned.add(key);
    this.#ports.saveOwned([...this.#owned]);
  }
  #disown(changes: readonly TableChange[], failed: readonly TableChange[]): void {
    const gone = changes.filter((c) => c.kind === "removeService" && !failed.includes(c)).map((c) => keyOf(c.service));
    if (gone.length === 0) return;
    for (const key of gone) this.#owned.delete(key);
    this.#ports.saveOwned([...this.#owned]);
  }
  #tellForeign(foreign: readonly string[]): void {
    const fresh = foreign.filter((key) => !this.#foreign.includes(key));
    this.#foreign = foreign;
    if (fresh.length === 0) return;
    const text = `not in the cluster file, and left alone: ${few(fresh, 10)}`;
    this.#report({ level: "info", code: "table/foreign", subject: "ipvs", text });
  }

  /** What others did to the table since: put right, and said. */
  #guard(nowMs: number): void {
    this.#guardAtMs = nowMs + guardMs;
    this.#tellLoop();
    this.#sync(nowMs); // what we ourselves want by now is nobody else's doing
    this.#guardBesides();
    this.#actual = this.#ports.engine.read().services;
    const { changes, foreign } = this.#differing(this.#actual);
    this.#tellForeign(foreign);
    if (changes.length === 0) {
      this.#notKept = new Set();
      return;
    }
    this.#sync(nowMs);
    const taken = changes.filter(({ service }) => !this.#refused.has(keyOf(service))).map(changeName);
    this.#tellNotKept();
    const drift = taken.filter((name) => !this.#notKept.has(name)).length;
    if (drift === 0) return;
    const text = `somebody else had changed the table: ${drift} changes put it right`;
    this.#report({ level: "warning", code: "table/drift", subject: "ipvs", text, remedy: "stop the other program" });
  }
  /** What differs again right after our change was taken is not somebody else's doing. */
  #tellNotKept(): void {
    const again = this.#differing(this.#ports.engine.read().services)
      .changes.filter(({ service }) => !this.#refused.has(keyOf(service)))
      .map(changeName);
    const [first] = again.filter((name) => !this.#notKept.has(name));
    this.#notKept = new Set(again);
    if (first === undefined) return;
    const others = again.length === 1 ? "" : `, and ${again.length - 1} more such changes`;
    const text = `the kernel takes a change and does not keep it: ${first}${others}`;
    const remedy = "this kernel may be too old for what the file asks for: another kernel, or a file without it";
    this.#report({ level: "alarm", code: "table/not-kept", subject: "ipvs", text, remedy });
  }

  /** What stands beside the table, and is no longer there or was refused before. */
  #guardBesides(): void {
    const lost = this.#ports.engine.lost();
    this.#marks.bring(this.#desired.marks, { again: this.#marks.isRefused || lost.includes("marks") });
    this.#setGate({ again: this.#gate.isRefused || lost.includes("gate") });
    // A change of roles waits for the end of the hand-over.
    if (this.#daemonsAtMs === Number.POSITIVE_INFINITY) this.#synchroniseDaemons({ again: true });
    const besides = { marks: this.#marks, gate: this.#gate };
    for (const what of lost) if (!besides[what].isRefused) this.#report(rulesLost(what));
  }

  /** Once, and again when it was well meanwhile. */
  #tellLoop(): void {
    if (this.#cluster === undefined || this.#host === undefined) return;
    const loop = scheduledTwice(this.#cluster, this.#host, this.#ports.engine.backupOnly);
    if (loop !== undefined && this.#loop === undefined)
      this.#report({ level: "alarm", code: "table/scheduled-twice", subject: "ipvs", ...loop });
    this.#loop = loop;
  }

  // Connection sync

  /** On which wire directors tell each other their connections. */
  get #syncWay(): Omit<SyncDaemonWish, "role"> | undefined {
    const sync = this.#cluster?.failover.connectionSync;
    if (sync?.enabled !== true || this.#host === undefined) return undefined;
    const { id, group, port, ttl } = sync;
    return { interface: sync.interface ?? this.#host.interface, id, group, port, ttl };
  }
  /**
   * A director tells and listens whatever its role. Who stands by has no packets, and so nothing to tell; but the master
   * of an instant ago may have to hand over, or die, before any daemon could be started, and one started after a
   * connection's third packet tells it only with the fiftieth after that. Where who listens forwards nothing
   * (backup_only), the role decides.
   */
  #syncRoles(): ReadonlySet<PhaseName> {
    const phases = new Set(this.phases.values());
    return this.#ports.engine.backupOnly || phases.size === 0 ? phases : new Set(["master", "backup"]);
  }
  #synchroniseDaemons(how: { readonly again?: boolean } = {}): void {
    if (this.#cluster === undefined) return;
    const way = this.#syncWay;
    const roles = this.#syncRoles();
    const daemons: SyncDaemonWish[] = [];
    if (way !== undefined && this.#cluster.failover.instances.length > 0)
      for (const role of ["master", "backup"] as const) if (roles.has(role)) daemons.push({ role, ...way });
    if (roles.size > 0 || this.#daemons.isAsked) this.#daemons.bring(daemons, how);
  }

  // Hand-over

  /** Whoever follows us must know the connections that are open here, the youngest too. */
  #leave(instance: string, over: boolean): void {
    const before = this.#leaving.size;
    if (over) this.#leaving.delete(instance);
    else this.#leaving.add(instance);
    const sync = this.#syncWay;
    if (sync === undefined || before > 0 === this.#leaving.size > 0) return;
    const way = this.#leaving.size > 0 ? { ...sync, forwardingOf: forwardingIn(this.#desired) } : undefined;
    this.#ports.engine.tellConnections(way, (why) => {
      const text = `connections could not be told to the next director: ${why}`;
      this.#report({ level: "warning", code: "sync/hand-over", subject: "ipvs", text });
    });
  }
  #setGate(how: { readonly again?: boolean } = {}): void {
    if (this.#cluster !== undefined && this.#host !== undefined)
      this.#gate.bring(gateOf(this.#cluster, this.#host), how);
  }

  // What happens

  failover(event: FailoverEvent, nowMs: number): void {
    if (event.kind === "leaving") {
      this.#leave(event.instance, event.over);
      return;
    }
    this.#report(failoverEvent(event));
    if (event.kind !== "transition") return;
    if (event.to === "initialize") this.phases.delete(event.instance);
    else this.phases.set(event.instance, event.to);
    // A host that forwards nothing while it receives must stop receiving before it can be of use; and one that is a
    // real server too must not schedule what the master sends it once more.
    const isAtOnce = this.#ports.engine.backupOnly || event.from === "initialize";
    this.#daemonsAtMs = nowMs + (isAtOnce ? 0 : daemonsAfterMs);
  }
  links(up: readonly (readonly [string, boolean])[], nowMs: number): void {
    for (const [name, isUp] of up) {
      // It may be another one of that name, which the daemons know nothing of. During a hand-over that is asked at its end.
      const isNews = isUp && this.#linkUp.get(name) !== true && name === this.#syncWay?.interface;
      if (isNews && this.#daemonsAtMs === Number.POSITIVE_INFINITY) this.#daemonsAtMs = nowMs;
      this.#linkUp.set(name, isUp);
    }
    this.tracking.evaluate();
  }
  heardArp(link: string, arp: Arp, nowMs: number): void {
    this.silence.heardArp(link, arp, nowMs);
    this.#settle(nowMs);
  }
  /** An answer to vip-path checks, or an ICMP error: `port` is the TCP destination port. */
  heardPacket(octets: Uint8Array, port: number | undefined, from: Mac, nowMs: number): void {
    this.health.packet(octets, port, from, nowMs);
    this.#settle(nowMs);
  }
  probe(attempt: number, event: ProbeEvent, nowMs: number): void {
    if (attempt < 0) this.tracking.event(attempt, event, nowMs);
    else this.health.event(attempt, event, nowMs);
    this.#settle(nowMs);
  }
  #settle(nowMs: number): void {
    if (this.silence.changed) {
      this.silence.changed = false;
      const remove = this.#cluster?.silenceCheck.action === "remove";
      this.health.setGuilty(remove ? this.silence.guilty() : new Map(), nowMs);
    }
    if (this.health.changed) this.#syncAtMs = Math.min(this.#syncAtMs, nowMs + gatherMs);
  }

  tick(nowMs: number): void {
    if (this.#cluster === undefined) return;
    this.health.tick(nowMs);
    this.silence.tick(nowMs);
    this.tracking.tick(nowMs);
    if (nowMs >= this.#drainAtMs) this.#pollDrains(nowMs);
    if (nowMs >= this.#daemonsAtMs) {
      this.#daemonsAtMs = Number.POSITIVE_INFINITY;
      this.#synchroniseDaemons({ again: true });
    }
    this.#settle(nowMs);
    if (nowMs >= this.#guardAtMs) this.#guard(nowMs);
    else if (nowMs >= this.#syncAtMs) this.#sync(nowMs);
  }
  get deadlineMs(): number {
    return Math.min(
      this.health.deadlineMs,
      this.silence.deadlineMs,
      this.tracking.deadlineMs,
      this.#syncAtMs,
      this.#guardAtMs,
      this.#drainAtMs,
      this.#daemonsAtMs,
    );
  }

  #pollDrains(nowMs: number): void {
    const draining = this.health.draining().filter((d) => nowMs - d.sinceMs >= drainPollMs - countsLagMs);
    this.#drainAtMs = this.health.draining().length > 0 ? nowMs + drainPollMs : Number.POSITIVE_INFINITY;
    if (draining.length === 0) return;
    const entries = this.#entriesOf(new Set(draining.map((d) => d.service)));
    const { traffic } = this.#ports.engine.read([...entries.values()].flat());
    for (const { service, server } of draining) {
      let count = 0;
      for (const entry of entries.get(service) ?? [])
        for (const found of entry.realServers) {
          if (found.name !== server) continue;
          const t = traffic.get(keyOf(entry))?.get(serverKeyOf(found));
          count += (t?.activeConnections ?? 0) + (t?.inactiveConnections ?? 0);
        }
      this.health.connections(service, server, count, nowMs);
    }
  }
  /** The desired table's entries of services of the file: several where one has several VIPs or port ranges. */
  #entriesOf(names: ReadonlySet<string>): Map<string, TableService[]> {
    const found = new Map([...names].map((name): [string, TableService[]] => [name, []]));
    const listByKey = new Map<string, TableService[]>();
    for (const [name, keys] of desiredKeys(this.#cluster?.services ?? [])) {
      const list = found.get(name);
      if (list !== undefined) for (const key of keys) listByKey.set(keyOf(key), list);
    }
    for (const entry of this.#desired.services) listByKey.get(keyOf(entry))?.push(entry);
    return found;
  }

  // What people ask for

  drain(
    server: string,
    service: string | undefined,
    timeoutMs: number | undefined,
    reason: string,
    nowMs: number,
  ): string[] {
    const done = this.health.drain(server, service, timeoutMs, reason, nowMs);
    this.#syncOrLater(nowMs);
    this.#settle(nowMs);
    return done;
  }
  undrain(server: string, service: string | undefined, nowMs: number): string[] {
    const done = this.health.undrain(server, service, nowMs);
    this.#syncOrLater(nowMs);
    return done;
  }
  releaseKillSwitch(service: string, nowMs: number): boolean {
    const done = this.health.releaseKillSwitch(service, nowMs);
    this.#syncOrLater(nowMs);
    return done;
  }

  services(nowMs: number): { readonly services: ServiceStatus[]; readonly foreign: readonly string[] } {
    if (this.#cluster === undefined) return { services: [], foreign: [] };
    const reading: TableReading = this.#ports.engine.read();
    return {
      services: serviceStatuses(this.#cluster, this.#desired, this.health.view(nowMs), reading),
      foreign: this.#foreign,
    };
  }
  /** Alarms that were told once, and whose cause stands still. */
  problems(): AgentEvent[] {
    const spared = this.#spared === undefined ? [] : [this.#spared.alarm];
    return [...spared, ...this.#marks.refusals, ...this.#gate.refusals].filter((e) => e.level === "alarm");
  }
  guilty(): {
    readonly who: string;
    readonly vip: string;
    readonly how: string;
    readonly seen: number;
    readonly link: string;
  }[] {
    return this.silence.view().map(({ name, mac, vip, how, seen, link }) => ({
      who: name === undefined ? mac : `${name} (${mac})`,
      vip: formatIpv4(vip),
      how,
      seen,
      link,
    }));
  }

  /** The agent ends: the table stays, so that the next start loses no connection. `clear`: takes it away, too. */
  stop({ clear }: { readonly clear: boolean }, nowMs: number): void {
    if (this.#daemons.isAsked) this.#ports.engine.synchronise([]);
    this.#ports.engine.gate({ closed: [], open: [], peers: [] });
    if (!clear) return;
    const actual = this.#ports.engine.read().services;
    const found = difference([], actual, { owned: this.#owned, maximumDeleteSharePercent: 100, force: true });
    if (found.ok)
      this.#disown(
        found.changes,
        this.#ports.engine.apply(found.changes).map((f) => f.change),
      );
    this.#ports.engine.mark([]);
    void nowMs;
  }
}
