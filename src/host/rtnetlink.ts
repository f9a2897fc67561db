/**
 * Links, IPv4 addresses, routes, rules and neighbours of one namespace: lists and changes, each done when the call
 * returns. Errors: NetlinkError with the operation, the object, the kernel's own sentence and the remedy.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Prefix } from "../base/prefix.ts";
import * as wire from "../wire/rtnetlink.ts";
import {
  type Address,
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  type Link,
  type MacvlanMode,
  type Neighbour,
  type Route,
  type Rule,
} from "../wire/rtnetlinkValues.ts";
import { HostError, NetlinkError } from "./errors.ts";
import * as libc from "./libc.ts";
import { loadModule } from "./modules.ts";
import type { Namespace } from "./namespace.ts";
import { type BatchFailure, NETLINK_ROUTE, type NetlinkRequest, type NetlinkSocket, openNetlink } from "./netlink.ts";
import {
  type AddressWish,
  ask,
  type HopWish,
  type LinkChange,
  list,
  type NeighbourWish,
  type NewLink as NewLinkRequest,
  type RouteWish,
  type RuleWish,
  vethPeer,
} from "./rtnetlinkRequests.ts";

export type { Address, Hop, Link, Neighbour, Route, Rule } from "../wire/rtnetlinkValues.ts";
export { ask };

/** A link by name, or by index where the caller has it already. */
export type LinkReference = string | number;

export interface NewLink extends Omit<NewLinkRequest, "namespaceFd"> {
  /** Where it is born; that of the socket when absent. */
  readonly namespace?: Namespace;
}

export interface LinkSettings extends Omit<LinkChange, "master" | "namespaceFd"> {
  /** The bridge to join; null to leave. */
  readonly master?: LinkReference | null;
  /** The namespace to move to; settings other than flags are applied there. */
  readonly namespace?: Namespace;
}

export interface RouteSettings extends Omit<RouteWish, "linkIndex" | "hops"> {
  readonly link?: LinkReference;
  readonly hops?: readonly (Omit<HopWish, "linkIndex"> & { readonly link?: LinkReference })[];
}

const newLinkOf = ({ namespace, ...link }: NewLink): NewLinkRequest =>
  namespace === undefined ? link : { ...link, namespaceFd: namespace.fd };

function decoded<T>(
  messages: readonly { readonly payload: Uint8Array }[],
  decode: (p: Uint8Array) => T | undefined,
): T[] {
  const values: T[] = [];
  for (const message of messages) {
    const value = decode(message.payload);
    if (value !== undefined) values.push(value);
  }
  return values;
}

/** Interface names as the kernel takes them (dev_valid_name); refused here, because the kernel says only EINVAL. */
function checkLinkName(name: string): void {
  if (name === "." || name === ".." || !/^[^\s/:\0]+$/.test(name) || Buffer.byteLength(name) > 15)
    throw new HostError("link/name", `"${name}" cannot name a link`, {
      remedy: "use 1 to 15 octets without spaces, slashes and colons",
    });
}

