import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { cliPath } from "../testing/cli.ts";
import { bashCompletion } from "./bashCompletion.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-completion-"));
after(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, "vipward"), `#!/bin/sh\nexec "${process.execPath}" "${cliPath}" "$@"\n`, { mode: 0o755 });
writeFileSync(join(folder, "completion.bash"), bashCompletion);
writeFileSync(
  join(folder, "tab.bash"),
  `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); __vipward_complete; printf '%s\\n' "\${COMPREPLY[@]}"`,
);

/** What Tab offers after these words, in a bash without the package bash-completion. */
function offered(...words: string[]): string[] {
  const args = ["--norc", join(folder, "tab.bash"), join(folder, "completion.bash"), "vipward", ...words];
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  const result = execFileSync("bash", args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  return result.split("\n").filter((line) => line !== "");
}

test("commands, options and their values are offered, by what was typed of them", () => {
  assert.deepEqual(offered("who"), ["who-has"]);
  assert.deepEqual(offered("lab", "--cl"), ["--clean"]);
  assert.deepEqual(offered("lab", "--backend", ""), ["auto", "netns", "vm", "sim"]);
  assert.deepEqual(offered("lab", "--backend", "=", "n"), ["netns"]);
});

test("what was typed is never run", () => {
  const trace = join(folder, "trace");
  offered(`$(touch ${trace})`, "");
  assert.equal(existsSync(trace), false);
});
