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
      .addHelpText(
        "after",
        `
Examples:
  vipward render --to sysctl --vip 10.0.0.100
  vipward render --to ansible --cluster cluster.yaml --facts web1.json > web1.yaml

What a system has no words for is named on standard error.
Exit status: 0 printed, 69 no policy suits this host.`,
      )
      .action((options) => finish(import("../work/silence.ts").then(({ runRender }) => runRender(options, io))));
  },
};
