import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Outcome, type RunRequest, run } from "../../apply/run.ts";
import type { HostFacts } from "../../model/facts.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { makePlan, type Plan } from "../../plan/plan.ts";
import { planNamed } from "../../policy/auto.ts";
import { nothingWanted } from "../../policy/hide.ts";
import type { Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { testsInVm } from "../../testing/vm.ts";
import { loadModule } from "../modules.ts";
import { machinePorts } from "./machine.ts";
import { readFacts } from "./readFacts.ts";

const VIPS = ["10.0.0.100", "10.0.0.101"];
const still = (facts: HostFacts) => ({ ...facts, neighbours: [], modules: [] });
const why = (o: Outcome): string => JSON.stringify(o, (k, v) => (k === "plan" ? undefined : v));

const request = (policy: string, wish: Wish): RunRequest => ({
  direction: "apply",
  paths: [],
  kernel: kernelModel,
  plan: (world, owned): Plan => {
    const choice = planNamed(policy, { world, owned, wish, kernel: kernelModel });
    if (choice.policy === "none") throw new Error(choice.considered[0]?.why);
    return (choice as { plan: Plan }).plan;
  },
});

testsInVm(import.meta.url, "policies on dummy and tunl0, DR and TUN, on a kernel that has them", () => {
  loadModule("ipip");
  loadModule("dummy");
  for (const policy of ["arp-sysctl", "nft-arp", "local-route", "redirect"])
    for (const forwarding of ["dr", "tun"] as const)
      for (const carrier of ["lo", "dummy", "tunl0"] as const)
        test(`${policy}, ${forwarding}, ${carrier}: silent, not leaking, RIP answered, undo exact`, async () => {
          const wire = new Wire(`${policy.slice(0, 2)}${forwarding}${carrier}`);
          const stateDir = mkdtempSync(join(tmpdir(), "vipward-state-"));
          try {
            const ports = machinePorts({ namespace: wire.rs, stateDir });
            const before = still(readFacts(wire.rs));
            const wish: Wish = { vips: VIPS, forwarding, carrier, services: [{ protocol: "tcp", ports: [[80, 80]] }] };
            const outcome = await run(ports, request(policy, wish));
            assert.equal(outcome.kind, "done", why(outcome));
            for (const vip of VIPS) assert.deepEqual(wire.answered(vip), [], vip);
            assert.deepEqual(wire.answered("10.0.0.11"), ["broadcast", "unicast", "probe"]);
            if (policy !== "redirect") for (const vip of VIPS) assert.deepEqual(wire.shownFor(vip), ["10.0.0.11"]);
            assert.equal((await run(ports, request(policy, wish))).kind, "nothing");
            const back = await run(ports, {
              direction: "undo",
              paths: [],
              kernel: kernelModel,
              plan: (world, owned) => makePlan({ world, owned, wanted: [], goal: nothingWanted, kernel: kernelModel }),
            });
            assert.equal(back.kind, "done", why(back));
            assert.deepEqual(still(readFacts(wire.rs)), before);
          } finally {
            wire.close();
            rmSync(stateDir, { recursive: true });
          }
        });
});
