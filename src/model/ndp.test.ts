import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostSketch, sketchHost } from "../testing/modelHosts.ts";
import type { Address6Facts } from "./facts.ts";
import { ANY6, parseIpv6, solicitedNode } from "./ipv6.ts";
import { announcesByItself6, answerNdp, type Solicitation6, solicitSource6 } from "./ndp.ts";

const six = (text: string): string => parseIpv6(text) ?? assert.fail(text);
const VIP6 = "2001:db8::100";
const on = (link: string, change: Partial<Address6Facts> = {}): HostSketch => ({
  more: { addresses6: [{ link, ip: VIP6, prefixLength: 128, scope: 0, ...change }] },
});
const says = (sketch: HostSketch, change: Partial<Solicitation6> = {}): string => {
  const host = sketchHost(sketch);
  const v = answerNdp(host, {
    link: 2,
    target: six(VIP6),
    source: six("fe80::1"),
    destination: "solicited-node",
    ...change,
  });
  return v.kind === "reply" ? `reply ${v.flags.join(" ")} ${v.rule}` : `silent ${v.rule}`;
};
const router = { "ipv6.eth0.forwarding": 1 };
const rows: readonly [string, HostSketch, Partial<Solicitation6>, string][] = [
  ["on the link", on("eth0"), {}, "reply solicited override D-6-01"],
  ["on lo", on("lo"), {}, "silent D-6-01"],
  ["on lo, a probe", on("lo"), { source: ANY6 }, "silent D-6-01"],
  ["a probe for what is here", on("eth0"), { source: ANY6 }, "reply override D-6-01"],
  ["asked by unicast: no override", on("eth0"), { destination: six(VIP6) }, "reply solicited D-6-01"],
  ["a probe by unicast", on("eth0"), { source: ANY6, destination: six(VIP6) }, "silent D-6-04"],
  ["a router says so", { ...on("eth0"), sysctls: router }, {}, "reply router solicited override D-6-01"],
  ["tentative", on("eth0", { tentative: true }), {}, "silent D-6-04"],
  [
    "tentative and optimistic",
    on("eth0", { tentative: true, optimistic: true }),
    {},
    "reply solicited override D-6-01",
  ],
  ["failed", on("eth0", { dadFailed: true }), {}, "silent D-6-04"],
  [
    "a NOARP link joins no group",
    { ...on("eth0"), links: [{ name: "eth0", flags: ["UP", "NOARP"] }] },
    {},
    "silent D-6-04",
  ],
  [
    "but hears unicast",
    { ...on("eth0"), links: [{ name: "eth0", flags: ["UP", "NOARP"] }] },
    { destination: six(VIP6) },
    "reply solicited D-6-01",
  ],
  [
    "proxy",
    { ...on("eth0", { proxy: true }), sysctls: { ...router, "ipv6.all.proxy_ndp": 1 } },
    {},
    "reply solicited D-6-03",
  ],
  [
    "proxy without forwarding",
    { ...on("eth0", { proxy: true }), sysctls: { "ipv6.all.proxy_ndp": 1 } },
    {},
    "silent D-6-01",
  ],
  ["proxy without proxy_ndp", { ...on("eth0", { proxy: true }), sysctls: router }, {}, "silent D-6-01"],
  ["another group", on("eth0"), { destination: solicitedNode(six("2001:db8::101")) }, "silent D-6-01"],
];
for (const [what, sketch, change, expected] of rows)
  test(`ndp: ${what}`, () => assert.equal(says(sketch, change), expected));

test("D-6-02: a solicitation carries the packet's source only if it is on the link", () => {
  assert.equal(solicitSource6(sketchHost(on("eth0")), 2, six(VIP6)), six(VIP6));
  assert.equal(solicitSource6(sketchHost(on("lo")), 2, six(VIP6)), undefined);
});

test("D-6-05: unsolicited advertisements need ndisc_notify or a peer notification", () => {
  assert.deepEqual(announcesByItself6(sketchHost(on("eth0")), 2, false), []);
  assert.deepEqual(announcesByItself6(sketchHost(on("eth0")), 2, true), [VIP6]);
  assert.deepEqual(
    announcesByItself6(sketchHost({ ...on("eth0"), sysctls: { "ipv6.all.ndisc_notify": 1 } }), 2, false),
    [VIP6],
  );
});

test("IPv6 text is read in every form of RFC 4291, and nothing else is", () => {
  assert.equal(six("::"), ANY6);
  assert.equal(six("2001:DB8::1"), "20010db8000000000000000000000001");
  assert.equal(six("1:2:3:4:5:6:7:8"), "00010002000300040005000600070008");
  assert.equal(six("::ffff:10.0.0.1"), `${"0".repeat(20)}ffff0a000001`);
  for (const text of [
    "",
    ":",
    ":::",
    "1:2:3",
    "1::2::3",
    "12345::",
    "::g",
    "1:2:3:4:5:6:7:8:9",
    "::10.0.0.300",
    "fe80::1%eth0",
  ])
    assert.equal(parseIpv6(text), undefined, text);
});
