import { parseIpv4 } from "../base/ipv4.ts";
import { parseMac } from "../base/mac.ts";
import {
  type Address6Facts,
  type AddressFacts,
  type FilterChainFacts,
  type FilterMatchFacts,
  type FilterVerdictFacts,
  type Generation,
  generations,
  type HostFacts,
  type LinkFacts,
  type LinkFlag,
  type NeighbourFacts,
  type PolicyRuleFacts,
  type RouteFacts,
  type RouteType,
  routeTypes,
  scopes,
} from "./facts.ts";
import { parseRelease } from "./generation.ts";
import { parseIpv6 } from "./ipv6.ts";
import { isProtocol } from "./protocols.ts";

/** What makes a vector unusable, with its place. Caught for each case, so that one bad vector stops no others. */
export class VectorFault extends Error {}

export type Json = Readonly<Record<string, unknown>>;

export const fault = (where: string, what: string): never => {
  throw new VectorFault(`${where}: ${what}`);
};

export function object(value: unknown, where: string): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Json)
    : fault(where, "is not an object");
}
export function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : fault(where, "is not a list");
}
export function text(value: unknown, where: string): string {
  return typeof value === "string" ? value : fault(where, "is not text");
}
export function optionalText(value: unknown, where: string): string | undefined {
  return value === undefined || value === null ? undefined : text(value, where);
}
export function ip4(value: unknown, where: string): string {
  const given = text(value, where);
  return parseIpv4(given) === undefined ? fault(where, `${given} is not an IPv4 address`) : given;
}
function whole(value: unknown, where: string): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isInteger(number) ? number : fault(where, "is not a whole number");
}
const optionalWhole = (value: unknown, where: string): number | undefined =>
  value === undefined || value === null ? undefined : whole(value, where);

const knownFlags: ReadonlySet<string> = new Set<LinkFlag>([
  "UP",
  "NOARP",
  "LOOPBACK",
  "BROADCAST",
  "MULTICAST",
  "POINTOPOINT",
  "PROMISC",
  "LOWER_UP",
]);

/** One vector's host as facts: `routesGiven` is "added", so that the kernel's own routes are derived. */
export function hostFacts(vector: Json): HostFacts {
  const host = object(vector.host, "host");
  const generation = text(vector.generation, "generation");
  if (!(generations as readonly string[]).includes(generation)) fault("generation", `${generation} is not known`);
  const sysctls: Record<string, number> = {};
  for (const [key, value] of Object.entries(host.sysctl === undefined ? {} : object(host.sysctl, "host.sysctl")))
    sysctls[key] = whole(value, `host.sysctl.${key}`);
  const given = list(host.interfaces, "host.interfaces").map((v, i) => object(v, `host.interfaces[${i}]`));
  if (given.length === 0) fault("host.interfaces", "there is none");
  // lo is first in every kernel's list and has index 1, wherever the vector names it.
  const isLoopback = (i: Json): boolean => list(i.flags, "flags").includes("LOOPBACK");
  const ordered = [...given.filter(isLoopback), ...given.filter((i) => !isLoopback(i))];
  const first = given.some(isLoopback) ? 1 : 2;
  const segments = segmentOf(host.same_segment, ordered);
  const links = ordered.map((v, i) => linkFacts(v, i + first, host, segments));
  const names = new Set(links.map((l) => l.name));
  if (names.size < links.length) fault("host.interfaces", "two of them have one name");
  const addresses: AddressFacts[] = [];
  const addresses6: Address6Facts[] = [];
  for (const v of ordered) readAddresses(v, addresses, addresses6);
  const neighbours: NeighbourFacts[] = [];
  [...list(host.proxies, "host.proxies"), ...list(host.published, "host.published")].forEach((p, i) => {
    readPublished(object(p, `host.published[${i}]`), `host.published[${i}]`, names, neighbours, addresses6);
  });
  // Without a kernel the generation's typical member stands; a name that holds no version is a slip of the pen.
  const release = optionalText(vector.kernel, "kernel") ?? "";
  if (release !== "" && parseRelease(release) === undefined) fault("kernel", `${release} holds no version`);
  return {
    factsVersion: 1,
    kernel: { release, generation: generation as Generation },
    links,
    addresses,
    addresses6,
    routesGiven: "added",
    routes: list(host.routes, "host.routes").map((r, i) => routeFacts(object(r, `host.routes[${i}]`), i, names)),
    rules: list(host.rules, "host.rules").map((r, i) => ruleFacts(object(r, `host.rules[${i}]`), `host.rules[${i}]`)),
    sysctls,
    neighbours,
    filters: filterFacts(list(host.filters, "host.filters")),
    unread: [],
  };
}

