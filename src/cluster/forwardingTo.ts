import type { Cluster } from "./cluster.ts";
import type { Forwarding } from "./words.ts";

/** How packets come to one real server: each method once, in the services' order. */
export const forwardingTo = (cluster: Cluster, realServer: string): Forwarding[] => [
  ...new Set(
    cluster.services.flatMap((service) =>
      service.destinations.filter((d) => d.realServer.name === realServer).map((d) => d.forwarding),
    ),
  ),
];
