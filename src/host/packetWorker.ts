/**
 * Packet sockets in a thread of their own: a flood costs that thread, not the event loop of this one.
 *
 * Frames come in batches, each two buffers that change hands without a copy. The thread may be at most `CREDIT` batches
 * ahead; then it stops fetching, the kernel's buffer fills, and what is lost is counted in the statistics. So a slow
 * reader costs bounded memory, and knows what it missed.
 */
import { Worker } from "node:worker_threads";
import type { Instruction } from "../wire/packetFilter.ts";
import { HostError } from "./errors.ts";
import type { PacketStatistics, ReceivedFrame } from "./packetSocket.ts";

/** Batches under way before the thread waits for an acknowledgement. */
export const CREDIT = 32;

export interface CaptureSocket {
  readonly interface?: string;
  /** Name of the namespace that holds the interface; the one of the calling thread when absent. */
  readonly namespace?: string;
  readonly filter?: readonly Instruction[];
  readonly promiscuous?: boolean;
  readonly outgoing?: boolean;
  readonly receiveBufferOctets?: number;
  /** The part of each frame that is kept; 256 unless said. */
  readonly longestFrameOctets?: number;
}

/** A frame, and which of the capture's sockets it came from (index). */
export interface CapturedFrame extends ReceivedFrame {
  readonly socket: number;
}

export interface CaptureOptions {
  readonly sockets: readonly CaptureSocket[];
  /** Called with each batch; the octets are the receiver's to keep. */
  readonly onFrames: (frames: CapturedBatch) => void;
  /** The thread failed after it had begun: an interface went away, a defect. It has ended then. */
  readonly onError?: (error: HostError) => void;
  /** How long a frame may wait for others before it is handed over; 5 unless said. */
  readonly gatherMs?: number;
}

// Messages between the two threads.

/** Columns of a batch's index, one row a frame. */
export const COLUMNS = {
  at: 0,
  sizeOctets: 1,
  wireOctets: 2,
  timeUs: 3,
  kind: 4,
  interfaceIndex: 5,
  socket: 6,
} as const;
export const COLUMN_COUNT = 7;

export interface WorkerData {
  readonly sockets: readonly CaptureSocket[];
  readonly gatherMs: number;
}
export interface FailureMessage {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}
export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "frames"; readonly count: number; readonly octets: ArrayBuffer; readonly index: ArrayBuffer }
  | { readonly kind: "sent"; readonly id: number; readonly sent: number }
  | { readonly kind: "statistics"; readonly id: number; readonly sockets: readonly PacketStatistics[] }
  | { readonly kind: "refused"; readonly id: number; readonly failure: FailureMessage }
  | { readonly kind: "failed"; readonly failure: FailureMessage }
  | { readonly kind: "stopped"; readonly sockets: readonly PacketStatistics[] };
export type ToWorker =
  | { readonly kind: "credit" }
  | { readonly kind: "send"; readonly id: number; readonly socket: number; readonly frames: readonly Uint8Array[] }
  | { readonly kind: "statistics"; readonly id: number }
  | { readonly kind: "stop" };

const hostError = (failure: FailureMessage): HostError =>
  new HostError(failure.code, failure.message, { remedy: failure.remedy });

/** Frames in the order they were fetched, in one buffer. */
export class CapturedBatch implements Iterable<CapturedFrame> {
  readonly count: number;
  readonly #octets: Uint8Array;
  readonly #index: Float64Array;
  constructor(count: number, octets: ArrayBuffer, index: ArrayBuffer) {
    this.count = count;
    this.#octets = new Uint8Array(octets);
    this.#index = new Float64Array(index);
  }
  frame(row: number): CapturedFrame {
    if (!(row >= 0 && row < this.count)) throw new RangeError(`frame ${row} of ${this.count}`);
    const cell = (column: number): number => this.#index[row * COLUMN_COUNT + column] as number;
    const at = cell(COLUMNS.at);
    return {
      octets: this.#octets.subarray(at, at + cell(COLUMNS.sizeOctets)),
      wireOctets: cell(COLUMNS.wireOctets),
      timeUs: cell(COLUMNS.timeUs),
      kind: cell(COLUMNS.kind),
      interfaceIndex: cell(COLUMNS.interfaceIndex),
      socket: cell(COLUMNS.socket),
    };
  }
  *[Symbol.iterator](): Generator<CapturedFrame> {
    for (let row = 0; row < this.count; row++) yield this.frame(row);
  }
}

