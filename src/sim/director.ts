/** IPVS on a simulated director: services, schedulers, the connection table with its timeouts, dr and tun. C-DIR. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { EngineCount, EngineRealServer, EngineService } from "../ports/engine.ts";
import { TCP_FLAG } from "../wire/tcp.ts";
import { hopped, type IpBody } from "./frame.ts";
import type { LocalInput, SimHost } from "./host.ts";
import { type Candidate, type Schedule, type SchedulerFlags, schedulers } from "./schedulers.ts";

const states = [
  "NONE",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "SYNACK",
] as const;
type State = (typeof states)[number];

/** tcp_timeouts of ip_vs_proto_tcp.c, in seconds. */
const timeoutSeconds: Readonly<Record<State, number>> = {
  NONE: 2,
  ESTABLISHED: 15 * 60,
  SYN_SENT: 2 * 60,
  SYN_RECV: 60,
  FIN_WAIT: 2 * 60,
  TIME_WAIT: 2 * 60,
  CLOSE: 10,
  CLOSE_WAIT: 60,
  LAST_ACK: 30,
  LISTEN: 2 * 60,
  SYNACK: 120,
};
const udpTimeoutSeconds = 5 * 60;

/**
 * tcp_states, the part for directors that see one direction only (INPUT-ONLY), as dr and tun directors do: the next
 * state by event, in the order of `states`.
 */
const inputOnly: Readonly<Record<"syn" | "fin" | "ack" | "rst", readonly State[]>> = {
  syn: [
    "SYN_RECV",
    "ESTABLISHED",
    "ESTABLISHED",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
    "SYN_RECV",
  ],
  fin: [
    "CLOSE",
    "FIN_WAIT",
    "SYN_SENT",
    "TIME_WAIT",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "TIME_WAIT",
  ],
  ack: [
    "CLOSE",
    "ESTABLISHED",
    "SYN_SENT",
    "ESTABLISHED",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "CLOSE",
    "LISTEN",
    "ESTABLISHED",
  ],
  rst: ["CLOSE", "CLOSE", "CLOSE", "SYN_RECV", "CLOSE", "CLOSE", "CLOSE", "CLOSE", "LAST_ACK", "LISTEN", "CLOSE"],
};

const eventOf = (flags: number): keyof typeof inputOnly =>
  (flags & TCP_FLAG.rst) !== 0
    ? "rst"
    : (flags & TCP_FLAG.syn) !== 0
      ? "syn"
      : (flags & TCP_FLAG.fin) !== 0
        ? "fin"
        : "ack";

interface Destination extends Candidate {
  readonly server: EngineRealServer;
  connections: number;
  packets: number;
  octets: number;
}

interface VirtualService {
  readonly service: EngineService;
  /** In the kernel's order: the last one added first. */
  readonly destinations: Destination[];
  schedule: Schedule<Destination>;
}

export interface DirectorConnection {
  readonly key: number;
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Destination;
  state: State;
  expiresUs: number;
  isActive: boolean;
}

const noFlags: SchedulerFlags = { port: false, fallback: false };

export interface DirectorOptions {
  /** Flags by scheduler name, for services that have them. */
  readonly flags?: SchedulerFlags;
  /** sloppy_tcp: takes connections from the middle, after a failover without synchronisation. */
  readonly sloppyTcp?: boolean;
}

/** Engine, as ports/ has it, and the hook in the director's input path. */
export class Director implements LocalInput {
  readonly #host: SimHost;
  readonly #options: DirectorOptions;
  readonly #services = new Map<number, VirtualService>();
  /** By service, then by client: numbers that a double holds exactly. */
  readonly #connections = new Map<number, Map<number, DirectorConnection>>();
  #lastSweepUs = 0;
  /** Packets for a service that could not be sent on. */
  refused = 0;

  constructor(host: SimHost, options: DirectorOptions = {}) {
    this.#host = host;
    this.#options = options;
    host.localInput = this;
  }

