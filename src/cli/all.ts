import { modulesFor } from "./commands/index.ts";
import { runWith } from "./run.ts";

/** Every command, each loaded when it is named. */
export const run = (argv: readonly string[]): Promise<number> => runWith(argv, modulesFor);
