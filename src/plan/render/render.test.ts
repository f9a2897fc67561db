import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostFacts } from "../../model/facts.ts";
import { realServer } from "../../testing/realServer.ts";
import type { Change } from "../change.ts";
import { worldOf } from "../host.ts";
import { kernelModel } from "../kernelModel.ts";
import { render, targets } from "./targets.ts";

const vip = (link: string, label?: string): Change => ({
  kind: "address",
  link,
  ip: "10.0.0.100",
  before: null,
  after: { prefixLength: 32, scope: 0, ...(label === undefined ? {} : { label }) },
});
const ignore: Change = { kind: "sysctl", name: "eth0.100.arp_ignore", before: 0, after: 1 };
const dummy: Change = { kind: "link", name: "dummy0", before: null, after: { type: "dummy", up: true, noarp: true } };
const all = (target: (typeof targets)[number], changes: readonly Change[], old = false): string =>
  render(target, changes, old)
    .files.map((f) => `${f.path}\n${f.text}`)
    .join("\n");

test("sysctl.d names an interface with a dot so that sysctl(8) keeps it", () => {
  assert.match(all("sysctl", [ignore]), /^net\/ipv4\/conf\/eth0\.100\/arp_ignore = 1$/m);
});

test("each system either says a change or names it as not covered: nothing is lost in silence", () => {
  const changes = [dummy, ignore, vip("dummy0"), vip("lo", "lo:vipward")];
  for (const target of targets) {
    const { files, notCovered } = render(target, changes, false);
    const text = files.map((f) => f.text).join("");
    for (const c of changes) {
      const mark = c.kind === "sysctl" ? "arp_ignore" : c.kind === "link" ? "dummy0" : "10.0.0.100";
      assert.ok(text.includes(mark) || notCovered.includes(c), `${target} lost ${c.kind}`);
    }
  }
});

test("networkd: a dummy is made by a netdev file and the VIP stands in its network file", () => {
  const text = all("networkd", [dummy, vip("dummy0", "dummy0:vipward")]);
  assert.match(text, /10-vipward-dummy0\.netdev[\s\S]*Kind=dummy/);
  assert.match(text, /\[Match\]\nName=dummy0[\s\S]*\[Address\]\nAddress=10\.0\.0\.100\/32\nLabel=dummy0:vipward/);
});

test("2.2: tunl0 comes up with 0.0.0.0, then its flag, then the VIP; with the old order its folder is not there (C-2.2-06)", () => {
  const up: Change = {
    kind: "link",
    name: "tunl0",
    before: { type: "ipip", up: false, noarp: true },
    after: { type: "ipip", up: true, noarp: true, ipv4State: true },
  };
  const hidden: Change = { kind: "sysctl", name: "tunl0.hidden", before: null, after: 1 };
  const lines = all("shell", [up, hidden, vip("tunl0")], true).split("\n");
  const at = (text: string): number => lines.indexOf(text);
  assert.ok(at("ifconfig tunl0 0.0.0.0 up") > 0);
  assert.ok(at("ifconfig tunl0 0.0.0.0 up") < at("echo 1 > /proc/sys/net/ipv4/conf/tunl0/hidden"));
  assert.ok(
    at("echo 1 > /proc/sys/net/ipv4/conf/tunl0/hidden") <
      at("ifconfig tunl0 10.0.0.100 netmask 255.255.255.255 broadcast 10.0.0.100 up"),
  );
});

test("2.2 redirect: forwarding on, then ipchains with address and port as two words", () => {
  const rule: Change = {
    kind: "ipchains",
    table: "filter",
    chain: "input",
    rule: {
      match: { target: { any: ["10.0.0.100"] }, protocol: { any: ["tcp"] }, targetPort: { any: [[80, 80]] } },
      verdict: { kind: "redirect" },
    },
    before: false,
    after: true,
  };
  assert.match(all("shell", [rule], true), /^ipchains -A input -p tcp -d 10\.0\.0\.100\/32 80 -j REDIRECT 80$/m);
});

test("a name with a quote cannot end a word of the shell form", () => {
  const text = all("shell", [{ ...ignore, name: "a'$(reboot).arp_ignore" } as Change]);
  assert.match(text, /'\/proc\/sys\/net\/ipv4\/conf\/a'\\''\$\(reboot\)\/arp_ignore'/);
});

test("the model of the bare host is not changed by rendering", () => {
  const facts: HostFacts = realServer("6.1.0");
  const before = structuredClone(facts);
  kernelModel(worldOf(facts).facts);
  for (const target of targets) render(target, [dummy, vip("dummy0")], false);
  assert.deepEqual(facts, before);
});