function linkFacts(v: Json, ifindex: number, host: Json, segments: ReadonlyMap<string, string>): LinkFacts {
  const name = text(v.name, "host.interfaces.name");
  const where = `host.interfaces.${name}`;
  const flags = list(v.flags, `${where}.flags`).map((f) => text(f, `${where}.flags`));
  const mac = optionalText(v.mac, `${where}.mac`);
  if (mac !== undefined && parseMac(mac) === undefined) fault(`${where}.mac`, `${mac} is not a MAC address`);
  const kind = optionalText(v.type ?? v.kind, `${where}.type`);
  const aliases: Record<string, LinkFlag[]> = {};
  if (host.alias_flags !== undefined)
    for (const [alias, list_] of Object.entries(object(host.alias_flags, "host.alias_flags")))
      if (alias.split(":")[0] === name)
        aliases[alias] = list(list_, "host.alias_flags").filter((f): f is LinkFlag => knownFlags.has(String(f)));
  const local = optionalText(v.local, `${where}.local`);
  const remote = optionalText(v.remote, `${where}.remote`);
  const table =
    optionalWhole(v.table ?? v.vrf_table, `${where}.table`) ?? (kind === "vrf" ? 1000 + ifindex : undefined);
  const state = v.ipv4_state;
  const up = v.up !== false;
  const master = optionalText(v.master, `${where}.master`);
  const parent = optionalText(v.parent ?? v.link, `${where}.parent`);
  const mode = optionalText(v.mode, `${where}.mode`);
  const segment = segments.get(name);
  return {
    ifindex,
    name,
    flags: [...(up ? (["UP"] as const) : []), ...flags.filter((f): f is LinkFlag => knownFlags.has(f) && f !== "UP")],
    mac: mac ?? null,
    ...(kind === undefined ? {} : { kind }),
    ...(master === undefined ? {} : { master }),
    ...(parent === undefined ? {} : { parent }),
    ...(mode === undefined ? {} : { mode }),
    ...(table === undefined ? {} : { vrfTable: table }),
    ...(segment === undefined ? {} : { segment }),
    // The schema names it only where it is missing; a link without an address can have it (ifconfig tunl0 0.0.0.0 up).
    ipv4State: state !== false,
    ...(v.carrier === false || flags.includes("NO-CARRIER") ? { carrier: false } : {}),
    ...(local !== undefined || remote !== undefined
      ? { tunnel: { ...(local === undefined ? {} : { local }), ...(remote === undefined ? {} : { remote }) } }
      : {}),
    ...(Object.keys(aliases).length > 0 ? { aliasFlags: aliases } : {}),
  };
}

/** true: every Ethernet link hears the same wire; a list of names, or several such lists. */
function segmentOf(value: unknown, interfaces: readonly Json[]): Map<string, string> {
  const segments = new Map<string, string>();
  if (value === undefined || value === null || value === false) return segments;
  const groups: unknown[] =
    value === true
      ? [interfaces.filter((i) => i.mac && !i.parent && !i.type).map((i) => i.name)]
      : Array.isArray(value)
        ? value.every((v) => typeof v === "string")
          ? [value]
          : value
        : Object.values(object(value, "host.same_segment"));
  groups.forEach((group, n) => {
    for (const name of list(group, "host.same_segment")) segments.set(text(name, "host.same_segment"), `segment ${n}`);
  });
  return segments;
}

