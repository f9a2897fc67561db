import { codes } from "./codes.ts";
import { clusterJsonSchema } from "./schema.ts";

// The tables of docs/cluster-file.md, made from what the reader itself uses, so that they cannot go stale.

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonSchema>>;
}

/** Every mapping of the file with its keys: type, default, meaning, one example. Markdown. */
export function keyTables(): string {
  const root = clusterJsonSchema() as JsonSchema;
  const parts = [`### The file\n\n${keyTable(root)}`];
  for (const [name, schema] of Object.entries(root.$defs ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)))
    parts.push(`### ${name}\n\n${schema.description ?? ""}\n\n${keyTable(schema)}`);
  return parts.join("\n\n");
}

/** Every code with its severity, meaning and remedy. Markdown. */
export function codeTable(): string {
  const rows = Object.entries(codes).map(
    ([code, { severity, meaning, remedy }]) => `| \`${code}\` | ${severity} | ${cell(meaning)} | ${cell(remedy)} |`,
  );
  return ["| code | severity | meaning | remedy |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function keyTable(schema: JsonSchema): string {
  if (schema.oneOf !== undefined) return `One of ${schema.oneOf.map(typeText).join(", ")}.`;
  const rows = Object.entries(schema.properties ?? {}).map(([key, value]) => {
    const fallback = schema.required?.includes(key)
      ? "needed"
      : value.default === undefined
        ? "none"
        : flow(value.default, true);
    const example = `\`${key}: ${flow(value.examples?.[0] ?? value.const)}\``;
    return `| \`${key}\` | ${typeText(value)} | ${cell(fallback)} | ${cell(value.description ?? "")} | ${cell(example)} |`;
  });
  return ["| key | type | default | meaning | example |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

function typeText(schema: JsonSchema): string {
  const name = schema.$ref?.split("/").at(-1);
  if (name !== undefined) return `[${name}](#${name.toLowerCase()})`;
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return [...new Set(options.map(typeText))].join(" or ");
  if (schema.enum !== undefined) return schema.enum.map((w) => `\`${w}\``).join(", ");
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.items !== undefined) return `list of (${typeText(schema.items)})`;
  if (schema.properties !== undefined) return schema.properties.name === undefined ? "mapping" : "mapping with `name`";
  if (typeof schema.additionalProperties === "object") return `name: (${typeText(schema.additionalProperties)})`;
  if (schema.type === "integer") return `${schema.minimum} to ${schema.maximum}`;
  return schema.type === "string" ? "text" : (schema.type ?? "any");
}

/** A value as one writes it in flow style. */
function flow(value: unknown, isDefault = false): string {
  if (Array.isArray(value)) return `[${value.map((v) => flow(v)).join(", ")}]`;
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .map(([k, v]) => `${k}: ${flow(v)}`)
      .join(", ")}}`;
  if (typeof value !== "string") return String(value);
  if (isDefault) return value === "" ? "empty" : value;
  return /^[A-Za-z/][^:#{}[\],]*$|^\d+(\.\d+){3}(\/\d+)?$/.test(value) ? value : JSON.stringify(value);
}
