/** One thread's share of an exploration; see sample.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { scenarioPlot } from "../plot.ts";
import { specOf } from "../spec.ts";
import { type Share, type ShareNews, sampleOf } from "./sample.ts";

const tell = (news: ShareNews): void => parentPort?.postMessage(news);
const { cluster, forwarding, options, first, step } = workerData as Share;
try {
  const spec = specOf(cluster, forwarding, "scenario");
  if (typeof spec === "string") throw new Error(spec);
  const plot = scenarioPlot(spec);
  for (let run = first; run < options.runs; run += step) tell({ sample: await sampleOf(cluster, plot, options, run) });
} catch (error) {
  tell({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
