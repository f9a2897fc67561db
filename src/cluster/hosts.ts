import type { Ipv4 } from "../base/ipv4.ts";
import { formatIpv4 } from "../base/ipv4.ts";
import { formatPrefix } from "../base/prefix.ts";
import { type AddressBook, hostAddresses, type Networks, unicast } from "./addresses.ts";
import type { Director, Network, RealServer, SilencePolicy, Vip } from "./cluster.ts";
import { type Context, type Entry, entriesOf } from "./context.ts";
import { defaults } from "./defaults.ts";
import type { Path } from "./problem.ts";
import type { ClusterInput, PolicyInput } from "./schema.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
/** A real server before the services have said which VIPs it holds, and so on which carrier. */
export type RealServerDraft = Mutable<RealServer>;

interface HostInput {
  interface?: string | undefined;
  addresses?: (string | { address: string; interface?: string | undefined })[] | undefined;
  kernel?: string | undefined;
}
interface DirectorInput extends HostInput {
  dip: string;
  priority?: number | undefined;
}
interface RealServerInput extends HostInput {
  rip: string;
  network?: string | undefined;
  weight?: number | undefined;
  carrier?: RealServer["carrier"] | undefined;
  policy?: PolicyInput | undefined;
  httpPort?: number | undefined;
}
interface VipInput {
  address: string;
  network?: string | undefined;
  router?: string | undefined;
}

export interface Hosts {
  readonly directors: readonly Director[];
  readonly realServers: readonly RealServerDraft[];
  readonly vips: readonly Vip[];
  /** Also those whose entry is at fault, so that a reference to them is not a second fault. */
  readonly directorNames: ReadonlyMap<string, Director | undefined>;
  readonly realServerNames: ReadonlyMap<string, RealServerDraft | undefined>;
  /** By name and by address. */
  readonly vipNames: ReadonlyMap<string, Vip | undefined>;
  /** Real servers whose file entry names the carrier. */
  readonly carrierGiven: ReadonlyMap<RealServer, Path>;
  /** Where each real server's RIP stands. */
  readonly ripPaths: ReadonlyMap<RealServer, Path>;
}

export function readPolicy(context: Context, input: PolicyInput | undefined, path: Path): SilencePolicy | undefined {
  if (input === undefined) return undefined;
  const { name, scope } = typeof input === "string" ? { name: input, scope: undefined } : input;
  if (scope !== undefined && name !== "arp-sysctl" && name !== "auto")
    context.add("option-without-policy", [...path, "scope"], `\`scope\` has no meaning for the policy ${name}`);
  return { name, scope: scope ?? defaults.policyScope };
}

/** Directors, real servers and VIPs, with every address placed and claimed. */
export function readHosts(
  context: Context,
  networks: Networks,
  book: AddressBook,
  input: ClusterInput,
  policy: SilencePolicy,
): Hosts {
  const directorNames = new Map<string, Director | undefined>();
  const directors: Director[] = [];
  const names = new Map<string, Path>();
  for (const [i, entry] of entriesOf<DirectorInput>("directors", input.directors, "dip").entries()) {
    const name = entry.name ?? "";
    sayIfTaken(context, names, name, entry, "host");
    const director = readDirector(context, networks, book, name, entry, i);
    directorNames.set(name, director);
    if (director !== undefined) directors.push(director);
  }

  const realServerNames = new Map<string, RealServerDraft | undefined>();
  const realServers: RealServerDraft[] = [];
  const carrierGiven = new Map<RealServer, Path>();
  const ripPaths = new Map<RealServer, Path>();
  const ownNames = new Map<string, Path>();
  for (const entry of entriesOf<RealServerInput>("realServers", input.realServers, "rip")) {
    const name = entry.name ?? "";
    sayIfTaken(context, ownNames, name, entry, "host");
    const realServer = readRealServer(context, networks, book, name, entry, policy);
    const twin = directorNames.get(name);
    if (realServer !== undefined && twin !== undefined) {
      if (twin.addresses.some((a) => a.address === realServer.rip)) realServer.isDirector = true;
      else {
        const message = `${name} is a director with ${formatIpv4(twin.dip)} and a real server with ${formatIpv4(realServer.rip)}`;
        context.add(
          "duplicate-name",
          entry.namePath,
          message,
          "one host: give both the same address; two hosts: rename one",
        );
      }
    }
    realServerNames.set(name, realServer);
    if (realServer === undefined) continue;
    realServers.push(realServer);
    ripPaths.set(realServer, entry.path);
    if (entry.value.carrier !== undefined) carrierGiven.set(realServer, [...entry.path, "carrier"]);
  }

  const { vips, vipNames } = readVips(context, networks, book, input, directors);
  return { directors, realServers, vips, directorNames, realServerNames, vipNames, carrierGiven, ripPaths };
}

