/** One host's facts as far as a plan needs them, read in some milliseconds. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname, release } from "node:os";
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import { formatPrefix } from "../../base/prefix.ts";
import {
  type AddressFacts,
  FACTS_VERSION,
  type FilterChainFacts,
  type HostFacts,
  type LinkFacts,
  type LinkFlag,
  type NeighbourFacts,
  type PolicyRuleFacts,
  type RouteFacts,
  type UnreadFacts,
} from "../../model/facts.ts";
import { generationOf, parseRelease } from "../../model/generation.ts";
import { sysctlTable } from "../../model/sysctl.ts";
import { readNftTable } from "../../plan/nftRead.ts";
import { readRules } from "../../plan/ruleRead.ts";
import { scopeNumber } from "../../wire/rtnetlinkValues.ts";
import { loadedModules } from "../modules.ts";
import type { Namespace } from "../namespace.ts";
import { listNft } from "../nft.ts";
import { type Address, type Link, type Neighbour, openRtnetlink, type Route, type Rule } from "../rtnetlink.ts";
import { ipv4Conf, readSysctl } from "../sysctl.ts";

/** IFF_* bits (if.h) that the facts name. */
const flagBits: readonly [number, LinkFlag][] = [
  [0x1, "UP"],
  [0x2, "BROADCAST"],
  [0x8, "LOOPBACK"],
  [0x10, "POINTOPOINT"],
  [0x80, "NOARP"],
  [0x100, "PROMISC"],
  [0x1000, "MULTICAST"],
  [0x10000, "LOWER_UP"],
];

/** RTPROT_* (rtnetlink.h). */
const protocols: Readonly<Record<number, string>> = { 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 16: "dhcp" };

type NameOf = (index: number) => string;

const linkFacts = (l: Link, nameOf: NameOf): LinkFacts => ({
  ifindex: l.index,
  name: l.name,
  ...(l.kind === undefined ? {} : { kind: l.kind }),
  // What kernels say of a link that is up differs in IFF_RUNNING and friends; these are the ones decisions read.
  flags: flagBits.filter(([bit]) => (l.flags & bit) !== 0).map(([, name]) => name),
  mac: l.loopback || l.hardwareType !== 1 ? null : (l.mac ?? null),
  mtu: l.mtu,
  ...(l.master === undefined ? {} : { master: nameOf(l.master) }),
  ...(l.parent === undefined || l.parentNamespaceId !== undefined || l.kind === "veth"
    ? {}
    : { parent: nameOf(l.parent) }),
  ...(l.vlanId === undefined ? {} : { vlanId: l.vlanId }),
  ...(l.macvlanMode === undefined ? {} : { mode: l.macvlanMode }),
  ...(l.tunnel === undefined
    ? {}
    : { tunnel: { local: formatIpv4(l.tunnel.local), remote: formatIpv4(l.tunnel.remote) } }),
});

const addressFacts = (a: Address, nameOf: NameOf): AddressFacts => ({
  link: nameOf(a.linkIndex),
  ip: formatIpv4(a.address),
  prefixLength: a.prefixLength,
  scope: scopeNumber(a.scope),
  ...(a.peer === undefined ? {} : { peer: formatIpv4(a.peer) }),
  ...(a.label === "" ? {} : { label: a.label }),
  ...(a.secondary ? { secondary: true } : {}),
  ...(a.broadcast === undefined ? {} : { broadcast: formatIpv4(a.broadcast) }),
  ...(a.noPrefixRoute ? { noPrefixRoute: true } : {}),
});

const via = (gateway: Ipv4 | undefined): { via?: string } =>
  gateway === undefined ? {} : { via: formatIpv4(gateway) };

const routeFacts = (r: Route, nameOf: NameOf): RouteFacts => ({
  dst: r.destination.length === 32 ? formatIpv4(r.destination.address) : formatPrefix(r.destination),
  type: r.type as NonNullable<RouteFacts["type"]>,
  table: r.table,
  ...via(r.gateway),
  ...(r.linkIndex === undefined ? {} : { dev: nameOf(r.linkIndex) }),
  ...(r.hops === undefined ? {} : { nexthops: r.hops.map((h) => ({ ...via(h.gateway), dev: nameOf(h.linkIndex) })) }),
  scope: scopeNumber(r.scope),
  ...(r.preferredSource === undefined ? {} : { prefsrc: formatIpv4(r.preferredSource) }),
  ...(r.metric === 0 ? {} : { metric: r.metric }),
  ...(r.typeOfService === 0 ? {} : { tos: r.typeOfService }),
  protocol: protocols[r.protocol] ?? String(r.protocol),
  ...(r.onLink ? { onlink: true } : {}),
});

const ruleFacts = (r: Rule): PolicyRuleFacts => ({
  priority: r.priority,
  ...(r.table === undefined ? {} : { table: r.table }),
  ...(r.source === undefined ? {} : { from: formatPrefix(r.source) }),
  ...(r.destination === undefined ? {} : { to: formatPrefix(r.destination) }),
  ...(r.inputLink === undefined ? {} : { iif: r.inputLink }),
  ...(r.outputLink === undefined ? {} : { oif: r.outputLink }),
  ...(r.fwmark === undefined ? {} : { fwmark: r.fwmark }),
  ...(r.fwmask === undefined ? {} : { fwmask: r.fwmask }),
});

