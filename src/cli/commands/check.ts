import { Option } from "commander";
import type { CommandModule } from "../command.ts";

export const check: CommandModule = {
  register(program, io, finish) {
    program
      .command("check")
      .description("ask the kernel model about each VIP on this host, and say what is wrong, why, and what to do")
      .option("--facts <file>", "facts of a host, as `vipward facts` prints them; without it, this host's own")
      .option("-n, --netns <name>", "a named network namespace of this host instead of its own")
      .option("--cluster <file>", "cluster file: VIPs, roles and services come from it")
      .option("--as <name>", "which host of the cluster this is, where its addresses do not say")
      .option("--vip <address...>", "without a cluster file: the VIPs")
      .addOption(
        new Option("--role <role>", "without a cluster file: what this host is")
          .choices(["real-server", "director", "both"])
          .default("real-server"),
      )
      .addOption(
        new Option("--forwarding <method>", "without a cluster file: how the director sends to it").choices([
          "dr",
          "tun",
        ]),
      )
      .option(
        "--switch <name=value...>",
        "a habit of this kernel that its version does not tell (docs/kernel-rules.md)",
      )
      .addOption(
        new Option("--fail-on <severity>", "end with status 1 from this severity on")
          .choices(["critical", "high", "medium", "low"])
          .default("medium"),
      )
      .option("--json", "print the report as one JSON document")
      .addHelpText(
        "after",
        `
Examples:
  vipward check --cluster cluster.yaml                       this host, as the file says what it is
  vipward check --vip 10.10.0.100                            this host as a real server of that VIP
  vipward check --vip 10.10.0.100 --role director --json
  vipward check --netns vw-web1 --vip 10.10.0.100            a host in a namespace
  vipward check --facts web1.json --cluster cluster.yaml     someone else's host
  vipward check --vip 10.10.0.100 --switch arpIgnoreAnnounce=true    a vendor's 2.4.20 that has it
  vipward explain arp-ignore-only-on-lo                      one finding at length

Exit status: 0 clean, 1 findings as bad as --fail-on or worse, 64 command line, 65 errors in a file,
66 no such file or namespace, 77 not permitted to enter it. See docs/check.md.`,
      )
      .action((options) => {
        finish(import("../work/check.ts").then(({ runCheck }) => runCheck(options, io)));
      });
  },
};
