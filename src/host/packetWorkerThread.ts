/** The other side of packetWorker.ts: started as a worker, never imported. */
import { parentPort, workerData } from "node:worker_threads";
import { HostError } from "./errors.ts";
import type { Watch } from "./libc.ts";
import { Namespace } from "./namespace.ts";
import { openPacketSocket, type PacketSocket, type ReceivedFrame } from "./packetSocket.ts";
import {
  type CaptureSocket,
  COLUMN_COUNT,
  COLUMNS,
  CREDIT,
  type FailureMessage,
  type FromWorker,
  type ToWorker,
  type WorkerData,
} from "./packetWorker.ts";

const port = parentPort;
if (port === null) throw new Error("packetWorkerThread is started by packetWorker only");
const { sockets: wanted, gatherMs } = workerData as WorkerData;

const BATCH_FRAMES = 1024;
const BATCH_OCTETS = 256 * 1024;

const post = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const failureOf = (error: unknown): FailureMessage =>
  error instanceof HostError
    ? { code: error.code, message: error.message, remedy: error.remedy }
    : {
        code: "packet-worker/defect",
        message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        remedy: "please report it with this text",
      };

function openOne(wish: CaptureSocket): PacketSocket {
  const { namespace: name, ...rest } = wish;
  const options = { longestFrameOctets: 256, batchFrames: 128, ...rest };
  if (name === undefined) return openPacketSocket(options);
  const namespace = new Namespace(name);
  try {
    return openPacketSocket({ ...options, namespace });
  } finally {
    namespace.close();
  }
}

/** The batch that is being filled. */
let octets = new Uint8Array(BATCH_OCTETS);
let index = new Float64Array(BATCH_FRAMES * COLUMN_COUNT);
let count = 0;
let used = 0;
let credit = CREDIT;
let timer: NodeJS.Timeout | undefined;
let stalled = false;
const open: PacketSocket[] = [];
const watches: Watch[] = [];

function flush(): void {
  if (timer !== undefined) clearTimeout(timer);
  timer = undefined;
  if (count === 0) return;
  credit--;
  // A few frames do not deserve a quarter of a megabyte: small batches are copied, full ones change hands.
  const small = used < BATCH_OCTETS / 4;
  const sentOctets = small ? octets.slice(0, used) : octets;
  const sentIndex = small ? index.slice(0, count * COLUMN_COUNT) : index;
  post({ kind: "frames", count, octets: sentOctets.buffer, index: sentIndex.buffer }, [
    sentOctets.buffer,
    sentIndex.buffer,
  ]);
  if (!small) {
    octets = new Uint8Array(BATCH_OCTETS);
    index = new Float64Array(BATCH_FRAMES * COLUMN_COUNT);
  }
  count = 0;
  used = 0;
}

function add(socket: number, frame: ReceivedFrame): void {
  if (count === BATCH_FRAMES || used + frame.octets.length > BATCH_OCTETS) flush();
  octets.set(frame.octets, used);
  const row = count * COLUMN_COUNT;
  index[row + COLUMNS.at] = used;
  index[row + COLUMNS.sizeOctets] = frame.octets.length;
  index[row + COLUMNS.wireOctets] = frame.wireOctets;
  index[row + COLUMNS.timeUs] = frame.timeUs;
  index[row + COLUMNS.kind] = frame.kind;
  index[row + COLUMNS.interfaceIndex] = frame.interfaceIndex;
  index[row + COLUMNS.socket] = socket;
  used += frame.octets.length;
  count++;
}

/** Level-triggered watching would spin while nobody takes our batches, so it is taken away until somebody does. */
function watch(socket: PacketSocket, number: number): void {
  watches.push(socket.onReadable(() => guarded(() => drain(socket, number))));
}
function drain(socket: PacketSocket, number: number): void {
  if (credit <= 1) {
    if (stalled) return;
    stalled = true;
    for (const each of watches.splice(0)) each.close();
    return;
  }
  socket.receive((frame) => add(number, frame), BATCH_FRAMES / 2);
  if (gatherMs === 0) flush();
  else if (count > 0) timer ??= setTimeout(() => guarded(flush), gatherMs);
}
function guarded(action: () => void): void {
  try {
    action();
  } catch (error) {
    fail(error);
  }
}
function closeAll(): void {
  if (timer !== undefined) clearTimeout(timer);
  for (const socket of open) socket.close();
  port?.close();
}
function fail(error: unknown): void {
  post({ kind: "failed", failure: failureOf(error) });
  closeAll();
}

function stop(): void {
  for (const [number, socket] of open.entries()) {
    // What has arrived before the wish to stop belongs to the answer; what arrives meanwhile may go on for ever.
    let left = 8 * BATCH_FRAMES;
    while (left > 0) {
      const got = socket.receive((frame) => add(number, frame), BATCH_FRAMES);
      if (got === 0) break;
      left -= got;
    }
  }
  flush();
  post({ kind: "stopped", sockets: open.map((s) => s.statistics()) });
  closeAll();
}

function answer(message: Extract<ToWorker, { id: number }>): void {
  try {
    if (message.kind === "statistics") {
      post({ kind: "statistics", id: message.id, sockets: open.map((s) => s.statistics()) });
      return;
    }
    const socket = open[message.socket];
    if (socket === undefined) throw new RangeError(`no socket ${message.socket}`);
    post({ kind: "sent", id: message.id, sent: socket.send(message.frames) });
  } catch (error) {
    post({ kind: "refused", id: message.id, failure: failureOf(error) });
  }
}

port.on("message", (message: ToWorker) => {
  switch (message.kind) {
    case "credit":
      credit++;
      if (stalled && credit > CREDIT / 2) {
        stalled = false;
        guarded(() => open.forEach(watch));
      }
      return;
    case "stop":
      guarded(stop);
      return;
    default:
      answer(message);
  }
});

guarded(() => {
  for (const wish of wanted) open.push(openOne(wish));
  open.forEach(watch);
  post({ kind: "ready" });
});
