// What scripts/reporter.mjs wrote about one test file, and what it amounts to.

export const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;

/** Tests, node:test's remarks, and whether the report came to its end. */
export function parseReport(text) {
  const tests = [];
  const remarks = []; // what node:test has to say beside results, such as an error after a test's end
  let whole = false;
  for (const line of text.split("\n").filter((l) => l !== "")) {
    try {
      const entry = JSON.parse(line);
      if (entry.done) whole = true;
      else if (entry.diagnostic !== undefined) remarks.push(entry.diagnostic);
      else tests.push(entry);
    } catch {
      // cut off in the middle of a line: the process died, and `whole` says so
    }
  }
  return { tests, remarks, whole };
}

/**
 * The tests of a file, with one more that failed where the file as a whole did: it hung, crashed, held no test, or
 * ended badly after its tests had passed. `run`: { status, output, timedOut, limitMs }.
 */
export function judge({ tests, remarks, whole }, { status, output, timedOut, limitMs }) {
  const failed = (name, error) => [
    ...tests,
    { name, outcome: "failed", ms: 0, error: [error, ...remarks, output.trim()].join("\n").trim() },
  ];
  if (timedOut) return failed("ends in time", `still running after ${seconds(limitMs)}; ended`);
  if (status === 0 && tests.length === 0) return failed("holds a test", "no test was seen in this file");
  if (!whole) return failed("runs to its end", `the process ended with ${status} before its last test did`);
  if (status !== 0 && !tests.some((test) => test.outcome === "failed"))
    return failed("ends well", `every test passed, but the process ended with ${status}`);
  return tests;
}
