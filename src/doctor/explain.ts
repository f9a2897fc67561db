import { nearest } from "../cluster/near.ts";
import { isRuleId, rules } from "../model/rules.ts";
import { catalogue } from "./catalogue.ts";
import { severityMeaning } from "./finding.ts";
import { notFromFacts } from "./notFromFacts.ts";
import { entryOf, registry } from "./registry.ts";

/** One part of an explanation: a heading and what stands under it. */
export interface Part {
  readonly heading: string;
  readonly lines: readonly string[];
}

export interface Explanation {
  readonly id: string;
  readonly title: string;
  readonly parts: readonly Part[];
}

export type ExplainResult =
  | { readonly ok: true; readonly value: Explanation }
  | { readonly ok: false; readonly nearest: string | undefined };

/** Ids of findings first, then those facts cannot show, then the kernel rules. */
export const explainable = (): string[] => [
  ...registry.map((e) => e.id),
  ...Object.keys(notFromFacts),
  ...Object.keys(rules),
];

/** The long form of a finding, of a catalogue entry that facts cannot show, or of a kernel rule. */
export function explain(id: string): ExplainResult {
  const lower = id.toLowerCase();
  const rule = Object.keys(rules).find((r) => r.toLowerCase() === lower);
  const found = ofFinding(lower) ?? ofOther(lower) ?? ofRule(rule ?? id);
  if (found) return { ok: true, value: found };
  return { ok: false, nearest: nearest(id, explainable()) };
}

const ruleLine = (id: string): string =>
  isRuleId(id) ? `${id}  ${rules[id].text}` : `${id}  (not in this version's table)`;

function ofFinding(id: string): Explanation | undefined {
  const entry = entryOf(id);
  if (!entry) return undefined;
  return {
    id,
    title: entry.title,
    parts: [
      { heading: "severity", lines: [`${entry.severity}: ${severityMeaning[entry.severity]}`] },
      { heading: "seen on", lines: [entry.roles.join(", ")] },
      { heading: "what users notice", lines: [entry.notice] },
      { heading: "why", lines: [entry.why] },
      { heading: "remedy", lines: [entry.cure, "`vipward check` prints the exact lines for a host."] },
      { heading: "kernel rules", lines: entry.rules.map(ruleLine) },
    ],
  };
}

function ofOther(id: string): Explanation | undefined {
  const entry = Object.hasOwn(notFromFacts, id) ? notFromFacts[id] : undefined;
  if (!entry) return undefined;
  const severity = catalogue.find(([known]) => known === id)?.[1] ?? "medium";
  return {
    id,
    title: entry.title,
    parts: [
      { heading: "severity", lines: [`${severity}: ${severityMeaning[severity]}`] },
      { heading: "why check does not find it", lines: [`${entry.why}.`] },
      { heading: "what shows it", lines: [`${entry.shownBy}.`] },
    ],
  };
}

function ofRule(id: string): Explanation | undefined {
  if (!isRuleId(id)) return undefined;
  const rule: { readonly text: string; readonly modelled: object; readonly unconfirmed?: true; readonly live?: true } =
    rules[id];
  const citing = registry.filter((e) => e.rules.includes(id)).map((e) => e.id);
  return {
    id,
    title: "a rule of the kernel",
    parts: [
      { heading: "says", lines: [rule.text] },
      {
        heading: "held in",
        lines: [
          "in" in rule.modelled
            ? `src/model/${String(rule.modelled.in)}`
            : `not modelled: ${String((rule.modelled as { not: string }).not)}`,
        ],
      },
      ...(rule.unconfirmed ? [{ heading: "note", lines: ["no source could be read: an inference"] }] : []),
      ...(rule.live ? [{ heading: "note", lines: ["also observed on a running kernel"] }] : []),
      ...(citing.length > 0 ? [{ heading: "findings that rest on it", lines: citing }] : []),
    ],
  };
}
