/** The ports of apply/ on the real machine, in one network namespace. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApplyPorts } from "../../ports/apply.ts";
import type { Namespace } from "../namespace.ts";
import { readFile } from "./files.ts";
import { FileConfirmations, FileJournal, FileLock, stateFolder } from "./journalFile.ts";
import { MachinePerformer } from "./performer.ts";
import { readFacts } from "./readFacts.ts";

export interface MachineOptions {
  /** Whose links are read and changed; the calling thread's own when absent. */
  readonly namespace?: Namespace;
  /** Where the journal is; /var/lib/vipward when absent. */
  readonly stateDir?: string;
}

/** Errors: state/EACCES, state/EROFS and the like, when the state folder cannot be made. */
export function machinePorts(options: MachineOptions = {}): ApplyPorts {
  const { namespace } = options;
  const folder = stateFolder(options.stateDir);
  return {
    performer: new MachinePerformer(namespace),
    reader: {
      read: async (paths) => ({
        facts: readFacts(namespace),
        files: Object.fromEntries(paths.map((path) => [path, readFile(path)])),
      }),
    },
    journal: new FileJournal(join(folder, "journal")),
    lock: new FileLock(join(folder, "lock")),
    confirmations: new FileConfirmations(folder),
    clock: {
      nowMs: () => Date.now(),
      sleep: async (durationMs, signal) => {
        await sleep(durationMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
      },
    },
  };
}
