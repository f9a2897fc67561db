/**
 * Clients that talk to the VIP all the time: each opens a connection, says two lines with pauses around them, hears each
 * repeated by the same server, and closes; then the next. Some never close. Started as a worker; says what became of it
 * when it is asked.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { Namespace } from "../host/namespace.ts";
import { onLines } from "./lines.ts";

export interface LoadPlan {
  readonly namespace: string;
  readonly vip: string;
  readonly port: number;
  /** Clients at a time that open and close, and those that keep their connection. */
  readonly short: number;
  readonly long: number;
  /** Each pause is drawn from 0 to this. */
  readonly pauseMs: number;
  readonly patienceMs: number;
}
export interface LoadReport {
  readonly connections: number;
  readonly requests: number;
  readonly failures: readonly string[];
  readonly slowestMs: number;
}

const port = parentPort;
if (port === null) throw new Error("loadThread runs as a worker only");
const plan = workerData as LoadPlan;
new Namespace(plan.namespace).enter();

let connections = 0;
let requests = 0;
let slowestMs = 0;
let failures: string[] = [];
let stopping = false;
const pause = (): Promise<void> => sleep(Math.random() * plan.pauseMs);

/** One connection; each line is waited for no longer than the plan's patience. */
class Talk {
  readonly #socket: Socket;
  #take: (line: string) => void = () => {};
  #fail: (why: string) => void = () => {};
  /** What came while nobody waited. */
  readonly #lines: string[] = [];
  #why: string | undefined;

  constructor() {
    this.#socket = connect({ host: plan.vip, port: plan.port, noDelay: true });
    const end = (why: string): void => {
      this.#why ??= why;
      this.#fail(why);
    };
    this.#socket.on("error", (e: NodeJS.ErrnoException) => end(e.code ?? e.message));
    this.#socket.on("close", () => end("closed"));
    onLines(this.#socket, (line) => {
      this.#lines.push(line);
      this.#take(line);
    });
  }
  get from(): string {
    return `${this.#socket.localPort ?? "unconnected"}`;
  }
  async line(what: string): Promise<string> {
    const startedAtMs = performance.now();
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const fail = (why: string): void => reject(new Error(`${what}: ${why}`));
        if (this.#lines.length > 0) resolve();
        else if (this.#why !== undefined) fail(this.#why);
        this.#take = () => resolve();
        this.#fail = fail;
        timer = setTimeout(() => fail(`nothing in ${plan.patienceMs} ms`), plan.patienceMs);
      });
    } finally {
      clearTimeout(timer);
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedAtMs);
    return this.#lines.shift() ?? "";
  }
  async request(text: string, name: string): Promise<void> {
    this.#socket.write(`${text}\n`);
    const answer = await this.line(text);
    if (answer !== `${name} ${text}`) throw new Error(`"${answer}" is no answer of ${name} to "${text}"`);
    requests++;
  }
  close(): void {
    this.#socket.destroy();
  }
}

async function client(keeps: boolean): Promise<void> {
  for (let round = 0; !stopping; round++) {
    const atMs = performance.timeOrigin + performance.now();
    const talk = new Talk();
    connections++;
    try {
      const name = await talk.line("connect");
      do {
        await pause();
        await talk.request(`first ${round}`, name);
        await pause();
        await talk.request(`second ${round}`, name);
      } while (keeps && !stopping);
    } catch (error) {
      const when = new Date(atMs).toISOString();
      failures.push(`${keeps ? "long" : "short"} from port ${talk.from}, begun ${when}: ${(error as Error).message}`);
    } finally {
      talk.close();
    }
  }
}
for (let i = 0; i < plan.short + plan.long; i++) void client(i >= plan.short);

port.on("message", (message: "report" | "stop") => {
  if (message === "stop") stopping = true;
  const report: LoadReport = { connections, requests, failures, slowestMs };
  port.postMessage(report);
  [connections, requests, slowestMs, failures] = [0, 0, 0, []];
});
port.postMessage("ready");
