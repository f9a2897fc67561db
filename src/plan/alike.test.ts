import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, type Ipv4, ipv4 } from "../base/ipv4.ts";
import type { AddressFacts, FilterChainFacts, HostFacts, RouteFacts } from "../model/facts.ts";
import { planNamed } from "../policy/auto.ts";
import type { Wish } from "../policy/wish.ts";
import { realServer } from "../testing/realServer.ts";
import { seed } from "../testing/seed.ts";
import { alike } from "./alike.ts";
import { effect } from "./change.ts";
import { worldOf } from "./host.ts";
import { kernelModel } from "./kernelModel.ts";
import { changesOf, momentsOf } from "./plan.ts";
import { type Goal, type Proof, prove } from "./proof.ts";

/** mulberry32: small, and good enough to draw hosts with. */
function dice(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const VIPS = Array.from({ length: 14 }, (_, i) => formatIpv4((ipv4("10.0.0.100") + i) as Ipv4));

interface Drawn {
  readonly facts: HostFacts;
  readonly goal: Goal;
}

/** A host that treats some of its VIPs apart from the others, in every way that the model looks at. */
function draw(next: () => number): Drawn {
  const chance = (p: number): boolean => next() < p;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const some = (): string[] => VIPS.filter(() => chance(0.4));
  const base = realServer(pick(["6.1.0", "6.1.0", "2.6.18", "2.4.27", "2.2.13"]));
  const home = pick(["lo", "lo", "dummy0"]);
  const held: AddressFacts[] = VIPS.flatMap((ip): AddressFacts[] => {
    const odd = chance(0.1);
    if (odd && chance(0.3)) return [];
    return [
      {
        link: odd ? pick(["lo", "dummy0", "eth0", "eth1"]) : home,
        ip,
        prefixLength: odd ? pick([32, 30, 24]) : 32,
        scope: odd ? pick([0, 253, 254]) : 0,
      },
    ];
  });
  const routes: RouteFacts[] = [];
  if (chance(0.3)) routes.push({ dst: pick(["10.0.0.96/29", "10.0.0.104/30", pick(VIPS)]), type: "blackhole" });
  if (chance(0.3)) routes.push({ dst: `${pick(VIPS)}/32`, type: "local", table: 255, dev: "lo", scope: 254 });
  if (chance(0.2)) routes.push({ dst: "10.9.0.0/24", dev: "eth0", prefsrc: pick(VIPS) });
  const filters: FilterChainFacts[] = [];
  const match = () =>
    pick([{ any: some() }, { any: [pick(VIPS)] }, { any: ["10.0.0.96/29"] }, { any: some(), not: true }]);
  const chain = (hook: "input" | "output"): FilterChainFacts => ({
    tool: "nft",
    family: "arp",
    table: "t",
    chain: hook,
    type: "filter",
    hook,
    priority: 0,
    policy: "accept",
    rules: Array.from({ length: 1 + Math.floor(next() * 4) }, () => ({
      match: {
        ...(chance(0.7) ? { [hook === "input" ? "target" : "source"]: match() } : {}),
        ...(chance(0.2) ? { [hook === "input" ? "in" : "out"]: { any: ["eth0"] } } : {}),
      },
      verdict: { kind: pick(["drop", "drop", "accept"] as const) },
    })),
  });
  if (chance(0.4)) filters.push(chain("input"));
  if (chance(0.4)) filters.push(chain("output"));
  const flag = (name: string, values: readonly number[]) => (chance(0.5) ? { [name]: pick(values) } : {});
  const facts: HostFacts = {
    ...base,
    links: [
      ...base.links,
      { ifindex: 3, name: "eth1", flags: ["UP", "BROADCAST", "LOWER_UP"], mac: "02:00:00:00:01:11" },
      { ifindex: 4, name: "dummy0", kind: "dummy", flags: ["UP", "BROADCAST", "NOARP"], mac: null },
    ],
    addresses: [...base.addresses, { link: "eth1", ip: "10.7.0.11", prefixLength: 24, scope: 0 }, ...held],
    routes: [...base.routes, ...routes],
    rules: chance(0.15) ? [{ priority: 100, to: pick([pick(VIPS), "10.0.0.104/30"]), action: "blackhole" }] : [],
    neighbours: chance(0.2) ? [{ link: "eth0", ip: pick(VIPS), state: "REACHABLE", proxy: true }] : [],
    filters,
    sysctls: {
      ...flag("eth0.arp_ignore", [0, 1, 2, 3]),
      ...flag("eth0.arp_announce", [0, 1, 2]),
      ...flag("all.arp_announce", [0, 2]),
      ...flag("eth1.arp_ignore", [0, 1, 8]),
      ...flag("eth0.rp_filter", [0, 1]),
    },
  };
  const services = chance(0.3) ? [{ vip: pick(VIPS), protocol: "udp", ports: [[53, 53]] } as const] : [];
  return { facts, goal: { vips: VIPS, forwarding: "dr", services } };
}

const holding = (p: Proof) => p.laws.map((l) => `${l.law} ${l.holds} ${l.rules.join()}`);

test("of 400 random hosts the proof by kinds says of each law, and by which rules, what asking for every VIP says", () => {
  const next = dice(seed);
  let left = 0;
  let broken = 0;
  for (let n = 0; n < 400; n++) {
    const { facts, goal } = draw(next);
    const fast = prove(worldOf(facts), [], goal, kernelModel);
    const slow = prove(worldOf(facts), [], goal, kernelModel, { every: true });
    assert.deepEqual(holding(fast), holding(slow), `seed ${seed}, host ${n}: ${JSON.stringify(facts)}`);
    left += fast.alike ?? 0;
    broken += slow.laws.filter((l) => !l.holds).length;
  }
  assert.ok(left > 500, `only ${left} VIPs were left out`);
  assert.ok(broken > 300, `only ${broken} laws were broken`);
});

for (const policy of ["arp-sysctl", "nft-arp", "arptables", "local-route", "redirect"])
  for (const forwarding of ["dr", "tun"] as const)
    test(`${policy}, ${forwarding}: the way there proven by kinds is proven, and a way in the wrong order is not`, () => {
      const facts = realServer("6.1.0");
      const wish: Wish = { vips: VIPS, forwarding, carrier: "lo", services: [] };
      const choice = planNamed(policy, { world: worldOf(facts), owned: [], wish, kernel: kernelModel });
      assert.ok("plan" in choice);
      const { plan } = choice;
      const moments = momentsOf(plan.steps);
      const fast = prove(worldOf(facts), changesOf(plan), plan.goal, kernelModel, { moments });
      const slow = prove(worldOf(facts), changesOf(plan), plan.goal, kernelModel, { moments, every: true });
      assert.deepEqual(holding(fast), holding(slow));
      assert.equal(fast.holds, true);
      assert.ok((fast.alike ?? 0) > 0);
      if (policy === "redirect") return;
      const wrong = [changesOf(plan).filter((c) => c.kind === "address" || c.kind === "route" || c.kind === "link")];
      for (const every of [false, true])
        assert.equal(
          prove(worldOf(facts), changesOf(plan), plan.goal, kernelModel, { moments: wrong, every }).holds,
          false,
        );
    });

test("one VIP in a thousand that is treated apart is found", () => {
  const vips = Array.from({ length: 1000 }, (_, i) => formatIpv4((ipv4("10.8.0.0") + i) as Ipv4));
  const wish: Wish = { vips, forwarding: "dr", carrier: "lo", services: [] };
  for (const policy of ["nft-arp", "arptables"]) {
    const choice = planNamed(policy, { world: worldOf(realServer("6.1.0")), owned: [], wish, kernel: kernelModel });
    assert.ok("plan" in choice);
    const { facts } = effect(worldOf(realServer("6.1.0")), changesOf(choice.plan));
    assert.equal(prove(worldOf(facts), [], choice.plan.goal, kernelModel).holds, true);
    const odd = vips[700] as string;
    const filters = facts.filters.map((f) => ({
      ...f,
      rules: f.rules.flatMap((r): readonly (typeof r)[] => {
        if ("notUnderstood" in r) return [r];
        const side = r.match.target ?? r.match.source;
        if (side?.any.length === 1) return side.any[0] === odd ? [] : [r];
        const any = (m: typeof side) => (m === undefined ? undefined : { ...m, any: m.any.filter((ip) => ip !== odd) });
        const source = any(r.match.source);
        const target = any(r.match.target);
        return [{ ...r, match: { ...r.match, ...(source ? { source } : {}), ...(target ? { target } : {}) } }];
      }),
    }));
    const proof = prove(worldOf({ ...facts, filters }), [], choice.plan.goal, kernelModel);
    assert.match(proof.laws[0]?.broken[0]?.asked ?? "", new RegExp(`who has ${odd.replaceAll(".", "\\.")}`));
  }
});

test("the first of a kind in list order is always asked about: source selection may take it", () => {
  const { asked } = alike([realServer("6.1.0")], VIPS);
  assert.deepEqual(asked, [VIPS[0], VIPS[7], VIPS[13]]);
});
