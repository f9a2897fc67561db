import type { Entry } from "./entry.ts";
import { answers } from "./families/answers.ts";
import { director } from "./families/director.ts";
import { ipv6 } from "./families/ipv6.ts";
import { ipvs } from "./families/ipvs.ts";
import { leaks } from "./families/leaks.ts";
import { network } from "./families/network.ts";
import { prefix } from "./families/prefix.ts";
import { realServer } from "./families/realServer.ts";
import { sysctlPlaces } from "./families/sysctlPlaces.ts";
import { tun } from "./families/tun.ts";
import { vrrp } from "./families/vrrp.ts";

export interface Family {
  readonly title: string;
  readonly entries: readonly Entry[];
}

/** Everything a check looks for, in the order of documentation. To add one: a row in its family. */
export const families: readonly Family[] = [
  { title: "A real server answers for the VIP", entries: answers },
  { title: "ARP requests in the VIP's name", entries: leaks },
  { title: "ARP settings in the wrong place", entries: sysctlPlaces },
  { title: "Prefixes, and silence that is too strong", entries: prefix },
  { title: "The real server takes the VIP's packets", entries: realServer },
  { title: "Tunnels", entries: tun },
  { title: "The director owns the VIP", entries: director },
  { title: "IPVS", entries: ipvs },
  { title: "Cluster file", entries: vrrp },
  { title: "IPv6", entries: ipv6 },
  { title: "Gateways, firewalls and the platform", entries: network },
];

export const registry: readonly Entry[] = families.flatMap((f) => f.entries);

const byId = new Map(registry.map((e) => [e.id, e]));
export const entryOf = (id: string): Entry | undefined => byId.get(id);
