/**
 * What a machine makes of operations, written apart from the changes' own effects on facts (src/plan): tests hold the two
 * together. Adding what is there and deleting what is gone succeed. Throws Error where a kernel would refuse.
 */
import type { FilterChainFacts, HostFacts, LinkFlag } from "../model/facts.ts";
import type { World } from "../plan/host.ts";
import { readNftTable } from "../plan/nftRead.ts";
import type { Operation, OperationName } from "../plan/operation.ts";
import { readRules } from "../plan/ruleRead.ts";

type Of<Name extends OperationName> = Extract<Operation, { op: Name }>;

function addLink(f: HostFacts, name: string, kind: string, flags: readonly LinkFlag[]): HostFacts {
  const ifindex = Math.max(...f.links.map((l) => l.ifindex)) + 1;
  const born = Object.entries(f.sysctls).flatMap(([k, v]) =>
    k.startsWith("default.") ? [[k.replace("default", name), v] as const] : [],
  );
  const link = { ifindex, name, kind, flags, mac: null, ...(kind === "ipip" ? { mtu: 1480 } : {}) };
  return { ...f, links: [...f.links, link], sysctls: { ...f.sysctls, ...Object.fromEntries(born) } };
}

const removeLink = (f: HostFacts, name: string): HostFacts => ({
  ...f,
  links: f.links.filter((l) => l.name !== name),
  addresses: f.addresses.filter((a) => a.link !== name),
  routes: f.routes.filter((r) => r.dev !== name),
  sysctls: Object.fromEntries(Object.entries(f.sysctls).filter(([k]) => !k.startsWith(`${name}.`))),
});

const hasLink = (f: HostFacts, name: string): boolean => f.links.some((l) => l.name === name);

function sysctl(f: HostFacts, o: Of<"sysctl">): HostFacts {
  const [, , kind, link, file] = o.path;
  const name = o.path.length === 3 ? String(kind) : kind === "neigh" ? `neigh.${link}.${file}` : `${link}.${file}`;
  if (o.path.length > 3 && link !== "all" && link !== "default" && !hasLink(f, String(link)))
    throw new Error(`no ${o.path.join("/")}`);
  return { ...f, sysctls: { ...f.sysctls, [name]: Number(o.value) } };
}

function linkSet(f: HostFacts, o: Of<"link-set">): HostFacts {
  const links = f.links.map((l) => {
    if (l.name !== o.name) return l;
    const flags = l.flags.filter(
      (x) => (o.up === undefined || (x !== "UP" && x !== "LOWER_UP")) && (o.noarp === undefined || x !== "NOARP"),
    );
    if (o.up) flags.push("UP", "LOWER_UP");
    if (o.noarp) flags.push("NOARP");
    return { ...l, flags };
  });
  return { ...f, links };
}

function address(f: HostFacts, o: Of<"address">): HostFacts {
  if (o.action === "delete") return { ...f, addresses: f.addresses.filter((a) => a.link !== o.link || a.ip !== o.ip) };
  if (f.addresses.some((a) => a.link === o.link && a.ip === o.ip)) return f;
  const { op: _, action: __, ...added } = o;
  const order = f.links.map((l) => l.name);
  const addresses = [...f.addresses, added].sort((a, b) => order.indexOf(a.link) - order.indexOf(b.link));
  return { ...f, addresses };
}

function route(f: HostFacts, o: Of<"route">): HostFacts {
  const others = f.routes.filter((r) => r.dst !== o.route.dst || r.dev !== o.route.dev);
  return { ...f, routes: o.action === "add" ? [...others, o.route] : others };
}

function neighbour(f: HostFacts, o: Of<"neighbour">): HostFacts {
  const others = f.neighbours.filter((n) => n.ip !== o.ip);
  const set = o.action === "set" && o.mac !== undefined;
  const added = set ? [{ link: o.link, ip: o.ip, mac: o.mac, state: "STALE" as const }] : [];
  return { ...f, neighbours: [...others, ...added] };
}

function module(f: HostFacts, o: Of<"module">): HostFacts {
  const modules = (f.modules ?? []).filter((m) => m !== o.name);
  if (o.action === "load") modules.push(o.name);
  const after = f.modules === undefined ? f : { ...f, modules };
  if (o.name !== "ipip") return after;
  if (o.action === "unload") return removeLink(after, "tunl0");
  return hasLink(f, "tunl0") ? after : addLink(after, "tunl0", "ipip", ["NOARP"]);
}

function nft(f: HostFacts, o: Of<"nft">): HostFacts {
  const objects: Record<string, unknown>[] = [];
  let named = { family: "", name: "" };
  let gone = false;
  for (const c of o.commands as { add?: Record<string, unknown>; delete?: Record<string, unknown> }[]) {
    if (c.add?.table) named = c.add.table as typeof named;
    if (c.add) objects.push(c.add);
    gone = c.delete !== undefined;
    if (gone) objects.length = 0;
  }
  const others = f.filters.filter((x) => x.family !== named.family || x.table !== named.name);
  const chains = gone ? [] : readNftTable(named.family as "arp" | "ip", named.name, objects);
  return { ...f, filters: [...others, ...chains] };
}

function rule(f: HostFacts, o: Of<"rule">): HostFacts {
  const { program } = o;
  if (program === "ipchains") throw new Error("no kernel of this age runs vipward");
  const [read] = readRules(program, o.table, `-A ${o.chain} ${o.spec.join(" ")}`);
  const [wanted] = read?.rules ?? [];
  if (read === undefined || wanted === undefined) throw new Error(`no rule: ${o.spec.join(" ")}`);
  const own = (c: FilterChainFacts): boolean =>
    c.tool === program && (c.table ?? "filter") === o.table && c.chain === o.chain;
  const chain = f.filters.find(own);
  const text = JSON.stringify(wanted);
  const there = chain?.rules.findLastIndex((r) => JSON.stringify(r) === text) ?? -1;
  if (o.action === "add") {
    if (there >= 0) return f;
    const { policy: _, ...fresh } = read;
    if (chain === undefined) return { ...f, filters: [...f.filters, fresh] };
    return { ...f, filters: f.filters.map((c) => (c === chain ? { ...c, rules: [...c.rules, wanted] } : c)) };
  }
  if (chain === undefined || there < 0) return f;
  const rules = chain.rules.filter((_, i) => i !== there);
  const goes = rules.length === 0 && chain.policy === undefined;
  return { ...f, filters: f.filters.flatMap((c) => (c !== chain ? [c] : goes ? [] : [{ ...c, rules }])) };
}

const performers: { readonly [Name in Exclude<OperationName, "file">]: (f: HostFacts, o: Of<Name>) => HostFacts } = {
  sysctl,
  "link-create": (f, o) => (hasLink(f, o.name) ? f : addLink(f, o.name, o.type, ["BROADCAST", "NOARP"])),
  "link-delete": (f, o) => removeLink(f, o.name),
  "link-set": linkSet,
  address,
  route,
  neighbour,
  module,
  nft,
  rule,
};

/** The machine after one operation. */
export function performed(world: World, o: Operation): World {
  if (o.op === "file") return { ...world, files: { ...world.files, [o.path]: o.content } };
  // keyed by the very field that it is looked up with
  const perform = performers[o.op] as (f: HostFacts, o: Operation) => HostFacts;
  return { ...world, facts: perform(world.facts, o) };
}
