import { formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { forwardingTo } from "../cluster/forwardingTo.ts";
import { roleOf } from "../cluster/role.ts";
import type { HostFacts } from "../model/facts.ts";
import type { CheckInput, Method, ServiceWish } from "./context.ts";

/** What to check a host against: from a cluster file, or from what a person says of one VIP. */

export type WishResult =
  | { readonly ok: true; readonly input: CheckInput; readonly reason: string }
  | { readonly ok: false; readonly why: string; readonly remedy: string };

/** `as` overrules what the host's addresses say. */
export function wishFromCluster(facts: HostFacts, cluster: Cluster, as: string | undefined): WishResult {
  const addresses = facts.addresses.map((a) => parseIpv4(a.ip)).filter((ip): ip is Ipv4 => ip !== undefined);
  const role = roleOf(cluster, { addresses, as });
  if (role.kind === "none" || role.kind === "ambiguous" || role.kind === "unknownName")
    return { ok: false, why: role.reason, remedy: role.remedy };
  const realServer = role.kind === "realServer" || role.kind === "both" ? role.realServer : undefined;
  const director = role.kind === "director" || role.kind === "both" ? role.director : undefined;
  const vips = director ? cluster.vips : (realServer?.vips ?? []);
  const methods: Method[] = realServer ? forwardingTo(cluster, realServer.name) : [];
  return {
    ok: true,
    reason: role.reason,
    input: {
      facts,
      realServer: realServer !== undefined,
      director: director !== undefined,
      vips: vips.map((v) => formatIpv4(v.address)),
      services: cluster.services.map(
        (service): ServiceWish => ({
          name: service.name,
          vips: service.vips.map((v) => formatIpv4(v.address)),
          protocol: service.match.protocol,
          ports: service.match.kind === "ports" ? service.match.ports.map((p) => [p.first, p.last] as const) : [],
          methods: [...new Set<Method>(service.destinations.map((d) => d.forwarding))],
        }),
      ),
      methods: methods.length > 0 ? methods : ["dr"],
      cluster,
      self: (director ?? realServer)?.name ?? "",
    },
  };
}

/** Without a cluster file: the VIPs and the role are said by hand; how packets come, by what the host looks like. */
export function wishFromVips(
  facts: HostFacts,
  vips: readonly string[],
  role: "real-server" | "director" | "both",
  method: "dr" | "tun" | undefined,
): CheckInput {
  const tunnels = new Set(facts.links.filter((l) => l.kind === "ipip" || /^tunl\d/.test(l.name)).map((l) => l.name));
  const onTunnel = facts.addresses.some((a) => tunnels.has(a.link) && vips.includes(a.ip));
  const wanted = new Set(vips);
  const fromTable = (facts.ipvs?.services ?? []).flatMap((s): ServiceWish[] =>
    s.vip !== undefined && wanted.has(s.vip) && s.port
      ? [
          {
            name: `${s.protocol ?? "tcp"} ${s.vip}:${s.port}`,
            vips: [s.vip],
            protocol: s.protocol ?? "tcp",
            ports: [[s.port, s.port]],
            methods: [...new Set(s.destinations.flatMap((d): Method[] => (d.method === "local" ? [] : [d.method])))],
          },
        ]
      : [],
  );
  return {
    facts,
    realServer: role !== "director",
    director: role !== "real-server",
    vips,
    services: fromTable,
    methods: [method ?? (onTunnel ? "tun" : "dr")],
  };
}
