import assert from "node:assert/strict";
import { test } from "node:test";
import { builtinCluster } from "../lab/builtin.ts";
import { explore } from "../lab/sim/explore.ts";
import type { ScenarioOptions } from "../lab/sim/scenario.ts";
import { clusterOfText, scenarioPlotOf } from "../testing/scenarios.ts";
import { paint } from "./colour.ts";
import { exploreText } from "./scenarioText.ts";

test("the command that tells a schedule again says all that it depends on", async () => {
  const cluster = clusterOfText(builtinCluster("dr", 3));
  const options = { seed: 9, runs: 1, durationMs: 60_000, dropsGratuitous: false, silenced: false };
  const found = await explore(cluster, scenarioPlotOf(cluster), options);
  const told = (more: Partial<ScenarioOptions>): string[] => {
    const stories = found.stories.map((s) => ({ ...s, options: { ...s.options, ...more } }));
    const text = exploreText("my cluster.yaml", { ...found, stories }, paint(false));
    return [...new Set([...text.matchAll(/^the whole schedule: (.*)$/gm)].map((m) => m[1] ?? ""))];
  };
  const again = "vipward explore 'my cluster.yaml' --seed 9 --minutes 1";
  assert.deepEqual(told({}), [`${again} --no-silence --replay 0`]);
  assert.deepEqual(told({ silenced: true }), [`${again} --replay 0`]);
  assert.deepEqual(told({ guard: "heal" }), [`${again} --guard --no-silence --replay 0`]);
  // a guard that only watches is the file's
  assert.deepEqual(told({ guard: "watch" }), [`${again} --no-silence --replay 0`]);
});
