/** vipward killed at each of its calls, on the running kernel and on the model: the same hosts, whatever stands half done. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Outcome } from "../../apply/run.ts";
import { formatIpv4 } from "../../base/ipv4.ts";
import { readFacts } from "../../host/perform/readFacts.ts";
import { mortal } from "../../ports/mortal.ts";
import { Killed } from "../../sim/machine.ts";
import { runVipward } from "../../testing/realVipward.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { clusterOfText, scenarioPlotOf } from "../../testing/scenarios.ts";
import { standingOf } from "../../testing/truth.ts";
import { builtinCluster } from "../builtin.ts";
import { buildNetwork } from "../netns/build.ts";
import { buildWorld } from "./build.ts";

type Direction = "apply" | "undo";
/** From applied: each run killed at `call`, and the next one, which has to end it. */
const story = (call: number): readonly (readonly [Direction, call?: number])[] => [
  ["undo", call],
  ["apply"],
  ["apply", call],
  ["undo"],
  ["apply", call],
  ["undo", call],
  ["apply"],
];
/** What each run left behind, and whether it died. */
interface Step {
  readonly after: string;
  readonly died: boolean;
  readonly standing: readonly string[];
}
type Teller = (direction: Direction, killAt: number) => Promise<Omit<Step, "after">>;

async function tell(run: Teller, call: number): Promise<Step[]> {
  const steps: Step[] = [];
  for (const [direction, killAt = 0] of story(call))
    steps.push({ after: direction, ...(await run(direction, killAt)) });
  return steps;
}

for (const policy of ["arp-sysctl", "nft-arp"])
  test(`${policy}: killed at each call, and run again: the running kernel and the model stand the same`, async (t) => {
    if (!needsRoot(t)) return;
    const cluster = clusterOfText(builtinCluster("dr", 1).replace("policy: auto", `policy: ${policy}`));
    const drawn = scenarioPlotOf(cluster);
    const plot = { ...drawn, kernels: new Map(drawn.topology.hosts.map((h) => [h.name, release()])) };
    const vips = plot.vips.map(formatIpv4);
    const { realServers } = buildWorld(cluster, plot, { seed: 1 });
    const [simulated] = realServers;
    assert.ok(simulated);
    const { name } = simulated.host;
    const onModel: Teller = async (direction, killAt) => {
      const said: string[] = [];
      assert.equal(await simulated.silenced.run(direction, killAt, (text) => said.push(text)), undefined);
      return {
        died: said.some((text) => text.includes("dies in the middle")),
        standing: standingOf(simulated.host.facts, vips),
      };
    };
    const network = buildNetwork(plot.topology, testPrefix("runs"));
    const stateDir = mkdtempSync(join(tmpdir(), "vipward-runs-"));
    try {
      const { namespace } = network.machines.get(name) as { namespace: Parameters<typeof readFacts>[0] & object };
      const onKernel: Teller = async (direction, killAt) => {
        let left = killAt > 0 ? killAt : Number.POSITIVE_INFINITY;
        const burn = (): void => {
          if (left <= 0) throw new Killed();
          left--;
        };
        const asked = { namespace: namespace.name, stateDir, realServer: name, direction };
        const ended = await runVipward(cluster, asked, (p) => mortal(p, { isLast: () => left <= 0, burn })).catch(
          (error: unknown): Outcome | undefined => {
            if (error instanceof Killed) return undefined;
            throw error;
          },
        );
        return { died: ended === undefined, standing: standingOf(readFacts(namespace), vips) };
      };
      assert.ok(simulated.silenced.standApplied());
      await onKernel("apply", 0);
      let calls = 1;
      for (; ; calls++) {
        const [model, kernel] = [await tell(onModel, calls), await tell(onKernel, calls)];
        assert.deepEqual(model, kernel, `killed at call ${calls}`);
        if (!kernel.some((s) => s.died)) break;
      }
      t.diagnostic(`${calls - 1} calls`);
      assert.ok(calls > 10, String(calls));
    } finally {
      network.remove({ keep: false });
      rmSync(stateDir, { recursive: true });
    }
  });
