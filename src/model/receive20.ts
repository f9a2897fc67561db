import { runHook } from "./filters.ts";
import type { Host } from "./host.ts";
import { hookPacketOf, type IpPacket, type IpVerdict } from "./ipVerdict.ts";
import type { Link } from "./link.ts";
import { fibLookup, flowOf } from "./routes.ts";
import { deviceOf } from "./routingTable.ts";

/** ip_rcv of 2.0: an address of any up device is local; nothing checks the source. C-2.0. */
export function receive20(host: Host, link: Link, packet: IpPacket, again: (inner: IpPacket) => IpVerdict): IpVerdict {
  const hook = runHook([...host.filters.prerouting, ...host.filters.input], hookPacketOf(packet, link));
  if (hook.verdict === "drop") return { kind: "drop", rule: "C-2.0-02", because: "the firewall drops it" };
  const { destination } = packet;
  const deliver = (because: string, rule: "C-2.0-01" | "C-2.0-02"): IpVerdict => {
    if (packet.protocol === "ipip" && packet.inner)
      return again({ ...packet.inner, link: packet.link, frame: "unicast" });
    return {
      kind: "deliver",
      on: link.name,
      seenDestination: destination,
      replySource: destination,
      rule,
      because,
      ...(hook.divert?.kind === "redirect" && hook.divert.port !== undefined ? { port: hook.divert.port } : {}),
    };
  };
  if (hook.divert?.kind === "redirect")
    return deliver("a firewall redirect delivers it whatever its destination", "C-2.0-02");
  if (destination >>> 24 === 127) return deliver("127/8 is local", "C-2.0-01");
  const held = host.ownAddresses.get(destination)?.some((a) => a.link.up);
  if (held) return deliver("an up device has this address", "C-2.0-01");
  const isBroadcast = host.links.some(
    (l) =>
      l.up &&
      l.addresses.some((a) => {
        if (a.prefixLength >= 31) return a.broadcast === destination;
        const network = (a.prefixAddress & a.mask) >>> 0;
        return destination === network || destination === (network | ~a.mask) >>> 0 || a.broadcast === destination;
      }),
  );
  if (destination === 0xffffffff || destination === 0 || isBroadcast) return deliver("it is a broadcast", "C-2.0-01");
  if (!host.ipForward && !link.conf.forwarding)
    return { kind: "drop", rule: "C-2.0-01", because: "no up device has this address, and the host is no router" };
  const route = fibLookup(host, flowOf({ destination }));
  const out = route && deviceOf(route);
  if (!out)
    return { kind: "drop", rule: "C-2.0-01", because: "no up device has this address, and no route leads there" };
  return {
    kind: "forward",
    out: out.name,
    rule: "C-2.0-01",
    because: "no up device has this address: it is routed on",
  };
}
