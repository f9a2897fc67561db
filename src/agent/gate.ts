/** What of the packets for the VIPs a director takes besides IPVS: `accept` of the cluster file, and the relay. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { Cluster, Director } from "../cluster/cluster.ts";
import { OWNER } from "../machine/vrrpTimers.ts";
import type { GateDoor, GateWish } from "../ports/engine.ts";

import { speakerOf } from "./failoverConfig.ts";

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

/**
 * RFC 9568 section 6.1, Accept_Mode: where it is off, and this director does not own the addresses, nothing for the VIPs
 * is delivered here. IPVS takes its share before. Open are the services of which this very host is a real server: what
 * IPVS gives to itself goes on to be delivered.
 */
export function gateOf(cluster: Cluster, host: Director): GateWish {
  const closed = new Set<Ipv4>();
  const peers = new Set<Ipv4>();
  for (const { accept, vips, members } of cluster.failover.instances) {
    for (const { director, interface: link } of members)
      if (director.name !== host.name) peers.add(speakerOf(director, link));
    const priority = members.find((m) => m.director.name === host.name)?.priority;
    if (!accept && priority !== undefined && priority !== OWNER) for (const vip of vips) closed.add(vip.address);
  }
  const open: GateDoor[] = [];
  const own = new Set(host.addresses.map((a) => a.address));
  for (const { vips, match, destinations } of cluster.services) {
    if (!destinations.some((d) => own.has(d.realServer.rip))) continue;
    for (const { address: vip } of vips) {
      if (!closed.has(vip)) continue;
      if (match.kind === "fwmark")
        closed.delete(vip); // which ports it means is not ours to know
      else for (const range of match.ports) open.push({ vip, protocol: protocolNumbers[match.protocol], ...range });
    }
  }
  return { closed: [...closed], open: open.filter((door) => closed.has(door.vip)), peers: [...peers] };
}
