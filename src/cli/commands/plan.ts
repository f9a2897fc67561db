import type { CommandModule } from "../command.ts";
import { commonOptions, factsOption, keepOption, wishOptions } from "./silenceOptions.ts";

export const plan: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("plan")
      .description("what would change on this real server, in which order, and the proof that it suffices");
    commonOptions(factsOption(keepOption(wishOptions(command))))
      .option("--diff", "show each thing before and after")
      .addHelpText(
        "after",
        `
Examples:
  vipward plan --vip 10.0.0.100                     for one VIP on lo, by direct routing
  vipward plan --cluster cluster.yaml               what the cluster file wants of this host
  vipward plan --vip 10.0.0.100 --facts web1.json   for another host, offline

Exit status: 0 nothing to do, 2 changes are pending, 1 a law would be broken or something stands against it.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runPlan }) => runPlan(options, io))));
  },
};
