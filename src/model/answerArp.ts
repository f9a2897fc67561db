import { type Ipv4, isMulticast } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { answerArp20 } from "./answerArp20.ts";
import type { ArpPacket, ArpReply, ArpSilence, ArpVerdict, CacheEffect } from "./arpVerdict.ts";
import { type HookPacket, runHook } from "./filters.ts";
import { type Host, linkAt } from "./host.ts";
import { type Link, receiverOf } from "./link.ts";
import { isLocal, ownerOf } from "./localTable.ts";
import { type InputFault, type InputOutcome, routeInput } from "./routeInput.ts";
import { outputDevice } from "./routes.ts";
import type { RuleId } from "./rules.ts";
import { confirmAnywhere, confirmOn } from "./selectSource.ts";

export type { ArpPacket, ArpReply, ArpSilence, ArpVerdict, CacheEffect, FrameKind } from "./arpVerdict.ts";

const nobody: readonly ArpReply[] = [];

/**
 * Says whether this host answers an ARP request heard on one link, and which rule decided. `packet.link` must be a
 * link of the host, else RangeError. Source: arp_rcv and arp_process of net/ipv4/arp.c.
 */
export function answerArp(host: Host, packet: ArpPacket): ArpVerdict {
  const port = linkAt(host, packet.link);
  const main = receiverOf(port);
  if (!port.up) return silent("A-ALL-01", "the link is down", main, "none");
  if (packet.frame === "unicast") return decide(host, main, packet);
  if (main.macvlans.length === 0 && port.segment === undefined) return decide(host, main, packet);
  const verdicts = hearers(host, port, main).map((link) => decide(host, link, packet));
  const replies = verdicts.filter((v): v is ArpReply => v.kind === "reply");
  const [first, ...also] = replies;
  return first ? (also.length > 0 ? { ...first, also } : first) : (verdicts[0] ?? decide(host, main, packet));
}

/** Every link of the host whose ARP code sees a group frame that came in on `port`. */
function hearers(host: Host, port: Link, main: Link): Link[] {
  const ports =
    port.segment === undefined ? [port] : [port, ...host.links.filter((l) => l !== port && l.segment === port.segment)];
  const heard = new Set<Link>([main]);
  for (const link of ports.filter((p) => p.up)) {
    const receiver = receiverOf(link);
    heard.add(receiver);
    for (const macvlan of receiver.macvlans) if (macvlan.up && macvlan.mode !== "source") heard.add(macvlan);
  }
  return [...heard];
}

const silent = (rule: RuleId, because: string, link: Link, cache: CacheEffect): ArpSilence => ({
  kind: "silent",
  rule,
  because,
  heardOn: link.name,
  cache,
});

/** One link's ARP code. Also what the neighbour cache rules ask: which of its paths did the packet take? */
export function decide(host: Host, link: Link, packet: ArpPacket): ArpVerdict {
  const { switches } = host;
  if (!link.up) return silent("A-ALL-01", "the link is down", link, "none");
  if (link.noArp) return silent("A-ALL-01", "the receiving link is NOARP", link, "none");
  if (packet.frame === "other") return silent("A-ALL-01", "the frame is addressed to another host", link, "none");
  if (switches.arpScope === "device") return answerArp20(host, link, packet);
  if (packet.frame === "own") return silent("A-ALL-01", "the frame is the host's own, looped back", link, "none");
  if (link.mac === undefined) return silent("A-ALL-02", "the link has no Ethernet address", link, "none");
  if (host.filters.arpInput.length > 0) {
    const hook = runHook(host.filters.arpInput, hookPacket(packet, link.name, ""));
    const changed = hook.packet;
    const next =
      hook.verdict === "drop"
        ? silent("A-2.6-20", "an ARP input filter drops the packet", link, "none")
        : arpProcess(host, link, rewritten(packet, changed));
    return hook.notUnderstood.length > 0 ? { ...next, notUnderstood: hook.notUnderstood } : next;
  }
  return arpProcess(host, link, packet);
}

const rewritten = (packet: ArpPacket, changed: HookPacket): ArpPacket => ({
  ...packet,
  senderIp: changed.source,
  targetIp: changed.target,
  senderMac: changed.sourceMac as Mac,
  targetMac: changed.targetMac as Mac,
});

/** The packet as the link's ARP code gets it: an input filter may have rewritten it (A-2.6-20). */
export function heardBy(host: Host, link: Link, packet: ArpPacket): ArpPacket {
  if (host.filters.arpInput.length === 0) return packet;
  return rewritten(packet, runHook(host.filters.arpInput, hookPacket(packet, link.name, "")).packet);
}

