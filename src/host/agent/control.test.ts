import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { StampedEvent } from "../../agent/status.ts";
import { HostError } from "../errors.ts";
import { askAgent, type ControlAnswer, listenControl, listenMetrics, parseRequest } from "./control.ts";
import { EventJournal } from "./eventJournal.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-control-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const echo = (request: { readonly command: string }): Promise<ControlAnswer> => {
  if (request.command === "throw") throw new HostError("x/y", "no", { remedy: "another way" });
  return Promise.resolve({ ok: true, value: request });
};

test("a request is answered, an error is an answer too, and the socket is the owner's alone", async () => {
  const path = join(folder, "a", "one.sock");
  const server = await listenControl(path, async (request) => echo(request));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(await askAgent(path, { command: "status" }), { ok: true, value: { command: "status" } });
  const refused = await askAgent(path, { command: "throw" });
  assert.deepEqual(refused, { ok: false, error: { message: "no", remedy: "another way" } });
  server.close();
  assert.equal(existsSync(path), false);
});

test("one agent on a socket: a living one is not pushed aside, a dead one's file is", async () => {
  const path = join(folder, "two.sock");
  const server = await listenControl(path, echo);
  await assert.rejects(listenControl(path, echo), (e) => e instanceof HostError && e.code === "control/busy");
  server.close();
  const again = await listenControl(path, echo);
  again.close();
  await assert.rejects(
    askAgent(path, { command: "status" }),
    (e) => e instanceof HostError && e.code === "control/missing",
  );
});

test("a socket's path that is somebody's file is an error, and stays as it is", async () => {
  const path = join(folder, "precious.txt");
  writeFileSync(path, "keep me");
  await assert.rejects(
    listenControl(path, echo),
    (e) => e instanceof HostError && e.code === "control/usage" && e.remedy.includes("--socket"),
  );
  assert.equal(readFileSync(path, "utf8"), "keep me");
});

test("what follows an answer is heard until the listener leaves", async () => {
  const path = join(folder, "three.sock");
  let left = 0;
  const server = await listenControl(path, () =>
    Promise.resolve({
      ok: true,
      value: [],
      follow: (say: (value: unknown) => boolean) => {
        const timer = setInterval(() => say("tick"), 5);
        return () => {
          clearInterval(timer);
          left++;
        };
      },
    }),
  );
  const ending = new AbortController();
  const heard: unknown[] = [];
  await askAgent(
    path,
    { command: "events" },
    {
      signal: ending.signal,
      onMore(value) {
        heard.push(value);
        if (heard.length === 3) ending.abort();
      },
    },
  ).catch(() => {});
  while (left === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(heard.slice(0, 3), ["tick", "tick", "tick"]);
  server.close();
});

test("many questions under one signal leave nothing behind on it", async () => {
  const path = join(folder, "five.sock");
  const server = await listenControl(path, echo);
  const { signal } = new AbortController();
  for (let i = 0; i < 12; i++) await askAgent(path, { command: "status" }, { signal });
  await assert.rejects(askAgent(join(folder, "nobody.sock"), { command: "status" }, { signal }));
  await new Promise((resolve) => setTimeout(resolve, 50)); // the last connection closes after its answer
  assert.deepEqual(getEventListeners(signal, "abort"), []);
  server.close();
});

test("nonsense and endless lines do no harm", async () => {
  for (const text of ["", "[]", "null", '"x"', "{}", '{"command":1}', "{"]) assert.equal(parseRequest(text), undefined);
  const path = join(folder, "four.sock");
  const server = await listenControl(path, echo);
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(path, () => socket.write("nonsense\n"));
    socket.on("data", (octets) => {
      resolve(octets.toString());
      socket.destroy();
    });
  });
  assert.match(answer, /"ok":false/);
  await new Promise<void>((resolve) => {
    const socket = connect(path, () => socket.write("x".repeat(200_000)));
    socket.on("error", () => {});
    socket.on("close", () => resolve());
  });
  assert.equal((await askAgent(path, { command: "status" })).ok, true);
  server.close();
});

test("metrics are at /metrics and nowhere else", async () => {
  const server = await listenMetrics("127.0.0.1:39112", () => Promise.resolve("a 1\n"));
  assert.equal(await (await fetch("http://127.0.0.1:39112/metrics")).text(), "a 1\n");
  assert.equal((await fetch("http://127.0.0.1:39112/status")).status, 404);
  server.close();
});

const event = (sequence: number): StampedEvent => ({
  at: "2026-01-01T00:00:00.000Z",
  sequence,
  level: "info",
  code: "test/x",
  subject: "s",
  text: "x".repeat(100),
});

test("the journal stays below its size, and gives back the last events after a restart", () => {
  const place = join(folder, "journal");
  const journal = new EventJournal(place, 20_000);
  for (let i = 1; i <= 1000; i++) journal.append(event(i));
  journal.close();
  const size = ["events.jsonl", "events.1.jsonl"].reduce((sum, f) => sum + statSync(join(place, f)).size, 0);
  assert.ok(size <= 20_000, `${size}`);
  const last = new EventJournal(place, 20_000).last(20);
  assert.deepEqual(
    last.map((e) => e.sequence),
    Array.from({ length: 20 }, (_, i) => 981 + i),
  );
  assert.ok(readFileSync(join(place, "events.jsonl"), "utf8").endsWith("\n"));
});

test("after a line that power or a full disk cut short the next event is a line of its own", () => {
  const place = join(folder, "torn");
  const before = new EventJournal(place, 20_000);
  before.append(event(1));
  before.close();
  appendFileSync(join(place, "events.jsonl"), '{"at":"","sequence":2,"lev');
  const journal = new EventJournal(place, 20_000);
  journal.append(event(3));
  journal.append(event(4));
  journal.close();
  assert.equal(journal.lost, 0);
  assert.deepEqual(
    journal.last(10).map((e) => e.sequence),
    [1, 3, 4],
  );
  assert.doesNotMatch(readFileSync(join(place, "events.jsonl"), "utf8"), /\n\n/);
});

test("a disk that takes nothing loses events and nothing else", () => {
  const journal = new EventJournal("/dev/null/nowhere", 20_000);
  journal.append(event(1));
  assert.equal(journal.lost, 1);
  assert.deepEqual(journal.last(5), []);
});
