import assert from "node:assert/strict";
import { test } from "node:test";
import { needsRoot, testPrefix } from "../testing/root.ts";
import { createNamespace, removeNamespace } from "./namespace.ts";
import { listNft } from "./nft.ts";

test("nft is found where PATH lacks the sbin folders, as after `su` without a dash", (t) => {
  if (!needsRoot(t)) return;
  const name = `${testPrefix("nft")}path`;
  const namespace = createNamespace(name);
  const path = process.env.PATH;
  process.env.PATH = "/nonexistent";
  try {
    assert.ok(Array.isArray(namespace.run(() => listNft(["tables"]))));
  } finally {
    process.env.PATH = path;
    namespace.close();
    removeNamespace(name);
  }
});
