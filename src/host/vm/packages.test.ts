import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { isUnused, productionPackages } from "./packages.ts";

/** A tree of packages: folder -> its package.json. */
function tree(t: TestContext, manifests: Record<string, object>): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "vipward-packages-")));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, manifest] of Object.entries(manifests)) {
    mkdirSync(join(root, path), { recursive: true });
    writeFileSync(join(root, path, "package.json"), JSON.stringify(manifest));
  }
  return root;
}

test("what a project needs to run, with what that needs; not what it needs to be built", (t) => {
  const root = tree(t, {
    ".": { dependencies: { a: "1" }, devDependencies: { tool: "1" } },
    "node_modules/a": { dependencies: { b: "1" }, optionalDependencies: { "a-mac": "1" } },
    "node_modules/b": {},
    "node_modules/tool": {},
  });
  const { packages, missing } = productionPackages(root, "/inside");
  assert.deepEqual(packages.map((p) => p.imageFolder).sort(), ["/inside/node_modules/a", "/inside/node_modules/b"]);
  assert.deepEqual(missing, []);
});

test("a project installed from a tarball finds its packages beside it", (t) => {
  const root = tree(t, { "node_modules/vipward": { dependencies: { a: "1" } }, "node_modules/a": {} });
  const { packages } = productionPackages(join(root, "node_modules/vipward"), "/inside");
  assert.deepEqual(packages, [
    { name: "a", folder: join(root, "node_modules/a"), imageFolder: "/inside/node_modules/a" },
  ]);
});

test("a second version of a package goes below the one that asks for it", (t) => {
  const root = tree(t, {
    ".": { dependencies: { a: "1", b: "1" } },
    "node_modules/a": {},
    "node_modules/b": { dependencies: { a: "2" } },
    "node_modules/b/node_modules/a": {},
  });
  const { packages } = productionPackages(root, "/inside");
  assert.deepEqual(packages.map((p) => p.imageFolder).sort(), [
    "/inside/node_modules/a",
    "/inside/node_modules/b",
    "/inside/node_modules/b/node_modules/a",
  ]);
});

test("what is needed and not there is named", (t) => {
  const root = tree(t, { ".": { dependencies: { gone: "1" } } });
  assert.deepEqual(productionPackages(root, "/inside").missing, ["gone"]);
});

test("types, maps and native sources stay outside the image; code goes in", () => {
  assert.ok(isUnused("zod", "v4/core/api.d.ts"));
  assert.ok(isUnused("koffi", "src/koffi/src/ffi.cc"));
  assert.ok(!isUnused("koffi", "src/koffi/index.js"));
  assert.ok(!isUnused("zod", "v4/core/api.js"));
});
