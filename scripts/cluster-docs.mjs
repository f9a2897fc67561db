// Writes schema/cluster.schema.json and the tables of docs/cluster-file.md from the built schema. Run after `npx tsc`.
import { readFileSync, writeFileSync } from "node:fs";
import { codeTable, keyTables } from "../dist/cluster/reference.js";
import { clusterJsonSchema } from "../dist/cluster/schema.js";
import { writeFormatted } from "./writeFormatted.mjs";

const file = (path) => new URL(`../${path}`, import.meta.url);
writeFormatted("schema/cluster.schema.json", JSON.stringify(clusterJsonSchema(), null, 2));
let docs = readFileSync(file("docs/cluster-file.md"), "utf8");
for (const [name, text] of [
  ["keys", keyTables()],
  ["codes", codeTable()],
]) {
  const [start, end] = [`<!-- ${name}: scripts/cluster-docs.mjs -->`, `<!-- end of ${name} -->`];
  const [before, rest] = docs.split(start);
  docs = `${before}${start}\n${text}\n${end}${rest.split(end)[1]}`;
}
writeFileSync(file("docs/cluster-file.md"), docs);
