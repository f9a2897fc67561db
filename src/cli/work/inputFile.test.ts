import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { realServer, VIP } from "../../doctor/testing/hosts.ts";
import { vipward } from "../../testing/cli.ts";
import { unreadable } from "./inputFile.ts";

const folder = mkdtempSync(join(tmpdir(), "vipward-input-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const facts = join(folder, "facts.json");
writeFileSync(facts, JSON.stringify(realServer.facts));
const unknownKey = join(folder, "unknown.yaml");
writeFileSync(unknownKey, "version: 1\nfoo: 1\n");

const asPlan = ["plan", "--facts", facts, "--cluster"];

test("a folder for a cluster file: the same words and status from every way to read one", async () => {
  const all = await Promise.all(
    [["sim"], ["check", "--facts", facts, "--cluster"], asPlan].map((way) => vipward([...way, folder])),
  );
  for (const { status, stderr } of all) {
    assert.equal(status, 66);
    assert.match(stderr, /cannot read .*: it is a folder\n {2}remedy: check the path\n$/);
  }
});

test("plan tells a device and an unknown key of a cluster file as check does, and what is no facts file", async () => {
  const device = await vipward([...asPlan, "/dev/null"]);
  assert.equal(device.status, 66);
  assert.match(device.stderr, /\/dev\/null: it is a device or a pipe\n {2}remedy: name a regular file\n$/);
  const faulty = await vipward([...asPlan, unknownKey]);
  assert.equal(faulty.status, 65);
  assert.match(faulty.stderr, /unknown\.yaml:2:1: error: unknown key "foo" \[unknown-key\]/);
  assert.match(faulty.stderr, /2 \| foo: 1\n/);
  const empty = join(folder, "empty.json");
  writeFileSync(empty, "");
  const noFacts = await vipward(["plan", "--vip", VIP, "--facts", empty]);
  assert.equal(noFacts.status, 65);
  assert.match(noFacts.stderr, /empty\.json: the file is not complete JSON/);
  assert.match(noFacts.stderr, /remedy: read the facts again/);
});

test("a file that this user may not read is a matter of permission, status 77, not of a wrong name", () => {
  const error = unreadable("/x", Object.assign(new Error("EACCES"), { code: "EACCES" }));
  assert.equal(error.code, "file/EACCES");
  assert.match(error.message, /cannot read \/x: access denied/);
  assert.match(error.remedy, /CAP_DAC_READ_SEARCH/);
});
