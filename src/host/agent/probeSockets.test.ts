import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { after, test } from "node:test";
import { ipv4 } from "../../base/ipv4.ts";
import { udpCheck } from "../../machine/health/datagram.ts";
import { execCheck } from "../../machine/health/exec.ts";
import { httpCheck } from "../../machine/health/http.ts";
import { type Checker, type Probe, startProbe, stepProbe } from "../../machine/health/probe.ts";
import { tcpCheck } from "../../machine/health/tcp.ts";
import type { ProbeAction } from "../../ports/probes.ts";
import { accountOf, ProbeSockets } from "./probeSockets.ts";

const probes = new Map<number, { probe: Probe<never>; done: (probe: Probe<never>) => void }>();
const sockets = new ProbeSockets({
  toNeighbour: () => {},
  onEvent(attempt, event) {
    const running = probes.get(attempt);
    if (running === undefined) return;
    const step = stepProbe(running.probe, event, performance.now());
    running.probe = step.probe;
    for (const effect of step.effects) sockets.perform(attempt, effect as ProbeAction);
    if (step.probe.verdict !== undefined) running.done(step.probe);
  },
});
after(() => sockets.close());
let next = 1;

/** One attempt to its end. */
async function check<S>(checker: Checker<S>, timeoutMs = 2000): Promise<string> {
  const attempt = next++;
  const step = startProbe(checker, timeoutMs, 12345, performance.now());
  const probe = await new Promise<Probe<never>>((resolve) => {
    probes.set(attempt, { probe: step.probe as unknown as Probe<never>, done: resolve });
    for (const effect of step.effects) sockets.perform(attempt, effect as ProbeAction);
    setTimeout(() => {
      const running = probes.get(attempt);
      if (running === undefined || running.probe.verdict !== undefined) return;
      const late = stepProbe(running.probe, { kind: "tick" }, performance.now() + 10);
      for (const effect of late.effects) sockets.perform(attempt, effect as ProbeAction);
      resolve(late.probe);
    }, timeoutMs);
  });
  const { verdict } = probe;
  return verdict?.up === true ? `up: ${verdict.why}` : `${verdict?.code}`;
}
const localhost = ipv4("127.0.0.1");

test("tcp: a listener is up, a closed port is refused", async () => {
  const server = createServer((s) => s.on("error", () => {}));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  assert.equal(await check(tcpCheck({ address: localhost, port })), "up: connected");
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await check(tcpCheck({ address: localhost, port })), "tcp/refused");
});

test("http: the status counts, and a server that says nothing is timed out", async () => {
  let answer: string | undefined = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  const server = createServer((s) => {
    s.on("error", () => {});
    s.on("data", () => answer !== undefined && s.write(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const question = { address: localhost, port, path: "/", method: "GET", host: undefined, tls: undefined } as const;
  const none = { bodyRegex: undefined, bodySha256: undefined, status: [{ first: 200, last: 299 }] };
  const http = () => httpCheck({ ...question, ...none }, { sha256: () => "" });
  assert.equal(await check(http()), "up: status 200");
  answer = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
  assert.equal(await check(http()), "http/status");
  answer = undefined;
  assert.equal(await check(http(), 300), "http/timeout");
  await new Promise((resolve) => server.close(resolve));
});

test("udp: an answer is up, a closed port says so by ICMP", async () => {
  const server = createSocket("udp4");
  server.on("message", (message, from) => server.send(message, from.port, from.address));
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const question = { address: localhost, port, payload: new Uint8Array([1, 2]), requireReply: true };
  assert.equal(await check(udpCheck(question)), "up: answered with 2 octets");
  await new Promise<void>((resolve) => server.close(resolve));
  assert.equal(await check(udpCheck(question)), "udp/refused");
});

const user = process.getuid?.() === 0 ? "nobody" : "root";

test("exec: status, output bounded, a command that hangs is killed with what it started", async (t) => {
  if (accountOf(user) === undefined) return t.skip(`this host has no user ${user}`);
  assert.equal(await check(execCheck({ command: ["/bin/echo", "fine"], user })), "up: status 0: fine");
  assert.equal(await check(execCheck({ command: ["/bin/sh", "-c", "exit 3"], user })), "exec/status");
  assert.equal(await check(execCheck({ command: ["/no/such/thing"], user })), "exec/error");
  assert.equal(
    await check(execCheck({ command: ["/bin/sh", "-c", "sleep 100 & sleep 100"], user }), 300),
    "exec/timeout",
  );
  assert.equal(await check(execCheck({ command: ["/bin/sh", "-c", "yes"], user }), 300), "exec/timeout");
  if (user === "nobody") assert.match(await check(execCheck({ command: ["/usr/bin/id", "-un"], user })), /nobody/);
  assert.equal(await check(execCheck({ command: ["/bin/true"], user: "no-such-user" })), "exec/error");
});

test("accounts are read as passwd(5) has them", () => {
  assert.deepEqual(accountOf("a", "b:x:1:2::/:\na:x:65534:65533:c:/:/bin/sh\n"), { uid: 65534, gid: 65533 });
  assert.equal(accountOf("c", "a:x:1:1\n"), undefined);
});
