import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { runVectors } from "./vectors.ts";

const file = new URL("../../examples/kernel-vectors-rules.json", import.meta.url);
const document = JSON.parse(readFileSync(file, "utf8"));

test("every vector written from the rules agrees", () => {
  const report = runVectors(document);
  assert.ok(report.total >= 500);
  assert.deepEqual(
    report.cases.filter((c) => !c.ok).map((c) => `${c.id} ${c.fault ?? JSON.stringify(c.differences)}`),
    [],
  );
});

const [good] = document.vectors;
/** The good vector with one place, "event.iface" say, set to a value; undefined takes it away. */
function spoilt(path: string, value: unknown): unknown {
  const copy = structuredClone(good);
  const keys = path.split(".");
  const last = keys.pop() ?? "";
  let place = copy;
  for (const key of keys) place = place[key];
  place[last] = value;
  return JSON.parse(JSON.stringify(copy));
}
const nothing = undefined;
const links = (...names: string[]): unknown =>
  names.map((name) => ({ name, mac: null, up: true, flags: [], addresses: [] }));
const rows: [string, unknown][] = [
  ["kind", nothing],
  ["kind", "arp"],
  ["kind", 3],
  ["kind", "__proto__"],
  ["generation", nothing],
  ["generation", "2.3"],
  ["generation", 6],
  ["kernel", 2.6],
  ["kernel", "six"],
  ["kernel", "linux"],
  ["kernel", {}],
  ["host", nothing],
  ["host", []],
  ["host.interfaces", nothing],
  ["host.interfaces", {}],
  ["host.interfaces", [null]],
  ["host.interfaces", [{}]],
  ["host.interfaces", links("eth0", "eth0")],
  ["host.interfaces.1.name", 5],
  ["host.interfaces.1.mac", "02:00:00"],
  ["host.interfaces.1.mac", 7],
  ["host.interfaces.1.flags", "BROADCAST"],
  ["host.interfaces.1.flags", [7]],
  ["host.interfaces.1.addresses", "10.0.0.1"],
  ["host.interfaces.1.addresses", [{}]],
  ["host.interfaces.1.addresses", ["10.0.0.1/24"]],
  ["host.interfaces.1.addresses.0.ip", "10.0.0"],
  ["host.interfaces.1.addresses.0.plen", 33],
  ["host.interfaces.1.addresses.0.plen", -1],
  ["host.interfaces.1.addresses.0.plen", "long"],
  ["host.interfaces.1.addresses.0.scope", "galaxy"],
  ["host.interfaces.1.addresses.0.peer", "nobody"],
  ["host.routes", { dst: "default" }],
  ["host.routes", [{ dev: "eth0" }]],
  ["host.routes", [{ dst: "10.0.0.0/8", dev: "eth9" }]],
  ["host.routes", [{ dst: "10.0.0.0/8", dev: "eth0", type: "magic" }]],
  ["host.routes", [{ dst: "10.0.0.0/8", via: "x", dev: "eth0" }]],
  ["host.rules", [{ pref: "first" }]],
  ["host.rules", [{ pref: 5, from: "10.0.0.0/99", table: 7 }]],
  ["host.sysctl", 7],
  ["host.sysctl", { "all.arp_ignore": "much" }],
  ["host.sysctl", { "all.arp_ignore": 1.5 }],
  ["host.sysctl", { "all.arp_ignore": null }],
  ["host.filters", [{}]],
  ["host.filters", [{ tool: "pf", chain: "INPUT", target: "DROP" }]],
  ["host.filters", [{ tool: "arptables", chain: "SIDEWAYS", target: "DROP" }]],
  ["host.filters", [{ tool: "arptables", chain: "INPUT" }]],
  ["host.published", [{ ip: "2001:db8::1" }]],
  ["host.published", [{ ip: "2001:db8::zz", dev: "eth0" }]],
  ["host.published", [{ ip: "10.0.0.1", dev: "eth9" }]],
  ["event", nothing],
  ["event", null],
  ["event", "who-has"],
  ["event.iface", nothing],
  ["event.iface", "eth9"],
  ["event.iface", 0],
  ["event.spa", nothing],
  ["event.spa", 167772161],
  ["event.tpa", "10.0.0.256"],
  ["event.tpa", "2001:db8::1"],
  ["event.sha", "zz:00:00:00:00:00"],
  ["event.op", "who-has"],
  ["event.frame", "carrier pigeon"],
  ["expect", nothing],
  ["expect", null],
  ["expect", ["reply"]],
];
for (const [path, value] of rows)
  test(`a vector with ${path} ${value === nothing ? "missing" : JSON.stringify(value).slice(0, 60)} fails with its reason`, () => {
    const [c] = runVectors([spoilt(path, value)]).cases;
    assert.ok(c && !c.ok && c.fault !== undefined, JSON.stringify(c));
    assert.ok(c.fault.length > 5);
    assert.doesNotMatch(c.fault, /the model failed/, "a reason in words, not an exception that slipped through");
  });
