/** Services by udp in a scenario: forwarded, checked, and lost when they should be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterOfText, tellScenario } from "../../testing/scenarios.ts";
import { specOf } from "../spec.ts";

const file = (faults: string, change: (text: string) => string = (text) => text): string =>
  change(`version: 1
name: names
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2 }
realServers: { ns1: 10.10.0.21, ns2: 10.10.0.22 }
vips: { dns: 10.10.0.101 }
policy: arp-sysctl
services:
  - name: dns
    protocol: udp
    port: 53
    scheduler: rr
    onePacket: true
    health: { type: dns, name: example.com, recordType: A, expect: 192.0.2.1 }
lab:
  scenario: { seconds: 60, faults: [${faults}] }
`);

const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((a, b) => a + b, 0);

for (const method of ["dr", "tun"] as const)
  test(`by ${method}: every question is answered, the servers take turns`, async () => {
    const tun = (text: string): string => text.replace("onePacket: true", "onePacket: true\n    forwarding: tun");
    const { datagrams, timeline, breaches } = await tellScenario(file("", method === "tun" ? tun : undefined), {
      method,
    });
    assert.ok(datagrams !== undefined && datagrams.asked > 100);
    assert.equal(datagrams.answered, datagrams.asked, JSON.stringify(timeline));
    assert.ok(Math.abs((datagrams.takenBy.ns1 ?? 0) - (datagrams.takenBy.ns2 ?? 0)) <= 1);
    assert.deepEqual(breaches, []);
  });

test("a dead server's questions are lost until the DNS check has missed it, and no longer", async () => {
  const { datagrams, timeline } = await tellScenario(file("{ at: 10, do: crash, host: ns2 }"));
  assert.ok(datagrams !== undefined);
  const lost = datagrams.asked - datagrams.answered;
  // three checks of one second, two seconds apart, at four questions a second, half of them ns2's
  assert.ok(lost >= 6 && lost <= 24, `${lost} of ${datagrams.asked} lost`);
  const told = timeline.map((t) => t.text);
  assert.ok(told.includes("lb1: dns ns2: dns: no answer within 1000 ms"), told.join("\n"));
  assert.equal(datagrams.answered, sum(datagrams.takenBy));
});

test("a server that lost the VIP takes no question: its check, by its own address, sees nothing wrong", async () => {
  const { datagrams, breaches } = await tellScenario(file("{ at: 10, do: remove-vip, host: ns2 }"));
  assert.ok(datagrams !== undefined);
  assert.ok(datagrams.asked - datagrams.answered > 40, JSON.stringify(datagrams));
  assert.deepEqual(
    breaches.map((b) => `${b.law} ${b.host}`),
    ["acceptance ns2"],
  );
});

test("without silence a client asks the servers directly", async () => {
  const text = file("").replace("policy: arp-sysctl", "policy: noarp-carrier");
  const o = await tellScenario(text, { silenced: false });
  assert.ok((o.owners["10.10.0.101"] ?? []).length === 3);
});

test("the lab's story speaks tcp alone", () => {
  assert.match(String(specOf(clusterOfText(file("")), "dr")), /no tcp service/);
});
