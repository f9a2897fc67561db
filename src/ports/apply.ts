import type { World } from "../plan/host.ts";
import type { Operation } from "../plan/operation.ts";

/** What running a plan needs of the world. host/ fulfils it for the machine, tests and sim/ in memory. */

/** Does operations in order; throws at the first that fails, with what it was about. Each is idempotent. */
export interface Performer {
  perform(operations: readonly Operation[]): Promise<void>;
}

export interface WorldReader {
  /** The facts of now, and what these paths hold. */
  read(paths: readonly string[]): Promise<World>;
}

/** Octets that survive a power cut once a call returned. */
export interface JournalStorage {
  load(): Promise<Uint8Array>;
  /** Returns when the octets are on the disk; a crash inside may leave any first part of them. */
  append(octets: Uint8Array): Promise<void>;
  /** All or nothing, also over a power cut. */
  replace(octets: Uint8Array): Promise<void>;
}

export interface RunLock {
  /** undefined: another run holds it. A dead one holds nothing. */
  acquire(): Promise<Release | undefined>;
}
export type Release = () => Promise<void>;

export interface WallClock {
  nowMs(): number;
  /** Resolves early when the signal aborts. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

/** How `vipward confirm`, run elsewhere, reaches the run that waits. */
export interface Confirmations {
  confirmed(run: number): Promise<boolean>;
  confirm(run: number): Promise<void>;
}

/**
 * A process of its own that takes a run back when this process dies before the run was confirmed: killed with -9, or by
 * a connection that its own changes cut.
 */
export interface Heirs {
  /** Throws when there can be none: then nothing may be changed that nobody would take back. */
  appoint(run: number): Promise<Heir>;
}
export interface Heir {
  /** The run has ended. */
  dismiss(): void;
}

export interface ApplyPorts {
  readonly performer: Performer;
  readonly reader: WorldReader;
  readonly journal: JournalStorage;
  readonly lock: RunLock;
  readonly clock: WallClock;
  readonly confirmations: Confirmations;
  /** Absent: a run that dies is taken back by the next one. */
  readonly heirs?: Heirs;
}
