/** A difference as a vector in the schema of `vipward model vectors`: the host's facts, the event, the kernel's answer. */
import { formatIpv4 } from "../base/ipv4.ts";
import type { FilterChainFacts, HostFacts } from "../model/facts.ts";
import type { Difference } from "./exam.ts";
import { askerMac, macvlanOn, targetMacOf } from "./frames.ts";
import type { PacketPlan, Topology } from "./plan.ts";

type Json = Record<string, unknown>;

const kinds = {
  arp: "arp_request",
  announce: "arp_solicit",
  ip: "ip_input",
  neighbour: "neigh",
  flap: "garp",
} as const;
const scopeNames: Readonly<Record<number, string>> = { 0: "global", 200: "site", 253: "link", 254: "host" };
const kernelDefaults: Readonly<Record<string, number>> = {
  arp_evict_nocarrier: 1,
  send_redirects: 1,
  shared_media: 1,
  secure_redirects: 1,
  accept_redirects: 1,
};

export function vectorOf(id: string, t: Topology, facts: HostFacts, d: Difference): Json {
  return {
    id,
    kind: kinds[d.what],
    generation: facts.kernel.generation,
    kernel: facts.kernel.release,
    title: `kernel: ${d.kernel}; model: ${d.model}`,
    host: hostOf(facts),
    event: eventOf(t, d),
    expect: d.expect ?? { kernel: d.kernel },
    rules: [d.rule],
    confirmed_by: [{ source: "LIVE", function: "conformance" }],
  };
}

function hostOf(facts: HostFacts): Json {
  const sysctl = Object.fromEntries(
    Object.entries(facts.sysctls).filter(
      ([key, value]) =>
        !/^(default|neigh|ipv6)\./.test(key) && value !== (kernelDefaults[key.split(".").at(-1) ?? ""] ?? 0),
    ),
  );
  const filters = facts.filters.flatMap(filterOf);
  const proxies = facts.neighbours.filter((n) => n.proxy);
  return {
    interfaces: facts.links.map((l) => ({
      name: l.name,
      mac: l.mac,
      up: l.flags.includes("UP"),
      flags: [...l.flags.filter((f) => f !== "UP"), ...(l.carrier === false ? ["NO-CARRIER"] : [])],
      ...(l.kind === undefined ? {} : { type: l.kind }),
      ...(l.master === undefined ? {} : { master: l.master }),
      ...(l.parent === undefined ? {} : { parent: l.parent }),
      ...(l.mode === undefined ? {} : { mode: l.mode }),
      ...(l.tunnel ?? {}),
      addresses: facts.addresses
        .filter((a) => a.link === l.name)
        .map((a) => ({
          ip: a.ip,
          plen: a.prefixLength,
          scope: scopeNames[a.scope] ?? a.scope,
          ...(a.peer === undefined ? {} : { peer: a.peer }),
          ...(a.secondary ? { secondary: true } : {}),
          ...(a.broadcast === undefined ? {} : { broadcast: a.broadcast }),
        })),
    })),
    routes: facts.routes
      .filter((r) => r.protocol !== "kernel")
      .map((r) => ({
        dst: r.dst,
        type: r.type,
        table: r.table,
        ...(r.dev ? { dev: r.dev } : {}),
        ...(r.via ? { via: r.via } : {}),
        ...(r.metric ? { metric: r.metric } : {}),
        ...(r.nexthops ? { nexthops: r.nexthops } : {}),
      })),
    rules: facts.rules.filter((r) => ![0, 32766, 32767].includes(r.priority)),
    sysctl,
    ...(filters.length === 0 ? {} : { filters }),
    ...(proxies.length === 0 ? {} : { proxies: proxies.map((p) => ({ ip: p.ip, dev: p.link })) }),
  };
}

const filterOf = (chain: FilterChainFacts): Json[] =>
  chain.rules.map((rule) => ({
    tool: chain.tool,
    family: chain.family,
    hook: chain.hook,
    ...("notUnderstood" in rule ? { text: rule.notUnderstood } : { match: rule.match, verdict: rule.verdict }),
  }));

function eventOf(t: Topology, d: Difference): Json {
  const q = d.question;
  switch (q.ask) {
    case "flap":
      return { type: "link_up", iface: q.link };
    case "announce":
      return { out_iface: q.link, packet_src: formatIpv4(q.source), nexthop: formatIpv4(q.nextHop) };
    case "arp": {
      const packet = {
        iface: q.frame === "macvlan" ? macvlanOn(t, q.link) : q.link,
        op: q.operation,
        frame: q.frame === "macvlan" ? "unicast" : q.frame,
        sha: askerMac(1, q.n),
        spa: formatIpv4(q.senderIp),
        tha: targetMacOf(t, q, 1),
        tpa: formatIpv4(q.targetIp),
      };
      if (d.what !== "neighbour") return packet;
      const before = d.before;
      const cache =
        before === undefined
          ? []
          : [{ ip: formatIpv4(before.ip), lladdr: before.mac ?? null, state: before.state, age_s: 0 }];
      return { cache, packet };
    }
    case "ip": {
      const plain = (p: PacketPlan): Json => ({
        src: formatIpv4(p.source),
        dst: formatIpv4(p.destination),
        proto: p.protocol === "other" ? "253" : p.protocol,
        dport: p.destinationPort,
      });
      const { header } = q;
      const carried = {
        iface: q.frame === "macvlan" ? macvlanOn(t, q.link) : q.link,
        frame: q.frame === "macvlan" ? "unicast" : q.frame,
      };
      if (header.inner === undefined) return { ...carried, ...plain(header) };
      return {
        ...carried,
        ...plain(header.inner),
        encap: "ipip",
        outer_src: formatIpv4(header.source),
        outer_dst: formatIpv4(header.destination),
      };
    }
  }
}
