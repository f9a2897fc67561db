/** Workers of a lab: started, asked, ended; an error inside one becomes a rejection here. */
import { Worker } from "node:worker_threads";

export class LabWorker<Request, Reply extends { readonly kind: string }> {
  readonly #worker: Worker;
  readonly #waiting: { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void }[] = [];
  readonly #begun: Promise<void>;
  #failure: Error | undefined;

  constructor(module: URL, workerData: unknown) {
    this.#worker = new Worker(module, { workerData, name: module.pathname.split("/").at(-1) ?? "worker" });
    this.#begun = new Promise((resolve) => {
      for (const sign of ["message", "error", "exit"] as const) this.#worker.once(sign, () => resolve());
    });
    this.#worker.on("message", (reply: Reply & { readonly message?: string }) => {
      if (reply.kind === "failed") this.#fail(new Error(reply.message ?? "a lab worker failed"));
      else this.#waiting.shift()?.resolve(reply);
    });
    this.#worker.on("error", (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    this.#worker.on("exit", (code) => this.#fail(new Error(`a lab worker ended (${code})`)));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }

  /** The next reply that the worker sends. */
  next(): Promise<Reply> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  ask(request: Request): Promise<Reply> {
    const reply = this.next();
    this.#worker.postMessage(request);
    return reply;
  }

  async end(): Promise<void> {
    this.#failure ??= new Error("the lab has ended");
    await this.#begun; // a thread that is stopped while it loads its native module takes the process with it (SIGABRT)
    await this.#worker.terminate();
  }
}
