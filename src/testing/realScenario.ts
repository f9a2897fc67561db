/**
 * A scenario on the running kernel: the machines of a cluster file as namespaces, directors by realDirectors.ts, the
 * policies of `vipward apply` on the real servers, and the faults of realFaults.ts. What lab/sim/scenario.ts is on the
 * model.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Journal } from "../apply/journal.ts";
import { encodeRecord } from "../apply/journalCodec.ts";
import { formatIpv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { FileJournal } from "../host/perform/journalFile.ts";
import { readFacts } from "../host/perform/readFacts.ts";
import { whoHas } from "../host/whoHas.ts";
import { type BuiltMachine, type BuiltNetwork, buildNetwork } from "../lab/netns/build.ts";
import type { ClientWorkerData, ClientWorkerReply } from "../lab/netns/clientWorker.ts";
import { openTap, type Tap } from "../lab/netns/tap.ts";
import type { WebWorkerData, WebWorkerReply, WebWorkerRequest } from "../lab/netns/webWorker.ts";
import { LabWorker } from "../lab/netns/workers.ts";
import type { Plot } from "../lab/plot.ts";
import type { ScenarioOptions } from "../lab/sim/scenario.ts";
import { addressOn } from "../lab/topology.ts";
import type { ConnectionResult, TrafficPlan } from "../lab/traffic.ts";
import { BootingServer } from "./realBoot.ts";
import type { Directing, RealDirector } from "./realDirectors.ts";
import { becomesMaster, dropGratuitous, type Impairment, inflict, plugged, type Stricken } from "./realFaults.ts";
import { killedRun, runVipward } from "./realVipward.ts";
import { type Seen, standingOf } from "./truth.ts";

const settleMs = 90_000;
/** In a race each machine is the quickest for so long; with sch_netem the wires see to that. */
const stirMs = 300;

/** As the next run would at its start: the model begins with such a journal, and counts calls from there. */
async function foldJournal(journal: FileJournal): Promise<void> {
  const { nextRun, owned: changes } = await Journal.peek(journal);
  await journal.replace(encodeRecord({ type: "owned", nextRun, changes }));
}

const workerFile = (name: string): URL => new URL(`../lab/netns/${name}.js`, import.meta.url);

export class RealScenario implements Stricken {
  readonly plot: Plot;
  readonly network: BuiltNetwork;
  readonly directors = new Map<string, RealDirector>();
  readonly paused = new Set<string>();
  readonly impaired = new Map<string, Impairment>();
  readonly #directing: Directing;
  readonly #cluster: Cluster;
  readonly #text: string;
  readonly #options: ScenarioOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), "vipward-truth-"));
  /** By the real server that they serve. */
  readonly #webServerOf = new Map<string, LabWorker<WebWorkerRequest, WebWorkerReply>>();
  /** Real servers that boot, where the story restarts them. */
  readonly #booting = new Map<string, BootingServer>();
  readonly #closers: (() => void | Promise<void>)[] = [];

  constructor(
    cluster: Cluster,
    text: string,
    plot: Plot,
    options: ScenarioOptions,
    { prefix, directing }: { readonly prefix: string; readonly directing: Directing },
  ) {
    this.#directing = directing;
    this.#cluster = cluster;
    this.#text = text;
    this.plot = plot;
    this.#options = options;
    this.network = buildNetwork(plot.topology, prefix);
  }

  machine(name: string): BuiltMachine {
    const found = this.network.machines.get(name);
    if (found === undefined) throw new RangeError(`no machine ${name}`);
    return found;
  }

