import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4 } from "../../base/ipv4.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { parseCluster } from "../../cluster/index.ts";
import type { HostFacts } from "../../model/facts.ts";
import { effect } from "../../plan/change.ts";
import { worldOf } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { changesOf } from "../../plan/plan.ts";
import { planNamed } from "../../policy/auto.ts";
import { policies } from "../../policy/policies.ts";
import { carriers, type Wish } from "../../policy/wish.ts";
import { seed } from "../../testing/seed.ts";
import { redOf } from "../../testing/verdicts.ts";
import { builtinCluster } from "../builtin.ts";
import { type Plot, plotOf } from "../plot.ts";
import { specOf } from "../spec.ts";
import { tellProof } from "../story.ts";
import { plainFacts } from "./build.ts";
import { simStage } from "./stage.ts";

const kernels = [
  "2.0.36",
  "2.2.13",
  "2.2.13+fullarpfix",
  "2.2.13+arp_invisible",
  "2.2.19",
  "2.4.20+hidden",
  "2.4.27",
  "2.6.18",
  "6.18.0",
];

/** Each policy must suit at least these, or the test below would prove nothing of it. */
const mustSuit: readonly (readonly [policy: string, kernel: string])[] = [
  ["nature-2.0", "2.0.36"],
  ["noarp-carrier", "2.0.36"],
  ["fullarpfix", "2.2.13+fullarpfix"],
  ["arp-invisible", "2.2.13+arp_invisible"],
  ["hidden", "2.2.19"],
  ["hidden", "2.4.20+hidden"],
  ["redirect", "2.2.13"],
  ["arp-sysctl", "2.4.27"],
  ["arptables", "2.4.27"],
  ["local-route", "2.6.18"],
  ["nft-arp", "6.18.0"],
  ["redirect", "6.18.0"],
];

interface Part {
  readonly policy: string;
  readonly kernel: string;
  readonly carrier: (typeof carriers)[number];
  readonly facts: HostFacts;
  readonly proven: boolean;
}

function plotFor(forwarding: "dr" | "tun", count: number): [Cluster, Plot] {
  const size = { longLived: count, shortLived: 2 * count, durationMs: 4000 };
  const read = parseCluster(builtinCluster(forwarding, count));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, forwarding);
  assert.ok(typeof spec !== "string", String(spec));
  return [read.cluster, plotOf(spec, size)];
}

/** What a policy makes of this real server on that kernel; undefined where it does not suit, which it must say why. */
function made(plot: Plot, index: number, policy: string, kernel: string, carrier: Part["carrier"]): Part | undefined {
  const host = plot.realServers[index]?.host;
  assert.ok(host);
  const vips = plot.vips.map(formatIpv4);
  const services = plot.services.map(({ service: { port } }) => ({ protocol: "tcp", ports: [[port, port]] }) as const);
  const wish: Wish = { vips, forwarding: plot.forwarding === "tun" ? "tun" : "dr", carrier, services };
  const world = worldOf(plainFacts(host, kernel));
  const choice = planNamed(policy, { world, owned: [], wish, kernel: kernelModel });
  if (!("plan" in choice)) {
    assert.ok((choice.considered[0]?.why ?? "").length > 20, `${policy} on ${kernel} is refused without a reason`);
    return undefined;
  }
  assert.deepEqual(choice.plan.conflicts, [], `${policy} on ${kernel}`);
  const { facts } = effect(world, changesOf(choice.plan));
  return { policy, kernel, carrier, facts, proven: choice.plan.proof.holds };
}

async function serve(forwarding: "dr" | "tun", kernel: string): Promise<void> {
  const [cluster, drawn] = plotFor(forwarding, policies.length * carriers.length);
  const parts = policies
    .flatMap(({ name }) => carriers.map((carrier) => ({ name, carrier })))
    .flatMap(({ name, carrier }, i) => {
      const part = made(drawn, i, name, kernel, carrier);
      return part === undefined ? [] : [{ ...part, name: drawn.realServers[i]?.host.name ?? "" }];
    });
  for (const [policy, on] of mustSuit)
    assert.ok(on !== kernel || parts.some((p) => p.policy === policy), `${policy} suits no carrier on ${kernel}`);
  const taken = new Set(parts.map((p) => p.name));
  // Those that no policy suits stand by without a VIP, and get no connections.
  const services = drawn.services.map(({ service }) => ({
    service: { ...service, realServers: service.realServers.filter((r) => taken.has(r.name)) },
  }));
  const realServers = drawn.realServers.filter((r) => taken.has(r.host.name));
  const weights = Object.fromEntries(
    Object.entries(drawn.weights).map(([key, all]) => [
      key,
      Object.fromEntries(Object.entries(all).filter(([name]) => taken.has(name))),
    ]),
  );
  const plot: Plot = { ...drawn, services, realServers, weights };
  const stage = simStage(cluster, plot, { seed });
  stage.program(services.map((s) => s.service));
  for (const part of parts) stage.world.hosts.get(part.name)?.change(part.facts);
  const options = { cure: "full", nowMs: stage.nowMs, tell: () => {}, signal: new AbortController().signal } as const;
  const { proof, verdicts } = await tellProof(plot, stage, options);
  for (const { policy, carrier, name, proven } of parts) {
    const what = `${policy} on ${carrier} (${name}, seed ${seed})`;
    const answered = proof.whoHas.some((w) => w.shares.some((s) => s.machine === name));
    assert.equal(answered, false, `${what}: answered for the VIP`);
    const served = proof.traffic.services.map((s) => s.served[name] ?? 0);
    assert.ok(Math.min(...served) > 0, `${what}: served ${served}`);
    const leaks = (proof.leaks[name] ?? 0) + (proof.traffic.leaks[name] ?? 0);
    // Where the proof says that a law is broken, it is seen to be: fullarpfix hides answers only (A-2.2sdw-02).
    assert.equal(leaks > 0, !proven, `${what}: ${leaks} leaks, proven: ${proven}`);
    assert.deepEqual(proof.reach.find((r) => r.realServer === name)?.answeredBy, [name], what);
  }
  const unproven = parts.filter((p) => !p.proven).map((p) => p.policy);
  assert.deepEqual([...new Set(unproven)], kernel.endsWith("+fullarpfix") ? ["fullarpfix"] : []);
  if (unproven.length === 0) assert.deepEqual(redOf(verdicts), []);
}

for (const kernel of kernels)
  for (const forwarding of ["dr", "tun"] as const)
    test(`${kernel}, ${forwarding}: each policy on each carrier that it suits, all serving at once, keeps the laws on the simulated wire`, () =>
      serve(forwarding, kernel));
