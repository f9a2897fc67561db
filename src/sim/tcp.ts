/**
 * TCP as far as connections can be broken by wrong delivery: handshake, data in order, acknowledgement, retransmission,
 * FIN, and RST from hosts that do not know the connection (RFC 9293 section 3.10). No windows, no congestion control.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { TCP_FLAG } from "../wire/tcp.ts";
import type { Dice } from "./dice.ts";
import { type IpBody, nothing, tcpPacket } from "./frame.ts";
import type { Lan } from "./lan.ts";
import type { Neighbour } from "./neighbourCache.ts";

const { fin: FIN, syn: SYN, rst: RST, psh: PSH, ack: ACK } = TCP_FLAG;

export type TcpState =
  | "syn-sent"
  | "syn-received"
  | "established"
  | "fin-wait-1"
  | "fin-wait-2"
  | "close-wait"
  | "last-ack"
  | "closing"
  | "time-wait"
  | "closed";

/** What an application hears of its connection. */
export interface TcpUser {
  connected?(connection: Connection): void;
  data?(connection: Connection, octets: Uint8Array): void;
  /** The other end sends no more. */
  ended?(connection: Connection): void;
  /** RST, nobody there, or too many retransmissions. */
  broken?(connection: Connection, why: "reset" | "refused" | "unreachable" | "timeout"): void;
}

/** What TCP needs of its host. */
export interface TcpHost {
  readonly lan: Lan;
  readonly dice: Dice;
  packetId(): number;
  /** The neighbour that it went to, if one is known. */
  output(packet: IpBody): Neighbour | undefined;
  /** Wakes `timer` with that item; gives the time. */
  after(us: number, item: unknown): number;
  /** The neighbour lives, as what was sent by it was acknowledged. */
  confirm(neighbour: Neighbour): void;
}

interface Sent {
  readonly sequence: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Sequence number after it. */
  readonly end: number;
}

const firstRtoMs = 1000;
const dataRtoMs = 200;
const longestRtoMs = 120_000;
/** tcp_syn_retries 6, tcp_retries2 15: about two and fifteen minutes. */
const synTries = 6;
const dataTries = 15;
const timeWaitUs = 60_000_000;

const after = (a: number, b: number): boolean => ((a - b) | 0) > 0;

export class Connection {
  readonly stack: TcpStack;
  readonly localIp: Ipv4;
  readonly localPort: number;
  readonly remoteIp: Ipv4;
  readonly remotePort: number;
  state: TcpState;
  user: TcpUser;
  next: number;
  unacknowledged: number;
  expected = 0;
  readonly sent: Sent[] = [];
  readonly queue: Uint8Array[] = [];
  maxSegment = 1460;
  tries = 0;
  rtoMs = firstRtoMs;
  timerUs = Number.POSITIVE_INFINITY;
  via: Neighbour | undefined;
  /** When a segment that does not belong was last answered. */
  challengedUs = Number.NEGATIVE_INFINITY;

  constructor(
    stack: TcpStack,
    ends: { localIp: Ipv4; localPort: number; remoteIp: Ipv4; remotePort: number },
    state: TcpState,
    user: TcpUser,
    start: number,
  ) {
    this.stack = stack;
    this.localIp = ends.localIp;
    this.localPort = ends.localPort;
    this.remoteIp = ends.remoteIp;
    this.remotePort = ends.remotePort;
    this.state = state;
    this.user = user;
    this.next = start;
    this.unacknowledged = start;
  }

  send(octets: Uint8Array): void {
    for (let at = 0; at < octets.length; at += this.maxSegment) {
      const part = octets.subarray(at, at + this.maxSegment);
      this.stack.sendData(this, part);
    }
  }

  /** Orderly end of our side. */
  close(): void {
    this.stack.close(this);
  }

  /** RST to the other end, and gone. */
  abort(): void {
    this.stack.abort(this);
  }
}

export class TcpStack {
  readonly #host: TcpHost;
  /** By local address and port, then by remote ones: numbers that a double holds exactly. */
  readonly #connections = new Map<number, Map<number, Connection>>();
  readonly #listeners = new Map<number, () => TcpUser>();
  #port: number;
  /** Counted since the beginning. */
  resetsSent = 0;

  constructor(host: TcpHost) {
    this.#host = host;
    this.#port = 32_768 + host.dice.below(16_384);
  }

  listen(port: number, accept: () => TcpUser): void {
    this.#listeners.set(port, accept);
  }

  unlisten(port: number): void {
    this.#listeners.delete(port);
  }

  listens(port: number): boolean {
    return this.#listeners.has(port);
  }

