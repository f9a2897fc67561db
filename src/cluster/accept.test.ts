import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import * as z from "zod";
import "../testing/seed.ts";
import { accepterOf } from "./accept.ts";
import { type Plain, readYaml } from "./read.ts";
import { clusterSchema } from "./schema.ts";

const folder = new URL("../../examples/", import.meta.url);
const examples = readdirSync(folder)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => {
    const full = readYaml(readFileSync(new URL(name, folder), "utf8"));
    assert.ok(full.ok);
    return full.read.data;
  });
const accepts = accepterOf(clusterSchema);

test("every example is accepted: zod is not needed for them", () => {
  for (const data of examples) assert.ok(accepts(data));
});

/** Every place of a value, as a way to put something else there. */
function* places(value: Plain, put: (other: Plain) => void): Generator<(other: Plain) => void> {
  yield put;
  if (typeof value !== "object" || value === null) return;
  const inside = value as { [key: string]: Plain };
  for (const key of Object.keys(inside))
    yield* places(inside[key] as Plain, (other) => {
      inside[key] = other;
    });
}
/** What values other keys have, so that a misplaced one is often nearly right. */
const values = [...new Set(examples.flatMap(leaves))];
function leaves(value: Plain): Plain[] {
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(leaves) : [value];
}
const odd = fc.constantFrom<Plain>(0, -1, 65_536, 1.5, "", "x", true, null, "none", "10.0.0.256", {}, [], {
  name: "x",
});

test("whatever is put where: what is accepted is what zod gives, and zod takes it", (t) => {
  let taken = 0;
  const anyValue = fc.oneof(fc.constantFrom(...values), odd);
  fc.assert(
    fc.property(
      fc.constantFrom(...examples),
      fc.array(fc.tuple(fc.nat(), anyValue), { maxLength: 2 }),
      (data, edits) => {
        const holder = { value: structuredClone(data) };
        for (const [where, value] of edits) {
          const all = [...places(holder.value, (other) => Object.assign(holder, { value: other }))];
          all[where % all.length]?.(value);
        }
        const verdict = clusterSchema.safeParse(holder.value);
        assert.equal(accepts(holder.value), verdict.success);
        if (!verdict.success) return;
        taken++;
        assert.deepStrictEqual(holder.value, verdict.data);
      },
    ),
    { numRuns: 1500 },
  );
  t.diagnostic(`${taken} of 1500 were taken`);
  assert.ok(taken > 100, "else nothing was compared");
});

test("of a kind that it does not know it says no, and zod judges", () => {
  const unknown = [
    z.string().transform(Number),
    z.string().refine((s) => s === "a"),
    z.object({ a: z.string() }),
    z.date(),
  ];
  for (const schema of unknown) assert.equal(accepterOf(schema)("a"), false);
  assert.equal(accepterOf(z.string().min(1))("a"), true);
  assert.equal(accepterOf(z.strictObject({ a: z.int().min(1).optional() }))({ a: 1 }), true);
  assert.equal(accepterOf(z.strictObject({ a: z.int().min(1).optional() }))({ a: 0 }), false);
  assert.equal(accepterOf(z.strictObject({ a: z.int() }))({ a: 1, b: 1 }), false);
});
