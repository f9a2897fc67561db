import type {
  AddressFacts,
  FilterChainFacts,
  HostFacts,
  LinkFacts,
  NeighbourFacts,
  RouteFacts,
} from "../model/facts.ts";

/** What a path holds; null: nothing. `linkTo` is a symbolic link. */
export type FileState = { readonly text: string; readonly mode: number } | { readonly linkTo: string } | null;

/** Everything that changes act on: the facts, and those files that a plan writes. */
export interface World {
  readonly facts: HostFacts;
  /** By absolute path. A path that is not named was not looked at. */
  readonly files: Readonly<Record<string, FileState>>;
}

export const worldOf = (facts: HostFacts, files: Readonly<Record<string, FileState>> = {}): World => ({ facts, files });

const addressKey = (link: string, ip: string): string => `${link} ${ip}`;

/** The interface that a sysctl's flat name belongs to, undefined for those of the host: "neigh.eth0.locktime" -> eth0. */
export function linkOfSysctl(name: string): string | undefined {
  const last = name.lastIndexOf(".");
  if (last < 0) return undefined;
  const left = name.slice(0, last);
  for (const family of ["ipv6.", "neigh."]) if (left.startsWith(family)) return left.slice(family.length);
  return left;
}

/**
 * A copy of one host that changes are played on, indexed so that thousands of addresses stay cheap.
 * What happens here follows section 2 of the kernel rules: list order, local routes, what a link's end takes along.
 */
export class HostDraft {
  readonly before: World;
  links: LinkFacts[];
  addresses: AddressFacts[];
  routes: RouteFacts[];
  sysctls: Record<string, number>;
  neighbours: NeighbourFacts[];
  filters: FilterChainFacts[];
  modules: string[] | undefined;
  files: Record<string, FileState>;
  #addressIndex: Map<string, AddressFacts>;

  constructor(world: World) {
    const { facts } = world;
    this.before = world;
    this.links = [...facts.links];
    this.addresses = [...facts.addresses];
    this.routes = [...facts.routes];
    this.sysctls = { ...facts.sysctls };
    this.neighbours = [...facts.neighbours];
    this.filters = [...facts.filters];
    this.modules = facts.modules === undefined ? undefined : [...facts.modules];
    this.files = { ...world.files };
    this.#addressIndex = new Map(facts.addresses.map((a) => [addressKey(a.link, a.ip), a]));
  }

  link(name: string): LinkFacts | undefined {
    return this.links.find((l) => l.name === name);
  }

  address(link: string, ip: string): AddressFacts | undefined {
    return this.#addressIndex.get(addressKey(link, ip));
  }

  /** Puts a /32 where the kernel puts it: after the last primary of its link whose scope number is not lower. */
  addAddress(added: AddressFacts): void {
    this.addresses.splice(this.#placeOf(added), 0, added);
    this.#addressIndex.set(addressKey(added.link, added.ip), added);
    if (this.before.facts.routesGiven === "all") this.routes.push(localRoute(added));
  }

  removeAddress(link: string, ip: string): void {
    const at = this.addresses.findLastIndex((a) => a.link === link && a.ip === ip);
    if (at < 0) return;
    this.addresses.splice(at, 1);
    this.#addressIndex.delete(addressKey(link, ip));
    if (this.before.facts.routesGiven === "all" && !this.#isNumbered(link, at)) {
      // The last address takes every route of its device along, also those that a person added (fib_disable_ip).
      this.routes = this.routes.filter((r) => r.dev !== link);
      return;
    }
    const route = this.routes.findLastIndex(
      (r) => r.table === 255 && r.dev === link && (r.dst === ip || r.dst === `${ip}/32`) && r.protocol === "kernel",
    );
    if (route >= 0 && this.before.facts.routesGiven === "all") this.routes.splice(route, 1);
  }

  /** Has the link an address left? They stand together, so that those beside the one removed tell. */
  #isNumbered(link: string, at: number): boolean {
    if (this.addresses[at]?.link === link || this.addresses[at - 1]?.link === link) return true;
    return this.addresses.some((a) => a.link === link);
  }

  #placeOf(added: AddressFacts): number {
    const after = this.addresses.findLastIndex(
      (a) => a.link === added.link && a.secondary !== true && added.scope <= a.scope,
    );
    if (after >= 0) return after + 1;
    const first = this.addresses.findIndex((a) => a.link === added.link);
    if (first >= 0) return first;
    const order = new Map(this.links.map((l, i) => [l.name, i]));
    const own = order.get(added.link) ?? this.links.length;
    const later = this.addresses.findIndex((a) => (order.get(a.link) ?? this.links.length) > own);
    return later < 0 ? this.addresses.length : later;
  }

  /** A new device takes its sysctls from `default` (S-ALL-03). */
  addLink(link: LinkFacts): void {
    this.links.push(link);
    for (const [name, value] of Object.entries(this.sysctls))
      for (const family of ["", "ipv6.", "neigh."]) {
        const from = `${family}default.`;
        if (name.startsWith(from)) this.sysctls[`${family}${link.name}.${name.slice(from.length)}`] = value;
      }
  }

  /** A device that goes takes its addresses, routes, neighbours and sysctls along. */
  removeLink(name: string): void {
    for (const a of this.addresses) if (a.link === name) this.#addressIndex.delete(addressKey(a.link, a.ip));
    this.links = this.links.filter((l) => l.name !== name);
    this.addresses = this.addresses.filter((a) => a.link !== name);
    this.routes = this.routes.filter((r) => r.dev !== name);
    this.neighbours = this.neighbours.filter((n) => n.link !== name);
    for (const key of Object.keys(this.sysctls)) if (linkOfSysctl(key) === name) delete this.sysctls[key];
  }

  freeIfindex(): number {
    return Math.max(0, ...this.links.map((l) => l.ifindex)) + 1;
  }

  finish(): World {
    const { modules: _, ...facts } = this.before.facts;
    return {
      facts: {
        ...facts,
        links: this.links,
        addresses: this.addresses,
        routes: this.routes,
        sysctls: this.sysctls,
        neighbours: this.neighbours,
        filters: this.filters,
        ...(this.modules === undefined ? {} : { modules: this.modules }),
      },
      files: this.files,
    };
  }
}

/** What the kernel adds to the local table with an address. */
const localRoute = (a: AddressFacts): RouteFacts => ({
  dst: `${a.ip}/32`,
  type: "local",
  table: 255,
  dev: a.link,
  scope: 254,
  prefsrc: a.ip,
  protocol: "kernel",
});
