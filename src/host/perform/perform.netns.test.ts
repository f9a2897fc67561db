import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Journal } from "../../apply/journal.ts";
import { type Outcome, type RunRequest, run, undoEverything } from "../../apply/run.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { prefix } from "../../base/prefix.ts";
import type { HostFacts } from "../../model/facts.ts";
import { operationsOf } from "../../plan/change.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import { plainChain } from "../../plan/kinds/filterChain.ts";
import { type Plan, worldAfter } from "../../plan/plan.ts";
import { planNamed } from "../../policy/auto.ts";
import type { Wish } from "../../policy/wish.ts";
import { Wire } from "../../testing/arpWire.ts";
import { needsRoot } from "../../testing/root.ts";
import { openRtnetlink } from "../rtnetlink.ts";
import { machinePorts } from "./machine.ts";
import { MachinePerformer } from "./performer.ts";
import { programsHere, readFacts } from "./readFacts.ts";

const VIPS = ["10.0.0.100", "10.0.0.101"];
const RIP = "10.0.0.11";

const wishOf = (vips: readonly string[]): Wish => ({
  vips,
  forwarding: "dr",
  carrier: "lo",
  services: [{ protocol: "udp", ports: [[5000, 5000]] }],
});

const request = (policy: string, vips = VIPS): RunRequest => ({
  direction: "apply",
  paths: [],
  kernel: kernelModel,
  plan: (world, owned): Plan => {
    const choice = planNamed(policy, { world, owned, wish: wishOf(vips), kernel: kernelModel });
    if (choice.policy === "none") throw new Error(choice.considered[0]?.why);
    return (choice as { plan: Plan }).plan;
  },
});

const undoRequest = undoEverything(kernelModel);

/** Without what moves by itself. */
const still = (facts: HostFacts) => ({ ...facts, neighbours: [], takenAt: "", modules: [] });
/** What the effects of changes predict and what the kernel then shows, in one form: order of addresses kept, routes as a set. */
const comparable = (facts: HostFacts) => ({
  ...still(facts),
  routes: facts.routes.map((r) => `${r.type} ${r.dst} ${r.dev} ${r.table} ${r.scope}`).sort(),
  filters: facts.filters.map((f) => ({ policy: "accept", ...plainChain(f) })),
});
const why = (o: Outcome): string => JSON.stringify(o, (k, v) => (k === "plan" ? undefined : v));

async function withWire(label: string, body: (wire: Wire, stateDir: string) => Promise<void>): Promise<void> {
  const wire = new Wire(label);
  const stateDir = mkdtempSync(join(tmpdir(), "vipward-state-"));
  try {
    await body(wire, stateDir);
  } finally {
    wire.close();
    rmSync(stateDir, { recursive: true });
  }
}

for (const policy of ["arp-sysctl", "nft-arp", "arptables", "local-route", "redirect"])
  test(`${policy} on the real kernel: silent, accepting, not leaking, own address answered; undo gives back the facts`, async (t) => {
    if (!needsRoot(t)) return;
    const programs = programsHere();
    if ((policy === "nft-arp" || policy === "redirect") && !programs.nft) return t.skip("no nft here");
    if (policy === "arptables" && !programs.arptables) return t.skip("no arptables here");
    await withWire(policy.slice(0, 5), async (wire, stateDir) => {
      const ports = machinePorts({ namespace: wire.rs, stateDir });
      const before = still(readFacts(wire.rs));
      const outcome = await run(ports, request(policy));
      assert.equal(outcome.kind, "done", why(outcome));
      assert.ok(outcome.kind === "done");
      assert.deepEqual(
        comparable(readFacts(wire.rs)),
        comparable(worldAfter(outcome.plan, { facts: before, files: {} }).facts),
      );
      for (const vip of VIPS) assert.deepEqual(wire.answered(vip), [], vip);
      assert.deepEqual(wire.answered("10.0.0.11"), ["broadcast", "unicast", "probe"]);
      if (policy !== "redirect") for (const vip of VIPS) assert.deepEqual(wire.shownFor(vip), ["10.0.0.11"]);
      assert.deepEqual(wire.shownFor(RIP), [RIP]);
      const again = await run(ports, request(policy));
      assert.equal(again.kind, "nothing", why(again));
      const back = await run(ports, undoRequest);
      assert.equal(back.kind, "done", why(back));
      assert.deepEqual(still(readFacts(wire.rs)), before);
      assert.deepEqual((await Journal.peek(ports.journal)).owned, []);
    });
  });

test("the twin: the VIP on lo without silence is answered for and leaked", async (t) => {
  if (!needsRoot(t)) return;
  await withWire("twin", async (wire) => {
    const rt = openRtnetlink(wire.rs);
    rt.addAddress("lo", { prefix: prefix("10.0.0.100/32") });
    rt.close();
    assert.deepEqual(wire.answered("10.0.0.100"), ["broadcast", "unicast", "probe"]);
    assert.deepEqual(wire.shownFor("10.0.0.100"), ["10.0.0.100"]);
  });
});

for (const order of ["the plan's", "the wrong"] as const)
  test(`sniffed during apply, in ${order} order: ${order === "the wrong" ? "the VIP leaks in between" : "not one ARP packet carries the VIP"}`, async (t) => {
    if (!needsRoot(t)) return;
    await withWire("order", async (wire) => {
      const world = { facts: readFacts(wire.rs), files: {} };
      const choice = planNamed("arp-sysctl", { world, owned: [], wish: wishOf(["10.0.0.100"]), kernel: kernelModel });
      const { steps } = (choice as { plan: Plan }).plan;
      const sequence = order === "the wrong" ? [...steps].reverse() : steps;
      const performer = new MachinePerformer(wire.rs);
      const escaped: string[] = [];
      for (const step of sequence) {
        await performer.perform(operationsOf(step.change));
        escaped.push(...wire.answered("10.0.0.100"));
        const facts = readFacts(wire.rs);
        if (facts.addresses.some((a) => a.ip === "10.0.0.100"))
          escaped.push(...wire.shownFor("10.0.0.100").filter((s) => s === "10.0.0.100"));
      }
      assert.equal(escaped.length > 0, order === "the wrong", escaped.join(" "));
    });
  });

test("a thousand VIPs come, nine hundred go again, and the rest stay silent", async (t) => {
  if (!needsRoot(t)) return;
  await withWire("many", async (wire, stateDir) => {
    const ports = machinePorts({ namespace: wire.rs, stateDir });
    const many = Array.from({ length: 1000 }, (_, i) => formatIpv4((ipv4("10.9.0.1") + i) as Ipv4));
    const before = still(readFacts(wire.rs));
    assert.equal((await run(ports, request("nft-arp", many))).kind, "done");
    const fewer = await run(ports, request("nft-arp", many.slice(0, 100)));
    assert.equal(fewer.kind, "done", why(fewer));
    assert.equal(readFacts(wire.rs).addresses.filter((a) => a.link === "lo").length, 101);
    assert.deepEqual(wire.answered(many[50] as string), []);
    await run(ports, undoRequest);
    assert.deepEqual(still(readFacts(wire.rs)), before);
  });
});
