import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Rule, rules, rulesDocument } from "./rules.ts";
import { switchTable } from "./switches.ts";

const here = new URL("../../src/model/", import.meta.url);
const semantics = new URL("../../../shared/kernel-semantics.md", import.meta.url);

test("docs/kernel-rules.md is current", () => {
  const page = readFileSync(new URL("../../docs/kernel-rules.md", import.meta.url), "utf8");
  assert.equal(page, rulesDocument(switchTable));
});

test("each rule names a file that is there", () => {
  const files = new Set(readdirSync(here));
  for (const [id, rule] of Object.entries<Rule>(rules))
    if ("in" in rule.modelled) assert.ok(files.has(rule.modelled.in), `${id}: ${rule.modelled.in}`);
});

test("every rule of the semantics document is in the table, and no other", (t) => {
  if (!existsSync(semantics)) return t.skip("the semantics document is not beside this checkout");
  const ids = new Set(
    [...readFileSync(semantics, "utf8").matchAll(/\*\*([A-DS]-[\w.]+(?:-[\w.]+)*)\*\*/g)].map((m) => m[1]),
  );
  assert.deepEqual(
    Object.keys(rules).filter((id) => !ids.has(id)),
    [],
  );
  assert.deepEqual(
    [...ids].filter((id) => id !== undefined && !Object.hasOwn(rules, id)),
    [],
  );
});