  static #keyOf(vip: Ipv4, protocol: number, port: number): number {
    return (vip * 256 + protocol) * 65_536 + port;
  }

  program(services: readonly EngineService[]): void {
    const wanted = new Set(services.map((s) => Director.#keyOf(s.vip, s.protocol, s.port)));
    for (const key of [...this.#services.keys()])
      if (!wanted.has(key)) {
        this.#services.delete(key);
        this.#connections.delete(key);
      }
    for (const service of services) this.#programOne(service);
  }

  #programOne(service: EngineService): void {
    const key = Director.#keyOf(service.vip, service.protocol, service.port);
    const before = this.#services.get(key);
    const destinations = service.realServers
      .map((server): Destination => {
        const known = before?.destinations.find((d) => d.rip === server.rip && d.port === server.port);
        if (known !== undefined && known.server.forwarding === server.forwarding) {
          known.weight = server.weight;
          return known;
        }
        const counts = { active: 0, inactive: 0, connections: 0, packets: 0, octets: 0 };
        return { server, rip: server.rip, port: server.port, weight: server.weight, overloaded: false, ...counts };
      })
      .reverse();
    const make = schedulers[service.scheduler];
    if (make === undefined) throw new RangeError(`no scheduler ${service.scheduler}`);
    this.#services.set(key, {
      service,
      destinations,
      schedule: make(destinations, this.#options.flags ?? noFlags),
    });
    if (!this.#connections.has(key)) this.#connections.set(key, new Map());
  }

  clear(): void {
    this.#services.clear();
    this.#connections.clear();
  }

  /** As after a reboot: the table is empty, the services are programmed anew by whoever does that. */
  forgetConnections(): void {
    for (const some of this.#connections.values()) some.clear();
    for (const { destinations } of this.#services.values())
      for (const d of destinations) {
        d.active = 0;
        d.inactive = 0;
      }
  }

  counts(): EngineCount[] {
    return [...this.#services.values()].flatMap(({ service, destinations }) =>
      [...destinations].reverse().map((d) => ({
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

  take(packet: IpBody): boolean {
    const key = Director.#keyOf(packet.destination, packet.protocol, packet.destinationPort);
    const service = this.#services.get(key);
    const table = this.#connections.get(key);
    if (service === undefined || table === undefined) {
      return packet.icmp?.quoted !== undefined && this.#takeError(packet);
    }
    this.#sweep();
    const client = packet.source * 65_536 + packet.sourcePort;
    let connection = table.get(client);
    if (connection !== undefined && connection.expiresUs <= this.#host.lan.nowUs) {
      this.#expire(table, connection);
      connection = undefined;
    }
    const flags = packet.tcp?.flags ?? 0;
    // a new SYN from a port whose old connection is over is a new connection (conn_reuse_mode 1)
    if (
      connection !== undefined &&
      (flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn &&
      (connection.state === "TIME_WAIT" || connection.state === "FIN_WAIT" || connection.state === "CLOSE")
    ) {
      this.#expire(table, connection);
      connection = undefined;
    }
    if (connection === undefined) {
      if (packet.tcp !== undefined && this.#options.sloppyTcp !== true && (flags & TCP_FLAG.syn) === 0) return false;
      const destination = service.schedule({
        source: packet.source,
        sourcePort: packet.sourcePort,
        destination: packet.destination,
        nowMs: this.#host.nowMs,
      });
      if (destination === undefined) {
        // ip_vs_leave: nobody to take it
        this.refused++;
        return true;
      }
      connection = {
        key: client,
        source: packet.source,
        sourcePort: packet.sourcePort,
        destination,
        state: "NONE",
        expiresUs: 0,
        isActive: false,
      };
      table.set(client, connection);
      destination.inactive++;
      destination.connections++;
    }
    this.#advance(connection, packet);
    this.#forward(connection.destination, packet);
    return true;
  }

  #advance(connection: DirectorConnection, packet: IpBody): void {
    const { destination } = connection;
    if (packet.tcp !== undefined) {
      connection.state = inputOnly[eventOf(packet.tcp.flags)][states.indexOf(connection.state)] ?? "CLOSE";
      const active = connection.state === "ESTABLISHED";
      if (active !== connection.isActive) {
        connection.isActive = active;
        destination.active += active ? 1 : -1;
        destination.inactive += active ? -1 : 1;
      }
    }
    const seconds = packet.tcp === undefined ? udpTimeoutSeconds : timeoutSeconds[connection.state];
    connection.expiresUs = this.#host.lan.nowUs + seconds * 1_000_000;
  }

  #expire(table: Map<number, DirectorConnection>, connection: DirectorConnection): void {
    table.delete(connection.key);
    if (connection.isActive) connection.destination.active--;
    else connection.destination.inactive--;
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
      this.#host.fragmentationNeeded(packet, server.forwarding === "tun" ? mtu - 20 : mtu);
      this.refused++;
      return;
    }
    destination.packets++;
    destination.octets += packet.lengthOctets;
    if (server.forwarding === "dr") this.#host.output(hopped(packet), server.rip);
    else if (!this.#host.tunnel(hopped(packet), server.rip)) this.refused++;
  }

  /** An ICMP error about one of our connections belongs to its real server (ip_vs_in_icmp). */
  #takeError(packet: IpBody): boolean {
    const quoted = packet.icmp?.quoted;
    if (quoted === undefined) return false;
    const key = Director.#keyOf(quoted.source, quoted.protocol, quoted.sourcePort);
    const connection = this.#connections.get(key)?.get(quoted.destination * 65_536 + quoted.destinationPort);
    if (connection === undefined) return false;
    this.#forward(connection.destination, packet);
    return true;
  }
}
