import type { CommandModule } from "../command.ts";

export const model: CommandModule = {
  register(program, io, finish) {
    const group = program.command("model").description("ask the kernel model itself");
    group
      .command("vectors")
      .description("run a file of cases with known answers through the model")
      .argument("<file>", "vectors file, JSON")
      .option("--json", "print one JSON document")
      .addHelpText(
        "after",
        `
Examples:
  vipward model vectors kernel-vectors.json
  vipward model vectors kernel-vectors.json --json > result.json

Exit status: 0 all agree, 1 some differ, 65 not a vectors file, 66 cannot be read.`,
      )
      .action((file: string, flags: { readonly json?: boolean }) => {
        finish(import("../work/modelVectors.ts").then(({ runModelVectors }) => runModelVectors(file, flags, io)));
      });
  },
};
