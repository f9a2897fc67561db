import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { lastOf, networkOf } from "../base/prefix.ts";
import { AddressBook, Networks, unicast } from "./addresses.ts";
import type { Cluster, Lab, Network, RealServer, Service, Vip } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import { readFailover } from "./failover.ts";
import { type Hosts, readHosts, readPolicy } from "./hosts.ts";
import type { Path } from "./problem.ts";
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
    lab: readLab(context, networks, book, hosts, input),
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
  const held = new Map<RealServer, Set<Bundle>>();
  const onTunl0 = new Set<RealServer>();
  const onTun = new Set<RealServer>();
  const hold = (realServer: RealServer, bundle: Bundle, forwarding: Forwarding, isIpip: boolean) => {
    if (forwarding === "nat") return;
    if (forwarding === "tun") onTun.add(realServer);
    if (forwarding === "tun" && isIpip) onTunl0.add(realServer);
    const mine = held.get(realServer);
    if (mine === undefined) held.set(realServer, new Set([bundle]));
    else mine.add(bundle);
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
    const mine = [...(held.get(realServer) ?? [])];
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

function readLab(context: Context, networks: Networks, book: AddressBook, hosts: Hosts, input: ClusterInput): Lab {
  const { clients = defaults.labClients, router = defaults.labRouterName } = input.lab ?? {};
  const names = new Set([...hosts.directorNames.keys(), ...hosts.realServerNames.keys()]);
  const sayIfTaken = (name: string, path: Path) => {
    if (names.has(name)) context.add("duplicate-name", path, `another host is called ${name}`);
    names.add(name);
  };
  const routers = networks.list.flatMap((network) =>
    network.router === undefined ? [] : [{ address: network.router, network }],
  );
  // The name nobody wrote gives way; a client's or a real server's stays.
  if (input.lab?.router !== undefined) sayIfTaken(router, ["lab", "router"]);
  const routerName = input.lab?.router === undefined && names.has(router) ? `lab-${router}` : router;
  names.add(routerName);
  const list: Lab["clients"][number][] = [];
  if (typeof clients === "number") {
    const network = hosts.directors[0]?.network;
    if (network !== undefined) {
      for (const address of freeAddresses(network, book, clients)) {
        const name = clients === 1 ? "client" : `client${list.length + 1}`;
        list.push({ name: names.has(name) ? `lab-${name}` : name, address, network });
      }
      if (list.length < clients)
        context.add(
          "number-range",
          ["lab", "clients"],
          `${network.name} has room for ${list.length} clients, not ${clients}`,
        );
    }
  } else {
    for (const [name, text] of Object.entries(clients)) {
      const path = ["lab", "clients", name];
      sayIfTaken(name, path);
      const address = unicast(context, text, path, "client's address");
      const network = address === undefined ? undefined : networks.place(context, address, path, "client's address");
      if (address === undefined || network === undefined) continue;
      book.claim(address, name, path);
      list.push({ name, address, network });
    }
  }
  const lab = input.lab ?? {};
  for (const [name] of Object.entries(lab.kernels ?? {}))
    if (!names.has(name) && !list.some((c) => c.name === name))
      context.unknown("unknown-host", ["lab", "kernels", name], "host", name, names);
  const known = [...names, ...list.map((c) => c.name)];
  const faults = (lab.scenario?.faults ?? []).map((given, i) => {
    const path = ["lab", "scenario", "faults", i];
    if (!known.includes(given.host)) context.unknown("unknown-host", [...path, "host"], "host", given.host, known);
    if ((given.do === "sysctl") !== (given.name !== undefined))
      context.add(
        "bad-fault",
        path,
        given.do === "sysctl" ? "a sysctl fault that names no sysctl" : `\`name\` has no meaning for ${given.do}`,
        given.do === "sysctl" ? 'add its name, such as `name: "eth0.arp_announce"`' : "take `name` away",
      );
    const needsDirector = given.do === "take-over" || given.do === "release";
    if (needsDirector && hosts.realServerNames.has(given.host) && !hosts.directorNames.has(given.host))
      context.add("bad-fault", [...path, "host"], `${given.host} is no director and cannot ${given.do}`);
    return {
      atMs: Math.round(given.at * 1000),
      action: given.do,
      host: given.host,
      name: given.name ?? "",
      value: given.value ?? 0,
    };
  });
  return {
    clients: list,
    router: { name: routerName, addresses: routers },
    kernels: lab.kernels ?? {},
    ignoresGratuitous: lab.ignoresGratuitous ?? false,
    redirectPort: lab.redirectPort,
    scenario: lab.scenario === undefined ? undefined : { durationMs: lab.scenario.seconds * 1000, faults },
  };
}

/** From the top of the network down, where people seldom put hosts. */
function* freeAddresses(network: Network, book: AddressBook, count: number): Generator<Ipv4> {
  const edge = network.prefix.length > 30 ? 0 : 1;
  let found = 0;
  for (let n = lastOf(network.prefix) - edge; n >= networkOf(network.prefix) + edge && found < count; n--) {
    const address = ipv4FromNumber(n);
    if (book.has(address)) continue;
    found++;
    yield address;
  }
}
