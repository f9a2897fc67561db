import type { CommandModule } from "../command.ts";

export const whoHas: CommandModule = {
  register(program, io, finish) {
    program
      .command("who-has")
      .description("ask the LAN who answers ARP for a VIP, and say whether it is one machine, the right one")
      .argument("[vip...]", "addresses, ranges (10.0.0.10-10.0.0.20) or prefixes (10.0.0.0/28)")
      .option("-i, --interface <name>", "ask there; without it, on the interface whose subnet the VIP is in")
      .option(
        "-f, --from <file>",
        "read VIPs from a file too: one or several a line, # for comments, - for standard input",
      )
      .option("-e, --expect <mac|name>", "the owner it should be: a MAC, or a name from /etc/ethers")
      .option("-c, --count <times>", "how often each VIP is asked", "3")
      .option("--interval <ms>", "from one question to the next about a VIP (100; with --watch 1000)")
      .option("--timeout <ms>", "how long to listen after the last question", "1000")
      .option("-s, --source <who>", "sender of the questions: auto, own, probe (0.0.0.0), or an address", "auto")
      .option("--unicast <mac>", "ask once more, by a frame to this MAC only")
      .option("--rate <number>", "questions a second at most; without it, as fast as the interface takes them")
      .option("--no-decoy", "do not ask for two unused addresses of each subnet")
      .option("-w, --watch", "go on asking; show owner changes, races, gratuitous ARP and leaks as they come")
      .option("-n, --netns <name>", "ask inside this network namespace")
      .option("-j, --json", "print one JSON document (with --watch: a line for each event, then the document)")
      .addHelpText(
        "after",
        `
Examples:
  vipward who-has 10.0.0.100                         who answers for this VIP, and is it one machine
  vipward who-has 10.0.0.100 --expect 52:54:00:12:34:56
  vipward who-has 10.0.0.0/24 --interface eth1       which addresses of a subnet are held, and by whom
  vipward who-has --from vips.txt --json > report.json
  vipward who-has 10.0.0.100 --watch                 see a failover as it happens; Ctrl-C ends with a summary
  vipward who-has 10.0.0.100 --unicast 02:00:00:00:00:0b
                                                     does this host answer when asked directly (hidden ones do)

Exit status: 0 every VIP has one owner, the expected one; 1 a race, a wrong owner or a second claim; 2 nobody answers
for a VIP; 64 command line, 65 bad file, 66 no such file, interface or subnet, 77 not permitted. See docs/who-has.md.`,
      )
      .action((vips: string[], options: Record<string, string | boolean | undefined>) => {
        finish(import("../work/whoHas.ts").then(({ runWhoHas }) => runWhoHas(vips, options, io)));
      });
  },
};
