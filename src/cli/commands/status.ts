import { existsSync } from "node:fs";
import type { CommandModule } from "../command.ts";
import { defaultSocket } from "./agent.ts";
import { commonOptions, factsOption, wishOptions } from "./silenceOptions.ts";

/** Of the cluster where an agent runs here and nothing else is asked for; else of this host's silence. */
export const status: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("status")
      .description(
        "the cluster as this host's agent sees it; without an agent: is this real server as vipward left it?",
      )
      .option("--watch", "again each second, until Ctrl-C")
      .option("--all", "every server and service, also where there are many and all is well")
      .option("--socket <path>", "where the agent of this host answers", defaultSocket);
    commonOptions(factsOption(wishOptions(command)))
      .addHelpText(
        "after",
        `
Examples:
  vipward status                             the cluster where an agent runs, else this host's silence
  vipward status --watch
  vipward status --vip 10.0.0.100            is this host silent for it?

Exit status: 0 as it should be, 1 something drifted or failed or a law is broken, 2 changes are pending.`,
      )
      .action((options) => {
        const ofSilence = options.vip !== undefined || options.cluster !== undefined || options.facts !== undefined;
        const asked = command.getOptionValueSource("socket") !== "default" || options.watch === true;
        const ofAgent = !ofSilence && (asked || existsSync(options.socket));
        finish(
          ofAgent
            ? import("../work/agentStatus.ts").then(({ runAgentStatus }) => runAgentStatus(options, io))
            : import("../work/silence.ts").then(({ runStatus }) => runStatus(options, io)),
        );
      });
  },
};
