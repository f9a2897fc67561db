/**
 * One host's state, read in one go: netlink dumps and /proc, no processes but nft where nft tables exist.
 *
 * Synchronous, so that it can be read from inside any namespace: everything here belongs to the calling thread's own
 * (/proc/sys/net, /proc/thread-self/net, netlink sockets), while /proc/net would be the main thread's.
 */
import { existsSync, readFileSync } from "node:fs";
import { hostname, release } from "node:os";
import { formatIpv4, ipv4FromNumber } from "../base/ipv4.ts";
import {
  type AddressFacts,
  FACTS_VERSION,
  type FilterChainFacts,
  type HostFacts,
  type KernelFacts,
  type LinkFacts,
  type PatchFacts,
  type PolicyRuleFacts,
  type RouteFacts,
  type UnreadFacts,
} from "../model/facts.ts";
import { generationOf, parseRelease } from "../model/generation.ts";
import { LITTLE_ENDIAN_HOST as LITTLE_ENDIAN } from "../wire/octets.ts";
import { SystemCallError } from "./errors.ts";
import {
  linkFacts,
  readAddresses,
  readAddresses6,
  readLinks,
  readNeighbours,
  readNeighbourTimes,
  readRoutes,
  readRules,
} from "./facts/links.ts";
import { readSockets } from "./facts/sockets.ts";
import { readEnvironment, readIpvs, readModules } from "./facts/surroundings.ts";
import { readSysctls, type SysctlReading } from "./facts/sysctls.ts";
import { readFilters } from "./facts/tables.ts";
import * as libc from "./libc.ts";
import type { Namespace } from "./namespace.ts";
import { NETLINK_ROUTE, type NetlinkSocket, openNetlink } from "./netlink.ts";

export interface FactsOptions {
  /** The calling thread's own when absent. */
  readonly namespace?: Namespace;
  /** Only what the model decides by: no sockets, modules, IPVS, IPv6, environment. */
  readonly onlyModel?: boolean;
  /** Reads the filters instead of the general reader: plans compare them with what they wrote. */
  readonly readFilters?: (unread: UnreadFacts[]) => FilterChainFacts[];
  /** ISO 8601. */
  readonly takenAt?: string;
}

/** Never fails for want of rights: what could not be read is named in `unread`. */
export const readFacts = (options: FactsOptions = {}): HostFacts =>
  options.namespace === undefined ? readHere(options) : options.namespace.run(() => readHere(options));

function readHere(options: FactsOptions): HostFacts {
  const socket = openNetlink({ protocol: NETLINK_ROUTE, receiveBufferOctets: 1 << 20 });
  try {
    return readWith(socket, options);
  } finally {
    socket.close();
  }
}

function readWith(socket: NetlinkSocket, options: FactsOptions): HostFacts {
  const unread: UnreadFacts[] = [];
  const readings = readLinks(socket);
  const names = new Map(readings.map((r) => [r.link.index, r.link.name]));
  const addresses = readAddresses(socket, names);
  const routes = readRoutes(socket, names);
  const rules = readRules(socket);
  const sysctls = readSysctls(readings, readNeighbourTimes(socket), names, unread);
  const neighbours = readNeighbours(socket, names);
  const links = inListOrder(linkFacts(readings.map((r) => r.link)), addresses);
  const filters = (options.readFilters ?? readFilters)(unread);
  return {
    factsVersion: FACTS_VERSION,
    hostname: hostname(),
    ...(options.takenAt === undefined ? {} : { takenAt: options.takenAt }),
    kernel: kernelFacts(sysctls, rules, routes),
    links,
    addresses,
    ...(options.onlyModel === true ? {} : { addresses6: readAddresses6(socket, names) }),
    routesGiven: "all",
    routes,
    rules,
    sysctls: sysctls.sysctls,
    neighbours,
    filters,
    ...(options.onlyModel === true ? {} : surroundings(unread)),
    unread,
  };
}

function surroundings(unread: UnreadFacts[]) {
  const ipvs = readIpvs(unread);
  return {
    ...(ipvs === undefined ? {} : { ipvs }),
    sockets: readSockets(unread),
    modules: readModules(),
    environment: readEnvironment(),
  };
}

