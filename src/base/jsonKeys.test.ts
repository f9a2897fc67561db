import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { repeatedNames } from "./jsonKeys.ts";

test("a name that stands twice is told with its place; values, lists and other objects are no names", () => {
  const cases: readonly (readonly [string, (string | number)[][]])[] = [
    ['{"a":1,"b":2}', []],
    ['{"a":1,"a":2}', [["a"]]],
    ['{"a":{"a":1},"b":"a"}', []],
    [
      '[{"x":1},{"x":1,"y":[0,{"z":1,"z":1}],"x":2}]',
      [
        [1, "y", 1, "z"],
        [1, "x"],
      ],
    ],
    ['{"a\\"b":1,"a\\u0022b":2}', [['a"b']]],
    ['{"a":"{\\"b\\":1,\\"b\\":2}"}', []],
    ['{"__proto__":1,"__proto__":2}', [["__proto__"]]],
    ['"only a text: \\" "', []],
  ];
  for (const [text, expected] of cases) assert.deepEqual(repeatedNames(text), expected, text);
});

test("what JSON.stringify writes has no name twice, and one written in is found", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.string(), (text, name) => {
      assert.deepEqual(repeatedNames(text), []);
      const key = JSON.stringify(name);
      assert.deepEqual(repeatedNames(`[${text},{${key}:${text},${key}:0}]`), [[1, name]]);
    }),
  );
});
