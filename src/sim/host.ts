/**
 * A machine of the LAN: its facts, the kernel model compiled from them, and what its stack does with frames and packets:
 * hearing, ARP, output, forwarding, delivery. Every decision is the model's.
 */
import { formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { FrameKind } from "../model/answerArp.ts";
import { compileHost } from "../model/compileHost.ts";
import type { HostFacts } from "../model/facts.ts";
import type { Host } from "../model/host.ts";
import type { Link } from "../model/link.ts";
import { isLocal } from "../model/localTable.ts";
import { isValid, type NeighbourEntry } from "../model/neighbour.ts";
import type { IpVerdict } from "../model/receive.ts";
import { UNREACHABLE } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { Arp } from "./arp.ts";
import { Dice } from "./dice.ts";
import {
  type ArpBody,
  BROADCAST_ID,
  Frame,
  hopped,
  type IpBody,
  ipipPacket,
  type MacId,
  nothing,
  udpPacket,
} from "./frame.ts";
import { HostClock } from "./hostClock.ts";
import { Icmp } from "./icmp.ts";
import { hearsAll, interestOf } from "./interest.ts";
import type { Lan, Station } from "./lan.ts";
import { Neighbour, NeighbourCache, usedWithinMs } from "./neighbourCache.ts";
import type { Nic } from "./nic.ts";
import { tcpKernel } from "./retransmission.ts";
import { Task } from "./task.ts";
import { TcpStack } from "./tcp.ts";
import { Verdicts } from "./verdicts.ts";
import { Ways } from "./ways.ts";

/** Takes packets for its virtual services where IPVS does: after they were found local (C-DIR-01). */
export interface LocalInput {
  /** False: not ours, go on. */
  take(packet: IpBody): boolean;
}

/** What a UDP service answers; undefined: nothing. */
export type UdpService = (packet: IpBody) => Uint8Array | undefined;
const discard: UdpService = () => undefined;
const discardPort = 9;

type Sniffer = (frame: Frame, nic: Nic) => void;

/** 24 days: the largest number that needs no box. */
const latestMs = 2 ** 31 - 1;

export class SimHost implements Station {
  // What the next frame most likely needs stands first, side by side, and nothing of it in objects of its own: with
  // thousands of hosts, time goes into fetching memory. Addresses are signed here, as only 31 bits and a sign fit without
  // a box.
  readonly lan: Lan;
  /** Crashed: hears and says nothing, and forgets all. */
  down = false;
  /** Of the first card; -1: there is none. */
  #mac = -1;
  /**
   * The last packet that was for this host as it stood, by the first card: the next one is most likely like it. -1: none,
   * as for a host that is frozen or has sniffers.
   */
  #inProtocol = -1;
  #inSource = 0;
  #inDestination = 0;
  localInput: LocalInput | undefined;
  /** The UDP service asked for last. */
  #servicePort = discardPort;
  #service: UdpService | undefined = discard;
  #packetId: number;
  /** The last neighbour used by the first card, and until when use leaves its entry as it is. */
  #outDestination = 0;
  #outUntilMs = 0;
  #outMtu = 0;
  #outPort = 0;
  #outMac: MacId = BROADCAST_ID;
  #outNeighbour: Neighbour | undefined;
  /** Frozen: what happens meanwhile happens when it goes on. */
  #paused: { readonly heard: (() => void)[]; readonly tasks: Task[] } | undefined;
  #sniffers: Sniffer[] | undefined;
  /** UDP services by port; discard is there from the beginning. */
  #services: Map<number, UdpService> | undefined;
  readonly name: string;
  readonly id: number;
  readonly dice: Dice;
  readonly nics: Nic[] = [];
  readonly tcp: TcpStack;
  model: Host;
  #facts: HostFacts;
  readonly #clock = new HostClock();
  /** Programs on this host listen to its wires themselves: every ARP broadcast is handed to it. */
  #listens = false;
  /** Groups that its cards take frames of. */
  readonly #groups = new Set<MacId>();
  /** Told of other facts, after the change. */
  readonly watchers: ((before: HostFacts) => void)[] = [];
  /** Told when a program's ICMP error comes back for what it sent by UDP. */
  udpRefused: ((port: number) => void) | undefined;
  /** Packets thrown away, by reason. */
  readonly drops: Record<string, number> = {};
  #nicByLink = new Map<number, Nic>();
  #links: Link[] = [];
  readonly #ways: Ways;
  readonly #verdicts: Verdicts;
  readonly neighbours: NeighbourCache;
  readonly arp: Arp;
  readonly icmp: Icmp;

  constructor(lan: Lan, facts: HostFacts) {
    this.lan = lan;
    this.name = facts.hostname ?? "";
    this.#facts = facts;
    this.model = compileHost(facts);
    this.id = lan.addStation(this);
    this.dice = new Dice(lan.seed ^ Math.imul(this.id + 1, 0x51ed2701));
    this.#packetId = this.dice.below(65_536);
    this.tcp = new TcpStack(this, tcpKernel(this.model.switches));
    this.neighbours = new NeighbourCache(this);
    this.arp = new Arp(this);
    this.icmp = new Icmp(this);
    this.#ways = new Ways(this.model);
    this.#verdicts = new Verdicts(this.model);
    this.#compiled();
  }

  /** Tells the host which LAN port its link is plugged into. */
  wire(link: string, port: number): void {
    const found = this.model.linkByName.get(link);
    if (found?.mac === undefined) throw new RangeError(`${this.name} has no link ${link} with a MAC`);
    this.nics.push({
      index: this.nics.length,
      link,
      mac: found.mac,
      macId: this.lan.macs.idOf(found.mac),
      port,
      mtuOctets: 1500,
    });
    this.#compiled();
  }

  get facts(): HostFacts {
    return this.#facts;
  }

  /** Other facts from now on: a sysctl written, an address added. The neighbour cache stays. */
  change(facts: HostFacts): void {
    const before = this.#facts;
    this.#facts = facts;
    this.model = compileHost(facts);
    this.#compiled();
    for (const told of this.watchers) told(before);
  }

  /** A program opens packet sockets on all wires, for these groups besides the host's own MACs. */
  listen(groups: readonly Mac[]): void {
    this.#listens = true;
    for (const group of groups) {
      const id = this.lan.macs.idOf(group);
      if (this.#groups.has(id)) continue;
      this.#groups.add(id);
      for (const nic of this.nics) this.lan.join(nic.port, id);
    }
    this.#compiled();
  }

  /** `hear` is told of every frame this host's cards take, before the host. */
  sniff(hear: Sniffer): void {
    this.#inProtocol = -1;
    this.#sniffers ??= [];
    this.#sniffers.push(hear);
  }
  unsniff(hear: Sniffer): void {
    this.#sniffers = this.#sniffers?.filter((one) => one !== hear);
    if (this.#sniffers?.length === 0) this.#sniffers = undefined;
  }

  #compiled(): void {
    this.#mac = this.nics[0]?.macId ?? -1;
    this.#inProtocol = -1;
    this.#outUntilMs = 0;
    this.#nicByLink = new Map();
    this.#links = [];
    for (const nic of this.nics) {
      const link = this.model.linkByName.get(nic.link);
      if (link === undefined) continue;
      this.#nicByLink.set(link.index, nic);
      this.#links[nic.index] = link;
      nic.mtuOctets = this.#facts.links.find((l) => l.name === nic.link)?.mtu ?? 1500;
      this.lan.interest(nic.port, this.#listens ? hearsAll : interestOf(this.model, link));
    }
    this.#ways.compiled(this.model, this.#nicByLink);
    this.#verdicts.compiled(this.model);
  }

  /** On its own clock, as its kernel's timers are. */
  get nowMs(): number {
    return this.clockUs / 1000;
  }

  drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1;
  }

  /** The host's own monotonic clock, which may run too fast or too slow. */
  get clockUs(): number {
    return this.#clock.us(this.lan.nowUs);
  }
  /** True time when its clock shows that. */
  trueAt(us: number): number {
    return this.#clock.trueAt(us);
  }
  /** The host's clock runs so much faster from now on, in millionths. */
  drift(ppm: number): void {
    this.#clock.drift(ppm, this.lan.nowUs);
    this.#outUntilMs = 0;
  }

  /** Wakes the host's own `timer` after that time on its own clock. A Task is run. */
  after(us: number, item: unknown): number {
    const atUs = this.lan.nowUs + this.#clock.trueUs(us);
    this.lan.wake(this.id, atUs, item);
    return atUs;
  }

  // ---- being broken ----

  /** Told that a card lost its carrier or got it back. */
  carrierChanged: ((link: string, up: boolean) => void) | undefined;

  /** Pulls the host's cables out, or puts them in again. */
  plugged(up: boolean): void {
    for (const nic of this.nics) {
      const cable = this.lan.cableOf(nic.port);
      if (cable.up === up) continue;
      cable.up = up;
      this.carrierChanged?.(nic.link, up);
    }
  }
  get isPlugged(): boolean {
    return this.nics.some((nic) => this.lan.cableOf(nic.port).up);
  }

  /** Power gone: no memory of neighbours or connections is left. */
  crash(): void {
    this.down = true;
    this.#paused = undefined;
    for (const nic of this.nics) this.lan.paused(nic.port, false);
    this.neighbours.forget();
    this.tcp.forget();
  }

  get isPaused(): boolean {
    return this.#paused !== undefined;
  }

  /** Programs run there. */
  get isAwake(): boolean {
    return !this.down && !this.isPaused;
  }

  restart(): void {
    this.down = false;
  }

  /** One that is down has nothing to freeze. */
  pause(): void {
    if (this.down) return;
    this.#paused ??= { heard: [], tasks: [] };
    this.#inProtocol = -1;
    for (const nic of this.nics) this.lan.paused(nic.port, true);
  }

  /** What its sockets hold comes before what its timers are late for, as programs read before they look at the clock. */
  resume(): void {
    const missed = this.#paused;
    this.#paused = undefined;
    for (const nic of this.nics) this.lan.paused(nic.port, false);
    for (const happen of missed?.heard ?? []) happen();
    for (const task of missed?.tasks ?? []) task.run();
  }

  // ---- hearing ----

  frameIn(nicIndex: number, frame: Frame): void {
    if (this.down) return;
    const { body } = frame;
    if (body.kind === "ip" && this.#isAsBefore(nicIndex, frame, body)) {
      if (!this.localInput?.take(body)) this.#delivered(body, body.destination, body.destination, undefined);
      return;
    }
    if (this.#paused) {
      if (this.#paused.heard.length < 1000) this.#paused.heard.push(() => this.frameIn(nicIndex, frame));
      else this.drop("paused for too long");
      return;
    }
    const nic = this.nics[nicIndex] as Nic;
    // VLAN subinterfaces are not modelled: a tag means another network
    if (frame.vlan !== 0) return;
    const kind: FrameKind = frame.to === nic.macId ? "unicast" : frame.to === BROADCAST_ID ? "broadcast" : "other";
    if (kind === "other" && !this.#groups.has(frame.to)) return;
    if (this.#sniffers !== undefined) for (const sniffer of this.#sniffers) sniffer(frame, nic);
    if (kind === "other") return; // no service of the model speaks to a group
    if (frame.body.kind === "arp") this.#arpIn(nic, kind, frame.body);
    else this.#ipIn(nic, kind, frame.body);
  }

  touch(): number {
    return this.#inSource ^ this.#servicePort ^ (this.#outNeighbour === undefined ? 0 : 1);
  }

  #isAsBefore(nicIndex: number, frame: Frame, body: IpBody): boolean {
    return (
      body.protocol === this.#inProtocol &&
      (body.source | 0) === this.#inSource &&
      (body.destination | 0) === this.#inDestination &&
      frame.to === this.#mac &&
      nicIndex === 0 &&
      frame.vlan === 0
    );
  }

  #arpIn(nic: Nic, kind: FrameKind, body: ArpBody): void {
    const link = this.#links[nic.index];
    if (link !== undefined) this.arp.input(nic, link, kind, body);
  }

  transmit(nic: Nic, to: MacId, body: Frame["body"]): void {
    this.lan.transmit(nic.port, new Frame(to, nic.macId, 0, this.lan.nextSerial(), body));
  }

  /** Puts an IPv4 packet into a frame to this MAC, past routing and neighbour cache, as a packet socket does. */
  sendPacket(nic: Nic, to: Mac, packet: IpBody): void {
    if (!this.down) this.transmit(nic, this.lan.macs.idOf(to), packet);
  }

  timer(item: unknown): void {
    if (this.down) return;
    if (this.#paused) {
      if (item instanceof Task) this.#paused.tasks.push(item);
      else this.#paused.heard.push(() => this.timer(item));
      return;
    }
    if (item instanceof Task) {
      item.run();
      return;
    }
    if (item instanceof Neighbour) this.neighbours.timer(item);
    else this.tcp.timer(item);
  }

  // ---- what the parts of the stack ask of it ----

  linkOf(nic: Nic): Link | undefined {
    return this.#links[nic.index];
  }

  entryChanged(): void {
    this.#outUntilMs = 0;
  }

  undelivered(packet: IpBody, link: Link | undefined): void {
    if (link !== undefined && isLocal(this.model, packet.source, link)) this.tcp.unreachable(packet);
    else this.icmp.unreachable(packet, UNREACHABLE.host);
  }

  confirm(neighbour: Neighbour): void {
    this.neighbours.confirm(neighbour);
  }

  neighbourOf(ip: Ipv4): NeighbourEntry | undefined {
    for (const nic of this.nics) {
      const link = this.#links[nic.index];
      const found = link && this.neighbours.get(link, ip);
      if (found) return found.entry;
    }
    return undefined;
  }

  // ---- output ----

  packetId(): number {
    this.#packetId = (this.#packetId + 1) & 0xffff;
    return this.#packetId;
  }

  /** The address the kernel would use towards a destination; undefined: no way there. */
  sourceFor(destination: Ipv4): Ipv4 | undefined {
    return this.#ways.sourceFor(destination);
  }

  /** The first address of that link; undefined: it has none. */
  sourceOn(link: string): Ipv4 | undefined {
    const ip = this.#facts.addresses.find((a) => a.link === link)?.ip;
    return ip === undefined ? undefined : parseIpv4(ip);
  }

  /** The host's own packet, its addresses already chosen. `nextHop`: where IPVS sends it, whatever its destination. */
  output(packet: IpBody, nextHop?: Ipv4): Neighbour | undefined {
    if (this.down) return undefined;
    if (
      (packet.destination | 0) === this.#outDestination &&
      nextHop === undefined &&
      this.lan.nowUs < this.#outUntilMs * 1000 &&
      packet.lengthOctets <= this.#outMtu
    ) {
      const { lan } = this;
      lan.transmit(this.#outPort, new Frame(this.#outMac, this.#mac, 0, lan.nextSerial(), packet));
      return this.#outNeighbour;
    }
    const way = this.#ways.to(nextHop ?? packet.destination);
    if (way === undefined) {
      this.drop("no route");
      return undefined;
    }
    if (way.isLocal) {
      // what the host sends to itself has its way already: no input lookup, no source check
      this.lan.at(this.lan.nowUs + 1, () => this.#delivered(packet, packet.destination, packet.destination, undefined));
      return undefined;
    }
    if (way.nic === undefined || way.route.type !== "unicast") {
      this.drop("the way out has no wire");
      return undefined;
    }
    const mtu = way.nic.mtuOctets;
    if (packet.lengthOctets > mtu) {
      if (packet.dontFragment) this.tcp.tooLong(packet, mtu);
      this.drop("longer than the MTU");
      return undefined;
    }
    const neighbour = this.neighbours.send(way.nic, way.via ?? nextHop ?? packet.destination, packet);
    if (neighbour !== undefined && nextHop === undefined) this.#keepWay(packet.destination, neighbour);
    return neighbour;
  }

  #keepWay(destination: Ipv4, neighbour: Neighbour): void {
    const { entry, nic } = neighbour;
    const { state } = entry;
    if (nic.index !== 0 || neighbour.macText !== entry.mac || !isValid(entry) || state === "STALE") return;
    this.#outDestination = destination | 0;
    // in the other states use changes nothing; only a timer or what is heard does
    const usedUntilUs = (entry.usedMs + usedWithinMs) * 1000;
    const isNoted = state === "REACHABLE" || state === "COMPLETE";
    this.#outUntilMs = isNoted ? Math.floor(this.trueAt(usedUntilUs) / 1000) : latestMs;
    this.#outMtu = nic.mtuOctets;
    this.#outPort = nic.port;
    this.#outMac = neighbour.macId;
    this.#outNeighbour = neighbour;
  }

  /** The MTU towards an address; undefined: no wire leads there. */
  mtuTowards(destination: Ipv4): number | undefined {
    const nic = this.#ways.to(destination)?.nic;
    return nic?.mtuOctets;
  }

  /** IPIP to `to`, from the address the route to it has. TTL and DF are those of what is inside (ip_vs_tunnel_xmit). */
  tunnel(inner: IpBody, to: Ipv4): boolean {
    const source = this.sourceFor(to);
    if (source === undefined) return false;
    this.output(ipipPacket({ source, destination: to, id: this.packetId() }, inner));
    return true;
  }

  sendUdp(source: Ipv4, destination: Ipv4, sourcePort: number, destinationPort: number, payload = nothing): void {
    this.output(udpPacket({ source, destination, id: this.packetId() }, sourcePort, destinationPort, payload));
  }

  // ---- input ----

  #ipIn(nic: Nic, kind: FrameKind, ip: IpBody): void {
    const link = this.#links[nic.index];
    if (link === undefined) return;
    const verdict = this.#verdicts.of(link, kind, ip);
    switch (verdict.kind) {
      case "deliver": {
        this.#keepDelivery(nic, kind, ip, verdict);
        let packet = ip;
        while (packet.inner !== undefined) packet = packet.inner;
        if (this.localInput?.take(packet)) return;
        this.#delivered(packet, verdict.seenDestination, verdict.replySource, verdict.port);
        return;
      }
      case "forward":
        this.#forward(ip, verdict.out, verdict.via);
        return;
      case "drop":
        this.drop(verdict.rule);
        if (verdict.icmp === undefined || kind !== "unicast") return;
        if (verdict.icmp === "protocol unreachable")
          this.icmp.unreachable(ip, UNREACHABLE.protocol, { from: ip.destination });
        else this.icmp.unreachable(ip, verdict.icmp === "host unreachable" ? UNREACHABLE.host : UNREACHABLE.net);
    }
  }

  #keepDelivery(nic: Nic, kind: FrameKind, ip: IpBody, verdict: IpVerdict & { kind: "deliver" }): void {
    const asItStands =
      verdict.seenDestination === ip.destination &&
      verdict.replySource === ip.destination &&
      verdict.port === undefined;
    if (!this.#verdicts.allowed || !asItStands || nic.index !== 0 || kind !== "unicast" || ip.inner !== undefined)
      return;
    if (this.#sniffers !== undefined) return;
    this.#inProtocol = ip.protocol;
    this.#inSource = ip.source | 0;
    this.#inDestination = ip.destination | 0;
  }

  #forward(ip: IpBody, out: string, via: Ipv4 | undefined): void {
    const link = this.model.linkByName.get(out);
    const nic = link && this.#nicByLink.get(link.index);
    if (nic === undefined) {
      this.drop("the way out has no wire");
      return;
    }
    if (ip.ttl <= 1) {
      this.drop("TTL exceeded");
      this.icmp.timeExceeded(ip);
      return;
    }
    const mtu = nic.mtuOctets;
    if (ip.lengthOctets > mtu) {
      this.drop("longer than the MTU");
      if (ip.dontFragment) this.icmp.unreachable(ip, UNREACHABLE.fragmentationNeeded, { mtuOctets: mtu });
      return;
    }
    this.neighbours.send(nic, via ?? ip.destination, hopped(ip));
  }

  /** Up to the transport. `seen`: the destination the service sees; `answerFrom`: what its answers carry. */
  #delivered(ip: IpBody, seen: Ipv4, answerFrom: Ipv4, port: number | undefined): void {
    if (this.down) return;
    if (ip.tcp !== undefined) this.tcp.input(ip, answerFrom, port ?? ip.destinationPort);
    else if (ip.icmp !== undefined) this.icmp.input(ip, seen);
    else if (ip.protocol === PROTOCOL.udp) {
      const service = this.#serviceAt(port ?? ip.destinationPort);
      if (service === undefined) {
        this.icmp.unreachable(ip, UNREACHABLE.port, { from: answerFrom });
        return;
      }
      const answer = service(ip);
      if (answer !== undefined) this.sendUdp(answerFrom, ip.source, ip.destinationPort, ip.sourcePort, answer);
    } else this.drop("no such protocol");
  }

  serveUdp(port: number, service: UdpService): void {
    this.#services ??= new Map();
    this.#services.set(port, service);
    this.#servicePort = -1;
  }
  closeUdp(port: number): void {
    this.#services?.delete(port);
    this.#servicePort = -1;
  }

  #serviceAt(port: number): UdpService | undefined {
    if (port !== this.#servicePort) {
      this.#service = this.#services?.get(port) ?? (port === discardPort ? discard : undefined);
      this.#servicePort = port;
    }
    return this.#service;
  }

  /** The NIC whose link has an address that covers `ip`, else the first. */
  nicTowards(ip: Ipv4): Nic {
    const nic = this.#ways.to(ip)?.nic ?? this.nics[0];
    if (nic === undefined) throw new RangeError(`${this.name} has no way to ${formatIpv4(ip)}`);
    return nic;
  }
}
