import assert from "node:assert/strict";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { clusterText, realServer, VIP, withSysctls } from "../../doctor/testing/hosts.ts";
import { vipward } from "../../testing/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-check-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: unknown): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const healthy = file("healthy.json", realServer.facts);
const leaking = file("leaking.json", withSysctls(realServer, { "eth0.arp_ignore": 1 }).facts);
const small = file("cluster.yaml", clusterText());

test("a healthy host: what the model says of the VIP, no findings, status 0", async () => {
  const { status, stdout } = await vipward(["check", "--facts", healthy, "--vip", VIP]);
  assert.equal(status, 0);
  assert.match(stdout, /10\.10\.0\.100 {2}on lo\/32/);
  assert.match(stdout, /eth0: silent A-2\.6-04/);
  assert.match(stdout, /no findings\n$/);
});

test("with a cluster file the role comes from the addresses; a leak ends with status 1 and its remedy", async () => {
  const { status, stdout } = await vipward(["check", "--facts", leaking, "--cluster", small]);
  assert.equal(status, 1);
  assert.match(stdout, /real server web1, by its address 10\.10\.0\.11/);
  assert.match(stdout, /CRITICAL {2}arp-announce-missing/);
  assert.match(stdout, /sysctl -w net\.ipv4\.conf\.eth0\.arp_announce=2/);
});

test("--fail-on draws the line: a low finding is printed and passes", async () => {
  const forwarding = file("forwarding.json", {
    ...realServer.facts,
    sysctls: { ...realServer.facts.sysctls, ip_forward: 1 },
  });
  const args = ["check", "--facts", forwarding, "--vip", VIP];
  const passed = await vipward(args);
  assert.equal(passed.status, 0);
  assert.match(passed.stdout, /LOW {2}ip-forward-cargo-cult/);
  assert.equal((await vipward([...args, "--fail-on", "low"])).status, 1);
});

test("--json is one document with findings, their rules and evidence", async () => {
  const { status, stdout } = await vipward(["check", "--facts", leaking, "--vip", VIP, "--json"]);
  assert.equal(status, 1);
  const report = JSON.parse(stdout);
  assert.equal(report.checkVersion, 1);
  assert.deepEqual(
    report.findings.map((f: { id: string; rules: string[] }) => [f.id, f.rules.includes("B-2.6-02")]),
    [["arp-announce-missing", true]],
  );
});

test("a bad facts file: every problem with its path, status 65; a missing one: 66; nothing to check: 64", async () => {
  const bad = file("bad.json", {
    ...realServer.facts,
    addresses: [{ link: "eth9", ip: "10.0.0.1", prefixLength: 24, scope: 0 }],
  });
  const read = await vipward(["check", "--facts", bad, "--vip", VIP]);
  assert.equal(read.status, 65);
  assert.match(read.stderr, /addresses\[0\]\.link: there is no link eth9/);
  assert.equal((await vipward(["check", "--facts", join(folder, "none.json"), "--vip", VIP])).status, 66);
  assert.equal((await vipward(["check", "--facts", healthy])).status, 64);
  assert.equal((await vipward(["check", "--facts", healthy, "--vip", "10.0.0.300"])).status, 64);
});

test("bad facts files of every kind: where, what, remedy and status; nothing is checked", async () => {
  const good = JSON.stringify(realServer.facts);
  const cases: readonly (readonly [string, string, number, RegExp])[] = [
    ["cut", good.slice(0, 300), 65, /the file is not complete JSON, it seems to be cut short/],
    ["empty", "", 65, /cut short/],
    ["nan", good.replace('"mtu":1500', '"mtu":NaN'), 65, /not JSON: /],
    ["version", good.replace('"factsVersion":1', '"factsVersion":2'), 65, /factsVersion: is 2, this vipward reads 1/],
    ["list", "[]", 65, /a facts file is a JSON object/],
    ["twice", good.replace('"mtu":1500', '"mtu":1500,"mtu":9000'), 65, /links\[1\]\.mtu: stands twice/],
    ["hostile", good.replaceAll('"eth0"', '"\\u001b[2J"').replace('"link":"lo"', '"link":"\\u001b[3J"'), 65, /·\[3J/],
    [
      "kernel",
      good.replace('"generation":"6.x"', '"generation":"7.x"'),
      65,
      /kernel\.generation: expected one of "2\.0"/,
    ],
  ];
  for (const [name, text, status, message] of cases) {
    const read = await vipward(["check", "--facts", file(`${name}.json`, text), "--vip", VIP]);
    assert.equal(read.status, status, `${name}: ${read.stderr}`);
    assert.match(read.stderr, message);
    assert.match(read.stderr, /remedy: /);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of the file's may come through
    assert.doesNotMatch(read.stderr, /[\x00-\x09\x0b-\x1f]/, name);
    assert.equal(read.stdout, "");
  }
  const large = join(folder, "large.json");
  writeFileSync(large, "");
  truncateSync(large, 300 * 1024 * 1024); // a hole, not octets on the disk
  const read = await vipward(["check", "--facts", large, "--vip", VIP]);
  assert.deepEqual([read.status, /larger than 268435456/.test(read.stderr)], [65, true], read.stderr);
  const directory = await vipward(["check", "--facts", folder, "--vip", VIP]);
  assert.deepEqual([directory.status, /it is a folder/.test(directory.stderr)], [66, true], directory.stderr);
});

test("--switch: a vendor's kernel with arp_ignore in 2.4.20; names and values that do not exist are refused", async () => {
  const vendor = file("vendor.json", { ...realServer.facts, kernel: { release: "2.4.20", generation: "2.4-early" } });
  const args = ["check", "--facts", vendor, "--vip", VIP];
  const plain = await vipward(args);
  assert.equal(plain.status, 1);
  assert.match(plain.stdout, /eth0: answers A-2\.2-03/);
  const told = await vipward([...args, "--switch", "arpIgnoreAnnounce=true"]);
  assert.match(told.stdout, /eth0: silent A-2\.6-04/);
  assert.equal(told.status, 0, told.stdout);
  for (const [given, message] of [
    ["arpIgnore=true", /--switch arpIgnore: no such switch/],
    ["arpIgnoreAnnounce=maybe", /is "maybe", can be false, true/],
    ["arpIgnoreAnnounce", /has no value/],
  ] as const) {
    const refused = await vipward([...args, "--switch", given]);
    assert.equal(refused.status, 64);
    assert.match(refused.stderr, message);
  }
});

test("explain: a finding at length, a rule, and a suggestion for a slip", async () => {
  const finding = await vipward(["explain", "vip-netmask-not-32"]);
  assert.equal(finding.status, 0);
  assert.match(finding.stdout, /what users notice/);
  assert.match((await vipward(["explain", "A-2.6-04"])).stdout, /findings that rest on it\n {2}vip-on-ethernet/);
  const slip = await vipward(["explain", "vip-netmask-not-23"]);
  assert.equal(slip.status, 64);
  assert.match(slip.stderr, /did you mean vip-netmask-not-32\?/);
});