function sayIfTaken(
  context: Context,
  names: Map<string, Path>,
  name: string,
  entry: Entry<object>,
  what: string,
): void {
  const first = names.get(name);
  if (first !== undefined)
    context.add("duplicate-name", entry.namePath, `two ${what}s are called ${name} (line ${context.lineOf(first)})`);
  else names.set(name, entry.namePath);
}

/** The path of a key, or of the entry itself in its short form. */
const inEntry = (entry: Entry<object>, key: string): Path => [...entry.path, key];

interface Placed {
  readonly address: Ipv4;
  readonly network: Network;
  readonly interface: string;
}

function place(
  context: Context,
  networks: Networks,
  text: string,
  path: Path,
  what: string,
  name?: string,
): Placed | undefined {
  const address = unicast(context, text, path, what);
  if (address === undefined) return undefined;
  const network = networks.place(context, address, path, what);
  return network === undefined ? undefined : { address, network, interface: name ?? defaults.interface };
}

function readDirector(
  context: Context,
  networks: Networks,
  book: AddressBook,
  name: string,
  entry: Entry<DirectorInput>,
  index: number,
): Director | undefined {
  const { value } = entry;
  const main = place(context, networks, value.dip, inEntry(entry, "dip"), "DIP", value.interface);
  if (main === undefined) return undefined;
  const addresses = hostAddresses(context, networks, main, value.addresses, entry.path);
  for (const { address } of addresses) book.claim(address, name, entry.path);
  const fallback = Math.max(1, defaults.directorPriority - index * defaults.directorPriorityStep);
  return {
    name,
    dip: main.address,
    interface: main.interface,
    network: main.network,
    addresses,
    priority: value.priority ?? fallback,
    kernel: value.kernel,
  };
}

function readRealServer(
  context: Context,
  networks: Networks,
  book: AddressBook,
  name: string,
  entry: Entry<RealServerInput>,
  policy: SilencePolicy,
): RealServerDraft | undefined {
  const { value } = entry;
  const own = readPolicy(context, value.policy, inEntry(entry, "policy"));
  const main = place(context, networks, value.rip, inEntry(entry, "rip"), "RIP", value.interface);
  if (main === undefined) return undefined;
  networks.agree(context, value.network, main.network, inEntry(entry, "network"), `RIP ${value.rip}`);
  const addresses = hostAddresses(context, networks, main, value.addresses, entry.path);
  for (const { address } of addresses) book.claim(address, name, entry.path);
  return {
    name,
    rip: main.address,
    interface: main.interface,
    network: main.network,
    addresses,
    weight: value.weight ?? defaults.weight,
    carrier: value.carrier ?? "lo",
    policy: own ?? policy,
    kernel: value.kernel,
    httpPort: value.httpPort ?? defaults.httpPort,
    vips: [],
    isDirector: false,
  };
}

function readVips(
  context: Context,
  networks: Networks,
  book: AddressBook,
  input: ClusterInput,
  directors: readonly Director[],
) {
  const vips: Vip[] = [];
  const vipNames = new Map<string, Vip | undefined>();
  const names = new Map<string, Path>();
  const withDirector = new Set(directors.flatMap((d) => d.addresses.map((a) => a.network)));
  for (const entry of entriesOf<VipInput>("vips", input.vips, "address")) {
    const { value } = entry;
    const path = inEntry(entry, "address");
    const name = entry.name ?? value.address;
    if (entry.name !== undefined) sayIfTaken(context, names, name, entry, "VIP");
    vipNames.set(name, undefined);
    const placed = place(context, networks, value.address, path, "VIP");
    if (placed === undefined) continue;
    const { address, network } = placed;
    book.claim(address, `the VIP ${name}`, path, true);
    networks.agree(context, value.network, network, inEntry(entry, "network"), `VIP ${value.address}`);
    // With no director at all readable, every VIP would be told so: one fault, many voices.
    if (directors.length > 0 && !withDirector.has(network)) {
      const message = `no director has an address in ${network.name} (${formatPrefix(network.prefix)}), the subnet of the VIP ${value.address}`;
      context.add("vip-without-director", path, message);
    }
    const routerPath = inEntry(entry, "router");
    const router = value.router === undefined ? network.router : unicast(context, value.router, routerPath, "router");
    if (router !== undefined && networks.of(router) !== network)
      context.add(
        "router-outside-network",
        routerPath,
        `the router ${value.router} is not in ${network.name}, where the VIP is`,
      );
    const vip: Vip = { name, address, network, router };
    vips.push(vip);
    vipNames.set(name, vip);
    vipNames.set(formatIpv4(address), vip);
  }
  return { vips, vipNames };
}
