import type { CommandModule } from "../command.ts";

export const explain: CommandModule = {
  register(program, io, finish) {
    program
      .command("explain")
      .description("explain a finding or a kernel rule at length: why, who notices, what to do")
      .argument("[id]", "of a finding (arp-ignore-only-on-lo) or a rule (A-2.6-03); without one, all ids are listed")
      .option("--json", "print it as one JSON document")
      .addHelpText(
        "after",
        `
Examples:
  vipward explain vip-netmask-not-32
  vipward explain B-2.6-03

Exit status: 0 explained, 64 no such id.`,
      )
      .action((id: string | undefined, options) => {
        finish(import("../work/explain.ts").then(({ runExplain }) => runExplain(id, options, io)));
      });
  },
};
