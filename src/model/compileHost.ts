import { groupBy } from "../base/groupBy.ts";
import type { Ipv4 } from "../base/ipv4.ts";
import { parseMac } from "../base/mac.ts";
import { maskOf } from "../base/prefix.ts";
import { buildTables } from "./compileRoutes.ts";
import { compileRules } from "./compileRules.ts";
import type { AddressFacts, HostFacts, LinkFacts, NeighbourFacts } from "./facts.ts";
import { address4, must, optional4 } from "./factText.ts";
import { compileFilters } from "./filters.ts";
import type { Host, Published } from "./host.ts";
import type { Address, Conf, Link } from "./link.ts";
import { confReader } from "./linkConf.ts";
import { DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE } from "./routingTable.ts";
import { switchesOf } from "./switches.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type DraftLink = Mutable<Link> & { addresses: Address[]; macvlans: Link[] };

/** Indexes the facts once. Cost grows with addresses, routes and sysctls; decisions then do not scan them. */
export function compileHost(facts: HostFacts): Host {
  const switches = switchesOf(facts.kernel);
  const byName = new Map<string, DraftLink>();
  const byIndex = new Map<number, Link>();
  const links: DraftLink[] = [];
  const conf = confReader(facts.sysctls, switches);
  for (const link of facts.links) {
    const draft = draftLink(link, conf);
    links.push(draft);
    byName.set(draft.name, draft);
    byIndex.set(draft.index, draft);
  }
  stack(facts, byName);
  const ownAddresses = placeAddresses(facts, byName);
  if (switches.ifaceStateLifetime === "address")
    for (const [i, link] of links.entries())
      link.ipv4State = facts.links[i]?.ipv4State ?? (link.addresses.length > 0 || link.loopback);

  const loopback = links.find((l) => l.loopback);
  const rules = compileRules(facts, links, byName);
  const customRules = facts.kernel.hadCustomRules === true || rules.custom;
  const { tables, customLocalRoutes } = buildTables(
    facts,
    switches,
    links,
    byName,
    switches.mergedTables && !customRules,
  );
  const local = tables.get(LOCAL_TABLE);
  const main = tables.get(MAIN_TABLE);
  const plain = new Set([local, main, tables.get(DEFAULT_TABLE)]);
  const published = compilePublished(facts, byName);
  return {
    facts,
    switches,
    links,
    loopback,
    linkByIndex: byIndex,
    linkByName: byName,
    ownAddresses,
    tables,
    plainTables: [...plain].filter((t) => t !== undefined),
    localTable: local,
    rules: rules.list,
    customRules,
    customLocalRoutes: customLocalRoutes || facts.kernel.hadCustomLocalRoutes === true,
    published: groupBy(published, (p) => p.ip),
    publishedInOrder: published,
    filters: compileFilters(facts.filters),
    ipForward: (facts.sysctls.ip_forward ?? facts.sysctls["all.forwarding"] ?? 0) !== 0,
    unconfirmed: switches.arpInvisible || switches.fullArpFix,
  };
}

function draftLink(link: LinkFacts, conf: (name: string) => Conf): DraftLink {
  const kind = link.kind ?? "";
  const up = link.flags.includes("UP");
  const loopback = link.flags.includes("LOOPBACK");
  const isIpip = kind === "ipip" || (kind === "" && /^tunl\d/.test(link.name));
  return {
    index: link.ifindex,
    name: link.name,
    kind,
    up,
    noArp: link.flags.includes("NOARP"),
    loopback,
    pointToPoint: link.flags.includes("POINTOPOINT"),
    carrier: link.carrier ?? true,
    mac: link.mac === null ? undefined : must(parseMac(link.mac), "a MAC address", link.mac),
    isVrf: kind === "vrf",
    vrfTable: link.vrfTable,
    master: undefined,
    vrf: undefined,
    macvlans: [],
    mode: link.mode,
    parent: undefined,
    segment: link.segment,
    isTunnel:
      isIpip || /^(gre|gretap|sit|ip6tnl|vti)$/.test(kind) || (kind === "" && /^(gre|sit|tap)\d/.test(link.name)),
    isIpip,
    tunnelLocal: optional4(link.tunnel?.local) ?? (0 as Ipv4),
    tunnelRemote: optional4(link.tunnel?.remote) ?? (0 as Ipv4),
    ipv4State: link.ipv4State ?? true,
    aliasFlags: link.aliasFlags ?? {},
    addresses: [],
    conf: conf(link.name),
  };
}

/** Masters, VRFs and macvlans. A circle of masters, which no kernel allows, is cut where it closes. */
function stack(facts: HostFacts, byName: ReadonlyMap<string, DraftLink>): void {
  for (const link of facts.links) {
    const draft = byName.get(link.name);
    const master = link.master === undefined ? undefined : byName.get(link.master);
    if (draft && master && master !== draft) {
      if (master.isVrf) draft.vrf = master;
      else if (!leadsTo(master, draft)) draft.master = master;
    }
    const parent = link.parent === undefined ? undefined : byName.get(link.parent);
    if (draft && parent && parent !== draft) {
      draft.parent = parent;
      if (draft.kind === "macvlan" || draft.kind === "macvtap") parent.macvlans.push(draft);
    }
  }
}

function leadsTo(from: Link, wanted: Link): boolean {
  for (let link: Link | undefined = from; link; link = link.master) if (link === wanted) return true;
  return false;
}

function placeAddresses(facts: HostFacts, byName: ReadonlyMap<string, DraftLink>): Map<number, Address[]> {
  const own = new Map<number, Address[]>();
  for (const given of facts.addresses) {
    const link = must(byName.get(given.link), "an address on a link", given.link);
    const address = makeAddress(given, link);
    link.addresses.push(address);
    const same = own.get(address.ip);
    if (same) same.push(address);
    else own.set(address.ip, [address]);
  }
  return own;
}

function makeAddress(given: AddressFacts, link: Link): Address {
  const ip = address4(given.ip);
  return {
    link,
    ip,
    prefixAddress: optional4(given.peer) ?? ip,
    prefixLength: given.prefixLength,
    mask: maskOf(given.prefixLength),
    scope: given.scope,
    secondary: given.secondary ?? false,
    label: given.label,
    broadcast: optional4(given.broadcast),
  };
}

function compilePublished(facts: HostFacts, byName: ReadonlyMap<string, Link>): Published[] {
  return facts.neighbours
    .filter((n) => n.proxy)
    .map((n: NeighbourFacts) => ({
      ip: address4(n.ip),
      mask: maskOf(n.prefixLength ?? 32),
      link: n.link === "*" ? undefined : byName.get(n.link.split(":")[0] ?? n.link),
      deviceName: n.link,
      mac: n.mac === undefined ? undefined : parseMac(n.mac),
    }));
}
