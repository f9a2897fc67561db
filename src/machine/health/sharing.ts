/** One attempt serves everybody: services that ask the same question of the same real server share its verdicts. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import type { RiseConfig } from "./rise.ts";

/** What this needs of a check of the cluster file; all the rest of it is the question. */
export interface CheckView extends RiseConfig {
  readonly type: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly jitterPercent: number;
}
export interface CheckedService<C extends CheckView> {
  readonly name: string;
  readonly vips: readonly { readonly address: Ipv4 }[];
  readonly checks: readonly C[];
  readonly destinations: readonly {
    readonly realServer: { readonly name: string; readonly rip: Ipv4; readonly isDirector: boolean };
    readonly forwarding: "dr" | "tun" | "nat";
  }[];
}

export interface CheckUser extends RiseConfig {
  readonly service: string;
  readonly realServer: string;
}
export interface SharedCheck<C extends CheckView> {
  readonly key: string;
  readonly check: C;
  readonly realServer: { readonly name: string; readonly rip: Ipv4 };
  /**
   * For vip-path alone: the VIP, and the way to it. Undefined there too where the real server is a director: its own
   * IPVS takes a handshake for the VIP and may send it to another server; and if it is this very host, no packet for
   * the VIP can be sent past that IPVS (its LOCAL_IN and LOCAL_OUT hooks). What is left is to ask RIP and port.
   */
  readonly path: { readonly vip: Ipv4; readonly forwarding: "dr" | "tun" | "nat" } | undefined;
  /** Who counts its verdicts; rise, fall and slow start are each user's own. */
  readonly users: CheckUser[];
}

/** By key; the same services in any order have the same keys. */
export function shareChecks<C extends CheckView>(services: readonly CheckedService<C>[]): Map<string, SharedCheck<C>> {
  const questions = new Map<C, string>();
  const questionOf = (check: C): string => {
    let text = questions.get(check);
    if (text === undefined) {
      const { rise: _rise, fall: _fall, slowStartMs: _slow, ...question } = check;
      text = JSON.stringify(Object.entries(question).sort(([a], [b]) => (a < b ? -1 : 1)));
      questions.set(check, text);
    }
    return text;
  };
  const shared = new Map<string, SharedCheck<C>>();
  for (const { name, vips, checks, destinations } of services)
    for (const { realServer, forwarding } of destinations)
      for (const check of checks) {
        const takesPath = check.type === "vip-path" && !realServer.isDirector;
        const paths = takesPath ? vips.map((vip) => ({ vip: vip.address, forwarding })) : [undefined];
        for (const path of paths) {
          const by = path === undefined ? "" : ` ${path.forwarding} ${formatIpv4(path.vip)}`;
          const key = `${realServer.name}${by} ${questionOf(check)}`;
          const { rise, fall, slowStartMs } = check;
          const user = { service: name, realServer: realServer.name, rise, fall, slowStartMs };
          const known = shared.get(key);
          if (known === undefined) shared.set(key, { key, check, realServer, path, users: [user] });
          else known.users.push(user);
        }
      }
  return shared;
}