function kernelFacts(
  { hasHidden, hasInvisible }: SysctlReading,
  rules: readonly PolicyRuleFacts[],
  routes: readonly RouteFacts[],
): KernelFacts {
  const text = release();
  const parsed = parseRelease(text) ?? [];
  const isNative = (parsed[0] ?? 0) === 2 && parsed[1] === 2 && !/2\.2\.([0-9]|1[0-3])\b/.test(text);
  const patches: PatchFacts[] = [];
  if (hasHidden && !isNative) patches.push({ name: "hidden", how: "found" });
  if (hasInvisible) patches.push({ name: "arp_invisible", how: "found" });
  return {
    release: text,
    generation: generationOf(
      parsed,
      patches.map((p) => p.name),
    ),
    ...(patches.length === 0 ? {} : { patches }),
    ...(hadCustomRules(rules, routes) ? { hadCustomRules: true } : {}),
  };
}

/**
 * Whether a policy rule was ever added. The kernel keeps tables local and main in one trie until then, for ever apart
 * afterwards (fib_unmerge), and /proc/net/fib_triestat counts what is in main's.
 */
function hadCustomRules(rules: readonly PolicyRuleFacts[], routes: readonly RouteFacts[]): boolean {
  if (rules.length !== 3) return true;
  const file = "/proc/thread-self/net/fib_triestat";
  if (!existsSync(file)) return false;
  const main = /^Main:\n(?:^\s.*\n)*?^\s*Prefixes:\s*(\d+)/m.exec(readFileSync(file, "latin1"));
  if (main === null) return false;
  const count = (table: number): number => routes.filter((r) => r.table === table).length;
  return count(255) > 0 && Number(main[1]) <= count(254);
}

const SIOCGIFCONF = 0x8912;
/** struct ifreq of 64-bit Linux: a name of 16 octets, then a socket address. */
const IFREQ_OCTETS = 40;

/**
 * Dumps come by index; source selection walks the kernel's list, where a link that was moved here stands last.
 * SIOCGIFCONF goes by that list, and names every link with an address: those are the ones whose order counts.
 */
function inListOrder(links: readonly LinkFacts[], addresses: readonly AddressFacts[]): LinkFacts[] {
  const linkOf = new Map(addresses.map((a) => [`${a.label ?? a.link} ${a.ip}`, a.link]));
  const order: string[] = [];
  for (const key of configured(addresses.length)) {
    const link = linkOf.get(key);
    if (link !== undefined && order.at(-1) !== link && !order.includes(link)) order.push(link);
  }
  const byIndex = [...links].sort((a, b) => a.ifindex - b.ifindex);
  const numbered = new Set(order);
  const places = byIndex.map((link) => numbered.has(link.name));
  const byName = new Map(byIndex.map((link) => [link.name, link]));
  // Links without addresses keep their places; the others fill theirs in the order told.
  let next = 0;
  return byIndex.map((link, i) => (places[i] ? (byName.get(order[next++] as string) ?? link) : link));
}

/** "label address" of every address in list order; nothing where the call fails. */
function configured(count: number): string[] {
  const object = "list of addresses";
  const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM, 0, object);
  const room = libc.allocate((count + 64) * IFREQ_OCTETS);
  try {
    const request = new Uint8Array(16);
    const view = new DataView(request.buffer);
    view.setInt32(0, room.octets.length, LITTLE_ENDIAN);
    view.setBigUint64(8, room.address, LITTLE_ENDIAN);
    libc.ioctl(fd, SIOCGIFCONF, request, object);
    const octets = room.octets.subarray(0, view.getInt32(0, LITTLE_ENDIAN));
    const found: string[] = [];
    const decoder = new TextDecoder();
    const inside = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    for (let at = 0; at + IFREQ_OCTETS <= octets.length; at += IFREQ_OCTETS) {
      const name = decoder.decode(octets.subarray(at, at + 16)).replace(/\0.*$/s, "");
      found.push(`${name} ${formatIpv4(ipv4FromNumber(inside.getUint32(at + 20)))}`);
    }
    return found;
  } catch (error) {
    if (error instanceof SystemCallError) return [];
    throw error;
  } finally {
    libc.release(room);
    libc.close(fd);
  }
}
