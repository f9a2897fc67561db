import type { Verdict } from "../lab/report.ts";

/** Each verdict that did not hold, with what was expected and what was measured. */
export const redOf = (verdicts: readonly Verdict[]): string[] =>
  verdicts.filter((v) => !v.held).map((v) => `${v.id}: expected ${v.expected}, measured ${v.measured}`);
