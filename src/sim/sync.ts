/** IPVS's sync daemons on a simulated director: connections told by UDP to a group, in the kernel's own format. */

import type { Ipv4 } from "../base/ipv4.ts";
import type { Mac } from "../base/mac.ts";
import { mac } from "../base/mac.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import {
  type Connection,
  connectionsPerMessage,
  type Forwarding,
  ipvsSyncConnection,
  ipvsSyncHeader,
  syncMessage,
} from "../wire/ipvsSync.ts";
import { type Frame, udpPacket } from "./frame.ts";
import type { SimHost } from "./host.ts";
import { Task } from "./task.ts";

/** Where the daemons speak. */
export interface SyncWay {
  readonly interface: string;
  readonly id: number;
  readonly group: Ipv4;
  readonly port: number;
}

/** IPVS_SYNC_FLUSH_TIME: what is not full waits for so long at least, */
const flushUs = 2_000_000;
/** IPVS_SYNC_CHECK_PERIOD: and then for the master's thread, which looks this often. */
const checkUs = 1_000_000;

/** RFC 1112 section 6.4: the lower 23 bits of the group. */
const hex = (n: number): string => (n & 255).toString(16).padStart(2, "0");
const macOfGroup = (group: Ipv4): Mac => mac(`01:00:5e:${hex((group >>> 16) & 127)}:${hex(group >>> 8)}:${hex(group)}`);

/** The connections of a datagram; none where it is not what it should be. A daemon of id 0 hears every id. */
export function connectionsOf(octets: Uint8Array, syncId: number): Connection[] {
  const header = ipvsSyncHeader.decode(octets);
  if (!header.ok || (syncId !== 0 && header.value.syncId !== syncId) || header.value.size > octets.length) return [];
  return Array.from({ length: header.value.count }, (_, i) => ipvsSyncConnection.decode(octets, 8 + 36 * i)).flatMap(
    (read) => (read.ok ? [read.value] : []),
  );
}

export class SyncDaemons {
  readonly #host: SimHost;
  readonly #forwardingOf: (c: Connection) => Forwarding;
  readonly #take: (c: Connection) => void;
  #master: SyncWay | undefined;
  #masterSinceUs = 0;
  #backup: SyncWay | undefined;
  #waiting: Connection[] = [];
  #flush: Task | undefined;
  readonly #hear = (frame: Frame): void => {
    const { body } = frame;
    const way = this.#backup;
    if (way === undefined || body.kind !== "ip" || body.protocol !== PROTOCOL.udp) return;
    if (body.destination !== way.group || body.destinationPort !== way.port) return;
    for (const connection of connectionsOf(body.payload, way.id)) this.#take(connection);
  };
  #listening = false;

  constructor(host: SimHost, forwardingOf: (c: Connection) => Forwarding, take: (c: Connection) => void) {
    this.#host = host;
    this.#forwardingOf = forwardingOf;
    this.#take = take;
  }

  set(master: SyncWay | undefined, backup: SyncWay | undefined): void {
    if (this.#master === undefined) this.#masterSinceUs = this.#host.lan.nowUs;
    this.#master = master;
    this.#backup = backup;
    if (backup === undefined || this.#listening) return;
    this.#listening = true;
    this.#host.listen([macOfGroup(backup.group)]);
    this.#host.sniff(this.#hear);
  }

  get isMaster(): boolean {
    return this.#master !== undefined;
  }

  /** One connection, in the next datagram. */
  tell(connection: Connection): void {
    const way = this.#master;
    if (way === undefined) return;
    this.#waiting.push(connection);
    if (this.#waiting.length >= connectionsPerMessage) this.#sendWaiting(way);
    else if (this.#flush === undefined) {
      const task = new Task(() => {
        this.#flush = undefined;
        this.#sendWaiting(way);
      });
      this.#flush = task;
      const waitedUs = this.#host.lan.nowUs - this.#masterSinceUs + flushUs;
      this.#host.after(flushUs + ((checkUs - (waitedUs % checkUs)) % checkUs), task);
    }
  }
  #sendWaiting(way: SyncWay): void {
    if (this.#waiting.length > 0) this.send(way, this.#waiting.splice(0));
  }

  send(way: SyncWay, connections: readonly Connection[]): void {
    const nic = this.#host.nics.find((n) => n.link === way.interface);
    const source = this.#host.sourceOn(way.interface);
    if (nic === undefined || source === undefined || this.#host.down) return;
    for (let at = 0; at < connections.length; at += connectionsPerMessage) {
      const message = syncMessage(way.id, connections.slice(at, at + connectionsPerMessage), this.#forwardingOf);
      const ends = { source, destination: way.group, id: this.#host.packetId() };
      this.#host.sendPacket(nic, macOfGroup(way.group), udpPacket(ends, way.port, way.port, message));
    }
  }

  /** As after a crash. */
  forget(): void {
    this.#waiting = [];
    this.#flush = undefined;
    this.#master = undefined;
    this.#backup = undefined;
  }
}
