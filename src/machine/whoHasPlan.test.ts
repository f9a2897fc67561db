import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIpv4, type Ipv4, ipv4 } from "../base/ipv4.ts";
import { mac } from "../base/mac.ts";
import { formatPrefix, prefix } from "../base/prefix.ts";
import type { Address, Link, Route } from "../wire/rtnetlinkValues.ts";
import { type PlanWish, planWhoHas, type Surroundings, type WhoHasPlan } from "./whoHasPlan.ts";

const link = (index: number, name: string, rest: Partial<Link> = {}): Link => ({
  index,
  name,
  hardwareType: 1,
  mac: mac(`02:00:00:00:00:0${index}`),
  mtu: 1500,
  flags: 0,
  up: true,
  lowerUp: true,
  loopback: false,
  noArp: false,
  promiscuous: false,
  operationalState: "up",
  ...rest,
});
const address = (linkIndex: number, text: string, rest: Partial<Address> = {}): Address => ({
  linkIndex,
  address: prefix(text).address,
  prefixLength: prefix(text).length,
  label: "",
  scope: "global",
  secondary: false,
  noPrefixRoute: false,
  permanent: true,
  ...rest,
});
const route = (linkIndex: number, to: string, rest: Partial<Route> = {}): Route => ({
  type: "unicast",
  table: 254,
  destination: prefix(to),
  linkIndex,
  metric: 0,
  scope: "link",
  protocol: 2,
  typeOfService: 0,
  onLink: false,
  ...rest,
});

const host: Surroundings = {
  links: [
    link(1, "lo", { loopback: true, hardwareType: 772 }),
    link(2, "eth0"),
    link(3, "eth1"),
    link(4, "tunl0", { hardwareType: 768, noArp: true }),
    link(5, "eth2", { up: false }),
  ],
  addresses: [
    address(1, "127.0.0.1/8"),
    address(2, "10.0.0.5/24"),
    address(3, "10.0.0.6/16"),
    address(1, "10.0.0.100/32"),
  ],
  routes: [
    route(2, "10.0.0.0/24"),
    route(2, "0.0.0.0/0", { gateway: ipv4("10.0.0.1") }),
    route(3, "192.168.9.0/24"),
    route(2, "172.16.0.0/12", { gateway: ipv4("10.0.0.2") }),
  ],
  neighbours: [],
};
const wish = (vips: string[], rest: Partial<PlanWish> = {}): PlanWish => ({
  vips: vips.map(ipv4),
  source: "auto",
  count: 3,
  unicast: false,
  decoys: 2,
  ...rest,
});
function planned(vips: string[], rest: Partial<PlanWish> = {}, around = host): WhoHasPlan {
  const plan = planWhoHas(around, wish(vips, rest));
  assert.ok(!("remedy" in plan), "remedy" in plan ? plan.why : "");
  return plan;
}
const refused = (vips: string[], rest: Partial<PlanWish> = {}): string => {
  const plan = planWhoHas(host, wish(vips, rest));
  assert.ok("remedy" in plan);
  return `${plan.code}: ${plan.why}`;
};
const text = (a: Ipv4 | undefined) => (a === undefined ? undefined : formatIpv4(a));

test("the longest connected subnet chooses the interface, its own address asks, and a probe is second witness", () => {
  const { links } = planned(["10.0.0.100", "10.0.7.7"]);
  assert.deepEqual(
    links.map((l) => [l.link.name, l.vips.map((v) => [text(v.address), text(v.sender), v.heldHere]), l.rounds.join()]),
    [
      ["eth0", [["10.0.0.100", "10.0.0.5", "lo"]], "own,own,own,probe"],
      ["eth1", [["10.0.7.7", "10.0.0.6", undefined]], "own,own,own,probe"],
    ],
  );
  assert.deepEqual(
    links.map((l) => l.decoys.map((d) => formatPrefix(d.subnet))),
    [["10.0.0.0/24"], ["10.0.0.0/16"]],
  );
});

test("a subnet known by route alone is asked with probes; --source own says what is missing", () => {
  const [only] = planned(["192.168.9.9"]).links;
  assert.equal(only?.link.name, "eth1");
  assert.equal(only?.rounds.join(), "probe,probe,probe");
  assert.equal(only?.vips[0]?.sender, undefined);
  assert.match(refused(["192.168.9.9"], { source: "own" }), /^no-input: eth1 has no address of its own/);
});

test("a VIP never asks for itself, nor is it a sender that was asked for", () => {
  const [only] = planned(["10.0.0.5"], { interface: "eth0" }).links;
  assert.equal(only?.vips[0]?.sender, undefined);
  assert.match(refused(["10.0.0.9"], { source: { address: ipv4("10.0.0.9") } }), /^usage: .*cannot ask/);
  assert.match(refused(["10.0.0.9"], { source: { address: ipv4("224.0.0.1") } }), /^usage/);
  const strange = planned(["10.0.0.9"], { source: { address: ipv4("10.0.0.77") } });
  assert.match(strange.notes.join(), /10\.0\.0\.77 is not an address of this host/);
  assert.equal(text(strange.links[0]?.vips[0]?.sender), "10.0.0.77");
});

test("a /32 on the interface does not ask where the machine's own address can", () => {
  const around = {
    ...host,
    addresses: [address(2, "10.0.0.50/32"), address(2, "10.0.0.5/24"), address(2, "10.0.0.60/24", { secondary: true })],
  };
  assert.equal(text(planned(["10.0.0.100"], {}, around).links[0]?.vips[0]?.sender), "10.0.0.5");
});

test("what cannot be asked is refused with the reason", () => {
  assert.match(refused(["10.0.0.9"], { interface: "eth9" }), /^no-input: there is no interface eth9/);
  assert.match(refused(["10.0.0.9"], { interface: "lo" }), /^usage: lo does not speak ARP/);
  assert.match(refused(["10.0.0.9"], { interface: "tunl0" }), /^usage: tunl0 does not speak ARP/);
  assert.match(refused(["10.0.0.9"], { interface: "eth2" }), /^no-input: eth2 is down/);
  assert.match(refused(["172.16.0.9"]), /^no-input: 172\.16\.0\.9 is in no subnet.*routers/);
  const down = planWhoHas({ ...host, addresses: [address(5, "10.5.0.1/24")] }, wish(["10.5.0.9"]));
  assert.ok("remedy" in down && down.why === "eth2 is down");
  for (const vip of ["224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "250.0.0.1"])
    assert.match(refused([vip], { interface: "eth0" }), /^usage/);
});

test("a named interface outside the VIP's subnet asks with probes and without decoys", () => {
  const [only] = planned(["192.0.2.1"], { interface: "eth0" }).links;
  assert.equal(only?.rounds.join(), "probe,probe,probe");
  assert.deepEqual(only?.decoys, []);
});

test("network and broadcast addresses are noted, full subnets have no decoy, repeated VIPs are asked once", () => {
  const around = { ...host, addresses: [address(2, "10.0.0.1/30")], routes: [] };
  const plan = planned(["10.0.0.2", "10.0.0.3", "10.0.0.2"], {}, around);
  assert.match(plan.notes.join("; "), /10\.0\.0\.3 is the broadcast address of 10\.0\.0\.0\/30.*no unused address/);
  assert.equal(plan.links[0]?.vips.length, 2);
});
