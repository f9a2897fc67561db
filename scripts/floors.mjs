// Holds the imports of src/ against the floors of docs/architecture.md: a folder uses folders below it, never above,
// and what lies below host/ and sim/ does no I/O. Exits 1 and names file and line where that is broken.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../src", import.meta.url));

// Bottom to top. Folders in one row do not know each other, unless `sameRow` allows a direction.
const floors = [
  ["base"],
  ["wire"],
  ["model"],
  ["machine"],
  ["cluster"],
  ["plan"],
  ["policy"],
  ["doctor"],
  ["ports"],
  ["agent", "apply"],
  ["host", "sim"],
  ["lab", "conformance"],
  ["cli", "web", "bench"],
];
const height = new Map(floors.flatMap((row, level) => row.map((folder) => [folder, level])));
const firstWithIo = height.get("host");

// Pure folders may use these and nothing else from outside the tree.
const pureAllowed = new Set(["js-yaml", "yaml", "zod"]);
const impureGlobals =
  /\b(process|Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|setImmediate|performance\.now|fetch)\b/;

// Same seed, same octets, on any machine: no clock, no other dice, and no function that engines may round differently.
const seeded = /^(sim|lab\/sim)\//;
const differing =
  /\b(Date\.now|Math\.(random|sin|cos|tan|a(sin|cos|tan)2?|exp|expm1|log\w*|pow|cbrt|hypot))\b|new Date\(|[\w)] \*\* [a-zA-Z(]/;

const problems = [];
const files = readdirSync(root, { recursive: true }).filter((f) => f.endsWith(".ts") && !f.endsWith(".test.ts"));
for (const file of files) {
  const folder = file.split("/")[0];
  if (folder === "testing" || !file.includes("/")) continue;
  const level = height.get(folder);
  if (level === undefined) {
    problems.push(`src/${file}: folder ${folder}/ has no floor in scripts/floors.mjs`);
    continue;
  }
  const pure = level < firstWithIo;
  readFileSync(join(root, file), "utf8")
    .split("\n")
    .forEach((line, i) => {
      const where = `src/${file}:${i + 1}`;
      const found = /(?:from|import)\s*\(?\s*"([^"]+)"/.exec(line);
      if (found) {
        const target = found[1];
        if (target.startsWith(".")) {
          const other = relative(root, normalize(join(root, dirname(file), target))).split("/")[0];
          const otherLevel = height.get(other);
          if (other !== folder && !(otherLevel < level))
            problems.push(`${where}: ${folder}/ may not use ${other}/ (not below it)`);
        } else if (pure && !pureAllowed.has(target)) {
          problems.push(`${where}: ${folder}/ is pure and may not use ${target}`);
        } else if (target === "koffi" && file !== "host/libc.ts") {
          problems.push(`${where}: only host/libc.ts touches the FFI`);
        }
      }
      const code = line.replace(/\/\/.*|^\s*\*.*|"(?:[^"\\]|\\.)*"|`[^`]*`/g, "");
      if (seeded.test(file) && differing.test(code))
        problems.push(`${where}: what differs between machines has no place in the simulator`);
      if (pure && impureGlobals.test(code))
        problems.push(`${where}: clock, dice, timers and process belong above: ${line.trim()}`);
    });
}
for (const problem of problems) console.error(problem);
console.log(`floors: ${files.length} files, ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;
