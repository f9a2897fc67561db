import type { CommandModule } from "../command.ts";
import { wishOptions } from "./silenceOptions.ts";

export const guard: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("guard")
      .description("stay, and say within a second when something on this real server drifts; --heal puts it right");
    wishOptions(command)
      .option("--heal", "put right what drifts: at most five times a thing, then it is left to you")
      .option("--state-dir <folder>", "where the journal is (default: /var/lib/vipward)")
      .option("--json", "print one JSON document a line")
      .addHelpText(
        "after",
        `
Examples:
  vipward guard
  vipward guard --heal --cluster cluster.yaml

Guards what \`vipward apply\` made; --cluster or --vip name the VIPs where other tools hold them.
Ends with Ctrl-C or SIGTERM. Exit status: 0 all as it should be at the end, 1 something is not.`,
      )
      .action((options) => finish(import("../work/guard.ts").then(({ runGuard }) => runGuard(options, io))));
  },
};
