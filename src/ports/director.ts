import type { Mac } from "../base/mac.ts";
import type { TableEngine } from "./engine.ts";
import type { ProbePorts } from "./probes.ts";

/** What a director needs of its host besides failover, which runs apart. */
export interface DirectorPorts {
  readonly engine: TableEngine;
  readonly probes: ProbePorts;
  /** A whole Ethernet frame. */
  sendFrame(link: string, frame: Uint8Array): void;
  /** undefined: there is no such link, or it has no MAC. */
  macOf(link: string): Mac | undefined;
  /** To the failover thread. */
  track(instance: string, priorityDelta: number, fault: string | undefined): void;
  /** Keys of the services that are ours, kept over restarts; called before the first of them is made. */
  saveOwned(keys: readonly string[]): void;
}
