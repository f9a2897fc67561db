/**
 * Whom checks through the VIP path go to: the MAC of each real server as it was last heard, asked for when it is not
 * known or old. The kernel's own cache will not do: it may hold what somebody else was told.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { type Mac, ZERO_MAC } from "../base/mac.ts";
import type { Cluster, Director, HostAddress } from "../cluster/cluster.ts";
import type { Arp } from "../wire/arp.ts";
import { arpRequest, type Hop } from "../wire/frame.ts";

export interface NeighboursOptions {
  /** undefined: there is no such link. */
  readonly macOf: (link: string) => Mac | undefined;
  readonly sendFrame: (link: string, frame: Uint8Array) => void;
  /** An IPv4 packet, to go into a frame. */
  readonly sendPacket: (link: string, hop: Hop, packet: Uint8Array) => void;
}
interface Neighbour {
  mac: Mac | undefined;
  heardAtMs: number;
  askedAtMs: number;
  readonly waiting: Uint8Array[];
}

/** Asked again while it is in use, so that a machine that was replaced is found under its new MAC. */
const refreshMs = 15_000;
const askAgainMs = 500;
const waitingLimit = 16;

export class Neighbours {
  readonly #options: NeighboursOptions;
  /** The own address in each neighbour's network: by its link, and in its name, is asked. */
  #near = new Map<Ipv4, HostAddress>();
  readonly #known = new Map<Ipv4, Neighbour>();

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** At the start and at each reload. */
  load(cluster: Cluster, director: Director): void {
    this.#near = new Map();
    for (const host of [...cluster.realServers, ...cluster.directors])
      for (const a of host.addresses) {
        const near = director.addresses.find((d) => d.network.name === a.network.name);
        if (near !== undefined) this.#near.set(a.address, near);
      }
  }

  heardArp(link: string, arp: Arp, nowMs: number): void {
    const known = this.#known.get(arp.senderIp);
    const own = this.#options.macOf(link);
    if (known === undefined || own === undefined || arp.senderMac === ZERO_MAC || arp.senderMac === own) return;
    known.mac = arp.senderMac;
    known.heardAtMs = nowMs;
    for (const packet of known.waiting.splice(0)) this.#send(link, own, arp.senderMac, packet);
  }
  #send(link: string, source: Mac, destination: Mac, packet: Uint8Array): void {
    this.#options.sendPacket(link, { source, destination }, packet);
  }

  /** To the neighbour's own MAC, at once or when it has told it. What cannot be sent is lost, as on any wire. */
  send(address: Ipv4, packet: Uint8Array, nowMs: number): void {
    const near = this.#near.get(address);
    const mac = near === undefined ? undefined : this.#options.macOf(near.interface);
    if (near === undefined || mac === undefined) return;
    let known = this.#known.get(address);
    if (known === undefined) {
      known = { mac: undefined, heardAtMs: nowMs, askedAtMs: Number.NEGATIVE_INFINITY, waiting: [] };
      this.#known.set(address, known);
    }
    if (known.mac !== undefined) this.#send(near.interface, mac, known.mac, packet);
    else {
      known.waiting.push(packet);
      if (known.waiting.length > waitingLimit) known.waiting.shift();
    }
    const isOld = known.mac === undefined || nowMs - known.heardAtMs > refreshMs;
    if (!isOld || nowMs - known.askedAtMs < askAgainMs) return;
    known.askedAtMs = nowMs;
    const question = arpRequest({ senderMac: mac, senderIp: near.address, targetIp: address });
    this.#options.sendFrame(near.interface, question);
  }
}
