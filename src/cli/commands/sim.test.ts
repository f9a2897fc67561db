import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { LabReport } from "../../lab/report.ts";
import { vipward } from "../../testing/cli.ts";

const example = (name: string): string => fileURLToPath(new URL(`../../../examples/${name}.yaml`, import.meta.url));

function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vipward-sim-"));
  return body(folder).finally(() => rmSync(folder, { recursive: true, force: true }));
}

test("vipward sim: the story of a 2.2 cluster, as text, without root", async () => {
  const { status, stdout, stderr } = await vipward(["sim", example("lvs-dr-2.2"), "--seconds", "1"]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /4 machines answered/);
  assert.match(stdout, /policy redirect/);
  assert.match(stdout, /verdicts held .*sim, kernel 6\.18\.0, 2\.2\.13/);
});

test("vipward sim --seed: the same bytes twice, report and capture", () =>
  inFolder(async (folder) => {
    const run = async (name: string, seed: string): Promise<{ report: string; capture: Buffer }> => {
      const file = join(folder, name);
      const args = ["sim", example("lvs-dr"), "--seconds", "1", "--seed", seed, "--json", "--pcap", file];
      const { status, stdout, stderr } = await vipward(args);
      assert.equal(status, 0, stderr);
      return { report: stdout, capture: readFileSync(file) };
    };
    const [a, b, c] = [await run("a", "5"), await run("b", "5"), await run("c", "6")];
    assert.equal(a.report, b.report);
    assert.ok(a.capture.equals(b.capture));
    assert.ok(!a.capture.equals(c.capture));
    assert.equal((JSON.parse(a.report) as LabReport).backend, "sim");
  }));

test("vipward lab --backend sim: the same report without root, and half a cure is red", async () => {
  const args = ["lab", "--backend", "sim", "--forwarding", "dr", "--seconds", "1", "--json"];
  const whole = await vipward(args);
  assert.equal(whole.status, 0, whole.stderr);
  assert.equal((JSON.parse(whole.stdout) as LabReport).chapters.length, 1);
  const half = await vipward([...args, "--cure", "ignore-only"]);
  assert.equal(half.status, 1, half.stderr);
});

