import { readFileSync, statSync } from "node:fs";
import type { Cluster } from "../../cluster/cluster.ts";
import { formatProblem, type ParseOptions, parseCluster, refuseSize } from "../../cluster/index.ts";
import { HostError } from "../../host/errors.ts";
import type { Io } from "../io.ts";

/** Prints what is wrong with the text; undefined when it has errors. Warnings are printed and let pass. */
export function clusterFromText(
  text: string,
  fileName: string,
  io: Io,
  options: Omit<ParseOptions, "fileName"> = {},
): Cluster | undefined {
  const read = parseCluster(text, { ...options, fileName });
  for (const problem of read.ok ? read.warnings : read.problems) io.err(`${formatProblem(problem, fileName, text)}\n`);
  return read.ok ? read.cluster : undefined;
}

/** Undefined after saying that it is too large. Errors: cluster-file/no-input when it cannot be read at all. */
export function readClusterText(path: string, io: Io): string | undefined {
  const unreadable = (why: string): HostError =>
    new HostError("cluster-file/no-input", `cannot read ${path}: ${why}`, {
      remedy: "check the path and its permissions",
    });
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw unreadable("it is not a file");
    const refused = refuseSize(stat.size);
    if (refused !== undefined) {
      io.err(`${formatProblem(refused, path, "")}\n`);
      return undefined;
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof HostError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw unreadable({ ENOENT: "there is no such file", EACCES: "access denied" }[code] ?? code);
  }
}

/** Errors: those of readClusterText. */
export function clusterFromFile(
  path: string,
  io: Io,
  options: Omit<ParseOptions, "fileName"> = {},
): Cluster | undefined {
  const text = readClusterText(path, io);
  return text === undefined ? undefined : clusterFromText(text, path, io, options);
}
