import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeOrder } from "./order.ts";

const base = { command: ["echo", "a b\nc"], cwd: "/", env: { A: "1=2" }, files: [], mark: "M" } as const;

test("an order: its length, its fields each ended by NUL, then the files' contents", () => {
  const files = [
    { path: "/tmp/x", content: "häh", mode: 0o600 },
    { path: "/tmp/y", content: new Uint8Array([0, 10]) },
  ];
  const text = encodeOrder({ ...base, files }).toString("latin1");
  const fields = "M\0/\x002\0echo\0a b\nc\x001\0A=1=2\x002\0/tmp/x\x00600\x004\0/tmp/y\x00644\x002\0";
  assert.equal(text, `${fields.length}\n${fields}${Buffer.from("häh").toString("latin1")}\0\n`);
});

test("a NUL inside a field would shift all after it: refused", () => {
  assert.throws(() => encodeOrder({ ...base, command: ["a\0b"] }), RangeError);
});
