import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change } from "../plan/change.ts";
import type { Step } from "../plan/plan.ts";
import { keepSteps, keptPaths } from "./keep.ts";

const step = (change: Change): Step => ({ change, why: "", rules: [] });
const vip = step({
  kind: "address",
  link: "lo",
  ip: "10.0.0.100",
  before: null,
  after: { prefixLength: 32, scope: 0 },
});
const silence = step({ kind: "sysctl", name: "eth0.arp_ignore", before: 0, after: 1 });
const table = step({
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
      rules: [{ match: { target: { any: ["10.0.0.100"] } }, verdict: { kind: "drop" } }],
    },
  ],
});

function files(steps: readonly Step[], keeper: "systemd" | "ifupdown"): Map<string, string> {
  return new Map(
    keepSteps(steps, keeper).flatMap(({ change: c }): [string, string][] => {
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
    test(`${keeper} with ${name}: what silences is made at boot, too, before the VIP, in files that undo knows`, () => {
      const made = files(steps, keeper);
      for (const path of made.keys()) assert.ok(keptPaths.includes(path), path);
      const text = [...made.values()].find((t) => t.includes("10.0.0.100/32")) ?? "";
      const word = name === "sysctls" ? "arp_ignore" : "table arp vipward";
      assert.ok(text.includes(word), text);
      assert.ok(text.indexOf(word) < text.search(/address (add|replace) 10\.0\.0\.100/), text);
    });
