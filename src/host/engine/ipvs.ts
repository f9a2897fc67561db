/** The kernel's own director, programmed over generic netlink. */
import { toKernelServer, toKernelService } from "../../machine/table.ts";
import type { Engine, EngineCount, EngineService } from "../../ports/engine.ts";
import { type IpvsProtocol, openIpvs, type ServiceKey } from "../ipvs.ts";
import type { Namespace } from "../namespace.ts";

const protocols: Readonly<Record<number, IpvsProtocol>> = { 6: "tcp", 17: "udp", 132: "sctp" };

const keyOf = (service: EngineService): ServiceKey => {
  const protocol = protocols[service.protocol];
  if (protocol === undefined) throw new RangeError(`IPVS has no protocol ${service.protocol}`);
  return { protocol, address: service.vip, port: service.port };
};

/** Errors: ipvs/absent when the kernel has none. */
export function ipvsEngine(namespace: Namespace): Engine {
  const ipvs = openIpvs(namespace);
  let standing: readonly EngineService[] = [];
  const clear = (): void => {
    for (const service of standing) ipvs.removeService(keyOf(service));
    standing = [];
  };
  return {
    name: "ipvs",
    countsLagMs: 2500, // the estimator reads the per-CPU counters every two seconds
    refusals: (service) =>
      protocols[service.protocol] === undefined ? [`IPVS has no protocol ${service.protocol}`] : [],
    program(services) {
      clear();
      for (const service of services) {
        const key = keyOf(service);
        ipvs.addService(toKernelService(service));
        standing = [...standing, service];
        for (const server of service.realServers) ipvs.addDestination(key, toKernelServer(server));
      }
    },
    counts: () =>
      standing.flatMap((service): EngineCount[] =>
        ipvs.destinations(keyOf(service)).flatMap((d) =>
          typeof d.address !== "number"
            ? []
            : [
                {
                  service: { vip: service.vip, protocol: service.protocol, port: service.port },
                  realServer: d.address,
                  connections: Number(d.statistics.connections),
                  packets: Number(d.statistics.packetsIn),
                  octets: Number(d.statistics.octetsIn),
                },
              ],
        ),
      ),
    clear,
    close: () => ipvs.close(),
  };
}
