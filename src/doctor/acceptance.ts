import type { Ipv4 } from "../base/ipv4.ts";
import type { Link } from "../model/link.ts";
import { isLocal } from "../model/localTable.ts";
import type { IpVerdict } from "../model/receive.ts";
import { type Context, outsider, ownAddress, type Vip } from "./context.ts";

/** What the model says becomes of a client's packet for a VIP on this host. */
export interface Acceptance {
  readonly vip: Vip;
  readonly method: "dr" | "tun";
  readonly link: Link;
  readonly client: Ipv4;
  readonly protocol: string;
  readonly port: number;
  readonly verdict: IpVerdict;
  /** Where a refusal came from: undefined where the packet is delivered. */
  readonly fault: Fault | undefined;
}

export type Fault = "not local" | "rp_filter" | "filter" | "tunnel" | "outer filter" | "other";

const cache = new WeakMap<Context, readonly Acceptance[]>();

/** For every VIP that a real server must accept: the first question that fails, or else one that is delivered. */
export function acceptances(context: Context): readonly Acceptance[] {
  const before = cache.get(context);
  if (before) return before;
  const { facing } = context;
  const all: Acceptance[] = [];
  const away = outsider(context.host);
  if (facing)
    for (const vip of context.silent)
      for (const method of context.methods) {
        if (method === "nat") continue;
        const asked = questions(context, vip, method, facing, away);
        const failed = asked.find((a) => a.fault !== undefined);
        const shown = failed ?? asked[0];
        if (shown) all.push(shown);
      }
  cache.set(context, all);
  return all;
}

function questions(
  context: Context,
  vip: Vip,
  method: "dr" | "tun",
  facing: Link,
  away: Ipv4 | undefined,
): Acceptance[] {
  const clients = [...new Set([away, context.ask.neighbourOn(facing)])].filter((c) => c !== undefined);
  const found: Acceptance[] = [];
  for (const { protocol, port } of portsOf(context, vip.text))
    for (const client of clients) {
      const tunnel = method === "tun" ? tunnelEnds(context, facing) : undefined;
      if (method === "tun" && tunnel === undefined) continue;
      const verdict = context.ask.packet({
        link: facing,
        source: client,
        destination: vip.ip,
        protocol,
        port,
        ...tunnel,
      });
      const fault = faultOf(context, vip, facing, verdict, tunnel?.tunnelTo);
      found.push({ vip, method, link: facing, client, protocol, port, verdict, fault });
    }
  return found;
}

/** The services of a VIP, at most eight: each asks the same rules but for filters by port. */
export function portsOf(context: Context, vip: string): { protocol: string; port: number }[] {
  const found = context.services
    .filter((s) => s.vips.includes(vip))
    .flatMap((s) => s.ports.map(([port]) => ({ protocol: s.protocol, port })))
    .slice(0, 8);
  return found.length > 0 ? found : [{ protocol: "tcp", port: 80 }];
}

function tunnelEnds(context: Context, facing: Link): { tunnelTo: Ipv4; tunnelFrom?: Ipv4 } | undefined {
  const to = ownAddress(context, facing)?.ip;
  const from = context.cluster?.directors.find((d) => d.name !== context.self)?.dip;
  if (to === undefined) return undefined;
  return from === undefined ? { tunnelTo: to } : { tunnelTo: to, tunnelFrom: from };
}

function faultOf(
  context: Context,
  vip: Vip,
  facing: Link,
  verdict: IpVerdict,
  tunnelTo: Ipv4 | undefined,
): Fault | undefined {
  if (verdict.kind === "deliver") return undefined;
  const { rule, because } = verdict;
  if (tunnelTo !== undefined) {
    if (rule === "C-2.6-05" || rule === "C-2.2-05" || rule === "C-2.2-06") return "tunnel";
    const outer = context.ask.packet({
      link: facing,
      source: context.ask.neighbourOn(facing) ?? tunnelTo,
      destination: tunnelTo,
      protocol: "ipip",
      port: 0,
    });
    if (outer.kind === "drop" && outer.because.includes("filter drops")) return "outer filter";
  }
  if (because.includes("filter drops")) return "filter";
  if (because.startsWith("rp_filter")) return "rp_filter";
  return isLocal(context.host, vip.ip, facing) ? "other" : "not local";
}

/** The link whose rp_filter refused: the tunnel that gets the inner packet, or the LAN interface. */
export const refusedOn = (context: Context, a: Acceptance): Link =>
  a.method === "tun" ? (context.host.links.find((l) => l.isIpip && l.up) ?? a.link) : a.link;
