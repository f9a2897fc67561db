import { anyPort } from "../base/anyPort.ts";
import { formatIpv4, parseIpv4 } from "../base/ipv4.ts";
import { maskOf } from "../base/prefix.ts";
import { type AddressBook, type Networks, unicast } from "./addresses.ts";
import { readChecks } from "./checks.ts";
import type { Destination, Match, PortRange, RealServer, Service, SorryServer, Tunnel, Vip } from "./cluster.ts";
import type { Context } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Hosts } from "./hosts.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput, ServiceInput, TunnelInput } from "./schema.ts";
import type { Forwarding, Scheduler, SchedulerFlag } from "./words.ts";

/** Destinations of all services together; 4,096 services that share 1,000 real servers count 1,000. */
const destinationLimit = 1_000_000;

/** What a destination takes from its service. */
interface Inherited {
  readonly forwarding: Forwarding;
  readonly tunnel: Tunnel;
  readonly match: Match;
}

export class ServiceReader {
  readonly #context: Context;
  readonly #networks: Networks;
  readonly #book: AddressBook;
  readonly #hosts: Hosts;
  readonly #cluster: ClusterInput;
  readonly #shared = new Map<string, readonly Destination[]>();
  readonly #toldAcross = new Set<RealServer>();
  #destinations = 0;
  #directorNetworks: ReadonlySet<string>;

  constructor(context: Context, networks: Networks, book: AddressBook, hosts: Hosts, cluster: ClusterInput) {
    this.#context = context;
    this.#networks = networks;
    this.#book = book;
    this.#hosts = hosts;
    this.#cluster = cluster;
    this.#directorNetworks = new Set(hosts.directors.flatMap((d) => d.addresses.map((a) => a.network.name)));
  }

  readAll(): Service[] {
    const names = new Map<string, Path>();
    for (const [i, { name }] of this.#cluster.services.entries()) {
      if (name === undefined) continue;
      const first = names.get(name);
      const path = ["services", i, "name"];
      if (first === undefined) names.set(name, path);
      else
        this.#context.add(
          "duplicate-name",
          path,
          `two services are called ${name} (line ${this.#context.lineOf(first)})`,
        );
    }
    const taken = new Map([...names.keys()].map((name) => [name, 1]));
    const services: Service[] = [];
    const claims = new PortClaims(this.#context, this.#hosts.vips);
    for (const [i, input] of this.#cluster.services.entries()) {
      const service = this.#read(input, ["services", i], taken);
      if (service === undefined) continue;
      services.push(service);
      claims.add(service, ["services", i]);
    }
    claims.sayOverlaps();
    return services;
  }

