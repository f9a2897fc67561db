/**
 * Held to the truth: the files of examples/ on a kernel of today and on the model, with the same faults at the same
 * times, and what was seen compared. Namespaces of the running kernel are quick, and run the failover thread beside the
 * nft engine; the VM has IPVS, dummy0, tunl0, and so the whole agent.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { after, before, type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { formatIpv4 } from "../base/ipv4.ts";
import type { LabFault } from "../cluster/cluster.ts";
import { parseCluster } from "../cluster/index.ts";
import { scenarioPlot } from "../lab/plot.ts";
import { Scenario, type ScenarioOptions } from "../lab/sim/scenario.ts";
import { methodsOf, specOf } from "../lab/spec.ts";
import { AgentProcesses, type Directing, failoverThread } from "./realDirectors.ts";
import { RealScenario } from "./realScenario.ts";
import { testPrefix } from "./root.ts";
import { noRoomWhy } from "./systemdRoom.ts";
import { type Chance, essence, type Seen, seenOnModel, spread, standingOf } from "./truth.ts";

interface Story {
  readonly file: string;
  /** Of a second story with the same file. */
  readonly what?: string;
  /** Not in namespaces of the running kernel: it needs what only the VM has. */
  readonly here?: false;
  /** In the VM too: whenever the tests run, or when `npm run truth` asks for it. */
  readonly vm?: "always" | "asked";
  /** What a kernel of today has instead: on both sides. */
  readonly change?: readonly (readonly [from: string | RegExp, to: string])[];
  readonly seconds?: number;
  /** When the file's own faults happen, in their order: caches and timers are asked about, not patience. */
  readonly at?: readonly number[];
  /** Faults in place of the file's. */
  readonly faults?: readonly LabFault[];
  readonly unsilenced?: true;
  /** A real server boots: systemd is process 1 there. */
  readonly boots?: true;
  /** Frames are lost by chance: how many connections are refused is held against what the model says of many seeds. */
  readonly shares?: true;
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

