/** What a chapter of the story takes from a cluster file. */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { formatPrefix, lastOf, networkOf, type Prefix } from "../base/prefix.ts";
import {
  type Cluster,
  type Director,
  type LabWires,
  type Network,
  type Service,
  virtualServersOf,
} from "../cluster/cluster.ts";
import { forwardingTo } from "../cluster/forwardingTo.ts";
import { plugOf } from "../cluster/wires.ts";
import type { EngineService, ForwardingMethod } from "../ports/engine.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { clientAddressesOf, type LabSpec, type SpecNetwork } from "./plot.ts";

/** So many virtual servers, of each protocol, are tried. */
const portsTried = 4;

/** What the chapter is for: the lab's story, or a scenario of the simulator. */
export type Purpose = "story" | "scenario";
type Spoken = "tcp" | "udp";
const speaks: Readonly<Record<Purpose, readonly Spoken[]>> = { story: ["tcp"], scenario: ["tcp", "udp"] };

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

/**
 * What a chapter leaves out, by name: services that nothing here speaks (the cluster file's reader says where they
 * stand), and the part of a director that it plays as a real server.
 */
export const untoldOf = (cluster: Cluster, forwarding: ForwardingMethod): string[] => [
  ...unspokenOf(cluster, forwarding),
  ...cluster.realServers
    .filter((r) => r.isDirector && forwardingTo(cluster, r.name).includes(forwarding))
    .map(({ name }) => `real server ${name} (LVS/${forwarding.toUpperCase()}): a director too, told as that alone`),
];
const unspokenOf = (cluster: Cluster, forwarding: ForwardingMethod): string[] =>
  cluster.services.flatMap(({ name, match, destinations }) =>
    match.protocol === "sctp" && destinations.some((d) => d.forwarding === forwarding)
      ? [`service ${name} (LVS/${forwarding.toUpperCase()}): no client here speaks sctp`]
      : [],
  );

/** One chapter's part of the cluster, or a sentence that says why there is nothing to tell. */
export function specOf(cluster: Cluster, forwarding: ForwardingMethod, purpose: Purpose = "story"): LabSpec | string {
  const spoken = speaks[purpose];
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
  const client = clientOf(cluster, lan, purpose);
  const used = new Set([lan, client?.network, ...realServers.map((r) => r.network)].map((n) => n?.name));
  const networks: SpecNetwork[] = [];
  for (const network of cluster.networks.filter((n) => used.has(n.name))) {
    const router = network.router ?? freeAddress(network.prefix, addressesOf(cluster));
    if (router === undefined) return noRoomOn(network, "the router, which the file leaves out");
    networks.push({ name: network.name, prefix: network.prefix, router });
  }
  const spec: LabSpec = {
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
    client: { name: client?.name ?? "client", address: client?.address, network: client?.network.name ?? lan.name },
    routerName: cluster.lab.router.name,
    wires: withClient(cluster, director, client?.name),
    kernels: kernelsOf(cluster),
    dropsGratuitous: cluster.lab.ignoresGratuitous,
  };
  if (clientAddressesOf(spec).length > 0) return spec;
  const instead = "only a scenario of `vipward sim`, and `vipward explore`, can do with one on another network";
  return `${noRoomOn(lan, "the client that asks who has the VIP")}: ${instead} (\`lab.clients\`)`;
}

const noRoomOn = ({ name, prefix }: Network, whom: string): string =>
  `${name} (${formatPrefix(prefix)}) has no free address for ${whom}`;

const addressesOf = ({ vips, directors, realServers, lab }: Cluster): ReadonlySet<Ipv4> =>
  new Set([
    ...vips.map((v) => v.address),
    ...[...directors, ...realServers].flatMap((host) => host.addresses.map((a) => a.address)),
    ...lab.clients.map((c) => c.address),
  ]);

/** From the bottom of the network up, where people put their routers. */
function freeAddress(prefix: Prefix, taken: ReadonlySet<Ipv4>): Ipv4 | undefined {
  for (let n = networkOf(prefix) + 1; n < lastOf(prefix); n++)
    if (!taken.has(ipv4FromNumber(n))) return ipv4FromNumber(n);
  return undefined;
}

/**
 * One on the VIPs' network, else in a scenario any: behind the router, as most are in the field. The story asks who has
 * the VIP from its client, which must be there.
 */
function clientOf({ lab }: Cluster, lan: Network, purpose: Purpose): Cluster["lab"]["clients"][number] | undefined {
  const near = lab.clients.find((c) => c.network.name === lan.name);
  return near ?? (purpose === "scenario" ? lab.clients[0] : undefined);
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
