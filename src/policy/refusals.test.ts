import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, type Ipv4, ipv4 } from "../base/ipv4.ts";
import type { AddressFacts, HostFacts } from "../model/facts.ts";
import { effect } from "../plan/change.ts";
import { worldOf } from "../plan/host.ts";
import { kernelModel } from "../plan/kernelModel.ts";
import { changesOf, type Plan } from "../plan/plan.ts";
import { prove } from "../plan/proof.ts";
import { realServer } from "../testing/realServer.ts";
import { type Considered, planAuto, planNamed } from "./auto.ts";
import { planHide } from "./hide.ts";
import type { Wish } from "./wish.ts";

const wish: Wish = { vips: ["10.0.0.100"], forwarding: "dr", carrier: "lo", services: [] };
const request = (facts: HostFacts, w: Partial<Wish> = {}) => ({
  world: worldOf(facts),
  owned: [],
  wish: { ...wish, ...w },
  kernel: kernelModel,
});
const host = (...added: AddressFacts[]): HostFacts => {
  const plain = realServer("6.1.0");
  return { ...plain, addresses: [...plain.addresses, ...added] };
};
const address = (link: string, ip: string, prefixLength = 32): AddressFacts => ({ link, ip, prefixLength, scope: 0 });

/** Why a policy is refused; fails when it is not. */
function refusal(name: string, facts: HostFacts, w: Partial<Wish> = {}): string {
  const choice = planNamed(name, request(facts, w));
  assert.equal(choice.policy, "none", `${name} was not refused`);
  return (choice.considered[0] as Considered).why;
}
function plan(name: string, facts: HostFacts, w: Partial<Wish> = {}): Plan {
  const choice = name === "auto" ? planAuto(request(facts, w)) : planNamed(name, request(facts, w));
  assert.ok("plan" in choice, choice.considered.map((c) => c.why).join("; "));
  return choice.plan;
}
const sysctls = (p: Plan): Record<string, number | null> =>
  Object.fromEntries(changesOf(p).flatMap((c) => (c.kind === "sysctl" ? [[c.name, c.after] as const] : [])));

test("a VIP that is the host's own address, or sits on the NIC, or on another carrier, is refused with what to do", () => {
  assert.match(refusal("arp-sysctl", host(), { vips: ["10.0.0.11"] }), /own address on eth0/);
  assert.match(
    refusal("arp-sysctl", host(address("eth0", "10.0.0.100"))),
    /on eth0.*ip address delete 10.0.0.100\/32 dev eth0/,
  );
  const dummy: HostFacts = {
    ...host(),
    links: [...host().links, { ifindex: 3, name: "dummy0", kind: "dummy", flags: ["UP", "NOARP"], mac: null }],
    addresses: [...host().addresses, address("dummy0", "10.0.0.100")],
  };
  assert.match(refusal("arp-sysctl", dummy), /on dummy0 already/);
  assert.match(refusal("redirect", host(address("lo", "10.0.0.100"))), /on lo already/);
  assert.match(refusal("arp-sysctl", host(), { vips: ["224.0.0.1"] }), /no unicast/);
});

test("a VIP that someone put on lo as /24 stands against the plan, with the command that mends it (A-2.2-05)", () => {
  const p = plan("arp-sysctl", host(address("lo", "10.0.0.100", 24)));
  assert.match(p.conflicts.join(), /10.0.0.100\/24.*A-2.2-05.*ip address delete/);
});

test("what is so already is left alone: a /32 that someone added stays theirs, and only the silence is planned", () => {
  const p = plan("arp-sysctl", host(address("lo", "10.0.0.100")));
  assert.deepEqual(
    changesOf(p).map((c) => c.kind),
    ["sysctl", "sysctl"],
  );
});

test("a number above the good one in conf/all defeats each interface and is brought down by name (A-2.6-08, B-2.6-05)", () => {
  const facts = realServer("6.1.0", { sysctls: { "all.arp_ignore": 3, "eth0.arp_announce": 3 } });
  const p = plan("arp-sysctl", facts);
  assert.equal(p.proof.holds, true);
  assert.equal(sysctls(p)["all.arp_ignore"], 1);
  assert.equal(sysctls(p)["eth0.arp_announce"], 2);
  assert.equal(sysctls(p)["all.arp_announce"], undefined);
});

