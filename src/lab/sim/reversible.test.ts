import assert from "node:assert/strict";
import { test } from "node:test";
import type { LabFault } from "../../cluster/cluster.ts";
import { parseCluster } from "../../cluster/index.ts";
import type { FaultAction } from "../../cluster/words.ts";
import { builtinCluster } from "../builtin.ts";
import { scenarioPlot } from "../plot.ts";
import { specOf } from "../spec.ts";
import { Scenario, type ScenarioOutcome } from "./scenario.ts";

type Sketch = readonly [atMs: number, action: FaultAction, value?: number];

function run(sketches: readonly Sketch[], forwarding: "dr" | "tun" = "dr", policy = "auto"): Promise<ScenarioOutcome> {
  const read = parseCluster(builtinCluster(forwarding, 3).replace("policy: auto", `policy: ${policy}`));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, forwarding);
  assert.ok(typeof spec !== "string");
  const faults = sketches.map(
    ([atMs, action, value = 0]): LabFault => ({ atMs, action, host: "web1", name: "", value }),
  );
  return new Scenario(read.cluster, scenarioPlot(spec), {
    seed: 1,
    durationMs: 6000,
    faults,
    dropsGratuitous: false,
    silenced: true,
    connectEveryMs: 60_000,
    longLived: 0,
    askEveryMs: 50,
  }).run();
}
const said = (o: ScenarioOutcome, text: string): boolean => o.timeline.some((t) => t.text.includes(text));

for (const [forwarding, policy] of [
  ["dr", "arp-sysctl"],
  ["tun", "nft-arp"],
] as const)
  test(`${policy}, ${forwarding}: vipward killed at any call, the next run ends it, undo is exact, and no law breaks meanwhile`, async () => {
    let died = 0;
    for (let call = 1; ; call++) {
      const o = await run(
        [
          [500, "undo", call],
          [1000, "apply"],
          [1500, "apply", call],
          [2000, "undo"],
          [2500, "apply", call],
          [3000, "undo"],
          [3500, "apply"],
        ],
        forwarding,
        policy,
      );
      assert.deepEqual(o.breaches, [], `killed at call ${call}`);
      if (!said(o, "dies in the middle")) break;
      died++;
    }
    assert.ok(died > 10, String(died));
  });

test("power lost in the middle of a run: after boot the next run finds the host as the journal says", async () => {
  for (let ms = 1; ms < 6; ms++)
    for (const first of ["undo", "apply"] as const) {
      const o = await run([
        ...(first === "apply" ? ([[200, "undo"]] as const) : []),
        [500, first],
        [500 + ms, "crash"],
        [1500, "restart"],
        [2000, "apply"],
        [2500, "undo"],
        [3000, "apply"],
      ]);
      assert.deepEqual(o.breaches, [], `${first}, power lost after ${ms} ms`);
    }
});

test("what others changed is theirs: undo leaves it, and says so", async () => {
  const o = await run([
    [500, "remove-vip"],
    [1000, "undo"],
  ]);
  assert.ok(said(o, "web1: vipward undo:"), JSON.stringify(o.timeline));
  assert.deepEqual(
    o.breaches.map((b) => b.law),
    ["acceptance"],
  );
});
