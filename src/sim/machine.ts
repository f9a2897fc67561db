/** What `vipward apply` and `vipward undo` find on a simulated host: the apply port on its facts, in virtual time. */
import type { FileState } from "../plan/host.ts";
import type { Operation } from "../plan/operation.ts";
import type { ApplyPorts } from "../ports/apply.ts";
import { mortal } from "../ports/mortal.ts";
import type { SimHost } from "./host.ts";
import { performed } from "./perform.ts";

/** The process died: nothing it calls returns any more. */
export class Killed extends Error {}

export class SimMachine {
  readonly host: SimHost;
  files: Readonly<Record<string, FileState>> = {};
  /** Survives a loss of power, as a disk does. */
  journal = new Uint8Array();
  #locked = false;
  /** Calls until the process is killed: one before and one after the work of each. */
  fuel = Number.POSITIVE_INFINITY;
  /** Lets time pass after each operation. */
  readonly #pass: () => void;
  readonly #confirmed = new Set<number>();

  constructor(host: SimHost, pass: () => void) {
    this.host = host;
    this.#pass = pass;
  }

  /** A new process: the lock of a dead one holds nothing. */
  restart(fuel = Number.POSITIVE_INFINITY): void {
    this.#locked = false;
    this.fuel = fuel;
  }

  #burn(): void {
    if (!this.host.isAwake || this.fuel <= 0) throw new Killed();
    this.fuel--;
  }

  #append(octets: Uint8Array): void {
    const longer = new Uint8Array(this.journal.length + octets.length);
    longer.set(this.journal);
    longer.set(octets, this.journal.length);
    this.journal = longer;
  }

  #perform(operation: Operation): void {
    const after = performed({ facts: this.host.facts, files: this.files }, operation);
    this.files = after.files;
    if (after.facts !== this.host.facts) this.host.change(after.facts);
    this.#pass();
  }

  ports(): ApplyPorts {
    return mortal(this.#immortal(), { isLast: () => this.fuel <= 0, burn: () => this.#burn() });
  }

  #immortal(): ApplyPorts {
    return {
      performer: {
        perform: async (operations) => {
          for (const operation of operations) this.#perform(operation);
        },
      },
      reader: {
        read: async (paths) => {
          const files = Object.fromEntries(paths.map((p) => [p, this.files[p] ?? null]));
          return { facts: this.host.facts, files };
        },
      },
      journal: {
        load: async () => this.journal.slice(),
        append: async (octets) => this.#append(octets),
        replace: async (octets) => {
          this.journal = octets.slice();
        },
      },
      lock: {
        acquire: async () => {
          if (this.#locked) return undefined;
          this.#locked = true;
          return async () => {
            this.#locked = false;
          };
        },
      },
      clock: {
        nowMs: () => this.host.clockUs / 1000,
        sleep: async () => this.#pass(),
      },
      confirmations: {
        confirmed: async (run) => this.#confirmed.has(run),
        confirm: async (run) => void this.#confirmed.add(run),
      },
    };
  }
}
