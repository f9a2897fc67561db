/** A lab's machines and wires, drawn from a cluster file. Pure: the same file gives the same MACs and addresses. */
import type { Ipv4 } from "../base/ipv4.ts";
import { type Mac, mac } from "../base/mac.ts";
import type { Prefix } from "../base/prefix.ts";
import type { LabCable, LabSwitch } from "../cluster/cluster.ts";
import { defaults } from "../cluster/defaults.ts";
import type { Plug } from "../cluster/wires.ts";

export type LabRole = "client" | "router" | "director" | "realServer";

export interface LabLink {
  /** As the host calls it. */
  readonly name: string;
  /** Its broadcast domain: a network of the cluster file. */
  readonly wire: string;
  /** Where its cable ends. */
  readonly plug: Plug;
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
  readonly wires: readonly string[];
  /** One for each wire, unless the cluster file names others. */
  readonly switches: readonly LabSwitch[];
  readonly hosts: readonly LabHost[];
}

const onlyOnTheModel = ["lossPercent", "duplicatePercent", "reorderPercent", "mtu"] as const;

/** What of a topology no namespace can be made to do, as the cluster file says it. */
export function onlySimulated({ switches, hosts }: Topology): string[] {
  const ofCable = (where: string, cable: LabCable): string[] =>
    onlyOnTheModel.filter((key) => cable[key] !== undefined).map((key) => `${where}.${key}`);
  const said = [
    ...switches.flatMap(({ name, uplink, ageingSeconds }) => [
      ...(uplink === undefined ? [] : ofCable(`lab.switches.${name}.uplink`, uplink.cable)),
      ...(ageingSeconds === defaults.switchAgeingSeconds ? [] : [`lab.switches.${name}.ageingSeconds`]),
    ]),
    ...hosts.flatMap(({ name, links }) => links.flatMap(({ plug }) => ofCable(`lab.links.${name}`, plug.cable))),
  ];
  return [...new Set(said)];
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
