import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { selfSigned } from "../../testing/certificate.ts";
import { HostError } from "../errors.ts";
import { Doors } from "./doors.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-doors-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
const day = 86_400_000;
const pair = () => selfSigned("localhost", new Date(Date.now() - day), new Date(Date.now() + day));
const file = (name: string): string => join(folder, name);
const write = (name: string, text: string): void => writeFileSync(file(name), text, { mode: 0o600 });
const files = { tokenFile: file("token"), certificateFile: file("cert.pem"), keyFile: file("key.pem") };

const metricsAt = (port: number): Promise<string> =>
  fetch(`http://127.0.0.1:${port}/metrics`, { headers: { connection: "close" } }).then(
    (r) => r.text(),
    () => "closed",
  );
const statusAt = (port: number, ca: string, token: string): Promise<number | string> =>
  new Promise((resolve) => {
    const to = { host: "127.0.0.1", port, ca, servername: "localhost", agent: false, path: "/v1/status" };
    const asking = request({ ...to, headers: { authorization: `Bearer ${token}` } }, (r) => {
      r.resume();
      resolve(r.statusCode ?? 0);
    });
    asking.on("error", () => resolve("closed"));
    asking.end();
  });
const doorsOf = (): Doors =>
  new Doors(
    () => Promise.resolve("a 1\n"),
    () => Promise.resolve({ ok: true, value: "fine" }),
  );

test("metrics: opened, moved and closed by the next file; a file that is dropped changes nothing", async () => {
  const doors = doorsOf();
  const [one, two] = [await freePort(), await freePort()];
  const seen = async (): Promise<string[]> => Promise.all([metricsAt(one), metricsAt(two)]);
  (await doors.prepare({ metrics: `127.0.0.1:${one}` })).keep();
  assert.deepEqual(await seen(), ["a 1\n", "closed"]);
  const dropped = await doors.prepare({ metrics: `127.0.0.1:${two}` });
  assert.deepEqual(await seen(), ["a 1\n", "a 1\n"]);
  dropped.drop();
  assert.deepEqual(await seen(), ["a 1\n", "closed"]);
  const kept = await doors.prepare({ metrics: `127.0.0.1:${two}` });
  kept.keep();
  kept.drop();
  assert.deepEqual(await seen(), ["closed", "a 1\n"]);
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(one, "127.0.0.1", resolve));
  await assert.rejects(doors.prepare({ metrics: `127.0.0.1:${one}` }), (e) => e instanceof HostError);
  taken.close();
  assert.equal(await metricsAt(two), "a 1\n");
  (await doors.prepare({})).keep();
  assert.deepEqual(await seen(), ["closed", "closed"]);
  doors.close();
});

test("https: another token and another certificate count from the next file on, bad ones change nothing", async () => {
  const doors = doorsOf();
  const port = await freePort();
  const https = { listen: `127.0.0.1:${port}`, ...files };
  const [first, second] = [pair(), pair()];
  const put = (token: string, { cert, key }: { readonly cert: string; readonly key: string }): void => {
    write("token", token);
    write("cert.pem", cert);
    write("key.pem", key);
  };
  const [old, fresh] = ["the-first-token-of-all", "the-second-token-of-all"];
  put(old, first);
  (await doors.prepare({ https })).keep();
  assert.equal(await statusAt(port, first.cert, old), 200);
  put(fresh, second);
  const ready = await doors.prepare({ https });
  assert.equal(await statusAt(port, first.cert, old), 200, "not before it is kept");
  ready.keep();
  assert.deepEqual(
    [
      await statusAt(port, second.cert, old),
      await statusAt(port, second.cert, fresh),
      await statusAt(port, first.cert, fresh),
    ],
    [401, 200, "closed"],
  );
  for (const spoil of [() => write("token", "short"), () => put(old, { cert: "nonsense", key: second.key })]) {
    spoil();
    await assert.rejects(doors.prepare({ https }), (e) => e instanceof HostError);
    assert.equal(await statusAt(port, second.cert, fresh), 200);
  }
  doors.close();
  assert.equal(await statusAt(port, second.cert, fresh), "closed");
});
