import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { vipward } from "../../testing/cli.ts";

const example = (name: string): string => fileURLToPath(new URL(`../../../examples/${name}.yaml`, import.meta.url));
const elsewhere = { NODE_OPTIONS: `--import ${new URL("../../testing/elsewhere.js", import.meta.url).href}` };

test("sim and explore need no Linux: the same bytes where there is no /proc, no /sys and no native module", async () => {
  for (const args of [
    ["sim", example("lvs-dr-2.2"), "--seconds", "1", "--json"],
    ["explore", example("two-directors"), "--runs", "2", "--minutes", "1", "--json"],
  ]) {
    const [here, there] = [await vipward(args), await vipward(args, undefined, elsewhere)];
    assert.equal(there.stderr, here.stderr);
    assert.equal(there.stdout, here.stdout);
    assert.equal(there.status, here.status);
    assert.ok(here.stdout.length > 100);
  }
});

test("what needs a kernel says elsewhere that it needs Linux, with status 69", async () => {
  for (const args of [["facts"], ["undo"], ["apply", "--vip", "10.0.0.100"], ["who-has", "10.0.0.100"]]) {
    const { status, stderr } = await vipward(args, undefined, elsewhere);
    assert.match(stderr, /needs Linux, and here is darwin/, args.join(" "));
    assert.equal(status, 69);
  }
});
