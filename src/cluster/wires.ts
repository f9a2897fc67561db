/** Which switch, VLAN and port each cable of a lab ends in, and which switches carry a VLAN to each other. */
import type { LabCable, LabLinkGiven, LabSwitch, LabWires } from "./cluster.ts";
import { defaults } from "./defaults.ts";

/** Where one cable of a host ends. */
export interface Plug {
  readonly switch: string;
  readonly vlan: number;
  readonly port: number | undefined;
  readonly cable: LabCable;
}

/** Where the file names no switches, each network has one of its own, called like it. */
export const switchesOf = (wires: LabWires, networks: readonly string[]): readonly LabSwitch[] =>
  wires.switches.length > 0
    ? wires.switches
    : networks.map((name) => ({ name, ageingSeconds: defaults.switchAgeingSeconds, uplink: undefined }));

export const isFor = (link: LabLinkGiven, host: string, network: string): boolean =>
  link.host === host && (link.network === undefined || link.network === network);

/** The cable of a host in a network; what the file does not say of it is as it is for all. */
export function plugOf(wires: LabWires, host: string, network: string): Plug {
  const given = wires.links.find((l) => isFor(l, host, network));
  const own = wires.switches[0]?.name ?? network;
  return {
    switch: given?.switch ?? own,
    vlan: given?.vlan ?? wires.vlans[network] ?? 1,
    port: given?.port,
    cable: given?.cable ?? {},
  };
}

export const carries = (uplink: LabSwitch["uplink"], vlan: number): boolean =>
  uplink !== undefined && (uplink.vlans === undefined || uplink.vlans.includes(vlan));

/**
 * The switch that stands for all that frames of a VLAN reach from this one: the last on the way of uplinks that `passes`.
 * Uplinks form no loop, so two switches are in one broadcast domain where theirs is the same.
 */
export function islandOf(
  switches: ReadonlyMap<string, LabSwitch>,
  name: string,
  passes: (one: LabSwitch) => boolean,
): string {
  let at = name;
  for (let steps = switches.size; steps > 0; steps--) {
    const one = switches.get(at);
    if (one?.uplink === undefined || !passes(one)) return at;
    at = one.uplink.to;
  }
  return at;
}

/** A switch of each loop that uplinks form. */
export function loopsOf(switches: ReadonlyMap<string, LabSwitch>): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  for (const start of switches.keys()) {
    const walk = new Set<string>();
    let at: string | undefined = start;
    while (at !== undefined && !seen.has(at)) {
      seen.add(at);
      walk.add(at);
      at = switches.get(at)?.uplink?.to;
      if (at !== undefined && walk.has(at)) found.push(at);
    }
  }
  return found;
}
