import assert from "node:assert/strict";
import { test } from "node:test";
import { runModelVectors } from "./modelVectors.ts";

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
function run(content: string, json = false): { status: number; out: string } {
  let out = "";
  const status = runModelVectors({ file: "v.json", json }, { write: (t) => (out += t), readFile: () => content });
  return { status, out };
}

test("every case is printed with expected and given, the counts come last, and the status is 0 when all agree", () => {
  const { status, out } = run(JSON.stringify({ vectors: [vector("reply")] }));
  assert.equal(status, 0);
  assert.match(out, /^ok {3}V-reply arp_request the own address\n {5}expected result=reply\n {5}given {4}result=reply/);
  assert.match(out, /\n1 vectors: 1 agree, 0 differ\n$/);
});

test("one difference makes it 1, and the rest is still run", () => {
  const { status, out } = run(JSON.stringify({ vectors: [vector("silent"), vector("reply")] }));
  assert.equal(status, 1);
  assert.match(out, /FAIL V-silent/);
  assert.match(out, /2 vectors: 1 agree, 1 differ\n$/);
});

test("--json is one document", () => {
  const { status, out } = run(JSON.stringify({ vectors: [vector("silent")] }), true);
  assert.equal(status, 1);
  const report = JSON.parse(out);
  assert.deepEqual([report.total, report.failed, report.cases[0].differences[0].given], [1, 1, "reply"]);
});

test("a file that cannot be read or parsed is 2, an empty one is not a success", () => {
  assert.equal(run("{").status, 2);
  assert.equal(run(JSON.stringify({ vectors: [] })).status, 1);
  const status = runModelVectors(
    { file: "gone.json" },
    {
      write: () => {},
      readFile: () => {
        throw new Error("ENOENT");
      },
    },
  );
  assert.equal(status, 2);
});
