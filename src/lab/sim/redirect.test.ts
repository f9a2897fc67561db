/** `lab.redirectPort`: the policy redirect takes that one port, by tcp and by udp, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tellScenario } from "../../testing/scenarios.ts";

/** Checks by the real servers' own addresses see nothing of what is done with the VIP. */
const file = (kernel: string, redirectPort: string): string => `version: 1
name: redirect
networks: { lan: { prefix: 10.10.0.0/24, router: 10.10.0.1 } }
directors: { lb1: 10.10.0.2 }
realServers:
  web1: { rip: 10.10.0.11, kernel: "${kernel}", policy: redirect }
  web2: { rip: 10.10.0.12, kernel: "${kernel}", policy: redirect }
vips: { web: 10.10.0.100 }
services:
  - { name: http, vip: web, port: 80, health: tcp }
  - { name: alt, vip: web, port: 8080, health: tcp }
  - { name: names, vip: web, port: 53, protocol: udp, health: icmp }
lab: { scenario: { seconds: 30, longLived: 2 }${redirectPort} }
`;

for (const kernel of ["2.2.16", "2.4.20", "6.18.0"]) {
  const told = async (redirectPort: string) => {
    const { connections, datagrams, breaches } = await tellScenario(file(kernel, redirectPort));
    const { total, completed, refused } = connections;
    const broken = breaches.map((b) => `${b.law} ${b.host}`);
    assert.ok(total > 60 && datagrams !== undefined && datagrams.asked > 60);
    return { completed: completed / total, refused: refused / total, answered: datagrams.answered > 0, broken };
  };
  const notAll = ["acceptance web1", "acceptance web2"];

  test(`${kernel}: without it every port is taken, by tcp and by udp`, async () => {
    assert.deepEqual(await told(""), { completed: 1, refused: 0, answered: true, broken: [] });
  });
  test(`${kernel}: one port is taken, and no other`, async () => {
    assert.deepEqual(await told(", redirectPort: 80"), {
      completed: 0.5,
      refused: 0.5,
      answered: false,
      broken: notAll,
    });
    assert.deepEqual(await told(", redirectPort: 53"), { completed: 0, refused: 1, answered: true, broken: notAll });
  });
  test(`${kernel}: a port of no service leaves nobody served`, async () => {
    assert.deepEqual(await told(", redirectPort: 9999"), { completed: 0, refused: 1, answered: false, broken: notAll });
  });
}
