import { readFileSync, statSync } from "node:fs";
import type { Cluster } from "../../cluster/cluster.ts";
import { formatProblem, type ParseOptions, parseCluster, refuseSize } from "../../cluster/index.ts";
import { HostError } from "../../host/errors.ts";
import type { Io } from "../io.ts";
import { unreadable } from "./inputFile.ts";

/** Prints what is wrong with the text; undefined when it has errors. Warnings are printed and let pass. */
export function clusterFromText(
  text: string,
  fileName: string,
  io: Pick<Io, "err">,
  options: Omit<ParseOptions, "fileName"> = {},
): Cluster | undefined {
  const read = parseCluster(text, { ...options, fileName });
  for (const problem of read.ok ? read.warnings : read.problems) io.err(`${formatProblem(problem, fileName, text)}\n`);
  return read.ok ? read.cluster : undefined;
}

/** Undefined after saying that it is too large. Errors: those of unreadable. */
export function readClusterText(path: string, io: Pick<Io, "err">): string | undefined {
  try {
    const stat = statSync(path);
    // A pipe would keep an agent waiting that reads its file again, and a device may have no end.
    if (!stat.isFile() && !stat.isDirectory())
      throw new HostError("file/no-input", `cannot read ${path}: it is a device or a pipe`, {
        remedy: "name a regular file",
      });
    const refused = refuseSize(stat.size);
    if (refused !== undefined) {
      io.err(`${formatProblem(refused, path, "")}\n`);
      return undefined;
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw unreadable(path, error);
  }
}

/** Errors: those of readClusterText. */
export function clusterFromFile(
  path: string,
  io: Pick<Io, "err">,
  options: Omit<ParseOptions, "fileName"> = {},
): Cluster | undefined {
  const text = readClusterText(path, io);
  return text === undefined ? undefined : clusterFromText(text, path, io, options);
}
