/**
 * Plain TCP connections and UDP questions of health checks, straight on the kernel: four calls for a handshake, no
 * stream, no timer, no promise. Limits of time are the probes' own.
 */
import type { Ipv4 } from "../../base/ipv4.ts";
import type { ProbeEvent } from "../../machine/health/probe.ts";
import { Epoll } from "../epoll.ts";
import { SystemCallError } from "../errors.ts";
import { inetAddress, setInetAddress } from "../inetSocket.ts";
import * as libc from "../libc.ts";

interface Connection {
  readonly fd: number;
  state: "connecting" | "open" | "datagrams" | "over";
  /** What the kernel did not take yet. */
  unsent: Uint8Array | undefined;
}
export interface ProbeConnectionsOptions {
  readonly onEvent: (attempt: number, event: ProbeEvent) => void;
  /** Runs `body`, in which the events of many attempts are told. */
  readonly together: (body: () => void) => void;
}

const { IN, OUT, ERR, HUP } = libc.EPOLL;
const SO_ERROR = 4;
const what = "health check";
const to = inetAddress(0 as Ipv4, 0);

export class ProbeConnections {
  readonly #options: ProbeConnectionsOptions;
  readonly #open = new Map<number, Connection>();
  readonly #epoll: Epoll;
  readonly #buffer = new Uint8Array(65_536);

  constructor(options: ProbeConnectionsOptions) {
    this.#options = options;
    const ready = (attempt: number, events: number): void => this.#ready(attempt, events);
    this.#epoll = new Epoll((batch) => options.together(() => batch(ready)));
  }

  /** Errors: SystemCallError, for what the kernel says at once; whatever it says later is an event. */
  connect(attempt: number, address: Ipv4, port: number): void {
    const fd = this.#socket(libc.SOCK_STREAM, address, port);
    this.#add(attempt, { fd, state: "connecting", unsent: undefined }, OUT);
  }
  /** Connected, so that an ICMP "port unreachable" comes back as an error and strangers are not heard. */
  ask(attempt: number, address: Ipv4, port: number, octets: Uint8Array): void {
    const fd = this.#socket(libc.SOCK_DGRAM, address, port);
    this.#add(attempt, { fd, state: "datagrams", unsent: undefined }, IN);
    libc.send(fd, octets, 0, what);
  }
  #socket(type: number, address: Ipv4, port: number): number {
    const fd = libc.socket(libc.AF_INET, type | libc.SOCK_NONBLOCK, 0, what);
    try {
      setInetAddress(to, address, port);
      libc.connect(fd, to, what);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    return fd;
  }
  #add(attempt: number, connection: Connection, events: number): void {
    this.close(attempt);
    this.#open.set(attempt, connection);
    this.#epoll.add(connection.fd, attempt, events);
  }

  send(attempt: number, octets: Uint8Array): void {
    const connection = this.#open.get(attempt);
    if (connection?.state !== "open") return;
    const { unsent } = connection;
    connection.unsent = unsent === undefined ? octets : Buffer.concat([unsent, octets]);
    if (unsent === undefined) this.#flush(attempt, connection);
  }
  #flush(attempt: number, connection: Connection): void {
    const { fd, unsent } = connection;
    if (unsent === undefined) return;
    const rest = unsent.subarray(libc.send(fd, unsent, libc.MSG_NOSIGNAL, what) ?? 0);
    connection.unsent = rest.length === 0 ? undefined : rest;
    this.#epoll.change(fd, attempt, connection.unsent === undefined ? IN : IN | OUT);
  }

  /** false: this attempt has nothing open here. */
  close(attempt: number): boolean {
    const connection = this.#open.get(attempt);
    if (connection === undefined) return false;
    this.#open.delete(attempt);
    libc.close(connection.fd);
    return true;
  }
  closeAll(): void {
    for (const attempt of [...this.#open.keys()]) this.close(attempt);
    this.#epoll.close();
  }

  #ready(attempt: number, events: number): void {
    const connection = this.#open.get(attempt);
    // Released by what came before in this batch, or told to its end.
    if (connection === undefined || connection.state === "over") return;
    const event = this.#eventOf(attempt, connection, events);
    if (event === undefined) return;
    if (event.kind === "failed" || event.kind === "closed") {
      connection.state = "over";
      this.#epoll.remove(connection.fd); // or the end would be told again and again
    }
    this.#options.onEvent(attempt, event);
    // Not released, and nothing to send: whoever asked listens.
    if (event.kind === "connected" && this.#open.get(attempt) === connection && connection.unsent === undefined)
      this.#epoll.change(connection.fd, attempt, IN);
  }
  #eventOf(attempt: number, connection: Connection, events: number): ProbeEvent | undefined {
    try {
      if (connection.state === "connecting") return connected(connection, events);
      if ((events & OUT) !== 0) this.#flush(attempt, connection);
      return (events & (IN | ERR | HUP)) === 0 ? undefined : this.#received(connection);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      return { kind: "failed", error: error.errnoName };
    }
  }
  #received({ fd, state }: Connection): ProbeEvent | undefined {
    const length = libc.recv(fd, this.#buffer, 0, what);
    if (length === undefined) return undefined;
    const octets = this.#buffer.slice(0, length);
    if (state === "datagrams") return { kind: "datagram", octets };
    return length > 0 ? { kind: "octets", octets } : { kind: "closed" };
  }
}

function connected(connection: Connection, events: number): ProbeEvent {
  if ((events & (ERR | HUP)) !== 0) {
    const [errno = 0] = new Int32Array(libc.getsockopt(connection.fd, libc.SOL_SOCKET, SO_ERROR, 4, what).buffer);
    if (errno !== 0) return { kind: "failed", error: libc.errnoName(errno) };
  }
  connection.state = "open";
  return connectedEvent;
}
const connectedEvent: ProbeEvent = { kind: "connected" };
