import {
  ANY,
  formatIpv4,
  type Ipv4,
  isClassE,
  isLoopback,
  isMulticast,
  isZeroNet,
  LIMITED_BROADCAST,
  parseIpv4,
} from "../base/ipv4.ts";
import { formatPrefix, lastOf, networkOf, parsePrefix } from "../base/prefix.ts";
import type { HostAddress, Network } from "./cluster.ts";
import { type Context, type Entry, entriesOf } from "./context.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput } from "./schema.ts";

const reserved: readonly [(address: Ipv4) => boolean, string][] = [
  [isMulticast, "a multicast address"],
  [isLoopback, "a loopback address"],
  [(a) => a === LIMITED_BROADCAST, "the broadcast address"],
  [(a) => a === ANY || isZeroNet(a), "an address of 0.0.0.0/8"],
  [isClassE, "a reserved address (240.0.0.0/4)"],
];

/** Reads an address that a host could have; undefined after saying why not. */
export function unicast(context: Context, text: string, path: Path, what: string): Ipv4 | undefined {
  const address = parseIpv4(text);
  if (address === undefined) {
    context.add("bad-address", path, `the ${what} ${text} is not an IPv4 address: a number above 255`);
    return undefined;
  }
  const found = reserved.find(([is]) => is(address));
  if (found === undefined) return address;
  context.add("address-not-unicast", path, `the ${what} ${text} is ${found[1]}`);
  return undefined;
}

/** The networks of the file, and the question which one an address lies in. */
export class Networks {
  readonly list: readonly Network[];
  readonly byName: ReadonlyMap<string, Network>;

  constructor(context: Context, input: ClusterInput["networks"]) {
    const byName = new Map<string, Network>();
    const paths = new Map<Network, Path>();
    const list: Network[] = [];
    for (const entry of entriesOf<NetworkInput>("networks", input, "prefix")) {
      const network = readNetwork(context, entry);
      if (network === undefined) continue;
      if (byName.has(network.name))
        context.add("duplicate-name", entry.namePath, `two networks are called ${network.name}`);
      byName.set(network.name, network);
      paths.set(network, entry.path);
      list.push(network);
    }
    // Sorted by first address, an overlap is one with the widest seen so far.
    const sorted = [...list].sort(
      (a, b) => networkOf(a.prefix) - networkOf(b.prefix) || a.prefix.length - b.prefix.length,
    );
    let widest: Network | undefined;
    for (const network of sorted) {
      if (widest !== undefined && networkOf(network.prefix) <= lastOf(widest.prefix)) {
        const message = `${network.name} (${formatPrefix(network.prefix)}) overlaps ${widest.name} (${formatPrefix(widest.prefix)})`;
        context.add("networks-overlap", paths.get(network) ?? [], message);
      }
      if (widest === undefined || lastOf(network.prefix) > lastOf(widest.prefix)) widest = network;
    }
    this.list = list;
    this.byName = byName;
    this.#sorted = sorted;
  }

  readonly #sorted: readonly Network[];

  /** Binary search; networks do not overlap in a file that is accepted. */
  of(address: Ipv4): Network | undefined {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const network = this.#sorted[middle] as Network;
      if (networkOf(network.prefix) <= address) low = middle + 1;
      else high = middle;
    }
    const network = this.#sorted[low - 1];
    return network !== undefined && address <= lastOf(network.prefix) ? network : undefined;
  }

  /** The network in which a host (or a VIP) can have this address; undefined after saying why none. */
  place(context: Context, address: Ipv4, path: Path, what: string): Network | undefined {
    const network = this.of(address);
    const text = formatIpv4(address);
    if (network === undefined) {
      const code = what === "VIP" ? "vip-outside-networks" : "address-outside-networks";
      const known = this.list.slice(0, 5).map((n) => `${n.name} ${formatPrefix(n.prefix)}`);
      context.add(code, path, `the ${what} ${text} lies in none of the networks (${known.join(", ")})`);
      return undefined;
    }
    const edge = edgeName(network, address);
    if (edge === undefined) return network;
    context.add("network-or-broadcast-address", path, `the ${what} ${text} is the ${edge} of ${network.name}`);
    return undefined;
  }

  /** Holds a `network` key against the network found. */
  agree(context: Context, named: string | undefined, found: Network, path: Path, what: string): void {
    if (named === undefined || named === found.name) return;
    if (!this.byName.has(named)) context.unknown("unknown-network", path, "network", named, this.byName.keys());
    else context.add("wrong-network", path, `the ${what} lies in ${found.name}, not in ${named}`);
  }
}

