/** What a lab wants of a real server: as `vipward apply` does, but REDIRECT takes whole protocols, or the one port that the lab names. */
import type { Cluster, RealServer } from "../cluster/cluster.ts";
import type { Wish } from "../policy/wish.ts";
import { wishOf } from "../policy/wishOf.ts";

export function labWishOf(cluster: Cluster, realServer: RealServer): Wish {
  const wish = wishOf(cluster, realServer);
  if (realServer.policy.name !== "redirect") return wish;
  const { redirectPort } = cluster.lab;
  if (redirectPort === undefined) return { ...wish, services: [] };
  const ports = [[redirectPort, redirectPort]] as const;
  return {
    ...wish,
    services: [
      { protocol: "tcp", ports },
      { protocol: "udp", ports },
    ],
  };
}
