import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as library from "./index.ts";

test("docs/kernel-library.md names every value that vipward/kernel exports, and no other", () => {
  const page = readFileSync(new URL("../../docs/kernel-library.md", import.meta.url), "utf8");
  const rows = page.slice(page.indexOf("## Everything it exports")).match(/^\| (?!function)(`.*?) \|/gm) ?? [];
  const named = rows.flatMap((row) => [...row.matchAll(/`(\w+)/g)].map((m) => m[1]));
  assert.deepEqual(named.sort(), Object.keys(library).sort());
});
