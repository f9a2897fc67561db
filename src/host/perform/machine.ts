/** The ports of apply/ on the real machine, in one network namespace. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { World } from "../../plan/host.ts";
import type { ApplyPorts } from "../../ports/apply.ts";
import type { Namespace } from "../namespace.ts";
import { readFile } from "./files.ts";
import { FileConfirmations, FileJournal, FileLock, stateFolder } from "./journalFile.ts";
import { MachinePerformer } from "./performer.ts";
import { readFacts } from "./readFacts.ts";

const DEFAULT_FOLDER = "/var/lib/vipward";

export interface MachineOptions {
  /** Whose links are read and changed; the calling thread's own when absent. */
  readonly namespace?: Namespace;
  /** Stands for / where files are read and written: an image's folder. The journal is below it, too. */
  readonly root?: string;
  /** Where the journal is; /var/lib/vipward when absent. */
  readonly stateDir?: string;
}

/** What these paths hold, below `root`. */
export const readFiles = (paths: readonly string[], root = "/"): World["files"] =>
  Object.fromEntries(paths.map((path) => [path, readFile(join(root, path))]));

/** Errors: state/EACCES, state/EROFS and the like, when the state folder cannot be made. */
export function machinePorts(options: MachineOptions = {}): ApplyPorts {
  const { namespace, root = "/" } = options;
  const folder = stateFolder(options.stateDir ?? (options.root === undefined ? undefined : join(root, DEFAULT_FOLDER)));
  return {
    performer: new MachinePerformer(namespace, root),
    reader: {
      read: async (paths) => ({
        facts: readFacts(namespace),
        files: readFiles(paths, root),
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
