/** One agent on one host: reads the cluster file, takes the role that it names, and runs until it is told to stop. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Director } from "../../agent/director.ts";
import type { AgentEvent } from "../../agent/event.ts";
import { longestHandOverMs, settleMs } from "../../agent/failover.ts";
import { failoverConfig } from "../../agent/failoverConfig.ts";
import { metricsText } from "../../agent/metrics.ts";
import { type AgentStatus, instanceReport, type StampedEvent } from "../../agent/status.ts";
import type { Mac } from "../../base/mac.ts";
import type { Cluster, Director as DirectorHost, RealServer } from "../../cluster/cluster.ts";
import { roleOf } from "../../cluster/index.ts";
import { ipvsEngine } from "../engine/ipvs.ts";
import { HostError } from "../errors.ts";
import { loadModule } from "../modules.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { bodyTools } from "./bodyTools.ts";
import { type ControlAnswer, type ControlRequest, listenControl } from "./control.ts";
import { DirectorWires } from "./directorWires.ts";
import { Doors, type ReadyDoors } from "./doors.ts";
import { EventJournal } from "./eventJournal.ts";
import type { FailoverStatus } from "./failoverMessages.ts";
import { FailoverWorker } from "./failoverWorker.ts";
import { notifier } from "./notify.ts";
import { attemptsLimitOf, ProbeSockets } from "./probeSockets.ts";

/** What it was for, or the words of what is wrong with it. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

export interface AgentOptions {
  readonly readFile: () => Outcome<string>;
  readonly clusterOf: (text: string) => Outcome<Cluster>;
  readonly as: string | undefined;
  /** Instead of the file's. */
  readonly socket: string | undefined;
  readonly stateDir: string;
  readonly log: (event: StampedEvent) => void;
  /** Brings this real server to its silence policy in this cluster; says in a word and a sentence how it stands. */
  readonly applySilence: (cluster: Cluster) => Promise<SilenceReport>;
  readonly silenceEveryMs: number;
  readonly clearOnStop: boolean;
  readonly signal: AbortSignal;
  /** Calls back when a reload is wished for. */
  readonly onReloadWish: (reload: (cause: ReloadCause) => void) => () => void;
}
/** Somebody asks for it, or the file seems to have changed. */
export type ReloadCause = "asked" | "file";
export interface SilenceReport {
  readonly state: "silent" | "changed" | "refused" | "failed" | "busy";
  readonly text: string;
}

type ActiveRole = { readonly director?: DirectorHost; readonly realServer?: RealServer; readonly reason: string };

const eventsRemembered = 200;
const eventsInStatus = 20;
/** No longer than this does a stop wait for the successor. */
const stopLimitMs = longestHandOverMs + settleMs + 1_000;