function scopeNumber(value: unknown, where: string): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  const known = scopes[text(value, where) as keyof typeof scopes];
  return known ?? fault(where, `${String(value)} is not a scope`);
}

function readAddresses(v: Json, addresses: AddressFacts[], addresses6: Address6Facts[]): void {
  const link = text(v.name, "host.interfaces.name");
  list(v.addresses, `host.interfaces.${link}.addresses`).forEach((item, i) => {
    const where = `host.interfaces.${link}.addresses[${i}]`;
    const a = object(item, where);
    const ip = text(a.ip, `${where}.ip`);
    const scope = scopeNumber(a.scope, `${where}.scope`);
    const flags = list(a.flags, `${where}.flags`);
    const has = (flag: string): boolean => a[flag] === true || flags.includes(flag);
    if (ip.includes(":")) {
      if (parseIpv6(ip) === undefined) fault(`${where}.ip`, `${ip} is not an IPv6 address`);
      addresses6.push({
        link,
        ip,
        prefixLength: whole(a.plen ?? 128, `${where}.plen`),
        scope,
        tentative: has("tentative"),
        optimistic: has("optimistic"),
        dadFailed: has("dadfailed") || has("dad_failed"),
        anycast: has("anycast"),
        proxy: has("proxy"),
      });
      return;
    }
    const prefixLength = whole(a.plen ?? 32, `${where}.plen`);
    if (prefixLength < 0 || prefixLength > 32) fault(`${where}.plen`, "is not between 0 and 32");
    const label = optionalText(a.label, `${where}.label`);
    addresses.push({
      link,
      ip: ip4(ip, `${where}.ip`),
      prefixLength,
      scope,
      ...(a.peer === undefined || a.peer === null ? {} : { peer: ip4(a.peer, `${where}.peer`) }),
      ...(label === undefined ? {} : { label }),
      ...(a.secondary === true ? { secondary: true } : {}),
      ...(typeof a.broadcast === "string" ? { broadcast: ip4(a.broadcast, `${where}.broadcast`) } : {}),
    });
  });
}

const tableNumbers: Readonly<Record<string, number>> = { local: 255, main: 254, default: 253 };
function tableNumber(value: unknown, where: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  return tableNumbers[String(value)] ?? whole(value, where);
}

function prefixText(value: unknown, where: string): string {
  const given = text(value, where);
  const [address = "", length = "32"] = given === "default" || given === "all" ? ["0.0.0.0", "0"] : given.split("/");
  if (parseIpv4(address) === undefined || !/^\d{1,2}$/.test(length) || Number(length) > 32)
    fault(where, `${given} is not a prefix`);
  return `${address}/${Number(length)}`;
}

function routeFacts(r: Json, i: number, names: ReadonlySet<string>): RouteFacts {
  const where = `host.routes[${i}]`;
  const type = optionalText(r.type, `${where}.type`) ?? "unicast";
  if (!(routeTypes as readonly string[]).includes(type)) fault(`${where}.type`, `${type} is not a route type`);
  const dev = optionalText(r.dev, `${where}.dev`);
  if (dev !== undefined && !names.has(dev)) fault(`${where}.dev`, `there is no interface ${dev}`);
  const table = tableNumber(r.table, `${where}.table`);
  const prefsrc = r.prefsrc ?? r.src;
  const scope = r.scope === undefined ? undefined : scopeNumber(r.scope, `${where}.scope`);
  const metric = optionalWhole(r.metric, `${where}.metric`);
  const nexthops = r.nexthops ?? r.nexthop;
  return {
    dst: prefixText(r.dst, `${where}.dst`),
    type: type as RouteType,
    ...(dev === undefined ? {} : { dev }),
    ...(r.via === undefined || r.via === null ? {} : { via: ip4(r.via, `${where}.via`) }),
    ...(table === undefined ? {} : { table }),
    ...(typeof prefsrc === "string" ? { prefsrc: ip4(prefsrc, `${where}.prefsrc`) } : {}),
    ...(scope === undefined ? {} : { scope }),
    ...(metric === undefined ? {} : { metric }),
    ...(nexthops === undefined
      ? {}
      : {
          nexthops: list(nexthops, `${where}.nexthops`).map((n) => {
            const hop = object(n, `${where}.nexthops`);
            return {
              ...(typeof hop.via === "string" ? { via: ip4(hop.via, `${where}.nexthops.via`) } : {}),
              ...(typeof hop.dev === "string" ? { dev: hop.dev } : {}),
            };
          }),
        }),
  };
}