  #read(input: ServiceInput, path: Path, taken: Map<string, number>): Service | undefined {
    const context = this.#context;
    const match = this.#match(input, path);
    const vips = this.#vips(input.vip, [...path, "vip"]);
    if (match === undefined) return undefined;
    const forwarding = input.forwarding ?? this.#cluster.forwarding ?? defaults.forwarding;
    const tunnel = this.#tunnel(input.tunnel, [...path, "tunnel"]);
    const destinations = this.#readDestinations(input, path, { forwarding, tunnel, match });
    const forwardings = this.#forwardingsOf(destinations);
    if (input.tunnel !== undefined && forwarding !== "tun" && !forwardings.has("tun"))
      context.add("tunnel-without-tun", [...path, "tunnel"], `\`tunnel\` is given, but forwarding is ${forwarding}`);
    if (input.onePacket === true && match.protocol !== "udp")
      context.add(
        "one-packet-not-udp",
        [...path, "onePacket"],
        `one-packet scheduling needs udp; this is ${match.protocol}`,
      );
    const scheduler = input.scheduler ?? defaults.scheduler;
    this.#flags(scheduler, input.schedulerFlags ?? [], [...path, "schedulerFlags"]);
    const engine = input.engine ?? this.#cluster.engine ?? defaults.engine;
    if (engine === "nft" && (forwardings.has("tun") || forwardings.has("nat") || match.kind === "fwmark")) {
      const what =
        match.kind === "fwmark" ? "by fwmark" : `by ${[...forwardings].filter((f) => f !== "dr").join(" and ")}`;
      context.add("engine-cannot", path, `the nft engine cannot forward ${what}`);
    }
    const own = input.health !== undefined;
    const health = input.health ?? this.#cluster.health;
    return {
      name: input.name ?? freshName(nameFor(input, match), taken),
      vips,
      match,
      scheduler,
      schedulerFlags: input.schedulerFlags ?? [],
      forwarding,
      persistence: this.#persistence(input, path),
      onePacket: input.onePacket ?? false,
      destinations,
      sorryServer: this.#sorryServer(input, path, { forwarding, tunnel, match }),
      quorum: this.#quorum(input, path, destinations),
      checks: readChecks(context, health, own ? [...path, "health"] : ["health"], { match, forwardings }),
      onFailure: input.onFailure ?? defaults.onFailure,
      drainTimeoutMs: input.drainTimeoutMs ?? defaults.drainTimeoutMs,
      killSwitch: {
        sharePercent: input.killSwitch?.sharePercent ?? defaults.killSwitchSharePercent,
        withinMs: input.killSwitch?.withinMs ?? defaults.killSwitchWithinMs,
      },
      engine,
    };
  }

  readonly #forwardings = new WeakMap<readonly Destination[], ReadonlySet<Forwarding>>();
  #forwardingsOf(destinations: readonly Destination[]): ReadonlySet<Forwarding> {
    let found = this.#forwardings.get(destinations);
    if (found === undefined) {
      found = new Set(destinations.map((d) => d.forwarding));
      this.#forwardings.set(destinations, found);
    }
    return found;
  }

  #match(input: ServiceInput, path: Path): Match | undefined {
    const protocol = input.protocol ?? defaults.protocol;
    if ((input.port === undefined) === (input.fwmark === undefined)) {
      const what = input.port === undefined ? "neither `port` nor `fwmark`" : "both `port` and `fwmark`";
      this.#context.add("service-match", path, `the service has ${what}`);
      return undefined;
    }
    if (input.fwmark !== undefined) return { kind: "fwmark", protocol, fwmark: input.fwmark };
    const portPath = [...path, "port"];
    const list = Array.isArray(input.port) ? input.port : [input.port ?? "any"];
    const ports: PortRange[] = [];
    for (const [i, item] of list.entries()) {
      const range = this.#range(item, Array.isArray(input.port) ? [...portPath, i] : portPath, list.length);
      if (range !== undefined) ports.push(range);
    }
    if (ports.length === 0) return undefined;
    ports.sort((a, b) => a.first - b.first);
    if (ports.some((range, i) => i > 0 && range.first <= (ports[i - 1]?.last ?? 0)))
      this.#context.add("ports-overlap", portPath, "the service names a port twice");
    return { kind: "ports", protocol, ports };
  }

  #range(item: string | number, path: Path, beside: number): PortRange | undefined {
    if (item === "any") {
      if (beside > 1) this.#context.add("port-any-not-alone", path, "`any` stands beside other ports");
      return anyPort;
    }
    const [first = 0, last = first] = String(item).split("-").map(Number);
    if (first < 1 || last < 1 || first > 65535 || last > 65535) {
      this.#context.add("bad-port", path, `the port ${item} is not from 1 to 65535`);
      return undefined;
    }
    if (first <= last) return { first, last };
    this.#context.add("port-reversed", path, `the range ${item} ends before it starts`, `write ${last}-${first}`);
    return undefined;
  }

  #vips(input: string | readonly string[] | undefined, path: Path): readonly Vip[] {
    if (input === undefined || input === "all") return this.#hosts.vips;
    const found = new Set<Vip>();
    for (const [i, text] of (typeof input === "string" ? [input] : input).entries()) {
      const itemPath = typeof input === "string" ? path : [...path, i];
      if (text === "all") return this.#hosts.vips;
      const vip = this.#hosts.vipNames.get(text);
      if (vip !== undefined) found.add(vip);
      else if (!this.#hosts.vipNames.has(text))
        this.#context.unknown("unknown-vip", itemPath, "VIP", text, this.#hosts.vipNames.keys());
    }
    return [...found];
  }

  #tunnel(input: TunnelInput | undefined, path: Path): Tunnel {
    const {
      type = defaults.tunnelType,
      port,
      checksum = defaults.tunnelChecksum,
    } = input === undefined ? {} : typeof input === "string" ? { type: input } : input;
    if ((type === "gue") !== (port !== undefined))
      this.#context.add(
        "tunnel-port",
        path,
        type === "gue" ? "a gue tunnel without its port" : `a ${type} tunnel has no port`,
      );
    if (checksum === "remote" && type !== "gue")
      this.#context.add("tunnel-checksum", path, `a ${type} tunnel has no remote checksum offload`);
    return { type, port, checksum };
  }

  /** Services that say the same share one list. */
  #readDestinations(input: ServiceInput, path: Path, inherited: Inherited): readonly Destination[] {
    const wanted = input.realServers ?? "all";
    const { type, port, checksum } = inherited.tunnel;
    const key = `${inherited.forwarding} ${type} ${port} ${checksum} ${this.#wordsOf(wanted)}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const problems = this.#context.problems.length;
    const list = wanted === "all" ? this.#everyServer(path, inherited) : this.#listed(wanted, path, inherited);
    // Whether a port may be another depends on the service's own; and what is wrong is said at each.
    const isOwn = list.some((d) => d.port !== undefined) || this.#context.problems.length > problems;
    if (!isOwn) this.#shared.set(key, list);
    return list;
  }
  /** Many services may have one and the same list: it is put into words once. */
  #wordsOf(list: NonNullable<ServiceInput["realServers"]>): string {
    if (typeof list !== "object") return JSON.stringify(list);
    let words = this.#listWords.get(list);
    if (words === undefined) {
      words = JSON.stringify(list);
      this.#listWords.set(list, words);
    }
    return words;
  }
  readonly #listWords = new WeakMap<object, string>();
  #everyServer(path: Path, inherited: Inherited): readonly Destination[] {
    const { realServers } = this.#hosts;
    if (!this.#room(realServers.length, path)) return [];
    return realServers.map((realServer) => this.#destination(realServer, {}, () => path, inherited));
  }
  #listed(
    wanted: Exclude<ServiceInput["realServers"], "all" | undefined>,
    path: Path,
    inherited: Inherited,
  ): readonly Destination[] {
    const context = this.#context;
    const listPath = [...path, "realServers"];
    const items: Named[] = Array.isArray(wanted)
      ? wanted.map((item, i) => (typeof item === "string" ? { at: i, name: item } : { ...item, at: i }))
      : Object.entries(wanted).map(([name, item]) =>
          typeof item === "number" ? { at: name, name, weight: item } : { ...item, at: name, name },
        );
    if (items.length === 0) context.add("no-real-servers", listPath, "the service has no real server");
    if (!this.#room(items.length, path)) return [];
    const seen = new Set<string>();
    const destinations: Destination[] = [];
    for (const item of items) {
      const pathOf = (): Path => [...listPath, item.at];
      if (seen.has(item.name)) context.add("duplicate-name", pathOf(), `the service names ${item.name} twice`);
      seen.add(item.name);
      const realServer = this.#hosts.realServerNames.get(item.name);
      if (realServer !== undefined) destinations.push(this.#destination(realServer, item, pathOf, inherited));
      else if (!this.#hosts.realServerNames.has(item.name)) {
        const keys = this.#hosts.realServerNames.keys();
        context.unknown("unknown-real-server", pathOf(), "real server", item.name, keys);
      }
    }
    return destinations;
  }

  #room(more: number, path: Path): boolean {
    this.#destinations += more;
    if (this.#destinations <= destinationLimit) return true;
    this.#context.add(
      "cluster-too-large",
      path,
      `the services together have more than ${destinationLimit} destinations`,
    );
    return false;
  }

  /** `pathOf` is asked when there is something to say: a file has tens of thousands of these. */
  #destination(realServer: RealServer, input: DestinationInput, pathOf: () => Path, inherited: Inherited): Destination {
    const context = this.#context;
    const forwarding = input.forwarding ?? inherited.forwarding;
    this.#reach(realServer, forwarding);
    const { upperThreshold = 0, lowerThreshold = 0 } = input;
    if (upperThreshold > 0 && lowerThreshold > upperThreshold)
      context.add(
        "threshold-reversed",
        [...pathOf(), "lowerThreshold"],
        `lower threshold ${lowerThreshold} above the upper, ${upperThreshold}`,
      );
    if (input.tunnel !== undefined && forwarding !== "tun")
      context.add(
        "tunnel-without-tun",
        [...pathOf(), "tunnel"],
        `\`tunnel\` is given, but forwarding is ${forwarding}`,
      );
    return {
      realServer,
      weight: input.weight ?? realServer.weight,
      forwarding,
      port: input.port && this.#remap(input.port, [...pathOf(), "port"], forwarding, inherited.match),
      upperThreshold,
      lowerThreshold,
      tunnel: input.tunnel === undefined ? inherited.tunnel : this.#tunnel(input.tunnel, [...pathOf(), "tunnel"]),
    };
  }

  /** The port on the real server, where it is another. */
  #remap(port: number, path: Path, forwarding: Forwarding, match: Match): number | undefined {
    const only = match.kind === "ports" && match.ports.length === 1 ? match.ports[0] : undefined;
    if (only !== undefined && only.first === only.last) {
      if (only.first === port) return undefined;
      if (forwarding === "nat") return port;
    }
    const why = forwarding === "nat" ? "the service has more than one port" : `${forwarding} cannot change ports`;
    this.#context.add("port-remap-impossible", path, `port ${port} on the real server: ${why}`);
    return undefined;
  }

  /** DR rewrites the MAC only, so director and real server must share a subnet; said once for each real server. */
  #reach(realServer: RealServer, forwarding: Forwarding): void {
    const { directors, ripPaths } = this.#hosts;
    if (forwarding !== "dr" || directors.length === 0 || this.#toldAcross.has(realServer)) return;
    this.#toldAcross.add(realServer);
    const path = [...(ripPaths.get(realServer) ?? []), "rip"];
    const place = `${realServer.name} (${formatIpv4(realServer.rip)}, ${realServer.network.name})`;
    if (!this.#directorNetworks.has(realServer.network.name)) {
      const message = `${place} has dr forwarding, but no director is in its subnet: DR cannot cross a router`;
      this.#context.add("dr-across-router", path, message);
      return;
    }
    const apart = directors.find((d) => d.addresses.every((a) => a.network !== realServer.network));
    if (apart !== undefined)
      this.#context.add(
        "dr-director-apart",
        path,
        `${place} has dr forwarding, but ${apart.name} has no address in its subnet`,
      );
  }

  #flags(scheduler: Scheduler, flags: readonly SchedulerFlag[], path: Path): void {
    for (const [i, flag] of flags.entries()) {
      const of = /^(sh|mh)-/.exec(flag)?.[1];
      if (of !== undefined && of !== scheduler)
        this.#context.add(
          "scheduler-flag",
          [...path, i],
          `${flag} belongs to ${of}, and the scheduler is ${scheduler}`,
        );
    }
  }

  #persistence(input: ServiceInput, path: Path): Service["persistence"] {
    const { persistence } = input;
    if (persistence === undefined) return undefined;
    if (typeof persistence === "number")
      return { timeoutSeconds: persistence, netmaskLength: defaults.persistenceNetmask };
    const { timeoutSeconds, netmask = defaults.persistenceNetmask } = persistence;
    if (typeof netmask === "number") return { timeoutSeconds, netmaskLength: netmask };
    const mask = parseIpv4(netmask);
    const length = Array.from({ length: 32 }, (_, i) => i + 1).find((n) => maskOf(n) === mask);
    if (length === undefined)
      this.#context.add(
        "bad-netmask",
        [...path, "persistence", "netmask"],
        `the netmask ${netmask.slice(0, 40)} is none`,
      );
    return { timeoutSeconds, netmaskLength: length ?? defaults.persistenceNetmask };
  }

  #quorum(input: ServiceInput, path: Path, destinations: readonly Destination[]): Service["quorum"] {
    const given = typeof input.quorum === "number" ? { minimum: input.quorum } : (input.quorum ?? {});
    const { minimum = defaults.quorumMinimum, hysteresis = defaults.quorumHysteresis } = given;
    const quorumPath = [...path, "quorum"];
    const total = input.quorum === undefined ? 0 : destinations.reduce((sum, d) => sum + d.weight, 0);
    if (input.quorum !== undefined && destinations.length > 0 && minimum > total)
      this.#context.add(
        "quorum-unreachable",
        quorumPath,
        `the quorum is ${minimum}, all weights together are ${total}`,
      );
    if (hysteresis > 0 && hysteresis >= minimum)
      this.#context.add("hysteresis-too-large", quorumPath, `hysteresis ${hysteresis}, quorum ${minimum}`);
    return { minimum, hysteresis };
  }

  #sorryServer(input: ServiceInput, path: Path, service: Inherited): SorryServer | undefined {
    if (input.sorryServer === undefined) return undefined;
    const sorryPath = [...path, "sorryServer"];
    const given = typeof input.sorryServer === "string" ? { address: input.sorryServer } : input.sorryServer;
    const forwarding = given.forwarding ?? service.forwarding;
    const named = this.#hosts.realServerNames.get(given.address);
    const isName = this.#hosts.realServerNames.has(given.address);
    if (!isName && parseIpv4(given.address) === undefined) {
      const keys = this.#hosts.realServerNames.keys();
      this.#context.unknown("unknown-real-server", [...sorryPath, "address"], "real server", given.address, keys);
      return undefined;
    }
    const address = isName
      ? named?.rip
      : unicast(this.#context, given.address, [...sorryPath, "address"], "sorry server");
    if (address === undefined) return undefined;
    if (this.#book.isVip(address))
      this.#context.add("vip-is-host-address", sorryPath, `the sorry server ${given.address} is a VIP`);
    const network = this.#networks.of(address);
    if (forwarding === "dr" && this.#hosts.directors.length > 0 && !this.#directorNetworks.has(network?.name ?? "")) {
      const message = `the sorry server ${given.address} has dr forwarding, but no director is in its subnet: DR cannot cross a router`;
      this.#context.add("dr-across-router", sorryPath, message);
    }
    const port = given.port && this.#remap(given.port, [...sorryPath, "port"], forwarding, service.match);
    return { address, realServer: named, port, forwarding, tunnel: service.tunnel };
  }
}

