import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { formatIpv4, ipv4 } from "../base/ipv4.ts";
import { sketchHost, whoHas } from "../testing/modelHosts.ts";
import { announce } from "./announce.ts";
import { answerArp } from "./answerArp.ts";
import { runVectors } from "./vectors.ts";

const shared = new URL("../../../shared/kernel-vectors.json", import.meta.url);
const copy = new URL("../../examples/kernel-vectors.json", import.meta.url);
const document = JSON.parse(readFileSync(existsSync(shared) ? shared : copy, "utf8"));

test("every vector of kernel-vectors.json agrees", () => {
  const report = runVectors(document);
  assert.ok(report.total >= 132);
  assert.deepEqual(
    report.cases.filter((c) => !c.ok).map((c) => `${c.id} ${c.fault ?? JSON.stringify(c.differences)}`),
    [],
  );
});

test("what a running 6.18 kernel did with random hosts agrees", () => {
  const file = new URL("../../examples/kernel-vectors-6.18.json", import.meta.url);
  const report = runVectors(JSON.parse(readFileSync(file, "utf8")));
  assert.ok(report.total > 80);
  assert.deepEqual(
    report.cases.filter((c) => !c.ok).map((c) => `${c.id} ${c.fault ?? JSON.stringify(c.differences)}`),
    [],
  );
});

test("each expectation is really compared: turned round, every vector differs", () => {
  const turned = document.vectors.map((v: Record<string, unknown>) => ({
    ...v,
    expect: Object.fromEntries(
      Object.entries(v.expect as object)
        .filter(([key]) => key !== "reason")
        .map(([key]) => [key, "something else"]),
    ),
  }));
  const report = runVectors({ vectors: turned });
  assert.equal(report.failed, report.total);
  for (const [i, c] of report.cases.entries())
    assert.equal(c.differences.length, Object.keys(turned[i].expect).length, c.id);
});

test("a malformed vector fails with its reason, and the ones after it still run", () => {
  const [good] = document.vectors;
  const bad = [
    7,
    {},
    { ...good, kind: "nonsense" },
    { ...good, generation: "9.9" },
    { ...good, host: { interfaces: [] } },
    { ...good, event: { ...good.event, iface: "eth7" } },
    { ...good, event: { ...good.event, spa: "10.0.0.300" } },
    { ...good, host: { ...good.host, routes: [{ dst: "10.0.0.0/77" }] } },
    { ...good, host: { ...good.host, filters: [{ tool: "nft", family: "arp", hook: "input", verdict: "dance" }] } },
    { ...good, expect: undefined },
    { ...good, expect: { reason: "no word to compare" } },
    { ...good, host: { ...good.host, rules: [{ pref: 5, ipproto: "tpc", table: 7 }] } },
    { ...good, kind: "ip_input", event: { iface: "eth0", src: "10.0.0.1", dst: "10.0.0.2", proto: "tpc" } },
  ];
  const report = runVectors({ vectors: [...bad, good] });
  assert.deepEqual([report.total, report.passed, report.failed], [bad.length + 1, 1, bad.length]);
  for (const c of report.cases.slice(0, -1)) assert.ok((c.fault ?? "").length > 5, JSON.stringify(c));
  assert.equal(runVectors(null).failed, 1);
  assert.equal(runVectors({ vectors: 3 }).failed, 1);
});

test("protocols by number, and rules by protocol, ports, goto and suppressed prefixes, mean what they say", () => {
  const host = {
    interfaces: [
      { name: "lo", up: true, flags: ["LOOPBACK"], addresses: [{ ip: "10.0.0.100", plen: 32 }] },
      { name: "eth0", up: true, mac: "02:00:00:00:00:02", addresses: [{ ip: "10.0.0.11", plen: 24 }] },
    ],
    sysctl: { ip_forward: 1 },
    routes: [{ dst: "default", dev: "eth0", via: "10.0.0.1", table: 7 }],
  };
  const result = (rules: readonly object[], event: object): unknown => {
    const vector = {
      kind: "ip_input",
      generation: "6.x",
      kernel: "6.18",
      host: { ...host, rules },
      event: { iface: "eth0", src: "10.0.0.9", dst: "203.0.113.5", ...event },
      expect: { result: "forward" },
    };
    return runVectors([vector]).cases[0]?.given.result;
  };
  const udp53 = { pref: 10, ipproto: "udp", dport: "50-60", table: 7 };
  assert.equal(result([udp53], { proto: 17, dport: 53 }), "forward");
  assert.equal(result([udp53], { proto: "udp", dport: 70 }), "drop");
  assert.equal(result([udp53], { proto: 6, dport: 53 }), "drop");
  const jump = [
    { pref: 10, goto: 30 },
    { pref: 20, type: "blackhole" },
    { pref: 30, table: 7 },
  ];
  assert.equal(result(jump, {}), "forward");
  assert.equal(result(jump.slice(1), {}), "drop");
  assert.equal(result([{ pref: 10, table: 7, suppress_prefixlength: 0 }], {}), "drop");
});

const sdw = { release: "2.2.13", generation: "2.2-sdw" } as const;
const inv = { release: "2.2.13", generation: "2.2-arp_invisible" } as const;
const dummy = {
  links: [{ ifindex: 5, name: "dummy0", kind: "dummy", flags: ["UP", "NOARP"] as const, mac: null }],
  addresses: [{ link: "dummy0", ip: "10.0.0.100", prefixLength: 32, scope: 0 }],
};

test("KD-001, KD-002: fullarpfix silences lo and tunl0, as documented only", () => {
  const onLo = answerArp(sketchHost({ ...sdw, lo: ["10.0.0.100/32"] }), whoHas("10.0.0.100"));
  assert.deepEqual([onLo.kind, onLo.unconfirmed], ["silent", true]);
  const tunnel = sketchHost({
    ...sdw,
    links: [{ ifindex: 5, name: "tunl0", flags: ["UP", "NOARP"], mac: null }],
    addresses: [{ link: "tunl0", ip: "10.0.0.100", prefixLength: 32, scope: 0 }],
  });
  assert.equal(answerArp(tunnel, whoHas("10.0.0.100")).kind, "silent");
  assert.equal(answerArp(sketchHost({ ...sdw, ...dummy }), whoHas("10.0.0.100")).kind, "reply", "dummy is not covered");
});

test("KD-003, KD-004, KD-005: arp_invisible needs all and the carrier, and covers requests sent", () => {
  const both = { "all.arp_invisible": 1, "dummy0.arp_invisible": 1 };
  const silent = sketchHost({ ...inv, ...dummy, sysctls: both });
  assert.equal(answerArp(silent, whoHas("10.0.0.100")).kind, "silent");
  const half = sketchHost({ ...inv, ...dummy, sysctls: { "dummy0.arp_invisible": 1 } });
  assert.equal(answerArp(half, whoHas("10.0.0.100")).kind, "reply");
  const asks = (host: typeof silent): string => {
    const verdict = announce(host, { link: 2, packetSource: ipv4("10.0.0.100"), nextHop: ipv4("10.0.0.1") });
    return verdict.kind === "request" ? `${formatIpv4(verdict.senderIp)} ${verdict.unconfirmed}` : "none";
  };
  assert.equal(asks(silent), "10.0.0.11 true");
  assert.equal(asks(half), "10.0.0.100 true");
});
