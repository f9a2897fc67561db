import type { Switches } from "./switches.ts";

/** Section S: how `all` and the interface combine. */
export type Combine = "and" | "or" | "max" | "interface" | "all";

interface SysctlRow {
  readonly combine: Combine | ((s: Switches) => Combine);
  readonly byDefault: number;
  /** `all` has a default of its own where it differs. */
  readonly allByDefault?: number;
  /** Where the kernel lacks the file, its value is the default whatever the facts say. */
  readonly exists?: (s: Switches) => boolean;
}

const always = (combine: Combine, byDefault = 0): SysctlRow => ({ combine, byDefault });

/** One row a file of net.ipv4.conf that a decision reads. Rules S-ALL-01, S-rp_filter and the table of section S. */
export const sysctlTable = {
  hidden: { combine: "and", byDefault: 0, exists: (s) => s.hiddenFlag },
  arp_invisible: { combine: "and", byDefault: 0, exists: (s) => s.arpInvisible },
  arp_filter: { combine: "or", byDefault: 0, exists: (s) => s.arpFilter },
  arp_ignore: { combine: "max", byDefault: 0, exists: (s) => s.arpIgnoreAnnounce },
  arp_announce: { combine: "max", byDefault: 0, exists: (s) => s.arpIgnoreAnnounce },
  arp_accept: {
    combine: (s) => (s.arpAccept === "max" ? "max" : s.arpAccept === "or" ? "or" : "all"),
    byDefault: 0,
    exists: (s) => s.arpAccept !== "none",
  },
  arp_notify: { combine: "max", byDefault: 0, exists: (s) => s.arpNotify !== "none" },
  arp_evict_nocarrier: { combine: "and", byDefault: 1, exists: (s) => s.evictNoCarrier },
  proxy_arp: always("or"),
  proxy_arp_pvlan: {
    combine: (s) => (s.proxyPvlan === "or" ? "or" : "interface"),
    byDefault: 0,
    exists: (s) => s.proxyPvlan !== "none",
  },
  medium_id: { combine: "interface", byDefault: 0, exists: (s) => s.mediumId },
  drop_gratuitous_arp: { combine: "or", byDefault: 0, exists: (s) => s.dropGratuitous },
  drop_unicast_in_l2_multicast: { combine: "or", byDefault: 0, exists: (s) => s.dropUnicastInMulticast },
  rp_filter: { combine: (s) => (s.rpCombine === "max" ? "max" : "and"), byDefault: 0 },
  accept_local: { combine: "or", byDefault: 0, exists: (s) => s.acceptLocal },
  src_valid_mark: { combine: "or", byDefault: 0, exists: (s) => s.sourceValidMark },
  route_localnet: { combine: "or", byDefault: 0, exists: (s) => s.routeLocalnet },
  send_redirects: always("or", 1),
  forwarding: always("interface"),
  bc_forwarding: always("and"),
  ignore_routes_with_linkdown: {
    combine: (s) => (s.linkDownRoutes === "or" ? "or" : "interface"),
    byDefault: 0,
    exists: (s) => s.linkDownRoutes !== "none",
  },
} as const satisfies Record<string, SysctlRow>;

export type SysctlName = keyof typeof sysctlTable;

/** eff(): the value in force from the two values a host has. */
export function combine(how: Combine, all: number, own: number): number {
  switch (how) {
    case "and":
      return all !== 0 && own !== 0 ? 1 : 0;
    case "or":
      return all !== 0 || own !== 0 ? 1 : 0;
    case "max":
      return Math.max(all, own);
    case "interface":
      return own;
    case "all":
      return all;
  }
}

const rows: { readonly [Name in SysctlName]: SysctlRow } = sysctlTable;

export function effective(
  switches: Switches,
  name: SysctlName,
  all: number | undefined,
  own: number | undefined,
): number {
  const row = rows[name];
  if (row.exists && !row.exists(switches)) return row.byDefault;
  const how = typeof row.combine === "string" ? row.combine : row.combine(switches);
  return combine(how, all ?? row.allByDefault ?? row.byDefault, own ?? row.byDefault);
}
