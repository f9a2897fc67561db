/**
 * A topology as network namespaces: one per machine, one per switch. The switch's namespace holds nothing but bridges
 * and their ports, so a packet socket there is a tap on every wire, and nothing of it touches the host's own namespace.
 *
 * A VLAN of a switch is a bridge of its own, and a trunk is a pair of ports for each VLAN it carries: hosts, whose ports
 * are untagged, see no difference to one bridge that filters and tags VLANs, and it needs no such kernel.
 */
import { release } from "node:os";
import { maskOf, networkOf } from "../../base/prefix.ts";
import type { LabCable, LabSwitch } from "../../cluster/cluster.ts";
import { defaults } from "../../cluster/defaults.ts";
import { carries } from "../../cluster/wires.ts";
import { HostError } from "../../host/errors.ts";
import { createNamespace, keepNamespace, type Namespace, removeNamespace } from "../../host/namespace.ts";
import { type Delay, delayRequest } from "../../host/queueing.ts";
import { openRtnetlink, type Rtnetlink } from "../../host/rtnetlink.ts";
import { ipv4Conf, writeSysctl } from "../../host/sysctl.ts";
import { type LabHost, type LabLink, onlySimulated, type Topology } from "../topology.ts";

export interface BuiltMachine {
  readonly host: LabHost;
  readonly namespace: Namespace;
  readonly netlink: Rtnetlink;
}

export interface BuiltSwitch {
  readonly name: string;
  readonly namespace: Namespace;
  readonly netlink: Rtnetlink;
  /** The machine behind each port, by the port's ifindex in the switch's namespace. */
  readonly machineOfPort: ReadonlyMap<number, string>;
  /** The bridge of each of these ports. */
  readonly bridgeOfPort: ReadonlyMap<number, string>;
}

export interface BuiltNetwork {
  readonly machines: ReadonlyMap<string, BuiltMachine>;
  readonly switches: readonly BuiltSwitch[];
  /** Pulls the trunk of a switch out, or puts it in again; false: it has none. */
  plugUplink(name: string, up: boolean): boolean;
  /** Power off and on: a namespace and links as they were when it was built, and nothing of what came since. */
  renew(name: string): void;
  /**
   * Makes another machine the quickest. Real machines are quick and slow by turns; here, where the kernel cannot delay
   * packets (sch_netem), all are equally quick and every race would end the same way: a bridge floods its ports in the
   * order they were plugged in, the last first. So one port after the other is plugged in anew.
   */
  stir(): void;
  remove(options: { readonly keep: boolean }): void;
}

/** The namespace's own defaults are inherited from the host's, so what the story depends on is set, not assumed. */
const machineSysctls: readonly (readonly [string, string])[] = [
  ["rp_filter", "0"],
  ["arp_ignore", "0"],
  ["arp_announce", "0"],
  ["arp_filter", "0"],
  ["arp_accept", "0"],
  ["arp_notify", "0"],
  ["send_redirects", "0"],
  ["accept_local", "0"],
];

function prepareMachine(role: LabHost["role"]): void {
  for (const scope of ["all", "default"])
    for (const [name, value] of machineSysctls) writeSysctl(ipv4Conf(scope, name), value);
  writeSysctl(["net", "ipv4", "ip_forward"], role === "router" ? "1" : "0");
  disableIpv6();
}

/** IPv6 chatter on the wire would only blur the counts; a kernel without it is as good. */
function disableIpv6(): void {
  try {
    writeSysctl(["net", "ipv6", "conf", "all", "disable_ipv6"], "1");
    writeSysctl(["net", "ipv6", "conf", "default", "disable_ipv6"], "1");
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("ENOENT")) throw error;
  }
}

const NS_PER_MS = 1_000_000;

/** Held for the delay, and up to the jitter longer: enough to make races real, little enough to be a LAN. */
const heldFor = ({ delayMs = defaults.linkDelayMs, jitterMs = defaults.linkJitterMs }: LabCable): Delay => ({
  latencyNs: Math.round((delayMs + jitterMs / 2) * NS_PER_MS),
  jitterNs: Math.round((jitterMs / 2) * NS_PER_MS),
});
/** The other way, which is at once unless the file says more. */
const heldBack = ({ delayMs }: LabCable): Delay | undefined =>
  delayMs === undefined ? undefined : { latencyNs: Math.round(delayMs * NS_PER_MS), jitterNs: 0 };

/** VLAN 1 is what a bridge has that knows no VLANs. */
const bridgeOf = (vlan: number): string => (vlan === 1 ? "br0" : `br${vlan}`);

