import { formatIpv4, type Ipv4, ipv4, ipv4FromNumber } from "../base/ipv4.ts";
import { mac, ZERO_MAC } from "../base/mac.ts";
import { type ArpPacket, answerArp } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import type { AddressFacts, HostFacts } from "./facts.ts";

export interface BenchResult {
  readonly name: string;
  readonly perSecond: number;
}

/** A real server with `vips` addresses on lo, one NIC and arp_ignore 1; half the questions are for its own address. */
export function benchFacts(vips: number): HostFacts {
  const addresses: AddressFacts[] = [
    { link: "lo", ip: "127.0.0.1", prefixLength: 8, scope: 254 },
    { link: "eth0", ip: "10.0.0.11", prefixLength: 16, scope: 0 },
  ];
  for (let i = 0; i < vips; i++)
    addresses.push({ link: "lo", ip: formatIpv4(ipv4FromNumber(0x0a010000 + i)), prefixLength: 32, scope: 0 });
  return {
    factsVersion: 1,
    kernel: { release: "6.18.0", generation: "6.x" },
    links: [
      { ifindex: 1, name: "lo", flags: ["UP", "LOOPBACK"], mac: null },
      { ifindex: 2, name: "eth0", flags: ["UP", "BROADCAST"], mac: "02:00:00:00:00:01" },
    ],
    addresses,
    routesGiven: "added",
    routes: [],
    rules: [],
    sysctls: { "all.arp_ignore": 1 },
    neighbours: [],
    filters: [],
    unread: [],
  };
}

/** Decisions per second of answerArp. `nowMs` is a monotonic clock; each case runs for about `forMs`. */
export function benchModel(nowMs: () => number, forMs = 1000): BenchResult[] {
  return [20, 4096].map((vips) => {
    const host = compileHost(benchFacts(vips));
    const own = ipv4("10.0.0.11");
    const packets: ArpPacket[] = Array.from({ length: 1024 }, (_, i) => ({
      link: 2,
      frame: "broadcast",
      operation: 1,
      senderMac: mac("02:00:00:00:00:02"),
      senderIp: (ipv4("10.0.1.0") + (i & 127)) as Ipv4,
      targetMac: ZERO_MAC,
      targetIp: i % 2 === 0 ? own : ipv4FromNumber(0x0a010000 + (i % vips)),
    }));
    let answered = 0;
    let asked = 0;
    const start = nowMs();
    let end = start;
    while (end - start < forMs) {
      for (const packet of packets) if (answerArp(host, packet).kind === "reply") answered++;
      asked += packets.length;
      end = nowMs();
    }
    if (answered * 2 !== asked) throw new Error(`the bench host answered ${answered} of ${asked}`);
    return { name: `answerArp, ${vips} VIPs`, perSecond: Math.round((asked * 1000) / (end - start)) };
  });
}
