/** Puts the VIPs where they belong: on the active director's interface, and on each real server's carrier. */
import { formatIpv4, type Ipv4 } from "../../base/ipv4.ts";
import { HostError, NetlinkError } from "../../host/errors.ts";
import { ipv4Conf, writeSysctl } from "../../host/sysctl.ts";
import type { Plot } from "../plot.ts";
import type { BuiltMachine } from "./build.ts";

function createDummy(carrier: string, netlink: BuiltMachine["netlink"], machine: string): void {
  try {
    netlink.createDummy(carrier);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errnoName !== "EOPNOTSUPP") throw error;
    throw new HostError("dummy/missing", `${machine} cannot have the carrier ${carrier}: this kernel has no dummy`, {
      remedy: "choose --backend vm, or load the module dummy, or name lo as carrier in the cluster file",
      cause: error,
    });
  }
}

function prepareCarrier(carrier: string, { netlink, namespace, host }: BuiltMachine): void {
  if (carrier !== "lo" && netlink.link(carrier) === undefined) {
    if (carrier === "tunl0")
      throw new HostError("tunnel/missing", `${host.name} has no tunl0: this kernel has no ipip`, {
        remedy: "load the module ipip, or choose --backend vm",
      });
    createDummy(carrier, netlink, host.name);
  }
  netlink.setLink(carrier, { up: true });
  // the route to a client never uses the tunnel, so any source check there refuses what comes out of it (C-2.6-03)
  if (carrier === "tunl0") namespace.run(() => writeSysctl(ipv4Conf("tunl0", "rp_filter"), "0"));
}

/** Gives back who holds which VIPs. A VIP is always a /32 (A-2.2-05). */
export function giveVips(
  plot: Plot,
  machine: (name: string) => BuiltMachine,
  realServers: Plot["realServers"] = plot.realServers,
): ReadonlyMap<string, readonly Ipv4[]> {
  const holders = new Map<string, readonly Ipv4[]>();
  const give = ({ netlink, host }: BuiltMachine, link: string): void => {
    for (const vip of plot.vips) netlink.addAddress(link, { prefix: { address: vip, length: 32 } });
    holders.set(host.name, plot.vips);
  };
  const lanLink = plot.director.links[0]?.name;
  if (lanLink === undefined)
    throw new RangeError(`${plot.director.name} has no link for ${plot.vips.map(formatIpv4).join()}`);
  give(machine(plot.director.name), lanLink);
  for (const { host, carrier } of realServers) {
    const built = machine(host.name);
    if (plot.forwarding === "tun") prepareCarrier("tunl0", built);
    prepareCarrier(carrier, built);
    give(built, carrier);
  }
  return holders;
}
