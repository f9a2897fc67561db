import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { checkFacts } from "../model/factsSchema.ts";
import { isRuleId } from "../model/rules.ts";
import { catalogue } from "./catalogue.ts";
import { checkHost } from "./check.ts";
import type { CheckInput } from "./context.ts";
import { findingsDocument } from "./docs.ts";
import { explain, explainable } from "./explain.ts";
import { notFromFacts } from "./notFromFacts.ts";
import { registry } from "./registry.ts";
import { cases } from "./testing/cases.ts";
import {
  address,
  both,
  cluster,
  director,
  edit,
  link,
  realServer,
  tunnelServer,
  VIP,
  withSysctls,
} from "./testing/hosts.ts";
import { liveCases } from "./testing/liveCases.ts";
import { notLive, vmCases } from "./testing/vmCases.ts";

const ids = (input: CheckInput): string[] => checkHost(input).findings.map((f) => f.id);

for (const c of cases) {
  test(`${c.id}: found on facts that have it`, () => {
    const found = checkHost(c.has).findings.filter((f) => f.id === c.id);
    assert.ok(found.length > 0, `found instead: ${ids(c.has).join(", ") || "nothing"}`);
    for (const finding of found) {
      assert.ok(finding.rules.length > 0 && finding.rules.every(isRuleId), "rules of the model");
      assert.ok(finding.remedy.shell.length > 0, "a remedy");
      assert.match(finding.wrong, /[.]$/);
      assert.doesNotMatch(finding.wrong, /undefined|\[object/);
      for (const line of finding.remedy.shell) assert.doesNotMatch(line, /by hand|undefined|\[object/);
    }
  });
  test(`${c.id}: not found on its twin (${c.twin})`, () => {
    assert.ok(!ids(c.hasNot).includes(c.id), ids(c.hasNot).join(", "));
  });
}

test("every finding of the registry has a case and a twin, and every case is facts that the schema accepts", () => {
  const tested = new Set(cases.map((c) => c.id));
  assert.deepEqual(
    registry.map((e) => e.id).filter((id) => !tested.has(id)),
    [],
  );
  for (const c of cases)
    for (const { facts } of [c.has, c.hasNot]) {
      const checked = checkFacts(JSON.parse(JSON.stringify(facts)));
      assert.ok(checked.ok, `${c.id}: ${JSON.stringify(checked)}`);
    }
});

test("every finding is shown on a running kernel, or is named with the fact that keeps it from there", () => {
  const inVm = new Set([...vmCases.map((c) => c.id), "sysctl-readonly-or-hidden-in-container"]); // live.vm.test.ts
  const shown = new Set([...liveCases.map((c) => c.id), ...inVm]);
  for (const { id } of registry) assert.notEqual(shown.has(id), Object.hasOwn(notLive, id), id);
  for (const id of [...shown, ...Object.keys(notLive)])
    assert.ok(
      registry.some((e) => e.id === id),
      id,
    );
});

test("healthy hosts have no findings: real servers of both methods, director, and both in one box", () => {
  // The same box once it is active: it owns the VIP, and answers.
  const active = edit(director, {}, { realServer: true });
  // And as vipward leaves it: the real server's copy stays on its carrier, and is not answered for.
  const twice = edit(
    active,
    { addresses: [...director.facts.addresses, address("lo", `${VIP}/32`)] },
    { realServer: true },
  );
  const silent = withSysctls(twice, { "eth0.arp_ignore": 1, "eth0.arp_announce": 2 });
  for (const input of [realServer, tunnelServer, director, both, active, silent]) assert.deepEqual(ids(input), []);
  assert.deepEqual(ids(twice), ["director-has-vip-on-lo-too"], "the twin: every interface answers for the copy on lo");
  const small = cluster();
  assert.deepEqual(ids({ ...realServer, cluster: small, self: "web1" }), []);
  assert.deepEqual(ids({ ...director, cluster: small, self: "lb1" }), []);
});

test("every entry of the field catalogue is a finding or is named with why facts cannot show it, and never both", () => {
  const found = new Set(registry.map((e) => e.id));
  assert.equal(catalogue.length, 110);
  for (const [id] of catalogue) assert.notEqual(found.has(id), Object.hasOwn(notFromFacts, id), id);
  const known = new Set(catalogue.map(([id]) => id));
  for (const entry of registry) assert.equal(known.has(entry.id), entry.own !== true, entry.id);
  for (const id of Object.keys(notFromFacts)) assert.ok(known.has(id), id);
  const severity = new Map(catalogue);
  for (const entry of registry) if (!entry.own) assert.equal(entry.severity, severity.get(entry.id), entry.id);
});

test("the checked-in list of ids is that of the catalogue, where the catalogue is at hand", (t) => {
  const file = new URL("../../../shared/doctor-catalogue.md", import.meta.url);
  if (!existsSync(file)) return t.skip("no catalogue beside this checkout");
  const rows = [...readFileSync(file, "utf8").matchAll(/^\| \d+ \| ([a-z0-9-]+) \| (\w+) \|/gm)].map((m) => [
    m[1],
    m[2],
  ]);
  assert.deepEqual(catalogue, rows);
});

test("one cause is one finding: half-set sysctls are not also reported as none", () => {
  assert.deepEqual(ids(withSysctls(realServer, { "lo.arp_ignore": 1, "lo.arp_announce": 2 })), [
    "arp-ignore-only-on-lo",
    "arp-announce-only-on-lo",
  ]);
  assert.deepEqual(ids(withSysctls(realServer, { "default.arp_ignore": 1, "default.arp_announce": 2 })), [
    "arp-sysctl-only-in-default",
  ]);
});

test("4,096 VIPs of one cause are one finding, without asking each with each", () => {
  const vips = Array.from({ length: 4096 }, (_, i) => `10.20.${i >> 8}.${i & 255}`);
  const bare = withSysctls(realServer, {});
  const [home, , rip] = bare.facts.addresses;
  assert.ok(home && rip);
  const input = edit(
    bare,
    { addresses: [home, ...vips.map((v) => address("lo", `${v}/32`)), rip] },
    { vips, services: [] },
  );
  const report = checkHost(input);
  assert.deepEqual(
    report.findings.map((f) => f.id),
    ["rs-answers-vip-by-default", "arp-announce-missing"],
  );
  assert.equal(report.findings[0]?.subject.vips.length, 4096);
  assert.equal(report.vips.length, 1);
});

test("the report says of each VIP what the model says, with its rule", () => {
  const [vip] = checkHost(realServer).vips;
  assert.deepEqual(vip?.vips, [VIP]);
  assert.deepEqual(
    vip?.answers.map((s) => [s.link, s.says, s.rule, s.wrong]),
    [["eth0", "silent", "A-2.6-04", false]],
  );
  assert.deepEqual(
    vip?.announces.map((s) => [s.says, s.rule]),
    [["asks for 10.10.0.1 as 10.10.0.11", "B-2.6-04"]],
  );
  assert.deepEqual(
    vip?.accepts.map((s) => [s.rule, s.wrong]),
    [["C-2.6-01", false]],
  );
});

test("a remedy's lines make the host right: the model agrees once they are done", () => {
  const report = checkHost(withSysctls(realServer, {}));
  const done: Record<string, number> = {};
  for (const f of report.findings)
    for (const line of f.remedy.shell) {
      const [, name, value] = /^sysctl -w net\.ipv4\.conf\.(\S+)=(\d+)$/.exec(line) ?? [];
      if (name !== undefined) done[name] = Number(value);
    }
  assert.deepEqual(ids(withSysctls(realServer, done)), []);
});

test("whatever the ARP sysctls, the remedies' lines end all answers and leaks, by the model's word", () => {
  const value = fc.integer({ min: 0, max: 9 });
  const keys = ["all", "default", "lo", "eth0", "eth1"].flatMap((l) => [`${l}.arp_ignore`, `${l}.arp_announce`]);
  const two = edit(withSysctls(realServer, {}), {
    links: [...realServer.facts.links, link(3, "eth1")],
    addresses: [...realServer.facts.addresses, address("eth1", "10.10.1.11/24")],
  });
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), value), (sysctls) => {
      const found = checkHost(withSysctls(two, sysctls)).findings;
      const done: Record<string, number> = { ...sysctls };
      for (const line of found.flatMap((f) => f.remedy.shell)) {
        const [, name, to] = /^sysctl -w net\.ipv4\.conf\.(\S+)=(\d+)$/.exec(line) ?? [];
        if (name !== undefined) done[name] = Number(to);
      }
      assert.deepEqual(ids(withSysctls(two, done)), []);
    }),
  );
});

