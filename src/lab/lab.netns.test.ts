import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { leftoverNamespaces, removeNamespace } from "../host/namespace.ts";
import { impatient, vipward } from "../testing/cli.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";
import type { Cure, LabReport } from "./report.ts";

const prefix = testPrefix("lab");
const standing = (): string[] => readdirSync("/run/netns").filter((name) => name.startsWith(prefix));
after(() => {
  for (const name of leftoverNamespaces({ kept: true, prefix })) removeNamespace(name);
});

async function lab(cure: Cure, own = prefix): Promise<{ status: number | null; report: LabReport; failed: string[] }> {
  const result = await vipward([
    "lab",
    "--backend",
    "netns",
    "--json",
    "--seconds",
    "2",
    "--prefix",
    own,
    "--cure",
    cure,
  ]);
  assert.notEqual(result.stdout, "", result.stderr);
  const report = JSON.parse(result.stdout) as LabReport;
  const failed = report.chapters.flatMap((c) =>
    c.verdicts.filter((v) => !v.held && v.id.startsWith("proof/")).map((v) => v.id),
  );
  return { status: result.status, report, failed };
}

test("the whole cure: every proof holds, and nothing is left behind", async (t) => {
  if (!needsRoot(t)) return;
  const { report, failed } = await lab("full");
  assert.deepEqual(failed, []);
  const [chapter] = report.chapters;
  assert.ok(chapter !== undefined);
  assert.equal(chapter.proof.traffic.connections, chapter.proof.traffic.completed);
  assert.ok(chapter.problem.traffic.bypassedDirector > 0);
  assert.ok(chapter.leak !== undefined);
  assert.equal(chapter.leak.after, chapter.leak.realServer);
  assert.deepEqual(standing(), []);
});

// They mostly wait, and what they look for no haste can hide: all at once.
describe("half a cure and none", { concurrency: true }, () => {
  test("without arp_announce: one owner still, but the leak turns the verdict red", async (t) => {
    if (!needsRoot(t)) return;
    const { status, failed } = await lab("ignore-only", `${prefix}i`);
    assert.equal(status, 1);
    assert.ok(failed.includes("proof/no-leak"), failed.join());
    assert.ok(!failed.includes("proof/one-owner"), failed.join());
  });

  test("without arp_ignore: several owners turn the verdict red", async (t) => {
    if (!needsRoot(t)) return;
    const { status, failed } = await lab("announce-only", `${prefix}a`);
    assert.equal(status, 1);
    assert.ok(failed.includes("proof/one-owner"), failed.join());
    assert.ok(failed.includes("proof/through-director"), failed.join());
  });

  test("no cure at all: red all over", async (t) => {
    if (!needsRoot(t)) return;
    const { status, failed } = await lab("none", `${prefix}n`);
    assert.equal(status, 1);
    for (const id of ["proof/one-owner", "proof/no-leak", "proof/through-director"])
      assert.ok(failed.includes(id), failed.join());
  });
});

for (const times of ["once", "again and again"] as const)
  test(`Ctrl-C in the middle, ${times}: status 130, and nothing is left behind`, async (t) => {
    if (!needsRoot(t)) return;
    let askedMs = 0;
    const result = await vipward(["lab", "--backend", "netns", "--prefix", prefix, "--seconds", "60"], (child) => {
      child.stderr?.on("data", (text: string) => {
        if (!text.includes(times === "once" ? "connections for" : "asking")) return;
        askedMs = performance.now();
        if (times === "once") child.kill("SIGINT");
        else impatient(child);
      });
    });
    assert.equal(result.status, 130, result.stderr);
    assert.ok(performance.now() - askedMs < 20_000, "a minute of traffic was waited for");
    assert.deepEqual(standing(), []);
  });

test("`| head`: a reader that goes away ends the lab, and nothing is left behind", async (t) => {
  if (!needsRoot(t)) return;
  const result = await vipward(["lab", "--backend", "netns", "--prefix", prefix, "--seconds", "2"], (child) => {
    child.stdout?.once("data", () => child.stdout?.destroy());
  });
  assert.equal(result.status, 130, result.stderr);
  assert.match(result.stderr, /ended: nobody reads the output any more/);
  assert.deepEqual(standing(), []);
});

test("a prefix that cannot begin a namespace's name is the command line's fault", async (t) => {
  if (!needsRoot(t)) return;
  const result = await vipward(["lab", "--backend", "netns", "--prefix", "a/b"]);
  assert.equal(result.status, 64, result.stderr);
});

test("a killed lab is swept away by the next one, and by --clean", async (t) => {
  if (!needsRoot(t)) return;
  const result = await vipward(["lab", "--backend", "netns", "--prefix", prefix], (child) => {
    child.stderr?.on("data", (text: string) => {
      if (text.includes("asking")) child.kill("SIGKILL");
    });
  });
  assert.equal(result.signal, "SIGKILL");
  assert.ok(standing().length >= 7);
  const cleaned = await vipward(["lab", "--clean", "--prefix", prefix]);
  assert.equal(cleaned.status, 0);
  assert.ok(cleaned.stdout.includes(`${prefix}dr-web1`), cleaned.stdout);
  assert.deepEqual(standing(), []);
});

test("a name taken by someone else stops the lab before it changes anything", async (t) => {
  if (!needsRoot(t)) return;
  const name = `${prefix}dr-web2`;
  execFileSync("ip", ["netns", "add", name]);
  try {
    const result = await vipward(["lab", "--backend", "netns", "--prefix", prefix]);
    assert.equal(result.status, 71);
    assert.ok(result.stderr.includes(name) && result.stderr.includes("remedy"), result.stderr);
    assert.deepEqual(standing(), [name]);
  } finally {
    execFileSync("ip", ["netns", "del", name]);
  }
});

test("my own cluster file: its addresses are kept, and --keep leaves it standing until --clean", async (t) => {
  if (!needsRoot(t)) return;
  const folder = mkdtempSync(join(tmpdir(), "vipward-lab-"));
  try {
    const file = join(folder, "mine.yaml");
    writeFileSync(
      file,
      `version: 1
name: mine
networks: { lan: { prefix: 172.30.9.0/24, router: 172.30.9.254 } }
directors: { ldir: 172.30.9.10 }
realServers: { r1: 172.30.9.21, r2: { rip: 172.30.9.22, weight: 3 } }
vips: { v: 172.30.9.99 }
services: [{ name: shop, vip: v, port: 8080, scheduler: wrr }]
forwarding: dr
`,
    );
    const result = await vipward([
      "lab",
      file,
      "--backend",
      "netns",
      "--prefix",
      prefix,
      "--seconds",
      "2",
      "--keep",
      "--json",
    ]);
    const report = JSON.parse(result.stdout) as LabReport;
    const machines = report.chapters[0]?.machines ?? [];
    assert.ok(machines.find((m) => m.name === "r2")?.addresses.includes("172.30.9.22"));
    assert.deepEqual(
      report.chapters[0]?.verdicts.filter((v) => !v.held && v.id.startsWith("proof/")),
      [],
    );
    assert.ok(standing().includes(`${prefix}dr-r2`));
    assert.ok(result.stderr.includes("ip netns exec"), result.stderr);
    await vipward(["lab", "--clean", "--prefix", prefix]);
    assert.deepEqual(standing(), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
