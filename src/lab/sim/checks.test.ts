/** Every kind of health check on the simulator: good while the server answers, bad once it is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tellScenario } from "../../testing/scenarios.ts";

const kinds: readonly (readonly [check: string, protocol?: "udp"])[] = [
  ["vip-path"],
  ["tcp"],
  ["{ type: http, path: /healthz, status: 204, bodyRegex: '^nothing that a simulated server says$' }"],
  ["{ type: https, verify: true, bodySha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 }"],
  ["{ type: tls, minimumDaysLeft: 14 }"],
  ["icmp"],
  ["{ type: dns, name: example.com, recordType: MX, expect: mail.example.com }", "udp"],
  ["{ type: udp, payloadHex: 00ff, requireReply: true }", "udp"],
];
for (const [check, protocol = "tcp"] of kinds)
  test(`${check}: in service while it answers, out of it after a crash`, async () => {
    const { timeline } = await tellScenario(`version: 1
name: checked
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2 }
realServers: { web1: 10.10.0.11, web2: 10.10.0.12 }
vips: { web: 10.10.0.100 }
policy: arp-sysctl
services: [{ name: it, protocol: ${protocol}, port: 443, health: ${check} }]
lab: { scenario: { seconds: 30, faults: [{ at: 5, do: crash, host: web2 }] } }
`);
    const told = timeline.map((t) => t.text);
    assert.equal(told[0], "lb1 holds 10.10.0.100; in service: web1, web2");
    assert.ok(
      told.some((text) => text.startsWith("lb1: it web2: ")),
      told.join("\n"),
    );
    assert.ok(!told.some((text) => text.startsWith("lb1: it web1: ")), told.join("\n"));
  });
