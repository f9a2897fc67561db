/** Fault schedules for explore: half of them drawn at random, half directed at the moments where failover and undo are weak. */
import { type Cluster, httpChecksOf, type LabFault } from "../../cluster/cluster.ts";
import type { FaultAction } from "../../cluster/words.ts";
import { Dice } from "../../sim/dice.ts";
import type { Plot } from "../plot.ts";
import type { LabHost } from "../topology.ts";

type Role = "director" | "realServer" | "askedByHttp";

/** Random faults: who may suffer them, the range of their value, and what undoes them. */
const kinds: readonly {
  readonly action: FaultAction;
  readonly roles: readonly Role[];
  readonly value?: readonly [number, number];
  readonly undo?: FaultAction;
}[] = [
  { action: "crash", roles: ["director", "realServer"], undo: "restart" },
  { action: "pause", roles: ["director", "realServer"], undo: "resume" },
  { action: "cut", roles: ["director", "realServer"], undo: "mend" },
  { action: "loss", roles: ["director", "realServer"], value: [1, 60], undo: "loss" },
  { action: "duplicate", roles: ["director", "realServer"], value: [1, 50], undo: "duplicate" },
  { action: "reorder", roles: ["director", "realServer"], value: [1, 50], undo: "reorder" },
  { action: "drift", roles: ["director"], value: [-200_000, 200_000] },
  { action: "sysctl", roles: ["realServer"] },
  { action: "add-vip", roles: ["realServer"] },
  { action: "remove-vip", roles: ["realServer", "director"] },
  { action: "flush", roles: ["director", "realServer"] },
  { action: "take-over", roles: ["director"] },
  { action: "speak", roles: ["realServer"] },
  { action: "apply", roles: ["realServer"], value: [0, 30] },
  // last: where no check would see it, it is not there, and schedules are what they were
  { action: "answers", roles: ["askedByHttp"], value: [500, 504], undo: "answers" },
];
const flips = ["arp_ignore", "arp_announce", "rp_filter", "arp_filter", "hidden", "proxy_arp"] as const;

/** What a directed schedule draws from. */
interface Draw {
  readonly dice: Dice;
  readonly atMs: number;
  /** A master is missed after about so long. */
  readonly downMs: number;
  readonly director: string;
  readonly other: string | undefined;
  readonly realServer: string;
  /** Its interface on the LAN. */
  readonly link: string;
}
type Sketch = readonly [afterMs: number, action: FaultAction, host: string, value?: number, name?: string];

const stops = [
  ["crash", "restart"],
  ["pause", "resume"],
  ["cut", "mend"],
] as const;

const directed: readonly ((d: Draw) => Sketch[])[] = [
  // the master goes, and while it is missed something happens to its successor
  ({ dice, downMs, director, other }) => {
    const [stop, go] = dice.pick(stops);
    const backMs = dice.below(5 * downMs);
    const sketches: Sketch[] = [
      [0, stop, director],
      [backMs, go, director],
    ];
    if (other === undefined) return sketches;
    const [stopOther, goOther] = dice.pick(stops);
    const thenMs = dice.below(downMs + 500);
    return [...sketches, [thenMs, stopOther, other], [thenMs + dice.below(2 * downMs), goOther, other]];
  },
  // a cable that comes and goes
  ({ dice, downMs, director }) => {
    let at = 0;
    return Array.from({ length: 6 }, (_, i): Sketch => {
      at += dice.below(2 * downMs);
      return [at, i % 2 === 0 ? "cut" : "mend", director];
    });
  },
  // frozen for just as long as it takes to be missed
  ({ dice, downMs, director }) => [
    [0, "pause", director],
    [downMs - 500 + dice.below(2000), "resume", director],
  ],
  // half silenced, and an hour later an empty cache
  ({ dice, realServer, link }) => [
    [0, "sysctl", realServer, 0, `${link}.arp_announce`],
    [1000 + dice.below(60_000), "flush", realServer],
    [61_000, "speak", realServer],
  ],
  // vipward apply killed at any call, then what people do next
  ({ dice, realServer }) => [
    [0, dice.pick(["apply", "undo"] as const), realServer, dice.between(1, 40)],
    [2000, dice.pick(["apply", "undo"] as const), realServer, dice.below(3) === 0 ? dice.between(1, 40) : 0],
    [4000, "undo", realServer],
    [6000, "apply", realServer],
  ],
  // the power goes in the middle of a run
  ({ dice, realServer }) => [
    [0, dice.pick(["apply", "undo"] as const), realServer],
    [dice.between(1, 8), "crash", realServer],
    [3000, "restart", realServer],
    [5000, "apply", realServer, dice.below(2) * dice.between(1, 20)],
    [7000, "undo", realServer],
    [9000, "apply", realServer],
  ],
  // clocks apart, and adverts lost
  ({ dice, director, other, downMs }) => [
    [0, "drift", director, dice.between(-200_000, 0)],
    [0, "drift", other ?? director, dice.between(0, 200_000)],
    [1000, "loss", director, dice.between(10, 50)],
    [1000 + 8 * downMs, "loss", director, 0],
  ],
  // a hand-over that meets a failure
  ({ dice, downMs, director, other, realServer }) => [
    [0, "take-over", other ?? director],
    [dice.below(downMs), dice.pick(["crash", "pause", "cut"] as const), dice.pick([director, other ?? director])],
    [dice.below(downMs), "flush", realServer],
  ],
];

