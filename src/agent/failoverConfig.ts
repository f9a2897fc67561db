/** The cluster file's failover, as one director takes part in it. */

import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Cluster, Director, Vip, VrrpInstance } from "../cluster/cluster.ts";
import type { AnnouncerConfig } from "../machine/announcer.ts";
import type { VrrpConfig } from "../machine/vrrpTypes.ts";

export interface InstanceConfig {
  readonly vrrp: VrrpConfig;
  readonly link: string;
  readonly announcer: AnnouncerConfig;
}
/** Values only: it is sent to the thread. */
export interface FailoverConfig {
  /** Each a sync group; an instance outside of any is a group of one. */
  readonly groups: readonly (readonly InstanceConfig[])[];
  /** A cluster of one director: it simply holds its VIPs. */
  readonly sole: readonly SoleConfig[];
}
export interface SoleConfig {
  readonly name: string;
  readonly link: string;
  readonly vips: readonly Ipv4[];
  readonly announcer: AnnouncerConfig;
}

/** How many frames an announcement sends at once: a millisecond of it is well below what any switch drops. */
const framesAtOnce = 64;
const verify = { verifyWithinMs: 500, verifyAttempts: 3 } as const;
const soleGarp = { count: 5, intervalMs: 100, refreshMs: 60_000, form: "both" } as const;

/** Who can tell whether the VIPs were learned: the routers of their networks, and nobody who is this host. */
function neighboursOf(vips: readonly Vip[], own: Director): Ipv4[] {
  const mine = new Set(own.addresses.map((a) => a.address));
  const routers = vips.flatMap(({ router, network }) => router ?? network.router ?? []);
  return [...new Set(routers)].filter((router) => !mine.has(router));
}

/** From which address a director speaks for an instance: its own on that link. */
export const speakerOf = (director: Director, link: string): Ipv4 =>
  director.addresses.find((a) => a.interface === link)?.address ?? director.dip;

function instanceOf(
  instance: VrrpInstance,
  director: Director,
  macOf: (link: string) => Mac,
): InstanceConfig | undefined {
  const member = instance.members.find((m) => m.director.name === director.name);
  if (member === undefined) return undefined;
  const link = member.interface;
  const address = speakerOf(director, link);
  const { name, id: vrid, version, intervalMs, preempt, preemptDelayMs, accept, downAdverts, checksum } = instance;
  const vips = instance.vips.map((vip) => vip.address);
  const announcer: AnnouncerConfig = {
    mac: macOf(link),
    ...instance.garp,
    framesAtOnce,
    neighbours: neighboursOf(instance.vips, director),
    ...verify,
  };
  return {
    link,
    announcer,
    vrrp: {
      name,
      version,
      vrid,
      priority: member.priority,
      intervalMs,
      address,
      vips,
      preempt,
      preemptDelayMs,
      downAdverts,
      accept,
      checksum,
      ...(member.unicastPeers && { unicastPeers: member.unicastPeers }),
    },
  };
}

/** `macOf` throws for a link that is not there: a director without it cannot begin. */
export function failoverConfig(cluster: Cluster, director: Director, macOf: (link: string) => Mac): FailoverConfig {
  const { instances, syncGroups } = cluster.failover;
  if (instances.length === 0) return { groups: [], sole: soleOf(cluster, director, macOf) };
  const grouped = new Set(syncGroups.flatMap((g) => g.instances));
  const names = [
    ...syncGroups.map((g) => g.instances),
    ...instances.filter((i) => !grouped.has(i.name)).map((i) => [i.name]),
  ];
  const groups = names.map((group) =>
    instances.filter((i) => group.includes(i.name)).flatMap((i) => instanceOf(i, director, macOf) ?? []),
  );
  return { groups: groups.filter((g) => g.length > 0), sole: [] };
}

function soleLinks(cluster: Cluster, director: Director): Map<string, Vip[]> {
  const byLink = new Map<string, Vip[]>();
  for (const vip of cluster.vips) {
    const near = director.addresses.find((a) => a.network.name === vip.network.name);
    const link = near?.interface ?? director.interface;
    byLink.set(link, [...(byLink.get(link) ?? []), vip]);
  }
  return byLink;
}

function soleOf(cluster: Cluster, director: Director, macOf: (link: string) => Mac): SoleConfig[] {
  return [...soleLinks(cluster, director)].map(([link, vips]) => ({
    name: link,
    link,
    vips: vips.map((vip) => vip.address),
    announcer: { mac: macOf(link), ...soleGarp, framesAtOnce, neighbours: neighboursOf(vips, director), ...verify },
  }));
}

/** Which VIPs failover puts on which of a director's links; whether they are there now is another matter. */
export function heldBy(
  cluster: Cluster,
  director: Director,
): { readonly link: string; readonly vips: readonly Vip[] }[] {
  const { instances } = cluster.failover;
  if (instances.length === 0) return [...soleLinks(cluster, director)].map(([link, vips]) => ({ link, vips }));
  return instances.flatMap(({ members, vips }) =>
    members.filter((m) => m.director.name === director.name).map((m) => ({ link: m.interface, vips })),
  );
}

/** Every link that failover uses, and every link that it tracks. */
export const linksOf = (config: FailoverConfig): string[] => [
  ...new Set([...config.groups.flat().map((i) => i.link), ...config.sole.map((s) => s.link)]),
];

/** After a link was made again, perhaps with another MAC. */
export function withMac(config: FailoverConfig, link: string, mac: Mac): FailoverConfig {
  const changed = <T extends { readonly link: string; readonly announcer: AnnouncerConfig }>(of: T): T =>
    of.link === link ? { ...of, announcer: { ...of.announcer, mac } } : of;
  return { groups: config.groups.map((g) => g.map(changed)), sole: config.sole.map(changed) };
}