function activeRole(cluster: Cluster, as: string | undefined): ActiveRole {
  const netlink = openRtnetlink();
  let addresses: ReturnType<typeof netlink.addresses>;
  try {
    addresses = netlink.addresses();
  } finally {
    netlink.close();
  }
  const role = roleOf(cluster, { addresses: addresses.map((a) => a.address), as });
  switch (role.kind) {
    case "director":
      return { director: role.director, reason: role.reason };
    case "realServer":
      return { realServer: role.realServer, reason: role.reason };
    case "both":
      return { director: role.director, realServer: role.realServer, reason: role.reason };
    default:
      throw new HostError("agent/usage", role.reason, { remedy: role.remedy });
  }
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #startedAtMs = performance.now();
  readonly #journal: EventJournal;
  readonly #events: StampedEvent[] = [];
  readonly #followers = new Set<(value: unknown) => boolean>();
  readonly #closers: (() => void)[] = [];
  readonly #doors = new Doors(
    async () => metricsText(await this.#status()),
    (request) => this.#handle(request),
  );
  #socket = "";
  readonly #notify = notifier();
  #sequence = 0;
  #cluster!: Cluster;
  /** Of the file, as #cluster has it. */
  #text: string | undefined;
  /** Of the file, as it was last read, loaded or refused; undefined: it could not be read. */
  #judged: string | undefined;
  #role: ActiveRole = { reason: "" };
  #loadedAt = "";
  #loadError: string | undefined;
  #director: Director | undefined;
  #failover: FailoverWorker | undefined;
  #wires: DirectorWires | undefined;
  #timer: NodeJS.Timeout | undefined;
  #silence: SilenceReport | undefined;
  #guarding = false;
  /** While it stops nothing is done any more but what the hand-over of the VIPs needs. */
  #life: "running" | "stopping" | "ended" = "running";
  #fail: (error: unknown) => void = () => {};

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#journal = new EventJournal(options.stateDir, 16 * 1024 * 1024);
  }

  /** Resolves when it was told to stop and has handed over. Errors: what kept it from starting, or broke it. */
  async run(): Promise<void> {
    const broke = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    broke.catch(() => {}); // told by the race below, or after the end, when nobody asks any more
    try {
      await this.#begin();
      const stop = new Promise<void>((resolve) => {
        if (this.#options.signal.aborted) resolve();
        else this.#options.signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await Promise.race([stop, broke]);
    } finally {
      await this.#end();
    }
  }

  // Beginning and end

  async #begin(): Promise<void> {
    const read = this.#clusterOf(this.#options.readFile());
    if (!read.ok) throw new HostError("agent/bad-data", read.why, { remedy: "mend the cluster file and start again" });
    const cluster = read.value;
    this.#cluster = cluster;
    this.#text = this.#judged;
    this.#role = activeRole(cluster, this.#options.as);
    this.#journal.setLimit(cluster.agent.journalMaxOctets);
    const before = this.#journal.last(eventsRemembered);
    this.#events.push(...before);
    this.#sequence = before.at(-1)?.sequence ?? 0;
    this.#report({ level: "info", code: "agent/start", subject: this.#hostName(), text: this.#role.reason });
    this.#socket = this.#options.socket ?? cluster.agent.socket;
    const control = await listenControl(this.#socket, (request) => this.#handle(request));
    this.#closers.push(() => control.close());
    // A real server that is also a director is silent before it can be anything else.
    if (this.#role.realServer !== undefined) await this.#guard();
    if (this.#role.director !== undefined) await this.#direct(this.#role.director);
    (await this.#doors.prepare(cluster.agent)).keep();
    this.#closers.push(() => this.#doors.close());
    this.#closers.push(this.#options.onReloadWish((cause) => void this.#reload(false, cause)));
    if (this.#role.realServer !== undefined) {
      const timer = setInterval(() => void this.#guard(), this.#options.silenceEveryMs);
      this.#closers.push(() => clearInterval(timer));
    }
    this.#loadedAt = new Date().toISOString();
    this.#startWatchdog();
    this.#notify.say(`READY=1\nSTATUS=${this.#role.reason}`);
  }

  /** What the file means; the same words mean the same, and are not read twice. */
  #clusterOf(file: Outcome<string>): Outcome<Cluster> {
    this.#judged = file.ok ? file.value : undefined;
    if (!file.ok) return file;
    return file.value === this.#text ? { ok: true, value: this.#cluster } : this.#options.clusterOf(file.value);
  }

  async #direct(host: DirectorHost): Promise<void> {
    const cluster = this.#cluster;
    this.#loadModules(cluster);
    const engine = ipvsEngine();
    this.#closers.push(() => engine.close());
    let nowMs = 0; // one reading of the clock, and one look at the deadlines, for all that came together
    const together = (body: () => void): void =>
      this.#guarded(() => {
        nowMs = performance.now();
        body();
      });
    const probes = new ProbeSockets({
      onEvent: (attempt, event) => this.#director?.probe(attempt, event, nowMs),
      together,
      toNeighbour: (address, packet) => this.#wires?.toNeighbour(address, packet),
    });
    this.#closers.push(() => probes.close());
    const wires = new DirectorWires({
      macOf: (link) => macOf(link),
      onArp: (link, arp) => this.#guarded(() => this.#director?.heardArp(link, arp, performance.now())),
      onPacket: (octets, port, from) =>
        this.#guarded(() => this.#director?.heardPacket(octets, port, from, performance.now())),
      onError: (error) => this.#hostFault(error),
    });
    this.#wires = wires;
    this.#closers.push(() => wires.close());
    const director = new Director({
      ports: {
        engine,
        probes,
        sendFrame: (link, frame) => wires.sendFrame(link, frame),
        macOf,
        track: (instance, delta, fault) => this.#failover?.track(instance, delta, fault),
        saveOwned: (keys) => this.#saveOwned(keys),
      },
      owned: this.#readOwned(),
      drained: this.#readDrains(),
      attemptsLimit: attemptsLimitOf(),
      random: Math.random,
      ...bodyTools,
      report: (event) => this.#report(event),
    });
    const prepare = (): void => wires.load(cluster, host);
    // The table first: whoever takes the VIPs must be able to forward what comes with them.
    const loaded = director.load(cluster, host, { force: false, prepare }, performance.now());
    if (!loaded.ok) throw new Error(`a first file was refused: ${loaded.why}`);
    if (loaded.fault !== undefined) throw loaded.fault;
    this.#report({
      level: "info",
      code: "table/loaded",
      subject: "ipvs",
      text: `${loaded.changes} changes to the table`,
    });
    this.#director = director;
    this.#saveDrains(director); // whose server or service the file names no longer is not drained by it
    const config = failoverConfig(cluster, host, requiredMac);
    this.#failover = await FailoverWorker.start(config, {
      onEvent: (event) => this.#takeFailover(() => director.failover(event, performance.now())),
      onLinks: (up) =>
        this.#guarded(() => {
          director.links(up, performance.now());
          for (const [link, isUp] of up) wires.linkIs(link, isUp);
        }),
      onError: (error) => this.#fail(error),
    });
    director.tracking.load(cluster.failover.instances, performance.now());
    this.#arm();
  }

  /** Best effort: a kernel with everything built in needs none, and what is really missing says so itself. */
  #loadModules(cluster: Cluster): void {
    const schedulers = new Set(cluster.services.map((s) => `ip_vs_${s.scheduler}`));
    for (const module of ["ip_vs", ...schedulers])
      try {
        loadModule(module);
      } catch {
        // openIpvs and addService have better words for it
      }
  }

  async #end(): Promise<void> {
    if (this.#life !== "running") return;
    this.#life = "stopping";
    this.#notify.say("STOPPING=1");
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    if (this.#failover !== undefined) {
      let limit: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        limit = setTimeout(resolve, stopLimitMs);
      });
      await Promise.race([this.#failover.stop(), patience]);
      clearTimeout(limit);
    }
    this.#life = "ended";
    try {
      this.#director?.stop({ clear: this.#options.clearOnStop }, performance.now());
    } catch (error) {
      this.#hostFault(error);
    }
    this.#report({ level: "info", code: "agent/stop", subject: this.#hostName(), text: "stopped" });
    for (const close of this.#closers.reverse()) close();
    this.#journal.close();
  }

  // Time and errors

  #guarded(action: () => void): void {
    if (this.#life === "running") this.#attempt(action);
  }
  /** What failover says counts until it has ended: the last of it is how the VIPs are handed over. */
  #takeFailover(action: () => void): void {
    if (this.#life !== "ended") this.#attempt(action);
  }
  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#hostFault(error);
    }
    this.#arm();
  }
  readonly #toldFaults = new Map<string, number>();
  #hostFault(error: unknown): void {
    if (!(error instanceof HostError)) {
      this.#fail(error);
      return;
    }
    const before = this.#toldFaults.get(error.code);
    if (before !== undefined && performance.now() - before < 60_000) return;
    this.#toldFaults.set(error.code, performance.now());
    this.#report({ level: "warning", code: error.code, subject: "host", text: error.message, remedy: error.remedy });
  }
  #armedForMs = Number.POSITIVE_INFINITY;
  #arm(): void {
    if (this.#life !== "running" || this.#director === undefined) return;
    const deadlineMs = this.#director.deadlineMs;
    if (this.#timer !== undefined && this.#armedForMs <= deadlineMs) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#armedForMs = deadlineMs;
    const waitMs = Math.min(Math.max(0, Math.ceil(deadlineMs - performance.now())), 60_000);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#armedForMs = Number.POSITIVE_INFINITY;
      this.#guarded(() => this.#director?.tick(performance.now()));
    }, waitMs);
  }
  #startWatchdog(): void {
    const { watchdogMs } = this.#notify;
    if (watchdogMs === undefined) return;
    const timer = setInterval(() => {
      // The thread that sends adverts must be alive too: its silence is what a watchdog is for.
      const alive = this.#failover === undefined ? Promise.resolve() : this.#failover.status();
      alive.then(
        () => this.#notify.say("WATCHDOG=1"),
        () => {},
      );
    }, watchdogMs / 3);
    this.#closers.push(() => clearInterval(timer));
  }

  // Events

  #hostName(): string {
    return this.#role.director?.name ?? this.#role.realServer?.name ?? "this host";
  }
  #report(event: AgentEvent): void {
    const stamped: StampedEvent = { at: new Date().toISOString(), sequence: ++this.#sequence, ...event };
    this.#events.push(stamped);
    if (this.#events.length > eventsRemembered) this.#events.shift();
    this.#journal.append(stamped);
    this.#options.log(stamped);
    for (const say of [...this.#followers]) if (!say(stamped)) this.#followers.delete(say);
  }

  // Real server

  async #guard(): Promise<void> {
    if (this.#guarding || this.#life !== "running") return;
    this.#guarding = true;
    try {
      const before = this.#silence;
      const report = await this.#options.applySilence(this.#cluster);
      if (report.state === "busy") return;
      this.#silence = report;
      const isNews = report.state === "changed" || before?.state !== report.state || before.text !== report.text;
      if (!isNews || (before?.state === "changed" && report.state === "silent")) return;
      const level = report.state === "silent" ? "info" : report.state === "changed" ? "warning" : "alarm";
      this.#report({ level, code: `silence/${report.state}`, subject: this.#hostName(), text: report.text });
    } finally {
      this.#guarding = false;
    }
  }

  // Configuration

  #reloading: Promise<unknown> = Promise.resolve();
  /** One after the other: each judges what the one before has left. */
  #reload(force: boolean, cause: ReloadCause = "asked"): Promise<ControlAnswer> {
    const answer = this.#reloading.then(() => this.#reloadNow(force, cause));
    this.#reloading = answer.catch(() => {});
    return answer;
  }
  async #reloadNow(force: boolean, cause: ReloadCause): Promise<ControlAnswer> {
    let doors: ReadyDoors | undefined;
    const refused = (why: string, remedy: string): ControlAnswer => {
      this.#loadError = why;
      this.#report({ level: "alarm", code: "agent/reload-refused", subject: this.#hostName(), text: why, remedy });
      return { ok: false, error: { message: why, remedy } };
    };
    // What a new file names must not take VIPs from which this host is about to go.
    if (this.#life !== "running") return stopping;
    const keep = "the old configuration stays in force; mend the file and reload";
    const file = this.#options.readFile();
    // Who edits the file and asks for a reload has it loaded when its change is noticed.
    if (cause === "file" && file.ok && file.value === this.#judged) return { ok: true, value: { text: unchanged } };
    this.#notify.say(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    try {
      const read = this.#clusterOf(file);
      if (!read.ok) return refused(read.why, keep);
      const cluster = read.value;
      const role = activeRole(cluster, this.#options.as);
      const sameRole =
        (role.director === undefined) === (this.#role.director === undefined) &&
        (role.realServer === undefined) === (this.#role.realServer === undefined);
      if (!sameRole) return refused("this host's role changes with the new file", "restart the agent for that");
      doors = await this.#doors.prepare(cluster.agent);
      if (this.#life !== "running") return stopping;
      let text = "nothing to change on a real server but its silence";
      if (role.director !== undefined && this.#director !== undefined) {
        const config = failoverConfig(cluster, role.director, requiredMac);
        const { director } = role;
        const prepare = (): void => this.#wires?.load(cluster, director);
        const loaded = this.#director.load(cluster, director, { force, prepare }, performance.now());
        if (!loaded.ok) return refused(loaded.why, loaded.remedy);
        this.#saveDrains(this.#director); // a server that leaves the file takes its drain along
        this.#failover?.reload(config);
        // Names may be new in the thread: what is tracked is told again, after the reload.
        this.#director.tracking.load(cluster.failover.instances, performance.now());
        text = `${loaded.changes} changes to the table`;
        if (loaded.fault !== undefined) {
          this.#hostFault(loaded.fault);
          text = `in force, but not in the table yet, which is tried again: ${messageOf(loaded.fault)}`;
        }
        this.#arm();
      }
      doors.keep();
      if ((this.#options.socket ?? cluster.agent.socket) !== this.#socket)
        text = `${text}; it goes on to answer on ${this.#socket}, as another agent.socket needs a restart`;
      if (this.#judged === this.#text) text = `${unchanged}; ${text}`;
      this.#cluster = cluster;
      this.#text = this.#judged;
      this.#role = role;
      this.#journal.setLimit(cluster.agent.journalMaxOctets);
      this.#loadedAt = new Date().toISOString();
      this.#loadError = undefined;
      this.#report({ level: "info", code: "agent/reloaded", subject: this.#hostName(), text });
      if (role.realServer !== undefined) await this.#guard();
      return { ok: true, value: { text } };
    } catch (error) {
      if (error instanceof HostError) return refused(error.message, error.remedy);
      throw error;
    } finally {
      doors?.drop();
      this.#notify.say("READY=1");
    }
  }

  // What is kept over restarts

  /** The first start, and a file that a crash tore, are empty: what the cluster names is adopted anyway. */
  #readList(name: string): unknown[] {
    try {
      const value: unknown = JSON.parse(readFileSync(join(this.#options.stateDir, name), "utf8"));
      return Array.isArray(value) ? value : [];
    } catch {
      return [];
    }
  }
  #writeList(name: string, list: readonly unknown[]): void {
    const path = join(this.#options.stateDir, name);
    try {
      mkdirSync(this.#options.stateDir, { recursive: true, mode: 0o755 });
      writeFileSync(`${path}.new`, JSON.stringify(list));
      renameSync(`${path}.new`, path);
    } catch (error) {
      const text = `cannot write ${path}: ${(error as NodeJS.ErrnoException).code}`;
      const remedy = "a restart will not know what was ours and what was drained: free the disk";
      this.#report({ level: "warning", code: "agent/state", subject: "host", text, remedy });
    }
  }
  #readOwned(): string[] {
    return this.#readList("services.json").filter((v) => typeof v === "string");
  }
  #saveOwned(keys: readonly string[]): void {
    this.#writeList("services.json", keys);
  }
  #saveDrains(director: Director): void {
    this.#writeList("drains.json", director.health.drains());
  }
  #readDrains(): { service: string; server: string }[] {
    return this.#readList("drains.json").flatMap((entry) => {
      const { service, server } = (entry ?? {}) as { service?: unknown; server?: unknown };
      return typeof service === "string" && typeof server === "string" ? [{ service, server }] : [];
    });
  }

  // Control

  async #status(): Promise<AgentStatus> {
    const nowMs = performance.now();
    const failover: FailoverStatus | undefined = await this.#failover?.status();
    const director = this.#director?.services(nowMs);
    const { director: d, realServer } = this.#role;
    return {
      version: 1,
      cluster: this.#cluster.name,
      host: this.#hostName(),
      role: d === undefined ? "realServer" : realServer === undefined ? "director" : "both",
      forMs: nowMs - this.#startedAtMs,
      instances: (failover?.instances ?? []).map((i) => instanceReport(i, this.#cluster)),
      services: director?.services ?? [],
      foreign: director?.foreign ?? [],
      guilty: this.#director?.guilty() ?? [],
      problems: this.#director?.problems() ?? [],
      silence: this.#silence,
      configuration: { loadedAt: this.#loadedAt, error: this.#loadError },
      gauges: { checks: this.#director?.health.checks ?? 0, latestAdvertMs: failover?.latestMs ?? 0 },
      counters: {
        attempts: this.#director?.health.attempts ?? 0,
        journalLost: this.#journal.lost,
        ...Object.fromEntries(Object.entries(failover?.strays ?? {}).map(([k, v]) => [`stray ${k}`, v])),
      },
      events: this.#events.slice(-eventsInStatus),
    };
  }

  readonly #commands: Readonly<Record<string, (request: ControlRequest) => Promise<ControlAnswer> | ControlAnswer>> = {
    status: async () => ({ ok: true, value: await this.#status() }),
    events: (request) => ({
      ok: true,
      value: this.#events.slice(Math.max(0, this.#events.length - countOf(request.last, eventsRemembered))),
      follow: (say) => {
        this.#followers.add(say);
        return () => void this.#followers.delete(say);
      },
    }),
    reload: (request) => this.#reload(request.force === true),
    drain: (request) => this.#drain(request, true),
    undrain: (request) => this.#drain(request, false),
    switchover: async (request) => {
      const instance = typeof request.instance === "string" ? request.instance : undefined;
      if (this.#failover === undefined) return notDirector;
      if (request.release === true) return { ok: true, value: { instances: await this.#failover.release() } };
      const instances = await this.#failover.switchOver(instance);
      if (instances.length > 0) return { ok: true, value: { instances } };
      return no("this director is master of nothing", "run it on the director that `vipward status` names as owner");
    },
    release: (request) => {
      if (this.#director === undefined) return notDirector;
      const service = String(request.service);
      const done = this.#director.releaseKillSwitch(service, performance.now());
      this.#arm();
      return done ? { ok: true, value: { service } } : no(`${service} holds no failing server`, "see vipward status");
    },
  };
  #drain(request: ControlRequest, on: boolean): ControlAnswer {
    if (this.#director === undefined) return notDirector;
    const server = String(request.server);
    const service = typeof request.service === "string" ? request.service : undefined;
    const timeoutMs = typeof request.timeoutMs === "number" && request.timeoutMs >= 0 ? request.timeoutMs : undefined;
    const nowMs = performance.now();
    const services = on
      ? this.#director.drain(server, service, timeoutMs, "asked for by a person", nowMs)
      : this.#director.undrain(server, service, nowMs);
    this.#saveDrains(this.#director);
    this.#arm();
    if (services.length > 0) return { ok: true, value: { server, services } };
    const names = this.#cluster.realServers.map((r) => r.name).slice(0, 20);
    return no(`no such service has a real server ${server}`, `real servers: ${names.join(", ")}`);
  }

  #handle(request: ControlRequest): Promise<ControlAnswer> {
    const command = Object.hasOwn(this.#commands, request.command) ? this.#commands[request.command] : undefined;
    if (command === undefined)
      return Promise.resolve(no("no such command", `one of ${Object.keys(this.#commands).join(", ")}`));
    return Promise.resolve(command(request));
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const unchanged = "the file is as it was when it was loaded";
const no = (message: string, remedy: string): ControlAnswer => ({ ok: false, error: { message, remedy } });
const stopping = no("the agent is being stopped", "start it again: it reads the file anew");
const notDirector = no("this host is no director", "run it on a director");
const countOf = (value: unknown, most: number): number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 ? Math.min(value, most) : most;

function macOf(link: string): Mac | undefined {
  const netlink = openRtnetlink();
  try {
    return netlink.link(link)?.mac;
  } finally {
    netlink.close();
  }
}
function requiredMac(link: string): Mac {
  const mac = macOf(link);
  if (mac !== undefined) return mac;
  throw new HostError("agent/ENODEV", `the cluster file names ${link}, and this host has no such Ethernet link`, {
    remedy: "list the links with `ip link`; the file's `interface` of this director must be one of them",
  });
}
