import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { networkOf, prefix } from "../base/prefix.ts";
import { sketchFacts } from "../testing/modelHosts.ts";
import { announce, announcesByItself } from "./announce.ts";
import { type ArpPacket, answerArp } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import type { HostFacts } from "./facts.ts";
import { checkFacts } from "./factsSchema.ts";
import { emptyCache, neighbour } from "./neighbour.ts";
import { receive } from "./receive.ts";
import { isRuleId } from "./rules.ts";
import { sysctlTable } from "./sysctl.ts";
import { runVector } from "./vectors.ts";

const releases = [
  "2.0.36",
  "2.2.13",
  "2.2.16",
  "2.4.22",
  "2.4.27",
  "2.6.20",
  "2.6.30",
  "2.6.32",
  "3.6.0",
  "3.10.0",
  "4.4.0",
  "4.13.0",
  "4.19.0",
  "5.4.0",
  "6.18.0",
];
const ip = fc.constantFrom(
  "10.0.0.1",
  "10.0.0.11",
  "10.0.0.100",
  "10.0.0.255",
  "10.0.0.0",
  "10.0.1.11",
  "10.0.1.50",
  "192.168.9.9",
  "0.0.0.0",
  "0.0.0.9",
  "127.0.0.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
);
const hostIp = fc.constantFrom("10.0.0.11", "10.0.0.100", "10.0.1.11", "10.0.1.50", "192.168.9.1", "127.0.0.5");
const length = fc.constantFrom(8, 24, 30, 31, 32);
const name = fc.constantFrom("lo", "eth0", "eth1", "tunl0", "br0", "mv0", "red");
const type = fc.constantFrom("unicast", "local", "broadcast", "blackhole", "throw", "nat" as const);
const facts: fc.Arbitrary<HostFacts> = fc
  .record({
    release: fc.constantFrom(...releases),
    hidden: fc.boolean(),
    addresses: fc.uniqueArray(
      fc.record({
        link: name,
        ip: hostIp,
        prefixLength: length,
        scope: fc.constantFrom(0, 253, 254),
        secondary: fc.boolean(),
      }),
      { maxLength: 6, selector: (a) => `${a.link} ${a.ip}/${a.prefixLength}` },
    ),
    flags: fc.array(fc.constantFrom("UP", "NOARP", "BROADCAST" as const), { maxLength: 3 }),
    eth0Master: fc.constantFrom(undefined, "br0", "red"),
    routes: fc.array(
      fc.record({
        dst: fc.tuple(hostIp, length).map(([a, l]) => `${formatIpv4(networkOf(prefix(`${a}/${l}`)))}/${l}`),
        type,
        dev: name,
        table: fc.constantFrom(254, 255, 7),
      }),
      { maxLength: 4 },
    ),
    rules: fc.array(
      fc.record({
        priority: fc.integer({ min: 0, max: 40000 }),
        from: hostIp,
        table: fc.constantFrom(7, 254, 99),
        not: fc.boolean(),
      }),
      { maxLength: 2 },
    ),
    sysctls: fc.dictionary(
      fc
        .tuple(fc.constantFrom("all", "lo", "eth0", "eth1"), fc.constantFrom(...Object.keys(sysctlTable)))
        .map((k) => k.join(".")),
      fc.integer({ min: -1, max: 9 }),
      { maxKeys: 6, noNullPrototype: true },
    ),
    filtered: fc.constantFrom("none", "input", "output" as const),
  })
  .map((r) => ({
    ...sketchFacts({
      release: r.release,
      ...(r.hidden ? { patches: [{ name: "hidden", how: "told" } as const] } : {}),
      eth0: [],
      eth1: [],
      sysctls: r.sysctls,
      links: [
        {
          name: "eth0",
          flags: [...new Set(["UP" as const, ...r.flags])],
          ...(r.eth0Master ? { master: r.eth0Master } : {}),
        },
        { ifindex: 4, name: "tunl0", kind: "ipip", flags: ["UP", "NOARP"], mac: null },
        { ifindex: 5, name: "br0", kind: "bridge", flags: ["UP"], mac: mac("02:00:00:00:00:05") },
        { ifindex: 6, name: "mv0", kind: "macvlan", parent: "eth0", flags: ["UP"], mac: mac("02:00:00:00:00:06") },
        { ifindex: 7, name: "red", kind: "vrf", vrfTable: 7, flags: ["UP", "NOARP"], mac: mac("02:00:00:00:00:07") },
      ],
    }),
    addresses: [...sketchFacts({ eth0: [] }).addresses, ...r.addresses],
    routes: r.routes,
    rules: r.rules,
    filters:
      r.filtered === "none"
        ? []
        : [
            {
              tool: "nft",
              family: "arp",
              hook: r.filtered,
              rules: [{ match: { target: { any: ["10.0.0.100"] } }, verdict: { kind: "drop" } }],
            } as const,
          ],
  }));
