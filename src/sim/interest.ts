/**
 * Which ARP broadcasts a host must hear, so that all others need not be handed to it. Legal only where the model says
 * for certain that nothing comes of them; `everything` wherever that cannot be said.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { ZERO_MAC } from "../base/mac.ts";
import { answerArp } from "../model/answerArp.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import type { Interest } from "./lan.ts";

export const hearsAll: Interest = { everything: true, targets: [] };

export function interestOf(host: Host, link: Link): Interest {
  const { conf } = link;
  if (host.filters.arpInput.length > 0 || host.filters.arpOutput.length > 0) return hearsAll;
  if (host.customLocalRoutes || host.customRules) return hearsAll;
  if (link.master !== undefined || link.vrf !== undefined || link.macvlans.length > 0 || link.segment !== undefined)
    return hearsAll;
  if (conf.arpAccept !== 0 || conf.routeLocalnet) return hearsAll;
  // somebody else's address could be answered for
  if (host.published.size > 0 || (conf.forwarding && (conf.proxyArp || conf.proxyPvlan))) return hearsAll;
  if (conf.forwarding && host.switches.natRoutes && host.facts.routes.some((r) => r.type === "nat")) return hearsAll;
  // a prefix on a loopback makes all of it local (A-2.2-05)
  const wideLoopback = host.links.some(
    (l) => l.loopback && l.addresses.some((a) => a.prefixLength < 32 && a.ip >>> 24 !== 127),
  );
  if (wideLoopback) return hearsAll;
  const learnsInSilence = host.switches.learnBeforeSilence || host.switches.arpScope === "device";
  const targets: Ipv4[] = [];
  for (const ip of host.ownAddresses.keys())
    if (ip >>> 24 !== 127 && (learnsInSilence || mayAnswer(host, link, ip as Ipv4))) targets.push(ip as Ipv4);
  return { everything: false, targets };
}

/**
 * A probe passes the same arp_ignore and hidden tests as a question, without those of its sender (A-2.6-10): who
 * answers no probe for an address answers no question for it.
 */
const mayAnswer = (host: Host, link: Link, target: Ipv4): boolean =>
  answerArp(host, {
    link: link.index,
    frame: "broadcast",
    operation: 1,
    senderMac: ZERO_MAC,
    senderIp: 0 as Ipv4,
    targetMac: ZERO_MAC,
    targetIp: target,
  }).kind === "reply";
