/**
 * What a lab reports: the same document from every backend. Published by `vipward lab --json`; docs/lab.md describes it.
 * Addresses are dotted quads, machines are named as in the cluster file, times are milliseconds.
 */
import type { ForwardingMethod } from "../ports/engine.ts";

/** Of the namespaces' names, where no other was asked for. */
export const LAB_PREFIX = "vw-";

export const LAB_REPORT_VERSION = 1;

/** Which half of the silence is applied; all but `full` exist to see the verdict turn red. */
export const cures = ["full", "ignore-only", "announce-only", "none"] as const;
export type Cure = (typeof cures)[number];

export interface WhoHasShare {
  readonly machine: string;
  readonly mac: string;
  readonly answers: number;
  /** Times this machine was the first to answer. */
  readonly first: number;
}

export interface WhoHasStep {
  readonly vip: string;
  readonly asked: number;
  readonly shares: readonly WhoHasShare[];
}

export interface TrafficStep {
  readonly connections: number;
  readonly longLived: number;
  readonly tookMs: number;
  /** Connections whose first packet the client's machine sent to the director. */
  readonly openedAtDirector: number;
  /** Connections of which at least one packet went to a real server behind the director's back. */
  readonly bypassedDirector: number;
  /** Connections whose packets went to more than one machine. */
  readonly changedMachine: number;
  /** As the client saw it. */
  readonly completed: number;
  readonly refused: number;
  readonly reset: number;
  readonly hung: number;
  readonly longLivedBroken: number;
  /** ARP requests with a VIP as sender, by the real server that sent them. */
  readonly leaks: Readonly<Record<string, number>>;
  /** ARP replies for a VIP, by machine. */
  readonly answers: Readonly<Record<string, number>>;
  /** TCP resets sent in a VIP's name, by machine. */
  readonly resets: Readonly<Record<string, number>>;
  readonly services: readonly ServiceSpread[];
}

export interface ServiceSpread {
  readonly vip: string;
  readonly port: number;
  /** As the file asks; "hash" where the engine hashes instead. */
  readonly scheduler: string;
  /** By real server: connections it served, as their answers say. */
  readonly served: Readonly<Record<string, number>>;
}

/** One real server's own question that carried the VIP, and what it did to a neighbour that never asked. */
export interface LeakStep {
  readonly realServer: string;
  readonly neighbour: string;
  readonly vip: string;
  /** Who answers who-has while the neighbour is being poisoned: the owner alone. */
  readonly whoHas: readonly WhoHasShare[];
  readonly before: string;
  readonly after: string;
  /** ARP requests seen with the VIP as sender. */
  readonly leaked: number;
}

export interface CureChange {
  readonly machine: string;
  readonly what: string;
  readonly before: string;
  readonly after: string;
}

export interface CureStep {
  readonly cure: Cure;
  readonly policy: string;
  readonly changes: readonly CureChange[];
  readonly tookMs: number;
}

export interface ReachStep {
  readonly realServer: string;
  readonly rip: string;
  /** Machines that answered who-has for the RIP. */
  readonly answeredBy: readonly string[];
  /** Neighbours that answered its ping, from a cold cache, of those asked. */
  readonly reached: readonly string[];
  readonly asked: readonly string[];
}

export interface CountStep {
  readonly engine: string;
  readonly realServer: string;
  /** Packets forwarded, as the engine counts them. */
  readonly counted: number;
  /** The same, as the tap on the switch saw them. */
  readonly seen: number;
}

export interface Verdict {
  /** Stable: "proof/one-owner". */
  readonly id: string;
  readonly title: string;
  readonly expected: string;
  readonly measured: string;
  readonly held: boolean;
}

export interface LabMachine {
  readonly name: string;
  readonly role: string;
  readonly addresses: readonly string[];
  readonly macs: readonly string[];
  readonly namespace?: string;
  readonly wires: readonly string[];
}

export interface ChapterReport {
  readonly forwarding: ForwardingMethod;
  readonly engine: string;
  readonly machines: readonly LabMachine[];
  readonly problem: { readonly whoHas: readonly WhoHasStep[]; readonly traffic: TrafficStep };
  /** Absent where no real server's policy has two halves: then there is no half cure to show the leak alone. */
  readonly leak?: LeakStep;
  readonly cure: CureStep;
  readonly proof: {
    readonly whoHas: readonly WhoHasStep[];
    readonly traffic: TrafficStep;
    readonly reach: readonly ReachStep[];
    readonly counts: readonly CountStep[];
    /** ARP requests with a VIP as sender in all of the proof: questions, traffic, reach; by the real server that sent them. */
    readonly leaks: Readonly<Record<string, number>>;
    /** Frames that the tap could not keep up with; anything but 0 makes the counts untrue. */
    readonly lostFrames: number;
  };
  readonly verdicts: readonly Verdict[];
  readonly tookMs: number;
}

export interface LabReport {
  readonly reportVersion: typeof LAB_REPORT_VERSION;
  readonly cluster: string;
  readonly backend: string;
  readonly kernel: string;
  readonly chapters: readonly ChapterReport[];
  /** What this backend could not show, and why. */
  readonly leftOut: readonly string[];
  /** True only if every verdict of every chapter held. */
  readonly held: boolean;
  readonly tookMs: number;
}

/** The story as it happens. `done` carries what a reader sees at the end of a step. */
export type LabEvent =
  | { readonly kind: "progress"; readonly text: string }
  | {
      readonly kind: "chapter";
      readonly forwarding: ForwardingMethod;
      readonly engine: string;
      readonly kernel: string;
    }
  | { readonly kind: "machines"; readonly machines: readonly LabMachine[] }
  | { readonly kind: "problem"; readonly step: ChapterReport["problem"] }
  | { readonly kind: "leak"; readonly step: LeakStep }
  | { readonly kind: "cure"; readonly step: CureStep }
  | { readonly kind: "proof"; readonly step: ChapterReport["proof"] }
  | { readonly kind: "verdicts"; readonly verdicts: readonly Verdict[] }
  | { readonly kind: "kept"; readonly machines: readonly LabMachine[]; readonly prefix: string }
  | { readonly kind: "report"; readonly report: LabReport };
