import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, get as plainGet } from "node:http";
import { type RequestOptions, request } from "node:https";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect as tlsConnect } from "node:tls";
import { selfSigned } from "../../testing/certificate.ts";
import { HostError } from "../errors.ts";
import { type ControlAnswer, type ControlRequest, listenHttps, listenMetrics } from "./control.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-https-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);
const write = (name: string, text: string, mode = 0o600): string => {
  writeFileSync(path(name), text);
  chmodSync(path(name), mode);
  return path(name);
};
const day = 86_400_000;
const { cert, key } = selfSigned("localhost", new Date(Date.now() - day), new Date(Date.now() + day));
const token = "a-token-of-more-than-sixteen";
const files = {
  tokenFile: write("token", `${token}\n`),
  certificateFile: write("cert.pem", cert),
  keyFile: write("key.pem", key),
};

/** A port that is free now. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

const asked: ControlRequest[] = [];
let followers = 0;
const handle = (asking: ControlRequest): Promise<ControlAnswer> => {
  asked.push(asking);
  if (asking.command !== "events") return Promise.resolve({ ok: asking.command !== "refuse", value: asking.command });
  const follow = (say: (value: unknown) => boolean): (() => void) => {
    followers++;
    const timer = setInterval(() => say({ code: "tick" }), 5);
    return () => {
      followers--;
      clearInterval(timer);
    };
  };
  return Promise.resolve({ ok: true, value: [], follow });
};

let port = 0;
let server: { close(): void };
before(async () => {
  port = await freePort();
  server = await listenHttps({ listen: `127.0.0.1:${port}`, ...files }, handle);
});
after(() => server?.close());

function ask(options: RequestOptions, body?: string): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const asking = request(
      { host: "127.0.0.1", port, ca: cert, servername: "localhost", agent: false, ...options },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (piece) => (text += String(piece)));
        response.on("end", () => resolve({ status: response.statusCode, text }));
      },
    );
    asking.on("error", reject);
    asking.end(body);
  });
}
const bearer = (word: string): RequestOptions => ({ headers: { authorization: `Bearer ${word}` } });
const right = bearer(token);

test("without the token nothing is answered, and nothing is asked of the agent", async () => {
  asked.length = 0;
  for (const options of [
    {},
    bearer("another-token-of-more-than-sixteen"),
    bearer(token.slice(0, -1)),
    bearer(`${token}x`),
    bearer(""),
    { headers: { authorization: token } },
    { headers: { authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` } },
    { headers: { authorization: `Bearer ${"x".repeat(5000)}` } },
  ]) {
    const { status, text } = await ask({ path: "/v1/status", ...options });
    assert.equal(status, 401, JSON.stringify(options));
    assert.equal(text, "");
  }
  assert.deepEqual(asked, []);
});

test("with it: status, commands with their bodies, refusals, nonsense", async () => {
  assert.deepEqual(await ask({ path: "/v1/status", ...right }), {
    status: 200,
    text: '{"ok":true,"value":"status"}\n',
  });
  const drain = JSON.stringify({ command: "drain", server: "web1" });
  assert.equal((await ask({ path: "/v1", method: "POST", ...right }, drain)).status, 200);
  assert.deepEqual(asked.at(-1), { command: "drain", server: "web1" });
  assert.equal((await ask({ path: "/v1", method: "POST", ...right }, '{"command":"refuse"}')).status, 409);
  for (const [method, where, body] of [
    ["POST", "/v1", "nonsense"],
    ["POST", "/v1", "x".repeat(100_000)],
    ["GET", "/v1/drain", undefined],
    ["GET", "/", undefined],
    ["DELETE", "/v1", undefined],
  ] as const)
    assert.equal((await ask({ path: where, method, ...right }, body)).status, 400, `${method} ${where}`);
});

test("events are a stream, which ends for the agent when the listener leaves", async () => {
  const lines = await new Promise<string[]>((resolve, reject) => {
    let text = "";
    const asking = request(
      { host: "127.0.0.1", port, ca: cert, servername: "localhost", path: "/v1/events", ...right },
      (response) => {
        response.on("error", () => {}); // we leave in the middle
        response.on("data", (piece) => {
          text += String(piece);
          if (text.split("\n").length < 5) return;
          asking.destroy();
          resolve(text.split("\n"));
        });
      },
    );
    asking.on("error", reject);
    asking.end();
  });
  assert.equal(lines[0], '{"ok":true,"value":[]}');
  assert.equal(lines[1], '{"code":"tick"}');
  while (followers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

/** As many as any of the two limits takes and more, from eight addresses, that open a connection and say nothing. */
async function amongStrangers(to: number, body: () => Promise<void>): Promise<void> {
  const strangers = Array.from({ length: 160 }, (_, i) =>
    connect({ port: to, host: "127.0.0.1", localAddress: `127.0.0.${2 + (i % 8)}` }).on("error", () => {}),
  );
  try {
    await Promise.all(strangers.map((s) => once(s, "connect").catch(() => {})));
    await body();
  } finally {
    for (const s of strangers) s.destroy();
  }
}

test("who opens connections and says nothing closes the door to nobody, and ends no stream", async () => {
  const asking = request({ host: "127.0.0.1", port, ca: cert, servername: "localhost", path: "/v1/events", ...right });
  asking.end();
  const [stream] = (await once(asking, "response")) as [IncomingMessage];
  await amongStrangers(port, async () => {
    for (let i = 0; i < 3; i++) assert.equal((await ask({ path: "/v1/status", ...right })).status, 200);
    await once(stream, "data");
    await once(stream, "data");
  });
  const crowd = Array.from({ length: 64 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await Promise.all(crowd.map((s) => once(s, "connect").catch(() => {})));
  assert.equal((await ask({ path: "/v1/status", ...right })).status, 200, "from the same address as all of them");
  assert.equal(stream.destroyed, false);
  for (const s of crowd) s.destroy();
  stream.on("error", () => {}).destroy();
  while (followers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("nor does it close /metrics", async () => {
  const free = await freePort();
  const metrics = await listenMetrics(`127.0.0.1:${free}`, () => Promise.resolve("a 1\n"));
  try {
    await amongStrangers(free, async () => {
      assert.equal(await (await fetch(`http://127.0.0.1:${free}/metrics`)).text(), "a 1\n");
    });
  } finally {
    metrics.close();
  }
});

test("TLS alone, 1.2 or later: plain HTTP is not answered", async () => {
  const answer = await new Promise<string>((resolve) => {
    const asking = plainGet({ host: "127.0.0.1", port, path: "/v1/status", ...right }, () => resolve("answered"));
    asking.on("error", () => resolve("refused"));
  });
  assert.equal(answer, "refused");
  const old = await new Promise<string>((resolve) => {
    const options = { maxVersion: "TLSv1.1", minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    const socket = tlsConnect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options }, () =>
      resolve("taken"),
    );
    socket.on("error", () => resolve("refused"));
  });
  assert.equal(old, "refused");
});

test("a token that is none, or that everybody may read, opens nothing", async () => {
  const listen = `127.0.0.1:${await freePort()}`;
  const refused = (tokenFile: string): Promise<void> =>
    assert.rejects(
      listenHttps({ listen, ...files, tokenFile }, handle),
      (e) => e instanceof HostError && ["control/token", "control/ENOENT"].includes(e.code),
    );
  await refused(write("empty", ""));
  await refused(write("blank", " \n"));
  await refused(write("short", "secret"));
  await refused(write("words", "two words of a token that is long"));
  await refused(write("open", token, 0o644));
  await refused(path("missing"));
});
