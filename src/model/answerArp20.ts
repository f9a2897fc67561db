import { type Ipv4, isMulticast } from "../base/ipv4.ts";
import type { ArpPacket, ArpReply, ArpSilence, ArpVerdict, CacheEffect } from "./arpVerdict.ts";
import type { Host } from "./host.ts";
import { type Address, holdsPrefix, type Link } from "./link.ts";
import { fibLookup, flowOf } from "./routes.ts";
import { deviceOf } from "./routingTable.ts";
import type { RuleId } from "./rules.ts";

/** One device of 2.0: a link with its first address, or an alias ("eth0:0") with its own. */
export interface Device20 {
  readonly name: string;
  readonly address: Address | undefined;
  readonly noArp: boolean;
}

/** An alias is an address whose label says so; a second address without a label can only be one, too. */
export function devices20(link: Link): Device20[] {
  const isAlias = (a: Address): boolean => a.label?.includes(":") === true;
  const main = link.addresses.find((a) => !isAlias(a));
  const devices: Device20[] = [{ name: link.name, address: main, noArp: link.noArp }];
  for (const address of link.addresses) {
    if (address === main) continue;
    const name = address.label ?? link.name;
    devices.push({ name, address, noArp: link.aliasFlags[name]?.includes("NOARP") ?? false });
  }
  return devices;
}

/** A-2.0-04: the device of `link` over which the route to `ip` leaves; the main one where that cannot be told. */
export function deviceTowards20(link: Link, ip: Ipv4): Device20 | undefined {
  const devices = devices20(link);
  const covering = devices.filter((d) => d.address && holdsPrefix(d.address, ip));
  return covering.sort((a, b) => (b.address?.prefixLength ?? 0) - (a.address?.prefixLength ?? 0))[0] ?? devices[0];
}

/** ARP belongs to the device. No source check, no host-wide addresses. arp_rcv of 2.0. */
export function answerArp20(host: Host, link: Link, packet: ArpPacket): ArpVerdict {
  const { targetIp } = packet;
  const silent = (rule: RuleId, because: string, cache: CacheEffect): ArpSilence => ({
    kind: "silent",
    rule,
    because,
    heardOn: link.name,
    cache,
  });
  if (link.mac === undefined) return silent("A-ALL-02", "the link has no Ethernet address", "none");
  if (isMulticast(targetIp) || targetIp >>> 24 === 127)
    return silent("A-ALL-03", "the target is a multicast or loopback address", "none");
  const devices = devices20(link);
  const [main] = devices;
  const holder = devices.find((d) => d.address?.ip === targetIp);
  const chosen = holder ?? (devices.length > 1 ? deviceTowards20(link, packet.senderIp) : main);
  if (!chosen) return silent("A-2.0-01", "the device has no address", "existing");
  if (chosen !== main && chosen.noArp)
    return silent("A-2.0-03", "the alias that was chosen for the target is NOARP", "none");
  if (packet.operation !== 1) return silent("B-2.0-02", "not a request", "existing");
  const reply = (rule: RuleId, because: string, mac: ArpReply["senderMac"]): ArpReply => ({
    kind: "reply",
    rule,
    because,
    heardOn: link.name,
    cache: chosen.address?.ip === targetIp ? "create" : "existing",
    via: link.name,
    senderMac: mac,
    senderIp: targetIp,
    targetMac: packet.senderMac,
    targetIp: packet.senderIp,
    to: packet.senderMac,
    delayedUpToMs: 0,
    also: [],
  });
  if (holder) {
    const own = packet.senderIp === 0 || packet.senderIp === targetIp;
    return reply(own ? "A-2.0-05" : "A-2.0-01", "the target is the address of this device or its alias", link.mac);
  }
  // A-2.0-06: the first match in list order decides, also if it then does not count.
  const entry = host.publishedInOrder.find((p) => p.deviceName === chosen.name && ((p.ip ^ targetIp) & p.mask) === 0);
  if (entry && (entry.mask !== 0 || !(chosen.address && holdsPrefix(chosen.address, targetIp)))) {
    const route = fibLookup(host, flowOf({ destination: targetIp }));
    const out = route && deviceOf(route);
    if (out && out !== link) return reply("A-2.0-06", "a published entry covers the target", entry.mac ?? link.mac);
  }
  const elsewhere = host.ownAddresses.has(targetIp);
  return elsewhere
    ? silent("A-2.0-02", "the target belongs to another device", "existing")
    : silent("A-2.0-01", "the target is not the address of this device or its aliases", "existing");
}
