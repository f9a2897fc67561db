import type { RouteFacts } from "../../model/facts.ts";
import { equal } from "../equal.ts";
import type { ChangeKind } from "../kind.ts";

export interface RouteChange {
  readonly kind: "route";
  readonly route: RouteFacts;
  /** True: the route is there. */
  readonly before: boolean;
  readonly after: boolean;
}

const text = (r: RouteFacts): string =>
  [
    r.type === undefined || r.type === "unicast" ? "" : r.type,
    r.dst,
    r.via === undefined ? "" : `via ${r.via}`,
    r.dev === undefined ? "" : `dev ${r.dev}`,
    r.table === undefined || r.table === 254 ? "" : `table ${r.table === 255 ? "local" : r.table}`,
  ]
    .filter((part) => part !== "")
    .join(" ");

/** Facts may write one host either way. */
export const host32 = (dst: string): string => (dst.includes("/") || dst === "default" ? dst : `${dst}/32`);

/** What makes two routes one: the rest (protocol, metric 0) is how the kernel tells of it. */
export const sameRoute = (a: RouteFacts, b: RouteFacts): boolean =>
  host32(a.dst) === host32(b.dst) &&
  (a.type ?? "unicast") === (b.type ?? "unicast") &&
  (a.table ?? 254) === (b.table ?? 254) &&
  a.dev === b.dev &&
  a.via === b.via &&
  (a.metric ?? 0) === (b.metric ?? 0) &&
  equal(a.nexthops, b.nexthops);

export const route: ChangeKind<RouteChange> = {
  key: (c) => `route ${text(c.route)}`,
  describe: (c) => `${c.after ? "add" : "remove"} the route ${text(c.route)}`,
  phase: (c) => (c.after ? "appear" : "disappear"),
  operations: (c) => [{ op: "route", action: c.after ? "add" : "delete", route: c.route }],
  current: (c, host) => host.routes.some((r) => sameRoute(r, c.route)),
  effect: (c, host) => {
    if (c.after) {
      host.routes.push({ ...c.route, dst: host32(c.route.dst) });
      return;
    }
    const at = host.routes.findLastIndex((r) => sameRoute(r, c.route));
    if (at >= 0) host.routes.splice(at, 1);
  },
  conflicts: (c, host) =>
    c.route.dev !== undefined && host.link(c.route.dev) === undefined
      ? [`there is no interface ${c.route.dev} for the route to ${c.route.dst}`]
      : [],
  lasting: false,
};
