import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostFacts } from "../model/facts.ts";
import type { Change } from "../plan/change.ts";
import type { Step } from "../plan/plan.ts";
import { realServer } from "../testing/realServer.ts";
import { type BootFacts, type ManagedLink, nothingKnown } from "./boot.ts";
import { againstKeeper, chooseKeeper, type Keeper, type KeepRequest, keepers, keepSteps, keptPaths } from "./keep.ts";

const step = (change: Change): Step => ({ change, why: "", rules: [] });
const on = (link: string): Step =>
  step({ kind: "address", link, ip: "10.0.0.100", before: null, after: { prefixLength: 32, scope: 0 } });
const vip = on("lo");
const silence = step({ kind: "sysctl", name: "eth0.arp_ignore", before: 0, after: 1 });
const dummy = step({ kind: "link", name: "dummy0", before: null, after: { type: "dummy", up: true, noarp: true } });
const tableIn = (name: string): Step =>
  step({
    kind: "nftTable",
    family: "arp",
    table: "vipward",
    before: null,
    after: [
      {
        tool: "nft",
        family: "arp",
        table: "vipward",
        chain: "input",
        type: "filter",
        hook: "input",
        priority: 0,
        policy: "accept",
        rules: [{ match: { in: { any: [name] }, target: { any: ["10.0.0.100"] } }, verdict: { kind: "drop" } }],
      },
    ],
  });
const table = tableIn("eth0");

const managed = (by: ManagedLink["by"], profile = "x"): ManagedLink => ({ by, profile, evidence: `seen: ${profile}` });
const boot: BootFacts = { ...nothingKnown, systemd: true, udev: true };
const facts: HostFacts = realServer("6.1.0");
const request = (steps: readonly Step[], more: Partial<BootFacts>, host = facts): KeepRequest => ({
  steps,
  facts: host,
  lan: ["eth0"],
  boot: { ...boot, ...more },
});
const chosen = (r: KeepRequest): Keeper => chooseKeeper(r).keeper;
const whyNot = (r: KeepRequest, keeper: Keeper): string =>
  chooseKeeper(r).considered.find((c) => c.keeper === keeper)?.why ?? "";

function files(r: KeepRequest, keeper: Keeper): Map<string, string> {
  return new Map(
    keepSteps(r.steps, keeper, r.boot).flatMap(({ change: c }): [string, string][] => {
      if (c.kind !== "file" || c.after === null) return [];
      return [[c.path, "text" in c.after ? c.after.text : c.after.linkTo]];
    }),
  );
}

for (const keeper of ["systemd", "ifupdown"] as const)
  for (const [name, steps] of [
    ["sysctls", [vip, silence]],
    ["an nft table", [vip, table]],
  ] as const)
    test(`${keeper} with ${name}: what silences is made at boot, too, before the VIP`, () => {
      const text = [...files(request(steps, {}), keeper).values()].find((t) => t.includes("10.0.0.100/32")) ?? "";
      const word = name === "sysctls" ? "arp_ignore" : "table arp vipward";
      assert.ok(text.includes(word), text);
      assert.ok(text.indexOf(word) < text.search(/address (add|replace) 10\.0\.0\.100/), text);
    });

for (const keeper of keepers)
  test(`${keeper}: each file is under a vipward name and among those read before planning`, () => {
    const other = { managed: { lo: managed("networkd", "50-lo.network") } };
    for (const more of [{}, { systemd: false }, { nftFolder: "/etc/nftables.d" }, other])
      for (const steps of [
        [silence, vip],
        [silence, dummy, on("dummy0")],
        [table, vip],
      ]) {
        const r = request(steps, more);
        const paths = [...files(r, keeper).keys()];
        assert.equal(paths.length === 0, keeper === "none");
        for (const path of paths) {
          assert.match(path, /vipward/);
          assert.ok(keptPaths(["lo", "dummy0"], r.boot).includes(path), path);
        }
      }
  });

