import { linkOfSysctl } from "../host.ts";
import type { ChangeKind } from "../kind.ts";

/** One value under /proc/sys. `name` is flat as in the facts: "eth0.arp_ignore"; null: the facts do not name it. */
export interface SysctlChange {
  readonly kind: "sysctl";
  readonly name: string;
  readonly before: number | null;
  readonly after: number | null;
}

/** The kernel's own default where the facts name none: 0 for all that vipward writes. */
const KERNEL_DEFAULT = 0;

/** "eth0.100.arp_ignore" -> net, ipv4, conf, eth0.100, arp_ignore. */
export function sysctlPath(name: string): readonly string[] {
  const link = linkOfSysctl(name);
  if (link === undefined) return ["net", "ipv4", name];
  const file = name.slice(name.lastIndexOf(".") + 1);
  if (name.startsWith("ipv6.")) return ["net", "ipv6", "conf", link, file];
  if (name.startsWith("neigh.")) return ["net", "ipv4", "neigh", link, file];
  return ["net", "ipv4", "conf", link, file];
}

export const sysctl: ChangeKind<SysctlChange> = {
  key: (c) => `sysctl ${c.name}`,
  describe: (c) =>
    `set ${sysctlPath(c.name).join("/")} to ${c.after ?? KERNEL_DEFAULT} (now ${c.before ?? "not read"})`,
  // A looser source check lets packets in before there is a VIP to take them: it silences nothing, but belongs first.
  phase: (c) => (/\.(rp_filter|accept_local)$|^ip_forward$/.test(c.name) ? "prepare" : "silence"),
  operations: (c) => [{ op: "sysctl", path: sysctlPath(c.name), value: String(c.after ?? KERNEL_DEFAULT) }],
  current: (c, host) => {
    const value = host.sysctls[c.name];
    // Facts that name no value mean the kernel's default; reading it again after undo names it.
    const unnamed = value === KERNEL_DEFAULT && (c.after === null || (c.before === null && c.after !== value));
    return value === undefined || unnamed ? null : value;
  },
  effect: (c, host) => {
    if (c.after === null) delete host.sysctls[c.name];
    else host.sysctls[c.name] = c.after;
  },
  conflicts: (c, host) => {
    const link = linkOfSysctl(c.name);
    if (link === undefined || link === "all" || link === "default" || host.link(link) !== undefined) return [];
    return [`there is no interface ${link}, so it has no ${c.name.slice(c.name.lastIndexOf(".") + 1)}`];
  },
  lasting: false,
};
