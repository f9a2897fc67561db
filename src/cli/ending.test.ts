import assert from "node:assert/strict";
import { test } from "node:test";
import { impatient, vipward } from "../testing/cli.ts";

test("a Ctrl-C that comes while the process is about to end does not take its status away", async () => {
  for (let i = 0; i < 5; i++) {
    const { status, signal } = await vipward(["completion", "bash"], (child) =>
      child.stdout?.once("data", () => impatient(child)),
    );
    assert.equal(signal, null);
    assert.ok(status === 0 || status === 130, `status ${status}`);
  }
});