const hookPacket = (packet: ArpPacket, into: string, out: string): HookPacket => ({
  in: into,
  out,
  source: packet.senderIp,
  target: packet.targetIp,
  sourceMac: packet.senderMac,
  targetMac: packet.targetMac,
  arpOperation: packet.operation,
  protocol: "arp",
  sourcePort: 0,
  targetPort: 0,
  mark: 0,
});

/** arp_process. */
function arpProcess(host: Host, link: Link, packet: ArpPacket): ArpVerdict {
  const { switches } = host;
  const { conf } = link;
  const { senderIp, targetIp } = packet;
  if (!link.ipv4State) return silent("C-2.2-06", "the link has no IPv4 state", link, "none");
  if (packet.operation !== 1 && packet.operation !== 2)
    return silent("A-ALL-02", "neither a request nor a reply", link, "none");
  if (isMulticast(targetIp)) return silent("A-ALL-03", "the target is a multicast address", link, "none");
  if (targetIp >>> 24 === 127 && !conf.routeLocalnet)
    return silent("A-ALL-03", "the target is a loopback address", link, "none");
  if (senderIp === targetIp && conf.dropGratuitous)
    return silent("A-2.6-01", "drop_gratuitous_arp drops what announces an address", link, "none");
  if (senderIp === 0 || (switches.gratuitousAsProbe && senderIp === targetIp)) return probe(host, link, packet);
  if (packet.operation === 2) return silent("B-N-03", "a reply asks for nothing", link, "existing");

  const input = routeInput(host, link, {
    source: senderIp,
    destination: targetIp,
    arp: true,
    tos: 0,
    mark: 0,
    protocol: 0,
    sourcePort: 0,
    destinationPort: 0,
  });
  switch (input.kind) {
    case "local":
      return localTarget(host, link, packet);
    case "forward":
    case "nat":
      return proxied(host, link, packet, input);
    case "broadcast":
      return silent("A-2.2-08", "the target is a broadcast address", link, "existing");
    case "refused": {
      const [rule, because] = refusal(host, input.fault);
      return silent(rule, because, link, "existing");
    }
  }
}

/** A-2.2-01, A-2.6-10, A-2.6-22: no routing, no source check, nothing learned. */
function probe(host: Host, link: Link, packet: ArpPacket): ArpVerdict {
  const { switches } = host;
  const rule: RuleId = packet.senderIp !== 0 ? "A-2.6-22" : switches.arpIgnoreAnnounce ? "A-2.6-10" : "A-2.2-01";
  if (packet.operation !== 1) return silent(rule, "a reply from 0.0.0.0 means nothing", link, "none");
  if (!isLocal(host, packet.targetIp, link)) return silent(rule, "the target is not local", link, "none");
  const hush = ignored(host, link, packet) ?? hiddenFrom(host, link, packet, true);
  if (hush) return mark(host, silent(hush.rule, hush.because, link, "none"), hush.unconfirmed);
  const own = switches.probeReplyForm === "own";
  return send(host, link, packet, {
    rule,
    because: "a probe for a local address is answered",
    cache: "none",
    delayedUpToMs: 0,
    targetIp: own ? packet.targetIp : packet.senderIp,
    targetMac: own && link.mac !== undefined ? link.mac : packet.senderMac,
  });
}

interface Hush {
  readonly rule: RuleId;
  readonly because: string;
  readonly unconfirmed?: true;
}

function localTarget(host: Host, link: Link, packet: ArpPacket): ArpVerdict {
  const hush = ignored(host, link, packet) ?? filtered(host, link, packet) ?? hiddenFrom(host, link, packet, false);
  if (hush) {
    const cache = host.switches.learnBeforeSilence ? "create" : "none"; // A-2.6-12
    return mark(host, silent(hush.rule, hush.because, link, cache), hush.unconfirmed);
  }
  const modern = host.switches.arpIgnoreAnnounce;
  const mode = link.conf.arpIgnore;
  const [rule, because] = !modern
    ? (["A-2.2-03", "the target is local"] as const)
    : mode === 1
      ? (["A-2.6-04", "the target is an address of the receiving link"] as const)
      : mode === 2
        ? (["A-2.6-05", "the target is an address of the receiving link, and the asker is in its subnet"] as const)
        : mode === 3
          ? (["A-2.6-06", "the target's address is not of scope host"] as const)
          : (["A-2.6-03", "the target is local, and arp_ignore does not restrict"] as const);
  return send(host, link, packet, {
    rule,
    because,
    cache: "create",
    delayedUpToMs: 0,
    targetIp: packet.senderIp,
    targetMac: packet.senderMac,
  });
}

