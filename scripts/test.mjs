// npm test -- [static|unit|netns|vm ...] [--only TEXT ...] [--seed N] [--once]: sets up, then runs every test, or with
// --only those files whose path holds one of the texts. Each file is a process of its own with a time limit; one that
// crashes, hangs, or holds no test has failed. Files of namespaces and VMs live by the clock of a machine that may be busy:
// up to two of them that failed run once more, alone, and what passes only then is named in the summary; --once lets none.
// The last line is always "N passed, N failed, N skipped".
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { runNetnsTestsInVm } from "./netnsInVm.mjs";
import {
  ensureBuild,
  ensureDebianPackages,
  ensureDependencies,
  findProgram,
  main,
  packagesFor,
  root,
  SetupError,
} from "./setup.mjs";
import { judge, parseReport, seconds } from "./testReport.mjs";

/** Whole stories, the longest files: they wait for the clocks of protocols, or compare a kernel's telling with the model's. */
const isStory = (f) => /^(host\/agent|lab)\//.test(f);
/**
 * Kinds of test files by their suffix. `excuse`: why none of them can run here, if so. `alone`: stories that would be late
 * beside others; those that only take longer run two at a time.
 */
const tiers = {
  unit: { takes: (f) => !/\.(netns|vm)\.test\.js$/.test(f), atOnce: 2, limitMs: 180_000, excuse: () => undefined },
  netns: {
    takes: (f) => f.endsWith(".netns.test.js"),
    atOnce: 2,
    alone: (f) => f.startsWith("lab/"),
    limitMs: 300_000,
    excuse: () => (process.getuid() === 0 ? undefined : "not root: network namespaces cannot be made"),
  },
  vm: {
    takes: (f) => f.endsWith(".vm.test.js"),
    atOnce: 2,
    alone: (f) => isStory(f) && !f.startsWith("lab/netns/policies"),
    limitMs: 600_000,
    excuse: () => {
      if (process.arch !== "x64") return `the VM is made for x86-64, this is ${process.arch}`;
      return findProgram("qemu-system-x86_64") ? undefined : "QEMU is not installed, and only root can install it";
    },
  },
};

function parseArguments(args) {
  const wanted = { tiers: [], only: [], seed: randomInt(0x7fffffff), once: false };
  for (let i = 0; i < args.length; i++) {
    const [flag, inline] = args[i].split(/=(.*)/s);
    const value = () => inline ?? args[++i] ?? "";
    if (flag === "--only") wanted.only.push(value());
    else if (flag === "--seed") wanted.seed = Number(value());
    else if (flag === "--once") wanted.once = true;
    else if (flag === "static" || flag in tiers) wanted.tiers.push(flag);
    else
      throw new SetupError(
        `unknown argument ${args[i]}`,
        "npm test -- [static|unit|netns|vm ...] [--only TEXT ...] [--seed N] [--once]",
      );
  }
  if (!Number.isSafeInteger(wanted.seed)) throw new SetupError("--seed takes a whole number", "for instance --seed 7");
  if (wanted.only.includes("")) throw new SetupError("--only takes a text", "for instance --only vrrp");
  if (wanted.tiers.length === 0)
    wanted.tiers = wanted.only.length === 0 ? ["static", ...Object.keys(tiers)] : Object.keys(tiers);
  return wanted;
}

// ---- what was seen --------------------------------------------------------------------------------------------------

const results = []; // { file, name, outcome, ms, reason, error, where, byChildren }
const unsteady = []; // files that passed only when they ran again, alone
const running = new Set(); // children to end when we are ended

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
}

const hasFailed = (tests) => tests.some((test) => test.outcome === "failed");

/** One line per file or step, and at once what failed in it. */
function print(tier, file, { ms, tests, output = "" }) {
  const count = (outcome) => tests.filter((test) => test.outcome === outcome).length;
  const parts = ["passed", "failed", "skipped"].map((o) => [count(o), o]).filter(([n, o]) => n > 0 || o === "passed");
  const mark = hasFailed(tests) ? "FAIL" : "ok  ";
  progress("");
  console.log(`${mark} ${tier.padEnd(6)} ${file}: ${parts.map(([n, o]) => `${n} ${o}`).join(", ")} (${seconds(ms)})`);
  for (const test of tests) {
    if (test.outcome !== "failed" || test.byChildren) continue;
    console.log(`     ${test.name}${test.where ? `  (${test.where})` : ""}`);
    console.log(test.error.replace(/^/gm, "       "));
  }
  if (hasFailed(tests) && output.trim() !== "" && tests.every((test) => !test.error?.includes(output.trim())))
    console.log(`     output:\n${output.trim().replace(/^/gm, "       ")}`);
}

function tell(tier, file, seen, shownAs = file) {
  print(tier, shownAs, seen);
  results.push(...seen.tests.map((test) => ({ ...test, file })));
}

/** More than these are no accident of a busy machine. */
const secondRunsAtMost = 2;

/**
 * Files of one kind, each told at once, except those that failed and may run again: they are printed, and decided at the
 * end, when nothing runs beside them.
 */
