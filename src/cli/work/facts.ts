import type { HostFacts } from "../../model/facts.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { liveFacts } from "./liveFacts.ts";

export interface FactsFlags {
  readonly summary?: boolean;
  readonly json?: boolean;
  readonly netns?: string;
}

export async function runFacts(flags: FactsFlags, io: Io): Promise<number> {
  const facts = liveFacts(flags.netns);
  if (flags.summary === true && flags.json !== true) io.out(summary(facts));
  else io.out(`${JSON.stringify(facts, null, 1)}\n`);
  for (const { what, why } of facts.unread) io.err(`vipward: could not read ${what}: ${why}\n`);
  return exitCode(facts.unread.length === 0 ? "ok" : "other");
}

function summary(facts: HostFacts): string {
  const chains = facts.filters.length;
  const unclear = facts.filters.flatMap((c) => c.rules).filter((r) => "notUnderstood" in r).length;
  const rows: [string, string][] = [
    ["kernel", `${facts.kernel.release} (rules of ${facts.kernel.generation})`],
    ["patches", (facts.kernel.patches ?? []).map((p) => p.name).join(", ") || "none"],
    ["links", facts.links.map((l) => l.name).join(" ")],
    ["addresses", String(facts.addresses.length)],
    ["routes", `${facts.routes.length}, and ${facts.rules.length} rules`],
    ["sysctls", String(Object.keys(facts.sysctls).length)],
    ["neighbours", String(facts.neighbours.length)],
    ["filters", `${chains} chains${unclear > 0 ? `, ${unclear} rules not understood` : ""}`],
    ["IPVS", facts.ipvs === undefined ? "not there" : `${facts.ipvs.services.length} services`],
    ["sockets", `${facts.sockets?.length ?? 0} listening`],
    ["machine", [facts.environment?.virtualisation, facts.environment?.container].filter(Boolean).join(", ") || "-"],
  ];
  return `${rows.map(([name, value]) => `${name.padEnd(11)}${value}`).join("\n")}\n`;
}
