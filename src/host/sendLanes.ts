/**
 * Sends a burst of questions from several threads at once.
 *
 * What limits a flood is the kernel's work for each frame, done in the thread that sends it (a few microseconds, far more
 * than ours), so that two cores send nearly twice as fast as one. Each lane has a socket, frames built once, and shares
 * one buffer with us: addresses go in, times of sending come out. The event loop is free meanwhile.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Question } from "../machine/whoHas.ts";
import { HostError, SystemCallError } from "./errors.ts";
import type { Namespace } from "./namespace.ts";
import { openPacketSocket, type PacketSocket } from "./packetSocket.ts";

/** Questions of one burst at most: the answers to all of them wait in the kernel until it is over. */
export const BURST = 8192;
const MOST_LANES = 4;
/** Frames of one system call, which share their stamps. */
export const CHUNK = 128;

/** Words of a lane's control block. */
export const CONTROL = { order: 0, count: 1, end: 2 } as const;

export interface LaneData {
  readonly fd: number;
  readonly object: string;
  /** A frame whose ARP addresses are patched: sender at 28, target at 38. */
  readonly template: Uint8Array;
  readonly control: Int32Array;
  /** Sender and target of each question. */
  readonly questions: Uint32Array;
  /** First and last microsecond of each chunk. */
  readonly stamps: Float64Array;
}
export type FromLane =
  | { readonly kind: "ready" }
  | { readonly kind: "sent" }
  | { readonly kind: "failed"; readonly call: string; readonly errno: number; readonly errnoName: string }
  | { readonly kind: "defect"; readonly message: string };

/** `count` questions sent one after the other between two stamps. */
export interface SentChunk {
  readonly count: number;
  readonly firstUs: number;
  readonly lastUs: number;
}

class Lane {
  readonly #socket: PacketSocket;
  readonly #worker: Worker;
  readonly #data: LaneData;
  #next: { resolve: (message: FromLane) => void } | undefined;
  #early: FromLane | undefined;
  constructor(socket: PacketSocket, template: Uint8Array, size: number) {
    this.#socket = socket;
    this.#data = {
      fd: socket.fd,
      object: socket.object,
      template,
      control: new Int32Array(new SharedArrayBuffer(16)),
      questions: new Uint32Array(new SharedArrayBuffer(size * 8)),
      stamps: new Float64Array(new SharedArrayBuffer(Math.ceil(size / CHUNK) * 16)),
    };
    this.#worker = new Worker(new URL("./sendLaneThread.js", import.meta.url), { workerData: this.#data });
    this.#worker.on("message", (message: FromLane) => this.#take(message));
    this.#worker.on("error", (error) => this.#take({ kind: "defect", message: error.stack ?? error.message }));
    this.#worker.on("exit", () => this.#take({ kind: "defect", message: "the thread has ended" }));
  }
  #take(message: FromLane): void {
    if (this.#next === undefined) this.#early = message;
    this.#next?.resolve(message);
    this.#next = undefined;
  }
  /** The lane's next word. Errors: sendmmsg/..., send-lane/defect. */
  async hear(): Promise<void> {
    const message =
      this.#early ??
      (await new Promise<FromLane>((resolve) => {
        this.#next = { resolve };
      }));
    this.#early = undefined;
    if (message.kind === "failed")
      throw new SystemCallError(message.call, message.errno, message.errnoName, this.#data.object);
    if (message.kind === "defect")
      throw new HostError("send-lane/defect", `a sending thread failed: ${message.message}`, {
        remedy: "please report it with this text",
      });
  }
  async send(questions: readonly Question[]): Promise<SentChunk[]> {
    if (questions.length === 0) return [];
    const { control, questions: words, stamps } = this.#data;
    for (const [i, question] of questions.entries()) {
      words[i * 2] = question.sender;
      words[i * 2 + 1] = question.target;
    }
    Atomics.store(control, CONTROL.count, questions.length);
    Atomics.add(control, CONTROL.order, 1);
    Atomics.notify(control, CONTROL.order);
    await this.hear();
    const chunks: SentChunk[] = [];
    for (let from = 0, chunk = 0; from < questions.length; from += CHUNK, chunk++)
      chunks.push({
        count: Math.min(CHUNK, questions.length - from),
        firstUs: stamps[chunk * 2] as number,
        lastUs: stamps[chunk * 2 + 1] as number,
      });
    return chunks;
  }
  async close(): Promise<void> {
    const { control } = this.#data;
    Atomics.store(control, CONTROL.end, 1);
    Atomics.add(control, CONTROL.order, 1);
    Atomics.notify(control, CONTROL.order);
    await this.#worker.terminate(); // only then is nobody left who sends on the descriptor
    this.#socket.close();
  }
}

export class SendLanes {
  readonly #lanes: readonly Lane[];
  constructor(lanes: readonly Lane[]) {
    this.#lanes = lanes;
  }
  /** Sends all, BURST at most, split evenly; gives the chunks in the order of the questions. */
  async burst(questions: readonly Question[]): Promise<SentChunk[]> {
    const part = Math.ceil(questions.length / this.#lanes.length);
    const ended = await Promise.allSettled(
      this.#lanes.map((lane, i) => lane.send(questions.slice(i * part, (i + 1) * part))),
    );
    return ended.flatMap((end) => {
      if (end.status === "rejected") throw end.reason;
      return end.value;
    });
  }
  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }
}

/** A lane for each core, four at most. Errors: those of openPacketSocket. */
export async function openLanes(
  interfaceName: string,
  template: Uint8Array,
  namespace?: Namespace,
  count = Math.min(MOST_LANES, availableParallelism()),
): Promise<SendLanes> {
  const lanes: Lane[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const socket = openPacketSocket({
        interface: interfaceName,
        etherType: 0, // these sockets only send: each answer would cost time at each of them
        bypassQueue: true,
        batchFrames: 1,
        longestFrameOctets: 64,
        ...(namespace !== undefined && { namespace }),
      });
      lanes.push(new Lane(socket, template, Math.ceil(BURST / count)));
    }
    await Promise.all(lanes.map((lane) => lane.hear()));
    return new SendLanes(lanes);
  } catch (error) {
    await Promise.all(lanes.map((lane) => lane.close()));
    throw error;
  }
}
