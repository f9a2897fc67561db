/** What a check of a body needs of Node: a digest, and a pattern that cannot hold the agent up. */
import { createHash } from "node:crypto";
import { createContext, Script } from "node:vm";
import type { HttpTools } from "../../machine/health/http.ts";

/** A pattern such as "OK.*ready" takes the square of the body's length: half a minute for 256 KiB of "OK". */
const patternLimitMs = 100;

const asked = { pattern: "", text: "" };
const elsewhere = createContext(asked);
const search = new Script("new RegExp(pattern).test(text)");

function matches(pattern: string, text: string): boolean | undefined {
  Object.assign(asked, { pattern, text });
  try {
    return search.runInContext(elsewhere, { timeout: patternLimitMs }) as boolean;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return undefined;
    throw error;
  } finally {
    asked.text = "";
  }
}

export const bodyTools: HttpTools = {
  sha256: (octets) => createHash("sha256").update(octets).digest("hex"),
  matches,
};
