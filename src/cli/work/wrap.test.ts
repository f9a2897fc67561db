import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { realServer, VIP } from "../../doctor/testing/hosts.ts";
import type { Io } from "../io.ts";
import { runCheck } from "./check.ts";
import { runExplain } from "./explain.ts";
import { runPlan, runPolicies, runStatus } from "./silence.ts";
import { fold } from "./wrap.ts";

test("a line too long for the terminal goes on below its last column, whole words and colours kept", () => {
  const long = "  00:00:15.100  lb1: http web2: no answer for 10.10.0.100:80, its packets are dropped";
  assert.equal(
    fold(long, 50),
    "  00:00:15.100  lb1: http web2: no answer for\n" +
      "                10.10.0.100:80, its packets are\n" +
      "                dropped",
  );
  const coloured = `  \x1b[2m00:00:15.100\x1b[22m  \x1b[31m${"word ".repeat(8).trimEnd()}\x1b[39m`;
  assert.equal(
    fold(coloured, 40),
    "  \x1b[2m00:00:15.100\x1b[22m  \x1b[31mword word word word word\n                word word word\x1b[39m",
  );
});

test("what fits stays as it is, and so do line breaks and a word that fits nowhere", () => {
  const text = `\n  short\n${"x".repeat(60)}\n\n`;
  assert.equal(fold(text, 40), text);
  assert.equal(fold(`    a  ${"x".repeat(60)} b`, 40), `    a  ${"x".repeat(60)}\n       b`);
});

test("on a terminal of 80 columns no line of plan, status, policies, check and explain is longer", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "vipward-wrap-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const facts = join(folder, "facts.json");
  writeFileSync(facts, JSON.stringify({ ...realServer.facts, sysctls: {} }));
  for (const isTerminal of [true, false]) {
    let out = "";
    const io: Io = {
      out: (text) => {
        out += text;
      },
      err: () => {},
      isTerminal,
      colour: false,
      columns: 80,
      signal: new AbortController().signal,
      endsInOrder: () => {},
    };
    const asked = { vip: [VIP], facts };
    await runPlan(asked, io);
    await runStatus(asked, io);
    await runPolicies(asked, io);
    await runCheck({ ...asked, role: "real-server", failOn: "medium" }, io);
    runExplain(undefined, {}, io);
    const long = out.split("\n").filter((line) => line.length > 80);
    if (isTerminal) assert.deepEqual(long, []);
    else assert.ok(long.length > 10, "what a program reads is not folded");
  }
});