const neighbourFacts = (n: Neighbour, nameOf: NameOf): NeighbourFacts => ({
  link: nameOf(n.linkIndex),
  ip: formatIpv4(n.address),
  ...(n.mac === undefined ? {} : { mac: n.mac }),
  state: n.state.toUpperCase() as NeighbourFacts["state"],
});

function sysctls(links: readonly string[]): Record<string, number> {
  const found: Record<string, number> = {};
  const put = (name: string, text: string | undefined): void => {
    if (text !== undefined && /^-?\d+$/.test(text)) found[name] = Number(text);
  };
  for (const link of ["all", "default", ...links])
    for (const file of Object.keys(sysctlTable)) put(`${link}.${file}`, readSysctl(ipv4Conf(link, file)));
  put("ip_forward", readSysctl(["net", "ipv4", "ip_forward"]));
  return found;
}

/** ARP chains of every table, and the nat chains that could redirect a VIP. Filters of IP packets are not read. */
function filters(unread: UnreadFacts[]): FilterChainFacts[] {
  let objects: Record<string, unknown>[];
  try {
    objects = listNft(["ruleset"]);
  } catch (error) {
    unread.push({ what: "nft tables", why: error instanceof Error ? error.message : String(error) });
    return [];
  }
  const chains: FilterChainFacts[] = [];
  for (const object of objects) {
    const { family, name } = (object.table ?? {}) as { family?: string; name?: string };
    if ((family !== "arp" && family !== "ip") || name === undefined) continue;
    const read = readNftTable(family, name, objects);
    // What the iptables programs made in nft is read in their own words, for they alone know them.
    const old = family === "arp" ? "arptables" : "iptables";
    const isOld = read.length > 0 && read.every((c) => /^[A-Z]+$/.test(c.chain ?? ""));
    if (isOld) chains.push(...readRules(old, name, words(old, name, unread)));
    else chains.push(...read.filter((c) => family === "arp" || c.type === "nat"));
  }
  return chains.filter((c) => c.family === "arp" || c.type === "nat");
}

function words(program: "iptables" | "arptables", table: string, unread: UnreadFacts[]): string {
  // `arptables -S` and arptables-save ask the name server about every address, and wait for it; -n -L does not.
  const args = program === "arptables" ? ["-n", "-L"] : ["-t", table, "-S"];
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 60_000 });
  } catch {
    unread.push({ what: `${program} table ${table}`, why: `${program} cannot list it` });
    return "";
  }
}

/** Throws HostError where netlink cannot be read at all; the rest is named in `unread`. */
export function readFacts(namespace?: Namespace): HostFacts {
  const rt = openRtnetlink(namespace);
  try {
    const read = (): HostFacts => {
      const links = rt.links().sort((a, b) => a.index - b.index);
      const names = new Map(links.map((l) => [l.index, l.name]));
      const nameOf: NameOf = (index) => names.get(index) ?? `if${index}`;
      const unread: UnreadFacts[] = [];
      const version = release();
      const hidden = existsSync("/proc/sys/net/ipv4/conf/all/hidden");
      const known = (index: number | undefined): boolean => index === undefined || names.has(index);
      return {
        factsVersion: FACTS_VERSION,
        hostname: hostname(),
        kernel: {
          release: version,
          generation: generationOf(parseRelease(version) ?? [], hidden ? ["hidden"] : []),
          ...(hidden ? { patches: [{ name: "hidden", how: "found" }] } : {}),
        },
        links: links.map((l) => linkFacts(l, nameOf)),
        addresses: rt.addresses().map((a) => addressFacts(a, nameOf)),
        routesGiven: "all",
        routes: rt
          .routes()
          .filter((r) => known(r.linkIndex))
          .map((r) => routeFacts(r, nameOf)),
        rules: rt.rules().map(ruleFacts),
        sysctls: sysctls(links.map((l) => l.name)),
        neighbours: rt.neighbours().map((n) => neighbourFacts(n, nameOf)),
        filters: filters(unread),
        modules: [...loadedModules()],
        unread,
      };
    };
    return namespace === undefined ? read() : namespace.run(read);
  } finally {
    rt.close();
  }
}

/** Which of the tools that policies use are installed. */
export function programsHere(): { nft: boolean; iptables: boolean; arptables: boolean } {
  const folders = (process.env.PATH ?? "").split(":").concat("/usr/sbin", "/sbin", "/usr/bin", "/bin");
  const has = (name: string): boolean =>
    folders.some((f) => f !== "" && existsSync(f) && readdirSync(f).includes(name));
  return { nft: has("nft"), iptables: has("iptables"), arptables: has("arptables") };
}

/** Of a file given with --facts. */
export const readText = (path: string): string => readFileSync(path, "utf8");
