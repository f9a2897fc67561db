import { Option } from "commander";
import { cures } from "../../lab/report.ts";
import type { CommandModule } from "../command.ts";

export const sim: CommandModule = {
  register(program, io, finish) {
    program
      .command("sim")
      .description("simulate a cluster of any kernel age on the model: the lab's story, or a scenario with faults")
      .argument("[file]", "cluster file; without one, the examples that come with vipward")
      .addOption(
        new Option("--forwarding <method>", "which chapters to tell").choices(["dr", "tun", "both"]).default("both"),
      )
      .option("--real-servers <number>", "how many real servers the built-in cluster has (2 to 50)")
      .addOption(
        new Option("--cure <which>", "apply only a part of the cure, and see the verdict turn red")
          .choices([...cures])
          .default("full"),
      )
      .option("--seconds <number>", "how long each stretch of traffic lasts, in virtual time (1 to 600; default: 5)")
      .option("--seed <number>", "same seed, same run to the bit (default: the scenario's, else 1)")
      .option("--pcap <file>", "write every frame as a capture file for Wireshark, each cable an interface")
      .option("--json", "print the report as one JSON document")
      .addHelpText(
        "after",
        `
Examples:
  vipward sim                                   LVS/DR and LVS/TUN on today's kernel
  vipward sim examples/lvs-dr-2.2.yaml          the race of 1999, and its cure
  vipward sim my-cluster.yaml --pcap run.pcap   and look at it in Wireshark

No root, no Linux needed. A file with lab.scenario runs that scenario instead of
the story; --seconds and half cures are the story's (docs/simulator.md).

Exit status: 0 all verdicts held, in a scenario: no law broke and every
connection got its answer; 1 not so; 65 errors in the file; 66 no such file;
69 nothing in it can be simulated; 130 Ctrl-C.`,
      )
      .action((file: string | undefined, options) => {
        finish(import("../work/sim.ts").then(({ runSim }) => runSim(file, options, io)));
      });
  },
};
