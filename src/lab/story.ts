/**
 * The story of one cluster under one forwarding method: healthy wiring, the problem, the leak, the cure, the proof.
 * Told on any stage; every number comes from the stage's tap, its client's sockets or its engine.
 */
import { isDeepStrictEqual } from "node:util";
import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { EngineCount } from "../ports/engine.ts";
import type { Observed } from "./observations.ts";
import type { Plot } from "./plot.ts";
import type {
  ChapterReport,
  CountStep,
  Cure,
  CureChange,
  CureStep,
  LabEvent,
  LeakStep,
  ReachStep,
  TrafficStep,
  Verdict,
  WhoHasShare,
  WhoHasStep,
} from "./report.ts";
import { silence } from "./silence.ts";
import { choiceOf } from "./spread.ts";
import type { Answers, Stage } from "./stage.ts";
import { addressOn, type LabHost } from "./topology.ts";
import type { TrafficResult } from "./traffic.ts";
import { judge, judgeProof } from "./verdicts.ts";

export interface StoryOptions {
  readonly cure: Cure;
  readonly nowMs: () => number;
  readonly tell: (event: LabEvent) => void;
  readonly signal: AbortSignal;
  /** Who-has is asked so often for each VIP; 20 when absent. */
  readonly asks?: number;
  /** False: the engine's own counts are not waited for, nor compared with the wire. */
  readonly withCounts?: boolean;
}

const defaultAsks = 20;
/** Real caches hold an entry for minutes; the story has seconds. */
const refreshMs = 250;

class Story {
  readonly #plot: Plot;
  readonly #stage: Stage;
  readonly #options: StoryOptions;
  readonly #names: ReadonlyMap<Mac, string>;

  constructor(plot: Plot, stage: Stage, options: StoryOptions) {
    this.#plot = plot;
    this.#stage = stage;
    this.#options = options;
    this.#names = plot.cast.nameOfMac;
  }

