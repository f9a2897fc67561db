import { sysctlTable } from "./sysctl.ts";

/** Which names the `sysctls` of a facts file may have: a name that nothing reads would be a silent slip. */

/** Of net.ipv4.conf beside those that decisions read: what findings and plans ask about. */
const conf = new Set([
  ...Object.keys(sysctlTable),
  "accept_redirects",
  "secure_redirects",
  "shared_media",
  "accept_source_route",
  "log_martians",
  "promote_secondaries",
  "mc_forwarding",
  "tag",
  "disable_policy",
  "disable_xfrm",
]);
const neigh = new Set(["locktime", "proxy_delay"]);
const conf6 = new Set(["forwarding", "proxy_ndp", "ndisc_notify", "drop_unsolicited_na", "disable_ipv6"]);
const plain = new Set(["ip_forward", "ip_nonlocal_bind"]);
/** net.ipv4.vs and net.bridge: whatever their modules have. */
const modules = /^(vs|bridge)\.[\w-]+$/;

/** What is wrong with one name, where `isLink` tells the host's links; undefined: nothing. */
export function sysctlNameProblem(key: string, isLink: (name: string) => boolean): string | undefined {
  if (plain.has(key) || modules.test(key)) return undefined;
  const [, group = "", scope = "", file = ""] = /^(?:(neigh|ipv6)\.(?=.*\.))?(.+)\.([^.]+)$/s.exec(key) ?? [];
  const files = group === "neigh" ? neigh : group === "ipv6" ? conf6 : conf;
  if (!files.has(file)) {
    const where = group === "neigh" ? "net.ipv4.neigh" : group === "ipv6" ? "net.ipv6.conf" : "net.ipv4.conf";
    return `no sysctl that a facts file has; of ${where} these: ${[...files].join(", ")}`;
  }
  const everywhere = scope === "default" || (scope === "all" && group !== "neigh");
  return everywhere || isLink(scope) ? undefined : `there is no link ${scope}`;
}
