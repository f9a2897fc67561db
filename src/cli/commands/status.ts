import type { CommandModule } from "./index.ts";
import { commonOptions, factsOption, wishOptions } from "./silenceOptions.ts";

export const status: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("status")
      .description("is this real server as vipward left it, and as it should be? what drifted?");
    commonOptions(factsOption(wishOptions(command)))
      .addHelpText(
        "after",
        "\nExit status: 0 as it should be, 1 something drifted or a law is broken, 2 changes are pending.",
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runStatus }) => runStatus(options, io))));
  },
};
