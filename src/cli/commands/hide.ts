import type { CommandModule } from "../command.ts";
import { commonOptions } from "./silenceOptions.ts";

export const hide: CommandModule = {
  register(program, io, finish) {
    for (const [name, text] of [
      ["hide", "take all addresses of one interface out of ARP, as the hidden flag did, on any kernel"],
      ["reveal", "take back what hide did for this interface"],
    ] as const) {
      const command = program.command(name).description(text).argument("<interface>");
      commonOptions(command)
        .option("--force", "go on although a law would be broken (says which)")
        .addHelpText(
          "after",
          `
Example:
  vipward ${name} eth1

Exit status: 0 done, or nothing to do; 1 refused, or failed and taken back; 66 there is no such interface.`,
        )
        .action((link: string, options) =>
          finish(import("../work/silence.ts").then(({ runHide }) => runHide(link, options, io, name === "reveal"))),
        );
    }
  },
};
