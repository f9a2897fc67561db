import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ipv4 } from "../base/ipv4.ts";
import { createNamespace, removeNamespace } from "../host/namespace.ts";
import { openRtnetlink } from "../host/rtnetlink.ts";
import type { LabReport } from "../lab/report.ts";
import { needsRoot, testPrefix } from "../testing/root.ts";

const project = fileURLToPath(new URL("../..", import.meta.url));

/** Every example of the library's page, as somebody who installed the package would run it, against what it prints. */
function libraryExamples(folder: string): void {
  const page = readFileSync(join(folder, "node_modules/vipward/docs/kernel-library.md"), "utf8");
  const examples = [...page.matchAll(/```js\n([\s\S]*?)```\n\n```text\n([\s\S]*?)```/g)];
  assert.equal(examples.length, page.split("```js").length - 1, "each example says what it prints");
  assert.ok(examples.length > 3);
  for (const [, code = "", printed] of examples) {
    writeFileSync(join(folder, "example.mjs"), code);
    assert.equal(execFileSync("node", ["example.mjs"], { cwd: folder, encoding: "utf8" }), printed, code);
  }
}

test("the packed package installs into an empty folder, and who-has and the lab run from it", (t) => {
  if (!needsRoot(t)) return;
  const folder = mkdtempSync(join(tmpdir(), "vipward-pack-"));
  const prefix = testPrefix("pack");
  const npm = (args: readonly string[], cwd: string): string =>
    execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  try {
    npm(["pack", "--ignore-scripts", "--pack-destination", folder], project);
    const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
    assert.ok(tarball !== undefined);
    npm(["init", "-y"], folder);
    npm(["install", "--prefer-offline", "--no-audit", "--no-fund", `./${tarball}`], folder);
    const command = join(folder, "node_modules", ".bin", "vipward");
    const vipward = (...args: string[]): string => execFileSync(command, args, { cwd: folder, encoding: "utf8" });
    assert.match(vipward("--version"), /^\d+\.\d+\.\d+\n$/);
    assert.ok(
      !readdirSync(join(folder, "node_modules", "vipward", "dist", "host")).some((name) => name.includes(".test.")),
    );

    libraryExamples(folder);

    const here = createNamespace(`${prefix}a`);
    const there = createNamespace(`${prefix}b`);
    try {
      const rt = openRtnetlink(here);
      const far = openRtnetlink(there);
      rt.createVeth({ name: "eth0" }, { name: "eth0", namespace: there });
      for (const [socket, address] of [
        [rt, "10.9.0.1"],
        [far, "10.9.0.2"],
      ] as const) {
        socket.setLink("eth0", { up: true });
        socket.addAddress("eth0", { prefix: { address: ipv4(address), length: 24 } });
        socket.close();
      }
      const report = JSON.parse(vipward("who-has", "10.9.0.2", "--netns", here.name, "--json", "--no-decoy")) as {
        vips: { verdict: string }[];
      };
      assert.deepEqual(
        report.vips.map((v) => v.verdict),
        ["one-owner"],
      );
    } finally {
      for (const namespace of [here, there]) {
        namespace.close();
        removeNamespace(namespace.name);
      }
    }
    const lab = spawnSync(command, ["lab", "--backend", "netns", "--seconds", "2", "--prefix", prefix, "--json"], {
      cwd: folder,
      encoding: "utf8",
    });
    assert.notEqual(lab.stdout, "", lab.stderr);
    const { chapters } = JSON.parse(lab.stdout) as LabReport;
    assert.deepEqual(
      chapters.flatMap((c) => c.verdicts.filter((v) => !v.held)),
      [],
    );
    assert.equal(lab.status, 0, lab.stderr);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
