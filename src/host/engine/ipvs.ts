/** The kernel's own director, programmed over generic netlink. */
import type { Engine, EngineCount, EngineService, ForwardingMethod } from "../../ports/engine.ts";
import { type IpvsProtocol, openIpvs, type ServiceKey } from "../ipvs.ts";
import type { Namespace } from "../namespace.ts";

const protocols: Readonly<Record<number, IpvsProtocol>> = { 6: "tcp", 17: "udp", 132: "sctp" };
const methods: Readonly<Record<ForwardingMethod, "dr" | "tun" | "masq">> = { dr: "dr", tun: "tun", nat: "masq" };

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
        ipvs.addService({ ...key, scheduler: service.scheduler });
        standing = [...standing, service];
        for (const { rip, port, weight, forwarding } of service.realServers)
          ipvs.addDestination(key, { address: rip, port, weight, forwarding: methods[forwarding] });
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
