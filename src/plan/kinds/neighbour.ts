import type { NeighbourFacts } from "../../model/facts.ts";
import type { ChangeKind } from "../kind.ts";

/** Forgets what this host learned of one neighbour; its undo puts the entry back. */
export interface NeighbourChange {
  readonly kind: "neighbour";
  readonly link: string;
  readonly ip: string;
  readonly before: NeighbourFacts | null;
  readonly after: NeighbourFacts | null;
}

export const neighbour: ChangeKind<NeighbourChange> = {
  key: (c) => `neighbour ${c.link} ${c.ip}`,
  describe: (c) =>
    c.after === null
      ? `forget the neighbour entry of ${c.ip} on ${c.link}`
      : `put back the neighbour entry of ${c.ip} on ${c.link}`,
  phase: () => "silence",
  operations: (c) => [
    {
      op: "neighbour",
      action: c.after === null ? "delete" : "set",
      link: c.link,
      ip: c.ip,
      ...(c.after?.mac === undefined ? {} : { mac: c.after.mac }),
    },
  ],
  current: (c, host) => host.neighbours.find((n) => n.link === c.link && n.ip === c.ip && n.proxy !== true) ?? null,
  effect: (c, host) => {
    host.neighbours = host.neighbours.filter((n) => n.link !== c.link || n.ip !== c.ip || n.proxy === true);
    if (c.after !== null) host.neighbours.push(c.after);
  },
  conflicts: () => [],
  lasting: true,
};
