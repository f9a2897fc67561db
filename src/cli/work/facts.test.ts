import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFacts } from "../../model/factsSchema.ts";
import { runFacts } from "./facts.ts";

const io = (said: string[]) => ({
  out: (text: string) => void said.push(text),
  err: () => {},
  isTerminal: false,
  colour: false,
  endsInOrder: () => {},
  columns: 80,
  signal: new AbortController().signal,
});

test("vipward facts prints a file that vipward reads", async () => {
  const said: string[] = [];
  const status = await runFacts({}, io(said));
  const parsed = parseFacts(said.join(""));
  assert.deepEqual(parsed.ok ? [] : parsed.problems, []);
  assert.equal(status, parsed.ok && parsed.value.unread.length === 0 ? 0 : 2);
});

test("--summary is for people; a namespace that is not there is an error with a remedy", async () => {
  const said: string[] = [];
  await runFacts({ summary: true }, io(said));
  assert.match(said.join(""), /^kernel +\d/);
  await assert.rejects(runFacts({ netns: "vw-no-such" }, io([])), { code: "namespace/ENOENT" });
});
