/** A lab's machines and wires, drawn from a cluster file. Pure: the same file gives the same MACs and addresses. */
import type { Ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";

export type LabRole = "client" | "router" | "director" | "realServer";

export interface LabLink {
  /** As the host calls it. */
  readonly name: string;
  /** The switch it is plugged into. */
  readonly wire: string;
  readonly mac: Mac;
  readonly addresses: readonly Prefix[];
}

export interface LabHost {
  readonly name: string;
  readonly role: LabRole;
  readonly links: readonly LabLink[];
  readonly gateway?: Ipv4;
}

export interface Topology {
  /** One switch for each network of the cluster file. */
  readonly wires: readonly string[];
  readonly hosts: readonly LabHost[];
}

/** Locally administered; the last octets say which machine and which of its links. */
export const labMac = (machine: number, link: number): Mac => {
  const octet = (n: number): string => (n & 255).toString(16).padStart(2, "0");
  return mac(`02:76:77:${octet(link)}:${octet(machine >> 8)}:${octet(machine)}`);
};

export function linkOn(host: LabHost, wire: string): LabLink | undefined {
  return host.links.find((link) => link.wire === wire);
}

/** The host's address on that wire that is not a VIP: RIP, DIP, CIP. Throws RangeError: the caller mixed hosts up. */
export function addressOn(host: LabHost, wire: string): Ipv4 {
  const address = linkOn(host, wire)?.addresses[0]?.address;
  if (address === undefined) throw new RangeError(`${host.name} has no address on ${wire}`);
  return address;
}
