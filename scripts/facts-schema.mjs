// node scripts/facts-schema.mjs: writes schema/facts.schema.json from the table that checks facts files.
import { factsJsonSchema } from "../dist/model/factsSchema.js";
import { writeFormatted } from "./writeFormatted.mjs";

writeFormatted("schema/facts.schema.json", JSON.stringify(factsJsonSchema(), null, 2));