/** arp_ignore: A-2.6-02 to A-2.6-09. */
function ignored(host: Host, link: Link, packet: ArpPacket): Hush | undefined {
  if (!host.switches.arpIgnoreAnnounce) return undefined;
  switch (link.conf.arpIgnore) {
    case 1:
      if (confirmOn(host, link, packet.targetIp, 0 as Ipv4, 254)) return undefined;
      return { rule: "A-2.6-04", because: "arp_ignore 1: the target is not configured on the receiving link" };
    case 2:
      if (confirmOn(host, link, packet.targetIp, packet.senderIp, 254)) return undefined;
      return {
        rule: "A-2.6-05",
        because:
          "arp_ignore 2: no subnet of the receiving link holds both target and asker, or the target is not there",
      };
    case 3:
      if (confirmAnywhere(host, packet.targetIp, 0 as Ipv4, 253)) return undefined;
      return { rule: "A-2.6-06", because: "arp_ignore 3: the target is held with scope host only, or by no address" };
    case 8:
      return { rule: "A-2.6-07", because: "arp_ignore 8 answers nothing" };
    default:
      return undefined;
  }
}

/** arp_filter: A-2.6-11. */
function filtered(host: Host, link: Link, packet: ArpPacket): Hush | undefined {
  if (!link.conf.arpFilter) return undefined;
  const out = outputDevice(host, packet.senderIp, packet.targetIp, link.vrf);
  if (out === link) return undefined;
  const because = out
    ? "arp_filter: the route to the asker leaves by another link"
    : "arp_filter: there is no route to the asker";
  return { rule: "A-2.6-11", because };
}

/** hidden, and the two patches that came before it: A-2.2h, A-2.2inv, A-2.2sdw, A-2.4h. */
function hiddenFrom(host: Host, link: Link, packet: ArpPacket, isProbe: boolean): Hush | undefined {
  const { switches } = host;
  if (!switches.hiddenFlag && !switches.arpInvisible && !switches.fullArpFix) return undefined;
  const owner = ownerOf(host, packet.targetIp);
  if (!owner || owner === link) return undefined;
  // A frame to this host alone is exempt (A-2.2h-04), a probe is not (A-2.2h-06).
  const exempt = packet.frame === "unicast" && !isProbe;
  if (switches.hiddenFlag && owner.conf.hidden && !exempt)
    return isProbe
      ? { rule: "A-2.2h-06", because: "the link that holds the target is hidden" }
      : { rule: "A-2.2h-03", because: "the link that holds the target is hidden, and the frame was not unicast" };
  if (switches.arpInvisible && owner.conf.invisible && !exempt)
    return { rule: "A-2.2inv-02", because: "the link that holds the target is arp_invisible", unconfirmed: true };
  if (switches.fullArpFix && (owner.loopback || owner.isTunnel))
    return { rule: "A-2.2sdw-01", because: "the target is held by a loopback or tunnel link", unconfirmed: true };
  return undefined;
}

/** Proxy ARP: A-2.2-09, A-2.6-15 to A-2.6-17. */
function proxied(
  host: Host,
  link: Link,
  packet: ArpPacket,
  input: Extract<InputOutcome, { kind: "forward" | "nat" }>,
): ArpVerdict {
  const why = proxyRule(host, link, packet, input);
  if (typeof why === "string") return silent("A-2.2-09", why, link, "existing");
  const atOnce = packet.frame === "unicast" || link.conf.proxyDelayMs === 0;
  return send(host, link, packet, {
    ...why,
    cache: "create",
    delayedUpToMs: atOnce ? 0 : link.conf.proxyDelayMs,
    targetIp: packet.senderIp,
    targetMac: packet.senderMac,
  });
}

/** Text: why not. */
function proxyRule(
  host: Host,
  link: Link,
  packet: ArpPacket,
  input: Extract<InputOutcome, { kind: "forward" | "nat" }>,
): Hush | string {
  const { conf } = link;
  // bc_forwarding lets the lookup pass, but only a unicast route is proxied (arp_process).
  if (input.kind === "forward" && input.route.type === "broadcast") return "the target is a broadcast address";
  if (input.kind === "nat") return { rule: "A-2.2-09", because: "a NAT route counts as a published entry" };
  const { out } = input;
  if (out === link)
    return packet.senderIp !== packet.targetIp
      ? { rule: "A-2.6-16", because: "proxy_arp_pvlan answers for neighbours on the same link" }
      : "the route to the target leaves by the receiving link";
  const published = host.published
    .get(packet.targetIp)
    ?.some((p) => p.mask === 0xffffffff && (p.link === undefined || p.link === link));
  if (conf.proxyArp) {
    if (!host.switches.mediumId || conf.mediumId === 0)
      return { rule: "A-2.2-09", because: "proxy_arp: the target is routed out of another link" };
    if (conf.mediumId !== -1 && out.conf.mediumId !== conf.mediumId && out.conf.mediumId !== -1)
      return { rule: "A-2.6-17", because: "proxy_arp: the target is routed to another medium" };
  }
  if (published) return { rule: "A-2.2-09", because: "a published entry exists for the target" };
  return conf.proxyArp
    ? "medium_id keeps proxy_arp from answering"
    : "the target is behind another link, and neither proxy_arp nor a published entry applies";
}

