import type { Evidence } from "./finding.ts";

/** "a", "a and b", "a, b, c and 12 more". */
export function list(items: readonly string[], most = 4): string {
  const unique = [...new Set(items)];
  const shown = unique.length > most ? unique.slice(0, most - 1) : unique;
  const more = unique.length - shown.length;
  if (more > 0) return `${shown.join(", ")} and ${more} more`;
  const last = shown.at(-1) ?? "nothing";
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${last}` : last;
}

/** "the VIP 10.0.0.100", "the VIPs 10.0.0.100 and 10.0.0.101". */
export const theVips = (vips: readonly string[]): string => `the VIP${new Set(vips).size > 1 ? "s" : ""} ${list(vips)}`;

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** With slashes, so that the dot of "eth0.100" is no separator (catalogue: sysctl-name-with-dot). */
const sysctlName = (link: string, key: string): string =>
  link.includes(".") ? `net/ipv4/conf/${link}/${key}` : `net.ipv4.conf.${link}.${key}`;
export const setConf = (link: string, key: string, value: number): string =>
  `sysctl -w ${sysctlName(link, key)}=${value}`;

export const sysctlPath = (name: string): string => `sysctls[${JSON.stringify(name)}]`;
export function sysctlEvidence(sysctls: Readonly<Record<string, number>>, ...names: readonly string[]): Evidence[] {
  return names.map((name) => ({ path: sysctlPath(name), value: sysctls[name] }));
}
