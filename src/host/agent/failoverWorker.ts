/** Failover in a thread of its own, so that checks, netlink dumps and garbage of the agent never delay an advert. */
import { Worker } from "node:worker_threads";
import type { FailoverConfig } from "../../agent/failoverConfig.ts";
import type { FailoverEvent } from "../../ports/failover.ts";
import { HostError } from "../errors.ts";
import { keepYoungHeapSmall } from "../youngHeap.ts";
import type { FailoverStatus, FromFailover, ToFailover } from "./failoverMessages.ts";

export interface FailoverHandlers {
  readonly onEvent: (event: FailoverEvent) => void;
  /** Links of the host that came up or went down; all of them at the start. */
  readonly onLinks: (up: readonly (readonly [string, boolean])[]) => void;
  /** The thread broke: nobody sends adverts now. */
  readonly onError: (error: unknown) => void;
}

export class FailoverWorker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  #nextId = 1;
  #ready: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #stopped: (() => void) | undefined;
  #ended = false;

  private constructor(config: FailoverConfig, handlers: FailoverHandlers) {
    this.#worker = new Worker(new URL("./failoverThread.js", import.meta.url), { workerData: config });
    this.#worker.on("message", (message: FromFailover) => this.#take(message, handlers));
    this.#worker.on("error", (error) => this.#broke(error, handlers));
    this.#worker.on("exit", () => {
      this.#ended = true;
      this.#stopped?.();
      for (const { reject } of this.#waiting.values()) reject(new Error("the failover thread has ended"));
      this.#waiting.clear();
    });
  }

  /** Resolves when every socket is open and the machines run. Errors: those of the sockets, with the remedy. */
  static async start(config: FailoverConfig, handlers: FailoverHandlers): Promise<FailoverWorker> {
    const worker = new FailoverWorker(config, handlers);
    await new Promise<void>((resolve, reject) => {
      worker.#ready = { resolve, reject };
    });
    worker.#ready = undefined;
    keepYoungHeapSmall();
    return worker;
  }

  #broke(error: unknown, handlers: FailoverHandlers): void {
    if (this.#ready !== undefined) this.#ready.reject(error);
    else handlers.onError(error);
  }
  #take(message: FromFailover, handlers: FailoverHandlers): void {
    switch (message.kind) {
      case "ready":
        this.#ready?.resolve();
        return;
      case "event":
        handlers.onEvent(message.event);
        return;
      case "links":
        handlers.onLinks(message.up);
        return;
      case "answer":
      case "refused": {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.kind === "answer") waiting?.resolve(message.value as never);
        else waiting?.reject(new Error(message.why));
        return;
      }
      case "stopped":
        this.#stopped?.();
        return;
      case "failed":
        this.#broke(new HostError(message.code, message.message, { remedy: message.remedy }), handlers);
    }
  }
  #post(message: ToFailover): void {
    if (!this.#ended) this.#worker.postMessage(message);
  }
  #ask<T>(make: (id: number) => ToFailover): Promise<T> {
    if (this.#ended) return Promise.reject(new Error("the failover thread has ended"));
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#post(make(id));
    });
  }

  reload(config: FailoverConfig): void {
    this.#post({ kind: "reload", config });
  }
  track(instance: string, priorityDelta: number, fault: string | undefined): void {
    this.#post({ kind: "track", instance, priorityDelta, fault });
  }
  /** Names of the instances that were handed over. */
  switchOver(instance: string | undefined): Promise<readonly string[]> {
    return this.#ask((id) => ({ kind: "switchOver", id, instance }));
  }
  release(): Promise<readonly string[]> {
    return this.#ask((id) => ({ kind: "release", id }));
  }
  status(): Promise<FailoverStatus> {
    return this.#ask((id) => ({ kind: "status", id }));
  }
  /** Hands over, and ends the thread when the successor was heard or its time is over. */
  stop(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#stopped = resolve;
      this.#post({ kind: "stop" });
    });
  }
}
