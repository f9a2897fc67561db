import { runVectors, type VectorCase } from "../../model/vectors.ts";

export interface ModelVectorsOptions {
  readonly file: string;
  readonly json?: boolean;
}

/** What the command needs of the world. `readFile` throws what the file system throws. */
export interface ModelVectorsIo {
  readonly write: (text: string) => void;
  readonly writeError?: (text: string) => void;
  readonly readFile: (path: string) => string;
}

/** `vipward model vectors FILE [--json]`. Exit status 0: all agree; 1: some differ; 2: the file cannot be used. */
export function runModelVectors(options: ModelVectorsOptions, io: ModelVectorsIo): number {
  const complain = io.writeError ?? io.write;
  let document: unknown;
  try {
    document = JSON.parse(io.readFile(options.file));
  } catch (error) {
    complain(`vipward: cannot read ${options.file}: ${error instanceof Error ? error.message : String(error)}\n`);
    return 2;
  }
  const report = runVectors(document);
  if (options.json) io.write(`${JSON.stringify({ file: options.file, ...report }, null, 2)}\n`);
  else {
    const lines = report.cases.map(describeCase);
    lines.push(`${report.total} vectors: ${report.passed} agree, ${report.failed} differ`);
    io.write(`${lines.join("\n")}\n`);
  }
  return report.failed > 0 || report.total === 0 ? 1 : 0;
}

function describeCase(c: VectorCase): string {
  const head = `${c.ok ? "ok  " : "FAIL"} ${c.id} ${c.kind} ${c.title}`.trimEnd();
  if (c.fault !== undefined) return `${head}\n     cannot be run: ${c.fault}`;
  const fields = Object.entries(c.expected).filter(([key]) => key !== "reason" && key !== "note");
  const expected = fields.map(([key, value]) => `${key}=${show(value)}`).join(" ");
  const given = fields.map(([key]) => `${key}=${show(c.given[key])}`).join(" ");
  const why = `${String(c.given.rule ?? "")} ${String(c.given.because ?? "")}`.trim();
  return `${head}\n     expected ${expected}\n     given    ${given}${why === "" ? "" : `   (${why})`}`;
}

const show = (value: unknown): string =>
  value === undefined ? "-" : typeof value === "string" ? value : JSON.stringify(value);
