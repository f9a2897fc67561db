import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { type HostSketch, sketchHost } from "../testing/modelHosts.ts";
import { announce, announcesByItself, type LinkEvent } from "./announce.ts";

const VIP = "10.0.0.100";
const lo = [`${VIP}/32`];
const asks = (sketch: HostSketch, source: string | null = VIP, nextHop = "10.0.0.1"): string => {
  const verdict = announce(sketchHost(sketch), {
    link: 2,
    nextHop: ipv4(nextHop),
    ...(source === null ? {} : { packetSource: ipv4(source) }),
  });
  return verdict.kind === "request" ? `${formatIpv4(verdict.senderIp)} ${verdict.rule}` : `none ${verdict.rule}`;
};
const rows: readonly [string, HostSketch, string | null, string][] = [
  ["2.0 takes the device's address", { release: "2.0.36", lo }, VIP, "10.0.0.11 B-2.0-01"],
  ["2.2 leaks", { release: "2.2.13", lo }, VIP, `${VIP} B-2.2-01`],
  ["2.2 without a packet selects", { release: "2.2.13", lo }, null, "10.0.0.11 B-2.2-03"],
  ["a source that is not local is not announced", { lo }, "203.0.113.9", "10.0.0.11 B-2.6-08"],
  ["a local route leaks, too", { more: { routes: [{ dst: VIP, type: "local", dev: "lo" }] } }, VIP, `${VIP} B-2.6-02`],
  ["hidden", { release: "2.2.14", lo, sysctls: { "all.hidden": 1, "lo.hidden": 1 } }, VIP, "10.0.0.11 B-2.2h-01"],
  ["hidden of the link alone", { release: "2.2.14", lo, sysctls: { "lo.hidden": 1 } }, VIP, `${VIP} B-2.2-01`],
  ["arp_announce 0", { lo }, VIP, `${VIP} B-2.6-02`],
  [
    "arp_announce 1, VIP in the RIP's subnet: leaks",
    { lo, sysctls: { "all.arp_announce": 1 } },
    VIP,
    `${VIP} B-2.6-03`,
  ],
  [
    "arp_announce 1, VIP elsewhere",
    { lo: ["10.7.0.1/32"], sysctls: { "all.arp_announce": 1 } },
    "10.7.0.1",
    "10.0.0.11 B-2.6-03",
  ],
  ["arp_announce 2", { lo, sysctls: { "all.arp_announce": 2 } }, VIP, "10.0.0.11 B-2.6-04"],
  ["arp_announce 2 of lo", { lo, sysctls: { "lo.arp_announce": 2 } }, VIP, `${VIP} B-2.6-02`],
  [
    "arp_announce 2 and 3: the maximum is as 0",
    { lo, sysctls: { "all.arp_announce": 2, "eth0.arp_announce": 3 } },
    VIP,
    `${VIP} B-2.6-02`,
  ],
  [
    "arp_announce 2 in 2.6.3 does not exist",
    { release: "2.6.3", lo, sysctls: { "all.arp_announce": 2 } },
    VIP,
    `${VIP} B-2.2-01`,
  ],
  [
    "unnumbered link: the VIP of lo is selected",
    { lo, eth0: [], sysctls: { "all.arp_announce": 2 } },
    VIP,
    `${VIP} B-2.6-04`,
  ],
  [
    "unnumbered link, scope host: nothing",
    { lo: [`${VIP}/32 host`], eth0: [], sysctls: { "all.arp_announce": 2 } },
    VIP,
    "0.0.0.0 B-2.6-04",
  ],
  [
    "VIP primary",
    { eth0: [`${VIP}/24`, "10.0.0.11/24 secondary"], sysctls: { "all.arp_announce": 2 } },
    VIP,
    `${VIP} B-2.6-04`,
  ],
  [
    "VIP/32 before the RIP does not win",
    { eth0: [`${VIP}/32`, "10.0.0.11/24"], sysctls: { "all.arp_announce": 2 } },
    VIP,
    "10.0.0.11 B-2.6-04",
  ],
  ["a NOARP link asks nobody", { lo, links: [{ name: "eth0", flags: ["UP", "NOARP"] }] }, VIP, "none A-ALL-01"],
];
for (const [what, sketch, source, expected] of rows)
  test(`announce: ${what}`, () => assert.equal(asks(sketch, source), expected));

