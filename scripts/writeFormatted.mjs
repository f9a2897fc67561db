// What a generator writes into the repository, formatted as `npm test -- static` asks for.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./setup.mjs";

const biome = join(root, "node_modules/@biomejs/biome/bin/biome");

/** `path` from the project's root; its ending says the language. Throws when the formatter does: nothing is written. */
export function writeFormatted(path, text) {
  const args = [biome, "format", `--stdin-file-path=${path}`];
  writeFileSync(join(root, path), execFileSync(process.execPath, args, { cwd: root, input: text, encoding: "utf8" }));
}
