import { check } from "../commands/check.ts";
import type { Ending } from "../ending.ts";
import { runWith } from "../run.ts";

/**
 * `vipward check` alone, for a bundle of one file: scripts run it often, and it must not take longer to load than to
 * work. No other module may be loaded into the same process beside it, or there would be two of each class.
 */
export const run = (argv: readonly string[], ending: Ending): Promise<number> =>
  runWith(argv, ending, async () => [check]);
