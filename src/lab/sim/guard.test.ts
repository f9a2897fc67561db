import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCluster } from "../../cluster/index.ts";
import { builtinCluster } from "../builtin.ts";
import { scenarioPlot } from "../plot.ts";
import { specOf } from "../spec.ts";
import { explore } from "./explore.ts";
import { Scenario, type ScenarioOutcome, scenarioOptions } from "./scenario.ts";

const withScenario = (scenario: string) =>
  builtinCluster("dr", 3).replace(/^lab:\n/m, `lab:\n  scenario:\n${scenario}`);

function clusterOf(scenario: string, change: (text: string) => string = (text) => text) {
  const read = parseCluster(change(withScenario(scenario)));
  assert.ok(read.ok, JSON.stringify(read));
  const spec = specOf(read.cluster, "dr", "scenario");
  assert.ok(typeof spec !== "string");
  return { cluster: read.cluster, plot: scenarioPlot(spec) };
}

async function told(guard: string, faults: string): Promise<ScenarioOutcome> {
  const { cluster, plot } = clusterOf(`    seconds: 60\n    seed: 3\n${guard}    faults:\n${faults}`);
  return new Scenario(cluster, plot, scenarioOptions(cluster, undefined, true)).run();
}
const heal = "    guard: heal\n";
const watch = "    guard: watch\n";
const texts = ({ timeline }: ScenarioOutcome, from: RegExp): string[] =>
  timeline.flatMap((t) => (from.test(t.text) ? [`${(t.atMs / 1000).toFixed(1)} ${t.text}`] : []));

const vipByHand = "      - { at: 10, do: add-vip, host: web1 }\n";
const flipped = "      - { at: 10, do: sysctl, host: web2, name: all.arp_ignore, value: 0 }\n";
const bothFlipped = `${flipped}      - { at: 10, do: sysctl, host: web2, name: eth0.arp_ignore, value: 0 }\n`;

test("a VIP put on a network card is taken off again at once, and no law breaks; watched only, it stays", async () => {
  const healed = await told(heal, vipByHand);
  assert.deepEqual(
    texts(healed, /guard/).map((t) => t.replace(/ to eth0.*/, "")),
    [
      "10.0 web1: guard: undone by others, should be: add 10.10.0.100/32 to lo",
      "10.0 web1: guard: someone added the VIP 10.10.0.100/32",
      "10.0 web1: guard: put right: undone by others, should be: add 10.10.0.100/32 to lo",
      "10.0 web1: guard: put right: someone added the VIP 10.10.0.100/32",
    ],
  );
  assert.deepEqual(healed.breaches, []);
  assert.deepEqual(healed.owners["10.10.0.100"], ["lb1"]);
  const watched = await told(watch, vipByHand);
  assert.equal(texts(watched, /guard/).length, 2);
  assert.deepEqual(
    watched.breaches.map((b) => `${b.law} ${b.host}`),
    ["one owner web1"],
  );
  assert.ok((watched.owners["10.10.0.100"]?.length ?? 0) > 1);
});

test("a sysctl that sends no word is read within a second, and put back", async () => {
  const { timeline, breaches, owners } = await told(heal, bothFlipped);
  const mended = timeline.find((t) => /guard: put right.*arp_ignore/.test(t.text));
  assert.ok(mended !== undefined && mended.atMs > 10_000 && mended.atMs < 12_000, JSON.stringify(timeline));
  assert.deepEqual(breaches, []);
  assert.deepEqual(owners["10.10.0.100"], ["lb1"]);
});

