#!/usr/bin/env node
import { Ending } from "./ending.ts";
import { version } from "./version.ts";

// The quick way out for scripts that ask for the version: nothing else is loaded.
if (process.argv.length === 3 && (process.argv[2] === "--version" || process.argv[2] === "-V")) {
  process.stdout.write(`${version()}\n`);
} else {
  const ending = new Ending(); // before anything is loaded: Ctrl-C may come that soon
  const { run } = process.argv[2] === "check" ? await import("./quick/check.ts") : await import("./all.ts");
  process.exitCode = await run(process.argv.slice(2), ending);
}
