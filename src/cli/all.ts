import { modulesFor } from "./commands/index.ts";
import type { Ending } from "./ending.ts";
import { runWith } from "./run.ts";

/** Every command, each loaded when it is named. */
export const run = (argv: readonly string[], ending: Ending): Promise<number> => runWith(argv, ending, modulesFor);
