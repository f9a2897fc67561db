import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { testLiveCases } from "../testing/liveRun.ts";
import { testsInVm } from "../testing/vm.ts";
import type { CheckReport } from "./check.ts";
import { vmCases } from "./testing/vmCases.ts";

const command = fileURLToPath(new URL("../bin/vipward.js", import.meta.url));

/** `vipward check` where `lines` of a shell came first, in mounts of its own. */
function checkAfter(lines: string): string[] {
  const check = `node ${command} check --vip 10.0.0.100 --json --fail-on critical || test $? = 1`;
  const text = execFileSync("unshare", ["--mount", "bash", "-c", `${lines}; ${check}`], { encoding: "utf8" });
  return (JSON.parse(text) as CheckReport).findings.map((f) => f.id);
}

const title = "findings that need IPVS, tunnels, bonds or VLANs, on a distribution's kernel";
testsInVm(import.meta.url, title, () => {
  test("sysctl-readonly-or-hidden-in-container on the running kernel; not on its twin (sysctls can be seen)", () => {
    const id = "sysctl-readonly-or-hidden-in-container";
    const container = "mount -t tmpfs none /run && touch /run/.containerenv";
    assert.ok(checkAfter(`${container} && mount -t tmpfs none /proc/sys`).includes(id));
    assert.ok(!checkAfter(container).includes(id));
  });
  // Of the others, packets are the same on any kernel: live.netns.test.ts asks them.
  testLiveCases(vmCases, "v", (c) => c.method === "tun");
});
