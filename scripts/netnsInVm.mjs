// Runs the namespace tests once more inside the VM: its kernel has IPVS, dummy and ipip, which the machine's own may
// lack, and what a test skips here it shows there. One boot for all files.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./setup.mjs";
import { judge, parseReport } from "./testReport.mjs";

const limitMs = 300_000;
// Arguments in pairs: a file, and the pattern of the tests that are wanted of it.
const loop = `while [ $# -gt 0 ]; do
  file=$1 names=$2
  shift 2
  echo "@file $file"
  timeout -s KILL ${limitMs / 1000} node --test-name-pattern="$names" --test-reporter=/run/vw/reporter.mjs --test-reporter-destination=/run/vw/report "dist/$file" >&2
  status=$?
  cat /run/vw/report; echo; echo "@end $status"
  : >/run/vw/report
done`;

const patternOf = (names) =>
  names === undefined ? "." : `^(${names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")})$`;

/** node:test calls a test that the pattern leaves out skipped. */
const wanted = (report) => ({
  ...report,
  tests: report.tests.filter((test) => test.reason !== "test name does not match pattern"),
});

/**
 * `files`: { file (below dist/), names (of its tests; all when absent) }. Calls onFile(file, { ms, tests, output }) for each;
 * throws VmError where the VM itself fails.
 */
export async function runNetnsTestsInVm(files, seed, { onStart, onFile }) {
  const { runInVm } = await import(join(root, "dist/host/vm/machine.js"));
  let current; // { file, startedMs, report, output }
  const onLine = (stream, line) => {
    const [word, rest] = line.split(/ (.*)/s);
    if (stream === "stderr") {
      if (current !== undefined) current.output = `${current.output}${line}\n`.slice(-200_000);
    } else if (word === "@file") {
      current = { file: rest, startedMs: performance.now(), report: "", output: "" };
      onStart(rest);
    } else if (word === "@end" && current !== undefined) {
      const { file, startedMs, report, output } = current;
      const killed = Number(rest) === 137;
      const run = { status: Number(rest), output, timedOut: killed, limitMs };
      onFile(file, { ms: performance.now() - startedMs, tests: judge(wanted(parseReport(report)), run), output });
      current = undefined;
    } else if (current !== undefined) current.report += `${line}\n`;
  };
  const { exitCode } = await runInVm({
    command: ["bash", "-c", loop, "netns-tests", ...files.flatMap(({ file, names }) => [file, patternOf(names)])],
    env: { VIPWARD_SEED: String(seed), NO_COLOR: "1" },
    files: [{ path: "/run/vw/reporter.mjs", content: readFileSync(join(root, "scripts/reporter.mjs")) }],
    withTests: true,
    stallMs: limitMs + 60_000,
    timeoutMs: files.length * limitMs + 120_000,
    onLine,
  });
  return exitCode;
}
