import type { HostFacts } from "../model/facts.ts";

/** A plain real server: lo, eth0 with 10.0.0.11/24, a gateway. `routesGiven: "added"` lets the model derive the rest. */
export function realServer(release: string, changes: Partial<HostFacts> = {}): HostFacts {
  const [major = "6", minor = "1"] = release.split(".");
  const generation =
    major === "2" ? (minor === "0" ? "2.0" : minor === "2" ? "2.2" : minor === "4" ? "2.4-late" : "2.6") : "6.x";
  return {
    factsVersion: 1,
    kernel: { release, generation },
    links: [
      { ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK", "LOWER_UP"], mac: null },
      {
        ifindex: 2,
        name: "eth0",
        flags: ["UP", "BROADCAST", "MULTICAST", "LOWER_UP"],
        mac: "02:00:00:00:00:11",
      },
    ],
    addresses: [
      { link: "lo", ip: "127.0.0.1", prefixLength: 8, scope: 254 },
      { link: "eth0", ip: "10.0.0.11", prefixLength: 24, scope: 0 },
    ],
    routesGiven: "added",
    routes: [{ dst: "default", via: "10.0.0.1", dev: "eth0" }],
    rules: [],
    sysctls: {},
    neighbours: [],
    filters: [],
    unread: [],
    ...changes,
  };
}
