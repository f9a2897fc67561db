import { readFileSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import { runVectors, type VectorCase } from "../../model/vectors.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { unreadable } from "./inputFile.ts";

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new HostError("vectors/bad-data", `${file} is not JSON: ${why}`, {
      remedy: "give a file in the schema that its own `schema` entry describes",
    });
  }
}

/** `vipward model vectors FILE [--json]`: every case with what it expects and what the model gives, then the counts. */
export function runModelVectors(file: string, flags: { readonly json?: boolean }, io: Io): number {
  const report = runVectors(readJson(file));
  if (flags.json === true) io.out(`${JSON.stringify({ file, ...report }, null, 2)}\n`);
  else {
    const lines = report.cases.map(describeCase);
    lines.push(`${report.total} vectors: ${report.passed} agree, ${report.failed} differ`);
    io.out(`${lines.join("\n")}\n`);
  }
  return exitCode(report.failed > 0 || report.total === 0 ? "no" : "ok");
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
