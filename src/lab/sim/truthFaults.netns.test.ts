/** The same things done to a cluster on the running kernel and on the model: the same owners, neighbours and leaks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4 } from "../../base/ipv4.ts";
import { parseCluster } from "../../cluster/index.ts";
import { needsRoot, testPrefix } from "../../testing/root.ts";
import { builtinCluster } from "../builtin.ts";
import { nftEngineMaker } from "../netns/engines.ts";
import { netnsStage } from "../netns/stage.ts";
import { type Plot, scenarioPlot } from "../plot.ts";
import { silence } from "../silence.ts";
import { specOf } from "../spec.ts";
import type { Stage } from "../stage.ts";
import { addressOn } from "../topology.ts";
import { simStage } from "./stage.ts";

type Deed = (stage: Stage, plot: Plot) => void;
const sysctl =
  (machine: string, name: string, value: number): Deed =>
  (stage) =>
    void stage.setSysctls(machine, [{ link: "eth0", name, value: String(value) }]);
const silenced: Deed = (stage, plot) => {
  for (const { host } of plot.realServers) stage.setSysctls(host.name, silence(host, "full"));
};
const speak =
  (machine: string): Deed =>
  (stage, plot) => {
    stage.forgetNeighbours(machine);
    stage.speak(machine, plot.vips[0] as never, addressOn(plot.router, plot.lan));
  };

/** What examples/*.yaml do that a kernel of today can: each deed in turn, and after the last the two are compared. */
const stories: readonly (readonly [name: string, deeds: readonly Deed[]])[] = [
  ["nobody is silenced (race-2.2)", []],
  ["all are silenced (lvs-dr)", [silenced]],
  ["a VIP on a network card (hidden-alias)", [silenced, (s, p) => s.address("web1", "add", p.vips)]],
  [
    "arp_ignore without arp_announce, an empty cache (leak-later)",
    [silenced, sysctl("web1", "arp_announce", 0), speak("web1")],
  ],
  ["arp_announce without arp_ignore", [silenced, sysctl("web2", "arp_ignore", 0), speak("web2")]],
  ["silenced, and it speaks in the VIP's name", [silenced, speak("web3")]],
  ["a real server that lost the VIPs", [silenced, (s, p) => s.address("web1", "remove", p.vips)]],
  [
    "the director's cable is cut, a real server answers",
    [silenced, sysctl("web1", "arp_ignore", 0), (s) => s.plug("lb1", false)],
  ],
  [
    "the VIP moves to the other director (director-moves)",
    [silenced, (s) => s.plug("lb1", false), (s, p) => s.address("lb2", "add", p.vips)],
  ],
  ["two directors after a split (two-directors)", [silenced, (s, p) => s.address("lb2", "add", p.vips)]],
];

async function tell(stage: Stage, plot: Plot, deeds: readonly Deed[]): Promise<unknown> {
  stage.program(plot.services.map((s) => s.service));
  for (const deed of deeds) deed(stage, plot);
  await stage.pause(300);
  const nameOf = (mac: string | undefined): string => plot.cast.nameOfMac.get(mac as never) ?? "nobody";
  const { leaks } = await stage.observed();
  const answers = await stage.whoHas(plot.client.name, plot.vips, 6);
  const reach: Record<string, boolean> = {};
  for (const { host, wire } of plot.realServers)
    reach[host.name] = await stage.ping(
      plot.router.name,
      addressOn(plot.router, plot.lan),
      addressOn(host, wire),
      2500,
    );
  const owners = answers.map((a) => a.by.map((b) => nameOf(b.mac)).sort());
  const told = plot.vips.map((vip, i) => {
    const name = nameOf(stage.neighbour(plot.router.name, vip));
    // of two that answer, either may have been the quicker one; whoever is none of them was not asked
    return name === "nobody" || owners[i]?.includes(name) === true ? "an owner, or nobody" : name;
  });
  return {
    owners,
    leaks: Object.keys(leaks).sort(),
    told,
    holders: plot.vips.map(formatIpv4),
    reach,
  };
}

test("whatever is done to them, the running kernel and the model end up the same", async (t) => {
  if (!needsRoot(t)) return;
  const read = parseCluster(builtinCluster("dr", 3));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, "dr");
  assert.ok(typeof spec !== "string");
  for (const [name, deeds] of stories) {
    const plot = scenarioPlot(spec);
    const signal = new AbortController().signal;
    const real = await netnsStage(plot, nftEngineMaker(), { prefix: testPrefix("deeds"), signal, progress: () => {} });
    try {
      const simulated = simStage(read.cluster, plot, { seed: 1 });
      assert.deepEqual(await tell(simulated, plot, deeds), await tell(real, plot, deeds), name);
    } finally {
      await real.remove({ keep: false });
    }
  }
});
