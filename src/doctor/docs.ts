import { catalogue } from "./catalogue.ts";
import { severities, severityMeaning } from "./finding.ts";
import { notFromFacts } from "./notFromFacts.ts";
import { families, registry } from "./registry.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");

/** The content of docs/findings.md. */
export function findingsDocument(): string {
  const lines = [
    "# Findings",
    "",
    "What `vipward check` looks for on one host, from its facts and the kernel model, and what it cannot see there.",
    "This page is made from the tables of `src/doctor/` (`node scripts/findings-docs.mjs`).",
    "",
    `${registry.length} findings; ${Object.keys(notFromFacts).length} more faults known from the field that one host's facts cannot show.`,
    "`vipward explain ID` prints the same on a terminal, `vipward explain A-2.6-04` a kernel rule ([all of them](kernel-rules.md)).",
    "",
    "| severity | means |",
    "| --- | --- |",
    ...severities.map((s) => `| ${s} | ${severityMeaning[s]} |`),
    "",
    "`vipward check` ends with status 1 if a finding is as bad as `--fail-on` (medium unless said otherwise) or worse.",
    "A finding can be milder than its entry says where this host's case is.",
  ];
  for (const family of families) {
    lines.push("", `## ${family.title}`);
    for (const entry of family.entries)
      lines.push(
        "",
        `### ${entry.id}`,
        "",
        `**${entry.severity}**, ${entry.roles.join(", ")}: ${entry.title}.`,
        "",
        `- Users notice: ${entry.notice}`,
        `- Why: ${entry.why}`,
        `- Remedy: ${entry.cure}`,
        `- Rules: ${entry.rules.join(", ")}${entry.own ? ". Follows from the kernel rules; not in the field catalogue." : ""}`,
      );
  }
  const severityOf = new Map(catalogue);
  lines.push(
    "",
    "## What facts of one host cannot show",
    "",
    "| id | severity | what | why not | what shows it |",
    "| --- | --- | --- | --- | --- |",
    ...Object.entries(notFromFacts).map(
      ([id, e]) => `| ${id} | ${severityOf.get(id) ?? ""} | ${cell(e.title)} | ${cell(e.why)} | ${cell(e.shownBy)} |`,
    ),
  );
  return `${lines.join("\n")}\n`;
}
