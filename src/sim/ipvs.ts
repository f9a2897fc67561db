/**
 * IPVS on a simulated director: services by port or fwmark, schedulers, persistence, thresholds, the connection table
 * with its timeouts, dr and tun. C-DIR. Two faces, as host/engine/ipvs.ts has: the lab says what is to stand, the agent
 * reads the table and hands over changes.
 */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { applyChanges, type TableChange } from "../machine/difference.ts";
import {
  keyOf,
  type MarkRule,
  serverKeyOf,
  type TableKey,
  type TableRealServer,
  type TableService,
} from "../machine/table.ts";
import type {
  EngineCount,
  GateWish,
  HandOverWay,
  ServerTraffic,
  SyncDaemonWish,
  TableEngine,
  TableFailure,
  TableReading,
} from "../ports/engine.ts";
import { UNREACHABLE } from "../wire/icmp.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { type Connection, type Forwarding, TCP_STATES } from "../wire/ipvsSync.ts";
import { TCP_FLAG } from "../wire/tcp.ts";
import { hopped, type IpBody } from "./frame.ts";
import type { LocalInput, SimHost } from "./host.ts";
import { eventOf, inputOnly, type State, timeoutSeconds, udpTimeoutSeconds } from "./ipvsStates.ts";
import { type Candidate, type Schedule, schedulers } from "./schedulers.ts";
import { SyncDaemons } from "./sync.ts";

interface Destination extends Candidate {
  server: TableRealServer;
  /** Taken out of its service: what is left of its connections goes nowhere. */
  gone: boolean;
  connections: number;
  packets: number;
  octets: number;
}

/** A client, or a network of them, that stays with one real server (ip_vs_sched_persist). */
interface Template {
  readonly destination: Destination;
  expiresUs: number;
  /** Connections that it made and that live: until the last has gone it does not expire. */
  controlled: number;
}

interface VirtualService {
  service: TableService;
  /** In the kernel's order: the last one added first. */
  destinations: Destination[];
  schedule: Schedule<Destination>;
  readonly templates: Map<number, Template>;
}

interface IpvsConnection {
  /** Source address and port as one number, and what was asked for. */
  readonly client: number;
  readonly virtual: Ipv4;
  readonly virtualPort: number;
  readonly protocol: number;
  /** Packets from the client. */
  packets: number;
  readonly destination: Destination;
  readonly template: Template | undefined;
  state: State;
  expiresUs: number;
  isActive: boolean;
}

/** sync_threshold: "3 50". */
const syncThreshold = 3;
const syncPeriod = 50;
const syncedEnds: ReadonlySet<State> = new Set(["FIN_WAIT", "CLOSE", "CLOSE_WAIT", "TIME_WAIT"]);

const toldOf = (c: IpvsConnection): Connection => ({
  protocol: c.protocol,
  client: ipv4FromNumber(Math.floor(c.client / 65_536)),
  clientPort: c.client % 65_536,
  virtual: c.virtual,
  virtualPort: c.virtualPort,
  server: c.destination.rip,
  serverPort: c.destination.port,
  state: c.protocol === PROTOCOL.tcp ? TCP_STATES.indexOf(c.state) : 0,
});

const noCounts = { active: 0, inactive: 0, connections: 0, packets: 0, octets: 0 };
const portKey = (vip: Ipv4, protocol: number, port: number): number => (vip * 256 + protocol) * 65_536 + port;
/** One number for each service: those by fwmark below zero. */
const numberOf = (key: TableKey): number =>
  "fwmark" in key ? -1 - key.fwmark : portKey(key.vip, key.protocol, key.port);
const maskOf = (length: number): number => (length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0);

const noGate: GateWish = { closed: [], open: [], peers: [] };

export class Ipvs implements LocalInput, TableEngine {
  readonly #host: SimHost;
  #table: readonly TableService[] = [];
  readonly #services = new Map<number, VirtualService>();
  #marks: readonly MarkRule[] = [];
  /** By what the client asked for (VIP, protocol, port), then by client: numbers that a double holds exactly. */
  readonly #connections = new Map<number, Map<number, IpvsConnection>>();
  /** By service: servers that were taken out while they had connections, and that have those still if they come back. */
  readonly #takenOut = new Map<number, readonly Destination[]>();
  #lastSweepUs = 0;
  readonly #sync: SyncDaemons;
  /** Told at once, while VIPs are handed over. */
  #handOver: HandOverWay | undefined;
  #gate: GateWish = noGate;
  readonly #relays = new Map<Ipv4, { readonly to: Ipv4; readonly untilUs: number }>();
  readonly backupOnly = false;
  /** Packets for a service that could not be sent on. */
  refused = 0;

