import { Option } from "commander";
import type { CommandModule } from "../command.ts";
import { commonOptions, factsOption, wishOptions } from "./silenceOptions.ts";

export const render: CommandModule = {
  register(program, io, finish) {
    const command = program
      .command("render")
      .description("the same plan in the words of other tools, for people who do it by them");
    commonOptions(factsOption(wishOptions(command)))
      .addOption(
        new Option("--to <system>", "in whose words")
          .choices([
            "sysctl",
            "networkd",
            "netplan",
            "ifupdown",
            "networkmanager",
            "nft",
            "arptables",
            "iptables",
            "shell",
            "ansible",
            "systemd",
          ])
          .makeOptionMandatory(),
      )
      .addHelpText("after", "\nWhat a system has no words for is named on standard error.")
      .action((options) => finish(import("../work/silence.ts").then(({ runRender }) => runRender(options, io))));
  },
};
