import assert from "node:assert/strict";
import { test } from "node:test";
import { Command } from "commander";
import { modulesFor } from "./commands/index.ts";
import type { Io } from "./io.ts";

/** Help as it is printed, with what was added to it. */
function helpOf(command: Command): string {
  const pieces: string[] = [];
  command.configureOutput({ writeOut: (piece) => void pieces.push(piece) });
  command.outputHelp();
  return pieces.join("");
}

test("every command's help shows how it is used and its exit statuses", async () => {
  const root = new Command("vipward");
  for (const module of await modulesFor(undefined)) module.register(root, {} as Io, () => {});
  const names = root.commands.map((c) => c.name());
  const missing: string[] = [];
  assert.ok(names.length >= 20, `${names}`);
  // A group has none of its own: its commands have.
  for (const command of root.commands.flatMap((c) => (c.commands.length > 0 ? c.commands : [c]))) {
    const help = helpOf(command);
    const examples = help.match(new RegExp(`^  vipward (\\w+ )?${command.name()}\\b.*$`, "gm")) ?? [];
    if (examples.length === 0) missing.push(`${command.name()}: an example`);
    if (!/Exit status:/.test(help)) missing.push(`${command.name()}: exit statuses`);
  }
  assert.deepEqual(missing, []);
});
