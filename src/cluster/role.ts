import { formatIpv4, type Ipv4 } from "../base/ipv4.ts";
import type { Cluster, Director, RealServer } from "./cluster.ts";
import { nearest } from "./near.ts";

/** What this host is in a cluster, and how that was found. */
export type Role =
  | { readonly kind: "director"; readonly director: Director; readonly reason: string }
  | { readonly kind: "realServer"; readonly realServer: RealServer; readonly reason: string }
  | { readonly kind: "both"; readonly director: Director; readonly realServer: RealServer; readonly reason: string }
  | { readonly kind: "none"; readonly reason: string; readonly remedy: string }
  | { readonly kind: "ambiguous"; readonly names: readonly string[]; readonly reason: string; readonly remedy: string }
  | { readonly kind: "unknownName"; readonly reason: string; readonly remedy: string };

/** `addresses`: all of this host's, VIPs may be among them; `as`: the name the user gave, which overrules them. */
export function roleOf(
  cluster: Cluster,
  host: { readonly addresses: readonly Ipv4[]; readonly as?: string | undefined },
): Role {
  if (host.as !== undefined)
    return roleByName(cluster, host.as, `by the name given, ${host.as}`) ?? unknownName(cluster, host.as);
  const own = new Set(host.addresses);
  const found = new Map<string, Ipv4>();
  for (const { name, addresses } of [...cluster.directors, ...cluster.realServers]) {
    const match = addresses.find((a) => own.has(a.address));
    if (match !== undefined && !found.has(name)) found.set(name, match.address);
  }
  const names = [...found.keys()];
  const [name] = names;
  if (name === undefined) {
    const few = host.addresses.slice(0, 8).map(formatIpv4).join(", ") || "none";
    const reason = `none of this host's addresses (${few}) is a DIP or RIP of the cluster ${cluster.name}`;
    return { kind: "none", reason, remedy: "give this host's name with --as NAME, or add it to the cluster file" };
  }
  if (names.length > 1) {
    const list = names.map((n) => `${n} (${formatIpv4(found.get(n) as Ipv4)})`).join(" and ");
    const reason = `this host has addresses of ${list}`;
    return { kind: "ambiguous", names, reason, remedy: `say which one it is with --as ${name}` };
  }
  const role = roleByName(cluster, name, `by its address ${formatIpv4(found.get(name) as Ipv4)}`);
  if (role === undefined) throw new Error(`host ${name} was found and then was not`);
  return role;
}

function roleByName(cluster: Cluster, name: string, how: string): Role | undefined {
  const director = cluster.directors.find((d) => d.name === name);
  const realServer = cluster.realServers.find((r) => r.name === name);
  if (director !== undefined && realServer !== undefined)
    return { kind: "both", director, realServer, reason: `director and real server ${name}, ${how}` };
  if (director !== undefined) return { kind: "director", director, reason: `director ${name}, ${how}` };
  if (realServer !== undefined) return { kind: "realServer", realServer, reason: `real server ${name}, ${how}` };
  return undefined;
}

function unknownName(cluster: Cluster, name: string): Role {
  const names = [...cluster.directors, ...cluster.realServers].map((h) => h.name);
  const hint = nearest(name, names);
  const remedy =
    hint === undefined ? `use one of ${[...new Set(names)].slice(0, 20).join(", ")}` : `did you mean ${hint}?`;
  return {
    kind: "unknownName",
    reason: `the cluster ${cluster.name} has no host called ${JSON.stringify(name)}`,
    remedy,
  };
}
