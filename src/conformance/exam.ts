/** One host is asked all its questions, by the wire and by the model, and every disagreement is a difference. */
import { readFileSync } from "node:fs";
import { formatIpv4, type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { inetAddress } from "../host/inetSocket.ts";
import { announce, announcesByItself } from "../model/announce.ts";
import { type ArpPacket, type ArpReply, answerArp, decide, type FrameKind, heardBy } from "../model/answerArp.ts";
import { compileHost } from "../model/compileHost.ts";
import type { HostFacts, NeighbourState } from "../model/facts.ts";
import { type Host, linkIndex } from "../model/host.ts";
import { type Link, receiverOf } from "../model/link.ts";
import { cacheOf, type NeighbourCache, type NeighbourEntry, neighbour, neighbourKey } from "../model/neighbour.ts";
import { neighbourUse } from "../model/neighbourTimers.ts";
import { type IpHeader, type IpVerdict, receive } from "../model/receive.ts";
import { fibLookup, flowOf } from "../model/routes.ts";
import {
  type ArpSeen,
  arpText,
  askerMac,
  frameOf,
  macvlanOn,
  packetId,
  packetOctets,
  readArp,
  receiverName,
  sourcePort,
  targetMacOf,
} from "./frames.ts";
import type { PacketPlan, Question } from "./plan.ts";
import { type Stage, sleep } from "./stage.ts";

export interface Difference {
  readonly n: number;
  readonly question: Question;
  readonly what: "arp" | "announce" | "ip" | "neighbour" | "flap";
  readonly kernel: string;
  readonly model: string;
  readonly rule: string;
  /** The kernel's answer, as a vector expects it; absent where the schema has no words for it. */
  readonly expect?: Readonly<Record<string, unknown>>;
  /** The entry before, for the neighbour cache. */
  readonly before?: NeighbourEntry;
}

export interface Examined {
  readonly facts: HostFacts;
  readonly asked: number;
  readonly differences: readonly Difference[];
  /** How often each rule decided. */
  readonly rules: ReadonlyMap<string, number>;
}

type Asked<Kind extends Question["ask"]> = Extract<Question, { ask: Kind }>;

/** Packets that a link has received, from the calling thread's namespace. */
function received(link: string): number {
  const line = new RegExp(`^ *${link}: *\\d+ +(\\d+)`, "m").exec(readFileSync("/proc/thread-self/net/dev", "latin1"));
  return Number(line?.[1] ?? 0);
}

const isGroup = (q: Asked<"arp">): boolean => q.frame === "broadcast" || q.frame === "multicast";

export function examine(stage: Stage, questions: readonly Question[], serial: number): Examined {
  return new Exam(stage, questions, serial).run();
}

class Exam {
  readonly #stage: Stage;
  readonly #serial: number;
  readonly #facts: HostFacts;
  readonly #host: Host;
  readonly #hasMacvlan: boolean;
  readonly #announces: Asked<"announce">[] = [];
  readonly #arps: Asked<"arp">[] = [];
  readonly #packets: Asked<"ip">[] = [];
  readonly #flaps: Asked<"flap">[] = [];
  readonly #replies = new Map<Mac, ArpSeen[]>();
  readonly #requests = new Map<number, ArpSeen[]>();
  readonly #delivered = new Map<number, Set<number>>();
  readonly #forwarded = new Map<number, Set<string>>();
  readonly #rules = new Map<string, number>();
  readonly #differences: Difference[] = [];

  constructor(stage: Stage, questions: readonly Question[], serial: number) {
    this.#stage = stage;
    this.#serial = serial;
    this.#drop();
    this.#facts = stage.facts();
    this.#host = compileHost(this.#facts);
    for (const q of questions)
      if (q.ask === "arp") {
        if (!this.#ambiguous(q.link, q.frame, q.senderIp, q.targetIp, false)) this.#arps.push(q);
      } else if (q.ask === "ip") {
        const { source, destination, inner } = q.header;
        const innerToo = inner && this.#ambiguous(q.link, q.frame, inner.source, inner.destination, true);
        if (!innerToo && !this.#ambiguous(q.link, q.frame, source, destination, true)) this.#packets.push(q);
      } else if (q.ask === "announce") this.#announces.push(q);
      else this.#flaps.push(q);
    this.#hasMacvlan = stage.topology.links.some((l) => l.kind === "macvlan");
    // macvlans get group frames from a work queue, later than what follows on the wire: they go first, and have time.
    if (this.#hasMacvlan) this.#arps.sort((a, b) => Number(isGroup(b)) - Number(isGroup(a)));
  }

  /** Of several ways the kernel picks one by a hash that the model does not have. */
  #ambiguous(link: string, frame: string, source: Ipv4, destination: Ipv4, gateways: boolean): boolean {
    const t = this.#stage.topology;
    const name = frame === "macvlan" ? macvlanOn(t, link) : receiverName(t, link);
    const iif = this.#host.linkByName.get(name ?? link)?.index ?? 1;
    const ways = (flow: Parameters<typeof flowOf>[0]): boolean =>
      new Set(fibLookup(this.#host, flowOf(flow))?.hops.map((h) => `${h.link?.index} ${gateways ? h.via : ""}`)).size >
      1;
    return ways({ destination, source, iif }) || ways({ destination: source, source: destination });
  }

  run(): Examined {
    const announced = this.#askForMacs();
    const before = this.#withNeighbours();
    const arp = this.#askArp();
    this.#compareNeighbours(before);
    this.#askPackets();
    this.#lookAtWire();
    for (const check of [...announced, ...arp]) check();
    for (const q of this.#flaps) this.#flap(q);
    const asked = this.#flaps.length + this.#announces.length + this.#arps.length + this.#packets.length;
    return { facts: this.#facts, asked, differences: this.#differences, rules: this.#rules };
  }

  #count(rule: string): void {
    this.#rules.set(rule, (this.#rules.get(rule) ?? 0) + 1);
  }

  /** What is left over from before. */
  #drop(): void {
    while (this.#stage.wire.receive(() => {}) > 0);
    this.#stage.delivered(() => {});
  }

  /** Frames sent run through the kernel inside the call that sends them, but for macvlan's broadcasts and a busy CPU. */
  #listenUntil(done: () => boolean): void {
    this.#lookAtWire();
    if (this.#hasMacvlan) sleep(3);
    for (let i = 0; i < 16; i++) {
      this.#lookAtWire();
      if (done()) return;
      sleep(i < 4 ? 1 : 10);
    }
  }

  #lookAtWire(): void {
    this.#stage.wire.receive((frame) => {
      const link = this.#stage.linkOfFar.get(frame.interfaceIndex);
      if (link === undefined) return;
      const { octets } = frame;
      const seen = readArp(octets, link);
      if (seen !== undefined) this.#noteArp(seen);
      else if (octets.length >= 34 && octets[12] === 8 && octets[13] === 0) this.#noteForwarded(octets, link);
    }, 1 << 20);
  }

  #noteArp(seen: ArpSeen): void {
    if (!seen.source.startsWith("02:c0:")) return; // a question, flooded by a bridge
    if (seen.operation === 1) {
      const list = this.#requests.get(seen.targetIp);
      if (list) list.push(seen);
      else this.#requests.set(seen.targetIp, [seen]);
    } else {
      const list = this.#replies.get(seen.destination);
      if (list) list.push(seen);
      else this.#replies.set(seen.destination, [seen]);
    }
  }

  #noteForwarded(octets: Uint8Array, link: string): void {
    const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
    if (octets[22] !== 63) return; // TTL: not forwarded, but flooded by a bridge
    const id = view.getUint16(18);
    if (id >>> 8 !== (this.#serial & 255)) return;
    const set = this.#forwarded.get(id & 255) ?? new Set();
    this.#forwarded.set(id & 255, set.add(link));
  }

  // ---- requests of the host's own

  #askForMacs(): (() => void)[] {
    const checks: (() => void)[] = [];
    let expected = 0;
    for (const q of this.#announces) {
      const link = this.#host.linkByIndex.get(linkIndex(this.#host, q.link));
      if (!link?.up) continue;
      const route = fibLookup(this.#host, flowOf({ destination: q.nextHop, oif: link.index }));
      if (route !== undefined && (route.type !== "unicast" || route.hops.some((h) => h.via !== undefined))) continue;
      const verdict = announce(this.#host, { link: link.index, packetSource: q.source, nextHop: q.nextHop });
      const header: PacketPlan = { source: q.source, destination: q.nextHop, protocol: "other", destinationPort: 9 };
      if (!this.#stage.sendFromHost(q.link, packetOctets(header, 0), inetAddress(q.nextHop, 0))) continue;
      this.#count(verdict.rule);
      if (verdict.kind === "request" && this.#audible(q.link)) expected++;
      checks.push(() => this.#checkRequest(q, verdict));
    }
    const own = new Set(this.#announces.map((q) => q.nextHop as number));
    this.#listenUntil(() => [...this.#requests.keys()].filter((ip) => own.has(ip)).length >= expected);
    return checks;
  }

  /** Whether what leaves by the link is heard at a far end. A bridge needs a port that is up. */
  #audible(link: string): boolean {
    const host = this.#host;
    const up = (name: string): boolean =>
      host.linkByName.get(name)?.up === true && host.linkByName.get(name)?.carrier === true;
    const plan = this.#stage.topology.links.find((l) => l.name === link);
    if (plan?.kind === "bridge")
      return this.#stage.topology.links.some((l) => l.over === link && l.kind === "port" && up(l.name));
    if (plan?.kind === "macvlan") return up(link) && up(plan.over as string);
    return plan?.kind === "veth" && up(link);
  }

  #checkRequest(q: Asked<"announce">, verdict: ReturnType<typeof announce>): void {
    if (!this.#audible(q.link)) return;
    const seen = this.#requests.get(q.nextHop)?.[0];
    const kernel = seen === undefined ? "no request" : `${formatIpv4(seen.senderIp)} at ${seen.senderMac}`;
    const model = verdict.kind === "none" ? "no request" : `${formatIpv4(verdict.senderIp)} at ${verdict.senderMac}`;
    if (kernel === model) return;
    const expect = { spa: seen === undefined ? null : formatIpv4(seen.senderIp) };
    this.#differences.push({ n: q.n, question: q, what: "announce", kernel, model, rule: verdict.rule, expect });
  }

  // ---- what a link announces by itself

  #flap(q: Asked<"flap">): void {
    const link = this.#host.linkByIndex.get(linkIndex(this.#host, q.link));
    if (!link?.up) return;
    const verdict = announcesByItself(this.#host, { kind: "link up", link: link.index });
    this.#count(verdict.rule);
    this.#requests.clear();
    this.#stage.flap(q.link);
    const heard = (): Ipv4[] =>
      link.addresses.filter((a) => this.#requests.get(a.ip)?.some((r) => r.link === q.link)).map((a) => a.ip);
    this.#listenUntil(() => heard().length >= verdict.addresses.length);
    const kernel = heard().map(formatIpv4);
    const model = verdict.addresses.map(formatIpv4);
    if (kernel.join() === model.join()) return;
    const expect = { announced: kernel };
    const text = (list: readonly string[]): string => list.join(", ") || "nothing";
    this.#differences.push({
      n: q.n,
      question: q,
      what: "flap",
      kernel: text(kernel),
      model: text(model),
      rule: verdict.rule,
      expect,
    });
  }

  // ---- ARP

  #frameKind(frame: string): FrameKind {
    return frame === "multicast" || frame === "broadcast" ? "broadcast" : frame === "other" ? "other" : "unicast";
  }

  #arpPacket(q: Asked<"arp">): ArpPacket {
    const t = this.#stage.topology;
    const link = q.frame === "macvlan" ? (macvlanOn(t, q.link) as string) : q.link;
    return {
      link: linkIndex(this.#host, link),
      frame: this.#frameKind(q.frame),
      operation: q.operation,
      senderMac: askerMac(this.#serial, q.n),
      senderIp: q.senderIp,
      targetMac: targetMacOf(t, q, this.#serial),
      targetIp: q.targetIp,
    };
  }

  /** A macvlan hears nothing when the link below is down, nor does a bridge by a port that is. */
  #reaches(link: string): boolean {
    return this.#host.linkByName.get(link)?.up === true;
  }

  #askArp(): (() => void)[] {
    const t = this.#stage.topology;
    const checks: (() => void)[] = [];
    let expected = 0;
    for (const q of this.#arps) {
      if (q.frame === "macvlan" && !this.#reaches(q.link)) continue;
      const verdict = answerArp(this.#host, this.#arpPacket(q));
      this.#count(verdict.rule);
      const replies: ArpReply[] = verdict.kind === "reply" ? [verdict, ...verdict.also] : [];
      for (const r of replies.slice(1)) this.#count(r.rule);
      if (replies.length > 1) this.#count("A-2.6-21");
      expected += replies.length;
      checks.push(() => this.#checkReply(q, replies, verdict.rule));
    }
    const frames = (some: readonly Asked<"arp">[]) =>
      some.map((q) => ({ link: q.link, octets: frameOf(t, q, this.#serial) }));
    const group = this.#arps.filter(isGroup);
    if (this.#hasMacvlan && group.length > 0) {
      const copies = this.#copiesToCome(group);
      this.#stage.send(frames(group));
      copies();
      this.#stage.send(frames(this.#arps.filter((q) => !isGroup(q))));
    } else this.#stage.send(frames(this.#arps));
    this.#listenUntil(() => [...this.#replies.values()].reduce((sum, list) => sum + list.length, 0) >= expected);
    return checks;
  }

  /** Waits until each macvlan has counted its copies of group frames. */
  #copiesToCome(group: readonly Asked<"arp">[]): () => void {
    const counts = this.#stage.topology.links
      .filter((l) => l.kind === "macvlan" && this.#reaches(l.name) && this.#reaches(l.over as string))
      .map((l) => ({ name: l.name, until: received(l.name) + group.filter((q) => q.link === l.over).length }));
    return () => {
      for (let i = 0; i < 100 && counts.some((c) => received(c.name) < c.until); i++) sleep(2);
      sleep(2); // counted as they are put in the queue that they are taken from at once
    };
  }

  #checkReply(q: Asked<"arp">, replies: readonly ArpReply[], rule: string): void {
    // A bridge that does not know the asker floods the answer to all its ports: one answer all the same.
    const seen = this.#replies.get(askerMac(this.#serial, q.n)) ?? [];
    const heard = receiverName(this.#stage.topology, q.link);
    const stray = seen.filter((s) => receiverName(this.#stage.topology, s.link) !== heard);
    const texts = [...new Set(seen.filter((s) => !stray.includes(s)).map(arpText))].sort();
    const kernel = [...texts, ...stray.map((s) => `by ${s.link}: ${arpText(s)}`)].join("; ") || "silence";
    const model = replies.map(arpText).sort().join("; ") || "silence";
    if (kernel === model) return;
    const [first] = seen;
    const expect = first
      ? {
          result: "reply",
          sender_macs: [...new Set(seen.map((s) => s.senderMac))],
          reply_sender_ip: formatIpv4(first.senderIp),
          reply_target_ip: formatIpv4(first.targetIp),
        }
      : { result: "silent" };
    this.#differences.push({ n: q.n, question: q, what: "arp", kernel, model, rule, expect });
  }

  // ---- the neighbour cache

  /** Initial entries and those that wait since the host's own requests. */
  #withNeighbours(): NeighbourCache {
    const neighbours = this.#stage.neighbours().flatMap((n) => {
      const link = this.#host.linkByIndex.get(n.linkIndex);
      if (link === undefined || n.proxy || n.state === "none") return [];
      return [
        {
          link: link.name,
          ip: formatIpv4(n.address),
          state: n.state.toUpperCase() as NeighbourState,
          ...(n.mac === undefined ? {} : { mac: n.mac }),
          ageMs: n.ageMs ?? 0,
        },
      ];
    });
    return cacheOf({ ...this.#host, facts: { ...this.#facts, neighbours } }, 0);
  }

  #compareNeighbours(before: NeighbourCache): void {
    const expected = this.#simulate(before);
    const settled = (): [string, string, number][] => this.#cacheDifferences(expected);
    let differences = settled();
    for (let i = 0; differences.length > 0 && i < 12; i++) {
      sleep(i < 4 ? 2 : 15);
      differences = settled();
    }
    for (const [kernel, model, key] of differences) {
      const ip = key % 0x1_0000_0000;
      const link = Math.floor(key / 0x1_0000_0000);
      const q = this.#arps.findLast((a) => (a.senderIp as number) === ip && this.#hears(a, link)) ?? this.#arps[0];
      if (q === undefined) continue;
      const entry = before.get(key);
      const known = entry === undefined ? {} : { before: entry };
      this.#differences.push({ n: q.n, question: q, what: "neighbour", kernel, model, rule: "B-N", ...known });
    }
  }

  #hears(q: Asked<"arp">, link: number): boolean {
    const packet = this.#arpPacket(q);
    const at = this.#host.linkByIndex.get(packet.link);
    if (at === undefined) return false;
    const receiver = receiverOf(at);
    return receiver.index === link || receiver.macvlans.some((m) => m.index === link);
  }

  #simulate(before: NeighbourCache): NeighbourCache {
    let cache = before;
    for (const q of this.#arps) {
      const packet = this.#arpPacket(q);
      const link = this.#host.linkByIndex.get(packet.link);
      if (!link?.up || (q.frame === "macvlan" && !this.#reaches(q.link))) continue;
      const receiver = receiverOf(link);
      const hearers = packet.frame === "unicast" ? [receiver] : [receiver, ...receiver.macvlans];
      let next = neighbour(this.#host, cache, packet, 0);
      for (const hearer of hearers) next = this.#afterOne(hearer, packet, cache, next);
      cache = next;
    }
    return cache;
  }

  /** Counts what became of the sender's entry on one link, and lets the packet go that waited for it. */
  #afterOne(link: Link, packet: ArpPacket, before: NeighbourCache, after: NeighbourCache): NeighbourCache {
    const heard = heardBy(this.#host, link, packet);
    const key = neighbourKey(link.index, heard.senderIp);
    const old = before.get(key);
    const entry = after.get(key);
    if (old?.state === "INCOMPLETE" && entry !== undefined && entry.state !== "INCOMPLETE") {
      this.#count("B-N-01");
      // The packet that waited leaves, which uses the entry (neigh_update, __neigh_event_send).
      return entry.state === "STALE" ? new Map(after).set(key, neighbourUse(this.#host, entry, 0).entry) : after;
    }
    const effect = decide(this.#host, link, packet).cache;
    if (effect === "create") this.#count("B-N-02");
    else if (effect === "existing" && old === undefined && entry !== undefined) this.#count("B-N-05");
    else if (effect === "existing" && old !== undefined)
      this.#count(heard.senderIp === heard.targetIp ? "B-N-04" : "B-N-03");
    return after;
  }

  /** [kernel, model, key] of each entry that differs. */
  #cacheDifferences(expected: NeighbourCache): [string, string, number][] {
    const found: [string, string, number][] = [];
    const real = new Map<number, string>();
    for (const n of this.#stage.neighbours()) {
      if (this.#host.linkByIndex.get(n.linkIndex)?.mac === undefined || n.state === "noarp") continue;
      real.set(neighbourKey(n.linkIndex, n.address), `${n.state} ${n.mac ?? ""}`.trim());
    }
    const modelled = new Map<number, string>();
    for (const [key, e] of expected) {
      if (this.#host.linkByIndex.get(e.link)?.mac === undefined || e.state === "NOARP") continue;
      modelled.set(key, `${e.state.toLowerCase()} ${e.mac ?? ""}`.trim());
    }
    for (const key of new Set([...real.keys(), ...modelled.keys()])) {
      const kernel = real.get(key) ?? "no entry";
      const model = modelled.get(key) ?? "no entry";
      if (kernel !== model) {
        const name = this.#host.linkByIndex.get(Math.floor(key / 0x1_0000_0000))?.name;
        const ip = formatIpv4(ipv4FromNumber(key % 0x1_0000_0000));
        found.push([`${ip} on ${name}: ${kernel}`, `${ip} on ${name}: ${model}`, key]);
      }
    }
    return found;
  }

  // ---- packets

  #header(p: PacketPlan): IpHeader {
    return {
      source: p.source,
      destination: p.destination,
      protocol: p.protocol === "other" ? "253" : p.protocol,
      ...(p.protocol === "tcp" || p.protocol === "udp" ? { sourcePort, destinationPort: p.destinationPort } : {}),
      ...(p.inner === undefined ? {} : { inner: this.#header(p.inner) }),
    };
  }

  #askPackets(): void {
    const t = this.#stage.topology;
    const asked: { readonly q: Asked<"ip">; readonly verdict: IpVerdict }[] = [];
    const ways: { link: number; address: Ipv4; mac: string }[] = [];
    for (const q of this.#packets) {
      if (q.frame === "macvlan" && !this.#reaches(q.link)) continue;
      const link = q.frame === "macvlan" ? (macvlanOn(t, q.link) as string) : q.link;
      const packet = { ...this.#header(q.header), link: linkIndex(this.#host, link), frame: this.#frameKind(q.frame) };
      const verdict = receive(this.#host, packet);
      this.#count(verdict.rule);
      asked.push({ q, verdict });
      if (verdict.kind === "forward") {
        const out = this.#host.linkByName.get(verdict.out);
        const address = verdict.via ?? q.header.destination;
        if (out) ways.push({ link: out.index, address, mac: "02:ee:00:00:00:01" });
        const inner = q.header.inner?.destination;
        if (out && inner !== undefined) ways.push({ link: out.index, address: inner, mac: "02:ee:00:00:00:01" });
      }
    }
    this.#stage.setNeighbours(ways);
    this.#stage.send(asked.map(({ q }) => ({ link: q.link, octets: frameOf(t, q, this.#serial) })));
    const differing = (): Difference[] => {
      this.#lookAtWire();
      this.#stage.delivered((packet) => this.#noteDelivered(packet));
      return asked.flatMap(({ q, verdict }) => this.#comparePacket(q, verdict) ?? []);
    };
    let differences = differing();
    for (let i = 0; differences.length > 0 && i < 14; i++) {
      sleep(i < 4 ? 1 : 20);
      differences = differing();
    }
    this.#differences.push(...differences);
  }

  #noteDelivered(packet: Uint8Array): void {
    if (packet.length < 20) return;
    const id = ((packet[4] as number) << 8) | (packet[5] as number);
    if (id >>> 8 !== (this.#serial & 255)) return;
    const set = this.#delivered.get(id & 255) ?? new Set();
    this.#delivered.set(id & 255, set.add(packet[9] as number));
  }

  #comparePacket(q: Asked<"ip">, verdict: IpVerdict): Difference | undefined {
    const id = packetId(this.#serial, q.n) & 255;
    const wanted = this.#innermost(q.header);
    const delivered = this.#delivered.get(id)?.has(wanted) === true;
    const ways = [...(this.#forwarded.get(id) ?? [])].map((l) => receiverName(this.#stage.topology, l));
    const kernel = delivered
      ? "deliver"
      : ways.length > 0
        ? `forward by ${[...new Set(ways)].sort().join(" and ")}`
        : "drop";
    let model: string = verdict.kind;
    // Raw sockets hear what TCP itself would not take.
    if (verdict.kind === "drop" && /^TCP takes/.test(verdict.because)) model = "deliver";
    if (verdict.kind === "forward") {
      const out = this.#wireOf(verdict.out);
      if (out === undefined || !this.#audible(out)) return undefined; // it leaves where nobody listens
      model = `forward by ${out}`;
    }
    if (kernel === model) return undefined;
    const expect = { result: kernel.split(" ")[0] };
    return { n: q.n, question: q, what: "ip", kernel, model, rule: verdict.rule, expect };
  }

  /** A macvlan's frames leave by the link below. */
  #wireOf(link: string): string | undefined {
    const plan = this.#stage.topology.links.find((l) => l.name === link);
    if (plan?.kind === "veth" || plan?.kind === "bridge") return link;
    return plan?.kind === "macvlan" ? plan.over : undefined;
  }

  #innermost(p: PacketPlan): number {
    if (p.inner !== undefined) return this.#innermost(p.inner);
    return { tcp: 6, udp: 17, ipip: 4, other: 253 }[p.protocol];
  }
}