test("B-2.6-06: a target in no subnet takes the first of the list", () => {
  const sysctls = { "all.arp_announce": 2 };
  assert.equal(asks({ eth0: [`${VIP}/32`, "10.0.0.11/24"], sysctls }, VIP, "172.16.0.1"), `${VIP} B-2.6-04`);
  assert.equal(asks({ eth0: ["10.0.0.11/24", `${VIP}/32`], sysctls }, VIP, "172.16.0.1"), "10.0.0.11 B-2.6-04");
});

test("B-2.6-03: secondaries count from 5.x on", () => {
  const sketch = {
    eth0: ["10.0.0.11/24", "10.0.7.5/25 secondary"],
    lo: ["10.0.7.9/32"],
    sysctls: { "all.arp_announce": 1 },
  };
  assert.equal(asks({ ...sketch, release: "4.19.0" }, "10.0.7.9", "10.0.7.1"), "10.0.0.11 B-2.6-03");
  assert.equal(asks({ ...sketch, release: "5.4.0" }, "10.0.7.9", "10.0.7.1"), "10.0.7.9 B-2.6-03");
});

test("B-2.2-02: other links are searched for link scope only from 2.2.14 on", () => {
  const sketch = { lo, eth0: [], links: [{ name: "eth0", ipv4State: true }] } as const;
  assert.equal(asks({ ...sketch, release: "2.2.13" }, null), "0.0.0.0 B-2.2-03");
  assert.equal(asks({ ...sketch, release: "2.2.14" }, null), `${VIP} B-2.2-03`);
  const hidden = { "all.hidden": 1, "lo.hidden": 1 };
  assert.equal(asks({ ...sketch, release: "2.2.14", sysctls: hidden }, null), "0.0.0.0 B-2.2-03");
});

test("A-2.6-20: the output hook drops or rewrites requests, too", () => {
  const filter = (verdict: object) =>
    ({
      lo,
      more: {
        filters: [
          { tool: "arptables", family: "arp", hook: "output", rules: [{ match: { source: { any: [VIP] } }, verdict }] },
        ],
      },
    }) as HostSketch;
  assert.equal(asks(filter({ kind: "drop" })), "none A-2.6-20");
  assert.equal(asks(filter({ kind: "mangle", senderIp: "10.0.0.11", next: "accept" })), "10.0.0.11 A-2.6-20");
  assert.equal(asks(filter({ kind: "drop" }), "203.0.113.9"), "10.0.0.11 B-2.6-08");
});

test("B-G-01: what the kernel announces by itself", () => {
  const sketch: HostSketch = { lo: ["10.9.9.9/32"], eth0: ["10.0.0.11/24", "10.0.0.100/32 peer=10.5.5.5"] };
  const says = (change: HostSketch, kind: LinkEvent["kind"]): string =>
    announcesByItself(sketchHost({ ...sketch, ...change }), { kind, link: 2 })
      .addresses.map(formatIpv4)
      .join(" ");
  const on = { sysctls: { "all.arp_notify": 1 } };
  assert.equal(says({}, "link up"), "");
  assert.equal(says(on, "link up"), "10.0.0.11 10.0.0.100");
  assert.equal(says(on, "mac change"), "10.0.0.11 10.0.0.100");
  assert.equal(says(on, "address added"), "");
  assert.equal(says({}, "peer notification"), "10.0.0.11 10.0.0.100");
  assert.equal(says({ release: "2.6.38", ...on }, "link up"), "10.0.0.11");
  assert.equal(says({ release: "2.6.32", ...on, eth0: ["10.0.0.11/32 peer=10.5.5.5"] }, "link up"), "10.5.5.5");
  assert.equal(says({ release: "2.6.29", ...on }, "link up"), "");
  assert.equal(says({ release: "2.6.32" }, "peer notification"), "");
  assert.equal(says({ ...on, links: [{ name: "eth0", flags: ["UP", "NOARP"] }] }, "link up"), "");
});