test("vipward sim with a scenario: what happened when, and how it stands at the end", async () => {
  const text = await vipward(["sim", example("two-directors")]);
  assert.equal(text.status, 0, text.stderr); // both directors know every connection
  assert.match(text.stdout, /00:00:10\.000 {2}lb1's cable loses 100 % of its frames/);
  assert.match(text.stdout, /10\.10\.0\.100 is answered for by lb1/);
  assert.match(text.stdout, /^ {2}served by web1 \d+, web2 \d+, web3 \d+$/m);
  const json = await vipward(["sim", example("director-moves"), "--json"]);
  const { reportVersion, cluster, scenarios } = JSON.parse(json.stdout) as {
    reportVersion: number;
    cluster: string;
    scenarios: { owners: Record<string, string[]> }[];
  };
  assert.deepEqual([reportVersion, cluster], [1, "director-moves"]);
  assert.deepEqual(scenarios[0]?.owners, { "10.10.0.100": ["lb2"] });
});

test("vipward explore: each finding with its timeline, a scenario that tells it again, and the command for the whole schedule", () =>
  inFolder(async (folder) => {
    // this schedule breaks two laws, each at a machine of its own by a fault of its own
    const args = ["explore", example("lvs-dr"), "--runs", "1", "--minutes", "1", "--seed", "88"];
    const found = await vipward(args);
    assert.equal(found.status, 1, found.stderr);
    const lines = (text: string): string[] =>
      [...text.matchAll(/^ +(\d\d:\d\d:\d\d\.\d{3} {2}.*)$/gm)].map((m) => m[1] ?? "");
    const stories = found.stdout.split(/\n(?=\d\. )/).slice(1);
    assert.equal(stories.length, 2, found.stdout);
    const again = async (story: string, i: number): Promise<string> => {
      const [breach = ""] = /LAW BROKEN, .*/.exec(story) ?? [];
      const [, whole = ""] = /^the whole schedule: vipward (.*)$/m.exec(story) ?? [];
      const file = join(folder, `again${i}.yaml`);
      const scenario = story.slice(story.indexOf("  scenario:"));
      writeFileSync(file, `${readFileSync(example("lvs-dr"), "utf8").trimEnd()}\n${scenario}`);
      const [schedule, told] = await Promise.all([
        vipward(whole.split(" ")),
        vipward(["sim", file, "--forwarding", "dr"]),
      ]);
      assert.equal(schedule.status, 1, schedule.stderr);
      assert.ok(breach !== "" && schedule.stdout.includes(breach), schedule.stdout);
      assert.equal(told.status, 1, told.stderr);
      const first = lines(story);
      assert.ok(first.length > 2, story);
      // told to the end, from its first words to the breach the same, word for word and to the millisecond
      assert.deepEqual(lines(told.stdout).slice(0, first.length), first);
      return told.stdout;
    };
    const [one] = await Promise.all(stories.map(again));
    const other = await vipward(["sim", join(folder, "again0.yaml"), "--forwarding", "dr", "--seed", "1"]);
    assert.notEqual(other.stdout, one);
    assert.equal((await vipward(args)).stdout, found.stdout);
  }));

test("Ctrl-C ends a story, a scenario and an exploration in the middle, with status 130", () =>
  inFolder(async (folder) => {
    const file = join(folder, "long.yaml");
    writeFileSync(file, readFileSync(example("two-directors"), "utf8").replace("seconds: 60", "seconds: 7200"));
    const interrupted = async (args: readonly string[], said: RegExp): Promise<string> => {
      const { status, stdout, stderr } = await vipward(args, (child) => {
        let asked = false;
        child.stderr?.on("data", (text: string) => {
          if (asked || !said.test(text)) return;
          asked = child.kill("SIGINT");
        });
      });
      assert.equal(status, 130, stderr);
      assert.match(stderr, /^interrupted/m);
      return stdout;
    };
    assert.doesNotMatch(await interrupted(["sim", "--seconds", "600"], /connections/), /Verdict/);
    assert.equal(await interrupted(["sim", file], /scenario/), "");
    assert.equal(await interrupted(["explore", file, "--replay", "0", "--minutes", "1440"], /schedule 0/), "");
    // what was found until then is told
    const explored = await interrupted(["explore", example("lvs-dr"), "--minutes", "1"], /1000 schedules/);
    assert.match(explored, /^LVS\/DR: \d+ schedules? of 00:01:00/);
  }));

test("a fault in the file is said with line, column and remedy; a bad flag with a remedy", () =>
  inFolder(async (folder) => {
    const file = join(folder, "bad.yaml");
    const text = readFileSync(example("two-directors"), "utf8").replace("do: loss, host: lb1", "do: loss, host: lb9");
    writeFileSync(file, text);
    const { status, stderr } = await vipward(["sim", file]);
    assert.equal(status, 65);
    assert.match(stderr, /bad\.yaml:\d+:\d+: error: .*lb9.*\[unknown-host\]/);
    assert.match(stderr, /remedy/);
    const flag = await vipward(["sim", "--seed", "x"]);
    assert.equal(flag.status, 64);
    assert.match(flag.stderr, /remedy/);
  }));

test("an impossible topology and scenario: everything wrong with them at once, each with its place and remedy", () =>
  inFolder(async (folder) => {
    const file = join(folder, "bad.yaml");
    const text = readFileSync(example("trunk-cut"), "utf8");
    const bad = (...changes: readonly (readonly [from: string, to: string])[]): void =>
      writeFileSync(
        file,
        changes.reduce((changed, [from, to]) => changed.replace(from, to), text),
      );
    const codesOf = async (): Promise<string[]> => {
      const { status, stdout, stderr } = await vipward(["sim", file]);
      assert.equal(status, 65, stderr);
      assert.equal(stdout, "");
      const said = [...stderr.matchAll(/bad\.yaml:\d+:\d+: error: .*\[([a-z-]+)\]$/gm)].map((m) => m[1] ?? "");
      assert.equal(stderr.match(/= remedy: \S/g)?.length, said.length, stderr);
      return said;
    };
    const cut = "{ at: 15, do: cut, host: edge }";
    bad(["    core: {}\n", "    core: edge\n"]);
    assert.deepEqual(await codesOf(), ["switch-loop"]);
    bad(["    web1: core\n", ""], [cut, "{ at: 61, do: loss, host: core }"]);
    assert.deepEqual(await codesOf(), ["host-without-link", "bad-fault", "bad-fault", "unknown-host"]);
    bad(["lb2: edge", "lb2: { switch: edge, vlan: 20 }"]);
    assert.deepEqual(await codesOf(), ["link-unreachable"]);
  }));

test("sctp: beside tcp it is left out and named where it stands; alone it is an error of the file, for all three", () =>
  inFolder(async (folder) => {
    const both = join(folder, "both.yaml");
    const alone = join(folder, "alone.yaml");
    const text = readFileSync(example("lvs-dr"), "utf8");
    const http = "  - { name: http, vip: web, port: 80, scheduler: rr }\n";
    const sctp = "  - { name: sip, vip: web, port: 5060, protocol: sctp, scheduler: rr }\n";
    writeFileSync(alone, text.replace(http, sctp));
    writeFileSync(both, text.replace(http, sctp + http));
    const column = sctp.indexOf("sctp") + 1;
    const explored = ["--runs", "1", "--minutes", "1"];
    const line = text.split("\n").indexOf(http.trimEnd()) + 1;
    const runs = [
      ["sim", "--seconds", "1"],
      ["explore", ...explored],
      ["lab", "--backend", "sim", "--seconds", "1"],
    ];
    for (const [command = "", ...more] of runs) {
      const { status, stdout, stderr } = await vipward([command, alone, ...more]);
      assert.equal(status, 65, stderr);
      assert.equal(stdout, "");
      assert.match(
        stderr,
        new RegExp(`alone\\.yaml:${line}:${column}: error: .*sip.*\\[only-sctp\\]\n[^]*remedy: \\S`),
      );
    }
    for (const [command = "", ...more] of runs) {
      const { status, stdout, stderr } = await vipward([command, both, ...more, "--json"]);
      assert.ok(status === 0 || (command === "explore" && status === 1), stderr);
      assert.match(stderr, new RegExp(`both\\.yaml:${line}:${column}: warning: .*sip.*\\[sctp-left-out\\]`));
      assert.deepEqual((JSON.parse(stdout) as { leftOut: string[] }).leftOut, [
        "service sip (LVS/DR): no client here speaks sctp",
      ]);
    }
  }));

/** Its one client is on another network than the VIP, where every address is taken. */
const fullNetwork = `version: 1
name: full
networks: { lan: { prefix: 10.1.0.0/29 }, far: { prefix: 10.2.0.0/24, router: 10.2.0.1 } }
directors: { lb1: 10.1.0.2 }
realServers: { web1: 10.1.0.3, web2: 10.1.0.4, web3: 10.1.0.5 }
vips: { web: 10.1.0.6 }
services: [{ name: http, vip: web, port: 80, scheduler: rr }]
forwarding: dr
lab: { clients: { visitor: 10.2.0.5 } }
`;

test("a file of which nothing can be told is no success, but status 69, whichever command reads it", () =>
  inFolder(async (folder) => {
    const file = join(folder, "nothing.yaml");
    const refused = async (args: readonly string[], why: RegExp): Promise<void> => {
      const { status, stdout, stderr } = await vipward(args);
      assert.equal(status, 69, stderr);
      assert.equal(stdout, "");
      assert.match(stderr, why);
      assert.match(stderr, /remedy: \S/);
    };
    const scenario = readFileSync(example("director-moves"), "utf8");
    const idle = /nothing of this cluster can be simulated: .*weight above 0/;
    writeFileSync(file, scenario.replace("scheduler: rr }", "scheduler: rr, realServers: { web1: 0 } }"));
    await refused(["sim", file], idle);
    await refused(["explore", file], idle);
    writeFileSync(file, fullNetwork);
    const full = /nothing of this cluster can be simulated: lan \(10\.1\.0\.0\/29\) has no free address for the client/;
    await refused(["sim", file], full);
    await refused(["lab", "--backend", "sim", file], full);
    writeFileSync(file, fullNetwork.replace(/^lab: .*$/m, "").replace("/29 }", "/29, router: 10.1.0.1 }"));
    for (const name of ["sim", "explore"]) await refused([name, file], full);
    // which says what helps: a client on another network, for `explore`
    writeFileSync(file, fullNetwork);
    const explored = await vipward(["explore", file, "--runs", "1", "--minutes", "1"]);
    assert.match(explored.stdout, /^LVS\/DR: 1 schedule of 00:01:00/, explored.stderr);
    writeFileSync(file, scenario.replace("forwarding: dr", "forwarding: nat"));
    for (const name of ["explore", "lab"])
      await refused([name, file], /no service of this cluster is forwarded by dr or tun/);
  }));

test("flags of the story are refused where the file holds a scenario", async () => {
  for (const flags of [
    ["--seconds", "3"],
    ["--cure", "ignore-only"],
  ]) {
    const { status, stdout, stderr } = await vipward(["sim", example("two-directors"), ...flags]);
    assert.equal(status, 64, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /is for the story without a scenario\n {2}remedy: \S/);
  }
});

test("a capture that cannot be written is refused before anything is simulated", () =>
  inFolder(async (folder) => {
    for (const [file, why] of [
      [join(folder, "nowhere", "run.pcap"), /there is no folder .*nowhere/],
      [folder, /it is a folder/],
    ] as const) {
      const { status, stdout, stderr } = await vipward(["sim", example("two-directors"), "--pcap", file]);
      assert.equal(status, 66, stderr);
      assert.equal(stdout, "");
      assert.match(stderr, why);
    }
  }));

test("vipward lab refuses by name what only the simulator can do, with status 69", () =>
  inFolder(async (folder) => {
    const file = join(folder, "lossy.yaml");
    const text = readFileSync(example("trunk-cut"), "utf8");
    writeFileSync(file, text.replace("web2: edge", "web2: { switch: edge, lossPercent: 1 }"));
    for (const backend of ["netns", "vm"]) {
      const { status, stderr } = await vipward(["lab", file, "--backend", backend]);
      assert.equal(status, 69, stderr);
      assert.match(stderr, /lab\.links\.web2\.lossPercent/);
      assert.match(stderr, /--backend sim/);
    }
  }));
