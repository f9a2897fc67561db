import { ANY, type Ipv4 } from "../base/ipv4.ts";
import { type Mac, ZERO_MAC } from "../base/mac.ts";
import { devices20, deviceTowards20 } from "./answerArp20.ts";
import { runHook } from "./filters.ts";
import { type Host, linkAt } from "./host.ts";
import { type Address, holdsPrefix, type Link, receiverOf } from "./link.ts";
import { isLocal, ownerOf } from "./localTable.ts";
import type { RuleId } from "./rules.ts";
import { selectSource } from "./selectSource.ts";

/** A packet that waits for its next hop's MAC, or (no source) the kernel's own revalidation. */
export interface Solicitation {
  /** ifindex of the link the request leaves by. */
  readonly link: number;
  /** Source of the waiting packet as it stands in its header then: a reply's VIP, a forwarded packet's client. */
  readonly packetSource?: Ipv4;
  /** Who is asked for. */
  readonly nextHop: Ipv4;
  /** 2.0: the alias the route names ("eth0:0"). */
  readonly alias?: string;
  /** Unicast revalidation goes to this MAC. */
  readonly knownMac?: Mac;
}

export interface AnnounceRequest {
  readonly kind: "request";
  /** The sender address of the ARP request: what everyone who hears it learns. */
  readonly senderIp: Ipv4;
  readonly senderMac: Mac;
  readonly out: string;
  readonly rule: RuleId;
  readonly because: string;
  /** True if the sender is the waiting packet's source; false: selected by the kernel. */
  readonly fromPacket: boolean;
  readonly unconfirmed?: true;
  readonly notUnderstood?: readonly string[];
}

export interface AnnounceNothing {
  readonly kind: "none";
  readonly rule: RuleId;
  readonly because: string;
  readonly notUnderstood?: readonly string[];
}

export type AnnounceVerdict = AnnounceRequest | AnnounceNothing;

const LINK_SCOPE = 253;

/** Which sender address the host's own ARP request carries: the leak, or not. arp_solicit of net/ipv4/arp.c. */
export function announce(host: Host, question: Solicitation): AnnounceVerdict {
  const link = receiverOf(linkAt(host, question.link));
  if (!link.up) return { kind: "none", rule: "A-ALL-01", because: "the link is down" };
  if (link.noArp || link.loopback)
    return { kind: "none", rule: "A-ALL-01", because: "a link that is NOARP or loopback resolves nothing" };
  if (link.mac === undefined) return { kind: "none", rule: "A-ALL-02", because: "the link has no Ethernet address" };
  if (!link.ipv4State) return { kind: "none", rule: "C-2.2-06", because: "the link has no IPv4 state" };
  const chosen = chooseSender(host, link, question);
  const request: AnnounceRequest = {
    kind: "request",
    out: link.name,
    senderMac: link.mac,
    ...chosen,
  };
  return throughOutputHook(host, link, request, question);
}

type Chosen = Pick<AnnounceRequest, "senderIp" | "rule" | "because" | "fromPacket" | "unconfirmed">;

function chooseSender(host: Host, link: Link, question: Solicitation): Chosen {
  const { switches } = host;
  if (switches.arpScope === "device") {
    const device = devices20(link).find((d) => d.name === question.alias) ?? deviceTowards20(link, question.nextHop);
    return {
      senderIp: device?.address?.ip ?? ANY,
      rule: "B-2.0-01",
      because: "2.0 takes the address of the device the request leaves by",
      fromPacket: false,
    };
  }
  const source = question.packetSource;
  const selected = (rule: RuleId, because: string): Chosen => ({
    senderIp: selectSource(host, link, question.nextHop, LINK_SCOPE),
    rule,
    because,
    fromPacket: false,
  });
  const asIs = (rule: RuleId, because: string): Chosen => ({
    senderIp: source ?? ANY,
    rule,
    because,
    fromPacket: true,
  });
  if (source === undefined) return selected("B-2.2-03", "no packet waits: the kernel selects an address of the link");
  const mode = switches.arpIgnoreAnnounce ? link.conf.arpAnnounce : 0;
  if (mode === 2) return selected("B-2.6-04", "arp_announce 2: the kernel selects an address of the link");
  if (!isLocal(host, source, link))
    return selected("B-2.6-08", "the waiting packet's source is not local: the kernel selects an address");
  const hushed = hushedOwner(host, source);
  if (hushed) return { ...selected(hushed.rule, hushed.because), ...(hushed.unconfirmed ? { unconfirmed: true } : {}) };
  if (mode === 1) {
    const known = (a: Address): boolean =>
      !(switches.announceNeedsPrimary && a.secondary) && holdsPrefix(a, question.nextHop) && holdsPrefix(a, source);
    return link.addresses.some(known)
      ? asIs("B-2.6-03", "arp_announce 1: a subnet of the link covers the source and the one asked for")
      : selected("B-2.6-03", "arp_announce 1: no subnet of the link covers the source: the kernel selects an address");
  }
  const leaky = asIs(
    switches.arpIgnoreAnnounce ? "B-2.6-02" : "B-2.2-01",
    "the waiting packet's source is local: it is announced, whatever link holds it",
  );
  return host.unconfirmed && ownerOf(host, source) !== link ? { ...leaky, unconfirmed: true } : leaky;
}