  get count(): number {
    let count = 0;
    for (const some of this.#connections.values()) count += some.size;
    return count;
  }

  #find(localIp: Ipv4, localPort: number, remoteIp: Ipv4, remotePort: number): Connection | undefined {
    return this.#connections.get(localIp * 65_536 + localPort)?.get(remoteIp * 65_536 + remotePort);
  }

  #keep(connection: Connection): void {
    const key = connection.localIp * 65_536 + connection.localPort;
    let some = this.#connections.get(key);
    if (!some) {
      some = new Map();
      this.#connections.set(key, some);
    }
    some.set(connection.remoteIp * 65_536 + connection.remotePort, connection);
  }

  #remove(connection: Connection): void {
    connection.state = "closed";
    connection.timerUs = Number.POSITIVE_INFINITY;
    const key = connection.localIp * 65_536 + connection.localPort;
    const some = this.#connections.get(key);
    const remote = connection.remoteIp * 65_536 + connection.remotePort;
    if (some?.get(remote) !== connection) return;
    some.delete(remote);
    if (some.size === 0) this.#connections.delete(key);
  }

  /** As after a crash: nobody is told. */
  forget(): void {
    for (const some of this.#connections.values())
      for (const connection of some.values()) {
        connection.state = "closed";
        connection.timerUs = Number.POSITIVE_INFINITY;
      }
    this.#connections.clear();
  }

  connect(localIp: Ipv4, remoteIp: Ipv4, remotePort: number, user: TcpUser): Connection {
    let localPort = 0;
    do {
      this.#port = this.#port >= 60_999 ? 32_768 : this.#port + 1;
      localPort = this.#port;
    } while (this.#find(localIp, localPort, remoteIp, remotePort) !== undefined);
    const ends = { localIp, localPort, remoteIp, remotePort };
    const connection = new Connection(this, ends, "syn-sent", user, this.#host.dice.next());
    this.#keep(connection);
    this.#push(connection, SYN, nothing);
    return connection;
  }

  sendData(connection: Connection, octets: Uint8Array): void {
    const { state } = connection;
    if (state === "established" || state === "close-wait") this.#push(connection, PSH | ACK, octets);
    else if (state === "syn-sent" || state === "syn-received") connection.queue.push(octets);
  }

  close(connection: Connection): void {
    if (connection.state === "established" || connection.state === "syn-received") connection.state = "fin-wait-1";
    else if (connection.state === "close-wait") connection.state = "last-ack";
    else {
      if (connection.state === "syn-sent") this.#remove(connection);
      return;
    }
    this.#push(connection, FIN | ACK, nothing);
  }

  abort(connection: Connection): void {
    if (connection.state === "closed") return;
    if (connection.state !== "syn-sent" && connection.state !== "time-wait")
      this.#emit(connection, RST | ACK, connection.next, nothing);
    this.#remove(connection);
  }

  /** Sends what takes sequence numbers, and keeps it until it is acknowledged. */
  #push(connection: Connection, flags: number, payload: Uint8Array): void {
    const sequence = connection.next;
    const length = payload.length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0);
    const end = (sequence + length) >>> 0;
    connection.next = end;
    connection.sent.push({ sequence, flags, payload, end });
    this.#emit(connection, flags, sequence, payload);
    if (connection.timerUs === Number.POSITIVE_INFINITY) this.#setTimer(connection, connection.rtoMs * 1000);
  }

  #emit(connection: Connection, flags: number, sequence: number, payload: Uint8Array): void {
    const { localIp, localPort, remoteIp, remotePort } = connection;
    if ((flags & RST) !== 0) this.resetsSent++;
    const via = this.#host.output(
      tcpPacket(
        { source: localIp, destination: remoteIp, id: this.#host.packetId() },
        {
          sourcePort: localPort,
          destinationPort: remotePort,
          sequence,
          acknowledgment: (flags & ACK) !== 0 ? connection.expected : 0,
          flags,
        },
        payload,
      ),
    );
    if (via !== undefined) connection.via = via;
  }

  #setTimer(connection: Connection, us: number): void {
    connection.timerUs = this.#host.after(us, connection);
  }

  timer(item: unknown): void {
    const connection = item as Connection;
    if (connection.state === "closed" || connection.timerUs > this.#host.lan.nowUs) return;
    connection.timerUs = Number.POSITIVE_INFINITY;
    if (connection.state === "time-wait") {
      this.#remove(connection);
      return;
    }
    const [first] = connection.sent;
    if (first === undefined) return;
    connection.tries++;
    const most = connection.state === "syn-sent" || connection.state === "syn-received" ? synTries : dataTries;
    if (connection.tries > most) {
      this.#remove(connection);
      connection.user.broken?.(connection, "timeout");
      return;
    }
    connection.rtoMs = Math.min(longestRtoMs, connection.rtoMs * 2);
    this.#emit(connection, first.flags, first.sequence, first.payload);
    this.#setTimer(connection, connection.rtoMs * 1000);
  }

  #acknowledge(connection: Connection): void {
    this.#emit(connection, ACK, connection.next, nothing);
  }

  /**
   * Answers what cannot belong to the connection, at most twice a second (tcp_invalid_ratelimit): two ends that
   * disagree would otherwise answer each other for ever.
   */
  #challenge(connection: Connection): void {
    const nowUs = this.#host.lan.nowUs;
    if (nowUs - connection.challengedUs < 500_000) return;
    connection.challengedUs = nowUs;
    this.#acknowledge(connection);
  }

  /** What the sender would do without us: RST, unless it is one itself (RFC 9293 section 3.10.7.1). */
  #refuse(ip: IpBody, answerFrom: Ipv4): void {
    const tcp = ip.tcp;
    if (tcp === undefined || (tcp.flags & RST) !== 0) return;
    this.resetsSent++;
    const length = ip.payload.length + ((tcp.flags & (SYN | FIN)) !== 0 ? 1 : 0);
    const answers = (tcp.flags & ACK) !== 0;
    this.#host.output(
      tcpPacket(
        { source: answerFrom, destination: ip.source, id: this.#host.packetId() },
        {
          sourcePort: ip.destinationPort,
          destinationPort: ip.sourcePort,
          sequence: answers ? tcp.acknowledgment : 0,
          acknowledgment: answers ? 0 : (tcp.sequence + length) >>> 0,
          flags: answers ? RST : RST | ACK,
        },
      ),
    );
  }

  /** A segment for this host. `answerFrom`: the address its answers carry; `servicePort`: after a redirect. */
  input(ip: IpBody, answerFrom: Ipv4, servicePort: number): void {
    const { tcp } = ip;
    if (tcp === undefined) return;
    const connection = this.#find(answerFrom, ip.destinationPort, ip.source, ip.sourcePort);
    const { flags } = tcp;
    if (connection !== undefined && !(connection.state === "time-wait" && (flags & (SYN | ACK)) === SYN)) {
      this.#segment(connection, ip);
      return;
    }
    const accept = this.#listeners.get(servicePort);
    if (accept === undefined || (flags & (SYN | ACK | RST)) !== SYN) {
      this.#refuse(ip, answerFrom);
      return;
    }
    const made = new Connection(
      this,
      { localIp: answerFrom, localPort: ip.destinationPort, remoteIp: ip.source, remotePort: ip.sourcePort },
      "syn-received",
      accept(),
      this.#host.dice.next(),
    );
    made.expected = (tcp.sequence + 1) >>> 0;
    this.#keep(made);
    this.#push(made, SYN | ACK, nothing);
  }

  #segment(connection: Connection, ip: IpBody): void {
    const tcp = ip.tcp as NonNullable<IpBody["tcp"]>;
    const { flags } = tcp;
    if ((flags & RST) !== 0) {
      this.#reset(connection, tcp.sequence, tcp.acknowledgment, flags);
      return;
    }
    if (connection.state === "syn-sent") {
      this.#answered(connection, tcp.sequence, tcp.acknowledgment, flags, ip);
      return;
    }
    if ((flags & SYN) !== 0) {
      // a SYN again: our answer was lost; anything else is an old duplicate (RFC 5961 section 4.2: challenge)
      const [first] = connection.sent;
      if (connection.state === "syn-received" && first) this.#emit(connection, first.flags, first.sequence, nothing);
      else this.#challenge(connection);
      return;
    }
    if ((flags & ACK) !== 0 && !this.#acknowledged(connection, tcp.acknowledgment, ip)) return;
    this.#take(connection, tcp.sequence, ip.payload, (flags & FIN) !== 0);
  }

  #reset(connection: Connection, sequence: number, acknowledgment: number, flags: number): void {
    if (connection.state === "syn-sent") {
      if ((flags & ACK) === 0 || acknowledgment !== connection.next) return;
      this.#remove(connection);
      connection.user.broken?.(connection, "refused");
      return;
    }
    if (connection.state === "time-wait") return; // RFC 1337
    // RFC 5961 section 3.2: only the very next number resets
    if (sequence !== connection.expected) {
      this.#challenge(connection);
      return;
    }
    this.#remove(connection);
    connection.user.broken?.(connection, "reset");
  }

  #answered(connection: Connection, sequence: number, acknowledgment: number, flags: number, ip: IpBody): void {
    if ((flags & ACK) !== 0 && acknowledgment !== connection.next) {
      this.#refuse(ip, connection.localIp);
      return;
    }
    if ((flags & (SYN | ACK)) !== (SYN | ACK)) return;
    connection.expected = (sequence + 1) >>> 0;
    this.#settled(connection, acknowledgment);
    connection.state = "established";
    connection.rtoMs = dataRtoMs;
    this.#acknowledge(connection);
    connection.user.connected?.(connection);
    for (const octets of connection.queue.splice(0)) this.sendData(connection, octets);
  }

  /** Takes what is acknowledged off the list. */
  #settled(connection: Connection, acknowledgment: number): void {
    while (connection.sent[0] !== undefined && !after(connection.sent[0].end, acknowledgment)) connection.sent.shift();
    connection.unacknowledged = acknowledgment;
    connection.tries = 0;
    if (connection.state !== "syn-sent" && connection.state !== "syn-received") connection.rtoMs = dataRtoMs;
    if (connection.via !== undefined) this.#host.confirm(connection.via);
    if (connection.sent.length === 0) connection.timerUs = Number.POSITIVE_INFINITY;
    else this.#setTimer(connection, connection.rtoMs * 1000);
  }

  /** False: the segment is not of this connection, or it is over. */
  #acknowledged(connection: Connection, acknowledgment: number, ip: IpBody): boolean {
    if (after(acknowledgment, connection.next)) {
      if (connection.state === "syn-received") this.#refuse(ip, connection.localIp);
      else this.#challenge(connection);
      return false;
    }
    if (!after(acknowledgment, connection.unacknowledged)) return true;
    const before = connection.state;
    if (before === "syn-received") connection.state = "established";
    this.#settled(connection, acknowledgment);
    const all = acknowledgment === connection.next;
    if (before === "syn-received") {
      connection.user.connected?.(connection);
      for (const octets of connection.queue.splice(0)) this.sendData(connection, octets);
    } else if (all && before === "fin-wait-1") connection.state = "fin-wait-2";
    else if (all && before === "closing") this.#linger(connection);
    else if (all && before === "last-ack") {
      this.#remove(connection);
      return false;
    }
    return true;
  }

  #linger(connection: Connection): void {
    connection.state = "time-wait";
    this.#setTimer(connection, timeWaitUs);
  }

  #take(connection: Connection, sequence: number, payload: Uint8Array, ends: boolean): void {
    if (payload.length === 0 && !ends) return;
    if (sequence !== connection.expected) {
      this.#acknowledge(connection); // a gap, or heard before
      return;
    }
    const { state } = connection;
    const receives = state === "established" || state === "fin-wait-1" || state === "fin-wait-2";
    if (payload.length > 0) {
      if (!receives) return;
      connection.expected = (connection.expected + payload.length) >>> 0;
      const answeredUpTo = connection.next;
      connection.user.data?.(connection, payload);
      // an answer sent at once carries the acknowledgement
      if (connection.next === answeredUpTo && connection.state !== "closed") this.#acknowledge(connection);
    }
    if (!ends || connection.state === "closed") return;
    connection.expected = (connection.expected + 1) >>> 0;
    this.#acknowledge(connection);
    if (connection.state === "established") {
      connection.state = "close-wait";
      connection.user.ended?.(connection);
    } else if (connection.state === "fin-wait-1") connection.state = "closing";
    else if (connection.state === "fin-wait-2") this.#linger(connection);
  }

  /** ICMP says that a packet of ours did not arrive, or no neighbour answered: fatal only for a handshake. */
  unreachable(packet: IpBody): void {
    const connection = this.#find(packet.source, packet.sourcePort, packet.destination, packet.destinationPort);
    if (connection?.state !== "syn-sent") return;
    this.#remove(connection);
    connection.user.broken?.(connection, "unreachable");
  }

  /** Path MTU discovery: what is on the way is cut smaller and sent again. */
  tooLong(packet: IpBody, mtuOctets: number): void {
    const connection = this.#find(packet.source, packet.sourcePort, packet.destination, packet.destinationPort);
    if (connection === undefined || mtuOctets < 68 || connection.maxSegment <= mtuOctets - 40) return;
    connection.maxSegment = mtuOctets - 40;
    const pieces = connection.sent.splice(0).flatMap((sent): Sent[] => {
      if (sent.payload.length <= connection.maxSegment) return [sent];
      const cut: Sent[] = [];
      for (let at = 0; at < sent.payload.length; at += connection.maxSegment) {
        const payload = sent.payload.subarray(at, at + connection.maxSegment);
        const sequence = (sent.sequence + at) >>> 0;
        cut.push({ sequence, flags: sent.flags, payload, end: (sequence + payload.length) >>> 0 });
      }
      return cut;
    });
    connection.sent.push(...pieces);
    for (const { flags, sequence, payload } of pieces) this.#emit(connection, flags, sequence, payload);
    if (pieces.length > 0) this.#setTimer(connection, connection.rtoMs * 1000);
  }
}
