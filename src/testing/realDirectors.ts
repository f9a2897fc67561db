/** What runs on the directors of a real scenario: the whole agent, or on kernels without IPVS its failover thread. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentStatus } from "../agent/status.ts";
import { formatIpv4 } from "../base/ipv4.ts";
import { askAgent, type ControlAnswer } from "../host/agent/control.ts";
import { nftEngine } from "../host/engine/nft.ts";
import type { BuiltMachine } from "../lab/netns/build.ts";
import type { Plot } from "../lab/plot.ts";
import { addressOn } from "../lab/topology.ts";
import type { FromAgentNode, ToAgentNode } from "./agentNode.ts";

export interface DirectorPlace {
  readonly machine: BuiltMachine;
  /** The cluster file. */
  readonly file: string;
  /** A folder of its own. */
  readonly folder: string;
  readonly plot: Plot;
}

export interface RealDirector {
  /** Its services stand with every server up, and connections are told to the other director. */
  inService(): Promise<boolean>;
  ask(command: string, more?: Readonly<Record<string, unknown>>): Promise<ControlAnswer>;
  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
  said(): string;
  close(): Promise<void>;
}
export type Directing = (place: DirectorPlace) => Promise<RealDirector>;

const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const saidMost = 20_000;
/** A stop that takes longer is none. */
const stopMs = 30_000;

class Process {
  readonly child: ChildProcess;
  said = "";

  constructor(child: ChildProcess) {
    this.child = child;
    const keep = (piece: Buffer): void => {
      this.said = `${this.said}${piece.toString()}`.slice(-saidMost);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
  }
  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }
  signal(name: NodeJS.Signals): void {
    if (!this.hasEnded) this.child.kill(name);
  }
  async kill(): Promise<void> {
    if (this.hasEnded) return;
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
  }
}

// ---- the failover thread ----

/** Without IPVS: both directors choose by one hash, as two that share their tables would. */
function forward({ machine: { namespace, host }, plot }: DirectorPlace): () => void {
  const [link] = host.links;
  if (link === undefined) throw new RangeError(`${host.name} has no link`);
  const macOf = new Map(plot.realServers.map(({ host: h, wire }) => [addressOn(h, wire), h.links[0]?.mac]));
  const engine = nftEngine({
    inside: (body) => namespace.run(body),
    link: link.name,
    linkMac: link.mac,
    macOf: (rip) => {
      const mac = macOf.get(rip);
      if (mac === undefined) throw new RangeError(`no machine has ${formatIpv4(rip)}`);
      return mac;
    },
  });
  engine.program(plot.services.map((s) => s.service));
  return () => engine.close();
}

/** The agent's failover thread beside the nft engine: no checks, no IPVS, no watch over the real servers' silence. */
export const failoverThread: Directing = async (place) => {
  const { machine, file } = place;
  const closeEngine = forward(place);
  const args = [program("./vrrpNode.js"), file, machine.host.name];
  const node = new Process(
    machine.namespace.run(() => spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })),
  );
  return {
    inService: async () => true,
    ask: (command) => Promise.reject(new RangeError(`a failover thread alone takes no ${command}`)),
    signal: (name) => node.signal(name),
    said: () => node.said,
    close: async () => {
      await node.kill();
      closeEngine();
    },
  };
};

// ---- the whole agent ----

class AgentProcess extends Process {
  constructor() {
    super(spawn(process.execPath, [program("./agentNode.js")], { stdio: ["ignore", "pipe", "pipe", "ipc"] }));
  }
  tell(order: ToAgentNode): void {
    this.child.send(order);
  }
  /** False: it did not stop as it should. */
  async stop(): Promise<boolean> {
    if (this.hasEnded) return false;
    const ended = new Promise<boolean>((resolve) => {
      const limit = setTimeout(() => resolve(false), stopMs);
      this.child.once("message", (message: FromAgentNode) => {
        clearTimeout(limit);
        resolve(message === "ended");
      });
    });
    this.tell({ kind: "stop" });
    return ended;
  }
}

/** Processes that run the agent: each story takes one for each director, and gives back those that live. */
export class AgentProcesses {
  readonly #idle: AgentProcess[];
  readonly #all = new Set<AgentProcess>();

  constructor(count: number) {
    this.#idle = Array.from({ length: count }, () => this.#spawn());
  }
  #spawn(): AgentProcess {
    const agent = new AgentProcess();
    this.#all.add(agent);
    return agent;
  }

  readonly direct: Directing = async ({ machine, file, folder }) => {
    const agent = this.#idle.shift() ?? this.#spawn();
    agent.said = "";
    const socket = join(folder, "control.sock");
    const { name } = machine.host;
    const flags = { config: file, as: name, socket, stateDir: folder, log: "text", silenceInterval: "60" } as const;
    agent.tell({ kind: "run", namespace: machine.namespace.name, flags });
    const ask = (command: string, more = {}): Promise<ControlAnswer> => askAgent(socket, { command, ...more });
    return {
      ask,
      inService: async () => {
        if (agent.hasEnded) throw new Error(`the agent of ${name} ended:\n${agent.said}`);
        const answer = await ask("status").catch(() => undefined); // it does not listen yet
        if (answer?.ok !== true) return false;
        const { services } = answer.value as AgentStatus;
        const isUp = services.every((s) => s.servers.every(({ health }) => health === "up" || health === "sorry"));
        if (services.length === 0 || !isUp) return false;
        const list = (): string => execFileSync("ipvsadm", ["--list", "--daemon"], { encoding: "utf8" });
        const daemons = machine.namespace.run(list);
        return ["master", "backup"].every((role) => daemons.includes(`${role} sync daemon`));
      },
      signal: (signal) => agent.signal(signal),
      said: () => agent.said,
      close: async () => {
        if (await agent.stop()) this.#idle.push(agent);
        else await agent.kill();
      },
    };
  };

  async end(): Promise<void> {
    await Promise.all([...this.#all].map((agent) => agent.kill()));
  }
}