  constructor(host: SimHost) {
    this.#host = host;
    host.localInput = this;
    this.#sync = new SyncDaemons(
      host,
      (c) => this.#forwardingOf(c),
      (c) => this.#received(c),
    );
  }

  // ---- the table ----

  /** Makes exactly these services stand. */
  program(services: readonly TableService[]): void {
    const before = this.#table;
    this.#table = services;
    const wanted = new Set(services.map(numberOf));
    for (const [key, { destinations }] of this.#services)
      if (!wanted.has(key)) {
        this.#takeOut(key, destinations);
        this.#services.delete(key);
      }
    for (const service of services) if (!before.includes(service)) this.#programOne(service);
  }

  #programOne(service: TableService): void {
    const key = numberOf(service);
    const before = this.#services.get(key);
    const destinations = service.realServers
      .map((server): Destination => {
        const known = [...(before?.destinations ?? []), ...(this.#takenOut.get(key) ?? [])].find(
          (d) => d.rip === server.rip && d.port === server.port,
        );
        const { rip, port, weight } = server;
        if (known === undefined) return { server, rip, port, weight, overloaded: false, gone: false, ...noCounts };
        known.server = server;
        known.weight = weight;
        known.gone = false;
        bound(known);
        unbound(known);
        return known;
      })
      .reverse();
    this.#takeOut(
      key,
      (before?.destinations ?? []).filter((old) => !destinations.includes(old)),
    );
    const make = schedulers[service.scheduler];
    if (make === undefined) throw new RangeError(`no scheduler ${service.scheduler}`);
    const flags = service.schedulerFlags ?? [];
    const schedule = make(destinations, { fallback: flags.includes(1), port: flags.includes(2) });
    const templates = before?.templates ?? new Map<number, Template>();
    this.#services.set(key, { service, destinations, schedule, templates });
  }

  #takeOut(key: number, destinations: readonly Destination[]): void {
    for (const destination of destinations) destination.gone = true;
    const all = [...(this.#takenOut.get(key) ?? []), ...destinations];
    const kept = all.filter((d) => d.gone && d.active + d.inactive > 0);
    if (kept.length === 0) this.#takenOut.delete(key);
    else this.#takenOut.set(key, kept);
  }

  read(): TableReading {
    const traffic = new Map<string, ReadonlyMap<string, ServerTraffic>>();
    for (const { service, destinations } of this.#services.values())
      traffic.set(
        keyOf(service),
        new Map(
          destinations.map((d) => [
            serverKeyOf(d.server),
            {
              activeConnections: d.active,
              inactiveConnections: d.inactive,
              connections: d.connections,
              packets: d.packets,
              octets: d.octets,
              connectionRate: 0,
              packetRate: 0,
              octetRate: 0,
            },
          ]),
        ),
      );
    return { services: this.#table, traffic };
  }

  apply(changes: readonly TableChange[]): TableFailure[] {
    const failures: TableFailure[] = [];
    let table = this.#table;
    for (const change of changes)
      try {
        table = applyChanges(table, [change]);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        failures.push({ change, why: error.message, remedy: "read the table again" });
      }
    this.program(table);
    return failures;
  }

  mark(rules: readonly MarkRule[]): undefined {
    this.#marks = rules;
  }

  synchronise(daemons: readonly SyncDaemonWish[]): string[] {
    const wayOf = (role: SyncDaemonWish["role"]) => daemons.find((d) => d.role === role);
    this.#sync.set(wayOf("master"), wayOf("backup"));
    return [];
  }

  tellConnections(way: HandOverWay | undefined): void {
    this.#handOver = way;
    if (way === undefined) return;
    const known: Connection[] = [];
    for (const table of this.#connections.values()) for (const c of table.values()) known.push(toldOf(c));
    this.#sync.send(way, known);
  }

  gate(wish: GateWish): undefined {
    this.#gate = wish;
  }
  /** Nobody else has rules here. */
  lost(): readonly [] {
    return [];
  }

  /** TCP for these VIPs that belongs to no connection known here goes to this director instead, for so long. */
  relay(vips: readonly Ipv4[], to: Ipv4, forMs: number): void {
    const untilUs = this.#host.lan.nowUs + Math.round(forMs * 1000);
    for (const vip of vips) this.#relays.set(vip, { to, untilUs });
  }

  endRelay(vips: readonly Ipv4[], to: Ipv4): void {
    for (const vip of vips) if (this.#relays.get(vip)?.to === to) this.#relays.delete(vip);
  }

  close(): void {}

  /** As after a boot: nothing is known of what was. */
  clear(): void {
    this.program([]);
    this.#connections.clear();
    this.#takenOut.clear(); // they wait for the end of connections that are no more
    this.#marks = [];
    this.#gate = noGate;
    this.#sync.forget();
    this.#handOver = undefined;
    this.#relays.clear();
  }

  counts(): EngineCount[] {
    return [...this.#services.values()].flatMap(({ service, destinations }) =>
      "fwmark" in service
        ? []
        : [...destinations].reverse().map((d) => ({
            service: { vip: service.vip, protocol: service.protocol, port: service.port },
            realServer: d.rip,
            connections: d.connections,
            packets: d.packets,
            octets: d.octets,
          })),
    );
  }

  /** Connections in the table now. */
  get size(): number {
    let size = 0;
    for (const some of this.#connections.values()) size += some.size;
    return size;
  }

  // ---- packets ----

  /** ip_vs_service_find: by mark, by port, for all ports. */
  #serviceFor(packet: IpBody, key: number): VirtualService | undefined {
    const { destination, protocol, destinationPort: port } = packet;
    for (const m of this.#marks)
      if (m.vip === destination && m.protocol === protocol && m.first <= port && port <= m.last) {
        const marked = this.#services.get(-1 - m.fwmark);
        if (marked !== undefined) return marked;
      }
    return this.#services.get(key) ?? this.#services.get(portKey(destination, protocol, 0));
  }

  take(packet: IpBody): boolean {
    const key = portKey(packet.destination, packet.protocol, packet.destinationPort);
    const client = packet.source * 65_536 + packet.sourcePort;
    this.#sweep();
    const table = this.#connections.get(key);
    let connection = table?.get(client);
    if (table !== undefined && connection !== undefined && this.#isOver(connection, packet)) {
      this.#expire(table, connection);
      connection = undefined;
    }
    if (connection === undefined) {
      const service = this.#serviceFor(packet, key);
      if (service === undefined)
        return (packet.icmp?.quoted !== undefined && this.#takeError(packet)) || this.#passesOn(packet);
      const flags = packet.tcp?.flags ?? TCP_FLAG.syn;
      // sloppy_tcp is 0
      if ((flags & TCP_FLAG.syn) === 0) return this.#passesOn(packet);
      connection = this.#connect(service, packet, key, client);
      if (connection === undefined) {
        // ip_vs_leave: nobody to take it
        this.refused++;
        return true;
      }
    }
    this.#advance(connection, packet);
    // a packet for a server that was taken out is dropped in silence (ip_vs_in)
    if (connection.destination.gone) this.refused++;
    else this.#forward(connection.destination, packet);
    return true;
  }

  /** What IPVS does not take: relayed to the director that knows the connection, or kept out; false: delivered here. */
  #passesOn(packet: IpBody): boolean {
    const { destination, destinationPort: port, protocol, tcp } = packet;
    const relay = this.#relays.get(destination);
    if (relay !== undefined && tcp !== undefined && relay.untilUs > this.#host.lan.nowUs) {
      if ((tcp.flags & TCP_FLAG.syn) !== 0) return false;
      this.#host.output(hopped(packet), relay.to);
      return true;
    }
    const { closed, open } = this.#gate;
    if (!closed.includes(destination)) return false;
    const isOpen = open.some(
      (d) => d.vip === destination && d.protocol === protocol && d.first <= port && port <= d.last,
    );
    if (!isOpen) this.refused++;
    return !isOpen;
  }

  /**
   * Its time is over, or a new SYN comes from a port whose old connection has ended: is_new_conn_expected with
   * conn_reuse_mode 1. FIN_WAIT counts with bit 2 of that mode only, and a connection under a template never.
   */
  #isOver(connection: IpvsConnection, packet: IpBody): boolean {
    const { state, template } = connection;
    if (connection.expiresUs <= this.#host.lan.nowUs) return true;
    const opens = ((packet.tcp?.flags ?? 0) & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
    return opens && template === undefined && (state === "TIME_WAIT" || state === "CLOSE");
  }

  #connect(service: VirtualService, packet: IpBody, key: number, client: number): IpvsConnection | undefined {
    const template = this.#template(service, packet);
    const destination = template?.destination ?? this.#schedule(service, packet);
    if (destination === undefined) return undefined;
    const made: IpvsConnection = {
      client,
      virtual: packet.destination,
      virtualPort: packet.destinationPort,
      protocol: packet.protocol,
      packets: 0,
      destination,
      template,
      state: "NONE",
      expiresUs: 0,
      isActive: false,
    };
    destination.connections++;
    if (service.service.onePacket === true && packet.tcp === undefined) return made; // IP_VS_CONN_F_ONE_PACKET
    if (template !== undefined) template.controlled++;
    this.#keep(key, made);
    return made;
  }
  #keep(key: number, made: IpvsConnection): void {
    const table = this.#connections.get(key);
    if (table === undefined) this.#connections.set(key, new Map([[made.client, made]]));
    else table.set(made.client, made);
    made.destination.inactive++;
    bound(made.destination);
  }

  // ---- connection sync ----

  #forwardingOf(connection: Connection): Forwarding {
    const { virtual, virtualPort: port, protocol, server } = connection;
    if (this.#handOver !== undefined) return this.#handOver.forwardingOf(connection);
    const service = this.#services.get(portKey(virtual, protocol, port));
    const method = service?.destinations.find((d) => d.rip === server)?.server.forwarding ?? "dr";
    return { method, fwmark: 0 };
  }

  /** ip_vs_sync_conn: after the third packet and each fiftieth after it, and when it ends. */
  #synchroniseOne(connection: IpvsConnection, before: State): void {
    if (!this.#sync.isMaster && this.#handOver === undefined) return;
    const { packets, state } = connection;
    const ended = state !== before && syncedEnds.has(state);
    const due = state === "ESTABLISHED" && packets % syncPeriod === syncThreshold;
    if (ended || due) this.#sync.tell(toldOf(connection));
    if (this.#handOver !== undefined && packets === 1) this.#sync.send(this.#handOver, [toldOf(connection)]);
  }

  /** ip_vs_proc_conn: made or brought up to date, for a real server that is in the table here too. */
  #received(c: Connection): void {
    const key = portKey(c.virtual, c.protocol, c.virtualPort);
    const client = c.client * 65_536 + c.clientPort;
    const state = TCP_STATES[c.state] ?? "NONE";
    let known = this.#connections.get(key)?.get(client);
    if (known === undefined) {
      const service = this.#services.get(key) ?? this.#services.get(portKey(c.virtual, c.protocol, 0));
      const destination = [...(service ? [service] : this.#services.values())]
        .flatMap((s) => s.destinations)
        .find((d) => d.rip === c.server);
      if (destination === undefined) return;
      const { virtual, virtualPort, protocol } = c;
      const ends = { client, virtual, virtualPort, protocol };
      known = { ...ends, packets: 0, destination, template: undefined, state: "NONE", expiresUs: 0, isActive: false };
      this.#keep(key, known);
    }
    this.#enter(known, state);
    known.packets = syncThreshold; // who told it has; the next time is the period's
    known.expiresUs = this.#host.lan.nowUs + timeoutSeconds[state] * 1_000_000;
  }

  #schedule(service: VirtualService, packet: IpBody): Destination | undefined {
    const { source, sourcePort, destination } = packet;
    return service.schedule({ source, sourcePort, destination, nowMs: this.#host.nowMs });
  }

  /** undefined: no persistence, or nobody to be had. */
  #template(service: VirtualService, packet: IpBody): Template | undefined {
    const { persistence } = service.service;
    if (persistence === undefined) return undefined;
    const nowUs = this.#host.lan.nowUs;
    const network = (packet.source & maskOf(persistence.netmaskLength)) >>> 0;
    const known = service.templates.get(network);
    const lives = known !== undefined && !known.destination.gone && (known.controlled > 0 || known.expiresUs > nowUs);
    const destination = lives ? known.destination : this.#schedule(service, packet);
    if (destination === undefined) return undefined;
    const template = lives ? known : { destination, expiresUs: 0, controlled: 0 };
    template.expiresUs = nowUs + persistence.timeoutSeconds * 1_000_000;
    service.templates.set(network, template);
    return template;
  }

  #advance(connection: IpvsConnection, packet: IpBody): void {
    const before = connection.state;
    connection.packets++;
    if (packet.tcp !== undefined)
      this.#enter(connection, inputOnly[eventOf(packet.tcp.flags)][TCP_STATES.indexOf(before)] ?? "CLOSE");
    const seconds = packet.tcp === undefined ? udpTimeoutSeconds : timeoutSeconds[connection.state];
    connection.expiresUs = this.#host.lan.nowUs + seconds * 1_000_000;
    this.#synchroniseOne(connection, before);
  }
  #enter(connection: IpvsConnection, state: State): void {
    const { destination } = connection;
    connection.state = state;
    const active = state === "ESTABLISHED";
    if (active === connection.isActive) return;
    connection.isActive = active;
    destination.active += active ? 1 : -1;
    destination.inactive += active ? -1 : 1;
  }

  #expire(table: Map<number, IpvsConnection>, connection: IpvsConnection): void {
    table.delete(connection.client);
    const { destination, template } = connection;
    if (connection.isActive) destination.active--;
    else destination.inactive--;
    if (template !== undefined) template.controlled--;
    unbound(destination);
  }

  /** Once in a second of use: who is over time goes. */
  #sweep(): void {
    const nowUs = this.#host.lan.nowUs;
    if (nowUs - this.#lastSweepUs < 1_000_000) return;
    this.#lastSweepUs = nowUs;
    for (const table of this.#connections.values())
      for (const connection of [...table.values()]) if (connection.expiresUs <= nowUs) this.#expire(table, connection);
  }

  #forward(destination: Destination, packet: IpBody): void {
    const { server } = destination;
    const mtu = this.#host.mtuTowards(server.rip);
    const length = packet.lengthOctets + (server.forwarding === "tun" ? 20 : 0);
    if (mtu !== undefined && length > mtu && packet.dontFragment) {
      // C-DIR-04: the client is told, and 20 octets less where a header comes in front
      this.#host.icmp.unreachable(
        packet,
        UNREACHABLE.fragmentationNeeded,
        server.forwarding === "tun" ? mtu - 20 : mtu,
      );
      this.refused++;
      return;
    }
    destination.packets++;
    destination.octets += packet.lengthOctets;
    if (server.forwarding === "dr") this.#host.output(hopped(packet), server.rip);
    else if (server.forwarding !== "tun" || !this.#host.tunnel(hopped(packet), server.rip)) this.refused++;
  }

  /** An ICMP error about one of our connections belongs to its real server (ip_vs_in_icmp). */
  #takeError(packet: IpBody): boolean {
    const quoted = packet.icmp?.quoted;
    if (quoted === undefined) return false;
    const key = portKey(quoted.source, quoted.protocol, quoted.sourcePort);
    const connection = this.#connections.get(key)?.get(quoted.destination * 65_536 + quoted.destinationPort);
    if (connection === undefined || connection.destination.gone) return false;
    this.#forward(connection.destination, packet);
    return true;
  }
}

/** ip_vs_bind_dest: at its upper threshold a server takes no more. */
function bound(d: Destination): void {
  const upper = d.server.upperThreshold ?? 0;
  if (upper > 0 && d.active + d.inactive >= upper) d.overloaded = true;
}

/** ip_vs_unbind_dest: below the lower threshold, or three quarters of the upper, it takes some again. */
function unbound(d: Destination): void {
  const { upperThreshold: upper = 0, lowerThreshold: lower = 0 } = d.server;
  const count = d.active + d.inactive;
  if (lower > 0 ? count < lower : upper === 0 || count * 4 < upper * 3) d.overloaded = false;
}
