import type { CommandModule } from "../command.ts";
import { commonOptions, factsOption, wishOptions } from "./silenceOptions.ts";

export const policies: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("policies")
      .description("every way to keep this real server silent: does it suit here, and if not, why");
    commonOptions(factsOption(wishOptions(command)))
      .addHelpText(
        "after",
        `
Examples:
  vipward policies --vip 10.0.0.100
  vipward policies --cluster cluster.yaml --facts web1.json

Exit status: 0 at least one suits, 1 none does.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runPolicies }) => runPolicies(options, io))));
  },
};
