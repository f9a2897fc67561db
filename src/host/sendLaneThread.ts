/** The other side of sendLanes.ts: started as a worker, never imported. */
import { parentPort, workerData } from "node:worker_threads";
import { writeU32 } from "../wire/octets.ts";
import { SystemCallError } from "./errors.ts";
import { realtimeUs } from "./libc.ts";
import { SendBatch, sendBatchOn } from "./packetSocket.ts";
import { CHUNK, CONTROL, type FromLane, type LaneData } from "./sendLanes.ts";

const { fd, object, template, control, questions, stamps } = workerData as LaneData;
const post = (message: FromLane): void => parentPort?.postMessage(message);
const batch = new SendBatch(CHUNK, template.length);
const frames: Uint8Array[] = [];
for (let slot = 0; slot < CHUNK; slot++) {
  batch.put(slot, template);
  frames.push(batch.frame(slot));
}
/** Nobody ever wakes this one: for sleeping in a thread that has no event loop to return to. */
const never = new Int32Array(new SharedArrayBuffer(4));
const ending = (): boolean => Atomics.load(control, CONTROL.end) !== 0;

function sendAll(count: number): void {
  for (let from = 0, chunk = 0; from < count && !ending(); from += CHUNK, chunk++) {
    const size = Math.min(CHUNK, count - from);
    for (let slot = 0; slot < size; slot++) {
      const frame = frames[slot] as Uint8Array;
      writeU32(frame, 28, questions[(from + slot) * 2] as number);
      writeU32(frame, 38, questions[(from + slot) * 2 + 1] as number);
    }
    stamps[chunk * 2] = realtimeUs();
    for (let sent = 0; sent < size && !ending(); ) {
      const taken = sendBatchOn(fd, batch, sent, size - sent, object);
      if (taken === 0) Atomics.wait(never, 0, 0, 1); // the queue is full
      sent += taken;
    }
    stamps[chunk * 2 + 1] = realtimeUs();
  }
}

post({ kind: "ready" });
for (let order = 0; !ending(); ) {
  Atomics.wait(control, CONTROL.order, order);
  const now = Atomics.load(control, CONTROL.order);
  if (now === order || ending()) continue;
  order = now;
  try {
    sendAll(Atomics.load(control, CONTROL.count));
    post({ kind: "sent" });
  } catch (error) {
    if (error instanceof SystemCallError)
      post({ kind: "failed", call: error.call, errno: error.errno, errnoName: error.errnoName });
    else post({ kind: "defect", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}
batch.close();