test("already silent by conf/all: only the VIP is added", () => {
  const p = plan("arp-sysctl", realServer("6.1.0", { sysctls: { "all.arp_ignore": 1, "all.arp_announce": 2 } }));
  assert.deepEqual(
    changesOf(p).map((c) => c.kind),
    ["address"],
  );
});

test("TUN with strict rp_filter in conf/all: an address-less tunl0 needs 0 there, and each NIC keeps what it had (C-2.6-03)", () => {
  const facts = realServer("6.1.0", { sysctls: { "all.rp_filter": 1, "default.rp_filter": 0, "eth0.rp_filter": 0 } });
  const p = plan("arp-sysctl", facts, { forwarding: "tun" });
  assert.equal(p.proof.holds, true);
  assert.equal(sysctls(p)["all.rp_filter"], 0);
  assert.equal(sysctls(p)["eth0.rp_filter"], 1);
  const addressed = plan("arp-sysctl", facts, { forwarding: "tun", carrier: "tunl0" });
  assert.equal(sysctls(addressed)["tunl0.rp_filter"], 2);
  assert.equal(sysctls(addressed)["all.rp_filter"], undefined);
  assert.equal(addressed.proof.holds, true);
});

test("hidden refuses to wake another device's sleeping flag, and says which", () => {
  const facts = realServer("2.2.19", {
    kernel: { release: "2.2.19", generation: "2.2-hidden" },
    sysctls: { "eth0.hidden": 1 },
  });
  assert.match(refusal("hidden", facts), /eth0.*A-2.2h-01/);
});

test("2.2 and tunl0: the device gets its IPv4 state before its flag is written (C-2.2-06)", () => {
  const facts = realServer("2.2.19", { kernel: { release: "2.2.19", generation: "2.2-hidden" } });
  const p = plan("hidden", facts, { carrier: "tunl0", forwarding: "tun" });
  const kinds = changesOf(p).map((c) => c.kind);
  assert.ok(kinds.indexOf("link") < kinds.indexOf("sysctl") && kinds.indexOf("sysctl") < kinds.indexOf("address"));
  const link = changesOf(p).find((c) => c.kind === "link");
  assert.equal(link?.kind === "link" && link.after?.ipv4State, true);
});

test("noarp-carrier is refused from 2.2 on, by the model's own words (A-2.2-06)", () => {
  assert.match(refusal("noarp-carrier", host(), { carrier: "dummy" }), /A-2.2-06/);
});

test("an unnumbered NIC defeats arp_announce 2 when a route leaves by it (B-2.6-06); auto takes another way or says why", () => {
  const plain = realServer("6.1.0");
  const facts: HostFacts = {
    ...plain,
    links: [
      ...plain.links,
      { ifindex: 3, name: "eth1", flags: ["UP", "BROADCAST", "LOWER_UP"], mac: "02:00:00:00:01:11" },
    ],
  };
  const p = plan("auto", facts);
  assert.equal(p.proof.holds, true);
});

test("hide: lo's VIPs out of ARP by sysctl, which covers later ones, too; by nft where that would hide a third interface's", () => {
  const facts = host(address("lo", "10.0.0.100"));
  const hidden = planHide({ world: worldOf(facts), owned: [], link: "lo", kernel: kernelModel });
  assert.ok(hidden.ok);
  assert.equal(hidden.way, "arp-sysctl");
  assert.equal(hidden.plan.proof.holds, true);
  const later = effect(worldOf(facts), changesOf(hidden.plan)).facts;
  const added = { ...later, addresses: [...later.addresses, address("lo", "10.0.0.101")] };
  const goal = { ...hidden.plan.goal, vips: ["10.0.0.100", "10.0.0.101"] };
  assert.equal(prove(worldOf(added), [], goal, kernelModel).holds, true);
  const third: HostFacts = {
    ...facts,
    links: [...facts.links, { ifindex: 3, name: "dummy0", kind: "dummy", flags: ["UP", "NOARP"], mac: null }],
    addresses: [...facts.addresses, address("dummy0", "10.0.0.77")],
  };
  const kept = planHide({ world: worldOf(third), owned: [], link: "lo", kernel: kernelModel });
  assert.ok(kept.ok && kept.way === "nft-arp" && kept.plan.proof.holds);
  const view = kernelModel(effect(worldOf(third), changesOf(kept.plan)).facts);
  const asked = { link: "eth0", sender: ipv4("10.0.0.1"), unicast: false };
  assert.equal(view.answers({ ...asked, target: ipv4("10.0.0.77") }).yes, true);
  assert.equal(view.answers({ ...asked, target: ipv4("10.0.0.100") }).yes, false);
});