interface Ready {
  readonly resolve: () => void;
  readonly reject: (error: HostError) => void;
}
interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: HostError) => void;
}

/** Packet sockets that run in a thread of their own. Made by startCapture; ends with stop(). */
export class Capture {
  readonly #worker: Worker;
  readonly #options: CaptureOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ready: Ready;
  #lastId = 0;
  #stopping: Promise<readonly PacketStatistics[]> | undefined;
  #stopped: ((sockets: readonly PacketStatistics[]) => void) | undefined;
  #last: readonly PacketStatistics[] = [];
  #ended = false;

  constructor(worker: Worker, options: CaptureOptions, ready: Ready) {
    this.#worker = worker;
    this.#options = options;
    this.#ready = ready;
    worker.on("message", (message: FromWorker) => this.#take(message));
    worker.on("error", (error) =>
      this.#fail(
        new HostError("packet-worker/defect", `the packet thread failed: ${error.message}`, {
          remedy: "please report it with this text",
          cause: error,
        }),
      ),
    );
    worker.on("exit", () => {
      this.#end();
      this.#stopped?.(this.#last);
    });
  }

  #take(message: FromWorker): void {
    switch (message.kind) {
      case "ready":
        this.#ready.resolve();
        return;
      case "frames":
        try {
          this.#options.onFrames(new CapturedBatch(message.count, message.octets, message.index));
        } finally {
          this.#post({ kind: "credit" });
        }
        return;
      case "sent":
        this.#answer(message.id, message.sent);
        return;
      case "statistics":
        this.#last = message.sockets;
        this.#answer(message.id, message.sockets);
        return;
      case "refused": {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        waiting?.reject(hostError(message.failure));
        return;
      }
      case "failed":
        this.#fail(hostError(message.failure));
        return;
      case "stopped":
        this.#last = message.sockets;
    }
  }
  #answer(id: number, value: unknown): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(value as never);
  }
  #fail(error: HostError): void {
    this.#ready.reject(error);
    if (!this.#ended && this.#stopping === undefined) this.#options.onError?.(error);
    this.#end(error);
  }
  #end(
    error: HostError = new HostError("packet-worker/stopped", "the packet thread has ended", {
      remedy: "start it again",
    }),
  ): void {
    this.#ended = true;
    this.#ready.reject(error);
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
  #post(message: ToWorker): void {
    if (!this.#ended) this.#worker.postMessage(message);
  }
  #ask<T>(message: (id: number) => ToWorker): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ended)
        return reject(
          new HostError("packet-worker/stopped", "the packet thread has ended", { remedy: "start it again" }),
        );
      const id = ++this.#lastId;
      this.#waiting.set(id, { resolve, reject });
      this.#post(message(id));
    });
  }

  /** Sends frames through one of the sockets, which must be bound to an interface; gives how many went out. */
  send(socket: number, frames: readonly Uint8Array[]): Promise<number> {
    return this.#ask((id) => ({ kind: "send", id, socket, frames }));
  }
  /** Of each socket, in their order. */
  statistics(): Promise<readonly PacketStatistics[]> {
    return this.#ask((id) => ({ kind: "statistics", id }));
  }
  /** Hands over what has arrived, closes the sockets and ends the thread. Calling twice is harmless. */
  stop(): Promise<readonly PacketStatistics[]> {
    this.#stopping ??= new Promise((resolve) => {
      if (this.#ended) return resolve(this.#last);
      this.#stopped = resolve;
      this.#post({ kind: "stop" });
    });
    return this.#stopping;
  }
}

/** Resolves when every socket is open and receiving. Errors: those of openPacketSocket, namespace/ENOENT. */
export async function startCapture(options: CaptureOptions): Promise<Capture> {
  const data: WorkerData = { sockets: options.sockets, gatherMs: options.gatherMs ?? 5 };
  const worker = new Worker(new URL("./packetWorkerThread.js", import.meta.url), { workerData: data });
  let capture: Capture | undefined;
  await new Promise<void>((resolve, reject) => {
    capture = new Capture(worker, options, { resolve, reject });
  });
  return capture as unknown as Capture;
}
