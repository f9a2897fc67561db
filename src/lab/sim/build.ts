/** A plot's machines as simulated hosts: facts by role, kernel and carrier, switches by wire, IPVS on the director. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import { lastOf } from "../../base/prefix.ts";
import { type Cluster, httpChecksOf, type LabCable } from "../../cluster/cluster.ts";
import { defaults } from "../../cluster/defaults.ts";
import { carries, islandOf } from "../../cluster/wires.ts";
import type { AddressFacts, HostFacts, LinkFacts, RouteFacts } from "../../model/facts.ts";
import { withAddresses } from "../../sim/addresses.ts";
import { SimHost } from "../../sim/host.ts";
import { Ipvs } from "../../sim/ipvs.ts";
import { type Cable, type CableOptions, Lan, plainCable } from "../../sim/lan.ts";
import { plainSwitch, type Switch } from "../../sim/switch.ts";
import type { Plot, PlotRealServer } from "../plot.ts";
import { addressOn, type LabHost } from "../topology.ts";
import { defaultKernel, kernelOf } from "./kernels.ts";
import { Silenced } from "./silence.ts";
import { WebServer } from "./webServer.ts";

/** Like the cables of the namespace lab: half a millisecond, give or take, so that no race always ends the same way. */
export const labCable: CableOptions = {
  ...plainCable,
  delayUs: defaults.linkDelayMs * 1000,
  jitterUs: defaults.linkJitterMs * 1000,
};

/** Frames that are held back are held back so long. */
export const reorderUs = 2000;
export const ppmOf = (percent: number): number => Math.round(Math.min(100, Math.max(0, percent)) * 10_000);
/** Millionths of a second, and never none: what a cable does takes time. */
export const microseconds = (ms: number): number => Math.max(1, Math.round(ms * 1000));

/** A cable as the cluster file gives it. */
function cableOf(given: LabCable, plain: CableOptions): CableOptions {
  const { delayMs, jitterMs, lossPercent, duplicatePercent, reorderPercent, mtu } = given;
  return {
    delayUs: delayMs === undefined ? plain.delayUs : microseconds(delayMs),
    jitterUs: jitterMs === undefined ? plain.jitterUs : Math.round(jitterMs * 1000),
    lossPpm: ppmOf(lossPercent ?? 0),
    duplicatePpm: ppmOf(duplicatePercent ?? 0),
    reorderPpm: ppmOf(reorderPercent ?? 0),
    reorderUs: reorderPercent === undefined ? plain.reorderUs : reorderUs,
    mtuOctets: mtu ?? plain.mtuOctets,
  };
}

/** Links of a LAN machine that are not its wires, as far as a VIP may live there. */
const carrierFacts = (name: string, ifindex: number): LinkFacts =>
  name === "tunl0"
    ? { ifindex, name, kind: "ipip", flags: ["UP", "NOARP"], mac: null, mtu: 1480 }
    : { ifindex, name, kind: "dummy", flags: ["UP", "BROADCAST", "NOARP"], mac: "02:64:75:6d:6d:79" };

const inet = (link: string, ip: Ipv4, prefixLength: number, more: Partial<AddressFacts> = {}): AddressFacts => ({
  link,
  ip: formatIpv4(ip),
  prefixLength,
  scope: 0,
  ...more,
});

