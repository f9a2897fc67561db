import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cliPath } from "../../testing/cli.ts";
import { needsRoot } from "../../testing/root.ts";
import { buildWires, type Wires } from "../../testing/wires.ts";

const VIP = "10.0.0.100";
const rip = (n: number): string => `addr add 10.0.0.${n}/24 dev eth0`;
const holdsVip = `addr add ${VIP}/32 dev eth0`;

/** `machines` beside the real server web1, which applies. */
async function applied(
  machines: Readonly<Record<string, readonly string[]>>,
  body: (apply: (...options: string[]) => string, wires: Wires) => void,
): Promise<void> {
  const wires = buildWires("vipward-asks-", { web1: [rip(11)], ...machines });
  const stateDir = mkdtempSync(join(tmpdir(), "vipward-asks-"));
  const common = ["--vip", VIP, "--keep", "none", "--state-dir", stateDir];
  try {
    body((...options) => wires.run("web1", process.execPath, cliPath, "apply", ...common, ...options), wires);
  } finally {
    wires.close();
    rmSync(stateDir, { recursive: true });
  }
}

test("after an apply the wire is asked: the director answers, by its MAC", async (t) => {
  if (!needsRoot(t)) return;
  await applied({ lb1: [rip(1), holdsVip] }, (apply) =>
    assert.match(apply(), /asked the wire:\n {2}10\.0\.0\.100: 02:00:00:00:00:02 answers, and nobody else/),
  );
});

test("nobody holds the VIP yet: that is said, and is no failure", async (t) => {
  if (!needsRoot(t)) return;
  await applied({ lb1: [rip(1)] }, (apply) => assert.match(apply(), /10\.0\.0\.100: nobody else answers/));
});

test("a second machine that should be silent is named", async (t) => {
  if (!needsRoot(t)) return;
  await applied({ lb1: [rip(1), holdsVip], web2: [rip(12), `addr add ${VIP}/32 dev lo`] }, (apply) => {
    const { wire } = JSON.parse(apply("--json")) as {
      wire: { vips: { vip: string; verdict: string; macs: string[] }[] };
    };
    assert.deepEqual(
      wire.vips.map((v) => [v.vip, v.verdict, [...v.macs].sort()]),
      [[VIP, "race", ["02:00:00:00:00:02", "02:00:00:00:00:03"]]],
    );
  });
});

test("--no-ask: the wire is left alone", async (t) => {
  if (!needsRoot(t)) return;
  await applied({ lb1: [rip(1), holdsVip] }, (apply) => assert.doesNotMatch(apply("--no-ask"), /wire/));
});
