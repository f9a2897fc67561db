/**
 * TCP as far as connections can be broken by wrong delivery: handshake, data in order, acknowledgement, retransmission
 * (retransmission.ts says when), FIN, and RST from hosts that do not know the connection (RFC 9293 section 3.10). No
 * windows, no congestion control, and whoever hears what comes after a gap throws it away.
 */
import type { Ipv4 } from "../base/ipv4.ts";
import { TCP_FLAG } from "../wire/tcp.ts";
import type { Dice } from "./dice.ts";
import { type IpBody, nothing, type TcpBody, tcpPacket } from "./frame.ts";
import type { Lan } from "./lan.ts";
import type { Neighbour } from "./neighbourCache.ts";
import { Retransmission, type Stage, type TcpKernel } from "./retransmission.ts";

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
  /** The last time that it was sent. */
  sentUs: number;
  /** More than once: nobody can say which one was acknowledged (Karn; RFC 6298 section 3). */
  again: boolean;
}

/** TCP_TIMEWAIT_LEN; tcp_fin_timeout, after which an end that was closed no longer waits for the other one's FIN. */
const timeWaitUs = 60_000_000;
const finTimeoutUs = 60_000_000;
/** Headers of IPv4 and TCP, and the timestamp in whole words. */
const headerOctets = 40;
const stampOctets = 12;

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
  readonly retransmission: Retransmission;
  /** Both ends put timestamps into their segments, and understand SACK; the last one heard. */
  stamps: boolean;
  recentStamp = 0;
  /** Its program has closed it. */
  isOrphan = false;
  timerUs = Number.POSITIVE_INFINITY;
  /** What the timer is for: the tail loss probe, or a timeout. */
  probes = false;
  via: Neighbour | undefined;
  /** When a segment that does not belong was last answered. */
  challengedUs = Number.NEGATIVE_INFINITY;

  constructor(
    stack: TcpStack,
    ends: { localIp: Ipv4; localPort: number; remoteIp: Ipv4; remotePort: number },
    state: TcpState,
    user: TcpUser,
    start: number,
    kernel: TcpKernel,
    stamps: boolean,
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
    this.retransmission = new Retransmission(kernel);
    this.stamps = stamps;
    if (stamps) this.maxSegment -= stampOctets;
  }

  /** The other end speaks no timestamps. */
  withoutStamps(): void {
    if (this.stamps) this.maxSegment += stampOctets;
    this.stamps = false;
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
  readonly #kernel: TcpKernel;
  /** By local address and port, then by remote ones: numbers that a double holds exactly. */
  readonly #connections = new Map<number, Map<number, Connection>>();
  readonly #listeners = new Map<number, () => TcpUser>();
  #port: number;
  /** Counted since the beginning. */
  resetsSent = 0;

  constructor(host: TcpHost, kernel: TcpKernel) {
    this.#host = host;
    this.#kernel = kernel;
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
    const start = this.#host.dice.next();
    const connection = new Connection(this, ends, "syn-sent", user, start, this.#kernel, this.#kernel.stamps);
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
    connection.isOrphan = true;
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
    connection.sent.push({ sequence, flags, payload, end, sentUs: this.#host.lan.nowUs, again: false });
    this.#emit(connection, flags, sequence, payload);
    const isRunning = connection.timerUs !== Number.POSITIVE_INFINITY;
    if (!isRunning || connection.probes) this.#arm(connection, this.#leftUs(connection));
  }

  #sendAgain(connection: Connection, segment: Sent): void {
    segment.again = true;
    segment.sentUs = this.#host.lan.nowUs;
    this.#emit(connection, segment.flags, segment.sequence, segment.payload);
  }

  #emit(
    connection: Connection,
    flags: number,
    sequence: number,
    payload: Uint8Array,
    twiceFrom = 0,
    twiceEnd = 0,
  ): void {
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
          stamp: connection.stamps ? this.#stamp : 0,
          echo: connection.recentStamp,
          twiceFrom,
          twiceEnd,
        },
        payload,
      ),
    );
    if (via !== undefined) connection.via = via;
  }

  /** Milliseconds, never 0, which would be none. */
  get #stamp(): number {
    return (Math.floor(this.#host.lan.nowUs / 1000) % 0xffffffff) + 1;
  }

  #setTimer(connection: Connection, us: number, probes = false): void {
    connection.probes = probes;
    connection.timerUs = this.#host.after(us, connection);
  }

  /** Until the first segment's timeout. */
  #leftUs({ sent: [first], retransmission }: Connection): number {
    return retransmission.rtoUs + (first?.sentUs ?? 0) - this.#host.lan.nowUs;
  }

  /** Waits for an acknowledgement: for a probe's time, or the timeout in `leftUs`. */
  #arm(connection: Connection, leftUs: number): void {
    const { retransmission, state, sent, stamps } = connection;
    const isOpening = state === "syn-sent" || state === "syn-received";
    const probeUs = isOpening ? undefined : retransmission.probeUs(sent.length, stamps, leftUs);
    this.#setTimer(connection, probeUs ?? Math.max(1, leftUs), probeUs !== undefined);
  }

  timer(item: unknown): void {
    const connection = item as Connection;
    const { nowUs } = this.#host.lan;
    if (connection.state === "closed" || connection.timerUs > nowUs) return;
    connection.timerUs = Number.POSITIVE_INFINITY;
    if (connection.state === "time-wait" || connection.state === "fin-wait-2") {
      this.#remove(connection);
      return;
    }
    if (connection.sent.length === 0) return;
    if (connection.probes) this.#probe(connection);
    else this.#timedOut(connection);
  }

  /** The last segment again: its acknowledgement says what is missing, long before a timeout would. */
  #probe(connection: Connection): void {
    const last = connection.sent.at(-1);
    if (last === undefined || !connection.retransmission.probes(connection.next)) {
      this.#setTimer(connection, Math.max(1, this.#leftUs(connection)));
      return;
    }
    this.#sendAgain(connection, last);
    this.#setTimer(connection, connection.retransmission.rtoUs);
  }

  #timedOut(connection: Connection): void {
    const { retransmission, state, isOrphan, next } = connection;
    const [first] = connection.sent;
    if (first === undefined) return;
    const ofOpen: Stage = isOrphan ? "orphan" : "open";
    const stage = state === "syn-sent" ? "syn" : state === "syn-received" ? "syn-ack" : ofOpen;
    if (retransmission.givesUp(stage, this.#host.lan.nowUs)) {
      this.#remove(connection);
      connection.user.broken?.(connection, "timeout");
      return;
    }
    retransmission.timedOut(stage, this.#host.lan.nowUs, first.end, next);
    this.#sendAgain(connection, first);
    this.#setTimer(connection, retransmission.rtoUs);
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
          stamp: 0,
          echo: 0,
          twiceFrom: 0,
          twiceEnd: 0,
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
      this.#kernel,
      this.#kernel.stamps && tcp.stamp !== 0,
    );
    made.expected = (tcp.sequence + 1) >>> 0;
    made.recentStamp = tcp.stamp;
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
      this.#answered(connection, tcp, ip);
      return;
    }
    if ((flags & SYN) !== 0) {
      // a SYN again: our answer was lost; anything else is an old duplicate (RFC 5961 section 4.2: challenge)
      const [first] = connection.sent;
      if (connection.state === "syn-received" && first) this.#emit(connection, first.flags, first.sequence, nothing);
      else this.#challenge(connection);
      return;
    }
    this.#stamped(connection, tcp, ip.payload.length);
    if ((flags & ACK) !== 0 && !this.#acknowledged(connection, tcp, ip)) return;
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

  /** RFC 7323 section 4.3: of a segment in order, or of the last one come twice (tcp_replace_ts_recent). */
  #stamped(connection: Connection, { stamp, sequence, flags }: TcpBody, length: number): void {
    const { stamps, expected, recentStamp } = connection;
    if (!stamps || stamp === 0 || after(sequence, expected) || after(recentStamp, stamp)) return;
    if (!after(expected, sequence + length + (flags & FIN))) connection.recentStamp = stamp;
  }

  #answered(connection: Connection, tcp: TcpBody, ip: IpBody): void {
    const { sequence, acknowledgment, flags, stamp } = tcp;
    if ((flags & ACK) !== 0 && acknowledgment !== connection.next) {
      this.#refuse(ip, connection.localIp);
      return;
    }
    if ((flags & (SYN | ACK)) !== (SYN | ACK)) return;
    connection.expected = (sequence + 1) >>> 0;
    connection.recentStamp = stamp;
    if (stamp === 0) connection.withoutStamps();
    this.#settled(connection, tcp);
    connection.state = "established";
    connection.retransmission.connected();
    this.#acknowledge(connection);
    connection.user.connected?.(connection);
    for (const octets of connection.queue.splice(0)) this.sendData(connection, octets);
  }

  /** Takes what is acknowledged off the list, and measures. */
  #settled(connection: Connection, tcp: TcpBody): void {
    const { sent, retransmission, stamps, next } = connection;
    const { acknowledgment } = tcp;
    const { nowUs } = this.#host.lan;
    let roundTripUs = -1;
    let again = false;
    while (sent[0] !== undefined && !after(sent[0].end, acknowledgment)) {
      const segment = sent.shift() as Sent;
      again ||= segment.again;
      if (roundTripUs < 0) roundTripUs = nowUs - segment.sentUs;
    }
    connection.unacknowledged = acknowledgment;
    // where Karn forbids it timestamps still tell, in whole milliseconds, which one the other end heard
    if (again) roundTripUs = stamps && tcp.echo !== 0 ? 1000 * Math.max(1, this.#stamp - tcp.echo) : -1;
    if (roundTripUs >= 0) retransmission.measured(roundTripUs, acknowledgment, next);
    retransmission.advanced(acknowledgment, tcp.twiceFrom !== tcp.twiceEnd);
    if (connection.via !== undefined) this.#host.confirm(connection.via);
    if (sent.length === 0) {
      connection.timerUs = Number.POSITIVE_INFINITY;
      return;
    }
    for (let i = 0, more = 2; i < sent.length && more > 0; i++) {
      const segment = sent[i] as Sent;
      if (!retransmission.goesAgain(segment.end)) continue;
      this.#sendAgain(connection, segment);
      more--;
    }
    this.#arm(connection, retransmission.rtoUs);
  }

  /** False: the segment is not of this connection, or it is over. */
  #acknowledged(connection: Connection, tcp: TcpBody, ip: IpBody): boolean {
    const { acknowledgment } = tcp;
    if (after(acknowledgment, connection.next)) {
      if (connection.state === "syn-received") this.#refuse(ip, connection.localIp);
      else this.#challenge(connection);
      return false;
    }
    if (!after(acknowledgment, connection.unacknowledged)) {
      if (ip.payload.length === 0) connection.retransmission.repeated(acknowledgment);
      return true;
    }
    const before = connection.state;
    if (before === "syn-received") connection.state = "established";
    this.#settled(connection, tcp);
    const all = acknowledgment === connection.next;
    if (before === "syn-received") {
      connection.retransmission.connected();
      connection.user.connected?.(connection);
      for (const octets of connection.queue.splice(0)) this.sendData(connection, octets);
    } else if (all && before === "fin-wait-1") {
      connection.state = "fin-wait-2";
      this.#setTimer(connection, finTimeoutUs);
    } else if (all && before === "closing") this.#linger(connection);
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
      const end = (sequence + payload.length + (ends ? 1 : 0)) >>> 0;
      if (connection.stamps && !after(end, connection.expected)) this.#heardBefore(connection, sequence, end);
      else this.#acknowledge(connection); // a gap
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

  #heardBefore(connection: Connection, from: number, end: number): void {
    this.#emit(connection, ACK, connection.next, nothing, from, end);
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
    const most = mtuOctets - headerOctets - (connection?.stamps ? stampOctets : 0);
    if (connection === undefined || mtuOctets < 68 || connection.maxSegment <= most) return;
    connection.maxSegment = most;
    const pieces = connection.sent.splice(0).flatMap((sent): Sent[] => {
      if (sent.payload.length <= most) return [sent];
      const cut: Sent[] = [];
      for (let at = 0; at < sent.payload.length; at += most) {
        const payload = sent.payload.subarray(at, at + most);
        const sequence = (sent.sequence + at) >>> 0;
        cut.push({ ...sent, sequence, payload, end: (sequence + payload.length) >>> 0 });
      }
      return cut;
    });
    connection.sent.push(...pieces);
    for (const piece of pieces) this.#sendAgain(connection, piece);
    if (pieces.length > 0) this.#arm(connection, connection.retransmission.rtoUs);
  }
}