class Verdicts {
  #waiting = []; // { tier, file, seen, again }

  /** `seen`: { ms, tests, output }; `again`: runs the file once more and answers with the like. */
  take(tier, file, seen, again) {
    if (again === undefined || !hasFailed(seen.tests)) return tell(tier, file, seen);
    print(tier, file, seen);
    this.#waiting.push({ tier, file, seen, again });
  }

  async decide() {
    const mayRunAgain = this.#waiting.length <= secondRunsAtMost;
    for (const { tier, file, seen, again } of this.#waiting) {
      if (!mayRunAgain) results.push(...seen.tests.map((test) => ({ ...test, file })));
      else {
        progress(`${tier} ${file} once more, alone`);
        const second = await again();
        tell(tier, file, second, `${file}, once more`);
        if (!hasFailed(second.tests)) unsteady.push({ file, names: namesOfFailed(seen.tests) });
      }
    }
  }
}

const namesOfFailed = (tests) => tests.filter((t) => t.outcome === "failed" && !t.byChildren).map((t) => t.name);

/** Runs a program in a process group of its own, ends the whole group at the limit. */
function runToEnd(file, args, options, limitMs) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], detached: true, ...options });
    let output = "";
    let timedOut = false;
    const endGroup = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // gone already
      }
    };
    running.add(endGroup);
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup("SIGTERM");
      setTimeout(() => endGroup("SIGKILL"), 3000).unref();
    }, limitMs);
    const keep = (piece) => {
      output = (output + piece).slice(-200_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => keep(String(error)));
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      running.delete(endGroup);
      resolve({ status: signal ?? code, output, timedOut });
    });
  });
}

// ---- static checks --------------------------------------------------------------------------------------------------

const staticSteps = [
  { name: "lint and format", args: [join(root, "node_modules/@biomejs/biome/bin/biome"), "ci", "--colors=off", "."] },
  { name: "floors", args: [join(root, "scripts/floors.mjs")] },
];

async function runStatic() {
  for (const { name, args } of staticSteps) {
    progress(`static ${name}`);
    const started = performance.now();
    const { status, output } = await runToEnd(process.execPath, args, {}, 120_000);
    const ms = performance.now() - started;
    const outcome = status === 0 ? "passed" : "failed";
    tell("static", name, { ms, tests: [{ name, outcome, ms, error: output.trim() }] });
  }
}

// ---- test files -----------------------------------------------------------------------------------------------------

async function runFile(tierName, file, folder, seed) {
  const { limitMs } = tiers[tierName];
  const shown = relative(join(root, "dist"), file);
  const report = join(folder, `${shown.replaceAll("/", "_")}.jsonl`);
  const reporter = fileURLToPath(new URL("reporter.mjs", import.meta.url));
  const args = [`--test-reporter=${reporter}`, `--test-reporter-destination=${report}`, file];
  const env = { ...process.env, VIPWARD_SEED: String(seed), NO_COLOR: "1" };
  const started = performance.now();
  const { status, output, timedOut } = await runToEnd(process.execPath, args, { env }, limitMs);
  const ms = performance.now() - started;
  const text = existsSync(report) ? readFileSync(report, "utf8") : "";
  rmSync(report, { force: true });
  return { ms, tests: judge(parseReport(text), { status, output, timedOut, limitMs }), output };
}

