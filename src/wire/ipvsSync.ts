/**
 * What the kernel's connection sync daemons say to each other (net/netfilter/ipvs/ip_vs_sync.c, version 1): UDP, one
 * message after another in a datagram. Written, and read back by tests; the kernel is the other reader. TCP and UDP
 * over IPv4, without sequence options and persistence data.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { PROTOCOL } from "./ipv4.ts";
import { type Decoded, ipv4, layout, u8, u16, u32 } from "./layout.ts";

export const ipvsSyncHeader = layout("ipvs-sync", 8, {
  reserved: u8(0, 0),
  syncId: u8(1),
  size: u16(2),
  count: u8(4),
  version: u8(5, 1),
  spare: u16(6, 0),
});

/** `type` 0 is IPv4; `versionAndSize` has the message's version, 0, in its upper four bits. */
export const ipvsSyncConnection = layout("ipvs-sync-connection", 36, {
  type: u8(0, 0),
  protocol: u8(1),
  versionAndSize: u16(2, 36),
  flags: u32(4),
  state: u16(8),
  clientPort: u16(10),
  virtualPort: u16(12),
  serverPort: u16(14),
  fwmark: u32(16),
  /** Seconds; 0: the receiver's own for this state. */
  timeout: u32(20),
  client: ipv4(24),
  virtual: ipv4(28),
  server: ipv4(32),
});
export type IpvsSyncConnection = Decoded<typeof ipvsSyncConnection.table>;

/** IP_VS_CONN_F_*: the forwarding method is in the lowest three bits. */
export const SYNC_FLAG = { masq: 0, local: 1, tun: 2, dr: 3, inactive: 0x100 } as const;
/** IPVS's states of a TCP connection by their number (ip_vs.h, IP_VS_TCP_S_*). */
export const TCP_STATES = [
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

export interface Connection {
  readonly protocol: number;
  readonly client: Ipv4;
  readonly clientPort: number;
  readonly virtual: Ipv4;
  readonly virtualPort: number;
  readonly server: Ipv4;
  readonly serverPort: number;
  /** The kernel's number. */
  readonly state: number;
}

/** Below the usual MTU, with IP and UDP headers. */
export const connectionsPerMessage = 39;

const LINE = /^(TCP|UDP) +([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{8}) ([0-9A-F]{4}) (\S+) /;

/**
 * A line of /proc/net/ip_vs_conn or ip_vs_conn_sync. Undefined for the heading, IPv6, SCTP, and for templates of
 * persistence (client port 0), which the kernel sends by itself with the first packet.
 */
export function readConnection(line: string): Connection | undefined {
  const found = LINE.exec(line);
  if (found === null) return undefined;
  const number = (i: number): number => Number.parseInt(found[i] as string, 16);
  const tcp = found[1] === "TCP";
  const state = tcp ? TCP_STATES.indexOf(found[8] as (typeof TCP_STATES)[number]) : 0;
  if (state < 0 || number(3) === 0) return undefined;
  return {
    protocol: tcp ? PROTOCOL.tcp : PROTOCOL.udp,
    client: number(2) as Ipv4,
    clientPort: number(3),
    virtual: number(4) as Ipv4,
    virtualPort: number(5),
    server: number(6) as Ipv4,
    serverPort: number(7),
    state,
  };
}

/** A line of /proc/net/ip_vs_conn_sync whose connection was first told by another director. */
export const isLearnt = (line: string): boolean => line.includes(" SYNC ");

export interface Forwarding {
  readonly method: "dr" | "tun" | "nat";
  readonly fwmark: number;
}

/** At most `connectionsPerMessage` of them. Throws RangeError for more. */
export function syncMessage(
  syncId: number,
  connections: readonly Connection[],
  forwardingOf: (connection: Connection) => Forwarding,
): Uint8Array {
  if (connections.length > connectionsPerMessage) throw new RangeError(`${connections.length} do not fit`);
  const octets = new Uint8Array(8 + 36 * connections.length);
  ipvsSyncHeader.encode({ syncId, size: octets.length, count: connections.length }, octets);
  for (const [i, connection] of connections.entries()) {
    const { method, fwmark } = forwardingOf(connection);
    const established = connection.protocol === PROTOCOL.tcp && TCP_STATES[connection.state] === "ESTABLISHED";
    const flags = SYNC_FLAG[method === "nat" ? "masq" : method] | (established ? 0 : SYNC_FLAG.inactive);
    ipvsSyncConnection.encode({ ...connection, flags, fwmark, timeout: 0 }, octets, 8 + 36 * i);
  }
  return octets;
}
