import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { HostError } from "../errors.ts";
import { putFile, readFile } from "./files.ts";
import { FileConfirmations, FileJournal, FileLock } from "./journalFile.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "vipward-files-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("a file is put there with its mode, replaced, linked and taken away, and nothing is left beside it", () =>
  inFolder(async (folder) => {
    const path = join(folder, "deep", "vipward.conf");
    putFile(path, { text: "one\n", mode: 0o755 });
    assert.deepEqual(readFile(path), { text: "one\n", mode: 0o755 });
    putFile(path, { text: "two\n", mode: 0o600 });
    assert.deepEqual(readFile(path), { text: "two\n", mode: 0o600 });
    putFile(path, { linkTo: "/etc/vipward/boot.sh" });
    assert.deepEqual(readFile(path), { linkTo: "/etc/vipward/boot.sh" });
    putFile(path, null);
    putFile(path, null);
    assert.equal(readFile(path), null);
    assert.deepEqual(readdirSync(join(folder, "deep")), []);
  }));

test("a place where nothing can be written is named, with the remedy", () =>
  inFolder(async (folder) => {
    putFile(join(folder, "plain"), { text: "", mode: 0o644 });
    assert.throws(
      () => putFile(join(folder, "plain", "x"), { text: "", mode: 0o644 }),
      (e: unknown) => e instanceof HostError && e.message.includes("plain/x") && e.remedy !== "",
    );
    assert.throws(() => putFile("/proc/vipward/x", { text: "", mode: 0o644 }), HostError);
  }));

test("the journal's octets come back, appended and replaced; it is for root alone", () =>
  inFolder(async (folder) => {
    const path = join(folder, "journal");
    const journal = new FileJournal(path);
    assert.equal((await journal.load()).length, 0);
    await journal.append(Uint8Array.of(1, 2));
    await journal.append(Uint8Array.of(3));
    assert.deepEqual([...(await journal.load())], [1, 2, 3]);
    appendFileSync(path, "torn");
    await journal.replace(Uint8Array.of(9));
    assert.deepEqual([...(await journal.load())], [9]);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  }));

test("the lock is held by one, and free again after release", () =>
  inFolder(async (folder) => {
    const lock = new FileLock(join(folder, "lock"));
    const release = await lock.acquire();
    assert.ok(release);
    assert.equal(await new FileLock(join(folder, "lock")).acquire(), undefined);
    await release();
    const again = await lock.acquire();
    assert.ok(again);
    await again();
  }));

test("a confirmation is for its own run", () =>
  inFolder(async (folder) => {
    const confirmations = new FileConfirmations(folder);
    await confirmations.confirm(7);
    assert.equal(await confirmations.confirmed(7), true);
    assert.equal(await confirmations.confirmed(8), false);
  }));
