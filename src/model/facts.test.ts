import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { sketchFacts } from "../testing/modelHosts.ts";
import { factsJsonSchema, parseFacts } from "./factsSchema.ts";

const good = sketchFacts({ lo: ["10.0.0.100/32"] });
const problems = (change: (facts: Record<string, unknown>) => void): string[] => {
  const facts = structuredClone(good) as unknown as Record<string, unknown>;
  change(facts);
  const result = parseFacts(JSON.stringify(facts));
  return result.ok ? [] : result.problems.map((p) => `${p.path}: ${p.message}`);
};

test("a good file is taken as it is", () => {
  const result = parseFacts(JSON.stringify(good));
  assert.deepEqual(result, { ok: true, value: good });
});

test("another version is named, and nothing else is said", () => {
  assert.deepEqual(
    problems((f) => {
      f.factsVersion = 2;
      f.links = 7;
    }),
    ["factsVersion: is 2, this vipward reads 1; it was made by a newer vipward"],
  );
  assert.match(problems((f) => delete f.factsVersion)[0] ?? "", /^factsVersion: missing/);
});

test("a file cut short anywhere is refused, and said to be cut short", () => {
  const text = JSON.stringify(good);
  for (let length = 0; length < text.length; length += 37) {
    const result = parseFacts(text.slice(0, length));
    assert.equal(result.ok, false);
    assert.match(result.ok ? "" : (result.problems[0]?.message ?? ""), /cut short/, text.slice(0, length));
  }
  const other = parseFacts("hello");
  assert.match(other.ok ? "" : (other.problems[0]?.message ?? ""), /^not JSON/);
});

test("an unknown generation is named with its place", () => {
  const found = problems((f) => {
    f.kernel = { release: "9.1", generation: "9.x" };
  });
  assert.equal(found.length, 1);
  assert.match(found[0] ?? "", /^kernel\.generation: /);
});

test("unknown switches and values are refused", () => {
  const found = problems((f) => {
    f.kernel = { release: "6.1", generation: "6.x", switches: { arpFilter: "maybe", nonsense: true } };
  });
  assert.deepEqual(found, [
    'kernel.switches.arpFilter: is "maybe", can be false, true',
    "kernel.switches.nonsense: no such switch",
  ]);
});

test("an address on a link that is not there, and every other contradiction, at once", () => {
  const found = problems((f) => {
    f.addresses = [
      { link: "eth9", ip: "10.0.0.1", prefixLength: 24, scope: 0 },
      { link: "eth0", ip: "10.0.0.2", prefixLength: 24, scope: 0 },
      { link: "eth0", ip: "10.0.0.2", prefixLength: 24, scope: 0 },
    ];
    f.routes = [{ dst: "default", via: "10.0.0.1", dev: "eth8" }];
    f.neighbours = [{ link: "eth7", ip: "10.0.0.3", state: "STALE" }];
  });
  assert.deepEqual(found, [
    "addresses[0].link: there is no link eth9",
    "addresses[2]: 10.0.0.2/24 is on eth0 twice",
    "routes[0].dev: there is no link eth8",
    "neighbours[0].link: there is no link eth7",
  ]);
});

test("wrong values are named by place: address, prefix, MAC, unknown key", () => {
  const found = problems((f) => {
    f.addresses = [{ link: "eth0", ip: "10.0.0.300", prefixLength: 33, scope: 0 }];
    f.routes = [{ dst: "10.0.0.0/40" }];
    f.colour = "blue";
  });
  for (const path of ["addresses[0].ip", "addresses[0].prefixLength", "routes[0].dst"])
    assert.ok(
      found.some((p) => p.startsWith(`${path}: `)),
      `${path} in ${found.join("; ")}`,
    );
  assert.ok(found.some((p) => p.includes("colour")));
});

test("schema/facts.schema.json is current", () => {
  const file = new URL("../../schema/facts.schema.json", import.meta.url);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), JSON.parse(JSON.stringify(factsJsonSchema())));
});