/** A trunk that carries nothing for a while. */
const split =
  (uplink: string) =>
  ({ dice, downMs }: Draw): Sketch[] => [
    [0, "cut", uplink],
    [dice.below(5 * downMs), "mend", uplink],
  ];

const hostsOf = (plot: Plot, role: LabHost["role"]): LabHost[] => plot.topology.hosts.filter((h) => h.role === role);

type Victims = Readonly<Record<Role, readonly LabHost[]>>;
function victimsOf(cluster: Cluster, plot: Plot): Victims {
  const realServer = hostsOf(plot, "realServer");
  const asked = httpChecksOf(cluster.services);
  return { director: hostsOf(plot, "director"), realServer, askedByHttp: realServer.filter((h) => asked.has(h.name)) };
}

/** Room is left for what follows, of a short schedule half. */
const beginMs = (dice: Dice, durationMs: number, roomMs: number): number =>
  1000 + dice.below(durationMs - Math.min(roomMs, durationMs / 2));

function draw(cluster: Cluster, plot: Plot, dice: Dice, durationMs: number): LabFault[] {
  const directors = hostsOf(plot, "director").map((h) => h.name);
  const director = dice.pick(directors);
  const others = directors.filter((name) => name !== director);
  const server = dice.pick(hostsOf(plot, "realServer"));
  const downMs = Math.max(1000, ...cluster.failover.instances.map((i) => (i.downAdverts + 1) * i.intervalMs));
  const atMs = beginMs(dice, durationMs, 120_000);
  const splits = plot.topology.switches.flatMap((s) => (s.uplink === undefined ? [] : [split(s.name)]));
  const sketches = dice.pick([...directed, ...splits])({
    dice,
    atMs,
    downMs,
    director,
    other: others.length === 0 ? undefined : dice.pick(others),
    realServer: server.name,
    link: server.links[0]?.name ?? "eth0",
  });
  return sketches.map(
    ([afterMs, action, host, value = 0, name = ""]): LabFault => ({ atMs: atMs + afterMs, action, host, name, value }),
  );
}

function drawOne(victims: Victims, dice: Dice, durationMs: number): LabFault[] {
  const possible = kinds.filter(({ roles }) => roles.some((role) => victims[role].length > 0));
  const { action, roles, value, undo } = dice.pick(possible);
  const host = dice.pick(roles.flatMap((role) => victims[role]));
  const atMs = beginMs(dice, durationMs, 60_000);
  const fault = { atMs, action, host: host.name, name: "", value: value === undefined ? 0 : dice.between(...value) };
  if (action === "sysctl") {
    const scope = dice.pick(["all", host.links[0]?.name ?? "eth0", "lo"]);
    return [{ ...fault, name: `${scope}.${dice.pick(flips)}`, value: dice.below(3) }];
  }
  if (undo === undefined) return [fault];
  // soon for half of them, so that a standby is caught in the middle
  const laterMs = 100 + (dice.below(2) === 0 ? dice.below(8000) : dice.below(600_000));
  return [fault, { ...fault, atMs: Math.min(atMs + laterMs, durationMs - 1), action: undo, value: 0 }];
}

/** Schedule number `run` of a seed. */
export function scheduleOf(cluster: Cluster, plot: Plot, seed: number, run: number, durationMs: number): LabFault[] {
  const dice = new Dice((seed ^ Math.imul(run + 1, 0x9e3779b1)) | 0);
  const faults: LabFault[] = [];
  if (dice.below(2) === 0)
    for (let n = dice.between(1, 2); n > 0; n--) faults.push(...draw(cluster, plot, dice, durationMs));
  else {
    const victims = victimsOf(cluster, plot);
    for (const wanted = dice.between(2, 6); faults.length < wanted; )
      faults.push(...drawOne(victims, dice, durationMs));
  }
  return faults.filter((f) => f.atMs < durationMs).sort((a, b) => a.atMs - b.atMs);
}
