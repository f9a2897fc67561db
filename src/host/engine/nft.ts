/**
 * Direct routing without IPVS: a chain at the ingress of the director's interface picks a real server by a hash of the
 * client's address and port, writes its MAC into the frame and sends the frame out again. Stateless: when the set of
 * real servers changes, so does the choice for a share of the living connections.
 */
import { formatIpv4, type Ipv4, parseIpv4 } from "../../base/ipv4.ts";
import type { Mac } from "../../base/mac.ts";
import type { Engine, EngineCount, EngineService } from "../../ports/engine.ts";
import { applyNft, deleteNftTable, listNft } from "../nft.ts";

const family = "netdev";
const table = "vipward_director";
const chain = "ingress";
const protocols: Record<number, string> = { 6: "tcp", 17: "udp" };

export interface NftEngineOptions {
  /** Runs a function where the director's network is: its namespace. */
  readonly inside: <T>(body: () => T) => T;
  /** The interface on which the VIP's packets arrive and leave. */
  readonly link: string;
  readonly linkMac: Mac;
  /** The MAC of a real server on that wire. */
  readonly macOf: (rip: Ipv4) => Mac;
}

const equals = (left: unknown, right: unknown): unknown => ({ match: { op: "==", left, right } });
const field = (protocol: string, name: string): unknown => ({ payload: { protocol, field: name } });
const mangle = (key: unknown, value: unknown): unknown => ({ mangle: { key, value } });
const mark = { meta: { key: "mark" } };

/** "packets 10.10.0.100 6 80 10.10.0.11": a counter's name carries what it counts, as far as nft's alphabet allows. */
const counterName = (what: "packets" | "connections", service: EngineService, rip: Ipv4): string =>
  `${what}_${formatIpv4(service.vip)}_${service.protocol}_${service.port}_${formatIpv4(rip)}`.replaceAll(".", "-");

function serviceRules(service: EngineService, options: NftEngineOptions): unknown[] {
  const protocol = protocols[service.protocol] ?? "";
  const total = service.realServers.reduce((sum, server) => sum + server.weight, 0);
  if (total === 0) return [];
  const add = (expr: unknown[]): unknown => ({ add: { rule: { family, table, chain, expr } } });
  const selects = [
    // a switch floods frames for MACs that it does not know: what is for another machine is not ours to forward
    equals({ meta: { key: "pkttype" } }, "host"),
    equals(field("ip", "daddr"), formatIpv4(service.vip)),
    equals(field(protocol, "dport"), service.port),
  ];
  const client = { concat: [field("ip", "saddr"), field(protocol, "sport")] };
  const rules = [add([...selects, mangle(mark, { jhash: { mod: total, seed: 0x7670, expr: client } })])];
  const opensConnection =
    service.protocol === 6 ? equals({ "&": [field("tcp", "flags"), { "|": ["syn", "ack"] }] }, "syn") : undefined;
  let first = 0;
  for (const server of service.realServers) {
    if (server.weight === 0) continue;
    const chosen = [...selects, equals(mark, { range: [first, first + server.weight - 1] })];
    if (opensConnection !== undefined)
      rules.push(add([...chosen, opensConnection, { counter: counterName("connections", service, server.rip) }]));
    rules.push(
      add([
        ...chosen,
        { counter: counterName("packets", service, server.rip) },
        mangle(field("ether", "saddr"), options.linkMac),
        mangle(field("ether", "daddr"), options.macOf(server.rip)),
        { fwd: { dev: options.link } },
      ]),
    );
    first += server.weight;
  }
  return rules;
}

export function nftEngine(options: NftEngineOptions): Engine {
  return {
    name: "nft",
    countsLagMs: 0,
    refusals(service) {
      const reasons: string[] = [];
      if (protocols[service.protocol] === undefined)
        reasons.push("the nft engine knows tcp and udp only; use the ipvs engine");
      for (const server of service.realServers)
        if (server.forwarding !== "dr")
          reasons.push(
            `the nft engine cannot forward to ${server.name} by ${server.forwarding}; use dr, or the ipvs engine`,
          );
      return reasons;
    },
    program(services) {
      const counters = services.flatMap((service) =>
        service.realServers.flatMap((server) =>
          (["packets", "connections"] as const).map((what) => ({
            add: { counter: { family, table, name: counterName(what, service, server.rip) } },
          })),
        ),
      );
      const hook = { type: "filter", hook: "ingress", prio: -100, policy: "accept", dev: options.link };
      options.inside(() =>
        applyNft([
          { add: { table: { family, name: table } } },
          { delete: { table: { family, name: table } } },
          { add: { table: { family, name: table } } },
          { add: { chain: { family, table, name: chain, ...hook } } },
          ...counters,
          ...services.flatMap((service) => serviceRules(service, options)),
        ]),
      );
    },
    counts() {
      const found = new Map<string, EngineCount>();
      for (const entry of options.inside(() => listNft(["counters", "table", family, table]))) {
        const counter = entry.counter as { name: string; packets: number; bytes: number } | undefined;
        const parts = /^(packets|connections)_([\d-]+)_(\d+)_(\d+)_([\d-]+)$/.exec(counter?.name ?? "");
        if (counter === undefined || parts === null) continue;
        const [, what, vipText, protocol, port, ripText] = parts;
        const vip = parseIpv4((vipText ?? "").replaceAll("-", "."));
        const realServer = parseIpv4((ripText ?? "").replaceAll("-", "."));
        if (vip === undefined || realServer === undefined) continue;
        const service = { vip, protocol: Number(protocol), port: Number(port) };
        const key = `${vip} ${protocol} ${port} ${realServer}`;
        const count = found.get(key) ?? { service, realServer, connections: 0, packets: 0, octets: 0 };
        found.set(
          key,
          what === "packets"
            ? { ...count, packets: counter.packets, octets: counter.bytes }
            : { ...count, connections: counter.packets },
        );
      }
      return [...found.values()];
    },
    clear: () => options.inside(() => deleteNftTable(family, table)),
    close: () => {},
  };
}
