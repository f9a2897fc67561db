/** A program the VM carries where the machine has it. `package`: Debian's name of what provides it. */
export interface Tool {
  readonly name: string;
  readonly package: string;
  readonly required: boolean;
}

const need = (packageName: string, ...names: string[]): Tool[] =>
  names.map((name) => ({ name, package: packageName, required: true }));
const may = (packageName: string, ...names: string[]): Tool[] =>
  names.map((name) => ({ name, package: packageName, required: false }));

/** Required is what the VM's own start uses; the rest is for the lab and tests, and what is missing is listed. */
export const tools: readonly Tool[] = [
  ...need("bash", "bash"),
  ...need("mount", "mount"),
  ...need("coreutils", "cat", "head", "mkdir", "mkfifo", "chmod", "sleep", "cp"),
  ...need("kmod", "modprobe"),
  ...need("iproute2", "ip"),
  ...may("kmod", "lsmod", "insmod", "rmmod"),
  ...may("mount", "umount"),
  ...may(
    "coreutils",
    "ls",
    "rm",
    "cp",
    "mv",
    "date",
    "env",
    "id",
    "uname",
    "timeout",
    "tail",
    "wc",
    "sort",
    "stty",
    "touch",
  ),
  ...may("coreutils", "seq", "tr", "cut", "dd", "uniq", "echo", "true", "false"),
  ...may("grep", "grep"),
  ...may("sed", "sed"),
  ...may("util-linux", "nsenter", "unshare", "dmesg", "setpriv", "prlimit"),
  ...may("iproute2", "bridge", "tc", "ss"),
  ...may("procps", "sysctl", "ps"),
  ...may("nftables", "nft"),
  ...may("systemd", "systemd-networkd", "systemd-sysctl", "networkctl"),
  ...may("udev", "systemd-udevd", "udevadm"),
  ...may("ipvsadm", "ipvsadm"),
  ...may("keepalived", "keepalived"),
  ...may("iptables", "iptables", "iptables-save", "iptables-restore"),
  ...may("arptables", "arptables", "arptables-legacy", "arptables-save", "arptables-restore"),
  ...may("tcpdump", "tcpdump"),
  ...may("iputils-arping", "arping"),
  ...may("iputils-ping", "ping"),
  ...may("arp-scan", "arp-scan"),
];

/** Files and folders of data which those programs read, carried where they exist. */
export const toolData: readonly string[] = [
  "/etc/iproute2",
  "/usr/share/iproute2",
  "/etc/protocols",
  "/etc/services",
  "/etc/ethertypes",
  "/etc/ld.so.cache",
  "/usr/lib/udev/rules.d/99-systemd.rules",
];

/** Folders of plug-ins that no `ldd` names: iptables loads its matches and targets from here. */
export const pluginFolders: readonly string[] = ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib64/xtables"];
