/** What the cluster file wants of one of its real servers. */
import { formatIpv4 } from "../base/ipv4.ts";
import type { Cluster, RealServer } from "../cluster/cluster.ts";
import type { Service } from "../plan/proof.ts";
import type { Wish } from "./wish.ts";

export function wishOf(cluster: Cluster, realServer: RealServer): Wish {
  const mine = cluster.services.flatMap((service) =>
    service.destinations.filter((d) => d.realServer.name === realServer.name).map((d) => ({ service, ...d })),
  );
  const services = mine.flatMap(({ service }): Service[] =>
    service.vips.flatMap((vip) =>
      service.match.kind === "ports"
        ? [
            {
              vip: formatIpv4(vip.address),
              protocol: service.match.protocol,
              ports: service.match.ports.map((p) => [p.first, p.last] as const),
            },
          ]
        : [],
    ),
  );
  const [carrier, carrierName] =
    realServer.carrier === "dummy0" ? (["dummy", "dummy0"] as const) : ([realServer.carrier, undefined] as const);
  return {
    vips: realServer.vips.map((v) => formatIpv4(v.address)),
    forwarding: mine.some((d) => d.forwarding === "tun") ? "tun" : "dr",
    carrier,
    services,
    options: { sysctlScope: realServer.policy.scope === "all" ? "all" : "links" },
    ...(realServer.isDirector ? { ownsAtTimes: true } : {}),
    ...(carrierName === undefined ? {} : { carrierName }),
  };
}
