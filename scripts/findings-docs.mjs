// Writes docs/findings.md from the built tables of src/doctor. Run after `npx tsc`.
import { writeFileSync } from "node:fs";
import { findingsDocument } from "../dist/doctor/docs.js";

writeFileSync(new URL("../docs/findings.md", import.meta.url), findingsDocument());