  #say(text: string): void {
    this.#options.signal.throwIfAborted();
    this.#options.tell({ kind: "progress", text });
  }

  #shares(answers: Answers): WhoHasShare[] {
    return answers.by
      .map(({ mac, answers: n, first }) => ({ machine: this.#names.get(mac) ?? mac, mac, answers: n, first }))
      .sort((a, b) => b.first - a.first || (a.machine < b.machine ? -1 : 1));
  }

  async #whoHasVips(): Promise<WhoHasStep[]> {
    const asks = this.#options.asks ?? defaultAsks;
    this.#say(`asking ${asks} times who has the VIP`);
    const all = await this.#stage.whoHas(this.#plot.client.name, this.#plot.vips, asks);
    return all.map((a) => ({ vip: formatIpv4(a.target), asked: a.asked, shares: this.#shares(a) }));
  }

  async #traffic(observe = () => this.#stage.observe()): Promise<TrafficStep> {
    const { traffic } = this.#plot;
    this.#say(`${traffic.longLived + traffic.shortLived} connections for ${traffic.durationMs / 1000} s`);
    await observe();
    const result = await unlessAborted(this.#options.signal, this.#stage.traffic(traffic, refreshMs));
    await this.#stage.pause(200); // the last frames reach the tap
    return trafficStep(this.#plot, this.#stage.engine, result, await this.#stage.observed());
  }

  /** The policy of the host, or the part of it that `cure` names; gives back what really changed. */
  #silence(host: LabHost, cure: Cure): CureChange[] {
    return this.#stage.silence?.apply(host.name, cure) ?? this.#stage.setSysctls(host.name, silence(host, cure));
  }

  async problem(): Promise<ChapterReport["problem"]> {
    for (const { host } of this.#plot.realServers) this.#silence(host, "none");
    const whoHas = await this.#whoHasVips();
    const several = whoHas.some(({ shares }) => shares.length > 1);
    let traffic = await this.#traffic();
    // It is a race: the same machine may win each time while the connections last.
    for (let triesLeft = 2; several && traffic.longLivedBroken === 0 && triesLeft > 0; triesLeft--) {
      this.#say("the same machine answered first each time: once more");
      traffic = await this.#traffic();
    }
    return { whoHas, traffic };
  }

  /** Whom the router's cache holds for the address. */
  #cached(address: Ipv4): string {
    const mac = this.#stage.neighbour(this.#plot.router.name, address);
    return mac === undefined ? "nobody" : (this.#names.get(mac) ?? mac);
  }

  /** Whom the router learns when it asks anew; asked again when a word of another machine came in between. */
  async #learnt(address: Ipv4): Promise<string> {
    const { router, lan, cast } = this.#plot;
    for (let triesLeft = 4; ; triesLeft--) {
      this.#stage.forgetNeighbours(router.name);
      await this.#stage.ping(router.name, addressOn(router, lan), address, 3000);
      const learnt = this.#cached(address);
      if (learnt === cast.owner || triesLeft === 0) return learnt;
    }
  }

  /**
   * Half of the cure is applied to one real server on purpose: no answers any more, so only its leak is left to move the
   * VIP. The others have all of it: what they still say to connections that broke could move the VIP as well. Undefined
   * where no real server has a policy of two halves.
   */
  async leak(): Promise<LeakStep | undefined> {
    const { realServers, router, vips, lan } = this.#plot;
    const vip = vips[0];
    const near = realServers.filter(({ host }) => host.links.some((l) => l.wire === lan));
    const culprit = near.find(({ host }) => this.#stage.silence?.hasHalves(host.name) ?? true);
    if (near.length === 0 || vip === undefined) throw new RangeError("a lab needs a VIP and a real server on its wire");
    if (culprit === undefined) return undefined;
    for (const real of realServers) this.#silence(real.host, real === culprit ? "ignore-only" : "full");
    const name = culprit.host.name;
    const routerAddress = addressOn(router, lan);
    this.#say(`${name} answers nothing now, but says a word in the VIP's name`);
    const before = await this.#learnt(vip);
    const [answers] = await this.#stage.whoHas(this.#plot.client.name, [vip], defaultAsks);
    await this.#stage.observe();
    this.#stage.forgetNeighbours(name);
    this.#stage.speak(name, vip, routerAddress);
    await this.#stage.pause(500);
    const observed = await this.#stage.observed();
    const after = this.#cached(vip);
    for (const { host } of realServers) this.#silence(host, "none");
    this.#stage.forgetNeighbours(router.name);
    return {
      realServer: name,
      neighbour: router.name,
      vip: formatIpv4(vip),
      whoHas: answers === undefined ? [] : this.#shares(answers),
      before,
      after,
      leaked: observed.leaks[name] ?? 0,
    };
  }

  cure(): CureStep {
    this.#say("applying the silence policy");
    const startMs = this.#options.nowMs();
    const changes = this.#plot.realServers.flatMap(({ host }) => this.#silence(host, this.#options.cure));
    const tookMs = this.#options.nowMs() - startMs;
    // what the neighbours learned before would be confirmed by unicast for ever (B-N-06)
    for (const host of [this.#plot.client, this.#plot.router, this.#plot.director])
      this.#stage.forgetNeighbours(host.name);
    const policies = this.#plot.realServers.map(({ host }) => this.#stage.silence?.policyOf(host.name) ?? "arp-sysctl");
    return { cure: this.#options.cure, policy: [...new Set(policies)].join(", "), changes, tookMs };
  }

  async #reach(): Promise<ReachStep[]> {
    const steps: ReachStep[] = [];
    for (const { host, wire } of this.#plot.realServers) {
      this.#say(`is ${host.name} itself still there`);
      const rip = addressOn(host, wire);
      const neighbours = this.#plot.neighboursOf(host);
      const asker = neighbours[0];
      if (asker === undefined) throw new RangeError(`${host.name} has no neighbour`);
      const [answers] = await this.#stage.whoHas(asker.host.name, [rip], 3);
      this.#stage.forgetNeighbours(host.name);
      const reached: string[] = [];
      for (const { host: neighbour, address } of neighbours)
        if (await this.#stage.ping(host.name, rip, address, 3000)) reached.push(neighbour.name);
      steps.push({
        realServer: host.name,
        rip: formatIpv4(rip),
        answeredBy: answers === undefined ? [] : this.#shares(answers).map((s) => s.machine),
        reached,
        asked: neighbours.map((n) => n.host.name),
      });
    }
    return steps;
  }

  get #lagMs(): number {
    return this.#options.withCounts === false ? 0 : this.#stage.countsLagMs;
  }

  /**
   * The engine's counts at the moment of a look at the wire. A machine may still send again what it sent to a
   * connection that broke, and a packet between the look and the count is in one of them only: so it is looked again
   * until nothing was counted meanwhile.
   */
  async #counted<T>(look: () => Promise<T>): Promise<{ readonly counts: readonly EngineCount[]; readonly looked: T }> {
    await this.#stage.pause(this.#lagMs);
    for (let counts = this.#stage.counts(), looksLeft = 5; ; looksLeft--) {
      const looked = await look();
      await this.#stage.pause(this.#lagMs);
      const after = this.#stage.counts();
      if (looksLeft === 1 || isDeepStrictEqual(counts, after)) return { counts, looked };
      counts = after;
    }
  }

  async proof(): Promise<ChapterReport["proof"]> {
    await this.#stage.observe();
    const whoHas = await this.#whoHasVips();
    const { leaks: early } = await this.#stage.observed(); // the traffic counts anew
    let before: readonly EngineCount[] = [];
    const traffic = await this.#traffic(async () => {
      before = (await this.#counted(() => this.#stage.observe())).counts;
    });
    if (this.#lagMs > 0) this.#say("waiting for the engine to bring its counters up to date");
    const count = async (): Promise<CountStep[]> => {
      const { counts: after, looked } = await this.#counted(() => this.#stage.observed());
      return countSteps(this.#plot, this.#stage.engine, { before, after }, looked);
    };
    let counts = await count();
    // Both only grow: what is late in one of them is there at a later look, what is missing is missing then, too.
    for (let looksLeft = 2; looksLeft > 0 && counts.some((c) => c.counted !== c.seen); looksLeft--)
      counts = await count();
    const reach = await this.#reach();
    const { leaks: late } = await this.#stage.observed();
    return { whoHas, traffic, reach, counts, leaks: added(early, late), lostFrames: await this.#stage.lostFrames() };
  }
}

/** The work's outcome, or the signal's reason as soon as it is aborted; the work itself ends with the stage. */
function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function added(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Record<string, number> {
  const sum: Record<string, number> = { ...a };
  for (const [key, n] of Object.entries(b)) sum[key] = (sum[key] ?? 0) + n;
  return sum;
}

function trafficStep(plot: Plot, engine: string, result: TrafficResult, seen: Observed): TrafficStep {
  const { connections } = result;
  const outcome = (o: string): number => connections.filter((c) => c.outcome === o).length;
  const onWire = [...seen.connections.values()];
  const owner = plot.cast.owner;
  return {
    connections: connections.length,
    longLived: connections.filter((c) => c.kind === "long").length,
    tookMs: Math.round(result.tookMs),
    openedAtDirector: onWire.filter((c) => c.opened === owner).length,
    bypassedDirector: onWire.filter((c) => c.machines.some((m) => m !== owner)).length,
    changedMachine: onWire.filter((c) => c.machines.length > 1).length,
    completed: outcome("completed"),
    refused: outcome("refused"),
    reset: outcome("reset"),
    hung: outcome("hang"),
    longLivedBroken: connections.filter((c) => c.kind === "long" && (c.outcome === "reset" || c.outcome === "hang"))
      .length,
    leaks: seen.leaks,
    answers: seen.answers,
    resets: seen.resets,
    services: plot.services.map(({ service }) => {
      const vip = formatIpv4(service.vip);
      const served: Record<string, number> = {};
      for (const c of connections)
        if (c.target.vip === vip && c.target.port === service.port)
          for (const name of c.servedBy.slice(0, 1)) served[name] = (served[name] ?? 0) + 1;
      return { vip, port: service.port, scheduler: choiceOf(engine, service.scheduler), served };
    }),
  };
}

function countSteps(
  plot: Plot,
  engine: string,
  { before, after }: { readonly before: readonly EngineCount[]; readonly after: readonly EngineCount[] },
  seen: Observed,
): CountStep[] {
  const counted = new Map<Ipv4, number>();
  const add = (counts: readonly EngineCount[], sign: 1 | -1): void => {
    for (const { realServer, packets } of counts)
      counted.set(realServer, (counted.get(realServer) ?? 0) + sign * packets);
  };
  add(before, -1);
  add(after, 1);
  return plot.realServers.map(({ host, wire }) => ({
    engine,
    realServer: host.name,
    counted: counted.get(addressOn(host, wire)) ?? 0,
    seen: seen.forwarded[host.name]?.packets ?? 0,
  }));
}

/** The proof alone, of a cluster that someone else has cured. */
export async function tellProof(
  plot: Plot,
  stage: Stage,
  options: StoryOptions,
): Promise<{ readonly proof: ChapterReport["proof"]; readonly verdicts: readonly Verdict[] }> {
  const proof = await new Story(plot, stage, options).proof();
  const verdicts = judgeProof(proof, { owner: plot.cast.owner, engine: stage.engine, weights: plot.weights });
  return { proof, verdicts: verdicts.filter((v) => options.withCounts !== false || v.id !== "proof/counts-agree") };
}

/** Tells the whole story of one chapter. Rejects with the signal's reason when it is aborted between two steps. */
export async function tellChapter(plot: Plot, stage: Stage, options: StoryOptions): Promise<ChapterReport> {
  const { tell, nowMs } = options;
  const startMs = nowMs();
  const story = new Story(plot, stage, options);
  tell({ kind: "chapter", forwarding: plot.forwarding, engine: stage.engine, kernel: stage.kernel });
  tell({ kind: "machines", machines: stage.machines });
  stage.program(plot.services.map((s) => s.service));
  const problem = await story.problem();
  tell({ kind: "problem", step: problem });
  const leak = await story.leak();
  if (leak !== undefined) tell({ kind: "leak", step: leak });
  const cure = story.cure();
  tell({ kind: "cure", step: cure });
  const proof = await story.proof();
  tell({ kind: "proof", step: proof });
  const verdicts = judge(
    { problem, ...(leak === undefined ? {} : { leak }), cure, proof },
    {
      owner: plot.cast.owner,
      engine: stage.engine,
      weights: plot.weights,
      quietByNature: stage.silence?.quietByNature ?? false,
    },
  );
  tell({ kind: "verdicts", verdicts });
  return {
    forwarding: plot.forwarding,
    engine: stage.engine,
    machines: stage.machines,
    problem,
    ...(leak === undefined ? {} : { leak }),
    cure,
    proof,
    verdicts,
    tookMs: Math.round(nowMs() - startMs),
  };
}
