/** What a chapter of the story takes from a cluster file. */
import { ipv4FromNumber } from "../base/ipv4.ts";
import { networkOf } from "../base/prefix.ts";
import { type Cluster, type Director, type LabWires, type Service, virtualServersOf } from "../cluster/cluster.ts";
import { plugOf } from "../cluster/wires.ts";
import type { EngineService, ForwardingMethod } from "../ports/engine.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import type { LabSpec } from "./plot.ts";

/** So many virtual servers, of each protocol, are tried. */
const portsTried = 4;

/** The lab's story speaks tcp alone; a scenario of the simulator udp, too. */
export type Spoken = "tcp" | "udp";
export const storySpeaks: readonly Spoken[] = ["tcp"];
export const scenarioSpeaks: readonly Spoken[] = ["tcp", "udp"];

function engineServices(service: Service, forwarding: ForwardingMethod, spoken: readonly Spoken[]): EngineService[] {
  return virtualServersOf(service).flatMap((virtual) => {
    if (virtual.kind !== "port") return [];
    const protocol = spoken.find((p) => p === virtual.protocol);
    if (protocol === undefined) return [];
    const realServers = service.destinations
      .filter((d) => d.forwarding === forwarding)
      .map((d) => ({
        name: d.realServer.name,
        rip: d.realServer.rip,
        port: virtual.ports.first,
        weight: d.weight,
        forwarding,
      }));
    return realServers.length === 0
      ? []
      : [
          {
            vip: virtual.vip.address,
            protocol: PROTOCOL[protocol],
            port: virtual.ports.first,
            scheduler: service.scheduler,
            realServers,
          },
        ];
  });
}

/** The forwarding methods that the cluster's services use, in the order of the story. */
export const methodsOf = (cluster: Cluster): ForwardingMethod[] =>
  (["dr", "tun"] as const).filter((method) =>
    cluster.services.some((s) => s.destinations.some((d) => d.forwarding === method)),
  );

/** One chapter's part of the cluster, or a sentence that says why there is nothing to tell. */
export function specOf(
  cluster: Cluster,
  forwarding: ForwardingMethod,
  spoken: readonly Spoken[] = storySpeaks,
): LabSpec | string {
  const [director] = cluster.directors;
  if (director === undefined) return "the cluster has no director";
  const lan = director.network;
  const machineOf = new Map(cluster.realServers.filter((r) => !r.isDirector).map((r) => [r.name, r]));
  const known = cluster.services
    .flatMap((s) => engineServices(s, forwarding, spoken))
    .filter((s) => cluster.vips.some((v) => v.address === s.vip && v.network.name === lan.name))
    .map((s) => ({ ...s, realServers: s.realServers.filter((r) => machineOf.has(r.name)) }));
  const kind = spoken.join(" or ");
  if (known.length === 0) return `no ${kind} service with a VIP on ${lan.name} is forwarded by ${forwarding}`;
  const alive = known.filter((s) => s.realServers.some((r) => r.weight > 0));
  const services = spoken.flatMap((p) => alive.filter((s) => s.protocol === PROTOCOL[p]).slice(0, portsTried));
  if (services.length === 0)
    return `no ${kind} service has a real server by ${forwarding} that is not a director and has a weight above 0`;
  const names = new Set(services.flatMap((s) => s.realServers.map((r) => r.name)));
  const realServers = [...machineOf.values()].filter((r) => names.has(r.name));
  if (!realServers.some((r) => r.network.name === lan.name))
    return `no real server by ${forwarding} is on ${lan.name} as the VIP is, so there is no ARP problem to show`;
  const networks = cluster.networks
    .filter((n) => n.name === lan.name || realServers.some((r) => r.network.name === n.name))
    .map(({ name, prefix }) => {
      const drawn = cluster.lab.router.addresses.find((a) => a.network.name === name)?.address;
      return { name, prefix, router: drawn ?? ipv4FromNumber(networkOf(prefix) + 1) };
    });
  const client = cluster.lab.clients.find((c) => c.network.name === lan.name);
  return {
    name: cluster.name,
    forwarding,
    networks,
    vips: cluster.vips.map((v) => v.address).filter((address) => services.some((s) => s.vip === address)),
    directors: cluster.directors
      .filter((d) => d.network.name === lan.name)
      .map((d) => ({ name: d.name, dip: d.dip, network: d.network.name, interface: d.interface })),
    realServers: realServers.map((r) => ({
      name: r.name,
      rip: r.rip,
      network: r.network.name,
      interface: r.interface,
      carrier: r.carrier,
      policy: r.policy.name,
    })),
    services,
    client: { name: client?.name ?? "client", address: client?.address },
    routerName: cluster.lab.router.name,
    wires: withClient(cluster, director, client?.name),
    kernels: kernelsOf(cluster),
    dropsGratuitous: cluster.lab.ignoresGratuitous,
    ...(cluster.lab.redirectPort === undefined ? {} : { redirectPort: cluster.lab.redirectPort }),
  };
}

/** A client that the file does not name stands where the director does. */
function withClient({ lab: { wires } }: Cluster, { name, network }: Director, client: string | undefined): LabWires {
  if (client !== undefined || wires.switches.length === 0) return wires;
  const { switch: into, vlan } = plugOf(wires, name, network.name);
  const link = { host: "client", network: undefined, switch: into, vlan, port: undefined, cable: {} };
  return { ...wires, links: [...wires.links, link] };
}

function kernelsOf(cluster: Cluster): ReadonlyMap<string, string> {
  const kernels = new Map<string, string>(Object.entries(cluster.lab.kernels));
  for (const { name, kernel } of [...cluster.directors, ...cluster.realServers])
    if (kernel !== undefined) kernels.set(name, kernel);
  return kernels;
}
