import { ANY, formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import { type Mac, parseMac, ZERO_MAC } from "../base/mac.ts";
import { announce, announcesByItself, type LinkEvent } from "./announce.ts";
import { type ArpPacket, answerArp, type FrameKind } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import { type NeighbourState, neighbourStates } from "./facts.ts";
import type { Host } from "./host.ts";
import { parseIpv6 } from "./ipv6.ts";
import { type Link, receiverOf } from "./link.ts";
import { answerNdp } from "./ndp.ts";
import {
  emptyCache,
  type NeighbourCache,
  type NeighbourEntry,
  neighbour,
  neighbourEntry,
  neighbourKey,
} from "./neighbour.ts";
import { neighbourDeadlineMs, neighbourTick, neighbourUse } from "./neighbourTimers.ts";
import { isProtocol, protocolNumber } from "./protocols.ts";
import { type IpHeader, type IpPacket, receive } from "./receive.ts";
import { fault, hostFacts, ip4, type Json, list, object, optionalText, text, VectorFault } from "./vectorHost.ts";

/** One field in which the model says something else. */
export interface VectorDifference {
  readonly field: string;
  readonly expected: unknown;
  readonly given: unknown;
}

export interface VectorCase {
  readonly id: string;
  readonly kind: string;
  readonly title: string;
  readonly ok: boolean;
  readonly expected: Json;
  /** What the model says, in the words of the vectors, with the rule that decided. */
  readonly given: Json;
  readonly differences: readonly VectorDifference[];
  /** The vector could not be run at all: what is wrong with it. */
  readonly fault?: string;
}

export interface VectorsReport {
  readonly total: number;
  readonly passed: number;
  readonly failed: number;
  readonly cases: readonly VectorCase[];
}

/**
 * Runs every vector of a document in the schema of kernel-vectors.json. Never throws: a vector that cannot be read is
 * a failing case with the reason, and one that differs does not stop the next.
 */
export function runVectors(document: unknown): VectorsReport {
  const vectors = vectorsOf(document);
  const cases = Array.isArray(vectors)
    ? vectors.map((v, i) => runVector(v, i))
    : [broken("", "", "", {}, "the document holds no list of vectors")];
  const passed = cases.filter((c) => c.ok).length;
  return { total: cases.length, passed, failed: cases.length - passed, cases };
}

function vectorsOf(document: unknown): unknown {
  if (Array.isArray(document)) return document;
  return typeof document === "object" && document !== null && "vectors" in document ? document.vectors : undefined;
}

const broken = (id: string, kind: string, title: string, expected: Json, why: string): VectorCase => ({
  id,
  kind,
  title,
  ok: false,
  expected,
  given: {},
  differences: [],
  fault: why,
});

const textOr = (value: unknown, otherwise: string): string => (typeof value === "string" ? value : otherwise);

export function runVector(value: unknown, index: number): VectorCase {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return broken(`#${index}`, "", "", {}, "is not an object");
  const vector = value as Json;
  const id = textOr(vector.id, `#${index}`);
  const kind = textOr(vector.kind, "");
  const title = textOr(vector.title, "");
  let expected: Json = {};
  try {
    expected = object(vector.expect, "expect");
    const answer = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
    if (!answer) return broken(id, kind, title, expected, `kind: ${kind === "" ? "missing" : kind} is not known`);
    const host = compileHost(hostFacts(vector));
    const given = answer(host, object(vector.event, "event"));
    const differences: VectorDifference[] = [];
    const compared = Object.entries(expected).filter(([field]) => field !== "reason" && field !== "note"); // prose
    if (compared.length === 0) return broken(id, kind, title, expected, "expect: holds nothing that can be compared");
    for (const [field, wanted] of compared) {
      if (!same(wanted, given[field])) differences.push({ field, expected: wanted, given: given[field] ?? null });
    }
    return { id, kind, title, ok: differences.length === 0, expected, given, differences };
  } catch (error) {
    if (error instanceof VectorFault || error instanceof RangeError)
      return broken(id, kind, title, expected, error.message);
    return broken(id, kind, title, expected, `the model failed: ${error instanceof Error ? error.message : error}`);
  }
}

/** Lists are compared without order, text without case, and null is the same as nothing. */
function same(a: unknown, b: unknown): boolean {
  if (a === null || a === undefined) return b === null || b === undefined;
  if (Array.isArray(a) && Array.isArray(b)) {
    const sorted = (l: readonly unknown[]): string => JSON.stringify(l.map(plain).sort());
    return sorted(a) === sorted(b);
  }
  return plain(a) === plain(b);
}
const plain = (value: unknown): string =>
  (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).toLowerCase();

type Kind = (host: Host, event: Json) => Json;

const kinds: Readonly<Record<string, Kind>> = {
  arp_request: arpRequest,
  arp_solicit: arpSolicit,
  garp,
  neigh,
  ip_input: ipInput,
  ndp,
};

function linkNamed(host: Host, value: unknown, where: string): Link {
  const name = text(value, where);
  // 2.0 aliases are devices of their own; their frames come in on the main device.
  return (
    host.linkByName.get(name) ??
    host.linkByName.get(name.split(":")[0] ?? name) ??
    fault(where, `there is no interface ${name}`)
  );
}

const frames: Readonly<Record<string, FrameKind>> = {
  broadcast: "broadcast",
  multicast: "broadcast",
  unicast: "unicast",
  other: "other",
  own: "own",
  loopback: "own",
};
function frameOf(value: unknown, where: string, otherwise: FrameKind): FrameKind {
  if (value === undefined) return otherwise;
  const name = text(value, where);
  return frames[name] ?? fault(where, `${name} is not known`);
}

const ip = (value: unknown, where: string): Ipv4 => parseIpv4(ip4(value, where)) ?? ANY;
function macOf(value: unknown, where: string, otherwise: Mac): Mac {
  const given = optionalText(value, where);
  if (given === undefined) return otherwise;
  return parseMac(given) ?? fault(where, `${given} is not a MAC address`);
}

function arpPacket(host: Host, event: Json, where: string): ArpPacket {
  const link = linkNamed(host, event.iface, `${where}.iface`);
  const operation = { request: 1, reply: 2 }[String(event.op)] ?? event.op ?? 1;
  if (typeof operation !== "number") fault(`${where}.op`, "is not a number");
  const toUs = operation === 2 ? (receiverOf(link).mac ?? ZERO_MAC) : ZERO_MAC;
  return {
    link: link.index,
    frame: frameOf(event.frame, `${where}.frame`, "broadcast"),
    operation: operation as number,
    senderMac: macOf(event.sha, `${where}.sha`, ZERO_MAC),
    senderIp: ip(event.spa, `${where}.spa`),
    targetMac: macOf(event.tha, `${where}.tha`, toUs),
    targetIp: ip(event.tpa, `${where}.tpa`),
  };
}

function arpRequest(host: Host, event: Json): Json {
  const packet = arpPacket(host, event, "event");
  const verdict = answerArp(host, packet);
  // What silence leaves to the cache rules (B-N-05) may still make an entry.
  const learns =
    verdict.cache === "create" ||
    (host.switches.arpScope === "host" && neighbour(host, emptyCache, packet, 0).size > 0);
  const said = { rule: verdict.rule, because: verdict.because, learns_requester: learns };
  if (verdict.kind === "silent") return { result: "silent", ...said };
  const all = [verdict, ...verdict.also];
  return {
    result: "reply",
    ...said,
    sender_macs: all.map((r) => r.senderMac),
    ...(all.length === 1 ? { sender_mac: verdict.senderMac, via: verdict.via } : { via: all.map((r) => r.via) }),
    sender_ip: formatIpv4(verdict.senderIp),
    reply_sender_ip: formatIpv4(verdict.senderIp),
    reply_target_ip: formatIpv4(verdict.targetIp),
    reply_target_mac: verdict.targetMac,
    ...(verdict.delayedUpToMs > 0 ? { delayed_up_to_s: verdict.delayedUpToMs / 1000 } : {}),
    ...(verdict.unconfirmed ? { unconfirmed: true } : {}),
  };
}

function arpSolicit(host: Host, event: Json): Json {
  const name = text(event.out_iface, "event.out_iface");
  const link = linkNamed(host, name, "event.out_iface");
  const source =
    event.packet_src === undefined || event.packet_src === null ? undefined : ip(event.packet_src, "event.packet_src");
  const verdict = announce(host, {
    link: link.index,
    nextHop: ip(event.nexthop, "event.nexthop"),
    ...(source === undefined ? {} : { packetSource: source }),
    ...(name.includes(":") ? { alias: name } : {}),
  });
  const said = { rule: verdict.rule, because: verdict.because };
  return verdict.kind === "none"
    ? { result: "none", spa: null, ...said }
    : { result: "request", spa: formatIpv4(verdict.senderIp), ...said };
}

function garp(host: Host, event: Json): Json {
  const type = text(event.type, "event.type");
  const link = linkNamed(host, event.iface, "event.iface");
  const kind: LinkEvent["kind"] = /peer|failover|migrat/.test(type)
    ? "peer notification"
    : /mac|hwaddr|changeaddr/.test(type)
      ? "mac change"
      : /add/.test(type)
        ? "address added"
        : /up/.test(type)
          ? "link up"
          : fault("event.type", `${type} is not known`);
  const verdict = announcesByItself(host, { kind, link: link.index });
  return { announced: verdict.addresses.map(formatIpv4), rule: verdict.rule, because: verdict.because };
}

/** The clock of a vector starts here, so that ages can lie before it. */
const startMs = 10_000_000;

function neigh(host: Host, event: Json): Json {
  const before = list(event.cache, "event.cache").map((c, i) => object(c, `event.cache[${i}]`));
  const packetEvent =
    event.packet === undefined || event.packet === null ? undefined : object(event.packet, "event.packet");
  const packet = packetEvent && arpPacket(host, packetEvent, "event.packet");
  const link = packet
    ? receiverOf(linkNamed(host, packetEvent?.iface, "event.packet.iface"))
    : event.iface !== undefined
      ? receiverOf(linkNamed(host, event.iface, "event.iface"))
      : (host.links.find((l) => l.mac !== undefined && !l.loopback) ?? fault("host", "has no Ethernet interface"));
  const cache = new Map<number, NeighbourEntry>();
  before.forEach((c, i) => {
    const where = `event.cache[${i}]`;
    const on = c.iface ?? c.dev;
    const entry = entryOf(c, on === undefined ? link : linkNamed(host, on, `${where}.iface`), where);
    cache.set(neighbourKey(entry.link, entry.ip), entry);
  });
  if (packet) {
    const after: NeighbourCache = neighbour(host, cache, packet, startMs);
    return describe(after.get(neighbourKey(link.index, packet.senderIp)));
  }
  const [first] = cache.values();
  if (event.traffic !== true) return describe(first);
  if (!first) return fault("event.cache", "traffic needs an entry");
  return describe(
    age(host, link, first, event.responders === undefined ? {} : object(event.responders, "event.responders")),
  );
}

function entryOf(c: Json, link: Link, where: string): NeighbourEntry {
  const state = text(c.state, `${where}.state`).toUpperCase();
  if (!(neighbourStates as readonly string[]).includes(state)) fault(`${where}.state`, `${state} is not known`);
  const ageS = c.age_s ?? 3600;
  if (typeof ageS !== "number" || !(ageS >= 0)) fault(`${where}.age_s`, "is not a number of seconds");
  const updatedMs = startMs - (ageS as number) * 1000;
  const mac = optionalText(c.lladdr ?? c.mac, `${where}.lladdr`);
  return {
    ip: ip(c.ip, `${where}.ip`),
    link: link.index,
    mac: mac === undefined ? undefined : macOf(mac, `${where}.lladdr`, ZERO_MAC),
    state: state as NeighbourState,
    updatedMs,
    confirmedMs: updatedMs,
    usedMs: updatedMs,
    timerAtMs: startMs,
    probes: 0,
  };
}

const describe = (entry: NeighbourEntry | undefined): Json =>
  entry === undefined
    ? { entry: null }
    : { entry: formatIpv4(entry.ip), lladdr: entry.mac ?? null, state: entry.state };

/** Traffic uses the entry until it is settled: someone answers, or nobody does (B-N-06). */
function age(host: Host, link: Link, given: NeighbourEntry, responders: Json): NeighbourEntry {
  const answers = {
    unicast: optionalText(responders.unicast_to_cached, "event.responders.unicast_to_cached"),
    broadcast: optionalText(responders.broadcast, "event.responders.broadcast"),
  };
  let nowMs = startMs;
  let step = neighbourUse(host, given, nowMs);
  let failures = 0;
  for (let round = 0; round < 40; round++) {
    const heard = step.send === "nothing" ? undefined : answers[step.send];
    if (heard !== undefined) {
      const reply: ArpPacket = {
        link: link.index,
        frame: "unicast",
        operation: 2,
        senderMac: macOf(heard, "event.responders", ZERO_MAC),
        senderIp: given.ip,
        targetMac: link.mac ?? ZERO_MAC,
        targetIp: link.addresses[0]?.ip ?? ANY,
      };
      const after = neighbourEntry(host, link, step.entry, reply, nowMs) ?? step.entry;
      if (after.state === "REACHABLE") return after;
      step = { entry: after, send: "nothing" };
    }
    const deadline = neighbourDeadlineMs(step.entry);
    if (step.entry.state === "FAILED") {
      failures++;
      if (failures > 1) return step.entry;
      nowMs += 1;
      step = neighbourUse(host, step.entry, nowMs);
    } else if (deadline === Number.POSITIVE_INFINITY || step.entry.state === "REACHABLE") return step.entry;
    else {
      nowMs = Math.max(nowMs, deadline);
      step = neighbourTick(host, step.entry, nowMs);
    }
  }
  return step.entry;
}

/** tcp where nothing is said; a name, or a number as the header has it. */
function protocolOf(value: unknown): string {
  if (value === undefined || value === null) return "tcp";
  const word = String(value).toLowerCase();
  if (!isProtocol(word)) fault("event.proto", `${word} is not a protocol`);
  return { 1: "icmp", 4: "ipip", 6: "tcp", 17: "udp" }[protocolNumber(word)] ?? word;
}

function ipInput(host: Host, event: Json): Json {
  const link = linkNamed(host, event.iface, "event.iface");
  const port = (value: unknown, where: string): object => {
    if (value === undefined || value === null) return {};
    if (typeof value !== "number") fault(where, "is not a number");
    return { [where.endsWith("dport") ? "destinationPort" : "sourcePort"]: value };
  };
  const header: IpHeader = {
    source: ip(event.src, "event.src"),
    destination: ip(event.dst, "event.dst"),
    protocol: protocolOf(event.proto),
    ...port(event.dport, "event.dport"),
    ...port(event.sport, "event.sport"),
    ...(typeof event.mark === "number" ? { mark: event.mark } : {}),
  };
  const carried = { link: link.index, frame: frameOf(event.frame, "event.frame", "unicast") };
  const encap = event.encap === true ? "ipip" : optionalText(event.encap || undefined, "event.encap");
  if (encap !== undefined && !/^(ipip|none)$/i.test(encap)) fault("event.encap", `${encap} is not known`);
  const packet: IpPacket =
    encap === undefined || encap.toLowerCase() === "none"
      ? { ...header, ...carried }
      : {
          ...carried,
          source: event.outer_src === undefined ? undefined : ip(event.outer_src, "event.outer_src"),
          destination: ip(event.outer_dst, "event.outer_dst"),
          protocol: "ipip",
          inner: header,
        };
  const verdict = receive(host, packet);
  const said = { rule: verdict.rule, because: verdict.because };
  switch (verdict.kind) {
    case "deliver":
      return {
        result: "deliver",
        seen_dst: formatIpv4(verdict.seenDestination),
        reply_src: formatIpv4(verdict.replySource),
        iface: verdict.on,
        ...(verdict.port === undefined ? {} : { seen_dport: verdict.port }),
        ...said,
      };
    case "forward":
      return { result: "forward", out_iface: verdict.out, ...said };
    case "drop":
      return { result: "drop", ...(verdict.icmp ? { icmp: verdict.icmp } : {}), ...said };
  }
}

function ndp(host: Host, event: Json): Json {
  const link = linkNamed(host, event.iface, "event.iface");
  const six = (value: unknown, where: string): string =>
    parseIpv6(text(value, where)) ?? fault(where, `${String(value)} is not an IPv6 address`);
  const destination =
    event.dst === undefined || event.dst === "solicited-node" ? "solicited-node" : six(event.dst, "event.dst");
  const verdict = answerNdp(host, {
    link: link.index,
    target: six(event.target, "event.target"),
    source: six(event.src, "event.src"),
    destination,
  });
  const said = { rule: verdict.rule, because: verdict.because };
  if (verdict.kind === "silent") return { result: "silent", ...said };
  return {
    result: "reply",
    flags: [...verdict.flags],
    via: verdict.via,
    ...(verdict.delayedUpToMs > 0 ? { delayed_up_to_s: verdict.delayedUpToMs / 1000 } : {}),
    ...said,
  };
}
