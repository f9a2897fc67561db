// Writes docs/kernel-rules.md from the built tables of src/model. Run after `npm run build`.
import { writeFileSync } from "node:fs";
import { rulesDocument } from "../dist/model/rules.js";
import { switchTable } from "../dist/model/switches.js";

writeFileSync(new URL("../docs/kernel-rules.md", import.meta.url), rulesDocument(switchTable));