function ruleFacts(r: Json, where: string): PolicyRuleFacts {
  const table = tableNumber(r.table ?? r.lookup, `${where}.table`);
  const fwmark = optionalWhole(r.fwmark ?? r.mark, `${where}.fwmark`);
  const fwmask = optionalWhole(r.fwmask, `${where}.fwmask`);
  const prefix = (key: "to" | "from"): object =>
    typeof r[key] === "string" && r[key] !== "all" ? { [key]: prefixText(r[key], `${where}.${key}`) } : {};
  const name = (key: "iif" | "oif"): object => (typeof r[key] === "string" ? { [key]: r[key] } : {});
  const action = optionalText(r.action ?? r.type, `${where}.action`);
  if (action !== undefined && !/^(lookup|unicast|blackhole|unreachable|prohibit|goto|nop)$/.test(action))
    fault(`${where}.action`, `${action} is not known`);
  const goto = optionalWhole(r.goto, `${where}.goto`);
  const tos = optionalWhole(r.tos ?? r.dsfield, `${where}.tos`);
  const suppressed = optionalWhole(r.suppress_prefixlength ?? r.suppress_prefixlen, `${where}.suppress_prefixlength`);
  const protocol = r.ipproto === undefined || r.ipproto === null ? undefined : String(r.ipproto).toLowerCase();
  if (protocol !== undefined && !isProtocol(protocol)) fault(`${where}.ipproto`, `${protocol} is not a protocol`);
  const ports = (key: "sport" | "dport", name: string): object => {
    const value = r[key];
    if (value === undefined || value === null) return {};
    const [low, high] = typeof value === "string" ? value.split("-") : [value];
    return { [name]: [whole(low, `${where}.${key}`), whole(high ?? low, `${where}.${key}`)] };
  };
  return {
    priority: whole(r.pref ?? r.priority ?? 32765, `${where}.pref`),
    ...prefix("from"),
    ...prefix("to"),
    ...name("iif"),
    ...name("oif"),
    ...(fwmark === undefined ? {} : { fwmark }),
    ...(fwmask === undefined ? {} : { fwmask }),
    ...(table === undefined ? {} : { table }),
    ...(r.not === true ? { not: true } : {}),
    ...(tos === undefined ? {} : { tos }),
    ...(protocol === undefined ? {} : { protocol }),
    ...ports("sport", "sourcePorts"),
    ...ports("dport", "destinationPorts"),
    ...(r.l3mdev === true ? { l3mdev: true } : {}),
    ...(suppressed === undefined ? {} : { suppressPrefixLength: suppressed }),
    ...(goto === undefined ? {} : { goto, action: "goto" as const }),
    ...(action === undefined || action === "unicast"
      ? {}
      : { action: action as NonNullable<PolicyRuleFacts["action"]> }),
  };
}

