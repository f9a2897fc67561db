/** Who plays which part in one chapter of the story: machines, wires, services and traffic, from a cluster file. */
import { formatIpv4, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { lastOf, networkOf, type Prefix } from "../base/prefix.ts";
import type { LabWires } from "../cluster/cluster.ts";
import { plugOf, switchesOf } from "../cluster/wires.ts";
import type { SilencePolicyName } from "../cluster/words.ts";
import type { EngineService, ForwardingMethod } from "../ports/engine.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import type { Cast } from "./observations.ts";
import { addressOn, type LabHost, type LabLink, labMac, type Topology } from "./topology.ts";
import type { TrafficPlan } from "./traffic.ts";

export interface SpecNetwork {
  readonly name: string;
  readonly prefix: Prefix;
  readonly router: Ipv4;
}

export interface SpecRealServer {
  readonly name: string;
  readonly rip: Ipv4;
  readonly network: string;
  /** As the host calls it. */
  readonly interface: string;
  readonly carrier: string;
  /** `auto` unless given. Only the simulator can apply all of them. */
  readonly policy?: SilencePolicyName;
}

/** What of a cluster a chapter needs; see specOf in spec.ts. */
export interface LabSpec {
  readonly name: string;
  readonly forwarding: ForwardingMethod;
  readonly networks: readonly SpecNetwork[];
  readonly vips: readonly Ipv4[];
  /** The first one is active. All on the VIPs' network. */
  readonly directors: readonly {
    readonly name: string;
    readonly dip: Ipv4;
    readonly network: string;
    readonly interface: string;
  }[];
  readonly realServers: readonly SpecRealServer[];
  readonly services: readonly EngineService[];
  readonly client: { readonly name: string; readonly address: Ipv4 | undefined; readonly network: string };
  readonly routerName: string;
  /** How the machines are plugged together. */
  readonly wires: LabWires;
  /** Kernel releases by machine, where the cluster file names them; for the simulator. */
  readonly kernels?: ReadonlyMap<string, string>;
  /** Switches that throw gratuitous ARP away; for the simulator. */
  readonly dropsGratuitous?: boolean;
}

export interface PlotRealServer {
  readonly host: LabHost;
  /** The wire its RIP is on. */
  readonly wire: string;
  readonly carrier: string;
  readonly policy?: SilencePolicyName;
}

export interface Plot {
  readonly forwarding: ForwardingMethod;
  readonly topology: Topology;
  /** The wire of the VIPs. */
  readonly lan: string;
  readonly vips: readonly Ipv4[];
  readonly client: LabHost;
  readonly router: LabHost;
  readonly director: LabHost;
  readonly realServers: readonly PlotRealServer[];
  /** By tcp. */
  readonly services: readonly { readonly service: EngineService }[];
  /** By udp; for scenarios. */
  readonly datagrams: readonly EngineService[];
  readonly weights: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly cast: Cast;
  readonly kernels?: ReadonlyMap<string, string>;
  readonly traffic: TrafficPlan;
  /** Machines on the same wire as a real server that it must reach, with their addresses there. */
  neighboursOf(host: LabHost): { readonly host: LabHost; readonly address: Ipv4 }[];
}

const clientAddresses = 8;

/** Free addresses from the top of the network down. */
function freeAddresses(network: Prefix, taken: ReadonlySet<Ipv4>, count: number): Ipv4[] {
  const free: Ipv4[] = [];
  const first = networkOf(network) + 1;
  for (let n = lastOf(network) - 1; n >= first && free.length < count; n--)
    if (!taken.has(ipv4FromNumber(n))) free.push(ipv4FromNumber(n));
  return free;
}

/** The client's own and free ones of its network; none where that is full. */
export function clientAddressesOf(spec: LabSpec): Ipv4[] {
  const { address, network } = spec.client;
  const named = address === undefined ? [] : [address];
  const taken = new Set<Ipv4>([
    ...named,
    ...spec.vips,
    ...spec.networks.map((n) => n.router),
    ...spec.directors.map((d) => d.dip),
    ...spec.realServers.map((r) => r.rip),
  ]);
  const home = spec.networks.find((n) => n.name === network);
  return home === undefined ? named : [...named, ...freeAddresses(home.prefix, taken, clientAddresses - named.length)];
}

/** Errors as RangeError name a broken promise of the cluster file's checks, not bad input. */
export function plotOf(
  spec: LabSpec,
  size: { readonly longLived: number; readonly shortLived: number; readonly durationMs: number },
): Plot {
  const [director] = spec.directors;
  const lanName = director?.network;
  const lanNetwork = spec.networks.find((n) => n.name === lanName);
  if (director === undefined || lanNetwork === undefined) throw new RangeError("a lab needs a director on a network");
  const lan = lanNetwork.name;
  const networkOfName = (name: string): SpecNetwork => {
    const found = spec.networks.find((n) => n.name === name);
    if (found === undefined) throw new RangeError(`no network ${name}`);
    return found;
  };

  let machines = 0;
  const link = (host: string, name: string, wire: string, addresses: readonly Ipv4[], index = 0): LabLink => ({
    name,
    wire,
    plug: plugOf(spec.wires, host, wire),
    mac: labMac(machines, index),
    addresses: addresses.map((address) => ({ address, length: networkOfName(wire).prefix.length })),
  });
  const machine = (host: Omit<LabHost, "links">, links: () => LabLink[]): LabHost => {
    machines += 1;
    return { ...host, links: links() };
  };

  const home = networkOfName(spec.client.network);
  const clientIps = clientAddressesOf(spec);
  if (clientIps.length === 0) throw new RangeError("no free address on its network for a client");

  const gatewayOf = (wire: string): { gateway: Ipv4 } => ({ gateway: networkOfName(wire).router });
  const client = machine({ name: spec.client.name, role: "client", ...gatewayOf(home.name) }, () => [
    link(spec.client.name, "eth0", home.name, clientIps),
  ]);
  const router = machine({ name: spec.routerName, role: "router" }, () =>
    spec.networks.map((n, i) => link(spec.routerName, `eth${i}`, n.name, [n.router], i)),
  );
  const directors = spec.directors.map((d) =>
    machine({ name: d.name, role: "director", ...gatewayOf(d.network) }, () => [
      link(d.name, d.interface, d.network, [d.dip]),
    ]),
  );
  const realServers = spec.realServers.map((r) => ({
    host: machine({ name: r.name, role: "realServer", ...gatewayOf(r.network) }, () => [
      link(r.name, r.interface, r.network, [r.rip]),
    ]),
    wire: r.network,
    carrier: r.carrier,
    ...(r.policy === undefined ? {} : { policy: r.policy }),
  }));
  const hosts = [client, router, ...directors, ...realServers.map((r) => r.host)];
  const active = directors[0];
  if (active === undefined) throw new RangeError("a lab needs a director");

  const nameOfMac = new Map<Mac, string>();
  const nameOfAddress = new Map<Ipv4, string>();
  for (const host of hosts)
    for (const { mac, addresses } of host.links) {
      nameOfMac.set(mac, host.name);
      for (const { address } of addresses) nameOfAddress.set(address, host.name);
    }
  const wires = spec.networks.map((n) => n.name);
  const tcp = spec.services.filter((s) => s.protocol === PROTOCOL.tcp);
  return {
    forwarding: spec.forwarding,
    topology: { wires, switches: switchesOf(spec.wires, wires), hosts },
    lan,
    vips: spec.vips,
    ...(spec.kernels === undefined ? {} : { kernels: spec.kernels }),
    client,
    router,
    director: active,
    realServers,
    services: tcp.map((service) => ({ service })),
    datagrams: spec.services.filter((s) => s.protocol === PROTOCOL.udp),
    weights: Object.fromEntries(
      tcp.map((s) => [
        `${formatIpv4(s.vip)}:${s.port}`,
        Object.fromEntries(s.realServers.map((server) => [server.name, server.weight])),
      ]),
    ),
    cast: { vips: new Set(spec.vips), owner: active.name, client: client.name, nameOfMac, nameOfAddress },
    traffic: {
      from: clientIps.map(formatIpv4),
      targets: tcp.map((s) => ({ vip: formatIpv4(s.vip), port: s.port })),
      longLived: size.longLived,
      shortLived: size.shortLived,
      durationMs: size.durationMs,
      pauseMs: Math.min(400, size.durationMs / 10),
      patienceMs: 12_000,
    },
    neighboursOf: (host) => {
      const wire = host.links[0]?.wire ?? lan;
      return hosts
        .filter((h) => h.name !== host.name && h.links.some((l) => l.wire === wire) && h.role !== "realServer")
        .map((h) => ({ host: h, address: addressOn(h, wire) }));
    },
  };
}

/** Of a scenario, which brings its own traffic. */
export const scenarioPlot = (spec: LabSpec): Plot => plotOf(spec, { longLived: 0, shortLived: 0, durationMs: 0 });
