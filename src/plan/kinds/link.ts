import { formatPrefix, networkOf, parsePrefix } from "../../base/prefix.ts";
import type { AddressFacts, LinkFacts, LinkFlag, RouteFacts } from "../../model/facts.ts";
import type { HostDraft } from "../host.ts";
import type { ChangeKind } from "../kind.ts";

export interface LinkState {
  /** IFLA_INFO_KIND, null for hardware. */
  readonly type: string | null;
  readonly up: boolean;
  readonly noarp: boolean;
  /**
   * 2.2 to 2.6.21 only: brought up with 0.0.0.0, which gives the device its IPv4 state, and with it `conf/NAME/`, before
   * it has an address (C-2.2-06).
   */
  readonly ipv4State?: true;
}

/** A virtual interface made or taken away, or an interface's flags. */
export interface LinkChange {
  readonly kind: "link";
  readonly name: string;
  readonly before: LinkState | null;
  readonly after: LinkState | null;
}

export const linkState = (link: LinkFacts): LinkState => ({
  type: link.kind ?? null,
  up: link.flags.includes("UP"),
  noarp: link.flags.includes("NOARP"),
  ...(link.ipv4State === true ? { ipv4State: true } : {}),
});

/** Flags of a new device of this type, besides UP. dummy and ipip are born NOARP. */
const bornWith: Readonly<Record<string, readonly LinkFlag[]>> = {
  dummy: ["BROADCAST", "NOARP"],
  ipip: ["NOARP"],
};

function flagsOf(old: readonly LinkFlag[], state: LinkState): LinkFlag[] {
  const wanted: [LinkFlag, boolean][] = [["NOARP", state.noarp]];
  // Facts may leave LOWER_UP out: what does not go up or down keeps what it says of its carrier.
  if (old.includes("UP") !== state.up) wanted.unshift(["UP", state.up], ["LOWER_UP", state.up]);
  let flags = [...old];
  for (const [flag, on] of wanted) {
    if (!on) flags = flags.filter((f) => f !== flag);
    else if (!flags.includes(flag)) flags.push(flag);
  }
  return flags;
}

/** The prefix routes that the kernel adds when the device comes up (section 2). */
function prefixRoutes(host: HostDraft, link: LinkFacts): RouteFacts[] {
  const loopback = link.flags.includes("LOOPBACK");
  const routeOf = (a: AddressFacts): RouteFacts => {
    const prefix = parsePrefix(`${a.peer ?? a.ip}/${a.prefixLength}`);
    const dst = prefix === undefined ? a.ip : formatPrefix({ address: networkOf(prefix), length: prefix.length });
    return {
      dst,
      type: loopback ? "local" : "unicast",
      table: loopback ? 255 : 254,
      dev: link.name,
      scope: loopback ? 254 : 253,
      prefsrc: a.ip,
      protocol: "kernel",
    };
  };
  return host.addresses
    .filter((a) => a.link === link.name && a.prefixLength < 32 && a.secondary !== true && a.noPrefixRoute !== true)
    .map(routeOf);
}

const sameRoute = (a: RouteFacts, b: RouteFacts): boolean =>
  a.dst === b.dst && a.dev === b.dev && (a.table ?? 254) === (b.table ?? 254);

export const link: ChangeKind<LinkChange> = {
  key: (c) => `link ${c.name}`,
  describe: (c) => {
    if (c.after === null) return `remove the interface ${c.name}`;
    if (c.before === null) return `create the ${c.after.type} interface ${c.name}${c.after.up ? ", up" : ""}`;
    const words = [
      c.before.up === c.after.up ? [] : [c.after.up ? "up" : "down"],
      c.before.noarp === c.after.noarp ? [] : [c.after.noarp ? "without ARP" : "with ARP"],
    ].flat();
    return `set the interface ${c.name} ${words.join(" and ")}`;
  },
  phase: (c) => (c.after === null ? "clear" : "prepare"),
  operations: (c) => {
    if (c.after === null) return [{ op: "link-delete", name: c.name }];
    const create =
      c.before === null ? [{ op: "link-create", name: c.name, type: c.after.type ?? "dummy" } as const] : [];
    const differs = {
      ...((c.before?.up ?? false) === c.after.up ? {} : { up: c.after.up }),
      ...(c.before === null || c.before.noarp === c.after.noarp ? {} : { noarp: c.after.noarp }),
    };
    if (Object.keys(differs).length === 0) return create;
    return [...create, { op: "link-set", name: c.name, ...differs }];
  },
  current: (c, host) => {
    const found = host.link(c.name);
    return found === undefined ? null : linkState(found);
  },
  effect: (c, host) => {
    const found = host.link(c.name);
    if (c.after === null) {
      host.removeLink(c.name);
      return;
    }
    const state = c.after.ipv4State === true ? ({ ipv4State: true } as const) : {};
    if (found === undefined) {
      const type = c.after.type ?? "dummy";
      const flags = flagsOf(bornWith[type] ?? [], c.after);
      host.addLink({ ifindex: host.freeIfindex(), name: c.name, kind: type, flags, mac: null, ...state });
      return;
    }
    const { ipv4State: _, ...rest } = found;
    const changed: LinkFacts = { ...rest, flags: flagsOf(found.flags, c.after), ...state };
    host.links = host.links.map((l) => (l === found ? changed : l));
    if (host.before.facts.routesGiven !== "all" || (c.before?.up ?? false) === c.after.up) return;
    const routes = prefixRoutes(host, changed);
    host.routes = c.after.up
      ? [...host.routes, ...routes.filter((r) => !host.routes.some((old) => sameRoute(old, r)))]
      : host.routes.filter((old) => !routes.some((r) => sameRoute(old, r)));
  },
  conflicts: (c, host) => {
    const found = host.link(c.name);
    if (c.before === null && found !== undefined && c.after !== null && found.kind !== (c.after.type ?? undefined))
      return [`${c.name} exists and is a ${found.kind ?? "hardware"} interface, not a ${c.after.type} one`];
    return [];
  },
  lasting: false,
};
