/** Long connections for tests: one thread in each namespace that serves or asks. */
import { Worker } from "node:worker_threads";
import type { Namespace } from "../host/namespace.ts";
import type { FromLine, ToLine } from "./lineThread.ts";

type Order<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

/** One open connection. */
export interface Line {
  /** Who answers on it; undefined: nobody, or it broke. */
  say(): Promise<string | undefined>;
  end(): Promise<void>;
}

export class LineThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (said: string | undefined) => void>();
  #next = 1;

  private constructor(namespace: Namespace, name: string) {
    const workerData = { namespace: namespace.name, name };
    this.#worker = new Worker(new URL("./lineThread.js", import.meta.url), { workerData });
    this.#worker.on("message", ({ id, said }: FromLine) => {
      this.#waiting.get(id)?.(said);
      this.#waiting.delete(id);
    });
  }
  static async start(namespace: Namespace, name: string): Promise<LineThread> {
    const thread = new LineThread(namespace, name);
    await new Promise((resolve, reject) => {
      thread.#waiting.set(0, resolve);
      thread.#worker.once("error", reject);
    });
    return thread;
  }
  #order(order: Order<ToLine>): { readonly id: number; readonly said: Promise<string | undefined> } {
    const id = this.#next++;
    const said = new Promise<string | undefined>((resolve) => this.#waiting.set(id, resolve));
    this.#worker.postMessage({ ...order, id });
    return { id, said };
  }
  serve(port: number): Promise<string | undefined> {
    return this.#order({ kind: "serve", port }).said;
  }
  serveDatagrams(address: string, port: number): Promise<string | undefined> {
    return this.#order({ kind: "serveDatagrams", address, port }).said;
  }
  /** An open connection; undefined when there is none to be had. */
  async open(address: string, port: number, from?: string): Promise<Line | undefined> {
    const { id, said } = this.#order({ kind: "open", address, port, from });
    if ((await said) === undefined) return undefined;
    return {
      say: () => this.#order({ kind: "say", on: id, patienceMs: 5_000 }).said,
      end: async () => void (await this.#order({ kind: "end", on: id }).said),
    };
  }
  /** What a client meets at a port where servers speak first: their word, "refused" or "silence". */
  async knock(address: string, port: number): Promise<string | undefined> {
    return this.#order({ kind: "knock", address, port, patienceMs: 3_000 }).said;
  }
  /** Who answers so many datagrams that one socket sends one after the other; "-" for one without an answer. */
  async ask(address: string, port: number, times: number): Promise<string[]> {
    const said = await this.#order({ kind: "ask", address, port, times, patienceMs: 3_000 }).said;
    return (said ?? "").split(" ");
  }
  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
