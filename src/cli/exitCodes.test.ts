import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { exitCodes } from "./exitCodes.ts";

test("docs/exit-codes.md lists every exit status with its meaning", () => {
  const page = readFileSync(new URL("../../docs/exit-codes.md", import.meta.url), "utf8");
  for (const { code, meaning } of Object.values(exitCodes))
    assert.ok(page.includes(`| ${code} | ${meaning} |`), `${code}`);
  assert.equal(page.match(/^\| \d+ \|/gm)?.length, Object.keys(exitCodes).length);
});