  async run(): Promise<Seen> {
    const { plot } = this;
    if (this.#options.dropsGratuitous) dropGratuitous(this);
    for (const { host } of plot.realServers) await this.#realServer(host.name);
    const client = await this.#programs();
    for (const { name } of this.#cluster.directors) {
      await this.#director(name);
      if (name === plot.director.name && !this.#preempts) await becomesMaster(this, name);
    }
    await this.#settled();
    const tap = openTap(plot.cast, this.network.switches);
    this.#closers.push(() => tap.close());
    const { faults, durationMs, longLived, connectEveryMs, askEveryMs } = this.#options;
    const startMs = performance.now();
    const until = (atMs: number): Promise<void> => sleep(Math.max(0, startMs + atMs - performance.now()));
    const size = { longLived, shortLived: Math.floor(durationMs / connectEveryMs), durationMs };
    const traffic = client.ask({ ...plot.traffic, pauseMs: 1000, ...size });
    const stirring = this.#options.silenced ? undefined : setInterval(() => this.network.stir(), stirMs);
    this.#closers.push(() => clearInterval(stirring));
    const asking = this.#asking(askEveryMs, Math.floor(durationMs / askEveryMs));
    for (const fault of [...faults].sort((a, b) => a.atMs - b.atMs)) {
      await until(fault.atMs);
      await inflict(this, fault);
    }
    await until(durationMs);
    clearInterval(stirring);
    await asking;
    const reply = await traffic;
    if (reply.kind !== "done") throw new Error(`the client answered ${reply.kind}`);
    return this.#seen(reply.result.connections, this.#caches(), tap);
  }

  /** With its VIPs and its policy; unsilenced: the VIPs on lo, as they are. One that will restart has booted before. */
  async #realServer(name: string): Promise<void> {
    if (this.#options.faults.some((f) => f.host === name && f.action === "restart")) await this.#firstBoot(name);
    else if (this.#options.silenced) await this.vipward(name, "apply");
    else
      for (const address of this.plot.vips)
        this.machine(name).netlink.addAddress("lo", { prefix: { address, length: 32 } });
  }

  async #firstBoot(name: string): Promise<void> {
    const machine = this.machine(name);
    const server = new BootingServer(machine.host, this.#text);
    this.#booting.set(name, server);
    this.#closers.push(() => server.close());
    await server.boot(machine);
    server.apply(name);
  }

  /** As if the plug were pulled; its links go with `restart`. */
  async crash(name: string): Promise<void> {
    this.directors.get(name)?.signal("SIGKILL");
    plugged(this, name, false);
    await this.#booting.get(name)?.off();
  }

  /** New links, an empty kernel, and what its disk makes of that; a director's unit starts `vipward run`. */
  async restart(name: string): Promise<void> {
    const director = this.directors.get(name);
    await director?.close();
    this.network.renew(name);
    if (director !== undefined) await this.#director(name);
    else {
      await this.#booting.get(name)?.boot(this.machine(name));
      await this.#webServers([name]);
    }
  }

  /** `vipward apply` or `undo` on a real server, by their own code; killed at a call where `killAt` is above 0. */
  async vipward(name: string, direction: "apply" | "undo", killAt = 0): Promise<void> {
    const asked = {
      namespace: this.machine(name).namespace.name,
      stateDir: join(this.#folder, name),
      realServer: name,
      direction,
    };
    if (killAt > 0) {
      await foldJournal(new FileJournal(join(asked.stateDir, "journal")));
      if (await killedRun({ ...asked, text: this.#text, killAt })) return;
      throw new Error(`${name}: vipward ${direction} ends before its call ${killAt}`);
    }
    const outcome = await runVipward(this.#cluster, asked);
    if (outcome.kind !== "done") throw new Error(`${name}: ${JSON.stringify({ ...outcome, plan: undefined })}`);
  }

  async #programs(): Promise<LabWorker<TrafficPlan, ClientWorkerReply>> {
    const client = new LabWorker<TrafficPlan, ClientWorkerReply>(workerFile("clientWorker"), {
      namespace: this.machine(this.plot.client.name).namespace.name,
    } satisfies ClientWorkerData);
    this.#closers.push(() => client.end());
    await Promise.all([this.#webServers(this.plot.realServers.map(({ host }) => host.name)), client.next()]);
    return client;
  }

  async #webServers(names: readonly string[]): Promise<void> {
    const ports = [...new Set(this.plot.services.map(({ service }) => service.port))];
    const web = new LabWorker<WebWorkerRequest, WebWorkerReply>(workerFile("webWorker"), {
      servers: names.flatMap((host) =>
        ports.map((port) => ({ host, namespace: this.machine(host).namespace.name, port })),
      ),
    } satisfies WebWorkerData);
    for (const name of names) this.#webServerOf.set(name, web);
    this.#closers.push(() => web.end());
    await web.next();
  }

  /** From now on a real server's web server answers so. */
  async answers(host: string, status: number): Promise<void> {
    await this.#webServerOf.get(host)?.ask({ kind: "answers", host, status });
  }

  async #director(name: string): Promise<void> {
    const folder = join(this.#folder, name);
    const file = join(folder, "cluster.yaml");
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, this.#text);
    const place = { machine: this.machine(name), file, folder, plot: this.plot };
    this.directors.set(name, await this.#directing(place));
  }

  get #preempts(): boolean {
    return this.#cluster.failover.instances.every((i) => i.preempt);
  }

  holders(): string[] {
    return this.#cluster.directors
      .map((d) => d.name)
      .filter((name) =>
        this.machine(name)
          .netlink.addresses()
          .some((a) => this.plot.vips.includes(a.address)),
      );
  }

  /** The first director alone is master, and all have found every server. */
  async #settled(): Promise<void> {
    const endMs = performance.now() + settleMs;
    for (;;) {
      const ready = await Promise.all([...this.directors.values()].map((d) => d.inService()));
      if (this.holders().join() === this.plot.director.name && !ready.includes(false)) break;
      if (performance.now() > endMs)
        throw new Error(`not settled in ${settleMs} ms: ${this.holders()}\n${this.said()}`);
      await sleep(200);
    }
    await sleep(1500); // the successor's gratuitous ARP and its first looks at the wire are over
  }

  /** The router asks by broadcast now and then, as it does on the model. */
  async #asking(everyMs: number, times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      await sleep(everyMs);
      await this.#whoHas(this.plot.router.name, 1);
    }
  }
  async #whoHas(from: string, count: number): Promise<Record<string, string[]>> {
    const { namespace, host } = this.machine(from);
    const link = host.links.find((l) => l.wire === this.plot.lan);
    const report = await whoHas({
      namespace,
      interface: link?.name ?? "eth0",
      vips: this.plot.vips,
      source: { address: addressOn(host, this.plot.lan) },
      count,
      intervalMs: 60,
      decoys: 0,
    });
    const named = report.links.flatMap(({ vips }) =>
      vips.map(({ vip, owners }) => [formatIpv4(vip), owners.map((o) => this.#nameOf(o.mac))] as const),
    );
    return Object.fromEntries(named);
  }
  /** Who answers in the end. On a busy machine an answer, or a take-over, may be late: silence is asked about again. */
  async #owners(): Promise<Record<string, string[]>> {
    for (let triesLeft = 3; ; triesLeft--) {
      const owners = await this.#whoHas(this.plot.client.name, 3);
      if (triesLeft === 0 || Object.values(owners).every((names) => names.length > 0)) return owners;
    }
  }
  #nameOf = (mac: string | undefined): string =>
    mac === undefined ? "nobody" : (this.plot.cast.nameOfMac.get(mac as never) ?? mac);

  #caches(): Record<string, Record<string, string>> {
    const { plot } = this;
    const neighbours = (name: string): Record<string, string> => {
      const known = this.machine(name).netlink.neighbours();
      return Object.fromEntries(
        plot.vips.map((vip) => [formatIpv4(vip), this.#nameOf(known.find((n) => n.address === vip)?.mac)]),
      );
    };
    return Object.fromEntries([plot.client.name, plot.router.name].map((n) => [n, neighbours(n)]));
  }

  async #seen(connections: readonly ConnectionResult[], caches: Seen["caches"], tap: Tap): Promise<Seen> {
    const { plot } = this;
    const { leaks, bypassed } = tap.report();
    const broken = connections.filter((c) => c.outcome === "reset" || c.outcome === "hang");
    const ofServers = (counts: Readonly<Record<string, number>>): string[] =>
      plot.realServers.map((r) => r.host.name).filter((name) => (counts[name] ?? 0) > 0);
    return {
      owners: await this.#owners(),
      caches,
      total: connections.length,
      broken: broken.length,
      brokenLongLived: broken.filter((c) => c.kind === "long").length,
      refused: connections.filter((c) => c.outcome === "refused").length,
      failed: connections.filter((c) => c.errors > 0).length,
      misrouted: ofServers(bypassed).length > 0,
      leaks: ofServers(leaks),
      served: [...new Set(connections.flatMap((c) => c.servedBy))],
      standing: Object.fromEntries(plot.realServers.map(({ host: { name } }) => [name, this.#standing(name)])),
    };
  }

  #standing(name: string): string[] {
    return standingOf(readFacts(this.machine(name).namespace), this.plot.vips.map(formatIpv4));
  }

  /** What the directors said, for whoever has to find out why. */
  said = (): string => [...this.directors].map(([name, d]) => `--- ${name}\n${d.said().slice(-5000)}`).join("\n");
  /** A director whose process stood still for seconds says so: the machine is busy, and that was another story. */
  stoodStill = (): boolean =>
    [...this.directors].some(([name, d]) => !this.paused.has(name) && /woke-late/.test(d.said()));

  async close(): Promise<void> {
    try {
      // without a cable there is nobody to hand over to, and no reason to wait for him
      for (const name of this.directors.keys()) plugged(this, name, false);
      const closers = [...[...this.directors.values()].map((d) => () => d.close()), ...this.#closers.splice(0)];
      const ends = await Promise.allSettled(closers.map(async (close) => close()));
      for (const end of ends) if (end.status === "rejected") throw end.reason;
    } finally {
      this.network.remove({ keep: false });
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