const packet: fc.Arbitrary<ArpPacket> = fc.record({
  link: fc.constantFrom(1, 2, 3, 5, 6),
  frame: fc.constantFrom("broadcast", "unicast", "other", "own" as const),
  operation: fc.constantFrom(1, 1, 1, 2, 3),
  senderMac: fc.constantFrom(mac("02:00:00:00:01:00"), mac("02:00:00:00:01:01")),
  senderIp: ip.map(ipv4),
  targetMac: fc.constantFrom(mac("00:00:00:00:00:00"), mac("02:00:00:00:01:00")),
  targetIp: ip.map(ipv4),
});
const runs = { numRuns: 400 };

test("no facts and no packet make the model throw, and every verdict cites a rule", () => {
  fc.assert(
    fc.property(facts, packet, (f, p) => {
      assert.ok(checkFacts(f).ok);
      const host = compileHost(f);
      const verdict = answerArp(host, p);
      assert.ok(isRuleId(verdict.rule));
      assert.ok(isRuleId(announce(host, { link: p.link, packetSource: p.senderIp, nextHop: p.targetIp }).rule));
      announcesByItself(host, { kind: "link up", link: p.link });
      const inner = { source: p.targetIp, destination: p.senderIp, protocol: "tcp" };
      for (const protocol of ["tcp", "udp", "ipip"])
        assert.ok(
          isRuleId(
            receive(host, {
              link: p.link,
              frame: p.frame,
              source: p.senderIp,
              destination: p.targetIp,
              protocol,
              inner,
            }).rule,
          ),
        );
      neighbour(host, emptyCache, p, 1000);
    }),
    runs,
  );
});

test("a reply is an address asked for, with a MAC of this host, sent to the asker", () => {
  fc.assert(
    fc.property(facts, packet, (f, p) => {
      const verdict = answerArp(compileHost(f), p);
      if (verdict.kind !== "reply") return;
      const macs = f.links.map((l) => l.mac);
      for (const reply of [verdict, ...verdict.also]) {
        assert.equal(reply.senderIp, p.targetIp);
        assert.equal(reply.to, p.senderMac);
        assert.ok(macs.includes(reply.senderMac));
      }
    }),
    runs,
  );
});

test("an unrelated address on a link of its own never changes an answer", () => {
  fc.assert(
    fc.property(facts, packet, (f, p) => {
      const more: HostFacts = {
        ...f,
        links: [...f.links, { ifindex: 50, name: "other", flags: ["UP", "NOARP"], mac: null, kind: "dummy" }],
        addresses: [...f.addresses, { link: "other", ip: "198.51.100.7", prefixLength: 32, scope: 0 }],
      };
      assert.deepEqual(answerArp(compileHost(more), p), answerArp(compileHost(f), p));
    }),
    runs,
  );
});

test("arp_ignore 8 in all: no local target is answered, whatever else is set", () => {
  fc.assert(
    fc.property(facts, packet, (f, p) => {
      const sysctls = Object.fromEntries(Object.entries(f.sysctls).filter(([k]) => !/arp_ignore|proxy_arp/.test(k)));
      const host = compileHost({ ...f, sysctls: { ...sysctls, "all.arp_ignore": 8 } });
      if (host.switches.arpIgnoreAnnounce && answerArp(host, p).kind === "reply")
        assert.equal(host.switches.natRoutes && f.routes.some((r) => r.type === "nat"), true);
    }),
    runs,
  );
});

test("hostile vectors never throw", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("arp_request", "arp_solicit", "garp", "neigh", "ip_input", "ndp", "__proto__"),
      fc.anything(),
      fc.anything(),
      (kind, host, event) => {
        const result = runVector({ id: "x", kind, generation: "6.x", host, event, expect: { result: "reply" } }, 0);
        assert.equal(result.ok, false);
      },
    ),
    runs,
  );
});

test("the same question twice gives the same answer, and the facts are untouched", () => {
  fc.assert(
    fc.property(facts, packet, (f, p) => {
      const before = JSON.stringify(f);
      const host = compileHost(f);
      assert.deepEqual(answerArp(host, p), answerArp(host, p));
      assert.equal(JSON.stringify(f), before);
    }),
    { numRuns: 100 },
  );
});
