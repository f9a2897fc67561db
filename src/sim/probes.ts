/** The sockets of health checks on a simulated host. TLS is taken to succeed where TCP does, and commands exit with 0. */
import type { Ipv4 } from "../base/ipv4.ts";
import type { ProbeEvent } from "../machine/health/probe.ts";
import type { ProbeAction, ProbePorts } from "../ports/probes.ts";
import { decodeIcmp } from "../wire/icmp.ts";
import { icmpPacket } from "./frame.ts";
import type { SimHost } from "./host.ts";
import { packetOf } from "./octets.ts";
import { Task } from "./task.ts";
import type { Connection } from "./tcp.ts";

export interface SimProbesOptions {
  readonly host: SimHost;
  readonly onEvent: (attempt: number, event: ProbeEvent) => void;
  readonly toNeighbour: (address: Ipv4, packet: Uint8Array) => void;
}

/** What one attempt has open. */
interface Opened {
  readonly connection?: Connection;
  readonly port?: number;
}

const firstUdpPort = 50_000;
const udpPorts = 10_000;

/** No server of the simulator has one that could expire. */
const goodCertificate = { notBeforeEpochMs: 0, notAfterEpochMs: 8.64e15, nowEpochMs: 1 };

/** What Node calls the ends of a connection. */
const errors = {
  reset: "ECONNRESET",
  refused: "ECONNREFUSED",
  unreachable: "EHOSTUNREACH",
  timeout: "ETIMEDOUT",
} as const;

export class SimProbes implements ProbePorts {
  readonly #options: SimProbesOptions;
  readonly #open = new Map<number, Opened>();
  /** Attempts by the address that they sent an echo request to. */
  readonly #echoes = new Map<number, Ipv4>();
  #nextPort = 0;

  constructor(options: SimProbesOptions) {
    this.#options = options;
    options.host.udpRefused = (port) => {
      for (const [attempt, opened] of this.#open)
        if (opened.port === port) options.onEvent(attempt, { kind: "failed", error: "ECONNREFUSED" });
    };
  }

  perform(attempt: number, action: ProbeAction): void {
    const { host } = this.#options;
    switch (action.kind) {
      case "connect":
        this.#connect(attempt, action.address, action.port, action.tls !== undefined);
        return;
      case "send":
        this.#open.get(attempt)?.connection?.send(action.octets);
        return;
      case "datagram":
        this.#datagram(attempt, action.address, action.port, action.octets);
        return;
      case "icmp":
        this.#echo(attempt, action.address, action.octets);
        return;
      case "packet":
        if (action.to.kind === "neighbour") this.#options.toNeighbour(action.to.address, action.octets);
        else {
          const packet = packetOf(action.octets);
          if (packet !== undefined) host.output(packet);
        }
        return;
      case "run":
        this.#later(attempt, { kind: "exited", status: 0 });
        return;
      case "release":
        this.#release(attempt);
    }
  }

  /** Whoever asked is in the middle of his own step: he is told after it. */
  #later(attempt: number, event: ProbeEvent): void {
    this.#options.host.after(1, new Task(() => this.#options.onEvent(attempt, event)));
  }

  #connect(attempt: number, address: Ipv4, port: number, greets: boolean): void {
    const { host, onEvent } = this.#options;
    const certificate = greets ? { certificate: goodCertificate } : {};
    const source = host.sourceFor(address);
    if (source === undefined) {
      this.#later(attempt, { kind: "failed", error: "ENETUNREACH" });
      return;
    }
    const tell = (event: ProbeEvent): void => {
      if (this.#open.has(attempt)) onEvent(attempt, event);
    };
    const connection = host.tcp.connect(source, address, port, {
      connected: () => tell({ kind: "connected", ...certificate }),
      data: (_, octets) => tell({ kind: "octets", octets }),
      ended: () => tell({ kind: "closed" }),
      broken: (_, why) => tell({ kind: "failed", error: errors[why] }),
    });
    this.#open.set(attempt, { connection });
  }

  #datagram(attempt: number, address: Ipv4, port: number, octets: Uint8Array): void {
    const { host, onEvent } = this.#options;
    const source = host.sourceFor(address);
    if (source === undefined) {
      this.#later(attempt, { kind: "failed", error: "ENETUNREACH" });
      return;
    }
    const own = firstUdpPort + (this.#nextPort++ % udpPorts);
    host.serveUdp(own, (packet) => {
      if (packet.source === address && packet.sourcePort === port)
        onEvent(attempt, { kind: "datagram", octets: packet.payload });
      return undefined;
    });
    this.#open.set(attempt, { port: own });
    host.sendUdp(source, address, own, port, octets);
  }

  #echo(attempt: number, address: Ipv4, octets: Uint8Array): void {
    const { host } = this.#options;
    const source = host.sourceFor(address);
    const read = decodeIcmp(octets);
    if (source === undefined || !read.ok) {
      this.#later(attempt, { kind: "failed", error: "ENETUNREACH" });
      return;
    }
    this.#echoes.set(attempt, address);
    const { message, dataOffset } = read.value;
    host.output(icmpPacket({ source, destination: address, id: host.packetId() }, message, octets.slice(dataOffset)));
  }
  /** An ICMP message came from that address. */
  heardIcmp(source: Ipv4, octets: Uint8Array): void {
    for (const [attempt, address] of [...this.#echoes])
      if (address === source) this.#options.onEvent(attempt, { kind: "icmp", octets });
  }
  get awaitsEcho(): boolean {
    return this.#echoes.size > 0;
  }

  #release(attempt: number): void {
    this.#echoes.delete(attempt);
    const opened = this.#open.get(attempt);
    this.#open.delete(attempt);
    opened?.connection?.close();
    if (opened?.port !== undefined) this.#options.host.closeUdp(opened.port);
  }
}
