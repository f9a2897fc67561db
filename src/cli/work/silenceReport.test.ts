import assert from "node:assert/strict";
import { test } from "node:test";
import type { Outcome } from "../../apply/run.ts";
import type { Plan } from "../../plan/plan.ts";
import { reportOf } from "./silenceReport.ts";

const plan = {
  steps: [
    { change: { kind: "sysctl", name: "eth0.arp_ignore", before: 0, after: 1 } },
    { change: { kind: "sysctl", name: "eth0.arp_announce", before: 0, after: 2 } },
  ],
} as unknown as Plan;
const recovered = { run: 3, direction: "apply", result: "took back", left: ["a file"] } as const;

const cases: readonly [string, Outcome, string, RegExp][] = [
  ["busy", { kind: "busy" }, "busy", /^another run is at work/],
  ["nothing", { kind: "nothing", plan }, "silent", /^silent for every VIP, as the file says$/],
  [
    "nothing, after a crash",
    { kind: "nothing", plan, recovered },
    "changed",
    /^an earlier run .* taken back; left: a file; silent/,
  ],
  ["refused", { kind: "refused", plan, why: ["one", "two"] }, "refused", /^nothing was changed: one; two$/],
  [
    "done",
    { kind: "done", run: 4, plan, confirmed: false, left: [] },
    "changed",
    /^2 changes, by arp-sysctl: [^;]*eth0\/arp_ignore[^;]*; [^;]*eth0\/arp_announce[^;]*$/,
  ],
  [
    "taken back",
    { kind: "tookBack", run: 5, plan, why: "no room", remedy: "make some", left: [] },
    "failed",
    /^no room; all of it was taken back; remedy: make some$/,
  ],
  [
    "taken back in part",
    { kind: "tookBack", run: 5, plan, why: "no room", left: ["lo"] },
    "failed",
    /^no room; what could be was taken back; left: lo$/,
  ],
];
for (const [name, outcome, state, text] of cases)
  test(`of a run: ${name}`, () => {
    const report = reportOf({ outcome, policy: "arp-sysctl" });
    assert.equal(report.state, state);
    assert.match(report.text, text);
  });