function openRtnetlinkOrRemove(namespace: Namespace): Rtnetlink {
  try {
    return openRtnetlink(namespace);
  } catch (error) {
    namespace.close();
    removeNamespace(namespace.name);
    throw error;
  }
}

interface Made extends BuiltSwitch {
  readonly machineOfPort: Map<number, string>;
  readonly bridgeOfPort: Map<number, string>;
}

class Builder {
  readonly machines = new Map<string, BuiltMachine>();
  readonly switches = new Map<string, Made>();
  /** Ends of each switch's trunk in its own namespace. */
  readonly uplinks = new Map<string, { readonly netlink: Rtnetlink; readonly port: string }[]>();
  delays = true;
  readonly #made: { readonly namespace: Namespace; readonly netlink: Rtnetlink }[] = [];
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  #namespace(name: string): { namespace: Namespace; netlink: Rtnetlink } {
    const namespace = createNamespace(`${this.#prefix}${name}`);
    const made = { namespace, netlink: openRtnetlinkOrRemove(namespace) };
    this.#made.push(made);
    made.netlink.setLink("lo", { up: true });
    return made;
  }

  machine(host: LabHost): void {
    const made = this.#namespace(host.name);
    made.namespace.run(() => prepareMachine(host.role));
    this.machines.set(host.name, { host, ...made });
  }

  /** With a bridge for each VLAN. */
  switch({ name }: LabSwitch, vlans: readonly number[]): void {
    const { namespace, netlink } = this.#namespace(`switch-${name}`);
    namespace.run(disableIpv6);
    for (const bridge of vlans.map(bridgeOf)) {
      netlink.createBridge(bridge, { stp: false, multicastSnooping: false });
      netlink.setLink(bridge, { up: true });
    }
    this.switches.set(name, { name, namespace, netlink, machineOfPort: new Map(), bridgeOfPort: new Map() });
  }

  #switch(name: string): Made {
    const found = this.switches.get(name);
    if (found === undefined) throw new RangeError(`no switch ${name}`);
    return found;
  }

  trunk({ name, uplink }: LabSwitch, vlans: readonly number[]): void {
    if (uplink === undefined) return;
    const [near, far] = [this.#switch(name), this.#switch(uplink.to)];
    const ends: { netlink: Rtnetlink; port: string }[] = [];
    for (const vlan of vlans.filter((v) => carries(uplink, v))) {
      const [port, other] = [`up-${vlan}`, `down${this.uplinks.size}-${vlan}`];
      near.netlink.createVeth({ name: port }, { name: other, namespace: far.namespace });
      near.netlink.setLink(port, { master: bridgeOf(vlan), up: true });
      far.netlink.setLink(other, { master: bridgeOf(vlan), up: true });
      const held = heldBack(uplink.cable);
      if (held !== undefined) {
        this.#delay(near.netlink, port, held, `the uplink of ${name}`);
        this.#delay(far.netlink, other, held, `the uplink of ${name}`);
      }
      ends.push({ netlink: near.netlink, port });
    }
    this.uplinks.set(name, ends);
  }

  plug(host: LabHost, link: LabLink): void {
    const machine = this.machines.get(host.name);
    if (machine === undefined) throw new RangeError(`${host.name} is wired before it is made`);
    const { netlink, machineOfPort, bridgeOfPort } = this.#switch(link.plug.switch);
    const bridge = bridgeOf(link.plug.vlan);
    const port = this.#portOf(link);
    netlink.createVeth({ name: port }, { name: link.name, mac: link.mac, namespace: machine.namespace });
    netlink.setLink(port, { master: bridge, up: true });
    machine.netlink.setLink(link.name, { up: true });
    for (const { address, length } of link.addresses)
      machine.netlink.addAddress(link.name, {
        prefix: { address, length },
        broadcast: ((networkOf({ address, length }) | ~maskOf(length)) >>> 0) as typeof address,
      });
    const { cable } = link.plug;
    const asked = cable.delayMs === undefined && cable.jitterMs === undefined ? undefined : `the link of ${host.name}`;
    this.#delay(machine.netlink, link.name, heldFor(cable), asked);
    const back = heldBack(cable);
    if (back !== undefined) this.#delay(netlink, port, back, asked);
    machineOfPort.set(netlink.indexOf(port), host.name);
    bridgeOfPort.set(netlink.indexOf(port), bridge);
  }

  readonly #ports = new Map<string, Set<number>>();
  /** The port that the file names, or the next that no file names and nobody has. */
  #portOf({ plug }: LabLink): string {
    const taken = this.#ports.get(plug.switch) ?? new Set(this.#named.get(plug.switch));
    this.#ports.set(plug.switch, taken);
    let n = plug.port ?? 0;
    if (plug.port === undefined) while (taken.has(n)) n++;
    taken.add(n);
    return `port${n}`;
  }
  readonly #named = new Map<string, number[]>();
  /** Ports with a number in the file are nobody else's. */
  reserve(hosts: readonly LabHost[]): void {
    for (const { plug } of hosts.flatMap((h) => h.links))
      if (plug.port !== undefined) this.#named.set(plug.switch, [...(this.#named.get(plug.switch) ?? []), plug.port]);
  }

  /** `asked`: what the file wants delayed, where it does; without that, a kernel that cannot is no failure. */
  #delay(netlink: Rtnetlink, link: string, delay: Delay, asked: string | undefined): void {
    if (!this.delays && asked === undefined) return;
    const [failure] = netlink.batch([delayRequest(netlink.indexOf(link), delay, link)]);
    if (failure === undefined) return;
    if (!["ENOENT", "EOPNOTSUPP"].includes(failure.error.errnoName)) throw failure.error;
    this.delays = false; // no sch_netem in this kernel
    if (asked === undefined) return;
    throw new HostError("lab/unavailable", `kernel ${release()} has no sch_netem, so ${asked} cannot be delayed`, {
      remedy: "choose --backend vm or --backend sim, or take `delayMs` and `jitterMs` away",
    });
  }

  gateway({ host, netlink }: BuiltMachine): void {
    if (host.gateway !== undefined) netlink.addRoute({ gateway: host.gateway });
  }

  renew(name: string): void {
    const old = this.machines.get(name);
    if (old === undefined) throw new RangeError(`no machine ${name}`);
    for (const { netlink, machineOfPort, bridgeOfPort } of this.switches.values())
      for (const [port] of [...machineOfPort].filter(([, owner]) => owner === name)) {
        netlink.deleteLink(port);
        machineOfPort.delete(port);
        bridgeOfPort.delete(port);
      }
    this.#made.splice(
      this.#made.findIndex((m) => m.namespace === old.namespace),
      1,
    );
    old.netlink.close();
    old.namespace.close();
    removeNamespace(old.namespace.name);
    this.machine(old.host);
    for (const link of old.host.links) this.plug(old.host, link);
    this.gateway(this.machines.get(name) as BuiltMachine);
  }

  remove(keep: boolean): void {
    const failures: unknown[] = [];
    for (const { namespace, netlink } of this.#made.splice(0).reverse()) {
      netlink.close();
      namespace.close();
      try {
        if (keep) keepNamespace(namespace.name);
        else removeNamespace(namespace.name);
      } catch (error) {
        failures.push(error); // one that cannot be removed must not keep the others standing
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** Refuses what only the simulator can do. Errors: lab/unavailable. */
export function refuseOnlySimulated(topology: Topology): void {
  const keys = onlySimulated(topology);
  if (keys.length === 0) return;
  throw new HostError("lab/unavailable", `namespaces cannot do ${keys.join(", ")}: only the simulator can`, {
    remedy: "choose --backend sim, or take that away",
  });
}

/** Builds everything or nothing. Errors: lab/unavailable, and those of namespace.ts and rtnetlink.ts. */
export function buildNetwork(topology: Topology, prefix: string): BuiltNetwork {
  refuseOnlySimulated(topology);
  const vlans = [...new Set(topology.hosts.flatMap((h) => h.links.map((l) => l.plug.vlan)))];
  const builder = new Builder(prefix);
  try {
    for (const host of topology.hosts) builder.machine(host);
    for (const one of topology.switches) builder.switch(one, vlans);
    for (const one of topology.switches) builder.trunk(one, vlans);
    builder.reserve(topology.hosts);
    for (const host of topology.hosts) for (const link of host.links) builder.plug(host, link);
    for (const machine of builder.machines.values()) builder.gateway(machine);
  } catch (error) {
    builder.remove(false);
    throw error;
  }
  const { machines, delays, uplinks } = builder;
  const switches = [...builder.switches.values()];
  let turn = 0;
  const stir = (): void => {
    if (delays) return;
    turn += 1;
    for (const { netlink, bridgeOfPort } of switches) {
      const [port, bridge] = [...bridgeOfPort][turn % bridgeOfPort.size] ?? [];
      if (port === undefined || bridge === undefined) continue;
      netlink.setLink(port, { master: null });
      netlink.setLink(port, { master: bridge });
    }
  };
  const plugUplink = (name: string, up: boolean): boolean => {
    for (const { netlink, port } of uplinks.get(name) ?? []) netlink.setLink(port, { up });
    return uplinks.has(name);
  };
  const renew = (name: string): void => builder.renew(name);
  return { machines, switches, plugUplink, stir, renew, remove: ({ keep }) => builder.remove(keep) };
}
