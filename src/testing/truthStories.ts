/**
 * Held to the truth: the files of examples/ on a kernel of today and on the model, with the same faults at the same
 * times, and what was seen compared. Needs no IPVS, dummy0 or tunl0: namespaces of the running kernel will do.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { LabFault } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import { plotOf } from "../lab/plot.ts";
import { Scenario, type ScenarioOptions } from "../lab/sim/scenario.ts";
import { methodsOf, specOf } from "../lab/spec.ts";
import { RealScenario } from "./realScenario.ts";
import { testPrefix } from "./root.ts";
import { essence, type Seen, seenOnModel } from "./truth.ts";

interface Story {
  readonly file: string;
  /** Of a second story with the same file. */
  readonly what?: string;
  /** What a kernel of today has instead: on both sides. */
  readonly change?: readonly (readonly [from: string | RegExp, to: string])[];
  readonly seconds?: number;
  /** When the file's own faults happen, in their order: caches and timers are asked about, not patience. */
  readonly at?: readonly number[];
  /** Faults in place of the file's. */
  readonly faults?: readonly LabFault[];
  readonly unsilenced?: true;
  /** What is chance in it, and not compared. */
  readonly chance?: readonly string[];
}

const fault = (at: number, action: LabFault["action"], host: string, name = "", value = 0): LabFault => ({
  atMs: at * 1000,
  action,
  host,
  name,
  value,
});
const sysctls = [/policy: hidden/g, "policy: arp-sysctl"] as const;
const onLo = [/, carrier: dummy0/g, ""] as const;

const stories: readonly Story[] = [
  { file: "lvs-dr" },
  { file: "lvs-dr-2.2", change: [["policy: auto", "policy: redirect"]] },
  { file: "redirect-port" },
  { file: "redirect-all" },
  { file: "mixed-kernels", change: [onLo] },
  // arp_ignore on the card that hears the question hides as little as hidden does there
  { file: "hidden-alias", change: [sysctls, onLo, ["eth0.hidden", "eth0.arp_ignore"]], at: [1, 2] },
  { file: "race-2.2", unsilenced: true, at: [1, 2, 3, 4, 5] },
  { file: "director-moves", at: [4], seconds: 20 },
  { file: "deaf-switch", at: [4], seconds: 20 },
  { file: "two-directors", at: [3, 8], seconds: 22 },
  { file: "trunk-cut", at: [3, 8], seconds: 22 },
  // no hidden: the wrong MAC is told by one that answers and announces for a while
  {
    file: "stale-router",
    change: [
      sysctls,
      onLo,
      ["all.hidden, value: 0", "eth0.arp_announce, value: 0"],
      ["all.hidden, value: 1", "eth0.arp_announce, value: 2"],
    ],
    at: [2, 3, 4],
    seconds: 22,
  },
  {
    file: "lvs-dr",
    what: "a cable is cut and mended",
    faults: [fault(3, "cut", "lb1"), fault(9, "mend", "lb1")],
    seconds: 22,
  },
  {
    file: "lvs-dr",
    what: "a real server loses the VIP, another announces it",
    // the director defends its VIP at once; whether a packet comes in between is chance
    chance: ["misrouted"],
    faults: [fault(2, "remove-vip", "web2"), fault(3, "announce", "web1")],
  },
];

/** Which fact keeps a file from a kernel of today. */
const notHere: Readonly<Record<string, string>> = {
  "nature-2.0": "from 2.2 on an address belongs to the host: no kernel of today is quiet by nature",
  "arp-invisible": "no kernel of today carries the arp_invisible patch, and no flag stands for it",
  fullarpfix: "no kernel of today carries the fullarpfix patch; what it leaks is in leak-later",
  "lvs-tun": "not run yet: needs IPVS and tunl0",
  "hidden-tun": "not run yet: needs IPVS and tunl0",
  "redirect-tun": "not run yet: needs IPVS and tunl0",
  "hidden-dr": "not run yet: needs dummy0; on lo it is lvs-dr",
  "leak-later": "not run yet: needs the whole agent, whose watch answers the leak",
  "two-vips": "not run yet: its checks want servers that speak TLS and DNS",
};

/** Longer than TCP's pauses between two tries once a director is missed. */
const patienceMs = 8000;

