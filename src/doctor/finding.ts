import type { RuleId } from "../model/rules.ts";

/** Worst first: findings sort by this, and `--fail-on` names one. */
export const severities = ["critical", "high", "medium", "low"] as const;
export type Severity = (typeof severities)[number];

/** critical: VIP traffic goes to the wrong place or nowhere; low: confusing but harmless. */
export const severityMeaning: Readonly<Record<Severity, string>> = {
  critical: "VIP traffic goes to the wrong place, or nowhere",
  high: "a part of the clients, or a failover, breaks",
  medium: "slow, intermittent or latent",
  low: "confusing but harmless",
};

/** True if `a` is as bad as `b`, or worse. */
export const atLeast = (a: Severity, b: Severity): boolean => severities.indexOf(a) <= severities.indexOf(b);

/** A place in the facts file and what stands there. `value` undefined: nothing does, the kernel's default counts. */
export interface Evidence {
  readonly path: string;
  readonly value: string | number | boolean | undefined;
}

export interface Remedy {
  /** Lines for a root shell, in the order that is safe. A line that begins with # is advice, not a command. */
  readonly shell: readonly string[];
  /** The vipward command that does the same with proof and undo, where there is one. */
  readonly vipward?: string;
}

/** One cause found on one host, with everything it touches: VIPs of the same cause and interface are one finding. */
export interface Finding {
  /** Id of an entry of the registry; stable. */
  readonly id: string;
  readonly severity: Severity;
  readonly title: string;
  readonly subject: { readonly vips: readonly string[]; readonly links: readonly string[] };
  /** What is wrong, with this host's own addresses and interface names. */
  readonly wrong: string;
  /** What users will notice. */
  readonly notice: string;
  /** The kernel rules that make it so. */
  readonly rules: readonly RuleId[];
  readonly remedy: Remedy;
  readonly evidence: readonly Evidence[];
}
