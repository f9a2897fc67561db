/** Where a host's own packets leave it: the model's routes, remembered by destination. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Host } from "../model/host.ts";
import { fibLookup, flowOf } from "../model/routes.ts";
import { deviceOf, type Route, usableHop } from "../model/routingTable.ts";
import { selectSource } from "../model/selectSource.ts";
import type { Nic } from "./nic.ts";

/** A way out, as far as it depends on the destination alone. */
export interface Way {
  readonly route: Route;
  readonly nic: Nic | undefined;
  readonly via: Ipv4 | undefined;
  readonly isLocal: boolean;
}

const mostRemembered = 65_536;

export class Ways {
  #model: Host;
  #nicByLink: ReadonlyMap<number, Nic> = new Map();
  readonly #ways = new Map<Ipv4, Way | undefined>();
  // most packets go where the one before went
  #lastDestination = -1;
  #last: Way | undefined;

  constructor(model: Host) {
    this.#model = model;
  }

  /** Other routes or cards from now on. */
  compiled(model: Host, nicByLink: ReadonlyMap<number, Nic>): void {
    this.#model = model;
    this.#nicByLink = nicByLink;
    this.#ways.clear();
    this.#lastDestination = -1;
  }

  to(destination: Ipv4): Way | undefined {
    if (destination === this.#lastDestination) return this.#last;
    this.#last = this.#find(destination);
    this.#lastDestination = destination;
    return this.#last;
  }

  #find(destination: Ipv4): Way | undefined {
    if (this.#ways.has(destination)) return this.#ways.get(destination);
    if (this.#ways.size > mostRemembered) this.#ways.clear();
    const route = fibLookup(this.#model, flowOf({ destination }));
    const hop = route && usableHop(route, 0, false);
    const way: Way | undefined = route && {
      route,
      nic: hop?.link && this.#nicByLink.get(hop.link.index),
      via: hop?.via,
      isLocal: route.type === "local",
    };
    this.#ways.set(destination, way);
    return way;
  }

  /** The address the kernel would use towards a destination; undefined: no way there. */
  sourceFor(destination: Ipv4): Ipv4 | undefined {
    const way = this.to(destination);
    const out = way && deviceOf(way.route);
    if (!way || !out) return undefined;
    if (way.isLocal) return destination;
    return way.route.prefsrc ?? selectSource(this.#model, out, way.via ?? destination, way.route.scope);
  }
}
