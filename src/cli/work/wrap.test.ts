import assert from "node:assert/strict";
import { test } from "node:test";
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
