import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { parseCluster } from "../../cluster/index.ts";
import { builtinCluster } from "../builtin.ts";
import type { Cure } from "../report.ts";
import { runSimLab, type SimLabOptions, type SimLabOutcome } from "./run.ts";

async function story(
  forwarding: "dr" | "tun",
  cure: Cure,
  more: Partial<SimLabOptions> = {},
  change: (text: string) => string = (text) => text,
): Promise<SimLabOutcome> {
  const read = parseCluster(change(builtinCluster(forwarding, 3)));
  assert.ok(read.ok, JSON.stringify(read));
  return runSimLab({
    chapters: [{ cluster: read.cluster, forwarding }],
    cure,
    trafficMs: 2000,
    seed: 1,
    capture: false,
    tell: () => {},
    signal: new AbortController().signal,
    ...more,
  });
}
const failed = ({ report }: SimLabOutcome): string[] =>
  report.chapters.flatMap((c) => c.verdicts.filter((v) => !v.held).map((v) => v.id));

for (const forwarding of ["dr", "tun"] as const)
  for (const seed of [1, 2, 3])
    test(`${forwarding}, seed ${seed}: the problem, the leak, the cure and the proof, as on a real kernel`, async () => {
      const outcome = await story(forwarding, "full", { seed });
      assert.deepEqual(failed(outcome), []);
      const [chapter] = outcome.report.chapters;
      assert.equal(chapter?.proof.traffic.completed, 60);
      assert.deepEqual(chapter?.proof.traffic.leaks, {});
    });

// the same half cures turn the same verdicts red in lab.netns.test.ts
const halves: readonly (readonly [cure: Cure, red: readonly string[], green: readonly string[]])[] = [
  ["ignore-only", ["proof/no-leak"], ["proof/one-owner", "proof/rip-answered"]],
  ["announce-only", ["proof/one-owner", "proof/through-director"], ["proof/no-leak"]],
  ["none", ["proof/one-owner", "proof/no-leak", "proof/through-director"], ["proof/rip-answered"]],
];
for (const [cure, red, green] of halves)
  test(`cure ${cure}: the verdicts that turn red on a real kernel turn red here`, async () => {
    const ids = failed(await story("dr", cure));
    for (const id of red) assert.ok(ids.includes(id), ids.join());
    for (const id of green) assert.ok(!ids.includes(id), ids.join());
  });

test("the same seed gives the same report and the same capture, octet by octet; another seed does not", async () => {
  const run = (seed: number): Promise<SimLabOutcome> => story("dr", "full", { seed, capture: true });
  const [a, b, c] = [await run(7), await run(7), await run(8)];
  assert.equal(JSON.stringify(a.report), JSON.stringify(b.report));
  assert.ok((a.captures[0]?.frames ?? 0) > 500);
  assert.deepEqual(a.captures[0]?.octets, b.captures[0]?.octets);
  assert.notDeepEqual(a.captures[0]?.octets, c.captures[0]?.octets);
});

test("the report and the capture of a seed are written down: the same on any machine", async () => {
  const hash = (octets: Uint8Array | string): string => createHash("sha256").update(octets).digest("hex").slice(0, 16);
  const { report, captures } = await story("tun", "full", { seed: 42, capture: true });
  // a change that means to change what happens says so, and writes the new ones
  assert.deepEqual(
    [hash(JSON.stringify(report)), hash(captures[0]?.octets ?? "")],
    ["e0a89cec1824aec0", "0a32fe6738df96d7"],
  );
});

test("handing every broadcast to every host changes nothing but the time it takes", async () => {
  for (const cure of ["full", "ignore-only", "none"] as const) {
    const fast = await story("dr", cure, { seed: 5, capture: true });
    const slow = await story("dr", cure, { seed: 5, capture: true, exhaustive: true });
    assert.equal(JSON.stringify(fast.report), JSON.stringify(slow.report));
    assert.deepEqual(fast.captures, slow.captures);
    assert.ok(slow.events > fast.events);
  }
});

test("each scheduler serves as it promises, on the model", async () => {
  for (const scheduler of ["rr", "wrr", "lc", "wlc", "sh", "dh", "mh", "sed", "nq", "lblc", "lblcr", "fo", "ovf"]) {
    const outcome = await story("dr", "full", {}, (text) => text.replace("scheduler: rr", `scheduler: ${scheduler}`));
    assert.deepEqual(
      failed(outcome).filter((id) => id.startsWith("proof/")),
      [],
      scheduler,
    );
  }
});
