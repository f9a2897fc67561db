import type { HostFacts } from "../model/facts.ts";
import type { FileState, World } from "../plan/host.ts";
import type { Operation } from "../plan/operation.ts";
import type { ApplyPorts } from "../ports/apply.ts";
import { performed } from "../sim/perform.ts";

/** What a killed process sees: nothing it calls returns any more. */
export class Killed extends Error {}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * A host in memory that understands operations as simulated hosts do (sim/perform.ts): what a change says it will do is
 * held against what its operations do here. `fuel` counts the calls until the process is killed; half a call is
 * killed before its work, half after.
 */
export class MemoryHost {
  facts: Mutable<HostFacts>;
  files: Record<string, FileState>;
  journal = new Uint8Array();
  locked = false;
  nowMs = 1_000_000;
  confirmations = new Set<number>();
  /** Calls left; every port call takes one before its work and one after. */
  fuel = Number.POSITIVE_INFINITY;
  calls = 0;
  /** Octets of the last append that reach the disk when the process dies in it. */
  tearAt: number | undefined;
  writes = 0;
  /** Refuses these, as a kernel might. */
  refuse: (operation: Operation) => string | undefined = () => undefined;
  onSleep: () => void = () => undefined;

  constructor(facts: HostFacts) {
    this.facts = structuredClone(facts);
    this.files = {};
  }

  /** A new process: lock and fuel are fresh, the machine and the disk as they were. */
  restart(): void {
    this.locked = false;
    this.fuel = Number.POSITIVE_INFINITY;
    this.tearAt = undefined;
  }

  #burn(): void {
    this.calls++;
    if (this.fuel <= 0) throw new Killed();
    this.fuel--;
  }

  ports(): ApplyPorts {
    return {
      performer: {
        perform: async (operations) => {
          for (const operation of operations) {
            this.#burn();
            const why = this.refuse(operation);
            if (why !== undefined) throw new Error(why);
            this.writes++;
            this.#do(operation);
            this.#burn();
          }
        },
      },
      reader: { read: async (paths) => this.#read(paths) },
      journal: {
        load: async () => {
          this.#burn();
          return this.journal.slice();
        },
        append: async (octets) => {
          this.writes++;
          if (this.fuel <= 0 && this.tearAt !== undefined) this.#write(octets.slice(0, this.tearAt));
          this.#burn();
          this.#write(octets);
          this.#burn();
        },
        replace: async (octets) => {
          this.#burn();
          this.writes++;
          this.journal = octets.slice();
          this.#burn();
        },
      },
      lock: {
        acquire: async () => {
          this.#burn();
          if (this.locked) return undefined;
          this.locked = true;
          return async () => {
            this.locked = false;
          };
        },
      },
      clock: {
        nowMs: () => this.nowMs,
        sleep: async (durationMs) => {
          this.#burn();
          this.nowMs += durationMs;
          this.onSleep();
        },
      },
      confirmations: {
        confirmed: async (run) => this.confirmations.has(run),
        confirm: async (run) => void this.confirmations.add(run),
      },
    };
  }

  #write(octets: Uint8Array): void {
    const longer = new Uint8Array(this.journal.length + octets.length);
    longer.set(this.journal);
    longer.set(octets, this.journal.length);
    this.journal = longer;
  }

  #read(paths: readonly string[]): World {
    this.#burn();
    const files = Object.fromEntries(paths.map((p) => [p, this.files[p] ?? null]));
    return { facts: structuredClone(this.facts), files };
  }

  #do(o: Operation): void {
    const after = performed({ facts: this.facts, files: this.files }, o);
    this.facts = after.facts;
    this.files = { ...after.files };
  }
}