test("hide: a single NIC is refused, because nothing would change (A-2.2h-05); the flag where the kernel has it", () => {
  const facts = host(address("lo", "10.0.0.100"));
  const refused = planHide({ world: worldOf(facts), owned: [], link: "eth0", kernel: kernelModel });
  assert.ok(!refused.ok && /A-2.2h-05/.test(refused.why));
  const old = realServer("2.2.19", { kernel: { release: "2.2.19", generation: "2.2-hidden" } });
  const flag = planHide({
    world: worldOf({ ...old, addresses: [...old.addresses, address("lo", "10.0.0.100")] }),
    owned: [],
    link: "lo",
    kernel: kernelModel,
  });
  assert.ok(flag.ok && flag.way === "hidden" && flag.plan.proof.holds);
  const bare = planHide({
    world: worldOf(facts),
    owned: [],
    link: "lo",
    kernel: kernelModel,
    programs: { nft: false },
  });
  assert.ok(bare.ok && bare.way === "arp-sysctl" && bare.plan.proof.holds);
});

test("order: silence before a VIP appears, and a VIP that leaves is gone before its silence", () => {
  const facts = host();
  const first = plan("nft-arp", facts, { vips: ["10.0.0.100", "10.0.0.101"] });
  const world = effect(worldOf(facts), changesOf(first));
  const choice = planNamed("arp-sysctl", {
    world,
    owned: changesOf(first),
    wish: { ...wish, vips: ["10.0.0.101"] },
    kernel: kernelModel,
  });
  assert.ok("plan" in choice);
  const { steps, proof } = choice.plan;
  assert.deepEqual(
    steps.map((s) => s.phase),
    ["disappear", "silence", "silence", "lift"],
  );
  assert.equal(proof.holds, true);
});

test("4,096 VIPs are planned and proven", () => {
  const vips = Array.from({ length: 4096 }, (_, i) => formatIpv4((ipv4("10.8.0.0") + 1 + i) as Ipv4));
  const p = plan("arp-sysctl", host(), { vips });
  assert.equal(p.proof.holds, true);
  assert.equal(p.steps.length, 4098);
});

test("a carrier with routes and no address of its own: taking the VIP away would take them along, so another way is taken", () => {
  const plain = host();
  const facts: HostFacts = {
    ...plain,
    links: [...plain.links, { ifindex: 3, name: "dummy0", kind: "dummy", flags: ["UP", "NOARP"], mac: null }],
    routesGiven: "all",
    routes: [
      {
        dst: "127.0.0.1/32",
        type: "local",
        table: 255,
        dev: "lo",
        scope: 254,
        prefsrc: "127.0.0.1",
        protocol: "kernel",
      },
      {
        dst: "10.0.0.11/32",
        type: "local",
        table: 255,
        dev: "eth0",
        scope: 254,
        prefsrc: "10.0.0.11",
        protocol: "kernel",
      },
      {
        dst: "10.0.0.0/24",
        type: "unicast",
        table: 254,
        dev: "eth0",
        scope: 253,
        prefsrc: "10.0.0.11",
        protocol: "kernel",
      },
      { dst: "10.5.0.0/24", type: "unicast", table: 254, dev: "dummy0", scope: 253, protocol: "static" },
    ],
  };
  const p = plan("arp-sysctl", facts, { carrier: "dummy" });
  assert.match(p.proof.laws[4]?.broken[0]?.answer ?? "", /route to 10\.5\.0\.0\/24 by dummy0 would be gone/);
  const choice = planAuto(request(facts, { carrier: "dummy" }));
  assert.equal(choice.policy, "local-route");
  assert.ok("plan" in choice && choice.plan.proof.holds);
  const numbered = { ...facts, addresses: [...facts.addresses, address("dummy0", "10.5.0.1", 32)] };
  assert.equal(plan("arp-sysctl", numbered, { carrier: "dummy" }).proof.holds, true);
});
