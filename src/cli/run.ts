import { Command, CommanderError } from "commander";
import { bashCompletion } from "./bashCompletion.ts";
import type { CommandModule } from "./command.ts";
import type { Ending } from "./ending.ts";
import { exitCode } from "./exitCodes.ts";
import { reportFailure } from "./failure.ts";
import { type Io, processIo } from "./io.ts";
import { version } from "./version.ts";
import { forReader } from "./work/wrap.ts";

function program(modules: readonly CommandModule[], io: Io, finish: (status: Promise<number>) => void): Command {
  const root = new Command("vipward")
    .description("LVS/DR and LVS/TUN clusters: one VIP, one owner, proven on the wire")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .showHelpAfterError("(vipward --help shows the commands, vipward COMMAND --help one of them)")
    .showSuggestionAfterError()
    .configureOutput({ writeOut: (text) => io.out(forReader(io, text)), writeErr: (text) => io.err(text) })
    .exitOverride()
    .addHelpText(
      "after",
      `
Examples:
  vipward who-has 10.10.0.100            who answers ARP for this VIP, and is it one machine
  vipward lab                            a whole cluster in namespaces: broken, cured, proven
  vipward completion bash > /etc/bash_completion.d/vipward

Exit status: 0 yes, 1 no, 2 third answer, 64 and above: could not answer (docs/exit-codes.md)`,
    );
  for (const command of modules) command.register(root, io, finish);
  return root;
}

/** Runs one command line to its end and gives the exit status; `modulesFor` gives the commands that its first word needs. */
export async function runWith(
  argv: readonly string[],
  ending: Ending,
  modulesFor: (word: string | undefined) => Promise<CommandModule[]>,
): Promise<number> {
  const io = processIo(ending);
  let status: Promise<number> | undefined;
  try {
    const root = program(await modulesFor(argv[0]), io, (promise) => {
      status = promise;
    });
    if (argv[0] === "completion" && argv[1] === "bash" && argv.length === 2) {
      io.out(bashCompletion);
      return exitCode("ok");
    }
    if (argv[0] === "complete" || argv[0] === "completion") {
      const { default: tab } = await import("@bomb.sh/tab/commander");
      tab(root, { completionCommandName: "completion" });
    } else {
      root.command("completion").description("print a completion script for bash, zsh or fish").argument("<shell>");
    }
    if (argv.length === 0) {
      io.err(root.helpInformation());
      return exitCode("usage");
    }
    io.signal.throwIfAborted();
    await root.parseAsync(argv, { from: "user" });
    return (await status) ?? exitCode("ok");
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode("ok") : exitCode("usage");
    return reportFailure(error, io);
  }
}
