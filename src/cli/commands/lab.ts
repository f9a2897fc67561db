import { Option } from "commander";
import { cures, LAB_PREFIX } from "../../lab/report.ts";
import type { CommandModule } from "../command.ts";

export const lab: CommandModule = {
  register(program, io, finish) {
    program
      .command("lab")
      .description("build a whole cluster on this machine, break it, cure it, and prove the cure with packets")
      .argument("[file]", "cluster file; without one, the examples that come with vipward")
      .addOption(
        new Option(
          "--backend <name>",
          "where it runs: namespaces on this kernel, a VM, whichever can do all of it, or the model",
        )
          .choices(["auto", "netns", "vm", "sim"])
          .default("auto"),
      )
      .addOption(
        new Option("--forwarding <method>", "which chapters to tell").choices(["dr", "tun", "both"]).default("both"),
      )
      .option("--real-servers <number>", "how many real servers the built-in cluster has (2 to 50)")
      .addOption(
        new Option("--cure <which>", "apply only a part of the cure, and see the verdict turn red")
          .choices([...cures])
          .default("full"),
      )
      .option("--seconds <number>", "how long each stretch of traffic lasts (1 to 600)", "5")
      .option("--keep", "leave the namespaces standing and say how to enter them (netns only)")
      .option("--clean", "remove what earlier labs left standing, and end")
      .option("--prefix <text>", "of the namespaces' names", LAB_PREFIX)
      .option("--json", "print the report as one JSON document")
      .addOption(new Option("--events", "print each event as a line of JSON (for the VM)").hideHelp())
      .addHelpText(
        "after",
        `
Examples:
  vipward lab                                the whole story, LVS/DR and LVS/TUN
  vipward lab --backend netns                on this machine's own kernel, in seconds
  vipward lab --backend sim                  on the model: no root, any system (see also vipward sim)
  vipward lab my-cluster.yaml --keep         my own cluster, left standing to look around in
  vipward lab --cure ignore-only             half a cure, and what the verdict says of it
  vipward lab --json > report.json

Exit status: 0 all verdicts held, 1 some did not, 65 errors in the file, 69 something needed is missing, 77 not root.`,
      )
      .action((file: string | undefined, options) => {
        finish(import("../work/lab.ts").then(({ runLab }) => runLab(file, options, io)));
      });
  },
};