interface Answer {
  readonly rule: RuleId;
  readonly because: string;
  readonly cache: CacheEffect;
  readonly delayedUpToMs: number;
  readonly targetIp: Ipv4;
  readonly targetMac: Mac;
}

/** The answer passes the output hook, which may drop it or rewrite its sender (A-2.6-20). */
function send(host: Host, link: Link, packet: ArpPacket, answer: Answer): ArpVerdict {
  let senderIp = packet.targetIp;
  let senderMac = link.mac as Mac;
  let { targetIp, targetMac } = answer;
  let notUnderstood: readonly string[] | undefined;
  if (host.filters.arpOutput.length > 0) {
    const hook = runHook(host.filters.arpOutput, {
      ...hookPacket(packet, "", link.name),
      arpOperation: 2,
      source: senderIp,
      sourceMac: senderMac,
      target: targetIp,
      targetMac,
    });
    if (hook.notUnderstood.length > 0) notUnderstood = hook.notUnderstood;
    if (hook.verdict === "drop") {
      const dropped = silent("A-2.6-20", "an ARP output filter drops the answer", link, answer.cache);
      return notUnderstood ? { ...dropped, notUnderstood } : dropped;
    }
    senderIp = hook.packet.source;
    senderMac = hook.packet.sourceMac as Mac;
    targetIp = hook.packet.target;
    targetMac = hook.packet.targetMac as Mac;
  }
  const reply: ArpReply = {
    kind: "reply",
    rule: answer.rule,
    because: answer.because,
    heardOn: link.name,
    cache: answer.cache,
    via: link.name,
    senderMac,
    senderIp,
    targetMac,
    targetIp,
    to: packet.senderMac,
    delayedUpToMs: answer.delayedUpToMs,
    also: nobody,
  };
  if (host.unconfirmed) return mark(host, reply, patchedPath(host, link, packet.targetIp));
  return notUnderstood ? { ...reply, notUnderstood } : reply;
}

/** With an unread patch, an answer for an address of another device is an inference, too. */
const patchedPath = (host: Host, link: Link, target: Ipv4): true | undefined => {
  const owner = ownerOf(host, target);
  return owner !== undefined && owner !== link ? true : undefined;
};

const mark = <T extends ArpVerdict>(host: Host, verdict: T, unconfirmed: true | undefined): T =>
  host.unconfirmed && unconfirmed ? { ...verdict, unconfirmed } : verdict;

const refusals: Partial<Record<InputFault, readonly [RuleId, string]>> = {
  "no ipv4 state": ["C-2.2-06", "the link has no IPv4 state"],
  "source is multicast": ["A-2.2-07", "the sender is a multicast or broadcast address"],
  "source is zero": ["A-2.2-07", "the sender is in 0.0.0.0/8"],
  "source is class E": ["A-2.2-07", "the sender is a class E address"],
  "source is loopback": ["A-2.2-07", "the sender is a loopback address"],
  "target is broadcast": ["A-2.2-08", "the target is a broadcast address"],
  "target is zero": ["A-2.2-08", "the target is in 0.0.0.0/8"],
  "target is class E": ["A-2.2-02", "the target is a class E address"],
  "target is loopback": ["A-ALL-03", "the target is a loopback address"],
  "target type": ["A-2.2-02", "the route to the target is neither local nor unicast"],
  "not a router": ["A-2.2-02", "the target is not local, and the link does not forward"],
  "no route": ["A-2.2-02", "the target is not local, and there is no route to it"],
  "same device": ["A-2.2-09", "the route to the target leaves by the receiving link"],
};

function refusal(host: Host, fault: InputFault): readonly [RuleId, string] {
  const known = refusals[fault];
  if (known) return known;
  const modern = host.switches.rpCombine === "max";
  const filter: RuleId = modern ? "A-2.6-14" : "A-2.2-07";
  switch (fault) {
    case "source own":
      return [host.switches.acceptLocal ? "A-2.6-13" : "A-2.2-07", "the sender address is local here"];
    case "source type":
      return [host.switches.acceptLocal ? "A-2.6-13" : "A-2.2-07", "the route to the sender is not a unicast route"];
    case "source strict":
      return [filter, "rp_filter: the sender is routed out of another link"];
    case "source unnumbered":
      return [filter, "rp_filter: the receiving link has no address"];
    default:
      return [filter, "rp_filter: there is no route to the sender"];
  }
}
