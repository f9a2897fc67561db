/** What `npm run bench` measures of the simulator. Clocks are passed in; the work is the same every time. */
import { ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import type { AddressFacts, HostFacts } from "../model/facts.ts";
import type { IpBody } from "./frame.ts";
import { SimHost } from "./host.ts";
import { Lan, plainCable } from "./lan.ts";
import { EventQueue } from "./queue.ts";

const hex = (n: number): string => (n & 255).toString(16).padStart(2, "0");
const macOf = (n: number) => mac(`02:00:${hex(n >> 24)}:${hex(n >> 16)}:${hex(n >> 8)}:${hex(n)}`);

/** A host of the measured LAN, 10.0.0.0/8; `vip` on lo of a silenced real server, on eth0 of the director. */
export function benchHostFacts(n: number, vip: "none" | "lo" | "eth0"): HostFacts {
  const ip = ipv4FromNumber(ipv4("10.0.0.1") + n);
  const text = `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
  const addresses: AddressFacts[] = [
    { link: "lo", ip: "127.0.0.1", prefixLength: 8, scope: 254 },
    { link: "eth0", ip: text, prefixLength: 8, scope: 0 },
  ];
  if (vip !== "none") addresses.push({ link: vip, ip: "10.255.0.1", prefixLength: 32, scope: 0 });
  return {
    factsVersion: 1,
    hostname: `h${n}`,
    kernel: { release: "6.18.0", generation: "6.x" },
    links: [
      { ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK"], mac: null },
      { ifindex: 2, name: "eth0", flags: ["UP", "BROADCAST"], mac: macOf(n) },
    ],
    addresses,
    routesGiven: "added",
    routes: [],
    rules: [],
    sysctls: vip === "lo" ? { "eth0.arp_ignore": 1, "eth0.arp_announce": 2 } : {},
    neighbours: [],
    filters: [],
    unread: [],
  };
}

const virtualIp = ipv4("10.255.0.1");

/** A director, silenced real servers and clients on one switch. */
export function benchLan(realServers: number, clients: number): { lan: Lan; hosts: SimHost[]; clients: SimHost[] } {
  const lan = new Lan({ seed: 1 });
  const at = lan.addSwitch("switch");
  const hosts: SimHost[] = [];
  const cable = { ...plainCable, jitterUs: 50 };
  const add = (vip: "none" | "lo" | "eth0"): SimHost => {
    const n = hosts.length;
    const host = new SimHost(lan, benchHostFacts(n, vip));
    host.wire("eth0", lan.plug(host.id, 0, macOf(n), at, cable));
    hosts.push(host);
    return host;
  };
  add("eth0");
  for (let i = 0; i < realServers; i++) add("lo");
  return { lan, hosts, clients: Array.from({ length: clients }, () => add("none")) };
}

export interface LanResult {
  readonly realServers: number;
  readonly clients: number;
  readonly buildMs: number;
  readonly runMs: number;
  readonly events: number;
  readonly answered: number;
}

/** Every client asks once for the VIP, a thousand in a millisecond of virtual time. */
export function benchAsking(nowMs: () => number, realServers: number, clients: number): LanResult {
  const startMs = nowMs();
  const made = benchLan(realServers, clients);
  const builtMs = nowMs();
  const { lan } = made;
  for (const [i, client] of made.clients.entries())
    lan.at(i, () => client.sendUdp(ipv4FromNumber(ipv4("10.0.0.1") + 1 + realServers + i), virtualIp, 5000, 9));
  lan.run(10_000_000);
  const answered = made.clients.filter((c) => c.neighbourOf(virtualIp)?.state === "REACHABLE").length;
  if (answered !== clients) throw new Error(`${answered} of ${clients} clients found the VIP`);
  const result = { realServers, clients, buildMs: builtMs - startMs, runMs: nowMs() - builtMs };
  return { ...result, events: lan.events, answered };
}

/**
 * Events per second of a LAN at work: pairs of hosts that send each other datagrams through the switch, ARP and
 * neighbour timers included. An event is a frame that is at the end of a cable, at the switch or at a host, or a timer
 * that fires: two for a datagram on its way.
 */
export function benchEvents(nowMs: () => number, hosts: number, wanted: number): { events: number; perSecond: number } {
  const { lan, clients } = benchLan(1, hosts);
  const address = (i: number) => ipv4FromNumber(ipv4("10.0.0.1") + 2 + i);
  const echo = (packet: IpBody) => packet.payload;
  for (const [i, host] of clients.entries()) {
    host.serveUdp(i % 2 === 0 ? 5000 : 7, echo);
    const peer = address(i % 2 === 0 ? (i + 1) % hosts : i - 1);
    if (i % 2 === 0) lan.at(i % 1000, () => host.sendUdp(address(i), peer, 5000, 7));
  }
  lan.run(2_000);
  const before = lan.events;
  const startMs = nowMs();
  lan.run(Number.MAX_SAFE_INTEGER, () => lan.events - before >= wanted);
  const tookMs = nowMs() - startMs;
  return { events: lan.events - before, perSecond: Math.round((1000 * (lan.events - before)) / tookMs) };
}

/** Pops and pushes per second with that many events waiting, each put in up to `aheadUs` ahead: the queue alone. */
export function benchQueue(nowMs: () => number, waiting: number, aheadUs: number, rounds: number): number {
  const queue = new EventQueue(waiting);
  let state = 1;
  const draw = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % aheadUs;
  };
  for (let i = 0; i < waiting; i++) queue.push(draw(), 0, i, undefined);
  const startMs = nowMs();
  for (let i = 0; i < rounds; i++) {
    queue.pop();
    queue.push(queue.timeUs + draw(), 0, i, undefined);
  }
  return Math.round((1000 * rounds) / (nowMs() - startMs));
}

/** Nanoseconds for a read from so much memory where the next place is known only after it: what a machine can do. */
export function benchMemory(nowMs: () => number, octets: number, reads: number): number {
  const lines = octets / 64;
  const words = new Int32Array(lines * 16);
  // one round through all lines: a stride that has no divisor in common with their number, a power of two
  const stride = Math.floor(lines * 0.618) | 1;
  for (let i = 0, at = 0; i < lines; i++) {
    const next = (at + stride) & (lines - 1);
    words[at * 16] = next * 16;
    at = next;
  }
  let at = 0;
  for (let i = 0; i < lines; i++) at = words[at] as number;
  const startMs = nowMs();
  for (let i = 0; i < reads; i++) at = words[at] as number;
  const tookMs = nowMs() - startMs;
  if (at % 16 !== 0) throw new Error("the round was left");
  return (1_000_000 * tookMs) / reads;
}