/** An IPv4 entry without an interface counts on each of them; an IPv6 entry always names one (D-6-03). */
function readPublished(
  p: Json,
  where: string,
  names: ReadonlySet<string>,
  neighbours: NeighbourFacts[],
  addresses6: Address6Facts[],
): void {
  const link = optionalText(p.dev ?? p.iface ?? p.link, `${where}.dev`) ?? "*";
  // 2.0 entries may be made for an alias, which is a device there (A-2.0-04).
  if (link !== "*" && !names.has(link) && !names.has(link.split(":")[0] ?? ""))
    fault(`${where}.dev`, `there is no interface ${link}`);
  const ip = text(p.ip, `${where}.ip`);
  if (ip.includes(":")) {
    if (parseIpv6(ip) === undefined) fault(`${where}.ip`, `${ip} is not an IPv6 address`);
    if (link === "*") fault(`${where}.dev`, "is missing");
    addresses6.push({ link, ip, prefixLength: 128, scope: 0, proxy: true });
    return;
  }
  const mac = optionalText(p.mac ?? p.lladdr, `${where}.mac`);
  const length = optionalWhole(p.plen ?? p.mask, `${where}.plen`);
  neighbours.push({
    link,
    ip: ip4(ip, `${where}.ip`),
    state: "PERMANENT",
    proxy: true,
    ...(mac === undefined ? {} : { mac }),
    ...(length === undefined ? {} : { prefixLength: length }),
  });
}

const hooks: Readonly<Record<string, FilterChainFacts["hook"]>> = {
  in: "input",
  input: "input",
  out: "output",
  output: "output",
  forward: "forward",
  prerouting: "prerouting",
  postrouting: "postrouting",
  ingress: "ingress",
};

/** Each item is one rule; rules of the same tool, family, table and hook stand in one chain in their order. */
function filterFacts(items: readonly unknown[]): FilterChainFacts[] {
  const chains = new Map<string, FilterChainFacts & { rules: FilterChainFacts["rules"][number][] }>();
  items.forEach((item, i) => {
    const where = `host.filters[${i}]`;
    const f = object(item, where);
    const tool = text(f.tool, `${where}.tool`);
    if (!/^(nft|iptables|arptables|ipchains|ipfwadm)$/.test(tool)) fault(`${where}.tool`, `${tool} is not known`);
    const family = tool === "arptables" ? "arp" : (optionalText(f.family, `${where}.family`) ?? "ip");
    const hookName = text(f.hook ?? f.chain, `${where}.hook`).toLowerCase();
    const hook = hooks[hookName] ?? fault(`${where}.hook`, `${hookName} is not known`);
    const table = optionalText(f.table, `${where}.table`);
    const type = f.type === "nat" || table === "nat" ? "nat" : "filter";
    const key = [tool, family, hook, table, type].join(" ");
    const chain = chains.get(key) ?? {
      tool: tool as FilterChainFacts["tool"],
      family: family as FilterChainFacts["family"],
      hook,
      type,
      ...(table === undefined ? {} : { table }),
      ...(typeof f.priority === "number" ? { priority: f.priority } : {}),
      ...(f.policy === "drop" || f.policy === "DROP" ? { policy: "drop" as const } : {}),
      rules: [],
    };
    chains.set(key, chain);
    chain.rules.push({ match: filterMatch(f, where), verdict: filterVerdict(f, where) });
  });
  return [...chains.values()];
}

/** Words for the parts of a match, as the tools spell them. */
const matchWords: Readonly<Record<string, string>> = {
  daddr_ip: "target",
  daddr: "target",
  dst: "target",
  dst_ip: "target",
  destination: "target",
  saddr_ip: "source",
  saddr: "source",
  src: "source",
  src_ip: "source",
  source: "source",
  saddr_ether: "sourceMac",
  src_mac: "sourceMac",
  daddr_ether: "targetMac",
  dst_mac: "targetMac",
  iif: "in",
  iifname: "in",
  in: "in",
  iface: "in",
  oif: "out",
  oifname: "out",
  out: "out",
  op: "arpOperation",
  operation: "arpOperation",
  opcode: "arpOperation",
  proto: "protocol",
  protocol: "protocol",
  dport: "targetPort",
  sport: "sourcePort",
  mark: "mark",
};

