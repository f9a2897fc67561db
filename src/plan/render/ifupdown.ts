import { sysctlPath } from "../kinds/sysctl.ts";
import { devices, forBoot, ofKind, one, type Renderer, restOf } from "./render.ts";

/**
 * Everything but filters, each interface with the commands that make and end it. Silence stands before the addresses
 * and without `|| true`: ifup stops at the first command that fails, so that no VIP comes up unsilenced.
 */
export const ifupdown: Renderer = (changes) => {
  const boot = forBoot(changes);
  const sysctls = ofKind(boot, "sysctl");
  const plain = (name: string): boolean => PLAIN_SYSCTL.test(name);
  const said = sysctls.every((c) => plain(c.name)) ? devices(boot).filter((d) => d.plain) : [];
  const lines: string[] = [];
  for (const { name, addresses, routes, link } of said) {
    // lo is brought up by its own stanza; another one of the same name adds to it.
    lines.push(
      ...(name === "lo" ? [] : [`auto ${name}`]),
      `iface ${name} inet ${name === "lo" ? "loopback" : "manual"}`,
    );
    for (const c of ofKind(boot, "module")) lines.push(`    pre-up modprobe ${c.name} || true`);
    if (link?.before === null) lines.push(`    pre-up ip link add ${name} type ${link.after?.type ?? "dummy"} || true`);
    for (const c of sysctls) lines.push(`    up echo ${c.after ?? 0} > /proc/sys/${sysctlPath(c.name).join("/")}`);
    if (link !== undefined) lines.push(`    up ip link set dev ${name} up`);
    for (const c of addresses) {
      const label = c.after?.label === undefined ? "" : ` label ${c.after.label}`;
      lines.push(
        `    up ip address replace ${c.ip}/32 dev ${name}${label}`,
        `    down ip address delete ${c.ip}/32 dev ${name} || true`,
      );
    }
    for (const { route } of routes)
      lines.push(
        `    up ip route replace ${route.type ?? ""} ${route.dst} dev ${name} table ${route.table ?? 254}`,
        `    down ip route delete ${route.type ?? ""} ${route.dst} dev ${name} table ${route.table ?? 254} || true`,
      );
    lines.push("");
  }
  const kinds = said.length === 0 ? [] : (["module", "sysctl"] as const);
  return { files: one("/etc/network/interfaces.d/vipward", lines), notCovered: restOf(boot, said, ...kinds) };
};

/** What sh takes as it stands. */
const PLAIN_SYSCTL = /^[\w.@+-]+$/;
