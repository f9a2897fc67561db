/**
 * VIPs that have left their link, and for which packets are still taken: a route says that they are local, in a table
 * that only TCP, UDP and SCTP look into. An ARP question has no such protocol, finds no local address, and is not
 * answered. So the successor is the one owner, and what neighbours still send here is forwarded by IPVS all the same.
 */
import type { Ipv4 } from "../../base/ipv4.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { NetlinkError } from "../errors.ts";
import type { Rtnetlink } from "../rtnetlink.ts";
import type { RuleWish } from "../rtnetlinkRequests.ts";

/** Ours alone: both are shown by `ip rule` and `ip route show table`, for as long as a hand-over takes. */
export const yieldedTable = 11_200;
const rulePriority = 112;
const SCTP = 132;
const ours = { type: "local", table: yieldedTable } as const;

const rules: readonly RuleWish[] = [PROTOCOL.tcp, PROTOCOL.udp, SCTP].map((ipProtocol) => ({
  priority: rulePriority,
  table: yieldedTable,
  ipProtocol,
}));

export class YieldedVips {
  readonly #netlink: Rtnetlink;
  readonly #vips = new Set<Ipv4>();

  constructor(netlink: Rtnetlink) {
    this.#netlink = netlink;
  }

  /** Before the address leaves the link. Throws NetlinkError where the kernel has no policy routing. */
  take(vips: readonly Ipv4[]): void {
    if (this.#vips.size === 0) for (const rule of rules) this.#quietly("EEXIST", () => this.#netlink.addRule(rule));
    for (const address of vips) {
      this.#quietly("EEXIST", () => this.#netlink.addRoute(this.#route(address)));
      this.#vips.add(address);
    }
  }
  drop(vips: readonly Ipv4[]): void {
    const gone = vips.filter((vip) => this.#vips.delete(vip));
    for (const address of gone) this.#quietly("ESRCH", () => this.#netlink.removeRoute(this.#route(address)));
    if (gone.length > 0 && this.#vips.size === 0) this.#removeRules();
  }
  /** What a run of ours left that was killed in the middle of a hand-over. */
  clear(): void {
    const left = this.#netlink.routes({ table: yieldedTable });
    for (const { destination } of left)
      this.#quietly("ESRCH", () => this.#netlink.removeRoute({ ...(destination && { destination }), ...ours }));
    this.#vips.clear();
    this.#removeRules();
  }

  #route(address: Ipv4): Parameters<Rtnetlink["addRoute"]>[0] {
    return { ...ours, destination: { address, length: 32 }, link: "lo" };
  }
  #removeRules(): void {
    for (const rule of rules) this.#quietly("ENOENT", () => this.#netlink.removeRule(rule));
  }
  #quietly(expected: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errnoName !== expected) throw error;
    }
  }
}
