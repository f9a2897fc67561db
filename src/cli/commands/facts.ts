import type { CommandModule } from "../command.ts";

export const facts: CommandModule = {
  register(program, io, finish) {
    program
      .command("facts")
      .description("print this host's network state as a facts file, for `vipward check --facts` here or elsewhere")
      .option("--summary", "a few lines for people instead of the file")
      .option("--json", "the file itself, which is also the default")
      .option("--netns <name>", "of a named network namespace instead of this one")
      .addHelpText(
        "after",
        `
Examples:
  vipward facts > web1.json              everything the kernel model asks about this host
  vipward facts --summary                what it found, and what it could not read
  vipward facts --netns vw-web1 > web1.json

Without root it reads what it can; the file's \`unread\` names the rest.
Exit status: 0 read, 2 read in part, 66 no such namespace, 77 not permitted to enter it.`,
      )
      .action((options) => {
        finish(import("../work/facts.ts").then(({ runFacts }) => runFacts(options, io)));
      });
  },
};