function filterMatch(f: Json, where: string): FilterMatchFacts {
  const parts: Record<string, unknown> = {};
  const read = (source: Json, strict: boolean): void => {
    for (const [key, value] of Object.entries(source)) {
      const port = /^(udp|tcp)_([ds]port)$/.exec(key);
      if (port) {
        parts.protocol = { any: [port[1]] };
        parts[port[2] === "dport" ? "targetPort" : "sourcePort"] = numberMatch(value, where);
        continue;
      }
      if (value === undefined) continue;
      const word = Object.hasOwn(matchWords, key) ? matchWords[key] : undefined;
      if (word === undefined) {
        if (strict) fault(`${where}.match.${key}`, "is not known");
        continue;
      }
      parts[word] = partMatch(word, value, where);
    }
  };
  const sets = /^(tproxy|mark)$/i.test(String(f.target ?? f.verdict));
  read(sets ? { ...f, mark: undefined } : f, false);
  if (f.match !== undefined) read(object(f.match, `${where}.match`), true);
  return parts as FilterMatchFacts;
}

function partMatch(word: string, value: unknown, where: string): unknown {
  if (word === "mark") return { value: whole(value, where) };
  if (word === "arpOperation") return numberMatch(value === "request" ? 1 : value === "reply" ? 2 : value, where);
  if (word === "targetPort" || word === "sourcePort") return numberMatch(value, where);
  const items = Array.isArray(value) ? value.map((v) => text(v, where)) : [text(value, where)];
  const not = items.length === 1 && items[0]?.startsWith("!") === true;
  return { any: items.map((t) => t.replace(/^!=?\s*/, "")), ...(not ? { not } : {}) };
}

function numberMatch(value: unknown, where: string): unknown {
  const ranges = (Array.isArray(value) ? value : [value]).map((v) => {
    const [low, high] = typeof v === "string" && v.includes("-") ? v.split("-").map(Number) : [whole(v, where)];
    return [low, high ?? low];
  });
  return { any: ranges };
}

function filterVerdict(f: Json, where: string): FilterVerdictFacts {
  const set = [f.set, f.mangle].find((v) => typeof v === "object" && v !== null) as Json | undefined;
  const given = f.verdict ?? f.target ?? f.action ?? (set ? "mangle" : undefined);
  if (typeof given === "object" && given !== null) return filterVerdict({ ...f, ...given, verdict: undefined }, where);
  const word = text(given, `${where}.verdict`).toLowerCase();
  const address = (...keys: string[]): string | undefined => {
    for (const source of [set ?? {}, f])
      for (const key of keys) {
        const value = source[key];
        if (typeof value === "string" && parseIpv4(value) !== undefined) return value;
      }
    return undefined;
  };
  const port = f.to_port ?? f.to_ports ?? f.port;
  const toPort = port === undefined ? {} : { port: whole(port, `${where}.to_port`) };
  switch (word) {
    case "accept":
    case "drop":
    case "reject":
    case "return":
    case "continue":
      return { kind: word };
    case "deny":
      return { kind: "drop" };
    case "redirect":
      return { kind: "redirect", ...toPort };
    case "dnat": {
      const to = address("to", "to_destination", "to_ip");
      return to === undefined ? fault(where, "dnat names no address") : { kind: "dnat", to, ...toPort };
    }
    case "tproxy": {
      const mark = optionalWhole(f.tproxy_mark ?? f.set_mark ?? f.mark, where);
      return { kind: "tproxy", ...toPort, ...(mark === undefined ? {} : { mark }) };
    }
    case "mark":
      return { kind: "mark", value: whole(f.set_mark ?? f.value ?? f.mark, `${where}.set_mark`) };
    case "mangle": {
      const senderIp = address("mangle_ip_s", "mangle-ip-s", "sender_ip", "set_saddr_ip", "saddr_ip", "saddr");
      const targetIp = address("mangle_ip_d", "mangle-ip-d", "set_daddr_ip");
      return {
        kind: "mangle",
        next: "accept",
        ...(senderIp === undefined ? {} : { senderIp }),
        ...(targetIp === undefined ? {} : { targetIp }),
      };
    }
    default: {
      const inline = /saddr\s+ip\s+set\s+(\S+)/.exec(word);
      if (inline?.[1] !== undefined && parseIpv4(inline[1]) !== undefined)
        return { kind: "mangle", next: "continue", senderIp: inline[1] };
      return fault(`${where}.verdict`, `${word} is not known`);
    }
  }
}