test("taking a VIP off the LAN never takes the host's own address along", () => {
  const [home, , rip] = realServer.facts.addresses;
  assert.ok(home && rip);
  const first = edit(realServer, { addresses: [home, address("eth0", `${VIP}/24`), { ...rip, secondary: true }] });
  const lines = checkHost(first).findings.flatMap((f) => f.remedy.shell);
  const taken = lines.indexOf(`ip address del ${VIP}/24 dev eth0`);
  assert.ok(taken > 0);
  assert.equal(lines[taken - 1], "sysctl -w net.ipv4.conf.eth0.promote_secondaries=1");
  const only = edit(realServer, { addresses: [home, rip] }, { vips: ["10.10.0.11"] });
  for (const line of checkHost(only).findings.flatMap((f) => f.remedy.shell))
    assert.doesNotMatch(line, /^ip address del/);
});

test("names from a hostile file never become a command in a remedy", () => {
  const evil = "eth0;reboot";
  const bare = withSysctls(realServer, {});
  const input = edit(bare, {
    links: bare.facts.links.map((l) => (l.name === "eth0" ? { ...l, name: evil } : l)),
    addresses: bare.facts.addresses.map((a) => (a.link === "eth0" ? { ...a, link: evil } : a)),
    routes: [{ dst: "default", via: "10.10.0.1", dev: evil }],
  });
  const lines = checkHost(input).findings.flatMap((f) => f.remedy.shell);
  assert.ok(lines.some((l) => l.includes(evil)));
  for (const line of lines) if (line.includes(evil)) assert.match(line, /^#/);
});

test("docs/findings.md is current (node scripts/findings-docs.mjs)", () => {
  assert.equal(readFileSync(new URL("../../docs/findings.md", import.meta.url), "utf8"), findingsDocument());
});

test("explain knows every finding, every entry facts cannot show, and every rule; a slip gets a suggestion", () => {
  for (const id of explainable()) assert.ok(explain(id).ok, id);
  assert.deepEqual(explain("arp-ignore-only-on-l0"), { ok: false, nearest: "arp-ignore-only-on-lo" });
  assert.ok(explain("a-2.6-03").ok);
});
