import type { SimHost } from "./host.ts";
import { Task } from "./task.ts";

/** Wakes a machine at its deadline, on its host's clock. */
export class Loop {
  readonly #host: SimHost;
  readonly #deadlineMs: () => number;
  readonly #tick: (nowMs: number) => void;
  #armed: Task | undefined;
  #armedAtUs = Number.POSITIVE_INFINITY;
  #ended = false;

  constructor(host: SimHost, deadlineMs: () => number, tick: (nowMs: number) => void) {
    this.#host = host;
    this.#deadlineMs = deadlineMs;
    this.#tick = tick;
  }

  /** The machine is no more: what was armed comes to nothing, also where its host lives again by then. */
  end(): void {
    this.#ended = true;
    this.#armed = undefined;
  }

  arm(): void {
    if (this.#ended) return;
    const deadlineMs = this.#deadlineMs();
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const waitUs = Math.max(1, Math.ceil(deadlineMs * 1000 - this.#host.clockUs));
    if (this.#armed !== undefined && this.#armedAtUs <= this.#host.lan.nowUs + waitUs) return;
    const task = new Task(() => {
      if (this.#armed !== task) return; // an earlier one was set since
      this.#armed = undefined;
      // one that comes early, for a deadline that has moved since, does no harm
      this.#tick(this.#host.clockUs / 1000);
      this.arm();
    });
    this.#armed = task;
    this.#armedAtUs = this.#host.after(waitUs, task);
  }
}
