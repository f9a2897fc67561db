/** What can be wrong with a server, each in its own words: plain connections from one machine to another. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { readdirSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { ipv4 } from "../../base/ipv4.ts";
import { udpCheck } from "../../machine/health/datagram.ts";
import { bodyLimitOctets, type HttpQuestion, httpCheck } from "../../machine/health/http.ts";
import { tcpCheck } from "../../machine/health/tcp.ts";
import { makeChecks } from "../../testing/checkOnce.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";
import { within } from "../../testing/within.ts";
import { bodyTools } from "./bodyTools.ts";

const server = ipv4("10.9.0.2");
const descriptors = (): number => readdirSync("/proc/self/fd").length;

/** `answer`: what the server does with whoever has sent his request, or has just come. */
async function listen(wires: Wires, on: { request?: (socket: Socket) => void; come?: (socket: Socket) => void }) {
  const open = new Set<Socket>();
  const listener = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    socket.on("error", () => {});
    socket.setNoDelay(true);
    socket.once("data", () => on.request?.(socket));
    on.come?.(socket);
  });
  await new Promise<void>((resolve) => wires.machine("web").run(() => listener.listen(0, resolve)));
  const close = (): Promise<void> => {
    for (const socket of open) socket.destroy();
    return new Promise((resolve) => void listener.close(() => resolve()));
  };
  return { port: (listener.address() as { port: number }).port, close };
}

