import type { CommandModule } from "../command.ts";
import { commonOptions } from "./silenceOptions.ts";

export const undo: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("undo")
      .description("back to what was there before vipward; what others changed meanwhile is named and left");
    commonOptions(command)
      .addHelpText(
        "after",
        `
Examples:
  vipward undo
  vipward undo --json

Exit status: 0 all of it is undone, 1 something could not be taken away.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runUndo }) => runUndo(options, io))));
  },
};
