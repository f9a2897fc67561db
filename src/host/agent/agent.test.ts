import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { AgentStatus } from "../../agent/status.ts";
import { parseCluster } from "../../cluster/index.ts";
import { Agent, type AgentOptions, type ReloadCause } from "./agent.ts";
import { askAgent } from "./control.ts";

const text = `version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: 10.0.0.2 }
realServers: { web1: 10.0.0.11 }
vips: { web: 10.0.0.100 }
services: [{ vip: web, port: 80 }]
`;

/** An agent of a real server, whose file is `file`, while `body` lasts. */
async function withAgent(
  body: (agent: {
    readonly file: { now: ReturnType<AgentOptions["readFile"]> };
    readonly told: readonly string[];
    readonly reload: (cause: ReloadCause) => void;
    readonly ask: (request: Parameters<typeof askAgent>[1]) => Promise<unknown>;
    readonly status: () => Promise<AgentStatus>;
  }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vipward-agent-"));
  const socket = join(folder, "socket");
  const told: string[] = [];
  const file: { now: ReturnType<AgentOptions["readFile"]> } = { now: { ok: true, value: text } };
  const end = new AbortController();
  let running: Promise<void> | undefined;
  try {
    const reload = await new Promise<(cause: ReloadCause) => void>((resolve, reject) => {
      const agent = new Agent({
        readFile: () => file.now,
        clusterOf: (source) => {
          const read = parseCluster(source, { fileName: "test.yaml" });
          return read.ok ? { ok: true, value: read.cluster } : { ok: false, why: "not a cluster file" };
        },
        as: "web1",
        socket,
        stateDir: folder,
        log: (event) => void told.push(event.code),
        applySilence: async () => ({ state: "silent", text: "silent" }),
        silenceEveryMs: 60_000,
        clearOnStop: false,
        signal: end.signal,
        onReloadWish: (wish) => {
          resolve(wish);
          return () => {};
        },
      });
      running = agent.run();
      running.catch(reject);
    });
    const ask = async (request: Parameters<typeof askAgent>[1]): Promise<unknown> => {
      const answer = await askAgent(socket, request);
      assert.ok(answer.ok);
      return answer.value;
    };
    const status = async (): Promise<AgentStatus> => (await ask({ command: "status" })) as AgentStatus;
    await body({ file, told, reload, ask, status });
  } finally {
    end.abort();
    await running;
    rmSync(folder, { recursive: true, force: true });
  }
}

test("a file that could not be read for a moment, and is as it was again, is an error no more", () =>
  withAgent(async ({ file, told, reload, status }) => {
    file.now = { ok: false, why: "no such file" };
    reload("file");
    assert.equal((await status()).configuration.error, "no such file");
    file.now = { ok: true, value: text };
    reload("file");
    assert.equal((await status()).configuration.error, undefined);
    assert.deepEqual(told.slice(-2), ["agent/reload-refused", "agent/reloaded"]);
  }));

test("the twin: a file that was refused stays so, and its change, noticed later, is not refused once more", () =>
  withAgent(async ({ file, told, reload, status }) => {
    file.now = { ok: true, value: "nothing" };
    reload("asked");
    reload("file");
    assert.equal((await status()).configuration.error, "not a cluster file");
    assert.equal(told.filter((code) => code === "agent/reload-refused").length, 1);
  }));

test("a reload opens and closes /metrics as the file asks, and one that cannot be opened refuses the file", () =>
  withAgent(async ({ file, ask, told, status }) => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const page = (): Promise<string> =>
      fetch(`http://127.0.0.1:${port}/metrics`, { headers: { connection: "close" } }).then(
        (r) => r.text(),
        () => "closed",
      );
    file.now = { ok: true, value: `${text}agent: { metrics: "127.0.0.1:${port}", socket: /another }\n` };
    await assert.rejects(ask({ command: "reload" }));
    assert.match((await status()).configuration.error ?? "", /EADDRINUSE/);
    await new Promise((resolve) => taken.close(resolve));
    assert.match(JSON.stringify(await ask({ command: "reload" })), /nothing to change/);
    assert.match(await page(), /^vipward_up_seconds/m);
    file.now = { ok: true, value: text };
    await ask({ command: "reload" });
    assert.equal(await page(), "closed");
    assert.deepEqual(told.slice(-3), ["agent/reload-refused", "agent/reloaded", "agent/reloaded"]);
  }));

test("as many of the past events as were asked for, none too", () =>
  withAgent(async ({ ask, status }) => {
    const { events } = await status();
    assert.ok(events.length > 1);
    for (const last of [0, 1, 1000]) {
      const seen = (await ask({ command: "events", last })) as unknown[];
      assert.deepEqual(seen.slice(-1), last === 0 ? [] : events.slice(-1));
      assert.ok(seen.length <= last);
    }
  }));
