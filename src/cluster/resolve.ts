import { AddressBook, Networks } from "./addresses.ts";
import type { Cluster, Network, RealServer, Service, Vip } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import { readFailover } from "./failover.ts";
import { type Hosts, readHosts, readPolicy } from "./hosts.ts";
import { readLab } from "./lab.ts";
import type { ClusterInput } from "./schema.ts";
import { ServiceReader } from "./services.ts";
import type { Forwarding } from "./words.ts";

/** Follows references, fills in defaults, and puts into the context what does not fit together. */
export function resolve(context: Context, input: ClusterInput): Cluster {
  const networks = new Networks(context, input.networks);
  const book = new AddressBook(context);
  for (const { name, router } of networks.list)
    if (router !== undefined) book.claim(router, `the router of ${name}`, ["networks", name, "router"]);
  const policy = readPolicy(context, input.policy, ["policy"]) ?? {
    name: defaults.policy,
    scope: defaults.policyScope,
  };
  const hosts = readHosts(context, networks, book, input, policy);
  const services = new ServiceReader(context, networks, book, hosts, input).readAll();
  giveVips(context, hosts, services);
  sayMissingRouters(context, hosts);
  const agent = input.agent ?? {};
  return {
    name: input.name,
    engine: input.engine ?? defaults.engine,
    policy,
    networks: networks.list,
    directors: hosts.directors,
    realServers: hosts.realServers,
    vips: hosts.vips,
    services,
    silenceCheck: {
      intervalMs: input.silenceCheck?.intervalMs ?? defaults.silenceCheckIntervalMs,
      action: input.silenceCheck?.action ?? defaults.silenceCheckAction,
    },
    failover: readFailover(context, input.failover, hosts, services),
    reload: { maximumDeleteSharePercent: input.reload?.maximumDeleteSharePercent ?? defaults.reloadDeleteSharePercent },
    agent: {
      socket: agent.socket ?? "/run/vipward/control.sock",
      metrics: agent.metrics,
      https: agent.https,
      journalMaxOctets: agent.journalMaxOctets ?? 16_777_216,
    },
    lab: readLab(context, networks, book, hosts, services, input),
  };
}

/** The VIPs of all services that share one list of destinations. */
interface Bundle {
  readonly id: number;
  readonly vips: Set<Vip>;
  everyVip: boolean;
}

/**
 * Which VIPs each real server holds, and so on which carrier. Works by lists of destinations, which services share:
 * 4,096 services that all have the same 1,000 real servers are one list, walked once.
 */
function giveVips(context: Context, hosts: Hosts, services: readonly Service[]): void {
  const bundles = new Map<object, Bundle>();
  const held = new Map<RealServer, Bundle[]>();
  const onTunl0 = new Set<RealServer>();
  const onTun = new Set<RealServer>();
  const hold = (realServer: RealServer, bundle: Bundle, forwarding: Forwarding, isIpip: boolean) => {
    if (forwarding === "nat") return;
    if (forwarding === "tun") onTun.add(realServer);
    if (forwarding === "tun" && isIpip) onTunl0.add(realServer);
    const mine = held.get(realServer);
    if (mine === undefined) held.set(realServer, [bundle]);
    else if (mine.at(-1) !== bundle) mine.push(bundle); // a bundle's servers come one after the other
  };
  for (const service of services) {
    let bundle = bundles.get(service.destinations);
    if (bundle === undefined) {
      bundle = { id: bundles.size, vips: new Set(), everyVip: false };
      bundles.set(service.destinations, bundle);
      for (const d of service.destinations) hold(d.realServer, bundle, d.forwarding, d.tunnel.type === "ipip");
    }
    const isAll = service.vips === hosts.vips;
    if (isAll) bundle.everyVip = true;
    else for (const vip of service.vips) bundle.vips.add(vip);
    const sorry = service.sorryServer;
    if (sorry?.realServer === undefined) continue;
    const own: Bundle = { id: bundles.size, vips: isAll ? new Set() : new Set(service.vips), everyVip: isAll };
    bundles.set(own, own);
    hold(sorry.realServer, own, sorry.forwarding, true);
  }
  const order = new Map(hosts.vips.map((vip, i) => [vip, i]));
  const lists = new Map<string, readonly Vip[]>();
  for (const realServer of hosts.realServers) {
    const mine = held.get(realServer) ?? [];
    const key = mine.map((b) => b.id).join(" ");
    let vips = lists.get(key);
    if (vips === undefined) {
      if (mine.some((b) => b.everyVip)) vips = hosts.vips;
      else {
        const union = new Set(mine.flatMap((b) => [...b.vips]));
        vips = [...union].sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
      }
      lists.set(key, vips);
    }
    realServer.vips = vips;
    const given = hosts.carrierGiven.get(realServer);
    if (given === undefined) realServer.carrier = onTunl0.has(realServer) ? "tunl0" : "lo";
    else if (realServer.carrier === "tunl0" && !onTun.has(realServer))
      context.add(
        "carrier-tunnel-for-dr",
        given,
        `${realServer.name} holds its VIPs on tunl0, and no tun service reaches it`,
      );
  }
}

/** TUN packets to another subnet, and the answers from there, go through routers: a lab must know them. */
function sayMissingRouters(context: Context, hosts: Hosts): void {
  const near = new Set(hosts.directors.flatMap((d) => d.addresses.map((a) => a.network)));
  const told = new Set<Network>();
  for (const { name, network } of hosts.realServers) {
    if (near.size === 0 || near.has(network) || told.has(network)) continue;
    told.add(network);
    for (const one of [network, hosts.directors[0]?.network])
      if (one !== undefined && one.router === undefined) {
        const message = `${name} is in another subnet than every director, and ${one.name} names no router`;
        context.add("network-without-router", ["networks", one.name], message, undefined, "key");
      }
  }
}
