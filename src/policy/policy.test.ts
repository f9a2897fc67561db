import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostFacts } from "../model/facts.ts";
import { effect, undoAll } from "../plan/change.ts";
import { worldOf } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import { baseOf, changesOf } from "../plan/plan.ts";
import { realServer } from "../testing/realServer.ts";
import { type Choice, consider, type PolicyPlan, planAuto, planNamed } from "./auto.ts";
import { policies } from "./policies.ts";
import type { Wish } from "./wish.ts";

const wish: Wish = { vips: ["10.0.0.100"], forwarding: "dr", carrier: "lo", services: [] };
const plain = (facts: HostFacts, w: Partial<Wish> = {}) => ({
  world: worldOf(facts),
  owned: [],
  wish: { ...wish, ...w },
  kernel: kernelModel,
});

function planned(choice: Choice): PolicyPlan {
  assert.notEqual(choice.policy, "none", JSON.stringify(choice.considered.map((c) => c.why)));
  return choice as PolicyPlan;
}

const brokenLaws = (p: PolicyPlan): string[] =>
  p.plan.proof.laws.flatMap((l) => l.broken.map((b) => `${l.law}: ${b.asked}: ${b.answer} (${b.rule})`));

const patched = (
  name: "hidden" | "arp_invisible" | "fullarpfix",
  release: string,
  generation: HostFacts["kernel"]["generation"],
) => realServer(release, { kernel: { release, generation, patches: [{ name, how: "told" }] } });

const hosts: Record<string, HostFacts> = {
  "2.0.36": realServer("2.0.36"),
  "2.2.13 fullarpfix": patched("fullarpfix", "2.2.13", "2.2-sdw"),
  "2.2.13 arp_invisible": patched("arp_invisible", "2.2.13", "2.2-arp_invisible"),
  "2.2.19": realServer("2.2.19", { kernel: { release: "2.2.19", generation: "2.2-hidden" } }),
  "2.2.13": realServer("2.2.13"),
  "2.4.20 hidden": patched("hidden", "2.4.20", "2.4-hidden"),
  "2.4.27": realServer("2.4.27"),
  "2.6.18": realServer("2.6.18"),
  "6.1.0": realServer("6.1.0"),
};

const picks: Record<string, string> = {
  "2.0.36": "nature-2.0",
  "2.2.13 arp_invisible": "arp-invisible",
  "2.2.19": "hidden",
  "2.2.13": "redirect",
  "2.4.20 hidden": "hidden",
  "2.4.27": "arp-sysctl",
  "2.6.18": "arp-sysctl",
  "6.1.0": "arp-sysctl",
};

for (const [name, expected] of Object.entries(picks))
  test(`auto on ${name} picks ${expected}, proves it, and says why not each other one`, () => {
    const p = planned(planAuto(plain(hosts[name] as HostFacts)));
    assert.equal(p.policy, expected);
    assert.deepEqual(brokenLaws(p), []);
    assert.equal(p.considered.length, policies.length);
    for (const c of p.considered) assert.ok(c.why.length > 10, `${c.policy} gives no reason`);
  });

test("fullarpfix is planned but not proven: the model assumes that requests sent may leak (A-2.2sdw-02)", () => {
  const p = planned(planNamed("fullarpfix", plain(hosts["2.2.13 fullarpfix"] as HostFacts)));
  assert.deepEqual(
    p.plan.proof.laws.filter((l) => !l.holds).map((l) => l.law),
    [3],
  );
});

for (const [name, facts] of Object.entries(hosts))
  for (const forwarding of ["dr", "tun"] as const)
    for (const carrier of ["lo", "dummy", "tunl0"] as const)
      test(`on ${name}, ${forwarding}, ${carrier}: each policy that suits proves all laws, and undo gives back the facts`, () => {
        const request = plain(facts, { forwarding, carrier, vips: ["10.0.0.100", "10.0.0.101"] });
        let suiting = 0;
        for (const c of consider(request)) {
          if (!c.suits) {
            assert.ok(c.why.length > 10);
            continue;
          }
          suiting++;
          const p = planned(planNamed(c.policy, request));
          assert.deepEqual(p.plan.conflicts, [], c.policy);
          const allowed = c.policy === "fullarpfix" ? /^3: / : /^$/;
          assert.deepEqual(
            brokenLaws(p).filter((b) => !allowed.test(b)),
            [],
            c.policy,
          );
          const changes = changesOf(p.plan);
          const after = effect(request.world, changes);
          assert.deepEqual(effect(after, undoAll(changes)), request.world, c.policy);
          const again = planned(planNamed(c.policy, { ...request, world: after, owned: changes }));
          assert.deepEqual(again.plan.steps, [], `${c.policy} again`);
          assert.deepEqual(baseOf(after, changes).facts, request.world.facts, c.policy);
        }
        assert.ok(suiting > 0, "no policy suits");
      });

test("the twin: the same host without silence is answered for and leaks, and the proof says so", () => {
  const p = planned(planNamed("arp-sysctl", plain(hosts["6.1.0"] as HostFacts)));
  const withoutSilence = p.plan.steps.filter((s) => s.phase !== "silence").map((s) => s.change);
  const after = effect(worldOf(hosts["6.1.0"] as HostFacts), withoutSilence);
  const view = kernelModel(after.facts);
  const q = { link: "eth0", sender: 0x0a000001, target: 0x0a000064 } as never as Parameters<typeof view.answers>[0];
  assert.equal(view.answers({ ...q, unicast: false }).yes, true);
});
