import { type Command, Option } from "commander";
import { keepYoungHeapSmall } from "../../host/youngHeap.ts";
import type { CommandModule } from "../command.ts";
import type { Io } from "../io.ts";

export const defaultSocket = "/run/vipward/control.sock";
const socketOption = (): Option =>
  new Option("--socket <path>", "where the agent of this host answers").default(defaultSocket);

/** Of a command that asks the agent. */
const examples = (...lines: readonly string[]): string => `
${lines.length === 1 ? "Example" : "Examples"}:
${lines.map((line) => `  ${line}`).join("\n")}

Exit status: 0 done, 1 the agent refuses (says why), 69 no agent answers.`;

type Finish = (status: Promise<number>) => void;

function run(program: Command, io: Io, finish: Finish): void {
  program
    .command("run")
    .description("run this host's part of the cluster: direct, stand by, or stay silent and guard it")
    .requiredOption("--config <file>", "cluster file, the same on every host")
    .option("--as <name>", "which host of the file this is, where its addresses do not tell")
    .option("--socket <path>", "control socket instead of the file's")
    .option("--state-dir <folder>", "where events and what must survive a restart are kept", "/var/lib/vipward")
    .addOption(new Option("--log <form>", "one event a line").choices(["text", "json"]).default("text"))
    .option("--silence-interval <seconds>", "how often a real server looks at its own silence (1 to 3600)", "10")
    .option("--clear-on-stop", "take our services out of the kernel's table at the end, instead of leaving them")
    .addHelpText(
      "after",
      `
Examples:
  vipward run --config cluster.yaml              on every host; each finds its part by its addresses
  vipward run --config cluster.yaml --as lb1     where they do not tell
  systemctl reload vipward                       the file again; an error in it keeps the old one in force

Exit status: 0 stopped and handed over, 65 errors in the file, 69 no IPVS in the kernel or another agent runs, 71 the system
refused, 77 rights missing. A file that would delete too many services at the start is no error: those stay, and status says so.`,
    )
    .action((options) => {
      keepYoungHeapSmall();
      finish(import("../work/agentRun.ts").then((work) => work.runAgent(options, io)));
    });
}

function drains(program: Command, io: Io, finish: Finish): void {
  program
    .command("drain")
    .description("let a real server run empty: no new connections, out when the last one ended")
    .argument("<real-server>")
    .option("--service <name>", "only in this service")
    .option("--timeout <seconds>", "out after this time, whatever is still open")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward drain web1", "vipward drain web1 --service shop --timeout 300"))
    .action((server, options) => finish(import("../work/agentControl.ts").then((w) => w.drain(server, options, io))));
  program
    .command("undrain")
    .description("take a drained real server back")
    .argument("<real-server>")
    .option("--service <name>", "only in this service")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward undrain web1"))
    .action((server, options) => finish(import("../work/agentControl.ts").then((w) => w.undrain(server, options, io))));
  program
    .command("release")
    .description("believe that a service's servers really fail, when the kill-switch keeps them in")
    .argument("<service>")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward release shop"))
    .action((service, options) =>
      finish(import("../work/agentControl.ts").then((w) => w.release(service, options, io))),
    );
}

function rest(program: Command, io: Io, finish: Finish): void {
  program
    .command("switchover")
    .description("hand the VIPs to the other director, and stay the last choice until --release")
    .argument("[instance]", "VRRP instance (with its sync group); all when left out")
    .option("--release", "let the file's priority count again")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward switchover", "vipward switchover web", "vipward switchover --release"))
    .action((instance, options) =>
      finish(import("../work/agentControl.ts").then((w) => w.switchover(instance, options, io))),
    );
  program
    .command("reload")
    .description("read the cluster file again; an error in it, or too many deletions, keep the old one in force")
    .option("--force", "delete services even if they are many")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward reload", "vipward reload --force"))
    .action((options) => finish(import("../work/agentControl.ts").then((w) => w.reload(options, io))));
  program
    .command("events")
    .description("what happened on this host, and what happens from now on")
    .option("--last <number>", "how many of the past", "20")
    .option("--no-follow", "end after those")
    .option("--json", "a line of JSON for each")
    .addOption(socketOption())
    .addHelpText("after", examples("vipward events", "vipward events --last 100 --no-follow --json"))
    .action((options) => finish(import("../work/agentControl.ts").then((w) => w.events(options, io))));
}

export const agent: CommandModule = {
  register(program, io, finish) {
    run(program, io, finish);
    drains(program, io, finish);
    rest(program, io, finish);
  },
};
