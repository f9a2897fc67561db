/** What a host that is a director too looks like when it stands by. */
import type { HostFacts } from "../model/facts.ts";

/** VIPs that failover puts on a link and takes away again; text, as in facts. */
export interface Held {
  readonly link: string;
  readonly vips: readonly string[];
}

/**
 * Without the VIPs that are on the link by right while this host owns them. It is for the time when it does not that a
 * real server must be silent; its plan may neither ask for their end nor call them an answer.
 */
export function standingBy(facts: HostFacts, held: readonly Held[]): HostFacts {
  if (held.length === 0) return facts;
  const gone = new Set(held.flatMap(({ link, vips }) => vips.map((vip) => `${link} ${vip}`)));
  return {
    ...facts,
    addresses: facts.addresses.filter((a) => !gone.has(`${a.link} ${a.ip}`)),
    // The kernel's own routes for them (section 2 of the kernel rules).
    routes: facts.routes.filter((r) => r.protocol !== "kernel" || !gone.has(`${r.dev} ${r.prefsrc ?? r.dst}`)),
  };
}