/** B-2.2h-01, B-2.4h-01, A-2.2inv-03. */
function hushedOwner(host: Host, source: Ipv4): { rule: RuleId; because: string; unconfirmed?: true } | undefined {
  const { switches } = host;
  if (!switches.hiddenFlag && !switches.arpInvisible) return undefined;
  const owner = ownerOf(host, source);
  if (switches.hiddenFlag && owner?.conf.hidden)
    return {
      rule: switches.arpIgnoreAnnounce || switches.hiddenOwner === "address first" ? "B-2.4h-01" : "B-2.2h-01",
      because: "the link that holds the source is hidden: the kernel selects an address",
    };
  if (switches.arpInvisible && owner?.conf.invisible)
    return {
      rule: "A-2.2inv-03",
      because: "the link that holds the source is arp_invisible: the kernel selects an address",
      unconfirmed: true,
    };
  return undefined;
}

function throughOutputHook(host: Host, link: Link, request: AnnounceRequest, question: Solicitation): AnnounceVerdict {
  if (host.filters.arpOutput.length === 0) return request;
  const hook = runHook(host.filters.arpOutput, {
    in: "",
    out: link.name,
    source: request.senderIp,
    target: question.nextHop,
    sourceMac: request.senderMac,
    targetMac: question.knownMac ?? ZERO_MAC,
    arpOperation: 1,
    protocol: "arp",
    sourcePort: 0,
    targetPort: 0,
    mark: 0,
  });
  const doubt = hook.notUnderstood.length > 0 ? { notUnderstood: hook.notUnderstood } : {};
  if (hook.verdict === "drop")
    return { kind: "none", rule: "A-2.6-20", because: "an ARP output filter drops the request", ...doubt };
  if (hook.packet.source === request.senderIp && hook.packet.sourceMac === request.senderMac)
    return { ...request, ...doubt };
  return {
    ...request,
    senderIp: hook.packet.source,
    senderMac: hook.packet.sourceMac as Mac,
    rule: "A-2.6-20",
    because: "an ARP output filter rewrites the sender",
    fromPacket: false,
    ...doubt,
  };
}

export interface LinkEvent {
  readonly kind: "link up" | "mac change" | "peer notification" | "address added";
  /** ifindex. */
  readonly link: number;
}

export interface SelfAnnouncement {
  /** Addresses that go out as gratuitous requests, in order. */
  readonly addresses: readonly Ipv4[];
  readonly rule: RuleId;
  readonly because: string;
}

/** What the kernel announces unasked when something happens to a link (B-G-01). inetdev_event. */
export function announcesByItself(host: Host, event: LinkEvent): SelfAnnouncement {
  const link = linkAt(host, event.link);
  const { switches } = host;
  const nothing = (because: string): SelfAnnouncement => ({ addresses: [], rule: "B-G-01", because });
  if (event.kind === "address added") return nothing("the kernel never announces an address that is added");
  if (link.noArp || link.loopback || link.mac === undefined) return nothing("the link does not speak ARP");
  if (event.kind === "peer notification") {
    if (!switches.peerNotification) return nothing("this kernel knows no peer notification");
  } else if (switches.arpNotify === "none") return nothing("this kernel has no arp_notify");
  else if (link.conf.arpNotify === 0) return nothing("arp_notify is off");
  const [first] = link.addresses;
  const all =
    switches.arpNotify === "all"
      ? link.addresses.map((a) => a.ip)
      : first
        ? [switches.arpNotify === "first prefix address" ? first.prefixAddress : first.ip]
        : [];
  const sent = all.filter((ip) => passesOutput(host, link, ip));
  return {
    addresses: sent,
    rule: "B-G-01",
    because:
      event.kind === "peer notification"
        ? "a peer notification announces the link's addresses whatever arp_notify says"
        : "arp_notify announces the link's addresses",
  };
}

function passesOutput(host: Host, link: Link, ip: Ipv4): boolean {
  if (host.filters.arpOutput.length === 0) return true;
  return (
    runHook(host.filters.arpOutput, {
      in: "",
      out: link.name,
      source: ip,
      target: ip,
      sourceMac: link.mac ?? "",
      targetMac: ZERO_MAC,
      arpOperation: 1,
      protocol: "arp",
      sourcePort: 0,
      targetPort: 0,
      mark: 0,
    }).verdict === "accept"
  );
}
