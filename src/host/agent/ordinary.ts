import { readFileSync, writeFileSync } from "node:fs";
import { withoutAmbientCapabilities } from "../libc.ts";

const file = "/proc/self/oom_score_adj";

/**
 * Runs `body`, whose programs inherit nothing that only the agent should have: no capability, and no protection from the
 * kernel's search for memory, which the unit gives (proc(5): whoever was given it may lay it down and take it again).
 */
export function asOrdinary<T>(body: () => T): T {
  const own = Number(readFileSync(file, "utf8"));
  if (own >= 0) return withoutAmbientCapabilities(body);
  writeFileSync(file, "0");
  try {
    return withoutAmbientCapabilities(body);
  } finally {
    writeFileSync(file, `${own}`);
  }
}
