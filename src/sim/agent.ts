/**
 * The agent of a director on a simulated host: the very modules that `vipward run` runs (src/agent, src/machine), on
 * virtual time, behind the same ports. Failover and the rest have a loop each, as they have a thread each on a machine.
 */
import { Director } from "../agent/director.ts";
import type { AgentEvent } from "../agent/event.ts";
import { Failover } from "../agent/failover.ts";
import { failoverConfig } from "../agent/failoverConfig.ts";
import { Neighbours } from "../agent/neighbours.ts";
import { formatIpv4, type Ipv4, parseIpv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import type { Cluster, Director as DirectorHost } from "../cluster/cluster.ts";
import type { HttpTools } from "../machine/health/http.ts";
import { firstVipPathPort } from "../machine/health/vipPath.ts";
import type { HostFacts, PolicyRuleFacts, RouteFacts } from "../model/facts.ts";
import { encodeIcmp } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { VRRP_GROUP, VRRP_GROUP_MAC } from "../wire/vrrp.ts";
import { withAddresses, withoutAddresses } from "./addresses.ts";
import { encodePacket, type Frame } from "./frame.ts";
import type { SimHost } from "./host.ts";
import type { Ipvs } from "./ipvs.ts";
import { Loop } from "./loop.ts";
import type { Nic } from "./nic.ts";
import { frameOf, packetOf } from "./octets.ts";
import { SimProbes } from "./probes.ts";
import { Task } from "./task.ts";

export interface SimAgentOptions {
  readonly host: SimHost;
  readonly ipvs: Ipvs;
  readonly cluster: Cluster;
  /** This host in the cluster. */
  readonly director: DirectorHost;
  readonly http: HttpTools;
  readonly report: (event: AgentEvent) => void;
}

/** How long the kernel's word of a change takes to a program. */
const noticeUs = 100;

const yieldedTable = 11_200;
const yieldedRules: readonly PolicyRuleFacts[] = [
  { priority: 0, table: 255 },
  ...["tcp", "udp", "132"].map((protocol) => ({ priority: 112, protocol, table: yieldedTable })),
  { priority: 32_766, table: 254 },
  { priority: 32_767, table: 253 },
];
const dstOf = (vip: Ipv4): string => `${formatIpv4(vip)}/32`;

export class SimAgent {
  readonly name: string;
  readonly failover: Failover;
  readonly director: Director;
  /** VIPs that it has put on its links, and since when. */
  readonly holds = new Map<Ipv4, number>();
  /** When it last put VIPs on a link or took them away. */
  changedUs = 0;
  readonly #options: SimAgentOptions;
  readonly #neighbours: Neighbours;
  readonly #probes: SimProbes;
  readonly #own: ReadonlySet<Ipv4>;
  readonly #failoverLoop: Loop;
  readonly #directorLoop: Loop;
  readonly #sniffer = (frame: Frame, nic: Nic): void => this.#hear(frame, nic);
  readonly #watcher = (before: HostFacts): void => this.#changed(before);
  #ended = false;

  /** Throws Error where the cluster and the host do not fit. */
  constructor(options: SimAgentOptions) {
    this.#options = options;
    const { host, ipvs, cluster, director, http, report } = options;
    this.name = director.name;
    this.#own = new Set(director.addresses.map((a) => a.address));
    this.#neighbours = new Neighbours({
      macOf: (link) => this.#macOf(link),
      sendFrame: (link, frame) => this.#sendFrame(link, frame),
      sendPacket: (link, { destination }, packet) => this.#sendPacket(link, destination, packet),
    });
    this.#probes = new SimProbes({
      host,
      onEvent: (attempt, event) => this.#directed(() => this.director.probe(attempt, event, this.#nowMs)),
      toNeighbour: (address, packet) => this.#neighbours.send(address, packet, this.#nowMs),
    });
    this.failover = new Failover({
      sendAdvert: (link, packet, to) => this.#sendAdvert(link, packet, to),
      addVips: (link, vips) => this.#addVips(link, vips),
      yieldVips: (link, vips) => this.#yieldVips(link, vips),
      removeVips: (link, vips) => this.#removeVips(link, vips),
      relay: (vips, to, forMs) => ipvs.relay(vips, to, forMs),
      endRelay: (vips, to) => ipvs.endRelay(vips, to),
      sendFrame: (link, frame) => this.#sendFrame(link, frame),
      report: (event) => this.director.failover(event, this.#nowMs),
    });
    this.director = new Director({
      ports: {
        engine: ipvs,
        probes: this.#probes,
        sendFrame: (link, frame) => this.#sendFrame(link, frame),
        macOf: (link) => this.#macOf(link),
        track: (instance, delta, fault) => this.failover.track(instance, delta, fault, this.#nowMs),
        saveOwned: () => {},
      },
      owned: [],
      random: () => host.dice.next() / 0x1_0000_0000,
      ...http,
      report,
    });
    this.#failoverLoop = new Loop(
      host,
      () => this.failover.deadlineMs,
      (nowMs) => this.failover.tick(nowMs),
    );
    this.#directorLoop = new Loop(
      host,
      () => this.director.deadlineMs,
      (nowMs) => this.director.tick(nowMs),
    );
    this.#start(cluster);
  }

  get #nowMs(): number {
    return this.#options.host.clockUs / 1000;
  }

  #start(cluster: Cluster): void {
    const { host, director } = this.#options;
    host.listen([VRRP_GROUP_MAC]);
    host.sniff(this.#sniffer);
    host.watchers.push(this.#watcher);
    host.carrierChanged = (link, up) => host.after(noticeUs, new Task(() => this.#linkChanged(link, up)));
    this.#neighbours.load(cluster, director);
    // The table first: whoever takes the VIPs must be able to forward what comes with them.
    const loaded = this.director.load(cluster, director, { force: false }, this.#nowMs);
    if (!loaded.ok) throw new Error(loaded.why);
    if (loaded.fault !== undefined) throw loaded.fault;
    const config = failoverConfig(cluster, director, (link) => {
      const mac = this.#macOf(link);
      if (mac === undefined) throw new Error(`${host.name} has no link ${link}`);
      return mac;
    });
    const up = new Map(host.nics.map((nic) => [nic.link, host.lan.cableOf(nic.port).up]));
    const addresses = new Map(host.nics.map((nic) => [nic.link, this.#addressesOn(nic.link)]));
    this.director.links([...up], this.#nowMs);
    this.failover.start(config, { addresses, up }, this.#nowMs);
    this.director.tracking.load(cluster.failover.instances, this.#nowMs);
    this.#arm();
  }

  #addressesOn(link: string): Set<Ipv4> {
    const { facts } = this.#options.host;
    return new Set(facts.addresses.flatMap((a) => (a.link === link ? (parseIpv4(a.ip) ?? []) : [])));
  }

  /** The machine died, or another agent takes this one's place: nothing of it is heard any more. */
  end(): void {
    const { host } = this.#options;
    this.#ended = true;
    this.#failoverLoop.end();
    this.#directorLoop.end();
    host.unsniff(this.#sniffer);
    host.watchers.splice(host.watchers.indexOf(this.#watcher), 1);
    host.carrierChanged = undefined;
    host.udpRefused = undefined;
  }

  #guarded(action: () => void): void {
    if (this.#ended) return;
    action();
    this.#arm();
  }
  /** As #guarded, for what concerns health and the table only. */
  #directed(action: () => void): void {
    if (this.#ended) return;
    action();
    this.#directorLoop.arm();
  }
  #arm(): void {
    if (this.#ended) return;
    this.#failoverLoop.arm();
    this.#directorLoop.arm();
  }

  // ---- what a person asks for ----

  /** Hands over what it is master of, and stays the last choice. */
  switchOver(): readonly string[] {
    const left = this.failover.switchOver(undefined, this.#nowMs);
    this.#arm();
    return left;
  }
  /** Takes switchOver back. */
  release(): void {
    this.failover.release(this.#nowMs);
    this.#arm();
  }

  // ---- hearing ----

  #hear(frame: Frame, nic: Nic): void {
    const { body } = frame;
    const nowMs = this.#nowMs;
    if (body.kind === "arp") {
      this.#guarded(() => {
        this.failover.heardArp(nic.link, body, nowMs);
        this.#neighbours.heardArp(nic.link, body, nowMs);
        this.director.heardArp(nic.link, body, nowMs);
      });
      return;
    }
    const mine = this.#own.has(body.destination);
    if (body.protocol === PROTOCOL.vrrp) {
      if (mine || body.destination === VRRP_GROUP)
        this.#guarded(() => this.failover.heardVrrp(nic.link, encodePacket(body), nowMs));
      return;
    }
    if (this.failover.awaited.get(nic.link)?.includes(body.destination) === true)
      this.#guarded(() => this.failover.heardTraffic(nic.link, body.destination, nowMs));
    if (!mine) return;
    const from = this.#options.host.lan.macs.nameOf(frame.from);
    if (body.icmp !== undefined)
      this.#guarded(() => {
        const octets = encodePacket(body);
        this.director.heardPacket(octets, undefined, from, nowMs);
        if (this.#probes.awaitsEcho && body.icmp !== undefined)
          this.#probes.heardIcmp(body.source, encodeIcmp(body.icmp.message, body.icmp.data));
      });
    else if (body.tcp !== undefined && body.destinationPort >= firstVipPathPort)
      this.#directed(() => this.director.heardPacket(encodePacket(body), body.destinationPort, from, nowMs));
  }

  #linkChanged(link: string, up: boolean): void {
    this.#guarded(() => {
      this.director.links([[link, up]], this.#nowMs);
      this.failover.linkChanged(link, up, this.#nowMs);
    });
  }

  /** Somebody changed the host: VIPs that were taken away are put back. */
  #changed(before: HostFacts): void {
    const { host } = this.#options;
    if (host.down) return;
    for (const { link, ip } of before.addresses) {
      const address = parseIpv4(ip);
      if (address === undefined || !this.holds.has(address) || this.#addressesOn(link).has(address)) continue;
      const told = new Task(() => this.#guarded(() => this.failover.addressRemoved(link, address, this.#nowMs)));
      host.after(noticeUs, told);
    }
  }

  // ---- doing ----

  #nic(link: string): Nic | undefined {
    return this.#options.host.nics.find((nic) => nic.link === link);
  }
  #macOf(link: string): Mac | undefined {
    return this.#nic(link)?.mac;
  }

  #sendAdvert(link: string, octets: Uint8Array, to: Ipv4): void {
    if (to === VRRP_GROUP) {
      this.#sendPacket(link, VRRP_GROUP_MAC, octets);
      return;
    }
    const packet = packetOf(octets);
    if (packet !== undefined && this.#nic(link) !== undefined) this.#options.host.output(packet);
  }

  #sendFrame(link: string, octets: Uint8Array): void {
    const { host } = this.#options;
    const frame = frameOf(octets);
    const nic = this.#nic(link);
    if (frame === undefined || nic === undefined) return;
    if (frame.arp !== undefined) {
      const { operation, senderMac, senderIp, targetMac, targetIp } = frame.arp;
      host.arp.send(nic, { operation, senderMac, senderIp, targetMac, targetIp, to: frame.to });
    } else if (frame.packet !== undefined) host.sendPacket(nic, frame.to, frame.packet);
  }

  #sendPacket(link: string, to: Mac, octets: Uint8Array): void {
    const packet = packetOf(octets);
    const nic = this.#nic(link);
    if (packet !== undefined && nic !== undefined) this.#options.host.sendPacket(nic, to, packet);
  }

  #addVips(link: string, vips: readonly Ipv4[]): void {
    const { host } = this.#options;
    this.changedUs = host.lan.nowUs;
    this.#forward(vips, false);
    const there = this.#addressesOn(link);
    const fresh = vips.filter((vip) => !there.has(vip));
    for (const vip of vips) if (!this.holds.has(vip)) this.holds.set(vip, host.lan.nowUs);
    if (fresh.length > 0) host.change(withAddresses(host.facts, link, fresh));
  }

  #removeVips(link: string, vips: readonly Ipv4[]): void {
    this.#forward(vips, false);
    this.#takeOff(link, vips);
  }
  #takeOff(link: string, vips: readonly Ipv4[]): void {
    const { host } = this.#options;
    this.changedUs = host.lan.nowUs;
    for (const vip of vips) this.holds.delete(vip);
    const there = this.#addressesOn(link);
    if (vips.some((vip) => there.has(vip))) host.change(withoutAddresses(host.facts, vips, link));
  }

  #yieldVips(link: string, vips: readonly Ipv4[]): void {
    this.#forward(vips, true);
    this.#takeOff(link, vips);
  }
  /** As host/agent/yieldedVips.ts: TCP, UDP and SCTP for the VIPs is local by a table that ARP does not look into. */
  #forward(vips: readonly Ipv4[], on: boolean): void {
    const { host } = this.#options;
    const others = host.facts.routes.filter((r) => r.table !== yieldedTable || !vips.some((v) => r.dst === dstOf(v)));
    const added = on
      ? vips.map((v): RouteFacts => ({ dst: dstOf(v), type: "local", table: yieldedTable, dev: "lo" }))
      : [];
    const routes = [...others, ...added];
    if (routes.length === host.facts.routes.length && added.length === 0) return;
    const rules = routes.some((r) => r.table === yieldedTable) ? yieldedRules : [];
    host.change({ ...host.facts, routes, rules });
  }
}
