// node scripts/facts-schema.mjs: writes schema/facts.schema.json from the table that checks facts files.
import { writeFileSync } from "node:fs";
import { factsJsonSchema } from "../dist/model/factsSchema.js";

const file = new URL("../schema/facts.schema.json", import.meta.url);
writeFileSync(file, `${JSON.stringify(factsJsonSchema(), null, 2)}\n`);
