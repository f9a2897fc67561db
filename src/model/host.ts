import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { HostFacts } from "./facts.ts";
import type { Filters } from "./filters.ts";
import type { Address, Link } from "./link.ts";
import type { PolicyRule } from "./policyRule.ts";
import type { RoutingTable } from "./routingTable.ts";
import type { Switches } from "./switches.ts";

/** A published ARP entry. `link` undefined: any device. */
export interface Published {
  readonly ip: Ipv4;
  readonly mask: Ipv4;
  readonly link: Link | undefined;
  /** 2.0: the name of the device or alias it was made for. */
  readonly deviceName: string;
  readonly mac: Mac | undefined;
}

/** Facts in the form that decisions are made from. Made by compileHost only; never changes. */
export interface Host {
  readonly facts: HostFacts;
  readonly switches: Switches;
  readonly links: readonly Link[];
  readonly loopback: Link | undefined;
  readonly linkByIndex: ReadonlyMap<number, Link>;
  readonly linkByName: ReadonlyMap<string, Link>;
  readonly ownAddresses: ReadonlyMap<number, readonly Address[]>;
  readonly tables: ReadonlyMap<number, RoutingTable>;
  /** What the host without policy rules looks through, in this order. */
  readonly plainTables: readonly RoutingTable[];
  /** The local table as address types ask it: the merged one where local and main share a trie. */
  readonly localTable: RoutingTable | undefined;
  readonly rules: readonly PolicyRule[];
  readonly customRules: boolean;
  /** A local route that no address made: the source check then looks up routes (A-2.6-13). */
  readonly customLocalRoutes: boolean;
  readonly published: ReadonlyMap<number, readonly Published[]>;
  readonly publishedInOrder: readonly Published[];
  readonly filters: Filters;
  readonly ipForward: boolean;
  /** Answers of this kernel rest on rules that no source could confirm. */
  readonly unconfirmed: boolean;
}

/** The link an event names; throws RangeError for one the host does not have: the caller mixed hosts up. */
export function linkAt(host: Host, ifindex: number): Link {
  const link = host.linkByIndex.get(ifindex);
  if (!link) throw new RangeError(`this host has no link with index ${ifindex}`);
  return link;
}

/** Index of a link by name; throws RangeError where there is none. */
export function linkIndex(host: Host, name: string): number {
  const link = host.linkByName.get(name);
  if (!link) throw new RangeError(`this host has no link ${name}`);
  return link.index;
}
