import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext, createServer as createTls } from "node:tls";
import { ipv4 } from "../../base/ipv4.ts";
import { icmpCheck, udpCheck } from "../../machine/health/datagram.ts";
import { dnsCheck } from "../../machine/health/dns.ts";
import { execCheck } from "../../machine/health/exec.ts";
import { httpCheck } from "../../machine/health/http.ts";
import type { ProbeEvent } from "../../machine/health/probe.ts";
import { tcpCheck } from "../../machine/health/tcp.ts";
import { tlsCheck } from "../../machine/health/tls.ts";
import { selfSigned } from "../../testing/certificate.ts";
import { makeChecks } from "../../testing/checkOnce.ts";
import { bodyTools } from "./bodyTools.ts";
import { accountOf, ProbeSockets } from "./probeSockets.ts";

const checks = makeChecks();
after(() => checks.close());
const { check } = checks;
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
  const http = () => httpCheck({ ...question, ...none }, bodyTools);
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

const dayMs = 86_400_000;
const inDays = (days: number): Date => new Date(Date.now() + days * dayMs);

/** A TLS server with a certificate for each name, and for those who name nobody; it says whom it was asked for. */
async function tlsServer(): Promise<{ port: number; close(): Promise<void> }> {
  const contexts = new Map(
    [
      ["fresh.test", -1, 30],
      ["stale.test", -30, -1],
      ["soon.test", -1, 3],
      ["later.test", 1, 30],
    ].map(([name, from, to]) => {
      const pair = selfSigned(String(name), inDays(Number(from)), inDays(Number(to)));
      return [String(name), createSecureContext(pair)] as const;
    }),
  );
  const fallback = selfSigned("nobody.test", inDays(-1), inDays(30));
  const server = createTls({
    ...fallback,
    SNICallback: (name, done) => done(null, contexts.get(name)),
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    socket.once("data", (octets) => {
      const host = /^host: (.*)\r$/im.exec(octets.toString())?.[1];
      const body = `sni ${(socket as { servername?: string | false }).servername || "none"} host ${host}`;
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
    });
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

test("https: name in the handshake and virtual host are two things, the body counts by digest or by pattern", async () => {
  const server = await tlsServer();
  const ask = (more: Partial<Parameters<typeof httpCheck>[0]>, sni: string | undefined, verify = false) =>
    check(
      httpCheck(
        {
          ...{ address: localhost, port: server.port, path: "/", method: "GET", host: "shop.test" },
          ...{ bodyRegex: undefined, bodySha256: undefined, status: [{ first: 200, last: 299 }] },
          tls: { sni, verify },
          ...more,
        },
        bodyTools,
      ),
    );
  const said = `sni fresh.test host shop.test:${server.port}`;
  assert.match(await ask({ bodyRegex: `^${said}$` }, "fresh.test"), /^up: /);
  assert.equal(await ask({ bodyRegex: "host other" }, "fresh.test"), "http/body");
  assert.match(await ask({ bodySha256: bodyTools.sha256(Buffer.from(said)) }, "fresh.test"), /^up: /);
  assert.equal(await ask({ bodySha256: bodyTools.sha256(Buffer.from("another")) }, "fresh.test"), "http/digest");
  assert.match(await ask({ bodyRegex: `sni none host 127.0.0.1:${server.port}`, host: undefined }, undefined), /^up: /);
  assert.equal(await ask({}, "fresh.test", true), "http/error", "nobody signed that certificate");
  await server.close();
});

test("tls: a certificate that is good, ends soon, has ended, or has not begun", async () => {
  const server = await tlsServer();
  const ask = (sni: string, minimumDaysLeft = 7, verify = false) =>
    check(tlsCheck({ address: localhost, port: server.port, sni, verify, minimumDaysLeft }));
  assert.match(await ask("fresh.test"), /^up: the certificate is valid for (29|30) days$/);
  assert.equal(await ask("soon.test"), "tls/expires-soon");
  assert.match(await ask("soon.test", 1), /^up: /);
  assert.equal(await ask("stale.test"), "tls/expired");
  assert.equal(await ask("later.test"), "tls/not-yet-valid");
  assert.equal(await ask("fresh.test", 7, true), "tls/error");
  await server.close();
  assert.equal(await ask("fresh.test"), "tls/refused");
});

test("dns: an answer counts by its code and what it holds; another's id counts for nothing", async () => {
  const server = createSocket("udp4");
  let code = 0;
  let strangeId = 0;
  server.on("message", (question, from) => {
    const answer = Buffer.concat([
      question,
      Buffer.from("c00c000100010000003c0004c0000207", "hex"), // the name asked for, A, IN, 60 s, 192.0.2.7
    ]);
    answer.writeUInt16BE((question.readUInt16BE(0) + strangeId) & 0xffff, 0);
    answer.writeUInt16BE(0x8180 | code, 2);
    answer.writeUInt16BE(1, 6);
    server.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const ask = (expect: string | undefined, timeoutMs = 2000) =>
    check(dnsCheck({ address: localhost, port, name: "www.test", recordType: "A", expect }), timeoutMs);
  assert.match(await ask(undefined), /^up: /);
  assert.match(await ask("192.0.2.7"), /^up: /);
  assert.equal(await ask("192.0.2.8"), "dns/answer");
  code = 2;
  assert.equal(await ask(undefined), "dns/rcode");
  code = 0;
  strangeId = 1;
  assert.equal(await ask(undefined, 300), "dns/timeout");
  await new Promise<void>((resolve) => server.close(resolve));
  assert.equal(await ask(undefined), "dns/refused");
});

test("icmp: this host answers itself", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("not root: a raw socket cannot be opened");
  assert.match(await check(icmpCheck({ address: localhost })), /^up: /);
});

const isRoot = process.getuid?.() === 0;
/** Who a check may run as here. */
const user = isRoot
  ? "nobody"
  : (/^([^:]*):[^:]*:(\d+)/gm[Symbol.matchAll](readFileSync("/etc/passwd", "utf8")) as Iterable<RegExpMatchArray>)
      [Symbol.iterator]()
      .next().value?.[1];

/** Processes of this machine whose arguments hold a word. */
const running = (word: string): number =>
  readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(word);
    } catch {
      return false; // it has ended meanwhile
    }
  }).length;

test("exec: status, output bounded, a command that hangs is killed with what it started", async (t) => {
  if (user === undefined || accountOf(user) === undefined) return t.skip(`this host has no user ${user}`);
  const run = (...command: string[]) => check(execCheck({ command, user, environment: {} }));
  assert.equal(await run("/bin/echo", "fine"), "up: status 0: fine");
  assert.equal(await run("/bin/sh", "-c", "exit 3"), "exec/status");
  assert.equal(await run("/no/such/thing"), "exec/error");
  const seconds = `100.${process.pid}`;
  const hangs = execCheck({ command: ["/bin/sh", "-c", `sleep ${seconds} & sleep ${seconds}`], user, environment: {} });
  assert.equal(await check(hangs, 300), "exec/timeout");
  for (let i = 0; i < 100 && running(seconds) > 0; i++) await sleep(20);
  assert.equal(running(seconds), 0, "what it started is still there");
  if (isRoot) assert.match(await run("/usr/bin/id", "-un"), /nobody/);
  const told = execCheck({
    command: ["/usr/bin/printenv", "VIPWARD_RIP"],
    user,
    environment: { VIPWARD_RIP: "10.0.0.11" },
  });
  assert.equal(await check(told), "up: status 0: 10.0.0.11");
  assert.equal(await check(execCheck({ command: ["/bin/true"], user: "no-such-user", environment: {} })), "exec/error");
});

test("exec: a command that never ran is told from one that failed", async (t) => {
  if (user === undefined || accountOf(user) === undefined) return t.skip(`this host has no user ${user}`);
  const first = (command: readonly string[], user: string): Promise<ProbeEvent> =>
    new Promise((resolve) => {
      const sockets = new ProbeSockets({
        toNeighbour: () => {},
        onEvent: (_, event) => {
          sockets.close();
          resolve(event);
        },
      });
      sockets.perform(1, { kind: "run", command, user, environment: {} });
    });
  assert.deepEqual(await first(["/no/such/thing"], user), { kind: "failed", error: "ENOENT", notBegun: true });
  assert.deepEqual(await first(["/etc/passwd"], user), { kind: "failed", error: "EACCES", notBegun: true });
  const unknown = await first(["/bin/true"], "no-such-user");
  assert.deepEqual(unknown, { kind: "failed", error: "there is no user no-such-user", notBegun: true });
  assert.equal((await first(["/bin/true"], user)).kind, "exited");
});

test("exec: who prints gigabytes is stopped early, and costs no memory", async (t) => {
  if (user === undefined || accountOf(user) === undefined) return t.skip(`this host has no user ${user}`);
  const before = process.memoryUsage().rss;
  const startMs = performance.now();
  const word = `printed-by-${process.pid}`;
  assert.equal(
    await check(execCheck({ command: ["/usr/bin/yes", word], user, environment: {} }), 30_000),
    "exec/error",
  );
  assert.ok(performance.now() - startMs < 25_000, "it was not the time limit that ended it");
  for (let i = 0; i < 100 && running(word) > 0; i++) await sleep(20);
  assert.equal(running(word), 0);
  assert.ok(process.memoryUsage().rss - before < 64 * 1_048_576);
});

test("exec: nothing runs as root, whatever its account is called", async (t) => {
  const root = readFileSync("/etc/passwd", "utf8").match(/^([^:]+):[^:]*:0:/m)?.[1];
  if (root === undefined) return t.skip("this host has no account with the number 0");
  assert.equal(await check(execCheck({ command: ["/bin/true"], user: root, environment: {} })), "exec/error");
});

test("accounts are read as passwd(5) has them", () => {
  assert.deepEqual(accountOf("a", "b:x:1:2::/:\na:x:65534:65533:c:/:/bin/sh\n"), { uid: 65534, gid: 65533 });
  assert.equal(accountOf("c", "a:x:1:1\n"), undefined);
});
