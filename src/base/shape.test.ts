import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import "../testing/seed.ts";
import {
  choiceOf,
  exactly,
  flag,
  listOf,
  numberFrom,
  objectOf,
  oneOf,
  optional,
  orNull,
  pairOf,
  problemsOf,
  recordOf,
  text,
  textOf,
  whole,
} from "./shape.ts";

const shape = objectOf({
  version: exactly(1),
  name: textOf(1, 4),
  kind: oneOf(["a", "b"]),
  ports: optional(pairOf(whole(0, 65535))),
  settings: recordOf(whole()),
  age: optional(numberFrom(0)),
  mac: orNull(text),
  parts: listOf(
    choiceOf("anyOf", [objectOf({ on: flag }), objectOf({ off: flag })], (v) => (Object.hasOwn(v, "off") ? 1 : 0)),
  ),
});
const good = {
  version: 1,
  name: "x",
  kind: "a",
  ports: [1, 2],
  settings: { "a.b": 7 },
  mac: null,
  parts: [{ on: true }],
};
const said = (change: object): string[] =>
  problemsOf(shape, { ...good, ...change }).map((p) => `${p.path}: ${p.message}`);

test("what fits has no problems; an undefined property is an absent one", () => {
  assert.deepEqual(said({}), []);
  assert.deepEqual(said({ ports: undefined, parts: [{ off: false }, { on: true }] }), []);
});

test("every problem is told, with its path and what was found", () => {
  assert.deepEqual(
    said({
      version: 2,
      name: "",
      kind: "c",
      ports: [1, 70000],
      settings: { "a.b": 1.5, c: "x" },
      mac: 7,
      parts: [{ on: 1 }, { off: null }, 3, {}],
      extra: 1,
      age: Number.NaN,
    }),
    [
      "version: expected 1, found 2",
      'name: expected text of 1 to 4 characters, found ""',
      'kind: expected one of "a", "b", found "c"',
      "ports[1]: expected a whole number from 0 to 65535, found 70000",
      'settings["a.b"]: expected a whole number, found 1.5',
      'settings.c: expected a whole number, found "x"',
      "age: expected a number from 0, found null",
      "mac: expected text, found 7",
      "parts[0].on: expected true or false, found 1",
      "parts[1].off: expected true or false, found null",
      "parts[2]: expected an object, found 3",
      "parts[3].on: missing",
      "extra: unknown name",
    ],
  );
  assert.deepEqual(
    problemsOf(shape, []).map((p) => p.message),
    ["expected an object, found a list"],
  );
});

test("a file of nothing but faults, or of one endless text, is told in few words", () => {
  const many = said({ parts: Array.from({ length: 5000 }, () => 1) });
  assert.equal(many.length, 101);
  assert.equal(many.at(-1), ": and 4900 more problems");
  assert.ok((said({ name: "x".repeat(1e6) })[0] ?? "").length < 150);
  assert.ok((said({ ["x".repeat(1e6)]: 1 })[0] ?? "").length < 150);
});

test("names that objects inherit are no properties", () => {
  assert.deepEqual(problemsOf(objectOf({ constructor: text }), {}), [{ path: "constructor", message: "missing" }]);
  const evil = JSON.parse('{"__proto__":{"on":true},"on":true}');
  assert.deepEqual(
    problemsOf(objectOf({ on: flag }), evil).map((p) => `${p.path}: ${p.message}`),
    ["__proto__: unknown name"],
  );
});

test("no JSON value makes it throw, and only the right one has no problems", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const found = problemsOf(shape, value);
      assert.ok(found.length > 0);
      for (const p of found) assert.equal(typeof p.path, "string");
    }),
  );
});

test("the schema comes from the same table", () => {
  assert.deepEqual(shape.schema.required, ["version", "name", "kind", "settings", "mac", "parts"]);
  assert.equal(shape.schema.additionalProperties, false);
  const { mac, ports } = shape.schema.properties as Record<string, Record<string, unknown>>;
  assert.deepEqual(mac, { type: ["string", "null"] });
  assert.equal(ports?.minItems, 2);
});