type DestinationInput = {
  weight?: number | undefined;
  forwarding?: Forwarding | undefined;
  port?: number | undefined;
  upperThreshold?: number | undefined;
  lowerThreshold?: number | undefined;
  tunnel?: TunnelInput | undefined;
};

/** One of a service's list, and where in it. */
type Named = DestinationInput & { readonly name: string; readonly at: string | number };

function nameFor(input: ServiceInput, match: Match): string {
  if (match.kind === "fwmark") return `fwmark-${match.fwmark}`;
  const vip = typeof input.vip === "string" ? input.vip : (input.vip?.[0] ?? "all");
  const first = match.ports[0];
  const text =
    first === undefined || first.first === first.last ? String(first?.first) : `${first.first}-${first.last}`;
  return `${vip}-${match.protocol}-${text}`;
}

/** `taken`: each name in use, with the last number that was put behind it. */
function freshName(wish: string, taken: Map<string, number>): string {
  let name = wish;
  let count = taken.get(wish) ?? 0;
  if (count > 0) while (taken.has(name)) name = `${wish}-${++count}`;
  taken.set(wish, Math.max(1, count)).set(name, Math.max(1, taken.get(name) ?? 0));
  return name;
}

interface Claim extends PortRange {
  readonly service: Service;
  readonly path: Path;
}

