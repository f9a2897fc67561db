/**
 * IPVS on a simulated director: services by port or fwmark, schedulers, persistence, thresholds, the connection table
 * with its timeouts, dr and tun. C-DIR. Two faces, as host/engine/ipvs.ts has: the lab says what is to stand, the agent
 * reads the table and hands over changes.
 */
import { type Ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { applyChanges, difference, type TableChange } from "../machine/difference.ts";
import {
  keyOf,
  type MarkRule,
  serverKeyOf,
  type TableKey,
  type TableRealServer,
  type TableService,
  type TableSettings,
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
import { type Candidate, type Scheduler, type SchedulerFlags, schedulers } from "./schedulers.ts";
import { SyncDaemons } from "./sync.ts";

interface Destination extends Candidate {
  server: TableRealServer;
  /** Whose server it was last: another service counts anew. */
  service: VirtualService;
  connections: number;
  packets: number;
  octets: number;
}

/** A client, or a network of them, that stays with one real server (ip_vs_sched_persist). */
interface Template {
  readonly destination: Destination;
  expiresUs: number;
  timeoutUs: number;
  /** Connections that it made and that live: until the last has gone it does not expire. */
  readonly controlled: Set<IpvsConnection>;
}

interface VirtualService {
  settings: TableKey & TableSettings;
  flags: SchedulerFlags;
  /** In the kernel's order: the last one added first. */
  readonly destinations: Destination[];
  scheduler: Scheduler<Destination>;
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

const serverNumber = ({ rip, port }: { readonly rip: Ipv4; readonly port: number }): number => rip * 65_536 + port;
/** IP_VS_SVC_F_SCHED1 and 2. */
const flagsOf = ({ schedulerFlags = [] }: TableSettings): SchedulerFlags => ({
  fallback: schedulerFlags.includes(1),
  port: schedulerFlags.includes(2),
});
const againUs = 60_000_000;

const noGate: GateWish = { closed: [], open: [], peers: [] };

export class Ipvs implements LocalInput, TableEngine {
  readonly #host: SimHost;
  #table: readonly TableService[] = [];
  readonly #services = new Map<number, VirtualService>();
  #marks: readonly MarkRule[] = [];
  /** By what the client asked for (VIP, protocol, port), then by client: numbers that a double holds exactly. */
  readonly #connections = new Map<number, Map<number, IpvsConnection>>();
  /** By service and server: who was taken out. If he comes back he has what he had. */
  readonly #takenOut = new Map<number, Map<number, Destination>>();
  /** By service, which they outlive, and client. */
  readonly #templates = new Map<number, Map<number, Template>>();
  #lastSweepUs = 0;
  readonly #sync: SyncDaemons;
  /** Told at once, while VIPs are handed over. */
  #handOver: HandOverWay | undefined;
  #gate: GateWish = noGate;
  readonly #relays = new Map<Ipv4, { readonly to: Ipv4; readonly untilUs: number }>();
  readonly backupOnly = false;
  readonly expiresQuiescent = false;
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
    const owned = new Set(this.#table.map(keyOf));
    const found = difference(services, this.#table, { owned, maximumDeleteSharePercent: 100, force: true });
    if (!found.ok) throw new RangeError(found.why);
    const table = applyChanges(this.#table, found.changes);
    for (const change of found.changes) this.#perform(change);
    this.#table = table;
  }

  /** One command of the control interface, as the kernel carries it out: its scheduler is told of each. */
  #perform(change: TableChange): void {
    const key = numberOf(change.service);
    if (change.kind === "addService") {
      this.#services.set(key, this.#made(change.service));
      return;
    }
    const service = this.#services.get(key);
    if (service === undefined) throw new RangeError(`there is no service ${keyOf(change.service)}`);
    if (change.kind === "editService") this.#edit(service, change.service);
    else if (change.kind === "removeService") {
      for (const destination of service.destinations) this.#takeOut(key, destination);
      this.#services.delete(key);
    } else if (change.kind === "addServer") {
      service.destinations.unshift(this.#joining(key, service, change.server));
      service.scheduler.added?.();
    } else {
      const at = service.destinations.findIndex((d) => serverNumber(d) === serverNumber(change.server));
      const destination = service.destinations[at];
      if (destination === undefined) throw new RangeError(`there is no server ${serverKeyOf(change.server)}`);
      if (change.kind === "editServer") {
        this.#update(destination, change.server);
        service.scheduler.edited?.();
      } else {
        service.destinations.splice(at, 1);
        this.#takeOut(key, destination);
        service.scheduler.removed?.(at);
      }
    }
  }

  #made(settings: TableKey & TableSettings): VirtualService {
    const served = { settings, flags: flagsOf(settings), destinations: [] as Destination[] };
    return Object.assign(served, { scheduler: this.#schedulerOf(settings, served) });
  }
  #schedulerOf(
    settings: TableSettings,
    served: Pick<VirtualService, "destinations" | "flags">,
  ): Scheduler<Destination> {
    const make = schedulers[settings.scheduler];
    if (make === undefined) throw new RangeError(`no scheduler ${settings.scheduler}`);
    return make(served, this.#host.nowMs);
  }
  /** ip_vs_edit_service: the scheduler stays if its name does; it finds its flags where they were. */
  #edit(service: VirtualService, settings: TableKey & TableSettings): void {
    const before = service.settings;
    service.settings = settings;
    service.flags = flagsOf(settings);
    if (settings.scheduler !== before.scheduler) service.scheduler = this.#schedulerOf(settings, service);
  }

  /** ip_vs_add_dest: new, or as it was taken out (ip_vs_trash_get_dest). */
  #joining(key: number, service: VirtualService, server: TableRealServer): Destination {
    const { rip, port, weight } = server;
    const known = this.#takenOut.get(key)?.get(serverNumber(server));
    if (known === undefined)
      return { server, service, rip, port, weight, lastWeight: weight, overloaded: false, gone: false, ...noCounts };
    this.#takenOut.get(key)?.delete(serverNumber(server));
    if (known.service !== service) Object.assign(known, { service, connections: 0, packets: 0, octets: 0 });
    known.gone = false;
    known.lastWeight = weight;
    this.#update(known, server);
    return known;
  }
  #update(destination: Destination, server: TableRealServer): void {
    destination.server = server;
    destination.weight = server.weight;
    if (server.weight !== 0) destination.lastWeight = server.weight;
    bound(destination);
    unbound(destination);
  }
  #takeOut(key: number, destination: Destination): void {
    destination.gone = true;
    const all = this.#takenOut.get(key);
    if (all === undefined) this.#takenOut.set(key, new Map([[serverNumber(destination), destination]]));
    else all.set(serverNumber(destination), destination);
  }

  read(): TableReading {
    const traffic = new Map<string, ReadonlyMap<string, ServerTraffic>>();
    for (const { settings, destinations } of this.#services.values())
      traffic.set(
        keyOf(settings),
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
    for (const change of changes)
      try {
        this.#table = applyChanges(this.#table, [change]);
        this.#perform(change);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        failures.push({ change, why: error.message, remedy: "read the table again" });
      }
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
    this.#takenOut.clear();
    this.#templates.clear();
    this.#marks = [];
    this.#gate = noGate;
    this.#sync.forget();
    this.#handOver = undefined;
    this.#relays.clear();
  }

  counts(): EngineCount[] {
    return [...this.#services.values()].flatMap(({ settings, destinations }) =>
      "fwmark" in settings
        ? []
        : [...destinations].reverse().map((d) => ({
            service: { vip: settings.vip, protocol: settings.protocol, port: settings.port },
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
      if (packet.ttl > 1) this.#host.output(hopped(packet), relay.to);
      else this.refused++; // two that relay to each other would never end
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
    if (service.settings.onePacket === true && packet.tcp === undefined) return made; // IP_VS_CONN_F_ONE_PACKET
    template?.controlled.add(made);
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
    return service.scheduler.pick({ source, sourcePort, destination, nowMs: this.#host.nowMs });
  }

  /** undefined: no persistence, or nobody to be had. */
  #template(service: VirtualService, packet: IpBody): Template | undefined {
    const { persistence } = service.settings;
    if (persistence === undefined) return undefined;
    const nowUs = this.#host.lan.nowUs;
    const network = (packet.source & maskOf(persistence.netmaskLength)) >>> 0;
    const key = numberOf(service.settings);
    const templates = this.#templates.get(key) ?? new Map<number, Template>();
    this.#templates.set(key, templates);
    let template = templates.get(network);
    // what lives at this moment has lived since it was made
    if (template !== undefined && template.expiresUs <= nowUs)
      for (const { expiresUs } of template.controlled) outlived(template, Math.min(expiresUs, nowUs + 1));
    if (template === undefined || template.destination.gone || template.expiresUs <= nowUs) {
      const destination = this.#schedule(service, packet);
      if (destination === undefined) return undefined;
      const timeoutUs = persistence.timeoutSeconds * 1_000_000;
      template = { destination, expiresUs: 0, timeoutUs, controlled: new Set() };
      templates.set(network, template);
    }
    template.expiresUs = nowUs + template.timeoutUs;
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
    if (template?.controlled.delete(connection)) outlived(template, connection.expiresUs);
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
    // counted before it is sent (ip_vs_in_stats), and whatever becomes of it
    destination.packets++;
    destination.octets += packet.lengthOctets;
    const { icmp } = this.#host;
    // decrement_ttl comes before the MTU; both errors speak as the VIP, for which the packet was
    const from = packet.destination;
    if (packet.ttl <= 1) {
      icmp.timeExceeded(packet, from);
      this.refused++;
      return;
    }
    const header = server.forwarding === "tun" ? 20 : 0;
    const mtu = this.#host.mtuTowards(server.rip);
    if (mtu !== undefined && packet.lengthOctets + header > mtu && packet.dontFragment) {
      // C-DIR-04: the client is told, and 20 octets less where a header comes in front
      icmp.unreachable(packet, UNREACHABLE.fragmentationNeeded, { from, mtuOctets: mtu - header });
      this.refused++;
      return;
    }
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

/**
 * ip_vs_conn_expire: a template's timer that finds connections starts again, with a minute; and with a minute from then
 * on, whatever the service says, also at each new connection.
 */
function outlived(template: Template, untilUs: number): void {
  if (template.expiresUs >= untilUs) return;
  template.timeoutUs = againUs;
  template.expiresUs += Math.ceil((untilUs - template.expiresUs) / againUs) * againUs;
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
