/** From the text of a cluster file to what its scenario says on the model. */
import assert from "node:assert/strict";
import type { Cluster } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import { type Plot, scenarioPlot } from "../lab/plot.ts";
import { Scenario, type ScenarioOutcome, scenarioOptions } from "../lab/sim/scenario.ts";
import { specOf } from "../lab/spec.ts";

export function clusterOfText(text: string): Cluster {
  const read = parseCluster(text);
  assert.ok(read.ok, JSON.stringify(read, null, 1));
  return read.cluster;
}
export function scenarioPlotOf(cluster: Cluster, method: "dr" | "tun" = "dr"): Plot {
  const spec = specOf(cluster, method, "scenario");
  assert.ok(typeof spec !== "string", String(spec));
  return scenarioPlot(spec);
}

interface Telling {
  readonly method?: "dr" | "tun";
  /** The file's own unless given. */
  readonly seed?: number;
  /** True unless given. */
  readonly silenced?: boolean;
}
export function scenarioOf(text: string, { method, seed, silenced = true }: Telling = {}): Scenario {
  const cluster = clusterOfText(text);
  return new Scenario(cluster, scenarioPlotOf(cluster, method), scenarioOptions(cluster, seed, silenced));
}
export const tellScenario = async (text: string, telling?: Telling): Promise<ScenarioOutcome> =>
  scenarioOf(text, telling).run();