/** two-vips as far as it stands in one chapter, with checks that the lab's servers can answer, and no half minute of preemption. */
const twoVips = [
  [/ {2}- \{ name: web3, .*\n/, ""],
  [/ {6}web3: \{ forwarding: tun \}\n/, ""],
  ["port: [8000-8010, 8443]", "port: 8000"],
  ["{ type: tls, sni: www.example.com, minimumDaysLeft: 14 }", "{ type: tcp, port: 443 }"],
  ["{ type: dns, name: example.com, recordType: A }", "{ type: icmp }"],
  ["intervalMs: 1000, timeoutMs: 500", "intervalMs: 3000, timeoutMs: 2500"],
  ["intervalMs: 100\n    preempt", "intervalMs: 500\n    preempt"],
  ["preemptDelayMs: 30000", "preemptDelayMs: 1000"],
] as const;

/** Those that kill an agent stand last: the next story in the VM must wait for another to be loaded. */
const stories: readonly Story[] = [
  { file: "lvs-dr", vm: "asked" },
  { file: "lvs-tun", here: false, vm: "always" },
  { file: "lvs-dr-2.2", vm: "asked", change: [["policy: auto", "policy: redirect"]] },
  // checks by the RIP, which see all servers: what a VIP's port without a rule does to clients is asked
  { file: "redirect-port", vm: "asked", change: [["port: 8080,", "port: 8080, health: tcp,"]] },
  { file: "redirect-all", here: false, vm: "asked" },
  { file: "redirect-tun", here: false, vm: "asked" },
  { file: "mixed-kernels", vm: "asked", change: [onLo] },
  { file: "hidden-dr", here: false, vm: "asked", change: [sysctls] },
  { file: "hidden-tun", here: false, vm: "asked", change: [sysctls] },
  // arp_ignore on the card that hears the question hides as little as hidden does there
  {
    file: "hidden-alias",
    vm: "asked",
    change: [sysctls, onLo, ["eth0.hidden", "eth0.arp_ignore"], [/.*do: flush.*\n/g, ""]],
    at: [1, 2],
  },
  { file: "race-2.2", vm: "asked", unsilenced: true, at: [1, 2, 3, 4, 5] },
  // The watch over the real servers' silence, which answers the leak, is the whole agent's.
  { file: "leak-later", here: false, vm: "always", at: [2, 5], seconds: 14 },
  { file: "two-vips", here: false, vm: "asked", change: twoVips },
  { file: "two-directors", vm: "always", at: [7, 12], seconds: 20 },
  {
    file: "two-directors",
    what: "the split comes before the connections are told",
    here: false,
    vm: "asked",
    at: [1.5, 6.5],
    seconds: 14,
  },
  // its LVS/DR part: what goes by TUN is another chapter
  { file: "trunk-cut", vm: "asked", change: [[/ {2}- \{ name: files, .*\n/, ""]], at: [7, 12], seconds: 20 },
  // no hidden: the wrong MAC is told by one that answers and announces for a while
  {
    file: "stale-router",
    vm: "asked",
    change: [
      sysctls,
      onLo,
      ["all.hidden, value: 0", "eth0.arp_announce, value: 0"],
      ["all.hidden, value: 1", "eth0.arp_announce, value: 2"],
      // the router asks by broadcast, as in every story
      ["client: 10.20.0.200", "client: 10.10.0.200"],
    ],
    at: [2, 3, 4],
    seconds: 16,
  },
  {
    file: "lvs-dr",
    what: "a cable is cut and mended",
    vm: "asked",
    // late enough for the kernel's daemon to have told every connection: its third packet, and two seconds
    faults: [fault(7, "cut", "lb1"), fault(13, "mend", "lb1")],
    seconds: 20,
  },
  {
    file: "lvs-dr",
    what: "a real server loses the VIP, another announces it",
    vm: "asked",
    // the director defends its VIP at once; whether a packet comes in between is chance
    chance: ["misrouted"],
    faults: [fault(2, "remove-vip", "web2"), fault(3, "announce", "web1")],
  },
  {
    file: "lvs-dr",
    what: "the VIP is handed over, taken back, and handed over",
    here: false,
    vm: "always",
    faults: [fault(3, "release", "lb1"), fault(7, "take-over", "lb1"), fault(11, "release", "lb1")],
    seconds: 17,
  },
  {
    file: "lvs-dr",
    // what it had open hangs until patience ends
    what: "vipward undo on a real server, and apply again",
    here: false,
    vm: "asked",
    faults: [fault(3, "undo", "web2"), fault(14, "apply", "web2")],
    seconds: 22,
  },
  {
    file: "lvs-dr",
    what: "the director freezes and goes on",
    here: false,
    vm: "asked",
    faults: [fault(5, "pause", "lb1"), fault(10, "resume", "lb1")],
    seconds: 18,
  },
  {
    file: "lvs-dr",
    // unless directors take them out, two thirds of all connections get errors
    what: "two of three services answer with errors, one of them for a while",
    here: false,
    vm: "asked",
    change: [["scheduler: rr", "scheduler: rr, health: { type: http, intervalMs: 1000, timeoutMs: 900, fall: 2 }"]],
    faults: [fault(2, "answers", "web1", "", 503), fault(10, "answers", "web2", "", 500), fault(18, "answers", "web1")],
    seconds: 24,
  },
  {
    file: "lvs-dr",
    what: "cables delay, double and hold back",
    here: false,
    vm: "asked",
    faults: [
      fault(1, "delay", "client", "", 20),
      fault(2, "duplicate", "web1", "", 50),
      fault(3, "reorder", "web2", "", 30),
    ],
  },
  {
    file: "lvs-dr",
    what: "the client's cable loses half of its frames for a while",
    here: false,
    vm: "asked",
    faults: [fault(1, "loss", "client", "", 50), fault(34, "loss", "client")],
    seconds: 38,
    shares: true,
  },
  {
    file: "lvs-dr",
    what: "a real server loses power and boots",
    boots: true,
    // how long systemd takes is the machine's matter, and so whether a connection waits for it
    chance: ["refused"],
    faults: [fault(3, "crash", "web2"), fault(5, "restart", "web2")],
    seconds: 16,
  },
  {
    file: "lvs-dr",
    what: "vipward undo is killed in the middle",
    // the VIP is gone, and one sysctl is
    faults: [fault(3, "undo", "web2", "", 9)],
  },
  {
    file: "lvs-dr",
    what: "the director loses power and boots, and takes the VIP back",
    here: false, // without connection sync there is nothing to lose
    vm: "asked",
    faults: [fault(7, "crash", "lb1"), fault(11, "restart", "lb1")],
    seconds: 34,
  },
  {
    file: "lvs-dr",
    what: "the director loses power and boots, and is backup",
    vm: "asked",
    change: [["vrrp: { id: 77", "vrrp: { id: 77, preempt: false"]],
    faults: [fault(7, "crash", "lb1"), fault(11, "restart", "lb1")],
    seconds: 18,
  },
  // by then all connections have been told to the other director, on a busy machine too
  { file: "director-moves", vm: "asked", change: [["all.hidden", "all.arp_ignore"]], at: [6, 7], seconds: 17 },
  { file: "deaf-switch", vm: "asked", at: [7], seconds: 17 },
];

/** Which fact keeps a file from a kernel of today. */
const notHere: Readonly<Record<string, string>> = {
  "nature-2.0": "from 2.2 on an address belongs to the host: no kernel of today is quiet by nature",
  "arp-invisible": "no kernel of today carries the arp_invisible patch, and no flag stands for it",
  fullarpfix: "no kernel of today carries the fullarpfix patch; what it leaks is in leak-later",
};

/** By `npm run truth`, which somebody watches. */
const isAsked = process.env.VIPWARD_TRUTH !== undefined;

/** Connections begin every so often, and faults happen halfway between two. */
const connectEveryMs = 250;
/** Each fault may catch the short connection that is under way, and on a slow machine the one before it, too. */
const caughtEach = 2;
/** But these break none. */
const harmless: ReadonlySet<LabFault["action"]> = new Set(["apply", "delay", "duplicate", "reorder", "sysctl"]);
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
  const drawn = scenarioPlot(spec);
  const kernels = new Map(drawn.topology.hosts.map((h) => [h.name, release()]));
  const plot = { ...drawn, kernels, traffic: { ...drawn.traffic, patienceMs } };
  const own = cluster.lab.scenario?.faults ?? [];
  assert.equal(own.length, story.faults === undefined ? (story.at?.length ?? 0) : 0, story.file);
  const faults = story.faults ?? own.map((f, i) => ({ ...f, atMs: (story.at?.[i] ?? 0) * 1000 }));
  const options: ScenarioOptions = {
    seed: 1,
    durationMs: (story.seconds ?? 9) * 1000,
    faults: faults.map((f) => ({ ...f, atMs: f.atMs + connectEveryMs / 2 })),
    dropsGratuitous: cluster.lab.ignoresGratuitous,
    silenced: story.unsilenced !== true,
    connectEveryMs,
    longLived: 12,
    askEveryMs: 2000,
  };
  return { text, cluster, plot, options };
}

interface Told {
  readonly real: Seen;
  readonly model: Seen;
  readonly said: string;
  readonly stoodStill: boolean;
  readonly tookMs: number;
  readonly chance: Chance;
  /** The same story on the model with other seeds, where it is told in shares. */
  readonly others: readonly Seen[];
}
/** So many seeds, and the kernel's count within so many deviations of theirs: one run in ten thousand is not. */
const seeds = 12;
const deviations = 4;
/** Once more when a director says that it stood still for seconds: the machine is busy, and that was another story. */
const tries = 3;
const differ = ({ real, model, chance }: Told): boolean =>
  !isDeepStrictEqual(essence(model, chance), essence(real, chance));
/** What ends by the protocols' clocks alone where a machine stands still. */
const timed = ["broken", "refused"];

async function onModel(scenario: Scenario): Promise<Seen> {
  const outcome = await scenario.run();
  const { realServers, plot } = scenario.world;
  const vips = plot.vips.map(formatIpv4);
  const standing = realServers.map(({ host }) => [host.name, standingOf(host.facts, vips)] as const);
  return seenOnModel(outcome, Object.fromEntries(standing));
}

async function tell(story: Story, n: number, directing: Directing): Promise<Told> {
  const { text, cluster, plot, options } = prepare(story);
  const model = await onModel(new Scenario(cluster, plot, options));
  const others: Seen[] = [];
  if (story.shares)
    for (let seed = 2; seed <= seeds; seed++)
      others.push(await onModel(new Scenario(cluster, plot, { ...options, seed })));
  const caught = caughtEach * options.faults.filter((f) => !harmless.has(f.action)).length;
  const chance = { without: [...(story.chance ?? []), ...(story.shares ? ["refused"] : [])], caught };
  for (let attempt = 1; ; attempt++) {
    const startMs = performance.now();
    const prefix = testPrefix(`truth${n}`);
    const scenario = new RealScenario(cluster, text, plot, options, { prefix, directing });
    try {
      const real = await scenario.run();
      const tookMs = performance.now() - startMs;
      const told = { real, model, said: scenario.said(), stoodStill: scenario.stoodStill(), tookMs, chance, others };
      if (attempt === tries || !told.stoodStill || !differ(told)) return told;
    } finally {
      await scenario.close();
    }
  }
}

const hurt = ({ refused, broken }: Seen): number => refused + broken;
/** Loss is drawn anew on either side; how many connections do not come to their end is not. */
function compareShares(t: TestContext, real: Seen, models: readonly Seen[]): void {
  const { from, to } = spread(models.map(hurt), deviations);
  t.diagnostic(`${hurt(real)} of ${real.total} refused or broken, ${from} to ${to} expected`);
  assert.ok(from <= hurt(real) && hurt(real) <= to, `${hurt(real)} refused or broken, ${from} to ${to} expected`);
  assert.ok(from > 0, "a kernel that loses nothing would pass");
}

const titleOf = ({ file, what }: Story): string => `examples/${file}.yaml${what === undefined ? "" : `: ${what}`}`;

/** Runs stories, several at once, and defines a test for each. */
function compareStories(chosen: readonly Story[], atOnce: number, directing: () => Directing): void {
  const told = new Map<Story, PromiseSettledResult<Told>>();
  before(async () => {
    const waiting = chosen.entries();
    const worker = async (): Promise<void> => {
      for (const [n, story] of waiting) {
        if (story.boots && noRoomWhy() !== undefined) continue;
        const [result] = await Promise.allSettled([tell(story, n, directing())]);
        if (result === undefined) continue;
        told.set(story, result);
        if (isAsked) console.log(`told ${titleOf(story)}`);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  });
  for (const story of chosen)
    test(titleOf(story), (t) => {
      const whyNot = story.boots && noRoomWhy();
      if (whyNot) return t.skip(whyNot);
      const result = told.get(story);
      assert.ok(result !== undefined);
      if (result.status === "rejected") throw result.reason;
      const { real, model, said, stoodStill, tookMs, chance } = result.value;
      const both = `kernel ${JSON.stringify(real)}\nmodel  ${JSON.stringify(model)}`;
      t.diagnostic(`${Math.round(tookMs / 1000)} s\n${both}`);
      const isLate = stoodStill && differ(result.value);
      if (isLate) t.diagnostic(`the directors stood still in ${tries} runs: broken connections are not compared`);
      const all = { ...chance, without: [...chance.without, ...(isLate ? timed : [])] };
      assert.deepEqual(essence(model, all), essence(real, all), `${both}\n${said}`);
      if (story.shares) compareShares(t, real, [model, ...result.value.others]);
    });
}

/** In namespaces of the running kernel, with the failover thread. */
export const compareHere = (atOnce: number): void =>
  compareStories(
    stories.filter((s) => s.here !== false),
    atOnce,
    () => failoverThread,
  );

/** On a kernel with IPVS, with the whole agent. `asked`: stories with one of these in their title, "" for all; else those told always. */
export function compareWithAgents(atOnce: number, asked: string | undefined): void {
  const isChosen = (s: Story): boolean =>
    asked === undefined ? s.vm === "always" : asked.split("|").some((text) => titleOf(s).includes(text));
  const told = stories.filter((s) => s.vm !== undefined && isChosen(s));
  /** Another process is ready for it. */
  const restartsDirector = ({ faults = [] }: Story): boolean => faults.some((f) => f.action === "restart");
  let agents: AgentProcesses | undefined;
  before(() => {
    agents = new AgentProcesses(2 * atOnce + told.filter(restartsDirector).length);
  });
  compareStories(told, atOnce, () => {
    if (agents === undefined) throw new Error("before() has not run");
    return agents.direct;
  });
  after(() => agents?.end());
}

export function everyFileIsTold(): void {
  const files = readdirSync(new URL("../../examples", import.meta.url))
    .filter((f) => f.endsWith(".yaml"))
    .map((f) => f.replace(".yaml", ""));
  assert.deepEqual([...new Set([...stories.map((s) => s.file), ...Object.keys(notHere)])].sort(), files.sort());
}