export class Rtnetlink {
  readonly #socket: NetlinkSocket;
  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }
  close(): void {
    this.#socket.close();
  }

  /** Many requests from `ask`, in order, as fast as the kernel takes them; gives the refused ones. */
  batch(requests: readonly NetlinkRequest[]): BatchFailure[] {
    return this.#socket.batch(requests);
  }

  // What is there

  links(): Link[] {
    return decoded(this.#socket.dump(list.links()), decodeLink);
  }
  link(name: string): Link | undefined {
    checkLinkName(name);
    try {
      return decoded(this.#socket.call(list.link(name)), decodeLink)[0];
    } catch (error) {
      if (error instanceof NetlinkError && error.errnoName === "ENODEV") return undefined;
      throw error;
    }
  }
  /** Errors: netlink/ENODEV. */
  indexOf(link: LinkReference): number {
    if (typeof link === "number") return link;
    const found = this.link(link);
    if (found !== undefined) return found.index;
    throw new NetlinkError({ operation: "find link", object: link }, libc.errnoNumber("ENODEV"), "ENODEV");
  }
  /** IPv4 addresses, of one link or of all. */
  addresses(of: { readonly link?: LinkReference } = {}): Address[] {
    const index = of.link === undefined ? 0 : this.indexOf(of.link);
    const found = decoded(this.#socket.dump(list.addresses(index)), decodeAddress);
    return index === 0 ? found : found.filter((a) => a.linkIndex === index);
  }
  /** IPv4 routes, of one table or of all. A table that does not exist has none. */
  routes(of: { readonly table?: number } = {}): Route[] {
    const { table } = of;
    try {
      const found = decoded(this.#socket.dump(list.routes(table ?? 0)), decodeRoute);
      return table === undefined ? found : found.filter((r) => r.table === table);
    } catch (error) {
      if (table !== undefined && error instanceof NetlinkError && error.errnoName === "ENOENT") return [];
      throw error;
    }
  }
  /** IPv4 rules in the order they are asked. */
  rules(): Rule[] {
    return decoded(this.#socket.dump(list.rules()), decodeRule);
  }
  /** IPv4 neighbours; `proxy` for those we answer ARP for, which are another table. */
  neighbours(of: { readonly link?: LinkReference; readonly proxy?: boolean } = {}): Neighbour[] {
    const index = of.link === undefined ? 0 : this.indexOf(of.link);
    const found = decoded(this.#socket.dump(list.neighbours(of.proxy ?? false)), decodeNeighbour);
    return index === 0 ? found : found.filter((n) => n.linkIndex === index);
  }

  // Links

  /** Two ends of one cable. Errors: netlink/EEXIST. */
  createVeth(a: NewLink, b: NewLink): void {
    checkLinkName(b.name);
    this.#create(a, { kind: "veth", data: vethPeer(newLinkOf(b)) });
  }
  createBridge(name: string, options: { readonly stp?: boolean; readonly multicastSnooping?: boolean } = {}): void {
    const { stp, multicastSnooping } = options;
    const data = {
      ...(stp === undefined ? {} : { stpState: stp ? 1 : 0 }),
      ...(multicastSnooping === undefined ? {} : { multicastSnooping: multicastSnooping ? 1 : 0 }),
    };
    this.#create({ name }, { kind: "bridge", data });
  }
  createDummy(name: string): void {
    this.#create({ name }, { kind: "dummy" });
  }
  /** Without `remote` it takes packets from anywhere, as LVS/TUN real servers need; `tunl0` comes with the module. */
  createIpip(
    name: string,
    options: {
      readonly local?: Ipv4;
      readonly remote?: Ipv4;
      readonly ttl?: number;
      readonly parent?: LinkReference;
    } = {},
  ): void {
    const { parent, ...tunnel } = options;
    const data = {
      ...tunnel,
      ...(parent === undefined ? {} : { link: this.indexOf(parent) }),
      pathMtuDiscovery: 1, // without it the kernel refuses a fixed TTL
    };
    this.#create({ name }, { kind: "ipip", data });
  }
  createMacvlan(name: string, options: { readonly parent: LinkReference; readonly mode: MacvlanMode }): void {
    const data = { mode: wire.MACVLAN_MODE[options.mode] };
    this.#create({ name }, { kind: "macvlan", data }, this.indexOf(options.parent));
  }
  /** 802.1Q; `id` is 1 to 4094. */
  createVlan(name: string, options: { readonly parent: LinkReference; readonly id: number }): void {
    this.#create({ name }, { kind: "vlan", data: { id: options.id } }, this.indexOf(options.parent));
  }
  #create(link: NewLink, info: Parameters<typeof ask.createLink>[1], parent?: number): void {
    checkLinkName(link.name);
    const { kind } = info;
    const request = ask.createLink(newLinkOf(link), info, parent);
    try {
      this.#socket.call(request);
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errnoName !== "EOPNOTSUPP") throw error;
      // The kernel asks modprobe itself, where there is one: in a bare initramfs, or after a ban, we are it.
      try {
        if (loadModule(`rtnl-link-${kind}`).length === 0) throw error;
      } catch (missing) {
        const remedy = missing instanceof HostError ? missing.remedy : error.remedy;
        throw new NetlinkError(error.task, error.errno, error.errnoName, {
          kernelText: error.kernelText,
          why: `this kernel has no ${kind} links`,
          remedy,
        });
      }
      this.#socket.call(request);
    }
  }
  deleteLink(link: LinkReference): void {
    this.#socket.call(ask.deleteLink(this.indexOf(link), String(link)));
  }
  /** Only what is named changes. */
  setLink(link: LinkReference, settings: LinkSettings): void {
    const { master, namespace, ...change } = settings;
    if (change.name !== undefined) checkLinkName(change.name);
    this.#socket.call(
      ask.setLink(
        this.indexOf(link),
        {
          ...change,
          ...(master === undefined ? {} : { master: master === null ? 0 : this.indexOf(master) }),
          ...(namespace === undefined ? {} : { namespaceFd: namespace.fd }),
        },
        String(link),
      ),
    );
  }

  // Addresses

  /** Errors: netlink/EEXIST. */
  addAddress(link: LinkReference, wish: AddressWish): void {
    this.#socket.call(ask.addAddress(this.indexOf(link), wish, String(link)));
  }
  /** No error when it is there already. */
  replaceAddress(link: LinkReference, wish: AddressWish): void {
    this.#socket.call(ask.replaceAddress(this.indexOf(link), wish, String(link)));
  }
  /**
   * Errors: netlink/EADDRNOTAVAIL. Secondary addresses of its subnet go with a primary one, unless the sysctl
   * promote_secondaries is set.
   */
  removeAddress(link: LinkReference, prefix: Prefix, peer?: Prefix): void {
    this.#socket.call(ask.removeAddress(this.indexOf(link), prefix, String(link), peer));
  }

  // Routes and rules

  #wishOf({ link, hops, ...rest }: RouteSettings): RouteWish {
    return {
      ...rest,
      ...(link === undefined ? {} : { linkIndex: this.indexOf(link) }),
      ...(hops === undefined
        ? {}
        : {
            hops: hops.map(({ link: way, ...hop }) =>
              way === undefined ? hop : { ...hop, linkIndex: this.indexOf(way) },
            ),
          }),
    };
  }
  /** Errors: netlink/EEXIST, netlink/ENETUNREACH. */
  addRoute(route: RouteSettings): void {
    this.#socket.call(ask.addRoute(this.#wishOf(route)));
  }
  /** Takes the place of the route with the same destination, table, metric and type of service, or is added. */
  replaceRoute(route: RouteSettings): void {
    this.#socket.call(ask.replaceRoute(this.#wishOf(route)));
  }
  /** The first route that agrees with all that is said. Errors: netlink/ESRCH. */
  removeRoute(route: RouteSettings): void {
    this.#socket.call(ask.removeRoute(this.#wishOf(route)));
  }
  addRule(rule: RuleWish): void {
    this.#socket.call(ask.addRule(rule));
  }
  /** The first rule that agrees with all that is said. Errors: netlink/ENOENT. */
  removeRule(rule: RuleWish): void {
    this.#socket.call(ask.removeRule(rule));
  }

  // Neighbours

  /** Added, or changed when it is there. */
  setNeighbour(link: LinkReference, neighbour: NeighbourWish): void {
    this.#socket.call(ask.setNeighbour(this.indexOf(link), neighbour, String(link)));
  }
  /** Errors: netlink/ENOENT. */
  removeNeighbour(link: LinkReference, address: Ipv4, options: { readonly proxy?: boolean } = {}): void {
    this.#socket.call(ask.removeNeighbour(this.indexOf(link), address, String(link), options.proxy));
  }
  /**
   * Forgets what the kernel learned on a link, so that it asks again; entries that someone set stay, and so do those
   * that wait for an answer, because packets wait with them. Gives the count.
   */
  flushNeighbours(link: LinkReference): number {
    const index = this.indexOf(link);
    const learned = this.neighbours({ link: index }).filter(
      (n) => n.mac !== undefined && n.state !== "permanent" && n.state !== "noarp",
    );
    const failures = this.#socket.batch(learned.map((n) => ask.removeNeighbour(index, n.address, String(link))));
    // One that timed out meanwhile is gone too, which is what was wished for.
    for (const { error } of failures) if (error.errnoName !== "ENOENT") throw error;
    return learned.length - failures.length;
  }
}

/** Opened inside `namespace`, or the calling thread's own. */
export const openRtnetlink = (namespace?: Namespace): Rtnetlink =>
  new Rtnetlink(openNetlink({ protocol: NETLINK_ROUTE, ...(namespace === undefined ? {} : { namespace }) }));