/**
 * Who claims which ports of which VIP. Services of all VIPs are kept apart from those of named ones, so that the cost
 * grows with the length of the file and not with services times VIPs.
 */
class PortClaims {
  readonly #context: Context;
  readonly #all: readonly Vip[];
  readonly #ofAll = new Map<string, Claim[]>();
  readonly #ofVip = new Map<string, Claim[]>();
  readonly #marks = new Map<number, Path>();

  constructor(context: Context, all: readonly Vip[]) {
    this.#context = context;
    this.#all = all;
  }

  add(service: Service, path: Path): void {
    const { match } = service;
    if (match.kind === "fwmark") {
      const first = this.#marks.get(match.fwmark);
      if (first === undefined) this.#marks.set(match.fwmark, path);
      else
        this.#context.add(
          "services-overlap",
          path,
          `fwmark ${match.fwmark} is taken on line ${this.#context.lineOf(first)}`,
        );
      return;
    }
    const claims = match.ports.map(({ first, last }) => ({ first, last, service, path }));
    if (service.vips === this.#all) push(this.#ofAll, match.protocol, claims);
    else for (const vip of service.vips) push(this.#ofVip, `${match.protocol} ${vip.address}`, claims);
  }

  sayOverlaps(): void {
    for (const claims of this.#ofAll.values()) this.#within(claims, "every VIP");
    for (const [key, claims] of this.#ofVip) {
      const vip = claims[0]?.service.vips.find((v) => key.endsWith(` ${v.address}`));
      const where = vip === undefined ? "the VIP" : formatIpv4(vip.address);
      this.#within(claims, where);
      // #within left those of all VIPs in order of their ports.
      const everywhere = this.#ofAll.get(key.split(" ")[0] ?? "") ?? [];
      for (const claim of claims) {
        const other = firstReaching(everywhere, claim);
        if (other !== undefined) this.#tell(claim, other, where);
      }
    }
  }

  #within(claims: Claim[], where: string): void {
    claims.sort((a, b) => a.first - b.first || a.last - b.last);
    let reaching: Claim | undefined;
    for (const claim of claims) {
      if (reaching !== undefined && claim.first <= reaching.last && claim.service !== reaching.service)
        this.#tell(claim, reaching, where);
      if (reaching === undefined || claim.last > reaching.last) reaching = claim;
    }
  }

  #tell(one: Claim, two: Claim, where: string): void {
    const [later, earlier] = Number(one.path[1]) > Number(two.path[1]) ? [one, two] : [two, one];
    const port = Math.max(one.first, two.first);
    const protocol = one.service.match.protocol;
    const message = `${protocol} port ${port} of ${where} belongs to ${earlier.service.name} already (line ${this.#context.lineOf(earlier.path)})`;
    this.#context.add("services-overlap", later.path, message);
  }
}

/** The claim of a sorted list that shares a port with this one. */
function firstReaching(sorted: readonly Claim[], claim: Claim): Claim | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as Claim).first <= claim.last) low = middle + 1;
    else high = middle;
  }
  const before = sorted[low - 1];
  return before !== undefined && before.last >= claim.first ? before : undefined;
}

function push<K, V>(map: Map<K, V[]>, key: K, values: readonly V[]): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [...values]);
  else for (const value of values) list.push(value);
}