test("the host's own way is who brings up the interface; nobody known: the unit", () => {
  for (const by of ["networkd", "netplan", "networkmanager", "ifupdown"] as const) {
    const r = request([silence, vip], { ifupdown: true, managed: { eth0: managed(by) } });
    assert.equal(chosen(r), by);
    assert.match(whyNot(r, by), /^eth0 is brought up by .* \(seen: x\)/);
  }
  assert.equal(chosen(request([silence, vip], {})), "systemd");
  assert.equal(chosen(request([silence, vip], { systemd: false })), "none");
  assert.equal(chosen(request([silence, vip], { systemd: false, ifupdown: true })), "ifupdown");
  assert.equal(chosen(request([silence, vip], { boots: false })), "none");
});

test("a wrong guess costs nothing: behind each manager's own files stands the unit with all of it", () => {
  for (const keeper of ["networkd", "netplan", "networkmanager", "ifupdown"] as const) {
    const made = files(request([silence, vip], {}), keeper);
    assert.ok(made.has("/etc/systemd/system/vipward-vips.service"), keeper);
    assert.match(made.get("/etc/vipward/boot.sh") ?? "", /arp_ignore'?\n[\s\S]*10\.0\.0\.100\/32/);
  }
});

test("silence that a manager's files cannot say: the unit, since their VIP would not wait for it", () => {
  for (const by of ["networkd", "netplan", "networkmanager"] as const) {
    const r = request([table, vip], { managed: { eth0: managed(by) } });
    assert.equal(chosen(r), "systemd");
    assert.match(whyNot(r, by), /cannot say: add the nft table arp vipward/);
    assert.match(againstKeeper(by, r, true) ?? "", /nft table/);
    const loaded = request([table, vip], { managed: { eth0: managed(by) }, nftFolder: "/etc/nftables.d" });
    assert.equal(chosen(loaded), by);
    assert.match(files(loaded, by).get("/etc/nftables.d/vipward.nft") ?? "", /table arp vipward/);
  }
});

test("netplan never gets a dummy, which old ones do not know and which would stop it: networkd's own files hold it", () => {
  const r = request([silence, dummy, on("dummy0")], { managed: { eth0: managed("netplan") } });
  assert.equal(chosen(r), "networkd");
  assert.match(whyNot(r, "netplan"), /cannot say: create the dummy interface dummy0/);
});

test("somebody's file for lo at networkd is added to, not put aside; ours is not taken for somebody's", () => {
  const of = (profile: string): string[] => [
    ...files(
      request([silence, vip], { managed: { eth0: managed("networkd"), lo: managed("networkd", profile) } }),
      "networkd",
    ).keys(),
  ];
  assert.ok(of("50-lo.network").includes("/etc/systemd/network/50-lo.network.d/10-vipward.conf"));
  assert.ok(of("10-vipward-lo.network").includes("/etc/systemd/network/10-vipward-lo.network"));
});

test("an address that somebody put on lo is not taken away by a manager that holds lo alone (law 4)", () => {
  const busy: HostFacts = {
    ...facts,
    addresses: [...facts.addresses, { link: "lo", ip: "192.0.2.7", prefixLength: 32, scope: 0 }],
  };
  for (const by of ["netplan", "networkmanager"] as const) {
    const r = request([silence, vip], { managed: { eth0: managed(by) } }, busy);
    assert.match(whyNot(r, by), /would take 192\.0\.2\.7 from lo/);
    assert.notEqual(chosen(r), by);
  }
  const profile = { managed: { eth0: managed("networkmanager"), lo: managed("networkmanager", "theirs") } };
  assert.match(whyNot(request([silence, vip], profile), "networkmanager"), /another profile holds lo/);
});

test("a VLAN that is made at boot, and no udev: only the script waits for it", () => {
  const links = facts.links.map((l) => (l.name === "eth0" ? { ...l, kind: "vlan" } : l));
  const r = request([silence, vip], { udev: false, managed: { eth0: managed("networkd") } }, { ...facts, links });
  assert.match(whyNot(r, "networkd"), /without udev nothing silences it/);
  assert.equal(chosen(r), "systemd");
});

test("what not even the script can say is kept by nothing, and said so", () => {
  const r = request([tableIn('a"b'), vip], {});
  assert.equal(chosen(r), "none");
  assert.match(whyNot(r, "systemd"), /no script can say: add the nft table/);
});
