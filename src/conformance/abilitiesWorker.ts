/** Tries out what the kernel can make, in a thread of its own: see run.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { tryAbilities } from "./group.ts";

try {
  parentPort?.postMessage(tryAbilities(workerData as string));
} catch (error) {
  parentPort?.postMessage({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