test("plain connections: refused, silent, unreachable, reset, half-open, slow and big answers", async (t) => {
  if (!needsRoot(t)) return;
  const wires = buildWires(testPrefix("probe"), {
    lb: [
      "address add 10.9.0.1/24 dev eth0",
      "address add 10.8.0.1/32 dev lo",
      "link set eth0 up",
      "route add 10.9.1.0/24 dev eth0 via 10.9.0.2 src 10.8.0.1 onlink",
      "route add 10.9.2.0/24 dev eth0 via 10.9.0.2 onlink",
      "route add unreachable 10.9.3.0/24",
    ],
    // It has no way back to 10.8.0.1, and none to 10.9.2.0/24, which it says.
    web: ["address add 10.9.0.2/24 dev eth0", "address add 10.9.1.1/32 dev lo", "route add unreachable 10.9.2.0/24"],
  });
  const checks = makeChecks((open) => wires.machine("lb").run(open));
  try {
    wires.run("web", "sysctl", "-qw", "net.ipv4.ip_forward=1");
    wires.run("lb", "sysctl", "-qw", "net.ipv4.neigh.eth0.retrans_time_ms=100");
    const tcp = async (address: string, port: number, timeoutMs?: number): Promise<string> => {
      const verdict = await checks.verdict(tcpCheck({ address: ipv4(address), port }), timeoutMs);
      return verdict.up ? "up" : `${verdict.code}: ${verdict.why}`;
    };
    const http = (port: number, more: Partial<HttpQuestion> = {}, timeoutMs?: number): Promise<string> => {
      const question = { address: server, port, path: "/", method: "GET", host: undefined, tls: undefined } as const;
      const body = { bodyRegex: undefined, bodySha256: undefined, status: [{ first: 200, last: 299 }] };
      return checks.check(httpCheck({ ...question, ...body, ...more }, bodyTools), timeoutMs);
    };
    const answering = async (answer: (socket: Socket) => void, ask: (port: number) => Promise<string>) => {
      const { port, close } = await listen(wires, { request: answer });
      try {
        return await ask(port);
      } finally {
        await close();
      }
    };
    const before = descriptors();

    const quiet = await listen(wires, {});
    assert.equal(await tcp("10.9.0.2", quiet.port), "up");
    assert.equal(await http(quiet.port, {}, 300), "http/timeout", "it accepts, and says nothing");
    assert.match(await tcp("10.9.1.1", quiet.port, 300), /^tcp\/timeout: /, "its answers do not come back");
    await quiet.close();

    assert.match(await tcp("10.9.0.2", quiet.port), /^tcp\/refused: /);
    assert.equal(await http(quiet.port), "http/refused");
    assert.match(await tcp("10.9.0.77", 80, 10_000), /^tcp\/error: .*EHOSTUNREACH/, "nobody has that address");
    assert.match(await tcp("10.9.2.1", 80, 10_000), /^tcp\/error: .*EHOSTUNREACH/, "a router says so");
    assert.match(await tcp("10.9.3.1", 80), /^tcp\/error: .*EHOSTUNREACH/, "this host's own route says so");
    assert.match(await tcp("10.7.0.1", 80), /^tcp\/error: .*ENETUNREACH/, "no route at all");

    const greets = await listen(wires, { come: (socket) => socket.end("220 hello\r\n") });
    assert.equal(await tcp("10.9.0.2", greets.port), "up", "what it says is not asked for");
    await greets.close();

    assert.equal(await answering((s) => s.resetAndDestroy(), http), "http/error", "reset after the request");
    assert.equal(await answering((s) => s.end(), http), "http/closed");
    assert.equal(await answering((s) => s.end("HTTP/1.1 200 OK\r\nContent-Le"), http), "http/closed");
    assert.equal(
      await answering(
        (s) => s.write("HTTP/1.1 200 OK\r\n"),
        (p) => http(p, {}, 300),
      ),
      "http/timeout",
    );
    assert.equal(await answering((s) => s.end("HTTP/1.1 200 OK\r\n\r\n"), http), "up: status 200");

    const slowly = (socket: Socket): void => {
      const text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";
      const octets = [...text].values();
      const next = (): void => {
        const octet = octets.next();
        if (octet.done !== true && !socket.destroyed) socket.write(octet.value, () => setTimeout(next, 1));
      };
      next();
    };
    assert.equal(await answering(slowly, (port) => http(port, { bodyRegex: "^ready$" }, 10_000)), "up: status 200");

    const big = Buffer.alloc(bodyLimitOctets, "vipward");
    const whole = { bodySha256: bodyTools.sha256(big) };
    const head = "HTTP/1.1 200 OK\r\n\r\n";
    const sends = (body: Uint8Array) => (socket: Socket) => void socket.end(Buffer.concat([Buffer.from(head), body]));
    assert.equal(await answering(sends(big), (port) => http(port, whole, 10_000)), "up: status 200");
    const endless = Buffer.concat([big, Buffer.alloc(100_000)]);
    const most = await answering(sends(endless), (port) => http(port, whole, 10_000));
    assert.equal(most, "http/body-too-large");

    const path = `/${"x".repeat(3_000_000)}`; // more than a socket takes at once
    let heard = 0;
    const counts = await listen(wires, {
      come: (socket) =>
        void socket.on("data", (octets: Buffer) => {
          heard += octets.length;
          if (octets.includes("\r\n\r\n")) socket.end(head);
        }),
    });
    assert.equal(await http(counts.port, { path }, 10_000), "up: status 200");
    assert.ok(heard > path.length);
    await counts.close();

    const udp = (address: string, port: number, timeoutMs?: number): Promise<string> =>
      checks.check(
        udpCheck({ address: ipv4(address), port, payload: new Uint8Array([1]), requireReply: true }),
        timeoutMs,
      );
    // Its look-up answers at once, so that it binds while this thread is inside.
    const echo = createSocket({ type: "udp4", lookup: (name, _, found) => found(null, name, 4) });
    echo.on("message", (message, from) => echo.send(message, from.port, from.address));
    await new Promise<void>((resolve) => wires.machine("web").run(() => echo.bind(0, "0.0.0.0", resolve)));
    assert.equal(await udp("10.9.0.2", echo.address().port), "up: answered with 1 octets");
    assert.equal(await udp("10.9.1.1", echo.address().port, 300), "udp/timeout");
    await new Promise<void>((resolve) => echo.close(resolve));
    assert.equal(await udp("10.9.0.2", 9), "udp/refused");
    assert.equal(await udp("10.9.3.1", 9), "udp/error");

    await within(5000, () => descriptors() === before, 20);
    assert.equal(descriptors(), before, "every check has closed what it opened");
  } finally {
    checks.close();
    wires.close();
  }
});
