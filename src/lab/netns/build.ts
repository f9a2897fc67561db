/**
 * A topology as network namespaces: one per machine, one per switch. The switch's namespace holds nothing but a bridge
 * and its ports, so a packet socket there is a tap on every wire, and nothing of it touches the host's own namespace.
 */
import { maskOf, networkOf } from "../../base/prefix.ts";
import { createNamespace, keepNamespace, type Namespace, removeNamespace } from "../../host/namespace.ts";
import { delayRequest } from "../../host/queueing.ts";
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

/** Half a millisecond, give or take 0.4: enough to make races real, little enough to be a LAN. */
const delay = { latencyNs: 500_000, jitterNs: 400_000 };

function openRtnetlinkOrRemove(namespace: Namespace): Rtnetlink {
  try {
    return openRtnetlink(namespace);
  } catch (error) {
    namespace.close();
    removeNamespace(namespace.name);
    throw error;
  }
}

class Builder {
  readonly machines = new Map<string, BuiltMachine>();
  readonly switches: BuiltSwitch[] = [];
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
        this.#delay(machine, link.name);
        machineOfPort.set(netlink.indexOf(port), host.name);
      }
    this.switches.push({ wire, namespace, netlink, machineOfPort });
  }

  #delay(machine: BuiltMachine, link: string): void {
    if (!this.delays) return;
    const [failure] = machine.netlink.batch([delayRequest(machine.netlink.indexOf(link), delay, link)]);
    if (failure === undefined) return;
    if (!["ENOENT", "EOPNOTSUPP"].includes(failure.error.errnoName)) throw failure.error;
    this.delays = false; // no sch_netem in this kernel
  }

  gateway({ host, netlink }: BuiltMachine): void {
    if (host.gateway !== undefined) netlink.addRoute({ gateway: host.gateway });
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
  const { machines, switches, delays } = builder;
  let turn = 0;
  const stir = (): void => {
    if (delays) return;
    turn += 1;
    for (const { netlink, machineOfPort } of switches) {
      const ports = [...machineOfPort.keys()];
      const port = ports[turn % ports.length];
      if (port === undefined) continue;
      netlink.setLink(port, { master: null });
      netlink.setLink(port, { master: "br0" });
    }
  };
  return { machines, switches, stir, remove: ({ keep }) => builder.remove(keep) };
}
