/**
 * The client's machine: a worker that lives in the client's namespace, so that plain node:net connects from there.
 * Speaks HTTP/1.1 with keep-alive over sockets of its own, because what matters here is what becomes of each TCP
 * connection, which an HTTP client library would hide (it retries on a new one).
 */
import { connect } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { Namespace } from "../../host/namespace.ts";
import {
  type ConnectionResult,
  isError,
  type Outcome,
  type TrafficPlan,
  type TrafficResult,
  type TrafficTarget,
} from "../traffic.ts";

export interface ClientWorkerData {
  readonly namespace: string;
}
export type ClientWorkerReply =
  | { readonly kind: "ready" }
  | { readonly kind: "done"; readonly result: TrafficResult }
  | { readonly kind: "failed"; readonly message: string };

const port = parentPort;
if (port === null) throw new Error("clientWorker runs as a worker only");
const reply = (message: ClientWorkerReply): void => port.postMessage(message);

new Namespace((workerData as ClientWorkerData).namespace).enter();

/** One connection: asks until `untilMs` (or once), then closes. Never rejects: the outcome is the answer. */
function converse(
  plan: TrafficPlan,
  kind: "long" | "short",
  target: TrafficTarget,
  from: string,
  untilMs: number,
): Promise<ConnectionResult> {
  return new Promise((resolve) => {
    let answers = 0;
    let errors = 0;
    let sourcePort = 0;
    let received = "";
    let asked = false;
    const servedBy: string[] = [];
    const socket = connect({ host: target.vip, port: target.port, localAddress: from, noDelay: true });
    let patience: NodeJS.Timeout | undefined;

    const end = (outcome: Outcome): void => {
      clearTimeout(patience);
      socket.removeAllListeners();
      socket.on("error", () => {}); // what comes after the verdict is no news
      if (outcome === "completed") socket.end();
      else socket.destroy();
      resolve({ kind, target, source: `${from}:${sourcePort}`, outcome, answers, errors, servedBy });
    };
    const wait = (): void => {
      clearTimeout(patience);
      patience = setTimeout(() => end(sourcePort === 0 ? "refused" : "hang"), plan.patienceMs);
    };
    const ask = (): void => {
      received = "";
      asked = true;
      wait();
      socket.write(`GET / HTTP/1.1\r\nHost: ${target.vip}\r\nConnection: keep-alive\r\n\r\n`);
    };

    wait();
    socket.on("connect", () => {
      sourcePort = socket.localPort ?? 0;
      ask();
    });
    socket.on("data", (octets) => {
      received += octets.toString("latin1");
      const head = received.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(received)?.[1] ?? "0");
      if (received.length < head + 4 + length) return;
      clearTimeout(patience);
      asked = false;
      answers += 1;
      if (isError(received)) errors += 1;
      const server = /x-served-by: (\S+)/i.exec(received)?.[1] ?? "?";
      if (servedBy.at(-1) !== server) servedBy.push(server);
      if (kind === "short" || performance.now() + plan.pauseMs >= untilMs) end("completed");
      else setTimeout(() => (socket.destroyed ? undefined : ask()), plan.pauseMs);
    });
    // a server that closes in good order, while nothing is asked of it, has not broken anything
    socket.on("end", () => end(asked ? "reset" : "completed"));
    // ECONNRESET: it had come about, even where a busy machine has not said so yet
    socket.on("error", ({ code }: NodeJS.ErrnoException) =>
      end(sourcePort === 0 && code !== "ECONNRESET" ? "refused" : "reset"),
    );
  });
}

async function run(plan: TrafficPlan): Promise<TrafficResult> {
  const startMs = performance.now();
  const untilMs = startMs + plan.durationMs;
  const start = (kind: "long" | "short", i: number): Promise<ConnectionResult> => {
    const target = plan.targets[i % plan.targets.length];
    const from = plan.from[Math.floor(i / plan.targets.length) % plan.from.length];
    if (target === undefined || from === undefined) throw new RangeError("traffic needs a client and a service");
    return converse(plan, kind, target, from, untilMs);
  };
  const conversations: Promise<ConnectionResult>[] = [];
  for (let i = 0; i < plan.longLived; i++) {
    conversations.push(start("long", i));
    if (i % 8 === 7) await pause(1); // arrivals spread a little, as those of people are
  }
  for (let i = 0; i < plan.shortLived; i++) {
    const dueMs = startMs + (i * plan.durationMs) / plan.shortLived;
    const earlyMs = dueMs - performance.now();
    if (earlyMs > 0) await pause(earlyMs);
    conversations.push(start("short", i));
  }
  const connections = await Promise.all(conversations);
  return { connections, tookMs: performance.now() - startMs };
}

port.on("message", (plan: TrafficPlan) => {
  run(plan).then(
    (result) => reply({ kind: "done", result }),
    (error: unknown) => reply({ kind: "failed", message: String(error) }),
  );
});
reply({ kind: "ready" });