const fights = [
  ["one owner", "do: sysctl, host: web2, name: eth0.arp_ignore, value: 0"],
  ["acceptance", "do: remove-vip, host: web2"],
] as const;
for (const [law, deed] of fights) {
  test(`${law}: what one hand does is put right in time, and the law holds`, async () => {
    const outcome = await told(heal, `      - { at: 10, ${deed} }\n`);
    assert.equal(texts(outcome, /guard: put right/).length, 1);
    assert.deepEqual(outcome.breaches, []);
  });

  test(`${law}: whoever fights the guard wins the sixth time, and then the law is broken`, async () => {
    const often = Array.from({ length: 6 }, (_, i) => `      - { at: ${1 + i * 9}, ${deed} }\n`);
    const outcome = await told(heal, often.join(""));
    assert.equal(texts(outcome, /guard: given up after 5 times/).length, 1, JSON.stringify(outcome.timeline));
    assert.deepEqual(
      outcome.breaches.map((b) => `${b.law} ${b.host}`),
      [`${law} web2`],
    );
    // of acceptance as soon as healing has had its time, of the owner when somebody asks
    const [breach] = outcome.breaches;
    assert.ok((breach?.atMs ?? 0) >= 49_000 && (law === "one owner" || breach?.atMs === 49_000), `${breach?.atMs}`);
  });
}

test("the guard dies with its machine and starts with it, and goes on after a freeze", async () => {
  const crashed = await told(
    heal,
    `      - { at: 5, do: crash, host: web1 }\n      - { at: 7, do: restart, host: web1 }\n${vipByHand}`,
  );
  assert.equal(texts(crashed, /web1: guard: put right: someone/).length, 1);
  const frozen = await told(
    heal,
    `      - { at: 9, do: pause, host: web1 }\n${vipByHand}      - { at: 20, do: resume, host: web1 }\n`,
  );
  assert.match(texts(frozen, /web1: guard: put right: someone/).join(), /^2[01]\./);
});

test("an undo beside a guard stays undone: what vipward gave up is not put back as if it were another's", async () => {
  const { cluster, plot } = clusterOf(`    seconds: 30\n${heal}    faults: [{ at: 10, do: undo, host: web1 }]\n`);
  const scenario = new Scenario(cluster, plot, scenarioOptions(cluster, undefined, true));
  const outcome = await scenario.run();
  assert.match(texts(outcome, /vipward undo:/).join(), /3 steps done/);
  assert.deepEqual(texts(outcome, /guard: put right/), []);
  const { sysctls } = scenario.world.hosts.get("web1")?.facts ?? assert.fail();
  assert.deepEqual([sysctls["eth0.arp_ignore"] ?? 0, sysctls["eth0.arp_announce"] ?? 0], [0, 0]);
});

test("who is not silenced has nothing to guard; whose kernel runs no vipward is not guarded, and that is said", async () => {
  const plain = clusterOf(`    seconds: 5\n${heal}`);
  const unsilenced = new Scenario(plain.cluster, plain.plot, scenarioOptions(plain.cluster, undefined, false));
  assert.deepEqual(texts(await unsilenced.run(), /guard/), []);
  const old = clusterOf(`    seconds: 5\n${heal}`, (text) =>
    text.replace("web2: 10.10.0.12", 'web2: { rip: 10.10.0.12, kernel: "2.4.20+hidden" }'),
  );
  const outcome = await new Scenario(old.cluster, old.plot, scenarioOptions(old.cluster, undefined, true)).run();
  assert.deepEqual(texts(outcome, /guarded/), ["0.0 web2 is not guarded: its kernel does not run vipward"]);
});

test("explore: with a guard the laws that hands broke hold, and the same seed tells the same", async () => {
  const { cluster, plot } = clusterOf("    seconds: 5\n");
  // of these two schedules one breaks a law by hand alone
  const options = { seed: 36, runs: 2, durationMs: 120_000, dropsGratuitous: false, silenced: true };
  const byHand = (report: Awaited<ReturnType<typeof explore>>): string[] =>
    report.stories.flatMap((s) => (s.faults.every((f) => /vip|sysctl/.test(f.action)) ? [`${s.law} ${s.host}`] : []));
  assert.deepEqual(byHand(await explore(cluster, plot, options)), ["one owner web3"]);
  const guarded = await explore(cluster, plot, { ...options, guard: "heal" });
  assert.deepEqual(byHand(guarded), []);
  const again = await explore(cluster, plot, { ...options, guard: "heal" });
  assert.equal(JSON.stringify(again), JSON.stringify(guarded));
});
