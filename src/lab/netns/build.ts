/**
 * A topology as network namespaces: one per machine, one per switch. The switch's namespace holds nothing but a bridge
 * and its ports, so a packet socket there is a tap on every wire, and nothing of it touches the host's own namespace.
 */
import { maskOf, networkOf } from "../../base/prefix.ts";
import { createNamespace, keepNamespace, type Namespace, removeNamespace } from "../../host/namespace.ts";
import { delayRequest, rateRequest } from "../../host/queueing.ts";
import { openRtnetlink, type Rtnetlink } from "../../host/rtnetlink.ts";
import { ipv4Conf, writeSysctl } from "../../host/sysctl.ts";
import type { LabHost, Topology } from "../topology.ts";

export interface BuiltMachine {
  readonly host: LabHost;
  readonly namespace: Namespace;
  readonly netlink: Rtnetlink;
}

export interface BuiltSwitch {
  readonly wire: string;
  readonly namespace: Namespace;
  readonly netlink: Rtnetlink;
  /** The machine behind each port, by the port's ifindex in the switch's namespace. */
  readonly machineOfPort: ReadonlyMap<number, string>;
}

export interface BuiltNetwork {
  readonly machines: ReadonlyMap<string, BuiltMachine>;
  readonly switches: readonly BuiltSwitch[];
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

/**
 * Without these, all machines are equally quick and every race ends the same way. Netem holds each packet for half a
 * millisecond, give or take 0.4. A kernel without it mostly has a rate limit, under which a busy machine answers late.
 */
const wires = [
  (index: number, link: string) => delayRequest(index, { latencyNs: 500_000, jitterNs: 400_000 }, link),
  (index: number, link: string) => rateRequest(index, { octetsPerSecond: 100_000, burstOctets: 1600 }, link),
];

class Builder {
  readonly machines = new Map<string, BuiltMachine>();
  readonly switches: BuiltSwitch[] = [];
  #wire = 0;
  readonly #made: { readonly namespace: Namespace; readonly netlink: Rtnetlink }[] = [];
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  #namespace(name: string): { namespace: Namespace; netlink: Rtnetlink } {
    const namespace = createNamespace(`${this.#prefix}${name}`);
    const made = { namespace, netlink: openRtnetlink(namespace) };
    this.#made.push(made);
    made.netlink.setLink("lo", { up: true });
    return made;
  }

  machine(host: LabHost): void {
    const made = this.#namespace(host.name);
    made.namespace.run(() => prepareMachine(host.role));
    this.machines.set(host.name, { host, ...made });
  }

  wire(wire: string, hosts: readonly LabHost[]): void {
    const { namespace, netlink } = this.#namespace(`switch-${wire}`);
    namespace.run(disableIpv6);
    netlink.createBridge("br0", { stp: false, multicastSnooping: false });
    netlink.setLink("br0", { up: true });
    const machineOfPort = new Map<number, string>();
    let ports = 0;
    for (const host of hosts)
      for (const link of host.links) {
        if (link.wire !== wire) continue;
        const machine = this.machines.get(host.name);
        if (machine === undefined) throw new RangeError(`${host.name} is wired before it is made`);
        const port = `port${ports++}`;
        netlink.createVeth({ name: port }, { name: link.name, mac: link.mac, namespace: machine.namespace });
        netlink.setLink(port, { master: "br0", up: true });
        machine.netlink.setLink(link.name, { up: true });
        for (const { address, length } of link.addresses)
          machine.netlink.addAddress(link.name, {
            prefix: { address, length },
            broadcast: ((networkOf({ address, length }) | ~maskOf(length)) >>> 0) as typeof address,
          });
        this.#weigh(machine, link.name);
        machineOfPort.set(netlink.indexOf(port), host.name);
      }
    this.switches.push({ wire, namespace, netlink, machineOfPort });
  }

  /** Takes the first kind of wire that this kernel has; none is no error. */
  #weigh(machine: BuiltMachine, link: string): void {
    for (let wire = wires[this.#wire]; wire !== undefined; wire = wires[++this.#wire]) {
      const [failure] = machine.netlink.batch([wire(machine.netlink.indexOf(link), link)]);
      if (failure === undefined) return;
      if (!["ENOENT", "EOPNOTSUPP"].includes(failure.error.errnoName)) throw failure.error;
    }
  }

  gateway({ host, netlink }: BuiltMachine): void {
    if (host.gateway !== undefined) netlink.addRoute({ gateway: host.gateway });
  }

  remove(keep: boolean): void {
    for (const { namespace, netlink } of this.#made.reverse()) {
      netlink.close();
      namespace.close();
      if (keep) keepNamespace(namespace.name);
      else removeNamespace(namespace.name);
    }
    this.#made.length = 0;
  }
}

/** Builds everything or nothing. Errors: those of namespace.ts and rtnetlink.ts. */
export function buildNetwork(topology: Topology, prefix: string): BuiltNetwork {
  const builder = new Builder(prefix);
  try {
    for (const host of topology.hosts) builder.machine(host);
    for (const wire of topology.wires) builder.wire(wire, topology.hosts);
    for (const machine of builder.machines.values()) builder.gateway(machine);
  } catch (error) {
    builder.remove(false);
    throw error;
  }
  const { machines, switches } = builder;
  return { machines, switches, remove: ({ keep }) => builder.remove(keep) };
}
