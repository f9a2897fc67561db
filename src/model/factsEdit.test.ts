import assert from "node:assert/strict";
import { test } from "node:test";
import { addressFacts, sketchFacts, whoHas } from "../testing/modelHosts.ts";
import { answerArp } from "./answerArp.ts";
import { compileHost } from "./compileHost.ts";
import type { HostFacts } from "./facts.ts";
import { kernelRoutes, withAddress, withoutAddress } from "./factsEdit.ts";

/** The same host with every route written out, as netlink would give it. */
const written = (facts: HostFacts): HostFacts => ({
  ...facts,
  routesGiven: "all",
  routes: facts.links.flatMap((l) => kernelRoutes(facts, l.name)),
});
const list = (facts: HostFacts, link = "eth0"): string[] =>
  facts.addresses
    .filter((a) => a.link === link)
    .map((a) => `${a.ip}/${a.prefixLength}${a.secondary ? " secondary" : ""}`);
const value = (result: ReturnType<typeof withAddress>): HostFacts =>
  result.ok ? result.value : assert.fail(result.why);

test("a second address of a prefix becomes secondary and goes to the end; others come by falling scope", () => {
  let facts = sketchFacts({ eth0: ["10.0.0.11/24"] });
  for (const a of ["10.0.0.12/24", "10.7.0.1/24", "10.9.0.1/24 host", "10.8.0.1/24 link"])
    facts = value(withAddress(facts, addressFacts("eth0", a)));
  assert.deepEqual(list(facts), [
    "10.9.0.1/24",
    "10.8.0.1/24",
    "10.0.0.11/24",
    "10.7.0.1/24",
    "10.0.0.12/24 secondary",
  ]);
});

test("what the kernel refuses is refused", () => {
  const facts = sketchFacts({ eth0: ["10.0.0.11/24"] });
  assert.match(JSON.stringify(withAddress(facts, addressFacts("eth0", "10.0.0.11/24"))), /already/);
  assert.match(JSON.stringify(withAddress(facts, addressFacts("eth0", "10.0.0.12/24 host"))), /another scope/);
  assert.match(JSON.stringify(withAddress(facts, addressFacts("eth9", "10.0.0.12/24"))), /no link/);
  assert.match(JSON.stringify(withoutAddress(facts, "eth0", "10.0.0.12", 24)), /no address/);
});

test("with the primary go its secondaries, unless they are promoted", () => {
  const facts = sketchFacts({ eth0: ["10.0.0.11/24", "10.0.0.12/24 secondary", "10.0.0.13/24 secondary"] });
  assert.deepEqual(list(value(withoutAddress(facts, "eth0", "10.0.0.11", 24))), []);
  const promoting = { ...facts, sysctls: { "all.promote_secondaries": 1 } };
  assert.deepEqual(list(value(withoutAddress(promoting, "eth0", "10.0.0.11", 24))), [
    "10.0.0.12/24",
    "10.0.0.13/24 secondary",
  ]);
});

test("routes follow where all are given: the VIP is answered after adding, silent after removing, and all is as before", () => {
  const before = written(sketchFacts());
  const added = value(withAddress(before, addressFacts("lo", "10.0.0.100/32")));
  assert.equal(answerArp(compileHost(before), whoHas("10.0.0.100")).kind, "silent");
  assert.equal(answerArp(compileHost(added), whoHas("10.0.0.100")).kind, "reply");
  assert.deepEqual(value(withoutAddress(added, "lo", "10.0.0.100", 32)), before);
});

test("written out or derived, routes mean the same", () => {
  const facts = sketchFacts({ lo: ["10.0.0.100/24"], eth1: ["10.0.1.11/24"] });
  for (const target of ["10.0.0.11", "10.0.0.77", "10.0.0.255", "10.0.1.11", "10.0.1.9"])
    assert.deepEqual(
      answerArp(compileHost(written(facts)), whoHas(target)),
      answerArp(compileHost(facts), whoHas(target)),
      target,
    );
});