/** A machine as it comes up: wires, addresses, gateway, nothing of a cluster yet. */
export function plainFacts(host: LabHost, kernel: string | undefined): HostFacts {
  const links: LinkFacts[] = [{ ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK"], mac: null, mtu: 65_536 }];
  const addresses: AddressFacts[] = [{ link: "lo", ip: "127.0.0.1", prefixLength: 8, scope: 254 }];
  for (const [i, link] of host.links.entries()) {
    links.push({ ifindex: 2 + i, name: link.name, flags: ["UP", "BROADCAST", "MULTICAST"], mac: link.mac, mtu: 1500 });
    for (const [n, p] of link.addresses.entries())
      addresses.push(
        inet(link.name, p.address, p.length, {
          broadcast: formatIpv4(lastOf(p)),
          // a second address in one prefix is a secondary one, and on 2.0 an alias device
          ...(n === 0 ? {} : { secondary: true, label: `${link.name}:${n}` }),
        }),
      );
  }
  const routes: RouteFacts[] =
    host.gateway === undefined
      ? []
      : [{ dst: "default", via: formatIpv4(host.gateway), dev: host.links[0]?.name ?? "eth0" }];
  return {
    factsVersion: 1,
    hostname: host.name,
    kernel: kernelOf(kernel ?? defaultKernel),
    links,
    addresses,
    routesGiven: "added",
    routes,
    rules: [],
    sysctls: { ip_forward: host.role === "router" ? 1 : 0, "all.send_redirects": 0 },
    neighbours: [],
    filters: [],
    unread: [],
  };
}

/** With VIPs on a link, each a /32 (A-2.2-05); dummy0 or tunl0 is made where it is named. */
function holding(facts: HostFacts, link: string, vips: readonly Ipv4[]): HostFacts {
  const known = facts.links.some((l) => l.name === link);
  const links = known ? facts.links : [...facts.links, carrierFacts(link, facts.links.length + 20)];
  return withAddresses({ ...facts, links }, link, vips);
}

/** tunl0 up, so that packets are taken out of IPIP; before 2.6.22 it needs an address for its IPv4 state (C-2.2-06). */
function withTunnel(facts: HostFacts, carrier: string): HostFacts {
  const withLink = holding(facts, "tunl0", []);
  const links = withLink.links.map((l) =>
    // `ifconfig tunl0 0.0.0.0 up` makes the state where no VIP does
    l.name === "tunl0" && carrier !== "tunl0" ? { ...l, ipv4State: true } : l,
  );
  return { ...withLink, links, sysctls: { ...withLink.sysctls, "tunl0.rp_filter": 0 } };
}

export interface RealServerState {
  readonly host: SimHost;
  readonly plot: PlotRealServer;
  readonly rip: Ipv4;
  readonly silenced: Silenced;
  readonly web: WebServer;
  /** With the VIPs on its carrier, and no thought of ARP: what `cure none` is. */
  readonly naive: HostFacts;
}

export interface DirectorState {
  readonly host: SimHost;
  readonly ipvs: Ipvs;
  readonly lanLink: string;
  /** As it boots: without the VIPs. */
  readonly bare: HostFacts;
}

export interface World {
  readonly lan: Lan;
  readonly plot: Plot;
  readonly cluster: Cluster;
  readonly hosts: ReadonlyMap<string, SimHost>;
  /** Each machine as it boots: nothing of a cluster yet. */
  readonly bareOf: ReadonlyMap<string, HostFacts>;
  readonly switches: ReadonlyMap<string, Switch>;
  /** The trunk of each switch that has one, by the switch's name in the cluster file. */
  readonly uplinks: ReadonlyMap<string, Cable>;
  readonly realServers: readonly RealServerState[];
  readonly directors: readonly DirectorState[];
}

export interface WorldOptions {
  readonly seed: number;
  readonly exhaustive?: boolean;
  readonly cable?: CableOptions;
  readonly dropsGratuitous?: boolean;
  /** After each operation that `vipward apply` carries out. */
  readonly pass?: () => void;
}

/** Nothing runs yet, and nobody holds a VIP but the first director and, on their carriers, the real servers. */
export function buildWorld(cluster: Cluster, plot: Plot, options: WorldOptions): World {
  const lan = new Lan({ seed: options.seed, exhaustive: options.exhaustive === true });
  const switches = new Map<string, Switch>();
  for (const { name, ageingSeconds } of plot.topology.switches)
    switches.set(
      name,
      lan.addSwitch(`switch-${name}`, {
        ...plainSwitch,
        ageingUs: ageingSeconds * 1_000_000,
        dropsGratuitous: options.dropsGratuitous === true,
      }),
    );
  const switchNamed = (name: string): Switch => {
    const found = switches.get(name);
    if (found === undefined) throw new RangeError(`no switch ${name}`);
    return found;
  };
  const uplinks = new Map<string, Cable>();
  for (const { name, uplink } of plot.topology.switches)
    if (uplink !== undefined) {
      const vlans = uplink.vlans === undefined ? undefined : new Set(uplink.vlans);
      const cable = cableOf(uplink.cable, plainCable);
      uplinks.set(name, lan.trunk(switchNamed(name), switchNamed(uplink.to), cable, vlans));
    }
  const bareOf = new Map(plot.topology.hosts.map((h) => [h.name, plainFacts(h, plot.kernels?.get(h.name))]));
  const bare = (name: string): HostFacts => {
    const facts = bareOf.get(name);
    if (facts === undefined) throw new RangeError(`no machine ${name}`);
    return facts;
  };
  const beginning = new Map(bareOf);
  const lanLink = plot.director.links[0]?.name ?? "eth0";
  beginning.set(plot.director.name, holding(bare(plot.director.name), lanLink, plot.vips));
  for (const { host, carrier } of plot.realServers) {
    const facts = plot.forwarding === "tun" ? withTunnel(bare(host.name), carrier) : bare(host.name);
    beginning.set(host.name, holding(facts, carrier, plot.vips));
  }
  const hosts = new Map<string, SimHost>();
  for (const host of plot.topology.hosts) {
    const made = new SimHost(lan, beginning.get(host.name) ?? bare(host.name));
    hosts.set(host.name, made);
    for (const link of host.links) {
      const { switch: into, vlan, cable } = link.plug;
      const port = { kind: "access", vlan } as const;
      const wired = cableOf(cable, options.cable ?? labCable);
      made.wire(link.name, lan.plug(made.id, made.nics.length, link.mac, switchNamed(into), wired, port));
    }
  }
  const hostNamed = (name: string): SimHost => {
    const host = hosts.get(name);
    if (host === undefined) throw new RangeError(`no machine ${name}`);
    return host;
  };
  const httpChecks = httpChecksOf(cluster.services);
  const realServers = plot.realServers.map((one): RealServerState => {
    const host = hostNamed(one.host.name);
    const realServer = cluster.realServers.find((r) => r.name === host.name);
    if (realServer === undefined) throw new RangeError(`no real server ${host.name}`);
    const silenced = new Silenced({
      host,
      cluster,
      realServer,
      bare: bare(host.name),
      plot,
      pass: options.pass ?? (() => {}),
    });
    const rip = addressOn(one.host, one.wire);
    const web = new WebServer(host, rip, httpChecks.get(host.name) ?? []);
    return { host, plot: one, rip, silenced, web, naive: host.facts };
  });
  const directors = plot.topology.hosts
    .filter((h) => h.role === "director")
    .map((h): DirectorState => {
      const host = hostNamed(h.name);
      return { host, ipvs: new Ipvs(host), lanLink: h.links[0]?.name ?? "eth0", bare: bare(h.name) };
    });
  return { lan, plot, cluster, hosts, bareOf, switches, uplinks, realServers, directors };
}

/** False while the switches of two machines carry nothing to each other: two broadcast domains. */
export function together({ plot: { topology }, uplinks }: World, one: string, other: string): boolean {
  const switches = new Map(topology.switches.map((s) => [s.name, s]));
  const islands = [one, other].map((name) => {
    const plug = topology.hosts.find((h) => h.name === name)?.links[0]?.plug;
    if (plug === undefined) throw new RangeError(`no machine ${name}`);
    return islandOf(switches, plug.switch, (s) => {
      const cable = uplinks.get(s.name);
      return carries(s.uplink, plug.vlan) && cable?.up === true && cable.options.lossPpm < 1_000_000;
    });
  });
  return islands[0] === islands[1];
}
