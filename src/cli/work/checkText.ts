import { printable } from "../../cluster/problem.ts";
import type { CheckReport, Said, VipReport } from "../../doctor/check.ts";
import type { Finding, Severity } from "../../doctor/finding.ts";
import { severities } from "../../doctor/finding.ts";
import { list } from "../../doctor/text.ts";
import { type Paint, paint } from "../colour.ts";
import { forReader, wrap } from "./wrap.ts";

interface Screen {
  readonly isTerminal: boolean;
  readonly colour: boolean;
  readonly columns: number;
}

/** The report as a person reads it: what the model says of each VIP, then the findings, worst first. */
export function reportText(report: CheckReport, reason: string, screen: Screen, netns?: string): string {
  const c = paint(screen.colour);
  const host = printable(report.hostname ?? "this host");
  const where = netns === undefined ? "" : `, namespace ${netns}`;
  const role = report.roles.join(" and ") || "no role";
  // A cluster file's reason names the role itself: "real server web1, by its address 10.10.0.11".
  const who = report.roles.some((r) => reason.startsWith(r)) ? reason : `${role}, ${reason}`;
  let out = `${c.bold(host)}${where}  ${printable(who)}; Linux ${printable(report.kernel.release)} (rules of ${report.kernel.generation})\n`;
  for (const vip of report.vips) out += vipText(vip, c);
  out = forReader(screen, out);
  for (const finding of report.findings) out += findingText(finding, c, screen);
  if (report.notes.length > 0) out += "\n";
  for (const note of report.notes) out += forReader(screen, `${c.dim("note")}  ${printable(note)}\n`);
  if (netns !== undefined && report.findings.length > 0)
    out += `${report.notes.length > 0 ? "" : "\n"}${c.dim("note")}  the remedies are for that namespace: ip netns exec ${netns} COMMAND\n`;
  return `${out}\n${summary(report, c)}\n`;
}

function summary(report: CheckReport, c: Paint): string {
  const counts = severities
    .map((s) => ({ s, n: report.findings.filter((f) => f.severity === s).length }))
    .filter(({ n }) => n > 0);
  if (counts.length === 0)
    return report.complete ? c.green("no findings") : c.yellow("no findings in what could be read; see the notes");
  const total = report.findings.length;
  return `${total} finding${total > 1 ? "s" : ""}: ${counts.map(({ s, n }) => tint(s, c)(`${n} ${s}`)).join(", ")}`;
}

const tint = (severity: Severity, c: Paint): ((text: string) => string) =>
  severity === "critical" || severity === "high" ? c.red : severity === "medium" ? c.yellow : c.cyan;

const expectations: Readonly<Record<VipReport["expected"], string>> = {
  "silent and accepting": "must be silent on ARP and take its packets",
  "owner or standby": "the active director answers for it, a standby does not",
  nothing: "nothing is expected of this host",
};

function vipText(vip: VipReport, c: Paint): string {
  const where = vip.held.length > 0 ? `on ${printable(list(vip.held))}` : "not held here";
  let out = `\n${c.bold(printable(list(vip.vips)))}  ${where}; ${vip.vips.some((v) => v.includes(":")) ? expectations[vip.expected].replace("on ARP", "in neighbour discovery") : expectations[vip.expected]}\n`;
  for (const said of [...vip.answers, ...vip.announces, ...vip.accepts]) out += saidText(said, c);
  return out;
}

function saidText(said: Said, c: Paint): string {
  const mark = said.wrong ? c.red("x") : c.green("-");
  const what = printable(`${said.link}: ${said.says}`);
  return `  ${mark} ${said.wrong ? c.red(what) : what} ${c.dim(`${said.rule} ${printable(said.because)}${said.uncertain ? " (uncertain)" : ""}`)}\n`;
}

function findingText(finding: Finding, c: Paint, screen: Screen): string {
  const { columns } = screen;
  const colour = tint(finding.severity, c);
  const head = `\n${colour(c.bold(finding.severity.toUpperCase()))}  ${c.bold(finding.id)}: ${finding.title}\n`;
  let out = forReader(screen, head);
  out += wrap(printable(finding.wrong), "  ", columns);
  out += c.dim(wrap(`users notice: ${finding.notice}`, "  ", columns).trimEnd());
  out += `\n  ${c.cyan("remedy")}\n`;
  // Commands are not broken: what is copied from the terminal must run.
  for (const line of finding.remedy.shell) out += `    ${line.startsWith("#") ? c.dim(line) : line}\n`;
  if (finding.remedy.vipward !== undefined)
    out += `    ${c.dim("or, with proof and undo:")} ${finding.remedy.vipward}\n`;
  const facts = finding.evidence
    .slice(0, 8)
    .map((e) => `${e.path} ${e.value === undefined ? "not set" : `= ${e.value}`}`);
  if (facts.length > 0) out += forReader(screen, `  ${c.cyan("facts")}  ${c.dim(printable(facts.join("; ")))}\n`);
  return `${out}${forReader(screen, `  ${c.cyan("why")}  ${c.dim(`${finding.rules.join(", ")}; vipward explain ${finding.id}`)}\n`)}`;
}
