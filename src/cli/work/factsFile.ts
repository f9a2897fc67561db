import { readFileSync, statSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import type { HostFacts } from "../../model/facts.ts";
import { harmless } from "../failure.ts";
import type { Io } from "../io.ts";

/** A host of 4,096 VIPs and 10,000 sockets has 3 MB. */
const MOST_OCTETS = 256 * 1024 * 1024;

/** Errors: facts/no-input when it cannot be read at all, facts/bad-data when it is too large to be one. */
function textOf(path: string): string {
  try {
    // Of a pipe the size is 0: what comes is read to its end.
    const { size } = statSync(path);
    if (size > MOST_OCTETS)
      throw new HostError("facts/bad-data", `${path} has ${size} octets; no facts file is larger than ${MOST_OCTETS}`, {
        remedy: "name the file that `vipward facts` wrote",
      });
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof HostError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    const why = { ENOENT: "there is no such file", EACCES: "access denied", EISDIR: "it is a folder" }[code] ?? code;
    throw new HostError("facts/no-input", `cannot read ${path}: ${why}`, { remedy: "check the path", cause: error });
  }
}

/** Prints every problem with its JSON path; undefined when there are any. */
export async function factsFromFile(path: string, io: Io): Promise<HostFacts | undefined> {
  const text = textOf(path);
  const { parseFacts } = await import("../../model/factsSchema.ts");
  const read = parseFacts(text);
  if (read.ok) return read.value;
  for (const problem of read.problems)
    io.err(harmless(`${path}: ${problem.path === "" ? "" : `${problem.path}: `}${problem.message}\n`));
  io.err("  remedy: read the facts again on that host: vipward facts > FILE\n");
  return undefined;
}
