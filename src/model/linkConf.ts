import type { Conf } from "./link.ts";
import type { Switches } from "./switches.ts";
import { effective, type SysctlName } from "./sysctl.ts";

type Values = Readonly<Record<string, number>>;
const noValues: Values = {};
/** Most links of most hosts have nothing but defaults: one object for all of them. */
const defaults = new WeakMap<Switches, Conf>();

/** Sorts the flat record by link once, so that a host with thousands of sysctls is read in one pass. */
export function confReader(sysctls: Values, switches: Switches): (name: string) => Conf {
  const own = new Map<string, Record<string, number>>();
  const neighbours = new Map<string, Record<string, number>>();
  for (const key in sysctls) {
    const dot = key.lastIndexOf(".");
    const value = sysctls[key];
    if (dot <= 0 || value === undefined || key.startsWith("ipv6.")) continue;
    const isNeighbour = key.startsWith("neigh.");
    const groups = isNeighbour ? neighbours : own;
    const name = key.slice(isNeighbour ? 6 : 0, dot);
    const group = groups.get(name);
    if (group) group[key.slice(dot + 1)] = value;
    else groups.set(name, { [key.slice(dot + 1)]: value });
  }
  const forAll = own.get("all") ?? noValues;
  const plain = forAll === noValues && neighbours.size === 0 && sysctls.ip_forward === undefined;
  return (name) => {
    const values = own.get(name);
    if (plain && values === undefined) {
      let conf = defaults.get(switches);
      if (!conf) {
        conf = confOf(noValues, noValues, noValues, noValues, 0, switches);
        defaults.set(switches, conf);
      }
      return conf;
    }
    return confOf(
      forAll,
      values ?? noValues,
      neighbours.get(name) ?? noValues,
      neighbours.get("default") ?? noValues,
      sysctls.ip_forward ?? 0,
      switches,
    );
  };
}

function confOf(
  forAll: Values,
  own: Values,
  neighbour: Values,
  neighbourDefault: Values,
  ipForward: number,
  switches: Switches,
): Conf {
  const value = (key: SysctlName): number => effective(switches, key, forAll[key], own[key]);
  const on = (key: SysctlName): boolean => value(key) !== 0;
  /** The plain files count in 1/100 s (USER_HZ), those named _ms in milliseconds. */
  const neigh = (key: "locktime" | "proxy_delay", byDefaultMs: number): number => {
    const plain = neighbour[key] ?? neighbourDefault[key];
    return plain === undefined ? byDefaultMs : plain * 10;
  };
  // all.forwarding and ip_forward are one thing, and a write to it reaches every device (S-ALL-02).
  const forwarding = own.forwarding ?? forAll.forwarding ?? ipForward;
  const rp = value("rp_filter");
  return {
    hidden: on("hidden"),
    invisible: on("arp_invisible"),
    arpFilter: on("arp_filter"),
    arpIgnore: value("arp_ignore"),
    arpAnnounce: value("arp_announce"),
    arpAccept: value("arp_accept"),
    arpNotify: value("arp_notify"),
    evictNoCarrier: on("arp_evict_nocarrier"),
    proxyArp: on("proxy_arp"),
    proxyPvlan: on("proxy_arp_pvlan"),
    mediumId: value("medium_id"),
    dropGratuitous: on("drop_gratuitous_arp"),
    dropUnicastInMulticast: on("drop_unicast_in_l2_multicast"),
    rpFilter: switches.rpLoose ? rp : rp === 0 ? 0 : 1,
    acceptLocal: on("accept_local"),
    sourceValidMark: on("src_valid_mark"),
    routeLocalnet: on("route_localnet"),
    sendRedirects: on("send_redirects"),
    forwarding: forwarding !== 0,
    broadcastForwarding: on("bc_forwarding"),
    ignoreLinkDown: on("ignore_routes_with_linkdown"),
    lockTimeMs: neigh("locktime", 1000),
    proxyDelayMs: neigh("proxy_delay", 800),
  };
}
