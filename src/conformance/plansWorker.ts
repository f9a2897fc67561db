/** Random hosts planned and applied in a thread of its own, which stays in another namespace. */
import { parentPort, workerData } from "node:worker_threads";
import { tryAbilities } from "./group.ts";
import { examinePlans, type PlansReport } from "./plans.ts";

export type PlansAnswer = PlansReport | { readonly failed: string };
const { seed, hosts, name } = workerData as { seed: number; hosts: number; name: string };
try {
  parentPort?.postMessage(await examinePlans(seed, hosts, tryAbilities(`${name}a`), name));
} catch (error) {
  parentPort?.postMessage({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