function testFiles(tierName, only) {
  const dist = join(root, "dist");
  const isWanted = (file) => only.length === 0 || only.some((text) => file.includes(text));
  return readdirSync(dist, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.js") && tiers[tierName].takes(file) && isWanted(file))
    .sort()
    .map((file) => join(dist, file));
}

async function runTier(tierName, { only, seed, once }, folder) {
  const shown = (file) => relative(join(root, "dist"), file);
  const files = testFiles(tierName, only);
  const excuse = tiers[tierName].excuse();
  if (excuse !== undefined) {
    for (const file of files) {
      const tests = [{ name: "all tests of this file", outcome: "skipped", ms: 0, reason: excuse }];
      tell(tierName, shown(file), { ms: 0, tests });
    }
    return;
  }
  const { atOnce, alone = () => false } = tiers[tierName];
  const verdicts = new Verdicts();
  let begun = 0;
  const jobOf = (file) => async () => {
    progress(`${tierName} ${++begun}/${files.length} ${shown(file)}`);
    const run = () => runFile(tierName, file, folder, seed);
    verdicts.take(tierName, shown(file), await run(), once || tierName === "unit" ? undefined : run);
  };
  const jobsOf = (takes) => files.filter((file) => takes(shown(file))).map(jobOf);
  await runJobs(jobsOf(alone), 1);
  const again = tierName === "vm" ? [() => runNetnsAgain({ only, seed, once }, verdicts)] : [];
  // the longest first
  const longest = jobsOf((f) => !alone(f) && isStory(f));
  await runJobs([...longest, ...again, ...jobsOf((f) => !alone(f) && !isStory(f))], atOnce);
  await verdicts.decide();
}

/** Runs jobs in their order, so many at a time. */
async function runJobs(jobs, atOnce) {
  let next = 0;
  const work = async () => {
    for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) await job();
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

/** Files that ask the kernel itself: all of them again in the VM. Commands and labs have tests of their own there. */
const asksKernel = (file) => /^host\/(engine\/)?[^/]+$/.test(file);

/**
 * The namespace tests on the VM's kernel, each file under its own name with "in the VM": what asks the kernel itself,
 * and of the rest those tests that this machine's kernel made skip.
 */
async function runNetnsAgain({ only, seed, once }, verdicts) {
  const skippedIn = (file) => results.filter((r) => r.file === file && r.outcome === "skipped").map((r) => r.name);
  const files = testFiles("netns", only)
    .map((path) => relative(join(root, "dist"), path))
    .map((file) => (asksKernel(file) ? { file } : { file, names: skippedIn(file) }))
    .filter(({ names }) => names === undefined || names.length > 0);
  if (files.length === 0) return;
  progress("vm booting for the namespace tests");
  const run = async (wanted, onSeen) => {
    try {
      const onStart = (file) => progress(`vm ${file} in the VM`);
      await runNetnsTestsInVm(wanted, seed, { onStart, onFile: onSeen });
    } catch (error) {
      if (error?.name !== "VmError") throw error;
      const words = `${error.message}\nremedy: ${error.remedy}`;
      const tests = [{ name: "the VM runs to its end", outcome: "failed", ms: 0, error: words }];
      onSeen("namespace tests", { ms: 0, tests });
    }
  };
  const again = (file) => async () => {
    const seen = [];
    await run([files.find((f) => f.file === file)], (_, second) => seen.push(second));
    return { ms: Math.max(...seen.map(({ ms }) => ms)), tests: seen.flatMap(({ tests }) => tests) };
  };
  await run(files, (file, seen) => {
    const isFile = files.some((f) => f.file === file);
    verdicts.take("vm", `${file} in the VM`, seen, once || !isFile ? undefined : again(file));
  });
}

// ---- the whole ------------------------------------------------------------------------------------------------------

/** npm packages, then types and build: without them nothing else can run. Counted where asked for, or where it fails. */
async function build(counted) {
  const started = performance.now();
  let error;
  try {
    await ensureDependencies();
    await ensureBuild();
  } catch (caught) {
    if (!(caught instanceof SetupError)) throw caught;
    error = `${caught.message}\nremedy: ${caught.remedy}`;
  }
  const ms = performance.now() - started;
  if (counted || error !== undefined)
    tell("static", "types and build", {
      ms,
      tests: [{ name: "types and build", outcome: error ? "failed" : "passed", ms, error }],
    });
  return error === undefined;
}

function summary(seed) {
  const failed = results.filter((test) => test.outcome === "failed");
  const skipped = results.filter((test) => test.outcome === "skipped");
  const slow = results
    .filter((test) => test.ms > 2000)
    .sort((a, b) => b.ms - a.ms)
    .slice(0, 10);
  if (slow.length > 0) console.log("\nslow tests:");
  for (const test of slow) console.log(`  ${seconds(test.ms).padStart(6)}  ${test.name}  (${test.file})`);
  if (skipped.length > 0) console.log("\nskipped:");
  for (const test of skipped) console.log(`  ${test.name}  (${test.file}): ${test.reason}`);
  if (unsteady.length > 0) console.log("\nfailed at first, and passed when run once more alone:");
  for (const { file, names } of unsteady) console.log(`  ${names.join("; ")}  (${file})`);
  if (failed.length > 0) console.log("\nfailed:");
  for (const test of failed) console.log(`  ${test.name}  (${test.file})`);
  if (failed.length > 0) console.log(`  again with the same random numbers: npm test -- --seed ${seed}`);
  const passed = results.length - failed.length - skipped.length;
  if (results.length === 0) console.log("no test was run: nothing has been shown");
  console.log(`\n${passed} passed, ${failed.length} failed, ${skipped.length} skipped`);
  return failed.length > 0 || passed === 0 ? 1 : 0;
}

await main(async (args) => {
  const wanted = parseArguments(args);
  console.log(`vipward tests: ${wanted.tiers.join(", ")}; Node ${process.versions.node}; VIPWARD_SEED=${wanted.seed}`);
  const folder = mkdtempSync(join(tmpdir(), "vipward-test-"));
  const endAll = () => {
    for (const endGroup of running) endGroup("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
    process.exit(130);
  };
  process.once("SIGINT", endAll);
  process.once("SIGTERM", endAll);
  try {
    if (wanted.tiers.some((tier) => tier === "netns" || tier === "vm"))
      await ensureDebianPackages(packagesFor("lab", "vm", "test"), "the tests");
    if (await build(wanted.tiers.includes("static"))) {
      if (wanted.tiers.includes("static")) await runStatic();
      for (const tier of Object.keys(tiers)) if (wanted.tiers.includes(tier)) await runTier(tier, wanted, folder);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return summary(wanted.seed);
});
