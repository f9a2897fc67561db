import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { EngineCount, EngineService } from "../ports/engine.ts";
import type { Observed } from "./observations.ts";
import type { Cure, CureChange, LabMachine } from "./report.ts";
import type { TrafficPlan, TrafficResult } from "./traffic.ts";

/** The answers to one who-has, asked `asked` times. */
export interface Answers {
  readonly target: Ipv4;
  readonly asked: number;
  readonly by: readonly { readonly mac: Mac; readonly answers: number; readonly first: number }[];
}

/**
 * A lab that stands: what the story does to it and asks of it. One per backend; the story knows no other way to the
 * machines. Machines are named as in the cluster file.
 */
export interface Stage {
  readonly backend: string;
  /** The kernel that all of it runs on, or the model that plays it. */
  readonly kernel: string;
  readonly engine: string;
  /** How old engine counts may be. */
  readonly countsLagMs: number;
  readonly machines: readonly LabMachine[];
  /** Asks for each target from that machine's own address, `times` times each, by broadcast. */
  whoHas(from: string, targets: readonly Ipv4[], times: number): Promise<Answers[]>;
  /** Runs client traffic while every machine's neighbour cache expires each `refreshMs`. */
  traffic(plan: TrafficPlan, refreshMs: number): Promise<TrafficResult>;
  /** Starts counting anew; what is in flight is counted to whichever stretch it arrives in. */
  observe(): Promise<void>;
  observed(): Promise<Observed>;
  /** Frames that the tap could not keep up with since the lab stands. */
  lostFrames(): Promise<number>;
  /** Sets sysctls below net.ipv4.conf of one machine; gives back what really changed. */
  setSysctls(
    machine: string,
    values: readonly { readonly link: string; readonly name: string; readonly value: string }[],
  ): CureChange[];
  /** How this stage silences real servers, where it knows more than the two sysctls. */
  readonly silence?: StageSilence;
  /** Forgets what the machine knows of its neighbours. */
  forgetNeighbours(machine: string): void;
  /** What the machine's neighbour cache holds for an address. */
  neighbour(machine: string, address: Ipv4): Mac | undefined;
  /** Sends one UDP datagram to the discard port of `to`, from address `from` of that machine. */
  speak(machine: string, from: Ipv4, to: Ipv4): void;
  /** Somebody puts these addresses on the machine's first interface, each a /32, or takes them away wherever they are. */
  address(machine: string, action: "add" | "remove", addresses: readonly Ipv4[]): void;
  /** Its cables: in, or pulled out. */
  plug(machine: string, plugged: boolean): void;
  /** True when `to` answers an echo request sent from address `from` of that machine. */
  ping(machine: string, from: Ipv4, to: Ipv4, patienceMs: number): Promise<boolean>;
  program(services: readonly EngineService[]): void;
  counts(): EngineCount[];
  pause(ms: number): Promise<void>;
  /** Takes everything away, or leaves it and says so. Never throws for what is gone already. */
  remove(options: { readonly keep: boolean }): Promise<void>;
}

/** A stage that has every policy: what the cluster file says of each real server is applied, or a part of it. */
export interface StageSilence {
  /** Gives back what really changed. */
  apply(machine: string, cure: Cure): CureChange[];
  policyOf(machine: string): string;
  /** Answering and announcing are two switches there, so that one of them can be left off. */
  hasHalves(machine: string): boolean;
  /** Every real server's kernel is silent as it is: there is no problem to show. */
  readonly quietByNature: boolean;
}

export interface StageOptions {
  /** Of everything that gets a name on the machine: namespaces. */
  readonly prefix: string;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
  /** Real servers are left without their VIPs: who builds the stage gives them. */
  readonly bareRealServers?: boolean;
}
