import type { Command } from "commander";
import type { Io } from "./io.ts";

/**
 * A command's face: name, options and help. Its work is imported when it runs, so that `--help` and completion cost
 * no more than this table. The action resolves to the exit status.
 */
export interface CommandModule {
  register(program: Command, io: Io, finish: (status: Promise<number>) => void): void;
}
