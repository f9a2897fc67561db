/** The lab's client traffic on simulated TCP: the same plan, the same outcomes, in virtual time; and questions by UDP. */
import { type Ipv4, ipv4 } from "../../base/ipv4.ts";
import type { IpBody } from "../../sim/frame.ts";
import type { SimHost } from "../../sim/host.ts";
import { Task } from "../../sim/task.ts";
import type { Connection } from "../../sim/tcp.ts";
import { type ConnectionResult, isError, type Outcome, type TrafficPlan, type TrafficTarget } from "../traffic.ts";

const text = new TextEncoder();
const words = new TextDecoder();

/** Offset of the flags in a DNS header, and the bit that says "answer" (RFC 1035 4.1.1). */
const DNS_FLAGS = 2;
const DNS_RESPONSE = 0x80;

/**
 * A name server as far as anybody looks: every datagram comes back, marked as an answer without an error. `heard` is
 * told of each.
 */
export function serveDatagrams(host: SimHost, port: number, heard: (packet: IpBody) => void): void {
  host.serveUdp(port, (packet) => {
    heard(packet);
    const answer = packet.payload.slice();
    if (answer.length > DNS_FLAGS) answer[DNS_FLAGS] = (answer[DNS_FLAGS] as number) | DNS_RESPONSE;
    return answer;
  });
}

/** A program on the host does it in a while: late where the host is frozen then, not at all without power. */
const later = (host: SimHost, ms: number, run: () => void): void => void host.after(ms * 1000, new Task(run));

/** Ports of questions that wait for their answer, in turn. */
const firstAskPort = 20_000;
const askPorts = 20_000;
const datagramPatienceMs = 5000;

/** One question by UDP; true: answered from the address that was asked, within five seconds. */
export function askByDatagram(
  client: SimHost,
  turn: number,
  target: { readonly vip: Ipv4; readonly port: number },
  from: Ipv4,
  done: (answered: boolean) => void,
): void {
  const port = firstAskPort + (turn % askPorts);
  let isOver = false;
  const end = (answered: boolean): void => {
    if (isOver) return;
    isOver = true;
    client.closeUdp(port);
    done(answered);
  };
  client.serveUdp(port, (packet) => {
    if (packet.source === target.vip && packet.sourcePort === target.port) end(true);
    return undefined;
  });
  later(client, datagramPatienceMs, () => end(false));
  const question = new Uint8Array(17); // a DNS header and the root's name, type and class
  question[1] = turn & 255;
  question[5] = 1;
  client.sendUdp(from, target.vip, port, target.port, question);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface Conversation {
  readonly isOver: boolean;
  /** Nobody waits for its answer any longer. */
  giveUp(): void;
}

/** One connection: asks until `untilUs` (or once), then closes. `done` is called once. */
export function converse(
  client: SimHost,
  plan: TrafficPlan,
  kind: "long" | "short",
  target: TrafficTarget,
  from: string,
  untilUs: number,
  done: (result: ConnectionResult) => void,
): Conversation {
  const { lan } = client;
  const servedBy: string[] = [];
  let sourcePort = 0;
  let answers = 0;
  let errors = 0;
  let turn = 0;
  let over = false;
  let asked = false;
  let connection: Connection | undefined;
  const request = text.encode(`GET / HTTP/1.1\r\nHost: ${target.vip}\r\nConnection: keep-alive\r\n\r\n`);

  const end = (outcome: Outcome): void => {
    if (over) return;
    over = true;
    if (outcome === "completed") connection?.close();
    else connection?.abort();
    const result: Mutable<ConnectionResult> = {
      kind,
      target,
      source: `${from}:${sourcePort}`,
      outcome,
      answers,
      errors,
      servedBy,
    };
    done(result);
  };
  const giveUp = (): void => end(sourcePort === 0 ? "refused" : "hang");
  const wait = (): void => {
    const mine = ++turn;
    later(client, plan.patienceMs, () => {
      if (turn === mine) giveUp();
    });
  };
  const ask = (): void => {
    if (over) return;
    asked = true;
    wait();
    connection?.send(request);
  };
  wait();
  connection = client.tcp.connect(ipv4(from), ipv4(target.vip), target.port, {
    connected: (c) => {
      sourcePort = c.localPort;
      ask();
    },
    data: (_, octets) => {
      turn++;
      asked = false;
      answers += 1;
      const answer = words.decode(octets);
      if (isError(answer)) errors += 1;
      const server = /x-served-by: (\S+)/i.exec(answer)?.[1] ?? "?";
      if (servedBy.at(-1) !== server) servedBy.push(server);
      if (kind === "short" || lan.nowUs + plan.pauseMs * 1000 >= untilUs) end("completed");
      else later(client, plan.pauseMs, ask);
    },
    ended: () => end(asked ? "reset" : "completed"),
    broken: () => end(sourcePort === 0 ? "refused" : "reset"),
  });
  return {
    get isOver() {
      return over;
    },
    giveUp,
  };
}

/** Starts the whole plan; results come in as connections end. */
export function startTraffic(client: SimHost, plan: TrafficPlan, done: (result: ConnectionResult) => void): void {
  const { lan } = client;
  const startUs = lan.nowUs;
  const untilUs = startUs + plan.durationMs * 1000;
  const start = (kind: "long" | "short", i: number): void => {
    const target = plan.targets[i % plan.targets.length];
    const from = plan.from[Math.floor(i / plan.targets.length) % plan.from.length];
    if (target === undefined || from === undefined) throw new RangeError("traffic needs a client and a service");
    converse(client, plan, kind, target, from, untilUs, done);
  };
  for (let i = 0; i < plan.longLived; i++) lan.at(startUs + Math.floor(i / 8) * 1000, () => start("long", i));
  for (let i = 0; i < plan.shortLived; i++)
    lan.at(startUs + Math.floor((i * plan.durationMs * 1000) / plan.shortLived), () => start("short", i));
}
