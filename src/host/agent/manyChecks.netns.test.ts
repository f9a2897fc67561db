/** 10,000 checks over real sockets: a server on loopback, each check to an address of its own. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Health } from "../../agent/health.ts";
import { type Ipv4, ipv4FromNumber } from "../../base/ipv4.ts";
import { parseCluster } from "../../cluster/index.ts";
import { attemptsLimitOf, ProbeSockets } from "./probeSockets.ts";

const checks = 10_000;
const toLoopback = (address: Ipv4): Ipv4 => ipv4FromNumber((address & 0xff_ffff) + 127 * 2 ** 24);
const intervalMs = 8_000;

test("10,000 checks are all made within their interval, over few sockets at a time", async (t) => {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    socket.on("error", () => {});
    socket.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", 4096, resolve));
  const { port } = server.address() as { port: number };
  const list = Array.from({ length: checks }, (_, i) => `w${i}: 10.1.${Math.floor(i / 250)}.${1 + (i % 250)}`);
  const read = parseCluster(`version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/8 } }
directors: { lb1: 10.0.0.2 }
realServers: { ${list.join(", ")} }
vips: { web: 10.0.0.100 }
health: { type: tcp, port: ${port}, intervalMs: ${intervalMs}, timeoutMs: 8000, rise: 1, fall: 1 }
services: [{ name: s, vip: web, port: 80 }]
`);
  if (!read.ok) assert.fail(JSON.stringify(read.problems.slice(0, 3)));
  const sockets = new ProbeSockets({
    onEvent: (attempt, event) => health.event(attempt, event, performance.now()),
    toNeighbour: () => {},
  });
  const downs: string[] = [];
  const health: Health = new Health({
    // A cluster file takes no loopback addresses: 10.1.2.3 is asked at 127.1.2.3.
    ports: {
      perform(attempt, action) {
        const isConnect = action.kind === "connect";
        sockets.perform(attempt, isConnect ? { ...action, address: toLoopback(action.address) } : action);
      },
    },
    random: Math.random,
    sha256: () => "",
    matches: () => true,
    dipFor: () => 0 as never,
    attemptsLimit: attemptsLimitOf(),
    report: (event) => event.kind !== "server" || event.to === "up" || downs.push(event.reason),
  });
  health.load(read.cluster.services, performance.now());
  let most = 0;
  const up = (): number => health.view(performance.now())[0]?.servers.filter((one) => one.health === "up").length ?? 0;
  try {
    const endMs = performance.now() + 150_000; // on a machine that has nothing else to do it takes one interval
    for (let looked = 0; performance.now() < endMs; looked++) {
      health.tick(performance.now());
      most = Math.max(most, health.underWay);
      await sleep(1);
      if (looked % 200 === 0 && up() === checks) break;
    }
    t.diagnostic(`${accepted} connections; at most ${most} checks under way, of ${attemptsLimitOf()} allowed`);
    assert.equal(up(), checks);
    assert.deepEqual(downs, []);
    assert.ok(most <= attemptsLimitOf());
    await sleep(300);
    const descriptors = readdirSync("/proc/self/fd").length;
    assert.ok(descriptors < 500 + most, `${descriptors} descriptors are still open`);
  } finally {
    sockets.close();
    await new Promise((resolve) => server.close(resolve));
  }
});

test("how many checks may be under way follows from what may be open", () => {
  const limits = (soft: string): string =>
    `Max file size  unlimited  unlimited  bytes\nMax open files            ${soft}   4096   files\n`;
  assert.equal(attemptsLimitOf(limits("1024")), 192);
  assert.equal(attemptsLimitOf(limits("65536")), 4000);
  assert.equal(attemptsLimitOf(limits("unlimited")), 4000);
  assert.equal(attemptsLimitOf(limits("64")), 16);
});