interface NetworkInput {
  prefix: string;
  router?: string | undefined;
}

function readNetwork(context: Context, entry: Entry<NetworkInput>): Network | undefined {
  const { value, path } = entry;
  const name = entry.name ?? value.prefix;
  const prefix = parsePrefix(value.prefix);
  if (prefix === undefined) {
    context.add("bad-prefix", path, `${value.prefix} is not an IPv4 prefix`);
    return undefined;
  }
  if (prefix.length < 1 || prefix.length > 31) {
    context.add("network-size", path, `${value.prefix} cannot be a LAN`);
    return undefined;
  }
  const first = networkOf(prefix);
  if (first !== prefix.address) {
    const right = `${formatIpv4(first)}/${prefix.length}`;
    context.add("network-host-bits", path, `${value.prefix} has bits set behind its length`, `write ${right}`);
  }
  const network: Network = { name, prefix: { address: first, length: prefix.length }, router: undefined };
  if (value.router === undefined) return network;
  const routerPath = [...path, "router"];
  const router = unicast(context, value.router, routerPath, "router");
  if (router === undefined) return network;
  const inside = router >= first && router <= lastOf(prefix);
  if (!inside || edgeName(network, router) !== undefined) {
    context.add(
      "router-outside-network",
      routerPath,
      `the router ${value.router} has no place in ${formatPrefix(network.prefix)}`,
    );
    return network;
  }
  return { ...network, router };
}

/** RFC 3021: a /31 has neither. */
function edgeName({ prefix }: Network, address: Ipv4): string | undefined {
  if (prefix.length > 30) return undefined;
  if (address === networkOf(prefix)) return "network address";
  if (address === lastOf(prefix)) return "broadcast address";
  return undefined;
}

interface Owner {
  readonly who: string;
  readonly path: Path;
  readonly isVip: boolean;
}

/** Who has which address; says so when two have one. */
export class AddressBook {
  readonly #owners = new Map<Ipv4, Owner>();
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  has = (address: Ipv4): boolean => this.#owners.has(address);
  isVip = (address: Ipv4): boolean => this.#owners.get(address)?.isVip === true;

  claim(address: Ipv4, who: string, path: Path, isVip = false): void {
    const other = this.#owners.get(address);
    if (other === undefined) {
      this.#owners.set(address, { who, path, isVip });
      return;
    }
    if (other.who === who && !isVip) return; // the one-box host, named as director and as real server
    const text = formatIpv4(address);
    const line = this.#context.lineOf(other.path);
    if (other.isVip !== isVip)
      this.#context.add(
        "vip-is-host-address",
        path,
        `${text} is a VIP and also the address of ${isVip ? other.who : who} (line ${line})`,
      );
    else this.#context.add("duplicate-address", path, `${text} belongs to ${other.who} already (line ${line})`);
  }
}

/** All own addresses of a host, the main one first. */
export function hostAddresses(
  context: Context,
  networks: Networks,
  main: HostAddress,
  more: readonly (string | { address: string; interface?: string | undefined })[] | undefined,
  path: Path,
): HostAddress[] {
  const list = [main];
  for (const [i, item] of (more ?? []).entries()) {
    const itemPath = [...path, "addresses", i];
    const { address: text, interface: name = main.interface } = typeof item === "string" ? { address: item } : item;
    const address = unicast(context, text, itemPath, "address");
    const network = address === undefined ? undefined : networks.place(context, address, itemPath, "address");
    if (address !== undefined && network !== undefined) list.push({ address, interface: name, network });
  }
  return list;
}
