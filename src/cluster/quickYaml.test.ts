import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import { Memory } from "./memory.ts";
import { parseCluster } from "./parse.ts";
import { readQuickly } from "./quickYaml.ts";
import { readYaml } from "./read.ts";

const folder = new URL("../../examples/", import.meta.url);
const examples = readdirSync(folder)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => readFileSync(new URL(name, folder), "utf8"));

test("every example is read quickly, and means the same to both readers", () => {
  for (const text of examples) {
    const full = readYaml(text);
    assert.ok(full.ok);
    assert.deepStrictEqual(readQuickly(text), full.read.data);
  }
});

const forms = [
  'a: 1\nb:\n  - c\n  - d: 1\n    e: [1, 2,\n       {x: y}]\nf:\n- g\n- h: "q"\n',
  "list: [a, b, 'c d', \"e\", 1.5, -2, true, null, 10.0.0.1]\nm:\n  n:\n    o: p # comment\n  # c\n  q:\n",
  "{ a: b, c: [1, 2], d: { e: f } }\n",
  'a:\n  - { n: x, m: { k: 1 } }\n  - { n: y }\nb: "\n  - { n: x }\n"\nc:\n- { n: z }\n- d\n',
  "s:\n  - { n: x, m: { k: 1, l: a } }\n  - { n: y, m: { k: 1, l: a } }\n  - { n: z, o: { k: 2 }, m: { k: 1, l: a } }\n",
  "a: {\n  b: c,\n  d: [e,\n    f]\n}\n",
  "---\n- a: b\n  c: d\n- e\n-\n  f: g\n- - h\n",
];
const pieces = [..."{}[],:#-\"'\n abz019._/\\|>&*!%@?~=+\té\u2014"].concat(
  ...["\n  ", "\n    ", "- ", ": ", " #", "\n\n", "---\n", "...\n", "null", "0x1f", "1e3", "010", ".5", "-1", "<<"],
  ...["__proto__", "toString: 1\n", "a: b\n", "- x\n", "{a: b}", "[a]", '"a"', "''", "&a ", "*a"],
);

/** What a bad editor does to a file in one stroke. */
const stroke = fc.record({
  kind: fc.constantFrom("insert", "delete", "replace", "indent", "copy"),
  place: fc.nat(),
  other: fc.nat(),
  piece: fc.constantFrom(...pieces),
  count: fc.nat(5),
});
type Stroke = typeof stroke extends fc.Arbitrary<infer S> ? S : never;
function edit(text: string, { kind, place, other, piece, count }: Stroke): string {
  const at = place % (text.length + 1);
  if (kind === "insert") return text.slice(0, at) + piece + text.slice(at);
  if (kind === "delete") return text.slice(0, at) + text.slice(at + 1 + count);
  if (kind === "replace") return text.slice(0, at) + piece + text.slice(at + 1);
  const lines = text.split("\n");
  const line = place % lines.length;
  if (kind === "indent") lines[line] = " ".repeat(count) + (lines[line] ?? "").trimStart();
  else lines.splice(other % lines.length, 0, lines[line] ?? "");
  return lines.join("\n");
}
/** Some lines of an example, so that small strokes hit. */
const excerpt = fc
  .record({ text: fc.constantFrom(...examples), from: fc.nat(), count: fc.integer({ min: 1, max: 12 }) })
  .map(({ text, from, count }) => {
    const lines = text.split("\n");
    const first = from % lines.length;
    return `${lines.slice(first, first + count).join("\n")}\n`;
  });

test("whatever is done to a text: what the quick reader gives, the full one gives without a word", (t) => {
  let taken = 0;
  const texts = fc.oneof(excerpt, fc.constantFrom(...forms, ...examples));
  const runs = 4_000;
  fc.assert(
    fc.property(texts, fc.array(stroke, { maxLength: 4 }), (text, strokes) => {
      const broken = strokes.reduce(edit, text);
      const data = readQuickly(broken);
      if (data === undefined) return;
      taken++;
      const full = readYaml(broken);
      assert.ok(full.ok, `the full reader refuses ${JSON.stringify(broken)}`);
      assert.deepEqual(full.problems, []);
      assert.deepStrictEqual(data, full.read.data);
    }),
    { numRuns: runs },
  );
  t.diagnostic(`${taken} of ${runs} texts were read quickly`);
  assert.ok(taken > runs / 20, "else nothing was compared");
});