function textOf({ file, change = [] }: Story): string {
  const url = new URL(`../../examples/${file}.yaml`, import.meta.url);
  const today = readFileSync(url, "utf8")
    .replace(/, kernel: "[^"]*"/g, "")
    .replace("vrrp: { id: 77 }", "vrrp: { id: 77, intervalMs: 500 }")
    .replace(/^ *kernels: .*\n/m, "");
  return change.reduce((text, [from, to]) => {
    const changed = text.replace(from, to);
    assert.notEqual(changed, text, `${file}: nothing to change for ${from}`);
    return changed;
  }, today);
}

/** The same cluster, plot and options for both sides. */
function prepare(story: Story) {
  const text = textOf(story);
  const read = parseCluster(text, { fileName: story.file });
  assert.ok(read.ok, JSON.stringify(read));
  const { cluster } = read;
  const spec = specOf(cluster, methodsOf(cluster)[0] ?? "dr");
  assert.ok(typeof spec !== "string", String(spec));
  const drawn = plotOf(spec, { longLived: 0, shortLived: 0, durationMs: 0 });
  const plot = { ...drawn, traffic: { ...drawn.traffic, patienceMs } };
  const own = cluster.lab.scenario?.faults ?? [];
  assert.equal(own.length, story.faults === undefined ? (story.at?.length ?? 0) : 0, story.file);
  const options: ScenarioOptions = {
    seed: 1,
    durationMs: (story.seconds ?? 14) * 1000,
    faults: story.faults ?? own.map((f, i) => ({ ...f, atMs: (story.at?.[i] ?? 0) * 1000 })),
    dropsGratuitous: cluster.lab.ignoresGratuitous,
    silenced: story.unsilenced !== true,
    connectEveryMs: 250,
    longLived: 12,
    askEveryMs: 2000,
  };
  return { text, cluster, plot, options };
}

interface Told {
  readonly real: Seen;
  readonly model: Seen;
  readonly said: string;
}
/** Once more when a director says that it stood still for seconds: the machine is busy, and that was another story. */
const tries = 3;
const stoodStill = ({ said }: Told): boolean => /woke-late/.test(said);
const differ = ({ real, model }: Told, { chance }: Story): boolean =>
  !isDeepStrictEqual(essence(model, chance), essence(real, chance));
/** What ends by the protocols' clocks alone where a machine stands still. */
const timed = ["broken", "refused"];

async function tell(story: Story, n: number): Promise<Told> {
  const { text, cluster, plot, options } = prepare(story);
  const model = seenOnModel(await new Scenario(cluster, plot, options).run());
  for (let attempt = 1; ; attempt++) {
    const scenario = new RealScenario(cluster, text, plot, options, testPrefix(`truth${n}`));
    try {
      const told = { real: await scenario.run(), model, said: scenario.said() };
      if (attempt === tries || !stoodStill(told) || !differ(told, story)) return told;
    } finally {
      await scenario.close();
    }
  }
}

/** Runs the stories of one place, several at once, and defines a test for each. */
export function compareStories(atOnce: number): void {
  const told = new Map<Story, PromiseSettledResult<Told>>();
  before(async () => {
    const waiting = stories.entries();
    const worker = async (): Promise<void> => {
      for (const [n, story] of waiting) {
        const [result] = await Promise.allSettled([tell(story, n)]);
        if (result !== undefined) told.set(story, result);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  });
  for (const story of stories)
    test(`examples/${story.file}.yaml${story.what === undefined ? "" : `: ${story.what}`}`, (t) => {
      const result = told.get(story);
      assert.ok(result !== undefined);
      if (result.status === "rejected") throw result.reason;
      const { real, model, said } = result.value;
      const both = `kernel ${JSON.stringify(real)}\nmodel  ${JSON.stringify(model)}`;
      const isLate = stoodStill(result.value) && differ(result.value, story);
      if (isLate) t.diagnostic(`the directors stood still in ${tries} runs: broken connections are not compared`);
      const without = [...(story.chance ?? []), ...(isLate ? timed : [])];
      assert.deepEqual(essence(model, without), essence(real, without), `${both}\n${said}`);
    });
}

export function everyFileIsTold(): void {
  const files = readdirSync(new URL("../../examples", import.meta.url))
    .filter((f) => f.endsWith(".yaml"))
    .map((f) => f.replace(".yaml", ""));
  assert.deepEqual([...new Set([...stories.map((s) => s.file), ...Object.keys(notHere)])].sort(), files.sort());
}
