import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Journal, type JournalState } from "../../apply/journal.ts";
import { formatIpv4, type Ipv4, ipv4 } from "../../base/ipv4.ts";
import { FileJournal } from "../../host/perform/journalFile.ts";
import { impatient } from "../../testing/cli.ts";
import { withHost } from "../../testing/cliHost.ts";
import { needsRoot } from "../../testing/root.ts";

const APPLY = ["--vip", "10.0.0.100", "--keep", "none"];

test("killed with -9 while it waits for the word: the next run takes it back; a second run meanwhile is refused", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("kill", async (host) => {
    const before = host.facts();
    const waiting = host.start("apply", ...APPLY, "--confirm", "60");
    const held = (): boolean => host.facts().addresses.some((a) => a.ip === "10.0.0.100");
    for (let i = 0; i < 100 && !held(); i++) await sleep(50);
    assert.ok(held());
    await sleep(300);
    assert.equal(host.run("undo").status, 69);
    // `ip netns exec` becomes the command itself, so this is the very process.
    waiting.kill("SIGKILL");
    await new Promise((resolve) => waiting.once("exit", resolve));
    const next = host.run("undo");
    assert.match(next.text, /died half way: it was taken back/);
    assert.deepEqual(host.facts(), before);
  });
});

const instants = [
  ["the run is written down", (s: JournalState) => s.open !== undefined],
  ["half of it is made", (s: JournalState) => (s.open?.done.length ?? 0) > 0],
  ["it waits for the word", (s: JournalState) => s.open?.waitingUntilMs !== undefined],
] as const;
for (const [when, reached] of instants)
  test(`--confirm killed with -9 when ${when}: its heir takes it back, no run of anybody needed`, async (t) => {
    if (!needsRoot(t)) return;
    await withHost("heir", async (host) => {
      const before = host.facts();
      const journal = new FileJournal(join(host.stateDir, "journal"));
      // Enough VIPs that making them takes longer than looking.
      const vips = Array.from({ length: 2000 }, (_, i) => formatIpv4((ipv4("10.9.0.1") + i) as Ipv4)).join();
      const parent = host.start("apply", "--vip", vips, "--keep", "none", "--confirm", "3");
      const ended = new Promise((resolve) => parent.once("exit", resolve));
      while (parent.exitCode === null && !reached(await Journal.peek(journal))) await sleep(1);
      assert.equal(parent.exitCode, null, "it ended before it could be killed");
      parent.kill("SIGKILL");
      await ended;
      const { open } = await Journal.peek(journal);
      if (when === "it waits for the word") assert.equal(host.facts().addresses.length, before.addresses.length + 2000);
      for (let i = 0; i < 300 && (await Journal.peek(journal)).open !== undefined; i++) await sleep(100);
      assert.equal((await Journal.peek(journal)).open, undefined, "nobody took it back");
      assert.ok(Date.now() >= (open?.waitingUntilMs ?? 0), "it was taken back before its time");
      assert.deepEqual(host.facts(), before);
      assert.equal(host.run("status").text, "0 things here were made by vipward, 0 of them are not as it left them\n");
    });
  });

test("--confirm killed with -9, then confirmed: it stays, and its heir goes", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("late", async (host) => {
    const journal = new FileJournal(join(host.stateDir, "journal"));
    const parent = host.start("apply", ...APPLY, "--confirm", "60");
    const ended = new Promise((resolve) => parent.once("exit", resolve));
    while ((await Journal.peek(journal)).open?.waitingUntilMs === undefined) await sleep(20);
    parent.kill("SIGKILL");
    await ended;
    assert.equal(host.run("confirm").status, 0);
    assert.equal(host.run("status").status, 0);
    const heirs = (): number =>
      readdirSync("/proc").filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(host.stateDir);
        } catch {
          return false;
        }
      }).length;
    for (let i = 0; i < 100 && heirs() > 0; i++) await sleep(100);
    assert.equal(heirs(), 0);
    assert.equal(host.run("status").status, 0);
  });
});

test("confirmed in time it stays; ended by Ctrl-C, however often, it is taken back with status 130", async (t) => {
  if (!needsRoot(t)) return;
  await withHost("word", async (host) => {
    const before = host.facts();
    for (const word of [true, false]) {
      const waiting = host.start("apply", ...APPLY, "--confirm", "60");
      const ended = new Promise<number | null>((resolve) => waiting.once("exit", resolve));
      for (let i = 0; word && i < 100 && host.run("confirm").status !== 0; i++) await sleep(50);
      if (!word) {
        const journal = new FileJournal(join(host.stateDir, "journal"));
        while ((await Journal.peek(journal)).open?.waitingUntilMs === undefined) await sleep(20);
        impatient(waiting);
      }
      assert.equal(await ended, word ? 0 : 130);
      assert.equal(
        host.facts().addresses.some((a) => a.ip === "10.0.0.100"),
        word,
      );
      if (word) host.run("undo");
    }
    assert.deepEqual(host.facts(), before);
  });
});
