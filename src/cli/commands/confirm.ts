import type { CommandModule } from "../command.ts";
import { commonOptions } from "./silenceOptions.ts";

export const confirm: CommandModule = {
  register(program, io, finish) {
    commonOptions(program.command("confirm").description("keep what an `apply --confirm` made"))
      .addHelpText(
        "after",
        `
Example:
  vipward apply --vip 10.0.0.100 --confirm 60   # and then, from another session, if you can still log in:
  vipward confirm

Exit status: 0 kept, 1 no run waits, or too late.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runConfirm }) => runConfirm(options, io))));
  },
};