test("what the file of before said already is not read again, and means what it would have meant", (t) => {
  let remembered = 0;
  const texts = fc.oneof(excerpt, fc.constantFrom(...forms, ...examples));
  fc.assert(
    fc.property(texts, fc.array(stroke, { maxLength: 4 }), (text, strokes) => {
      const memory = new Memory();
      assert.deepStrictEqual(parseCluster(text, { memory }), parseCluster(text));
      const broken = strokes.reduce(edit, text);
      if (/^ *- \{.*\}$/m.test(broken)) remembered++;
      assert.deepStrictEqual(readQuickly(broken, memory), readQuickly(broken));
      assert.deepStrictEqual(parseCluster(broken, { memory }), parseCluster(broken));
    }),
    { numRuns: 500 },
  );
  t.diagnostic(`${remembered} of 500 had items to remember`);
  assert.ok(remembered > 25, "else nothing was compared");
});

test("of a file with one change one item is read: the others are the very objects of before", () => {
  const file = (weight: number): string => {
    const list = Array.from(
      { length: 50 },
      (_, i) => `  - { name: s${i}, realServers: { a: ${i === 7 ? weight : 1} } }`,
    );
    return `services:\n${list.join("\n")}\n`;
  };
  const memory = new Memory();
  const services = (text: string) => (readQuickly(text, memory) as { services: object[] }).services;
  const [before, after] = [services(file(1)), services(file(2))];
  assert.deepEqual(after, (readQuickly(file(2)) as { services: object[] }).services);
  assert.deepEqual(
    after.flatMap((one, i) => (one === before[i] ? [] : [i])),
    [7],
  );
});

test("services with the same list of real servers share what was read of it, and mean what they mean each for itself", () => {
  const file = (lists: readonly string[], start = "port: "): string => `version: 1
name: test
networks: { lan: { prefix: 10.0.0.0/24 } }
directors: { lb1: 10.0.0.2 }
realServers: { a: 10.0.0.11, b: 10.0.0.12 }
vips: { web: 10.0.0.100 }
services:
${lists.map((list, i) => `  - { vip: web, ${start}${80 + i}, killSwitch: { withinMs: 9 }, realServers: ${list} }`).join("\n")}
`;
  const same = "{ a: 2, b: { weight: 1 } }";
  const data = readQuickly(file([same, same, "{ a: 1 }", same]), new Memory()) as {
    services: { realServers: object }[];
  };
  assert.deepEqual(data, readQuickly(file([same, same, "{ a: 1 }", same])));
  for (const lists of [
    ["{ a: 2, b: 1 }", "{ a: 2, b: 1 }", "{ a: 1 }", "{ a: 2, b: 1 }"],
    ["{ a: 2, c: 1 }", "{ a: 2, c: 1 }", "{ a: -1 }", "{ a: -1 }"],
    ["{ a: {}}", "{ a: 1} }", "{ a: 1} }"],
  ])
    for (const start of ["port: ", "prot: ", "port: x"]) {
      const text = file(lists, start);
      assert.deepStrictEqual(parseCluster(text, { memory: new Memory() }), parseCluster(text));
    }
  const list = "{ a: 2, b: 1 }";
  const plain = file([list, "{ a: 1 }", list, list, list, list]);
  const [one, two, three] = (readQuickly(plain, new Memory()) as { services: { realServers: object }[] }).services;
  assert.equal(one?.realServers, three?.realServers);
  assert.notEqual(one?.realServers, two?.realServers);
});

test("what the two may see differently is declined, not guessed", () => {
  const others = ["a: &x 1\nb: *x\n", "a: |\n  b\n", "a: 1e999\n", "1: b\n", "---\na: b\n...\n", "<<: {}\n"];
  const faults = ["a: b: c\n", "a: 1\na: 2\n", "a: [\n", "a:\tb\n", "__proto__: 1\n", "a: 'b\n", "", "- a\nb: c\n"];
  // js-yaml begins the next key there.
  const behind = ["a:\n- { n: 1 }b: c\n", "a:\n- [ 1 ] b: c\n", 'a:\n- "q"b: c\n', "a:\n- 'q: ' b: c\n"];
  for (const text of [...others, ...faults, ...behind])
    assert.equal(readQuickly(text), undefined, JSON.stringify(text));
});
