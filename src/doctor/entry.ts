import { printable } from "../cluster/problem.ts";
import type { RuleId } from "../model/rules.ts";
import type { Context } from "./context.ts";
import type { Evidence, Finding, Severity } from "./finding.ts";
import { capital } from "./text.ts";

export type EntryRole = "real server" | "director" | "any";

/** What an entry found: a finding without what the entry itself says. */
export interface Hit {
  readonly vips?: readonly string[];
  readonly links?: readonly string[];
  readonly wrong: string;
  readonly shell: readonly string[];
  readonly vipward?: string;
  readonly evidence: readonly Evidence[];
  /** The rules of the model's own verdicts; the entry's follow them. */
  readonly rules?: readonly RuleId[];
  /** Where this host's case is milder than the entry's usual one. */
  readonly severity?: Severity;
}

/** One kind of finding. Texts are for people who see it for the first time. */
export interface Entry {
  readonly id: string;
  readonly title: string;
  readonly severity: Severity;
  readonly roles: readonly EntryRole[];
  /** What users will notice. */
  readonly notice: string;
  /** What is the case, and why the kernel makes it so. */
  readonly why: string;
  /** The remedy in words; a finding has the exact lines. */
  readonly cure: string;
  readonly rules: readonly RuleId[];
  /** Not an entry of the field catalogue: follows from the kernel rules. */
  readonly own?: true;
  readonly detect: (context: Context) => readonly Hit[];
}

/** `modern`: the kernel has arp_ignore and what came with it; else the entry's rules of that line say nothing here. */
export function findingOf(entry: Entry, hit: Hit, modern: boolean): Finding {
  return {
    id: entry.id,
    severity: hit.severity ?? entry.severity,
    title: entry.title,
    subject: { vips: hit.vips ?? [], links: hit.links ?? [] },
    wrong: hit.wrong.startsWith("the ") ? capital(hit.wrong) : hit.wrong,
    notice: entry.notice,
    rules: [...new Set([...(hit.rules ?? []), ...entry.rules.filter((r) => modern || !/^[ABC]-2\.6-/.test(r))])],
    remedy: { shell: hit.shell.map(safeLine), ...(hit.vipward === undefined ? {} : { vipward: hit.vipward }) },
    evidence: hit.evidence,
  };
}

/**
 * People paste these lines into a root shell, and names in them come from a file someone else may have written:
 * a line with anything that a shell could act on becomes a comment. A line break would end a comment.
 */
function safeLine(line: string): string {
  const text = printable(line);
  return text.startsWith("#") || /^[A-Za-z0-9 ._/:=@,+-]+$/.test(text) ? text : `# by hand: ${text}`;
}
