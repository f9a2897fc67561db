import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { vipward } from "../../testing/cli.ts";

const vector = (result: string): object => ({
  id: `V-${result}`,
  kind: "arp_request",
  generation: "6.x",
  kernel: "6.18.0",
  title: "the own address",
  host: {
    interfaces: [
      {
        name: "eth0",
        mac: "02:00:00:00:00:01",
        up: true,
        flags: [],
        addresses: [{ ip: "10.0.0.1", plen: 24, scope: "global" }],
      },
    ],
  },
  event: { iface: "eth0", op: 1, frame: "broadcast", sha: "02:00:00:00:01:00", spa: "10.0.0.2", tpa: "10.0.0.1" },
  expect: { result },
});
async function run(content: string, ...flags: string[]): Promise<{ status: number | null; out: string; err: string }> {
  const folder = mkdtempSync(join(tmpdir(), "vipward-vectors-"));
  try {
    const file = join(folder, "v.json");
    writeFileSync(file, content);
    const { status, stdout, stderr } = await vipward(["model", "vectors", file, ...flags]);
    return { status, out: stdout, err: stderr };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("every case is printed with expected and given, the counts come last, and the status is 0 when all agree", async () => {
  const { status, out } = await run(JSON.stringify({ vectors: [vector("reply")] }));
  assert.equal(status, 0);
  assert.match(out, /^ok {3}V-reply arp_request the own address\n {5}expected result=reply\n {5}given {4}result=reply/);
  assert.match(out, /\n1 vectors: 1 agree, 0 differ\n$/);
});

test("one difference makes it 1, and the rest is still run", async () => {
  const { status, out } = await run(JSON.stringify({ vectors: [vector("silent"), vector("reply")] }));
  assert.equal(status, 1);
  assert.match(out, /FAIL V-silent/);
  assert.match(out, /2 vectors: 1 agree, 1 differ\n$/);
});

test("--json is one document", async () => {
  const { status, out } = await run(JSON.stringify({ vectors: [vector("silent")] }), "--json");
  assert.equal(status, 1);
  const report = JSON.parse(out);
  assert.deepEqual([report.total, report.failed, report.cases[0].differences[0].given], [1, 1, "reply"]);
});

test("a file that is not JSON is 65, one that cannot be read 66, an empty one is not a success", async () => {
  const broken = await run("{");
  assert.equal(broken.status, 65);
  assert.match(broken.err, /not JSON[\s\S]*remedy/);
  assert.equal((await run(JSON.stringify({ vectors: [] }))).status, 1);
  assert.equal((await vipward(["model", "vectors", "/no/such/file.json"])).status, 66);
});
