import type { CommandModule } from "../command.ts";
import { commonOptions, keepOption, wishOptions } from "./silenceOptions.ts";

export const apply: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("apply")
      .description("do what plan says: journal, change, verify, keep over reboots; or all of it undone");
    commonOptions(keepOption(wishOptions(command)))
      .option("--confirm <seconds>", "take it all back unless `vipward confirm` comes within this time")
      .option("--force", "go on although a law would be broken (says which)")
      .option("--no-ask", "do not ask the wire afterwards who answers for the VIPs")
      .addHelpText(
        "after",
        `
Examples:
  vipward apply --vip 10.0.0.100
  vipward apply --cluster cluster.yaml --confirm 60

Exit status: 0 done, or nothing to do; 1 refused, or failed and taken back; 69 another run is at work.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runApply }) => runApply(options, io))));
  },
};
