// A reporter for node:test that writes one JSON line per test, for scripts/test.mjs to read.
import { inspect } from "node:util";

/** The error without node:test's wrapper, which only says "test failed". */
const wordsOf = (error) => inspect(error?.cause instanceof Error ? error.cause : error, { depth: 5 });

/** node:test's own totals at the end; scripts/test.mjs counts for itself. */
const isTotal = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /;

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type === "test:diagnostic" && !isTotal.test(data.message))
      yield `${JSON.stringify({ diagnostic: data.message })}\n`;
    if (type !== "test:pass" && type !== "test:fail") continue;
    const error = data.details?.error;
    const byChildren = error?.failureType === "subtestsFailed";
    // A group is no test; where it fails by itself (an error while it is described) it counts.
    if (data.details?.type === "suite" && (type === "test:pass" || byChildren)) continue;
    const skip = data.skip ?? data.todo;
    const line = {
      name: data.name,
      outcome: skip !== undefined && skip !== false ? "skipped" : type === "test:pass" ? "passed" : "failed",
      ms: data.details?.duration_ms ?? 0,
      reason: typeof skip === "string" && skip !== "" ? skip : data.todo !== undefined ? "to do" : "no reason given",
      where: data.file === undefined ? "" : `${data.file}:${data.line ?? 0}`,
      ...(type === "test:fail" && { error: wordsOf(error), byChildren }),
    };
    yield `${JSON.stringify(line)}\n`;
  }
  yield `${JSON.stringify({ done: true })}\n`;
}
