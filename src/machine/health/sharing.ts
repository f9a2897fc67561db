/** One attempt serves everybody: services that ask the same question of the same real server share its verdicts. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { TunnelView } from "../tunnelView.ts";
import type { RiseConfig } from "./rise.ts";

/** What this needs of a check of the cluster file; all the rest of it is the question. */
export interface CheckView extends RiseConfig {
  readonly type: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly jitterPercent: number;
  readonly port?: number | undefined;
  /** `port` is the service's: a real server with another one is asked there. */
  readonly isServicePort: boolean;
}
export interface CheckedService<C extends CheckView> {
  readonly name: string;
  readonly vips: readonly { readonly address: Ipv4 }[];
  readonly checks: readonly C[];
  readonly destinations: readonly {
    readonly realServer: { readonly name: string; readonly rip: Ipv4; readonly isDirector: boolean };
    readonly forwarding: "dr" | "tun" | "nat";
    readonly tunnel: TunnelView;
    /** nat with another port on the real server. */
    readonly port: number | undefined;
  }[];
}

export interface CheckUser extends RiseConfig {
  readonly service: string;
  readonly realServer: string;
}
export interface SharedCheck<C extends CheckView> {
  readonly key: string;
  /** What is asked, and of whom, without when: what answered it before a reload has answered it now. */
  readonly question: string;
  readonly check: C;
  readonly realServer: { readonly name: string; readonly rip: Ipv4 };
  /**
   * For vip-path alone: the VIP, and the way to it. Undefined there too where the real server is a director: its own
   * IPVS takes a handshake for the VIP and may send it to another server; and if it is this very host, no packet for
   * the VIP can be sent past that IPVS (its LOCAL_IN and LOCAL_OUT hooks). What is left is to ask RIP and port.
   */
  readonly path: { readonly vip: Ipv4; readonly tunnel: TunnelView | undefined } | undefined;
  /** For exec alone: one of the service's VIPs, which the program is told. */
  readonly toldVip: Ipv4 | undefined;
  /** Who counts its verdicts; rise, fall and slow start are each user's own. */
  readonly users: CheckUser[];
}

const wayWords = (tunnel: TunnelView | undefined): string =>
  tunnel === undefined ? "dr" : `${tunnel.type} ${tunnel.port ?? ""} ${tunnel.checksum}`;

/** By key; the same services in any order have the same keys. */
export function shareChecks<C extends CheckView>(services: readonly CheckedService<C>[]): Map<string, SharedCheck<C>> {
  const asked = new Map<C, { readonly what: string; readonly when: string }>();
  const askedBy = (check: C) => {
    let known = asked.get(check);
    if (known === undefined) {
      const { rise: _rise, fall: _fall, slowStartMs: _slow, isServicePort: _is, ...rest } = check;
      const { intervalMs, timeoutMs, jitterPercent, ...question } = rest;
      const what = JSON.stringify(Object.entries(question).sort(([a], [b]) => (a < b ? -1 : 1)));
      known = { what, when: `${intervalMs} ${timeoutMs} ${jitterPercent}` };
      asked.set(check, known);
    }
    return known;
  };
  const shared = new Map<string, SharedCheck<C>>();
  for (const { name, vips, checks, destinations } of services)
    for (const { realServer, forwarding, tunnel, port } of destinations)
      for (const written of checks) {
        const check = port !== undefined && written.isServicePort && "port" in written ? { ...written, port } : written;
        const takesPath = check.type === "vip-path" && !realServer.isDirector;
        const way = forwarding === "tun" ? tunnel : undefined;
        const isTold = check.type === "exec";
        for (const vip of takesPath || isTold ? vips.map(({ address }) => address) : [undefined]) {
          const path = takesPath && vip !== undefined ? { vip, tunnel: way } : undefined;
          const toldVip = isTold ? vip : undefined;
          const how = path === undefined ? "" : ` ${wayWords(path.tunnel)}`;
          const by = vip === undefined ? "" : `${how} ${formatIpv4(vip)}`;
          const { what, when } = askedBy(check);
          // The address, too: what a name's old address answers says nothing of its new one.
          const question = `${realServer.name} ${formatIpv4(realServer.rip)}${by} ${what}`;
          const key = `${question} ${when}`;
          const { rise, fall, slowStartMs } = check;
          const user = { service: name, realServer: realServer.name, rise, fall, slowStartMs };
          const known = shared.get(key);
          if (known === undefined) shared.set(key, { key, question, check, realServer, path, toldVip, users: [user] });
          else known.users.push(user);
        }
      }
  return shared;
}
