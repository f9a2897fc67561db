import { readFileSync, statSync } from "node:fs";
import { HostError } from "../../host/errors.ts";
import type { HostFacts } from "../../model/facts.ts";
import { unreadable } from "./inputFile.ts";

/** A host of 4,096 VIPs and 10,000 sockets has 3 MB. */
const MOST_OCTETS = 256 * 1024 * 1024;

/** Errors: those of unreadable; facts/bad-data when it is too large to be one. */
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
    throw unreadable(path, error);
  }
}

/** Errors: those of textOf; facts/bad-data with every problem and its JSON path. */
export async function factsFromFile(path: string): Promise<HostFacts> {
  const text = textOf(path);
  const { parseFacts } = await import("../../model/factsSchema.ts");
  const read = parseFacts(text);
  if (read.ok) return read.value;
  const lines = read.problems.map((p) => `${path}: ${p.path === "" ? "" : `${p.path}: `}${p.message}`);
  throw new HostError("facts/bad-data", lines.join("\n"), {
    remedy: "read the facts again on that host: vipward facts > FILE",
  });
}
