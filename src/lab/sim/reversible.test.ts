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

function run(
  sketches: readonly Sketch[],
  forwarding: "dr" | "tun" = "dr",
  policy = "auto",
  kernel?: string,
): Promise<ScenarioOutcome> {
  const text = builtinCluster(forwarding, 3).replace("policy: auto", `policy: ${policy}`);
  const read = parseCluster(
    kernel === undefined ? text : text.replace(/web1: (\S+)/, `web1: { rip: $1, kernel: "${kernel}" }`),
  );
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

const typed = ({ timeline }: ScenarioOutcome): string[] =>
  timeline.flatMap((t) => /^web1: (.*) steps$/.exec(t.text)?.[1] ?? []);

for (const [kernel, forwarding, lost] of [
  ["2.2.13", "dr", []], // redirect: it holds no VIP that could be taken away
  ["2.2.14", "dr", ["acceptance"]],
  ["2.2.14", "tun", ["acceptance"]],
  ["2.4.20+hidden", "dr", ["acceptance"]],
] as const)
  test(`by hand on ${kernel}, ${forwarding}: who stops half way serves nobody, and goes on where he stopped`, async () => {
    const [first = ""] = typed(await run([[500, "undo"]], forwarding, "auto", kernel));
    const steps = Number(/^undo by hand, (\d+) of \1$/.exec(first)?.[1]);
    assert.ok(steps > 1, first);
    for (let done = 0; done < steps; done++) {
      const left = steps - done;
      const o = await run(
        [
          [500, "undo"],
          [1000, "apply", done + 1],
          [1500, "apply"],
          [2000, "apply"],
          [2500, "undo", done + 1],
          [3000, "apply"],
          [3500, "undo", done + 1],
          [4000, "undo"],
          [4500, "apply"],
          [5000, "remove-vip"],
        ],
        forwarding,
        "auto",
        kernel,
      );
      assert.deepEqual(typed(o), [
        `undo by hand, ${steps} of ${steps}`,
        `apply by hand, ${done} of ${steps}`,
        `apply by hand, ${left} of ${left}`,
        "apply by hand, 0 of 0",
        `undo by hand, ${done} of ${steps}`,
        `apply by hand, ${done} of ${done}`,
        `undo by hand, ${done} of ${steps}`,
        `undo by hand, ${left} of ${left}`,
        `apply by hand, ${steps} of ${steps}`,
      ]);
      // whole again it serves, and what others take from it counts
      assert.ok(
        o.breaches.every((b) => b.atMs >= 5000 && b.host === "web1"),
        JSON.stringify(o.breaches),
      );
      assert.deepEqual(
        o.breaches.map((b) => b.law),
        lost,
        `stopped after ${done}`,
      );
    }
  });

for (const [name, stop, goOn] of [
  ["power lost", "crash", "restart"],
  ["frozen", "pause", "resume"],
] as const)
  test(`by hand, ${name} between two steps: what is typed stands afterwards, and the rest is typed then`, async () => {
    const [first = ""] = typed(await run([[500, "undo"]], "tun", "auto", "2.2.14"));
    const steps = Number(/^undo by hand, (\d+) of \1$/.exec(first)?.[1]);
    for (let done = 1; done < steps; done++) {
      // a step takes a millisecond: in the middle of that after the last one
      const during = done - 0.5;
      const o = await run(
        [
          [500, "undo"],
          [1000, "apply"],
          [1000 + during, stop],
          [1500, "apply"], // nobody types on a machine that is off, or frozen
          [2000, goOn],
          [2500, "apply"],
          [3000, "undo"],
          [3000 + during, stop],
          [3500, goOn],
          [4000, "undo"],
          [4500, "apply"],
        ],
        "tun",
        "auto",
        "2.2.14",
      );
      const left = steps - done;
      assert.deepEqual(typed(o), [
        `undo by hand, ${steps} of ${steps}`,
        `apply by hand, ${done} of ${steps}`,
        `apply by hand, ${left} of ${left}`,
        `undo by hand, ${done} of ${steps}`,
        `undo by hand, ${left} of ${left}`,
        `apply by hand, ${steps} of ${steps}`,
      ]);
      assert.deepEqual(o.breaches, [], `${name} after ${done} of ${steps}`);
    }
  });

test("by hand: apply types what others undid again, and that only", async () => {
  const faults = [
    [500, "remove-vip"],
    [1000, "apply"],
    [1500, "apply"],
  ] as const;
  const o = await run(faults, "dr", "auto", "2.2.14");
  assert.deepEqual(typed(o), ["apply by hand, 1 of 1", "apply by hand, 0 of 0"]);
});
