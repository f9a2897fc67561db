import assert from "node:assert/strict";
import { test } from "node:test";
import { ipv4 } from "../base/ipv4.ts";
import type { HostFacts } from "../model/facts.ts";
import { effect } from "../plan/change.ts";
import { worldOf } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import { changesOf } from "../plan/plan.ts";
import { realServer } from "../testing/realServer.ts";
import { planFor } from "./auto.ts";
import { standingBy } from "./standingBy.ts";
import type { Wish } from "./wish.ts";

const wish: Wish = { vips: ["10.0.0.100"], forwarding: "dr", carrier: "lo", services: [], ownsAtTimes: true };
const held = [{ link: "eth0", vips: ["10.0.0.100"] }];
const plain = realServer("6.1.0");
/** As failover leaves it on the master. */
const master: HostFacts = {
  ...plain,
  addresses: [...plain.addresses, { link: "eth0", ip: "10.0.0.100", prefixLength: 32, scope: 0 }],
};

const choiceFor = (facts: HostFacts, name = "auto") =>
  planFor(name, { world: worldOf(facts), owned: [], wish, kernel: kernelModel });
const answers = (facts: HostFacts): boolean =>
  kernelModel(facts).answers({
    link: "eth0",
    sender: ipv4("10.0.0.1"),
    target: ipv4("10.0.0.100"),
    unicast: false,
  }).yes;

test("a director that is a real server too: the same plan whether it owns the VIP or stands by; silent as the one, answering as the other", () => {
  const [standing, otherwise] = [choiceFor(standingBy(master, held)), choiceFor(plain)];
  assert.ok("plan" in standing && "plan" in otherwise);
  assert.deepEqual(standing.plan.steps, otherwise.plan.steps);
  assert.equal(choiceFor(master).policy, "none", "the twin: without the view the VIP on eth0 stands against all");
  const after = (facts: HostFacts): HostFacts => effect(worldOf(facts), changesOf(standing.plan)).facts;
  assert.equal(answers(after(plain)), false);
  assert.equal(answers(after(master)), true);
});

test("a director that is a real server too takes no policy that would keep it silent as the owner", () => {
  for (const name of ["nft-arp", "arptables", "redirect", "local-route"]) {
    const choice = choiceFor(plain, name);
    assert.equal(choice.policy, "none", name);
    assert.match(choice.considered[0]?.why ?? "", /a director too/);
  }
  const quiet = (value: number): HostFacts => ({ ...plain, sysctls: { ...plain.sysctls, "eth0.arp_ignore": value } });
  for (const value of [2, 8]) {
    const choice = choiceFor(quiet(value));
    const set = "plan" in choice ? choice.plan.steps.map((s) => s.change) : [];
    assert.ok(
      set.some((c) => c.kind === "sysctl" && c.name === "eth0.arp_ignore" && c.after === 1),
      `arp_ignore ${value} would keep the owner silent`,
    );
  }
});
