import { type Command, Option } from "commander";

const list = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value];

/** What is wanted: from the cluster file, or said here. */
export const wishOptions = (command: Command): Command =>
  command
    .option("--cluster <file>", "the cluster file; this host is found in it by its addresses")
    .option("--as <name>", "which host of the cluster file this is")
    .option("--vip <address>", "a virtual IP; may be repeated, or several with commas", list)
    .option("--service <protocol/port>", "what is served at the VIPs: tcp/80, udp/5000-5010; may be repeated", list)
    .addOption(new Option("--forwarding <method>", "how the director forwards").choices(["dr", "tun"]))
    .addOption(new Option("--carrier <device>", "what holds the VIPs (default: lo)").choices(["lo", "dummy", "tunl0"]))
    .option("--carrier-name <name>", "name of the dummy interface (default: dummy0)")
    .option("--lan <interface>", "only this interface's wire must not see the VIPs; may be repeated", list)
    .option("--policy <name>", "silence policy, or auto (see `vipward policies`)")
    .addOption(
      new Option("--sysctl-scope <where>", "arp-sysctl: on each interface, or through conf/all").choices([
        "links",
        "all",
      ]),
    );

export const keepOption = (command: Command): Command =>
  command.addOption(
    new Option("--keep <how>", "what makes it again after a reboot")
      .choices(["auto", "systemd", "networkd", "netplan", "networkmanager", "ifupdown", "none"])
      .default("auto"),
  );

export const factsOption = (command: Command): Command =>
  command.option("--facts <file>", "of the host of this facts file instead of this one");

export const commonOptions = (command: Command): Command =>
  command
    .option("--root <folder>", "stands for / where files are read and written: of an image")
    .option("--state-dir <folder>", "where the journal is (default: /var/lib/vipward)")
    .option("--json", "print one JSON document");
