/** net.ipv4 as the flat record of the facts: all and default from their files, links from the dump of links. */
import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";
import type { UnreadFacts } from "../../model/facts.ts";
import { LITTLE_ENDIAN_HOST as LITTLE_ENDIAN } from "../../wire/octets.ts";
import type { NeighbourTimes } from "../../wire/rtnetlinkValues.ts";
import type { LinkNames, LinkReading } from "./links.ts";

/** File names by IPV4_DEVCONF_* (uapi/linux/ip.h, append only), as far as facts want them. */
const files: readonly (readonly [name: string, number: number])[] = [
  ["forwarding", 1],
  ["proxy_arp", 3],
  ["accept_redirects", 4],
  ["secure_redirects", 5],
  ["send_redirects", 6],
  ["shared_media", 7],
  ["rp_filter", 8],
  ["accept_source_route", 9],
  ["log_martians", 11],
  ["arp_filter", 13],
  ["medium_id", 14],
  ["arp_announce", 18],
  ["arp_ignore", 19],
  ["promote_secondaries", 20],
  ["arp_accept", 21],
  ["arp_notify", 22],
  ["accept_local", 23],
  ["src_valid_mark", 24],
  ["proxy_arp_pvlan", 25],
  ["route_localnet", 26],
  ["ignore_routes_with_linkdown", 29],
  ["drop_unicast_in_l2_multicast", 30],
  ["drop_gratuitous_arp", 31],
  ["bc_forwarding", 32],
  ["arp_evict_nocarrier", 33],
];
/** What patches add has no fixed number. */
const patchFiles = ["hidden", "arp_invisible"] as const;
const plainFiles = ["ip_forward", "ip_nonlocal_bind", "conf/all/mc_forwarding"] as const;
/** Of IPVS and of bridges, where their modules are: what a finding asks about. */
const moduleFiles = [
  [
    "vs",
    "/proc/sys/net/ipv4/vs",
    [
      "backup_only",
      "conn_reuse_mode",
      "conntrack",
      "expire_nodest_conn",
      "expire_quiescent_template",
      "ignore_tunneled",
      "nat_icmp_send",
      "pmtu_disc",
      "schedule_icmp",
      "sloppy_tcp",
      "snat_reroute",
    ],
  ],
  [
    "bridge",
    "/proc/sys/net/bridge",
    ["bridge-nf-call-arptables", "bridge-nf-call-ip6tables", "bridge-nf-call-iptables"],
  ],
] as const;
const base = "/proc/sys/net/ipv4";

const buffer = new Uint8Array(64);
/** A small file in three system calls; undefined when it is not there or may not be read. */
function numberIn(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    const length = readSync(fd, buffer, 0, buffer.length, 0);
    const value = Number.parseInt(String.fromCharCode(...buffer.subarray(0, length)), 10);
    return Number.isSafeInteger(value) ? value : undefined;
  } finally {
    closeSync(fd);
  }
}

export interface SysctlReading {
  readonly sysctls: Record<string, number>;
  readonly hasHidden: boolean;
  readonly hasInvisible: boolean;
}

/** Of the calling thread's namespace: /proc/sys/net shows that of whoever opens it. */
export function readSysctls(
  links: readonly LinkReading[],
  times: readonly NeighbourTimes[],
  names: LinkNames,
  unread: UnreadFacts[],
): SysctlReading {
  const sysctls: Record<string, number> = {};
  const read = (key: string, path: string): boolean => {
    const value = numberIn(`${base}/${path}`);
    if (value !== undefined) sysctls[key] = value;
    return value !== undefined;
  };
  for (const scope of ["all", "default"]) for (const [name] of files) read(`${scope}.${name}`, `conf/${scope}/${name}`);
  if (sysctls["all.arp_ignore"] === undefined && sysctls["all.rp_filter"] === undefined)
    unread.push({ what: "sysctls of net.ipv4", why: `${base} cannot be read` });
  for (const name of plainFiles) if (!name.includes("/")) read(name, name);
  const patched = patchFiles.map((name) => read(`all.${name}`, `conf/all/${name}`));
  for (const { link, conf } of links) {
    for (const [name, number] of files) {
      const at = (number - 1) * 4;
      // A kernel that lacks the file has a shorter array, or a number that means nothing to it: then `all` lacks it, too.
      if (conf === undefined || at + 4 > conf.byteLength) {
        if (conf === undefined) read(`${link.name}.${name}`, `conf/${link.name}/${name}`);
      } else if (sysctls[`all.${name}`] !== undefined)
        sysctls[`${link.name}.${name}`] = conf.getInt32(at, LITTLE_ENDIAN);
    }
    patchFiles.forEach((name, i) => {
      if (patched[i]) read(`${link.name}.${name}`, `conf/${link.name}/${name}`);
    });
  }
  for (const { linkIndex, lockTimeMs, proxyDelayMs } of times) {
    const name = linkIndex === undefined ? "default" : names.get(linkIndex);
    if (name === undefined) continue;
    // These two files count in 1/100 s (USER_HZ).
    sysctls[`neigh.${name}.locktime`] = Math.floor(lockTimeMs / 10);
    sysctls[`neigh.${name}.proxy_delay`] = Math.floor(proxyDelayMs / 10);
  }
  for (const [group, folder, names] of moduleFiles)
    if (existsSync(folder))
      for (const name of names) {
        const value = numberIn(`${folder}/${name}`);
        if (value !== undefined) sysctls[`${group}.${name}`] = value;
      }
  readIpv6(links, read6(sysctls));
  return { sysctls, hasHidden: patched[0] === true, hasInvisible: patched[1] === true };
}

const files6 = ["forwarding", "proxy_ndp", "ndisc_notify", "drop_unsolicited_na"] as const;

const read6 =
  (sysctls: Record<string, number>) =>
  (scope: string, name: string): void => {
    const value = numberIn(`/proc/sys/net/ipv6/conf/${scope}/${name}`);
    if (value !== undefined) sysctls[`ipv6.${scope}.${name}`] = value;
  };

function readIpv6(links: readonly LinkReading[], read: (scope: string, name: string) => void): void {
  let known: Set<string>;
  try {
    known = new Set(readdirSync("/proc/sys/net/ipv6/conf"));
  } catch {
    return; // no IPv6 here
  }
  for (const scope of ["all", "default", ...links.map((l) => l.link.name)])
    if (known.has(scope)) for (const name of files6) read(scope, name);
}
