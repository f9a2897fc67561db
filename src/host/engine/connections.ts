/**
 * Tells other directors which connections IPVS knows here, as the kernel's own sync daemon would, and without its delays:
 * that one waits for a connection's third packet and then for up to two seconds. Read from /proc/net/ip_vs_conn_sync,
 * sent to the daemons' group, received by the kernel of whoever takes over.
 */
import { closeSync, openSync, readSync } from "node:fs";
import type { HandOverWay } from "../../ports/engine.ts";
import { type Connection, connectionsPerMessage, isLearnt, readConnection, syncMessage } from "../../wire/ipvsSync.ts";
import { HostError } from "../errors.ts";
import { inetAddress } from "../inetSocket.ts";
import * as libc from "../libc.ts";

const PATH = "/proc/thread-self/net/ip_vs_conn_sync";
const IP_MULTICAST_IF = 32;
const IP_MULTICAST_TTL = 33;
const IP_MULTICAST_LOOP = 34;
const CHUNK_OCTETS = 1 << 18;
/** Between two readings; longer when reading takes long, so that a large table does not take the whole processor. */
const everyMs = 50;

const keyOf = (c: Connection): string =>
  `${c.protocol} ${c.client}:${c.clientPort} ${c.virtual}:${c.virtualPort} ${c.server} ${c.state}`;

/** The socket of a message's way. */
function openWay({ interface: link, ttl }: HandOverWay): number {
  const what = `connection sync on ${link}`;
  const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0, what);
  try {
    const member = new Uint8Array(12); // struct ip_mreqn
    new Int32Array(member.buffer)[2] = libc.interfaceIndex(link);
    libc.setsockopt(fd, 0, IP_MULTICAST_IF, member, what);
    libc.setsockopt(fd, 0, IP_MULTICAST_TTL, ttl, what);
    libc.setsockopt(fd, 0, IP_MULTICAST_LOOP, 0, what);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

export class ConnectionTeller {
  readonly #way: HandOverWay;
  readonly #onFault: (why: string) => void;
  readonly #told = new Set<string>();
  #fd: number;
  #ending = false;
  #timer: NodeJS.Timeout | undefined;
  #isFirst = true;
  /** Connections sent so far, each state of one counted. */
  sent = 0;

  /** Begins at once. Errors: those of the socket. */
  constructor(way: HandOverWay, onFault: (why: string) => void) {
    this.#way = way;
    this.#onFault = onFault;
    this.#fd = openWay(way);
    this.#run();
  }

  #run(): void {
    this.#pass().then(
      (tookMs) => {
        if (this.#ending) this.#close();
        else this.#timer = setTimeout(() => this.#run(), Math.max(everyMs, 2 * tookMs));
      },
      (error: unknown) => {
        this.#onFault(error instanceof Error ? error.message : String(error));
        this.#close();
      },
    );
  }
  /**
   * Reads the table once and sends what is new; lets others run between chunks. What came from another director since we
   * began came from the new master, which knows better by now: told back, it would open again what it has seen closed.
   */
  async #pass(): Promise<number> {
    const startedAtMs = performance.now();
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    const fd = openSync(PATH, "r");
    try {
      const chunk = Buffer.alloc(CHUNK_OCTETS);
      let rest = "";
      for (;;) {
        const length = readSync(fd, chunk, 0, chunk.length, null);
        const lines = (rest + chunk.toString("latin1", 0, length)).split("\n");
        rest = length === 0 ? "" : (lines.pop() ?? "");
        this.#send(isFirst ? lines : lines.filter((line) => !isLearnt(line)));
        if (length === 0) break;
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      closeSync(fd);
    }
    return performance.now() - startedAtMs;
  }
  #send(lines: readonly string[]): void {
    const fresh: Connection[] = [];
    for (const line of lines) {
      const connection = readConnection(line);
      if (connection === undefined) continue;
      const key = keyOf(connection);
      if (this.#told.has(key)) continue;
      this.#told.add(key);
      fresh.push(connection);
    }
    const { id, group, port, forwardingOf } = this.#way;
    const to = inetAddress(group, port);
    for (let i = 0; i < fresh.length; i += connectionsPerMessage) {
      const message = syncMessage(id, fresh.slice(i, i + connectionsPerMessage), forwardingOf);
      libc.sendto(this.#fd, message, to, "connection sync");
    }
    this.sent += fresh.length;
  }

  /** What is new since, and no more. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#timer === undefined) return; // a pass runs, and closes
    clearTimeout(this.#timer);
    this.#run();
  }
  #close(): void {
    clearTimeout(this.#timer);
    if (this.#fd >= 0) libc.close(this.#fd);
    this.#fd = -1;
  }
}

/** What a teller cannot begin with is a fault of the host like any other. */
export function tellConnections(way: HandOverWay, onFault: (why: string) => void): ConnectionTeller | undefined {
  try {
    return new ConnectionTeller(way, onFault);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    onFault(error.message);
    return undefined;
  }
}
