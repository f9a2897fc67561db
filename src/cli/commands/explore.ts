import type { CommandModule } from "../command.ts";

export const explore: CommandModule = {
  register(program, io, finish) {
    program
      .command("explore")
      .description("thousands of fault schedules against a cluster file: which laws can break, and the shortest story")
      .argument("<file>", "cluster file")
      .option("--runs <number>", "how many schedules (1 to 1000000)", "1000")
      .option("--minutes <number>", "how long each lasts, in virtual time (1 to 1440)", "60")
      .option("--seed <number>", "same seed, same schedules and same outcome", "1")
      .option(
        "--replay <number>",
        "one schedule again, whole, as the number of its run names it; with the same options otherwise",
      )
      .option("--guard", "real servers run `vipward guard --heal`")
      .option("--no-silence", "without the silence policies, as the cluster would be if nobody had heard of ARP")
      .option("--json", "print one JSON document")
      .addHelpText(
        "after",
        `
Examples:
  vipward explore my-cluster.yaml                a thousand hours of trouble
  vipward explore my-cluster.yaml --runs 10000 --json > findings.json
  vipward explore my-cluster.yaml --replay 37    schedule 37, whole

Nothing of the real machine is touched. Ctrl-C ends it, and tells what was found.

Exit status: 0 no law broke; 1 some did; 65 errors in the file; 66 no such file;
69 nothing in it can be simulated; 130 Ctrl-C.`,
      )
      .action((file: string, options) => {
        finish(import("../work/explore.ts").then(({ runExplore }) => runExplore(file, options, io)));
      });
  },
};
